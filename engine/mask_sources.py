"""The sources of masks that need weights, opened as a request names them: only those that its mode asks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.masks.choose import MaskMode, MaskSources
from engine.masks.parser import DEFAULT_INCLUDE, open_parser
from engine.masks.xseg.xseg_masks import open_xseg
from engine.models.accelerators import Device

ASKED_OF_XSEG: tuple[MaskMode, ...] = ("xseg", "auto", "intersect", "union")
ASKED_OF_PARSER: tuple[MaskMode, ...] = ("parser", "auto", "intersect", "union")


@dataclass(frozen=True)
class SourceSettings:
    """Which weights there are."""

    mode: MaskMode
    xseg_model: Path | None = None
    """The folder in which DeepFaceLab trained XSeg."""
    xseg_face_type: str | None = None
    """The crop that it was trained on; None = what its data.dat says."""
    parser: Path | None = None
    """The ONNX file of a face parser."""
    include: tuple[str, ...] = DEFAULT_INCLUDE
    """What the parser's mask holds beside the face."""
    cache: Path = Path()
    """Where converted networks are kept."""
    device: Device = "auto"


@dataclass(frozen=True)
class OpenedSources:
    """Sources, ready to run, and what decides their masks."""

    sources: MaskSources
    made_by: str
    """Each source with the hash of its weights and all its settings, one line a source."""


def open_mask_sources(settings: SourceSettings) -> OpenedSources:
    """Open the sources that a mode asks and that have weights. Raise SettingsError where the mode needs one that has
    none, and as engine.masks.xseg.xseg_masks.open_xseg and engine.masks.parser.open_parser."""
    xseg = None
    made_by: list[str] = []
    if settings.xseg_model is not None and settings.mode in ASKED_OF_XSEG:
        xseg = open_xseg(settings.xseg_model, settings.cache, face_type=settings.xseg_face_type, device=settings.device)
        made_by.append(f"xseg {xseg.model_sha} {xseg.face_type}")
    parser = None
    if settings.parser is not None and settings.mode in ASKED_OF_PARSER:
        parser = open_parser(settings.parser, include=settings.include, device=settings.device)
        made_by.append(f"parser {parser.model_sha} {' '.join(sorted(settings.include))}")
    sources = MaskSources(xseg=xseg, parser=parser)
    sources.require(settings.mode)
    return OpenedSources(sources, "\n".join(made_by))
