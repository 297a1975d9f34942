"""Finding the faces of one frame: in the whole of it, or only near known faces and where the picture shows news.

Pixels, tracks and what is new in; faces in px of the frame out. When to look is decided by engine.search.scout, how the
detector is fed by engine.search.looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.faces.boxes import overlap, size_of
from engine.frames.contract import DecodedFrame
from engine.search.looks import (
    detection_image,
    look_everywhere,
    look_near,
    look_near_each,
    look_turned,
    roll_of,
    scaled_face,
)
from engine.search.novelty import Share
from engine.tracks.track import Track, predict
from engine.types import Face

SMALL_SHARE = 2
"""A picture that is new all over is glanced at in half the usual size, a quarter of the work: who comes near shows,
and who stays far is found by the next full look and followed back from there."""
GLANCE_SEES_PX = 24
"""Faces of so many px in a glance are found by it."""
PART_MAX = 0.4
"""A part of the frame is looked at in full size up to this share of it; beyond, a glance is cheaper."""
PART_GROWTH = 0.5
"""Room round a lost face in the part where it is searched, as a share of its box."""
STRIDE_PX = 32
"""Detectors work at multiples of this side."""
UPRIGHT_SURE = 0.7
"""Upright faces score higher; upside-down ones reach 0.65 as if they were upright, with their points all wrong."""
TURNED_FROM_DEGREES = 60.0
"""A track rolled further is searched for with its roll, before an upright look is believed about it."""
SAME_PLACE = 0.3
DUPLICATE_OVERLAP = 0.4
"""Two detections that overlap more are one face found twice."""


@dataclass(frozen=True, eq=False)
class Seen:
    """The faces of a frame, in frame px, and how well it was looked at."""

    faces: list[Face]
    full: bool
    """Everything that is new in it was looked at in full size."""
    wide: bool = False
    """More was looked at than the places of known faces."""
    whole: bool = False
    """All of it was looked at in full size."""


def is_unsure(faces: Sequence[Face]) -> bool:
    """Say whether no face is surely an upright one."""
    return not any(face.detection_score >= UPRIGHT_SURE for face in faces)


def find_known(
    backend: Backend, decoded: DecodedFrame, tracks: Sequence[Track], min_confidence: float
) -> list[Face | None]:
    """Look for each track's face near where it should be; None where it is not, or somebody else was found first."""
    if not tracks:
        return []
    image, scale = detection_image(decoded, backend.info.detection_side_px)
    places = [(track.last.face, predict(track, decoded.index) / scale) for track in tracks]
    found: list[Face | None] = []
    for face in look_near_each(backend, image, places, min_confidence):
        if face is not None:
            face = scaled_face(face, scale)
            if any(one is not None and overlap(face.bbox, one.bbox) > SAME_PLACE for one in found):
                face = None
        found.append(face)
    return found


def find_in_part(
    backend: Backend,
    decoded: DecodedFrame,
    part: Share,
    known: Sequence[Face],
    min_confidence: float,
    *,
    turned_share: int,
) -> Seen:
    """Look at a part of the frame in full size, for faces besides the known ones; `turned_share`: `find_everywhere`."""
    image, scale = detection_image(decoded, backend.info.detection_side_px)
    height, width = image.shape[:2]
    x, y = int(part[0] * width), int(part[1] * height)
    crop = np.ascontiguousarray(image[y : max(y + 1, round(part[3] * height)), x : max(x + 1, round(part[2] * width))])
    side = _rounded(max(crop.shape[:2]) * backend.info.detection_side_px / max(height, width))
    faces = look_everywhere(backend, crop, min_confidence, side_px=side)
    if turned_share and not known and is_unsure(faces):
        faces += look_turned(backend, crop, min_confidence, side_px=_rounded(side / turned_share))
    offset = np.array([x, y, x, y], np.float32)
    return Seen(_with_known(known, [scaled_face(_moved(face, offset), scale) for face in faces]), full=True, wide=True)


def glance(backend: Backend, decoded: DecodedFrame, known: Sequence[Face], min_confidence: float) -> Seen:
    """Look at a small picture of the frame, for faces besides the known ones, and find those again in full size."""
    side = backend.info.detection_side_px
    image, scale = detection_image(decoded, side)
    newcomers = []
    for face in look_everywhere(backend, image, min_confidence, side_px=_rounded(side / SMALL_SHARE)):
        if not _is_among(scaled_face(face, scale), known):
            near = look_near(backend, image, face, face.bbox, min_confidence)
            newcomers.append(scaled_face(near or face, scale))
    return Seen(_with_known(known, newcomers), full=False, wide=True)


