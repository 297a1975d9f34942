"""What DeepFaceLab's optimizer files call the state: `iters:0`, then one accumulator after the other.

The accumulator `ms` of the weight `encoder/down1/downs_0/conv1/weight:0` is
`ms_encoder/down1/downs_0/conv1/weight_0:0`. Source: commit 46fc239, core/leras/optimizers.
"""

from __future__ import annotations

from collections.abc import Sequence

ITERATIONS = "iters:0"


def accumulator_key(accumulator: str, weight: str) -> str:
    """Return the key of one accumulator of one weight, which is named `<part>/<key>`."""
    return f"{accumulator}_{weight.replace(':', '_')}:0"


def state_keys(accumulators: Sequence[str], weights: Sequence[str]) -> list[str]:
    """Return all keys of an optimizer's file, in its order."""
    return [ITERATIONS, *(accumulator_key(one, weight) for one in accumulators for weight in weights)]
