"""The options of a model, as data.dat holds them (dfl.training_state): what each of them changes. Pure.

A trainer asks for them when a model is made, and for some at every start. Source: DeepFaceLab commit 46fc239,
models/Model_SAEHD, Model_AMP and ModelBase.py.
"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping

NETWORK_OPTIONS: tuple[str, ...] = (
    "archi",
    "resolution",
    "face_type",
    "ae_dims",
    "inter_dims",
    "e_dims",
    "d_dims",
    "d_mask_dims",
    "pretrain",
)
"""Options that make another network, or train another part of it: must be equal."""
OPTIMIZER_OPTIONS = ("adabelief",)
"""Must be equal where optimizer files are averaged: the accumulators have other names."""
GAN_OPTIONS = ("gan_patch_size", "gan_dims")
"""Must be equal where GAN files are averaged."""
TRAINING_OPTIONS = (
    "batch_size", "lr_dropout", "random_warp", "gan_power", "true_face_power", "face_style_power", "bg_style_power",
    "ct_mode", "masked_training", "eyes_mouth_prio", "uniform_yaw", "blur_out_mask", "clipgrad", "random_hsv_power",
    "random_src_flip", "random_dst_flip",
)  # fmt: skip
"""Options that change what is learnt but not what it is: a difference is reported, not refused."""

LR_PERIOD = 500
"""Iterations of the cosine that the learning rate is multiplied with while lr_dropout is on (lr_cos)."""


def plain_option(name: str, value: object) -> Hashable:
    """An option's value in the form in which equal ones are equal: `liae-ud` is `liae-du`."""
    if name == "archi" and isinstance(value, str):
        kind, _, flags = value.partition("-")
        return f"{kind}-{''.join(sorted(flags))}"
    return value if isinstance(value, Hashable) else repr(value)


def training_options_text(options: Mapping[str, object]) -> str:
    """All options that change the loss as one line; the stage detector begins anew when it changes."""
    names = NETWORK_OPTIONS + GAN_OPTIONS + OPTIMIZER_OPTIONS + TRAINING_OPTIONS
    return "; ".join(f"{name}={plain_option(name, options.get(name))!r}" for name in names)


def trains_gan(options: Mapping[str, object]) -> bool:
    """Whether a trainer with these options trains a GAN; pretraining switches it off."""
    power = options.get("gan_power")
    return isinstance(power, int | float) and power > 0 and not options.get("pretrain")


def learning_rate_fraction(options: Mapping[str, object], iteration: int) -> float | None:
    """Return what part of the full learning rate a trainer has at `iteration`; None without lr_dropout.

    (cos(2π · iteration / LR_PERIOD) + 1) / 2: DeepFaceLab's core/leras/optimizers.
    """
    if options.get("lr_dropout") not in ("y", "cpu", True):
        return None
    return (math.cos(2 * math.pi * iteration / LR_PERIOD) + 1) / 2


def is_at_goal(options: Mapping[str, object], iteration: int) -> bool:
    """Say whether a trainer has reached its target_iter: it then neither trains nor saves again, and stays alive."""
    target = options.get("target_iter", 0)
    return isinstance(target, int) and 0 < target <= iteration


def number_of(options: Mapping[str, object], name: str) -> float:
    """Return a numeric option; 0 where it is absent or no number."""
    value = options.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0
