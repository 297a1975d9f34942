"""What a sample is made like, and what it consists of.

A sample is four pictures of one face: the warped one that the network is shown, the target that it shall return, the
mask of the face, and a mask of eyes and mouth. All of them are BGR or one channel, `resolution` px a side.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Literal, TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from dfl.face_tables import FACE_TYPES
from trainer.errors import SettingsError

ColourTransferName = Literal["none", "rct", "lct", "mkl", "idt", "sot"]
FACE_TYPE_OPTIONS = {"h": "half_face", "mf": "midfull_face", "f": "full_face", "wf": "whole_face", "head": "head"}
"""DeepFaceLab's `face_type` option -> the face type."""
SCALE_RANGE = 0.15
"""SAEHD's; Quick96 and XSeg take 0.05."""
_RESOLUTIONS = range(64, 641)
"""Of SAEHD. Below 64 px DeepFaceLab warps at 64 px, which none of its models does."""
_LARGEST_HSV_POWER = 0.3


@dataclass(frozen=True)
class SampleSettings:
    """How the samples of one side are made."""

    resolution: int
    """Side of every output, px."""
    face_type: str
    """The model's: a name of dfl.face_tables.FACE_TYPES that has a crop."""
    random_warp: bool = True
    random_flip: bool = False
    """Mirror 4 of 10 samples."""
    hsv_power: float = 0.0
    """0..0.3: how far hue, saturation and value of the warped picture are moved."""
    colour_transfer: ColourTransferName = "none"
    """How the colours of a picture of the other side are given to this one."""
    random_background: bool = False
    """Put another picture of the same side behind the face, in half of the samples. Not of DeepFaceLab."""
    scale_range: float = SCALE_RANGE
    """A face is scaled by 1 / (1 + scale_range) .. 1 + scale_range."""

    def __post_init__(self) -> None:
        if self.resolution not in _RESOLUTIONS:
            raise SettingsError(f"samples of {self.resolution} px: expected {_RESOLUTIONS[0]} to {_RESOLUTIONS[-1]} px")
        facts = FACE_TYPES.get(self.face_type)
        if facts is None or facts.padding is None:
            known = ", ".join(name for name, one in FACE_TYPES.items() if one.padding is not None)
            raise SettingsError(f"samples of face type {self.face_type!r}: expected one of {known}")
        if not 0.0 <= self.hsv_power <= _LARGEST_HSV_POWER:
            raise SettingsError(f"samples with hsv_power {self.hsv_power}: expected 0 to {_LARGEST_HSV_POWER}")


Value = TypeVar("Value", np.uint8, np.float32)


@dataclass(frozen=True, eq=False)
class Sample(Generic[Value]):
    """One sample, or many with a first axis more: float32 of 0..1 from `trainer.samples.exact`, uint8 of 0..255 from
    `trainer.samples.fast`."""

    warped: NDArray[Value]
    """(R, R, 3)."""
    target: NDArray[Value]
    """(R, R, 3)."""
    masks: NDArray[Value]
    """(2, R, R): the face; eyes and mouth, of which the largest value is 1 (255), unless all of them are 0."""


AnySample: TypeAlias = Sample[np.uint8] | Sample[np.float32]
