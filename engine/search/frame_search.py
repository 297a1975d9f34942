"""Finding the faces of one frame: in the whole of it, or only near known faces and where it shows something new.

Pixels, known places and an area in; faces in px of the frame out. Which of these to run is decided by
engine.search.scout, how the detector is fed by engine.search.looks.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.faces.boxes import overlap
from engine.frames.contract import DecodedFrame
from engine.search.area import FrameArea
from engine.search.certainty import SMALL_DIVISOR, is_unsure, shows_in_small
from engine.search.looks import (
    detection_image,
    look_everywhere,
    look_near,
    look_near_each,
    look_turned,
    roll_of,
    scaled_face,
)
from engine.search.requests import KnownPlace, Seen
from engine.types import Face

STRIDE_PX = 32
"""Detectors work at multiples of this side."""
TURNED_FROM_DEGREES = 60.0
"""A track rolled further is searched for with its roll, before an upright look is believed about it."""
SAME_PLACE = 0.3
"""A face that overlaps a known place more (intersection over union) is the known one."""
DUPLICATE_OVERLAP = 0.4
"""Two detections that overlap more are one face found twice."""


def find_known(
    backend: Backend, decoded: DecodedFrame, places: Sequence[KnownPlace], min_confidence: float
) -> tuple[Face | None, ...]:
    """Look for each known face near where it should be; None where it is not, or another one's was found first."""
    image, scale = detection_image(decoded, backend.info.detection_side_px)
    scaled = [(place.face, place.box / scale) for place in places]
    found: list[Face | None] = []
    for face in look_near_each(backend, image, scaled, min_confidence):
        if face is not None:
            face = scaled_face(face, scale)
            if any(one is not None and overlap(face.bbox, one.bbox) > SAME_PLACE for one in found):
                face = None
        found.append(face)
    return tuple(found)


def find_in_area(
    backend: Backend,
    decoded: DecodedFrame,
    area: FrameArea,
    known: Sequence[Face],
    min_confidence: float,
    *,
    turned_divisor: int,
) -> Seen:
    """Look at an area of the frame in full size, for faces besides the known ones; `turned_divisor`: WholeRequest."""
    image, scale = detection_image(decoded, backend.info.detection_side_px)
    height, width = image.shape[:2]
    x, y = int(area[0] * width), int(area[1] * height)
    crop = np.ascontiguousarray(image[y : max(y + 1, round(area[3] * height)), x : max(x + 1, round(area[2] * width))])
    side = _rounded(max(crop.shape[:2]) * backend.info.detection_side_px / max(height, width))
    faces = look_everywhere(backend, crop, min_confidence, side_px=side)
    if turned_divisor and not known and is_unsure(faces):
        faces += look_turned(backend, crop, min_confidence, side_px=_rounded(side / turned_divisor))
    offset = np.array([x, y, x, y], np.float32)
    return Seen(_with_known(known, [scaled_face(_moved(face, offset), scale) for face in faces]), full=True, wide=True)


def find_in_small(backend: Backend, decoded: DecodedFrame, known: Sequence[Face], min_confidence: float) -> Seen:
    """Look at a small picture of the frame, for faces besides the known ones, and find those again in full size."""
    side = backend.info.detection_side_px
    image, scale = detection_image(decoded, side)
    newcomers = []
    for face in look_everywhere(backend, image, min_confidence, side_px=_rounded(side / SMALL_DIVISOR)):
        if not _is_among(scaled_face(face, scale), known):
            near = look_near(backend, image, face, face.bbox, min_confidence)
            newcomers.append(scaled_face(near or face, scale))
    return Seen(_with_known(known, newcomers), full=False, wide=True)


def find_everywhere(
    backend: Backend, decoded: DecodedFrame, places: Sequence[KnownPlace], min_confidence: float, *, turned_divisor: int
) -> Seen:
    """Look at the whole frame, then near the known places it did not show, then turned where nobody was sure.

    `turned_divisor`: see WholeRequest; where the picture shows small unsure faces, turned ones are looked at in full.
    """
    side = backend.info.detection_side_px
    image, scale = detection_image(decoded, side)
    faces = look_everywhere(backend, image, min_confidence)
    for place in places:
        expected = place.box / scale
        shown = [face for face in faces if overlap(face.bbox, expected) > SAME_PLACE]
        # A head that stands on its end looks like a poor upright face to a detector.
        if shown and abs(roll_of(place.face)) < TURNED_FROM_DEGREES:
            continue
        known = scaled_face(place.face, 1 / scale)
        face = look_near(backend, image, known, expected, min_confidence)
        if face is not None:
            faces = [*(one for one in faces if overlap(one.bbox, face.bbox) <= SAME_PLACE), face]
    rolled = any(abs(roll_of(place.face)) >= TURNED_FROM_DEGREES for place in places)
    found = [scaled_face(face, scale) for face in faces]
    if turned_divisor and is_unsure(faces) and not rolled:
        small = not all(shows_in_small(face, decoded.width, decoded.height, side) for face in found)
        turned = look_turned(backend, image, min_confidence, side_px=_rounded(side / (1 if small else turned_divisor)))
        found += [scaled_face(face, scale) for face in turned]
    return Seen(_once_each(found), full=True, wide=True, whole=True)


def _with_known(known: Sequence[Face], found: Sequence[Face]) -> tuple[Face, ...]:
    """Return the known faces and those of `found` that are not among them, from left to right."""
    return _once_each([*known, *(face for face in found if not _is_among(face, known))])


def _is_among(face: Face, known: Sequence[Face]) -> bool:
    return any(overlap(face.bbox, one.bbox) > SAME_PLACE for one in known)


def _once_each(faces: list[Face]) -> tuple[Face, ...]:
    """Drop detections that lie over a better one; the rest from left to right."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.detection_score):
        if all(overlap(face.bbox, other.bbox) < DUPLICATE_OVERLAP for other in kept):
            kept.append(face)
    return tuple(sorted(kept, key=lambda face: (float(face.bbox[0]), float(face.bbox[1]))))


def _moved(face: Face, offset: NDArray[np.float32]) -> Face:
    points = None if face.landmarks_5 is None else face.landmarks_5 + offset[:2]
    return Face(face.bbox + offset, face.detection_score, points)


def _rounded(side: float) -> int:
    return max(STRIDE_PX, round(side / STRIDE_PX) * STRIDE_PX)
