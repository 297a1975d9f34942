"""One training step of SAEHD, as DeepFaceLab orders it: the generator, then the discriminators against the new one.

Gradients are those of the sum over the batch. A step may be given several batches, whose gradients are added: that is
one step on the larger batch. Each discriminator's step is a forward pass of its own, which computes only what it
needs. Source: DeepFaceLab commit 46fc239, models/Model_SAEHD/Model.py (onTrainOneIter).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from trainer.architectures.discriminators import CodeDiscriminator, PatchDiscriminator
from trainer.architectures.saehd import Branch, Saehd
from trainer.losses.batch import Batch, Targets, targets_of
from trainer.losses.saehd_losses import (
    GeneratorLosses,
    LossSettings,
    code_discriminator_loss,
    generator_losses,
    patch_discriminator_loss,
)
from trainer.optimizers.optimizer import Optimizer
from trainer.precision import Precision, network_context

Discriminator = TypeVar("Discriminator", bound=nn.Module)
Judged = TypeVar("Judged")


@dataclass(frozen=True)
class StepLosses:
    """Means over the samples of a step, as tensors without a gradient: reading one waits for the GPU."""

    src: Tensor
    dst: Tensor
    code_discriminator: Tensor | None
    patch_discriminator: Tensor | None


@dataclass(frozen=True)
class Judge(Generic[Discriminator]):
    """A discriminator and what trains it."""

    network: Discriminator
    optimizer: Optimizer


class TrainingStep:
    """Everything that one iteration changes. Call it with the samples of the iteration."""

    def __init__(
        self,
        network: Saehd,
        optimizer: Optimizer,
        losses: LossSettings,
        *,
        code_judge: Judge[CodeDiscriminator] | None = None,
        patch_judge: Judge[PatchDiscriminator] | None = None,
        trains_code_judge: bool = True,
        precision: Precision = "fp32",
    ) -> None:
        """Train `network` by `optimizer`. `trains_code_judge` is False while a model is pretrained."""
        self.network = network
        self.optimizer = optimizer
        self.losses = losses
        self.code_judge = code_judge
        self.patch_judge = patch_judge
        self.trains_code_judge = trains_code_judge
        self.precision = precision

    def __call__(self, batches: Sequence[Batch]) -> StepLosses:
        """Do one iteration on all of `batches` together."""
        targets = [self._targets(batch) for batch in batches]
        shown = self._generator_step(batches, targets)
        code_loss = patch_loss = None
        if self.code_judge is not None and self.trains_code_judge:
            code_loss = _judge_step(self.code_judge, (self.code_loss(batch) for batch in batches))
        if self.patch_judge is not None:
            losses = (self.patch_loss(batch, src) for batch, (src, _) in zip(batches, targets, strict=True))
            patch_loss = _judge_step(self.patch_judge, losses)
        src = torch.cat([one.src.detach() for one in shown]).mean()
        dst = torch.cat([one.dst.detach() for one in shown]).mean()
        return StepLosses(src, dst, code_loss, patch_loss)

    def generator_losses(self, batch: Batch, src: Targets, dst: Targets) -> GeneratorLosses:
        """Return the generator's losses of one batch."""
        with self._context(batch.src.warped):
            answers = self.network(batch.src.warped, batch.dst.warped, self.losses.branches)
        code, patch = self.code_judge, self.patch_judge
        with _untrained(code), _untrained(patch):
            return generator_losses(
                self.losses, answers, src, dst,
                judge_code=None if code is None else self._in_precision(code.network),
                judge_picture=None if patch is None else self._in_precision(patch.network),
            )  # fmt: skip

    def code_loss(self, batch: Batch) -> Tensor:
        """Return the code discriminator's loss (batch,), of codes that the generator is not trained by."""
        assert self.code_judge is not None
        with self._context(batch.src.warped), torch.no_grad():
            wanted: frozenset[Branch] = frozenset(("src_code", "dst_code"))
            codes = self.network(batch.src.warped, batch.dst.warped, wanted)
        return code_discriminator_loss(
            self._in_precision(self.code_judge.network), codes["src_code"], codes["dst_code"]
        )

    def patch_loss(self, batch: Batch, src: Targets) -> Tensor:
        """Return the GAN discriminator's loss (batch,), of pictures that the generator is not trained by."""
        assert self.patch_judge is not None
        with self._context(batch.src.warped), torch.no_grad():
            wanted: frozenset[Branch] = frozenset(("src_src",))
            answers = self.network(batch.src.warped, batch.dst.warped, wanted)
        return patch_discriminator_loss(self._in_precision(self.patch_judge.network), src, answers["src_src"])

    def _generator_step(
        self, batches: Sequence[Batch], targets: Sequence[tuple[Targets, Targets]]
    ) -> list[GeneratorLosses]:
        found = []
        for batch, (src, dst) in zip(batches, targets, strict=True):
            losses = self.generator_losses(batch, src, dst)
            losses.total.sum().backward()
            found.append(losses)
        self.optimizer.step()
        return found

    def _targets(self, batch: Batch) -> tuple[Targets, Targets]:
        masked, blurred = self.losses.masked_training, self.losses.blur_out_mask
        with torch.no_grad():
            src, dst = (
                targets_of(side, masked_training=masked, blur_out_mask=blurred) for side in (batch.src, batch.dst)
            )
        return src, dst

    def _context(self, like: Tensor) -> AbstractContextManager[object]:
        return network_context(self.precision, like.device)

    def _in_precision(self, judge: Callable[[Tensor], Judged]) -> Callable[[Tensor], Judged]:
        def judged(given: Tensor) -> Judged:
            with self._context(given):
                return judge(given)

        return judged


@contextmanager
def _untrained(judge: Judge[Discriminator] | None) -> Iterator[None]:
    """Compute no gradients of a discriminator's own weights: the generator's step does not change them."""
    if judge is not None:
        judge.network.requires_grad_(False)
    yield
    if judge is not None:
        judge.network.requires_grad_(True)


def _judge_step(judge: Judge[Discriminator], losses: Iterable[Tensor]) -> Tensor:
    """Train a discriminator by its losses (batch,), one backward pass each; return their mean."""
    shown = []
    for loss in losses:
        loss.sum().backward()
        shown.append(loss.detach())
    judge.optimizer.step()
    return torch.cat(shown).mean()
