"""The files of a model: `<name>_<Class>_<part>` in one folder, and which parts are in use. Pure.

    alice_SAEHD_data.dat       iteration, options, losses (dfl.training_state); written last
    alice_SAEHD_summary.txt    for people; written first
    alice_SAEHD_encoder.npy    weights (dfl.weights), …
    alice_SAEHD_src_dst_opt.npy   the optimizer's state, in the same form

`encoder.npy` is a *part*: what follows the prefix. Source: DeepFaceLab commit 46fc239, models/ModelBase.py and
each model's `onInitialize`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from dfl.model_options import number_of

DATA = "data.dat"
SUMMARY = "summary.txt"

WEIGHTS_OF_CLASS = {
    "AMP": ("encoder.npy", "inter_src.npy", "inter_dst.npy", "decoder.npy"),
    "Quick96": ("encoder.npy", "inter.npy", "decoder_src.npy", "decoder_dst.npy"),
    "XSeg": ("256.npy",),
}
"""DeepFaceLab's parts, in its save order; SAEHD depends on its options. `XSeg_256.npy` is `<name>` XSeg, part 256."""
OPTIMIZERS_OF_CLASS = {"XSeg": ("256_opt.npy",)}
_FILE_NAME = re.compile(r"((?:.+_)?(?:SAEHD|AMP|AMPLegacy|Quick96|XSeg|ME|Q512))_(.+)")
"""DeepFaceLab's model classes, and those of its forks ME and MVE."""


@dataclass(frozen=True)
class ModelName:
    """The name that every file of one model begins with, `<name>_<Class>_`."""

    name: str
    """The user's part; spaces are normal, `_` is not (DeepFaceLab splits there)."""
    model_class: str
    """SAEHD, AMP, Quick96 or XSeg."""

    @property
    def prefix(self) -> str:
        return f"{self.name}_{self.model_class}"

    def file_name(self, part: str) -> str:
        """Return the full file name of `part`, as `encoder.npy` or `data.dat`."""
        return f"{self.prefix}_{part}"


def split_file_name(name: str) -> tuple[str, str] | None:
    """Given a file name, return prefix and part: `alice_SAEHD`, `encoder.npy`; None for no model's file."""
    found = _FILE_NAME.fullmatch(name)
    return None if found is None else (found[1], found[2])


def is_optimizer(part: str) -> bool:
    """Say whether a part is optimizer state, which normally stays on its machine."""
    return part.endswith("_opt.npy")


def is_weights(part: str) -> bool:
    """Say whether a part holds weights, as far as its name says."""
    return part.endswith(".npy") and not is_optimizer(part)


def weight_parts(model: ModelName, options: Mapping[str, object], present: Iterable[str]) -> tuple[str, ...]:
    """Return the weight files that a trainer with these options reads and writes, in its save order.

    Files of a feature that was switched off stay behind in the folder; the options say which. For a class that is
    not DeepFaceLab's own (forks: ME, Q512), every `.npy` that is no optimizer's counts, from `present`.
    """
    here = set(present)
    if model.model_class == "SAEHD":
        parts = _saehd_parts(options)
    elif model.model_class in WEIGHTS_OF_CLASS:
        parts = list(WEIGHTS_OF_CLASS[model.model_class])
    else:
        return tuple(sorted(filter(is_weights, here)))
    if model.model_class in ("SAEHD", "AMP") and number_of(options, "gan_power") and not options.get("pretrain"):
        parts.append("GAN.npy")
    return tuple(parts)


def optimizer_parts(model: ModelName, options: Mapping[str, object], present: Iterable[str]) -> tuple[str, ...]:
    """Return the optimizer files that belong to the weights in use and are there."""
    here = set(present)
    weights = weight_parts(model, options, here)
    wanted = list(OPTIMIZERS_OF_CLASS.get(model.model_class, ("src_dst_opt.npy",)))
    wanted += ["GAN_opt.npy"] if "GAN.npy" in weights else []
    wanted += ["D_code_opt.npy"] if "code_discriminator.npy" in weights else []
    return tuple(part for part in wanted if part in here)


def _saehd_parts(options: Mapping[str, object]) -> list[str]:
    if str(options.get("archi", "liae-ud")).startswith("liae"):
        return ["encoder.npy", "inter_AB.npy", "inter_B.npy", "decoder.npy"]
    parts = ["encoder.npy", "inter.npy", "decoder_src.npy", "decoder_dst.npy"]
    return [*parts, "code_discriminator.npy"] if number_of(options, "true_face_power") else parts
