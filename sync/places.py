"""Where dfld keeps things in a machine's model folder, and which files of a model are in use. Pure.

Everything of dfld's lies in `<model dir>/.dfld/<name>_<Class>/`: on the same disk as the model, so that a rename or a
hard link works, and out of the way of DeepFaceLab, which looks at files of the model folder only.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from sync.types import ModelName

DATA = "data.dat"
SUMMARY = "summary.txt"

WEIGHTS_OF_CLASS = {
    "AMP": ("encoder.npy", "inter_src.npy", "inter_dst.npy", "decoder.npy"),
    "Quick96": ("encoder.npy", "inter.npy", "decoder_src.npy", "decoder_dst.npy"),
    "XSeg": ("256.npy",),
}
"""DeepFaceLab's parts, in its save order; SAEHD depends on its options. `XSeg_256.npy` is `<name>` XSeg, part 256."""
OPTIMIZERS_OF_CLASS = {"XSeg": ("256_opt.npy",)}


@dataclass(frozen=True)
class RemotePlaces:
    """Paths on one machine for one model."""

    model_dir: str
    model: ModelName

    @property
    def own(self) -> str:
        return f"{self.model_dir}/.dfld/{self.model.prefix}"

    def live(self, part: str) -> str:
        """Where the trainer reads and writes `part`."""
        return f"{self.model_dir}/{self.model.file_name(part)}"

    def snapshot(self, number: int) -> str:
        """Folder of hard links that hold one save still while it is pulled."""
        return f"{self.own}/snapshot-{number:06d}"

    def staged(self, number: int) -> str:
        """Folder of the files that a round will put in place."""
        return f"{self.own}/round-{number:06d}"

    @property
    def given(self) -> str:
        """What was given last: round and hashes, written after the last file is in place."""
        return f"{self.own}/given.json"

    @property
    def stopping(self) -> str:
        """Lies there from just before a trainer is asked to stop until it has ended."""
        return f"{self.own}/stopping.json"

    @property
    def hook(self) -> str:
        return f"{self.own}/hook.py"

    @property
    def request(self) -> str:
        return f"{self.own}/request.json"

    @property
    def answer(self) -> str:
        return f"{self.own}/answer.json"

    @property
    def alive(self) -> str:
        return f"{self.own}/alive.json"


def places_of(model_dir: str, model: ModelName) -> RemotePlaces:
    """Return the places for a model folder as a person wrote it: backslashes and a last slash are forgiven."""
    return RemotePlaces(model_dir.replace("\\", "/").rstrip("/") or "/", model)


def is_optimizer(part: str) -> bool:
    """Say whether a part is optimizer state, which normally stays on its machine."""
    return part.endswith("_opt.npy")


def is_weights(part: str) -> bool:
    """Say whether a part holds weights, as far as its name says."""
    return part.endswith(".npy") and not is_optimizer(part)


def weight_parts(model: ModelName, options: Mapping[str, Any], present: Iterable[str]) -> tuple[str, ...]:
    """Return the weight files that a trainer with these options reads and writes, in its save order.

    Files of a feature that was switched off stay behind in the folder, stale; the options tell. For a class that is
    not DeepFaceLab's own (forks: ME, Q512), every `.npy` that is no optimizer's counts, from `present`.
    """
    here = set(present)
    if model.model_class == "SAEHD":
        parts = _saehd_parts(options)
    elif model.model_class in WEIGHTS_OF_CLASS:
        parts = list(WEIGHTS_OF_CLASS[model.model_class])
    else:
        return tuple(sorted(filter(is_weights, here)))
    if _number(options, "gan_power") and not options.get("pretrain") and model.model_class in ("SAEHD", "AMP"):
        parts.append("GAN.npy")
    return tuple(parts)


def optimizer_parts(model: ModelName, options: Mapping[str, Any], present: Iterable[str]) -> tuple[str, ...]:
    """Return the optimizer files that belong to the weights in use and are there."""
    here = set(present)
    weights = weight_parts(model, options, here)
    wanted = list(OPTIMIZERS_OF_CLASS.get(model.model_class, ("src_dst_opt.npy",)))
    wanted += ["GAN_opt.npy"] if "GAN.npy" in weights else []
    wanted += ["D_code_opt.npy"] if "code_discriminator.npy" in weights else []
    return tuple(part for part in wanted if part in here)


def _saehd_parts(options: Mapping[str, Any]) -> list[str]:
    if str(options.get("archi", "liae-ud")).startswith("liae"):
        return ["encoder.npy", "inter_AB.npy", "inter_B.npy", "decoder.npy"]
    parts = ["encoder.npy", "inter.npy", "decoder_src.npy", "decoder_dst.npy"]
    return [*parts, "code_discriminator.npy"] if _number(options, "true_face_power") else parts


def _number(options: Mapping[str, Any], name: str) -> float:
    value = options.get(name, 0)
    return float(value) if isinstance(value, int | float) else 0.0
