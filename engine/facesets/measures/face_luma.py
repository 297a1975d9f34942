"""An aligned JPEG → its luma at the size at which faces are measured.

A face is measured at one size, whatever the size and face type of its picture: the unit square of DeepFaceLab's
alignment (dfl.geometry) is UNIT_PX wide, which makes 256 px of a whole_face. Frequencies of
engine.facesets.measures.sharpness are of that size. A picture that is smaller stays as it is: what it does not hold
cannot be had by enlarging it.

Where the picture is at least twice as large, the JPEG's blocks of 8 x 8 are decoded to 4 x 4 or less (libjpeg's scaled
inverse DCT), which costs a quarter less and is the better half: it leaves the spectrum of noise flat, of which the
sharpness is cleared, where an average of 2 x 2 px removes up to 40 % of its power at the upper end.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.face_tables import FIT_POINTS, FIT_TARGET
from dfl.geometry import fit_similarity
from dfl.hull import hull_mask
from dfl.image import AlignedMetadata
from dfl.jpeg import list_segments, read_size

UNIT_PX = 120.0
"""Side of the unit square: 512 px of a whole_face at half its size, as the measures were chosen on."""
SIZE_TOLERANCE = 0.1
"""A picture within a tenth of that size is not resampled; a sharpness changes by less than by a frame of motion."""
SIDE_MAX_PX = 4096
"""DeepFaceLab makes aligned images of at most 2048 px."""
SIDE_MIN_PX = 32
"""Smaller pictures hold nothing that could be measured."""
SEGMENTS_MAX = 256
"""Of a JPEG: each scan is one or more, and its decoder goes over the whole picture for each. Encoders write 10 to
40."""
_REDUCED = (
    (8, cv2.IMREAD_REDUCED_GRAYSCALE_8),
    (4, cv2.IMREAD_REDUCED_GRAYSCALE_4),
    (2, cv2.IMREAD_REDUCED_GRAYSCALE_2),
)


@dataclass(frozen=True, eq=False)
class FaceLuma:
    """The picture of an aligned face as it is measured."""

    luma: NDArray[np.uint8]
    """(S, S)."""
    landmarks: NDArray[np.float64]
    """(68, 2) px of `luma`; may lie outside."""
    hull: NDArray[np.bool_]
    """(S, S) whether a pixel lies inside DeepFaceLab's hull of the landmarks."""
    unit_px: float
    """Side of the unit square, px of `luma`: about UNIT_PX, or less."""
    side_px: int
    """Of the aligned image itself, px."""


def face_luma(data: bytes, metadata: AlignedMetadata) -> FaceLuma:
    """Given an aligned JPEG and its metadata, return its luma. Raise FormatError where it is not a square picture of 32
    to 4096 px that can be decoded, or where its landmarks do not span a face."""
    width, height = read_size(data)
    if width != height or not SIDE_MIN_PX <= width <= SIDE_MAX_PX:
        raise FormatError(f"it has {width}x{height} px, expected a square of {SIDE_MIN_PX} to {SIDE_MAX_PX} px")
    unit = _unit_px(metadata.landmarks)
    decoded = _decoded(data, next((one for one in _REDUCED if unit / one[0] >= UNIT_PX * (1 - SIZE_TOLERANCE)), None))
    luma, landmarks, unit_px = fitted(decoded, metadata.landmarks * (decoded.shape[0] / width))
    hull = hull_mask(luma.shape[0], luma.shape[1], landmarks, eyebrows_expand_mod=metadata.eyebrows_expand_mod)
    return FaceLuma(luma, landmarks, hull > 0, unit_px, width)


def fitted(
    luma: NDArray[np.uint8], landmarks: NDArray[np.float64]
) -> tuple[NDArray[np.uint8], NDArray[np.float64], float]:
    """Given the (S, S) luma of an aligned face and its (68, 2) landmarks, px of it, return both at the size at which
    faces are measured, and the side of the unit square there, px. Raise FormatError where landmarks span no face, or
    far more than the picture."""
    unit = _unit_px(landmarks)
    if unit <= UNIT_PX * (1 + SIZE_TOLERANCE):
        return luma, landmarks, unit
    side = round(luma.shape[0] * UNIT_PX / unit)
    if side < SIDE_MIN_PX:
        raise FormatError(f"its landmarks span {unit:.3g} px, and the picture has {luma.shape[0]} px: it shows no face")
    scale = side / luma.shape[0]
    small = cv2.resize(luma, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(small, np.uint8), landmarks * scale, unit * scale


def _unit_px(landmarks: NDArray[np.float64]) -> float:
    """Return the side of the unit square: of any face type, and of a crop that has none."""
    mat = fit_similarity(landmarks[list(FIT_POINTS)], FIT_TARGET)
    return 1.0 / float(np.hypot(mat[0, 0], mat[1, 0]))


def _decoded(data: bytes, reduced: tuple[int, int] | None) -> NDArray[np.uint8]:
    segments = len(list_segments(data))
    if segments > SEGMENTS_MAX:
        raise FormatError(f"its JPEG has {segments} segments, at most {SEGMENTS_MAX} are decoded")
    flags = (cv2.IMREAD_GRAYSCALE if reduced is None else reduced[1]) | cv2.IMREAD_IGNORE_ORIENTATION
    try:
        luma = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    except cv2.error as failure:
        raise FormatError(f"its JPEG cannot be decoded: {failure.err}") from failure
    if luma is None:
        raise FormatError("its JPEG cannot be decoded")
    return np.asarray(luma, np.uint8)
