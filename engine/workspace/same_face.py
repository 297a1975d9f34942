"""Is this the same face? The one place that knows a face again: after a rename, an edit, another run, in a faceset.

A face is a place in a frame of one clip. What DeepFaceLab's tools leave as it is says which: the frame's name and the
landmarks there stand in the metadata of an aligned JPEG, whatever the file is called by then, and whatever was done
to its mask, its polygons or its pixels. Files without metadata (PNG, plain crops) are known by their bytes alone.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.image import AlignedMetadata, read_metadata

Box = tuple[int, int, int, int]

MARK_DIGITS = 32
"""Of SHA-256, in hexadecimal: 128 bits tell all faces of the world apart."""
OVERLAP_OF_ONE_PICTURE = 0.9
"""Intersection over union from which two detections at one frame number come from the same picture: edges within a
fortieth of the face. Heads move further from take to take."""
SIZE_RATIO_MAX = 2.5
"""Two detectors draw the box of one face differently, but not by more."""


@dataclass(frozen=True)
class FaceTrace:
    """What says which face of a clip a file shows."""

    frame: str
    """Name of the frame, without its ending; DeepFaceLab joins by it, too."""
    box: Box
    """Left, top, right, bottom of the detection, frame px."""
    mark: str = ""
    """Hash of the frame's name and the landmarks in it, to the last bit: no two faces share one. "" where unknown."""


def trace_of(source_filename: str, box: NDArray[np.floating] | NDArray[np.int64], landmarks: object) -> FaceTrace:
    """Return the trace of a face: `box` (4,) and `landmarks` (68, 2) in frame px."""
    left, top, right, bottom = (int(edge) for edge in np.rint(np.asarray(box, np.float64)))
    return FaceTrace(PurePath(source_filename).stem, (left, top, right, bottom), _mark(source_filename, landmarks))


def trace_of_metadata(metadata: AlignedMetadata) -> FaceTrace | None:
    """Return the trace that an aligned image carries; None where its metadata does not say where it came from."""
    if metadata.source_filename is None or metadata.source_landmarks is None:
        return None
    box = metadata.source_rect
    if box is None:
        points = metadata.source_landmarks
        box = np.concatenate([points.min(axis=0), points.max(axis=0)])
    return trace_of(metadata.source_filename, box, metadata.source_landmarks)


def trace_of_jpeg(data: bytes) -> FaceTrace | None:
    """Return the trace in an aligned JPEG's bytes; None where there is none. Nothing is trusted."""
    try:
        return trace_of_metadata(read_metadata(data))
    except FormatError:
        return None


def is_same_face(one: FaceTrace, other: FaceTrace, *, same_clip: bool) -> bool:
    """Say whether two traces mean one face.

    `same_clip`: both were made from the same content, by any models and settings: boxes may differ then, and what lies
    in the middle of each other is the same head. Otherwise the pictures themselves may differ, and only what shows in
    the same frame at the same place to within a fortieth counts: the beginning of a copy that was cut off, for one.
    """
    if one.mark and one.mark == other.mark:
        return True
    if one.frame != other.frame:
        return False
    if same_clip:
        return _in_the_middle(one.box, other.box) and _in_the_middle(other.box, one.box)
    return _overlap(one.box, other.box) >= OVERLAP_OF_ONE_PICTURE


def _mark(source_filename: str, landmarks: object) -> str:
    points = np.ascontiguousarray(np.asarray(landmarks, np.float64))
    name = source_filename.encode(errors="surrogateescape")
    return hashlib.sha256(name + b"\0" + points.astype("<f8").tobytes()).hexdigest()[:MARK_DIGITS]


def _in_the_middle(inner: Box, outer: Box) -> bool:
    """Say whether the middle of one box lies in the other, which is not many times as large."""
    x, y = (inner[0] + inner[2]) / 2, (inner[1] + inner[3]) / 2
    width, height = abs(outer[2] - outer[0]), abs(outer[3] - outer[1])
    if max(width, height) > SIZE_RATIO_MAX * max(abs(inner[2] - inner[0]), abs(inner[3] - inner[1]), 1):
        return False
    return min(outer[0], outer[2]) <= x <= max(outer[0], outer[2]) and min(outer[1], outer[3]) <= y <= max(
        outer[1], outer[3]
    )


def _overlap(one: Box, other: Box) -> float:
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)
