"""What a SAEHD network is made of: its options, as data.dat holds them, checked. Pure.

`archi` is `df` or `liae`, alone or with `-` and letters: `u` normalises the encoder's answer, `d` lets the decoder
make four pixels where it made one, `t` adds a level and residual blocks, `c` takes x·cos(x) for every leaky ReLU.
Source: DeepFaceLab commit 46fc239, models/Model_SAEHD/Model.py and core/leras/archis/DeepFakeArchi.py.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal

from dfl.errors import shown
from trainer.errors import SpecError

Kind = Literal["df", "liae"]
_ARCHI = re.compile(r"(df|liae)(?:-([udtc]{1,16}))?")
MAX_DIMS = 4096
"""DeepFaceLab asks for at most 1024; files may hold more, and a hostile one must not take all memory."""
MAX_RESOLUTION = 2048
"""DeepFaceLab asks for at most 640."""


@dataclass(frozen=True)
class NetworkSpec:
    """One SAEHD network, exactly. Raise SpecError, with the option's name, for what DeepFaceLab could not build."""

    archi: str
    """As the options spell it: `liae-ud` and `liae-du` are the same network, and each keeps its spelling."""
    resolution: int
    """Side of the pictures, px: a multiple of 16, with `d` or `t` of 32."""
    ae_dims: int
    """Channels of the code."""
    e_dims: int
    """Channels of the encoder's first level."""
    d_dims: int
    """Channels of the decoder's last level, before it is doubled."""
    d_mask_dims: int
    """The same, of the decoder's branch for the mask."""

    def __post_init__(self) -> None:
        if not _ARCHI.fullmatch(self.archi):
            raise SpecError(
                f"archi is {shown(self.archi)}, expected df or liae, or one of them with - and letters of udtc"
            )
        unit = 32 if self.doubles_output or self.is_deeper else 16
        if not 0 < self.resolution <= MAX_RESOLUTION or self.resolution % unit:
            raise SpecError(
                f"resolution is {self.resolution}, of {self.archi} expected a multiple of {unit} up to {MAX_RESOLUTION}"
            )
        for name in ("ae_dims", "e_dims", "d_dims", "d_mask_dims"):
            if not 0 < getattr(self, name) <= MAX_DIMS:
                raise SpecError(f"{name} is {getattr(self, name)}, expected 1 to {MAX_DIMS}")

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> NetworkSpec:
        """Take the network's options out of all options of a model; raise SpecError for one that is missing."""
        archi = options.get("archi")
        if not isinstance(archi, str):
            raise SpecError(f"archi is {shown(archi)}, expected a text such as liae-ud")
        numbers = {}
        for field in fields(cls)[1:]:
            value = options.get(field.name)
            if not isinstance(value, int) or isinstance(value, bool):
                raise SpecError(f"{field.name} is {shown(value)}, expected a whole number")
            numbers[field.name] = value
        return cls(archi, **numbers)

    @property
    def kind(self) -> Kind:
        """Whether src and dst have a decoder each (df) or a code in common (liae)."""
        return "df" if self.archi.startswith("df") else "liae"

    @property
    def letters(self) -> str:
        """What stands behind the `-`; empty where nothing does."""
        return self.archi.partition("-")[2]

    @property
    def normalises_code(self) -> bool:
        """Letter u."""
        return "u" in self.letters

    @property
    def doubles_output(self) -> bool:
        """Letter d."""
        return "d" in self.letters

    @property
    def is_deeper(self) -> bool:
        """Letter t."""
        return "t" in self.letters

    @property
    def activates_by_cosine(self) -> bool:
        """Letter c."""
        return "c" in self.letters

    @property
    def encoded_side(self) -> int:
        """Side of the encoder's answer."""
        return self.resolution // (32 if self.is_deeper else 16)

    @property
    def dense_side(self) -> int:
        """Side of what the inter's dense layers give."""
        return self.resolution // (32 if self.doubles_output else 16)

    @property
    def code_side(self) -> int:
        """Side of the code that a decoder gets."""
        return self.dense_side * (1 if self.is_deeper else 2)

    @property
    def inter_channels(self) -> int:
        """Channels of one inter's answer."""
        return self.ae_dims * (1 if self.kind == "df" else 2)

    @property
    def code_channels(self) -> int:
        """Channels of the code that a decoder gets: of liae, those of two inters."""
        return self.inter_channels * (1 if self.kind == "df" else 2)
