"""The networks of a SAEHD model and what trains them, made from the model's options.

Not for files: weights are drawn here, or filled by `trainer.architectures.names`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import nn

from dfl.model_options import number_of
from trainer.architectures.discriminators import CodeDiscriminator, PatchDiscriminator
from trainer.architectures.initial_weights import draw_initial_weights
from trainer.architectures.names import file_tensors
from trainer.architectures.saehd import Saehd
from trainer.architectures.spec import NetworkSpec
from trainer.optimizers.clip import DflClip
from trainer.optimizers.lr_dropout import RandomMasks
from trainer.optimizers.optimizer import Optimizer, StepSettings
from trainer.optimizers.rules import RULES, UpdateRule
from trainer.optimizers.schedule import Schedule

DEFAULT_GAN_DIMS = 16
GENERATOR, CODE_JUDGE, PATCH_JUDGE = "src_dst_opt", "D_code_opt", "GAN_opt"
"""DeepFaceLab's names of the three optimizers."""


@dataclass(frozen=True)
class Networks:
    """The networks of one model; a discriminator only where the options train against it."""

    saehd: Saehd
    code_discriminator: CodeDiscriminator | None
    patch_discriminator: PatchDiscriminator | None

    def weights(self, optimizer: str) -> dict[str, nn.Parameter]:
        """Return what one of the three optimizers trains, by the names and in the order of its file."""
        parts: dict[str, nn.Module | None] = {"D_src": self.patch_discriminator}
        if optimizer == GENERATOR:
            parts = dict(self.saehd.named_children())
        elif optimizer == CODE_JUDGE:
            parts = {"dis": self.code_discriminator}
        return {
            f"{name}/{tensor.key}": tensor.parameter
            for name, part in parts.items()
            if part is not None
            for tensor in file_tensors(part)
        }


def networks_of(options: Mapping[str, object], *, seed: int, recomputes_decoders: bool = False) -> Networks:
    """Make the networks of a model with these options, on the CPU in float32, with first values drawn by `seed`.

    Raise SpecError for options that no network can be made of.
    """
    spec = NetworkSpec.from_options(options)
    code = patch = None
    if spec.kind == "df" and number_of(options, "true_face_power") > 0:
        code = CodeDiscriminator(spec.code_channels, spec.code_side)
    if number_of(options, "gan_power") > 0 and not options.get("pretrain"):
        size = int(number_of(options, "gan_patch_size")) or spec.resolution // 8
        patch = PatchDiscriminator(spec.resolution, size, int(number_of(options, "gan_dims")) or DEFAULT_GAN_DIMS)
    networks = Networks(Saehd(spec, recomputes_decoders=recomputes_decoders), code, patch)
    generator = torch.Generator().manual_seed(seed)
    for network in (networks.saehd, code, patch):
        if network is not None:
            draw_initial_weights(network, generator)
    return networks


def freeze_unwarped(networks: Networks, options: Mapping[str, object]) -> None:
    """Freeze liae's inter_AB while nothing is warped, as DeepFaceLab does; let everything else of SAEHD be trained."""
    is_unwarped = not options.get("random_warp", True) or bool(options.get("pretrain"))
    networks.saehd.requires_grad_(True)
    if networks.saehd.spec.kind == "liae" and is_unwarped:
        networks.saehd.inter_AB.requires_grad_(False)


def optimizer_of(
    networks: Networks,
    name: str,
    options: Mapping[str, object],
    *,
    seed: int,
    accumulators_on: torch.device | None = None,
) -> Optimizer:
    """Make one of the three optimizers as the options want it. The networks are where they stay, in their final form.

    `name` is that of its file, as `src_dst_opt`. LR dropout draws its masks by `seed`.
    """
    drops = options.get("lr_dropout") in ("y", "cpu", True) and not options.get("pretrain")
    settings = StepSettings(
        schedule=Schedule(dropout_cosine=drops),
        clip=DflClip() if options.get("clipgrad") else None,
        lr_dropout=RandomMasks(seed, name) if drops else None,
    )
    rule: UpdateRule = RULES["adabelief" if options.get("adabelief", True) else "rmsprop"]()
    return Optimizer(networks.weights(name), rule, settings, accumulators_on=accumulators_on)
