"""A training step made of a model's networks and options: the one place that knows which option means what."""

from __future__ import annotations

from collections.abc import Mapping

import torch

from trainer.losses.saehd_losses import LossSettings
from trainer.networks import CODE_JUDGE, GENERATOR, PATCH_JUDGE, Networks, freeze_unwarped, optimizer_of
from trainer.optimizers.optimizer import Optimizer
from trainer.precision import Precision
from trainer.training_step import Judge, TrainingStep


def training_step_of(
    networks: Networks,
    options: Mapping[str, object],
    losses: LossSettings,
    *,
    seed: int,
    precision: Precision = "fp32",
    accumulators_on: torch.device | None = None,
) -> TrainingStep:
    """Make what trains these networks as the options say, with accumulators of 0.

    The networks have their device, type and memory format. `seed` is that of LR dropout; `accumulators_on` is another
    device for the accumulators (models_opt_on_gpu = False).
    """
    freeze_unwarped(networks, options)

    def optimizer(name: str) -> Optimizer:
        return optimizer_of(networks, name, options, seed=seed, accumulators_on=accumulators_on)

    code, patch = networks.code_discriminator, networks.patch_discriminator
    return TrainingStep(
        networks.saehd,
        optimizer(GENERATOR),
        losses,
        code_judge=None if code is None else Judge(code, optimizer(CODE_JUDGE)),
        patch_judge=None if patch is None else Judge(patch, optimizer(PATCH_JUDGE)),
        trains_code_judge=not options.get("pretrain"),
        precision=precision,
    )
