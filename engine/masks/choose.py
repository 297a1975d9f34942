"""Which mask a face gets, and why no other. Runs sources; reads and writes no file.

    auto                a person's polygons > the own XSeg > a parser > the hull; what the checks refuse is not taken
    intersect           polygons > what XSeg and parser both take for the face > the hull
    union               polygons > what XSeg or parser takes for the face > the hull
    hull, xseg, parser  that source alone, as DeepFaceLab applies it: the checks are measured, and refuse nothing

Polygons of a person are never changed. In the first three, what polygons exclude without including anything is cut out
of the mask that is taken, and eyes and a mouth that they exclude need not be covered.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from engine.errors import SettingsError
from engine.masks.checks import MaskCheck, check_mask, failed
from engine.masks.hull import HullMasks
from engine.masks.polygons import PolygonMasks, draw_polygons, excluded_by
from engine.masks.source import FaceToMask, MaskSource, NoMask, PredictedMask

MaskMode = Literal["hull", "xseg", "parser", "auto", "intersect", "union"]
MIXES = ("auto", "intersect", "union")
_NEEDED: dict[MaskMode, tuple[Literal["xseg", "parser"], ...]] = {
    "xseg": ("xseg",),
    "parser": ("parser",),
    "intersect": ("xseg", "parser"),
    "union": ("xseg", "parser"),
}
_REMEDY = {"xseg": "name its folder with --xseg-model DIR", "parser": "name its file with --parser FILE.onnx"}


@dataclass(frozen=True)
class MaskSources:
    """The sources that need weights, as far as there are any."""

    xseg: MaskSource | None = None
    parser: MaskSource | None = None

    def require(self, mode: MaskMode) -> None:
        """Raise SettingsError, with the remedy, where `mode` needs a source that is not there."""
        for name in _NEEDED.get(mode, ()):
            if getattr(self, name) is None:
                raise SettingsError(f"masks by {mode} need the source {name}, which was not given", hint=_REMEDY[name])


@dataclass(frozen=True)
class MaskChoice:
    """What became of one face."""

    mask: PredictedMask | None
    """None where no source that was asked has a mask for it."""
    checks: tuple[MaskCheck, ...]
    """Of `mask`; empty for hull and polygons, which are not judged."""
    refused: tuple[NoMask, ...]
    """What was asked before and not taken, with the reason, in the order in which it was asked."""


Answer = PredictedMask | NoMask


def choose_mask(face: FaceToMask, mode: MaskMode, sources: MaskSources) -> MaskChoice:
    """Given an aligned face, return its mask. Sources are run one by one, until the mask of one is taken.

    Raise SettingsError where the mode needs a source that is not there, FormatError for a face that cannot be drawn,
    ModelError for weights that cannot be run.
    """
    sources.require(mode)
    refused: list[NoMask] = []
    for answer in _answers(face, mode, sources):
        checks = _checks_of(answer, face)
        judged = _judged(answer, checks, strict=mode in MIXES)
        if isinstance(judged, PredictedMask):
            taken = _cut_out(judged, face) if mode in MIXES else judged
            return MaskChoice(taken, checks, tuple(refused))
        refused.append(judged)
    return MaskChoice(None, (), tuple(refused))


def _answers(face: FaceToMask, mode: MaskMode, sources: MaskSources) -> Iterator[Answer]:
    """Ask source after source, as long as more answers are wanted."""
    if mode in MIXES and face.metadata.seg_ie_polys:
        yield _ask(PolygonMasks(), face)
    if mode in ("intersect", "union"):
        yield from _together(face, mode, sources)
    for name, source in (("xseg", sources.xseg), ("parser", sources.parser)):
        if source is not None and mode in (name, "auto"):
            yield _ask(source, face)
    if mode in ("hull", *MIXES):
        yield _ask(HullMasks(), face)


def _ask(source: MaskSource, face: FaceToMask) -> Answer:
    (answer,) = source.masks([face])
    return answer


def _together(face: FaceToMask, mode: MaskMode, sources: MaskSources) -> Iterator[Answer]:
    """Yield what both sources make of a face; where only one has a mask that can be the face's, that one alone."""
    answers = [_ask(source, face) for source in (sources.xseg, sources.parser) if source is not None]
    judged = [_judged(answer, _checks_of(answer, face), strict=True) for answer in answers]
    yield from (one for one in judged if isinstance(one, NoMask))
    masks = [one for one in judged if isinstance(one, PredictedMask)]
    if len(masks) == 2:
        yield _combined(mode, *masks)
    else:
        yield from masks


def _combined(mode: MaskMode, first: PredictedMask, second: PredictedMask) -> PredictedMask:
    """Return the pixels that both (intersect) or at least one (union) takes for the face: 1, the others 0."""
    combine = np.logical_and if mode == "intersect" else np.logical_or
    without_hair = None
    if first.without_hair is not None or second.without_hair is not None:
        without_hair = combine(
            *(one.is_face if one.without_hair is None else one.without_hair for one in (first, second))
        )
    return PredictedMask(
        combine(first.is_face, second.is_face).astype(np.float32),
        source=f"{mode} of {first.source} and {second.source}",
        model_sha=", ".join(sha for sha in (first.model_sha, second.model_sha) if sha) or None,
        without_hair=without_hair,
    )


def _checks_of(answer: Answer, face: FaceToMask) -> tuple[MaskCheck, ...]:
    """Measure a mask that a network predicted. Hull and polygons need no check."""
    if isinstance(answer, NoMask) or answer.source in (HullMasks.name, PolygonMasks.name):
        return ()
    return check_mask(
        answer.is_face if answer.without_hair is None else answer.without_hair,
        face.metadata.landmarks,
        eyebrows_expand_mod=face.metadata.eyebrows_expand_mod,
        excluded=excluded_by(face) if face.metadata.seg_ie_polys else None,
    )


def _judged(answer: Answer, checks: tuple[MaskCheck, ...], *, strict: bool) -> Answer:
    """Return the answer, or why its mask is not taken: it is empty, or `strict` and it failed a check."""
    if isinstance(answer, NoMask):
        return answer
    problem = failed(checks) if strict else None
    if problem is None and not answer.is_face.any():
        return NoMask(answer.source, "it marks no pixel of the picture")
    return answer if problem is None else NoMask(answer.source, problem.sentence, problem.name)


def _cut_out(mask: PredictedMask, face: FaceToMask) -> PredictedMask:
    """Cut out what a person's polygons exclude."""
    if mask.source == PolygonMasks.name or not face.metadata.seg_ie_polys:
        return mask
    excluding = [polygon for polygon in face.metadata.seg_ie_polys if not polygon.include]
    return replace(mask, mask=draw_polygons(mask.mask, excluding), source=f"{mask.source}, cut by polygons")
