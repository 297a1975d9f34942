"""LR dropout: at each step a random part of all weights does not move. Moments do.

DeepFaceLab keeps an element where a float16 uniform number, a multiple of 1 / 1024, is below float16(0.3): 308 of
1024 values are. Source: commit 46fc239, core/leras/ops (random_binomial) and optimizers.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import torch
from torch import Tensor

KEEP_PROBABILITY = 308 / 1024
_KEPT_INT16 = 308 * 64 - 2**15
"""Of all 2¹⁶ values of an int16, 308 / 1024 lie below this."""


class MaskSource(Protocol):
    """Whatever says which elements of each weight move in a step."""

    def masks(self, steps_done: int, weights: Sequence[Tensor]) -> Iterator[Tensor]:
        """Yield for each weight a tensor of its shape, of its type or bool: 1 where the weight moves, else 0."""
        ...


class RandomMasks:
    """Masks that follow from (seed, name of the optimizer, step): equal on every rank, and again after a resume."""

    def __init__(self, seed: int, optimizer_name: str) -> None:
        self.seed = seed
        self.optimizer_name = optimizer_name

    def masks(self, steps_done: int, weights: Sequence[Tensor]) -> Iterator[Tensor]:
        """Draw on the device of the weights; a CPU and a GPU draw different masks."""
        text = f"{self.seed}/{self.optimizer_name}/{steps_done}"
        number = int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
        generator = torch.Generator(device=weights[0].device).manual_seed(number)
        for weight in weights:
            if weight.device.type == "cpu":
                yield _cpu_mask(weight, generator)
            else:
                yield torch.empty_like(weight).bernoulli_(KEEP_PROBABILITY, generator=generator)


def _cpu_mask(weight: Tensor, generator: torch.Generator) -> Tensor:
    """Four elements from each 64 bits: a number for each would cost more than the rest of the step."""
    bits = torch.empty(-(-weight.numel() // 4), dtype=torch.int64)
    bits.random_(-(2**63), None, generator=generator)
    kept = bits.view(torch.int16)[: weight.numel()] < _KEPT_INT16
    return kept.as_strided(weight.shape, weight.stride())
