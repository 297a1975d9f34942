"""Tables of config.toml about faces that are extracted: [inbox.masks]."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from daemon.config.values import STRICT, ConfigPath


@dataclass(frozen=True)
class MasksConfig:
    """Masks that are put into the faces of each clip once it is extracted, as `dfld mask` does."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    source: Annotated[
        Literal["hull", "xseg", "parser", "auto", "intersect", "union"] | None, Field(examples=["auto"])
    ] = None
    """Whose mask a face gets; auto = polygons that a person drew, else XSeg, else the hull, each only where its checks
    hold. Left out = no face gets one, and DeepFaceLab draws the hull when it needs it."""
    xseg_model: Annotated[ConfigPath | None, Field(examples=["/srv/dfld/xseg"])] = None
    """The folder in which DeepFaceLab trained XSeg (`XSeg_256.npy`)."""
    xseg_face_type: Annotated[
        Literal["half_face", "midfull_face", "full_face", "whole_face", "head"] | None, Field(examples=["whole_face"])
    ] = None
    """The crop that XSeg was trained on; left out = as its `XSeg_data.dat` says."""