def glance_sees(face: Face, decoded: DecodedFrame, side_px: int) -> bool:
    """Say whether a face is large enough to show at a glance, where the detector usually looks at `side_px`."""
    return size_of(face.bbox) * side_px / SMALL_SHARE / max(decoded.width, decoded.height) >= GLANCE_SEES_PX


def find_everywhere(
    backend: Backend, decoded: DecodedFrame, live: Sequence[Track], min_confidence: float, *, turned_share: int
) -> Seen:
    """Look at the whole frame, then near the live tracks it did not show, then turned where nobody was sure.

    `turned_share`: turned pictures are looked at in this share of the usual size, in all of it where the picture
    shows small unsure faces; 0 is not at all.
    """
    side = backend.info.detection_side_px
    image, scale = detection_image(decoded, side)
    faces = look_everywhere(backend, image, min_confidence)
    for track in live:
        expected = predict(track, decoded.index) / scale
        shown = [face for face in faces if overlap(face.bbox, expected) > SAME_PLACE]
        # A head that stands on its end looks like a poor upright face to a detector.
        if shown and abs(roll_of(track.last.face)) < TURNED_FROM_DEGREES:
            continue
        known = scaled_face(track.last.face, 1 / scale)
        face = look_near(backend, image, known, expected, min_confidence)
        if face is not None:
            faces = [*(one for one in faces if overlap(one.bbox, face.bbox) <= SAME_PLACE), face]
    rolled = any(abs(roll_of(track.last.face)) >= TURNED_FROM_DEGREES for track in live)
    found = [scaled_face(face, scale) for face in faces]
    if turned_share and is_unsure(faces) and not rolled:
        small = not all(glance_sees(face, decoded, side) for face in found)
        turned = look_turned(backend, image, min_confidence, side_px=_rounded(side / (1 if small else turned_share)))
        found += [scaled_face(face, scale) for face in turned]
    return Seen(_once_each(found), full=True, wide=True, whole=True)


def part_round(part: Share | None, boxes: Sequence[NDArray[np.floating]], width: int, height: int) -> Share | None:
    """Return the smallest part of a frame (px) that holds `part` and the boxes (frame px) with some room."""
    parts = [] if part is None else [part]
    parts += [share_of(box, width, height, PART_GROWTH) for box in boxes]
    if not parts:
        return None
    low = (max(0.0, min(one[axis] for one in parts)) for axis in (0, 1))
    high = (min(1.0, max(one[axis] for one in parts)) for axis in (2, 3))
    (x1, y1), (x2, y2) = low, high
    return x1, y1, x2, y2


def share_of(box: NDArray[np.floating], width: int, height: int, growth: float) -> Share:
    """Return a box of a frame (px) as shares of it, grown on each side by `growth` of its own sides."""
    x, y = growth * float(box[2] - box[0]), growth * float(box[3] - box[1])
    return (box[0] - x) / width, (box[1] - y) / height, (box[2] + x) / width, (box[3] + y) / height


def area_of(part: Share) -> float:
    return max(0.0, part[2] - part[0]) * max(0.0, part[3] - part[1])


def _with_known(known: Sequence[Face], found: Sequence[Face]) -> list[Face]:
    """Return the known faces and those of `found` that are not among them, from left to right."""
    return _once_each([*known, *(face for face in found if not _is_among(face, known))])


def _is_among(face: Face, known: Sequence[Face]) -> bool:
    return any(overlap(face.bbox, one.bbox) > SAME_PLACE for one in known)


def _once_each(faces: list[Face]) -> list[Face]:
    """Drop detections that lie over a better one; the rest from left to right."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.detection_score):
        if all(overlap(face.bbox, other.bbox) < DUPLICATE_OVERLAP for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: (float(face.bbox[0]), float(face.bbox[1])))


def _moved(face: Face, offset: NDArray[np.float32]) -> Face:
    points = None if face.landmarks_5 is None else face.landmarks_5 + offset[:2]
    return Face(face.bbox + offset, face.detection_score, points)


def _rounded(side: float) -> int:
    return max(STRIDE_PX, round(side / STRIDE_PX) * STRIDE_PX)
