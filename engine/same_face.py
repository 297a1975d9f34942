"""Is this the same face? The one place that knows a face again: after a rename, an edit, another run, in a faceset.

A face is known by its id (engine.face_id). DeepFaceLab leaves in an aligned JPEG what says which face it shows: the
id (a key that it does not know, and keeps), the frame's name, and the landmarks there, whatever the file is called by
then, and whatever was done to its mask, its polygons or its pixels. A face that was made before there were ids is known
by the latter two. Files without metadata (PNG, plain crops) are known by their bytes alone. Pure.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePath

import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.image import AlignedMetadata, read_metadata
from engine.face_id import ID_BYTES, Box, box_of, face_id

NO_BOX: Box = (0, 0, 0, 0)
"""Of a whole frame, or where nothing says where the face is."""
OVERLAP_OF_ONE_PICTURE = 0.9
"""Intersection over union from which two detections at one frame number come from the same picture: edges within a
fortieth of the face. Heads move further from take to take."""
OVERLAP_OF_ONE_FACE = 0.5
"""Intersection over union from which two boxes of landmarks in one frame of one clip are of one face."""
FRAME_NUMBER = re.compile("[0-9]{8}")
"""What the frame of a video is called (engine.types.Frame)."""
SIZE_RATIO_MAX = 2.5
"""Two detectors draw the box of one face differently, but not by more."""


@dataclass(frozen=True)
class FaceTrace:
    """What says which face of a clip a file shows."""

    frame: str
    """Name of the frame, without its ending; DeepFaceLab joins by it, too."""
    box: Box
    """Left, top, right, bottom of the detection, frame px."""
    landmarks_hash: str = ""
    """Hash of the frame's name and the landmarks in it, to the last bit. "" where unknown."""
    face_id: str = ""
    """"" for a face that was made before there were ids."""
    landmarks_box: Box = NO_BOX
    """Left, top, right, bottom of the landmarks, frame px; NO_BOX where unknown."""


def trace_of(
    source_filename: str,
    box: NDArray[np.floating] | NDArray[np.int64],
    landmarks: NDArray[np.floating],
    face_id: str = "",
) -> FaceTrace:
    """Return the trace of a face: `box` (4,) and `landmarks` (68, 2) in frame px."""
    points = np.asarray(landmarks, np.float64)
    return FaceTrace(
        PurePath(source_filename).stem,
        box_of(np.asarray(box).tolist()),
        _landmarks_hash(source_filename, points),
        face_id,
        box_of(np.concatenate([points.min(axis=0), points.max(axis=0)]).tolist()),
    )


def trace_of_metadata(metadata: AlignedMetadata) -> FaceTrace | None:
    """Return the trace that an aligned image carries; None where its metadata does not say where it came from."""
    points = metadata.source_landmarks
    if metadata.source_filename is None or points is None:
        return None
    box = metadata.source_rect
    if box is None:
        box = np.rint(np.concatenate([points.min(axis=0), points.max(axis=0)])).astype(np.int64)
    return trace_of(metadata.source_filename, box, points, metadata.dfld_face_id or "")


def trace_of_jpeg(data: bytes) -> FaceTrace | None:
    """Return the trace in an aligned JPEG's bytes; None where there is none. Nothing is trusted."""
    try:
        return trace_of_metadata(read_metadata(data))
    except FormatError:
        return None


def id_of(trace: FaceTrace, source_sha256: str) -> str:
    """Return the id of a face; of one that was made before there were ids, the id that it has if it is of this video.

    "" where the source is unknown ("") or frames have names instead of numbers.
    """
    if trace.face_id or not source_sha256 or not FRAME_NUMBER.fullmatch(trace.frame):
        return trace.face_id
    return face_id(source_sha256, int(trace.frame), trace.box)


def is_same_face(one: FaceTrace, other: FaceTrace, *, same_clip: bool) -> bool:
    """Say whether two traces mean one face: by their ids, else by their landmarks, else by frame and place.

    `same_clip`: both were made from the same content, by any models and settings: boxes, and so ids, may differ then,
    and what lies in the middle of each other is the same head. Otherwise the pictures themselves may differ, and only
    what shows in the same frame at the same place to within a fortieth counts: the beginning of a copy that was cut
    off, for one.
    """
    if one.face_id and one.face_id == other.face_id:
        return True
    if one.landmarks_hash and one.landmarks_hash == other.landmarks_hash:
        return True
    if one.frame != other.frame:
        return False
    if same_clip:
        return _in_the_middle(one.box, other.box) and _in_the_middle(other.box, one.box)
    return _overlap(one.box, other.box) >= OVERLAP_OF_ONE_PICTURE


def is_at_same_place(one: FaceTrace, other: FaceTrace) -> bool:
    """Say whether two traces of one clip mean one face, where one of them was made before there were ids, and no
    manifest and no ledger says more: by frame and the landmarks' boxes, of the detections where these are unknown."""
    if one.frame != other.frame:
        return False
    if NO_BOX in (one.landmarks_box, other.landmarks_box):
        return _overlap(one.box, other.box) >= OVERLAP_OF_ONE_FACE
    return _overlap(one.landmarks_box, other.landmarks_box) >= OVERLAP_OF_ONE_FACE


def _landmarks_hash(source_filename: str, landmarks: NDArray[np.float64]) -> str:
    name = source_filename.encode(errors="surrogateescape")
    points = np.ascontiguousarray(landmarks).astype("<f8").tobytes()
    return hashlib.sha256(name + b"\0" + points).digest()[:ID_BYTES].hex()


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
    """Return intersection over union."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = width * height
    areas = sum((box[2] - box[0]) * (box[3] - box[1]) for box in (one, other))
    return both / (areas - both)
