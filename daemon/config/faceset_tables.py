"""Tables of config.toml about faces that are extracted: [inbox.masks], [inbox.curate]."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field

from daemon.config.values import STRICT, ConfigPath
from engine.facesets.curation.settings import BEST_OF_CELL, CurationSettings


@dataclass(frozen=True)
class MasksConfig:
    """Masks that are put into the faces of each clip once it is extracted, as `dfld mask` does."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    source: Annotated[
        Literal["hull", "xseg", "parser", "auto", "intersect", "union"] | None, Field(examples=["auto"])
    ] = None
    """Whose mask a face gets; auto = polygons that a person drew, else XSeg, the parser or the hull, the first whose
    checks hold. Left out = no face gets one, and DeepFaceLab draws the hull when it needs it."""
    xseg_model: Annotated[ConfigPath | None, Field(examples=["/srv/dfld/xseg"])] = None
    """The folder in which DeepFaceLab trained XSeg (`XSeg_256.npy`)."""
    xseg_face_type: Annotated[
        Literal["half_face", "midfull_face", "full_face", "whole_face", "head"] | None, Field(examples=["whole_face"])
    ] = None
    """The crop that XSeg was trained on; left out = as its `XSeg_data.dat` says."""
    parser: Annotated[ConfigPath | None, Field(examples=["/srv/dfld/face-parser.onnx"])] = None
    """The ONNX file of a face parser; `dfld models` names some."""
    include: tuple[Literal["glasses", "ears", "hair", "hat"], ...] = ("glasses",)
    """What the parser's mask holds beside the face."""


@dataclass(frozen=True)
class CurateConfig:
    """Faces that training does not need are set aside, as `dfld curate` does, once all clips of the side are done."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT
    enabled: bool = False
    """Curate. Faces of data_dst are marked and counted, and never moved."""
    match: Annotated[ConfigPath | None, Field(examples=["/srv/dfld/workspaces/alice"])] = None
    """The workspace or folder of the faces that the model is to be used on: what they need is kept, and what is missing
    for them is said."""
    near_duplicate_radius: Annotated[float, Field(ge=0, le=10)] = 1.75
    """Faces less apart than this, in noticeable steps, show the same, and the best of them stays; 0 = all stay."""
    per_cell: Annotated[int, Field(ge=BEST_OF_CELL, le=1_000_000)] = 60
    """Most faces of one pose, light and expression."""
    upscale_max: Annotated[float, Field(ge=0.1, le=100)] = 3.0
    """A face that alignment enlarged more has no detail to learn from."""
    cut_off_max: Annotated[float, Field(ge=0, le=1)] = 0.15
    """Most of a crop that may lie outside the frame."""
    mask_over_hull_min: Annotated[float, Field(ge=0, le=1)] = 0.6
    """Less of the face inside its mask: something covers it."""

    @property
    def settings(self) -> CurationSettings:
        return CurationSettings(**{one.name: getattr(self, one.name) for one in fields(CurationSettings)})
