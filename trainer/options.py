"""SAEHD's options: what each may be, in DeepFaceLab's order, and how one is changed by `key=value`. Pure.

Limits are those of DeepFaceLab's questions: they hold for answers, never for what a file holds. Whole numbers that went
through a clip are numpy int64 there, and are written so. Source: DeepFaceLab commit 46fc239, models/ModelBase.py and
models/Model_SAEHD/Model.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from dfl.errors import shown
from trainer.architectures.spec import NetworkSpec
from trainer.errors import OptionError, SpecError

Answer = bool | int | float | str | np.int64
_YES, _NO = frozenset(("y", "yes", "true", "1", "on")), frozenset(("n", "no", "false", "0", "off"))


@dataclass(frozen=True)
class Option:
    """One option of SAEHD."""

    name: str
    kind: type[bool] | type[int] | type[float] | type[str]
    lowest: float = 0
    highest: float = float("inf")
    choices: tuple[str, ...] = ()
    unit: int = 1
    """Whole numbers are multiples of it."""
    is_fixed: bool = False
    """Whether it is part of the network, and can be chosen for a new model only."""

    @property
    def expected(self) -> str:
        """What it may be, in words."""
        if self.kind is bool:
            return "y or n"
        if self.choices:
            return ", ".join(self.choices)
        if self.kind is str:
            return "df or liae, alone or with - and letters of udtc"
        unit = f" a multiple of {self.unit}" if self.unit > 1 else ""
        number = "a whole number" if self.kind is int else "a number"
        return f"{number}{unit} from {self.lowest:g}" + (f" to {self.highest:g}" if self.highest < float("inf") else "")


OPTIONS = (
    Option("resolution", int, 64, 640, unit=16, is_fixed=True),
    Option("face_type", str, choices=("h", "mf", "f", "wf", "head"), is_fixed=True),
    Option("models_opt_on_gpu", bool),
    Option("archi", str, is_fixed=True),
    Option("ae_dims", int, 32, 1024, is_fixed=True),
    Option("e_dims", int, 16, 256, unit=2, is_fixed=True),
    Option("d_dims", int, 16, 256, unit=2, is_fixed=True),
    Option("d_mask_dims", int, 16, 256, unit=2, is_fixed=True),
    Option("masked_training", bool),
    Option("eyes_mouth_prio", bool),
    Option("uniform_yaw", bool),
    Option("blur_out_mask", bool),
    Option("adabelief", bool),
    Option("lr_dropout", str, choices=("n", "y", "cpu")),
    Option("random_warp", bool),
    Option("random_hsv_power", float, 0, 0.3),
    Option("true_face_power", float, 0, 1),
    Option("face_style_power", float, 0, 100),
    Option("bg_style_power", float, 0, 100),
    Option("ct_mode", str, choices=("none", "rct", "lct", "mkl", "idt", "sot")),
    Option("clipgrad", bool),
    Option("pretrain", bool),
    Option("autobackup_hour", int, 0, 24),
    Option("write_preview_history", bool),
    Option("target_iter", int),
    Option("random_src_flip", bool),
    Option("random_dst_flip", bool),
    Option("batch_size", int, 1),
    Option("gan_power", float, 0, 5),
    Option("gan_patch_size", int, 3, 640),
    Option("gan_dims", int, 4, 512),
)
"""In the order of a new model's data.dat."""
BY_NAME = {option.name: option for option in OPTIONS}


@dataclass(frozen=True)
class Change:
    """One option that gets another value."""

    name: str
    before: object
    after: Answer


def changes_of(options: Mapping[str, object], settings: Iterable[str]) -> tuple[Change, ...]:
    """Given `key=value` settings, return what they change in the options of an existing model.

    Raise OptionError for a name that is none, a value that it may not have, and what is fixed since the model was made.
    """
    found: dict[str, Change] = {}
    for setting in settings:
        name, equals, text = setting.partition("=")
        option = BY_NAME.get(name.strip())
        if not equals or option is None:
            raise OptionError(
                f"{shown(setting)} is no setting of an option", hint=f"key=value with one of: {', '.join(BY_NAME)}"
            )
        before, after = options.get(option.name), parse_answer(option, text.strip())
        if before != after and option.is_fixed:
            raise OptionError(
                f"{option.name} is {shown(before)} since the model was made and cannot become {shown(after)}",
                hint="make a new model, and import from this one",
            )
        if before != after or type(before) is not type(after):
            found[option.name] = Change(option.name, before, after)
    return tuple(found.values())


def parse_answer(option: Option, text: str) -> Answer:
    """Return the value that a text means; raise OptionError, with what is expected, where it means none."""
    refused = OptionError(f"{option.name} is {shown(text)}, expected {option.expected}")
    if option.kind is bool:
        if text.lower() not in _YES | _NO:
            raise refused
        return text.lower() in _YES
    if option.kind is str:
        if option.choices and text not in option.choices:
            raise refused
        return text
    try:
        number = int(text) if option.kind is int else float(text)
    except ValueError:
        raise refused from None
    if not option.lowest <= number <= option.highest or (option.kind is int and number % option.unit):
        raise refused
    return np.int64(number) if option.is_fixed else number


def problems_of(options: Mapping[str, object]) -> tuple[str, ...]:
    """Return what is wrong with the options of a model as its file holds them, in words; nothing where all is well."""
    problems = [f"{option.name} is missing" for option in OPTIONS if _is_missing(option, options)]
    try:
        NetworkSpec.from_options(options)
    except SpecError as error:
        problems.append(error.message)
    for option in OPTIONS:
        value = options.get(option.name)
        if value is not None and option.choices and value not in option.choices and not isinstance(value, bool):
            problems.append(f"{option.name} is {shown(value)}, expected {option.expected}")
    return tuple(problems)


def _is_missing(option: Option, options: Mapping[str, object]) -> bool:
    is_of_gan = option.name in ("gan_patch_size", "gan_dims")
    return option.name not in options and not (is_of_gan and not options.get("gan_power"))
