"""One optimizer: the weights of a network, their accumulators, and the step that changes both.

Each accumulator is one flat buffer for all weights, each weight a range of it, in the order in which the weight's own
numbers lie in memory. A step works on blocks of such ranges: on a CPU so small that a block stays in the cache from
the gradient to the weight, on a GPU so large that a few launches do all.

Not for averaging over ranks, which happens before a step, nor for files (`trainer.optimizers.state_names`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from trainer.errors import TrainerError
from trainer.optimizers.clip import Clip
from trainer.optimizers.lr_dropout import MaskSource
from trainer.optimizers.rules import UpdateRule
from trainer.optimizers.schedule import Schedule

CPU_BLOCK = 65_536
"""Elements of a block: its seven arrays of 256 kB stay in a cache, and a call costs less than its work (measured from
8 192, 2.5 times as slow, to all at once, as fast but with three times the memory)."""
GPU_BLOCK = 64 * 2**20
"""Elements of a block: two temporary arrays of 256 MB."""


@dataclass(frozen=True)
class _Piece:
    """A range of one weight."""

    weight: int
    start: int
    length: int
    place: int
    """Where it begins in the flat buffers."""


@dataclass(frozen=True)
class StepSettings:
    """What a step does beside its rule."""

    schedule: Schedule = field(default_factory=Schedule)
    clip: Clip | None = None
    lr_dropout: MaskSource | None = None


class Optimizer:
    """Changes weights by their gradients. Weights that require no gradient are frozen: nothing of theirs changes."""

    def __init__(
        self,
        weights: Mapping[str, nn.Parameter],
        rule: UpdateRule,
        settings: StepSettings,
        *,
        accumulators_on: torch.device | None = None,
    ) -> None:
        """Take the named weights, in the order of the optimizer's file, once they have device, type and memory format.

        `accumulators_on` is another device for the accumulators than that of the weights (models_opt_on_gpu = False).
        """
        self.names = tuple(weights)
        self.weights = tuple(weights.values())
        self.rule = rule
        self.settings = settings
        self.steps_done = 0
        first = self.weights[0]
        self._device = accumulators_on or first.device
        places = [0]
        for weight in self.weights:
            places.append(places[-1] + weight.numel())
        self._places = places
        self._flat = [torch.zeros(places[-1], dtype=first.dtype, device=self._device) for _ in rule.accumulators]
        self._in_memory_order = [_flat(weight.detach()) for weight in self.weights]
        self._block_size = CPU_BLOCK if first.device.type == "cpu" else GPU_BLOCK

    def accumulator(self, which: int, weight: int) -> Tensor:
        """Return `rule.accumulators[which]` of one weight, in its shape: a view, to read and to fill."""
        like = self.weights[weight]
        return self._flat[which].as_strided(like.shape, like.stride(), self._places[weight])

    def clear_gradients(self) -> None:
        """Forget all gradients, with their memory: the next ones are taken over as they come."""
        for weight in self.weights:
            weight.grad = None

    def step(self) -> float | None:
        """Change the weights by their gradients, and forget these; return the norm that they were clipped by, if any.

        Raise TrainerError where a weight that is not frozen has no gradient: nothing has changed then.
        """
        trained = [number for number, weight in enumerate(self.weights) if weight.requires_grad]
        gradients = {number: self._gradient(number) for number in trained}
        rate = self.settings.schedule.at(self.steps_done)
        norm, factor = None, 1.0
        if self.settings.clip is not None:
            norm = _norm(list(gradients.values()))
            factor = self.settings.clip.factor(norm)
        masks = self._masks()
        for block in self._blocks(trained):
            self._change(block, gradients, factor, rate, masks)
        self.steps_done += 1
        self.clear_gradients()
        return norm

    def _change(
        self, block: Sequence[_Piece], gradients: Mapping[int, Tensor], factor: float, rate: float, masks: list[Tensor]
    ) -> None:
        weights = [self._in_memory_order[one.weight].narrow(0, one.start, one.length) for one in block]
        pieces = [gradients[one.weight].narrow(0, one.start, one.length).to(self._device) for one in block]
        accumulated = [[flat.narrow(0, one.place, one.length) for one in block] for flat in self._flat]
        if factor != 1.0:
            torch._foreach_mul_(pieces, factor)
        near = [weight.to(self._device) for weight in weights]
        directions = self.rule.directions(pieces, accumulated, near, self.steps_done + 1)
        directions = [one.to(weight.device) for one, weight in zip(directions, weights, strict=True)]
        if masks:
            torch._foreach_mul_(directions, [masks[one.weight].narrow(0, one.start, one.length) for one in block])
        torch._foreach_add_(weights, directions, alpha=-rate)

    def _blocks(self, trained: Sequence[int]) -> list[list[_Piece]]:
        blocks: list[list[_Piece]] = [[]]
        room = self._block_size
        for number in trained:
            start, end = 0, self.weights[number].numel()
            while start < end:
                length = min(room, end - start)
                blocks[-1].append(_Piece(number, start, length, self._places[number] + start))
                start += length
                room -= length
                if room == 0:
                    blocks.append([])
                    room = self._block_size
        return [block for block in blocks if block]

    def _masks(self) -> list[Tensor]:
        """A mask for every weight, frozen ones too, in memory order; none without LR dropout."""
        source = self.settings.lr_dropout
        if source is None:
            return []
        drawn = source.masks(self.steps_done, self.weights)
        return [_flat_like(mask, weight) for mask, weight in zip(drawn, self.weights, strict=True)]

    def _gradient(self, number: int) -> Tensor:
        weight = self.weights[number]
        if weight.grad is None:
            raise TrainerError(f"{self.names[number]} is trained but has no gradient: no loss depends on it")
        return _flat_like(weight.grad, weight)


def _flat(values: Tensor) -> Tensor:
    """Return the numbers of a tensor without holes as one row, in the order in which they lie in memory; a view."""
    return values.as_strided((values.numel(),), (1,), values.storage_offset())


def _flat_like(values: Tensor, weight: Tensor) -> Tensor:
    """Return `values` as one row in the memory order of `weight`; a copy where they lie otherwise."""
    if values.stride() != weight.stride():
        values = torch.empty_like(weight).copy_(values)
    return _flat(values)


def _norm(gradients: list[Tensor]) -> float:
    """The norm over all tensors; their own norms are added in float64."""
    norms = torch.stack(list(torch._foreach_norm(gradients)))
    return float(norms.double().square().sum().sqrt())
