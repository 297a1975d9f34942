"""How a gradient becomes a step: AdaBelief and RMSprop as DeepFaceLab has them, AdamW beside them.

A rule is given lists of tensors of equal shapes, changes the accumulators, and returns the direction, which whoever
calls multiplies by the learning rate and subtracts. Lists, because a GPU then does one operation on all of them in one
launch, and a CPU on pieces that stay in its cache. Source: DeepFaceLab commit 46fc239, core/leras/optimizers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import torch
from torch import Tensor

EPSILON = 1e-6
"""DeepFaceLab takes numpy's `resolution` of float32."""
Tensors = list[Tensor]


class UpdateRule(Protocol):
    """What every optimizer is, beside its counter and its learning rate."""

    @property
    def accumulators(self) -> tuple[str, ...]:
        """What the optimizer's file calls its running means, before `_<weight>`."""
        ...

    def directions(self, gradients: Tensors, accumulated: Sequence[Tensors], weights: Tensors, step: int) -> Tensors:
        """Take `gradients` into the `accumulated` means, in place, and return what is subtracted at a rate of 1.

        `accumulated` has one list for each of `accumulators`; `step` counts from 1. `weights` are not changed.
        """
        ...


class AdaBelief:
    """m = 0.9 m + 0.1 g; v = 0.999 v + 0.001 (g - m)²; m / (√v + 1e-6). No bias correction, no decay."""

    accumulators = ("ms", "vs")
    beta1, beta2 = 0.9, 0.999

    def directions(self, gradients: Tensors, accumulated: Sequence[Tensors], weights: Tensors, step: int) -> Tensors:
        del weights, step
        means, variances = accumulated
        torch._foreach_lerp_(means, gradients, 1 - self.beta1)
        surprises = torch._foreach_sub(gradients, means)
        torch._foreach_mul_(variances, self.beta2)
        torch._foreach_addcmul_(variances, surprises, surprises, 1 - self.beta2)
        roots = torch._foreach_sqrt(variances)
        torch._foreach_add_(roots, EPSILON)
        torch._foreach_reciprocal_(roots)
        torch._foreach_mul_(roots, means)
        return list(roots)


class RmsProp:
    """a = 0.9 a + 0.1 g²; g / (√a + 1e-6)."""

    accumulators = ("acc",)
    rho = 0.9

    def directions(self, gradients: Tensors, accumulated: Sequence[Tensors], weights: Tensors, step: int) -> Tensors:
        del weights, step
        (squares,) = accumulated
        torch._foreach_mul_(squares, self.rho)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - self.rho)
        roots = torch._foreach_sqrt(squares)
        torch._foreach_add_(roots, EPSILON)
        return list(torch._foreach_div(gradients, roots))


class AdamW:
    """Adam with bias correction and decoupled decay (Loshchilov and Hutter, 2019): not DeepFaceLab's."""

    accumulators = ("adam_ms", "adam_vs")
    beta1, beta2 = 0.9, 0.999
    epsilon = 1e-8

    def __init__(self, decay: float = 0.01) -> None:
        self.decay = decay

    def directions(self, gradients: Tensors, accumulated: Sequence[Tensors], weights: Tensors, step: int) -> Tensors:
        means, variances = accumulated
        torch._foreach_lerp_(means, gradients, 1 - self.beta1)
        torch._foreach_mul_(variances, self.beta2)
        torch._foreach_addcmul_(variances, gradients, gradients, 1 - self.beta2)
        roots = torch._foreach_div(variances, 1 - self.beta2**step)
        torch._foreach_sqrt_(roots)
        torch._foreach_add_(roots, self.epsilon)
        directions = torch._foreach_div(means, roots)
        torch._foreach_div_(directions, 1 - self.beta1**step)
        torch._foreach_add_(directions, weights, alpha=self.decay)
        return list(directions)


RULES: dict[str, Callable[[], UpdateRule]] = {
    "adabelief": AdaBelief,
    "rmsprop": RmsProp,
    "adamw": AdamW,
}
"""Name in the settings -> rule. DeepFaceLab's option `adabelief` chooses between the first two."""
