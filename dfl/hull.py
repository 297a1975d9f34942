"""DeepFaceLab's masks made from landmarks alone: the face hull, and eyes with mouth.

Not for learned masks (XSeg: dfl.image holds how they are stored). Landmarks are in px of the image the mask
is for; they may lie outside it. Facts: DeepFaceLab commit 46fc239, facelib/LandmarksProcessor.py.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfl.errors import FormatError
from dfl.face_tables import EYE_AND_MOUTH_PARTS, HULL_PARTS
from dfl.geometry import LANDMARK_COUNT

FACE = 255
"""The value inside a hull mask; outside it is 0."""
_MAX_COORDINATE_PX = 1 << 15
"""Landmarks further out are refused: OpenCV's polygon filler works in fixed point and overflows beyond."""
_BROW_LIFT = 0.5
"""An eyebrow moves by this share of its distance from the line below it, times the factor asked for."""
_DILATE_SHARE = 32
_BLUR_SHARE = 16
"""Eyes and mouth grow by 1/32 of the image's height and are blurred over 1/16 of it."""


def hull_mask(
    height_px: int, width_px: int, landmarks_px: ArrayLike, *, eyebrows_expand_mod: float = 1.0
) -> NDArray[np.uint8]:
    """Given 68 landmarks, return the (height_px, width_px) uint8 face mask: 255 inside, 0 outside, no half tones.

    The union of eight filled convex hulls after `expand_eyebrows`. DeepFaceLab holds the same mask as float 0..1.
    """
    points = expand_eyebrows(landmarks_px, eyebrows_expand_mod)
    mask = np.zeros((height_px, width_px), dtype=np.uint8)
    for part in HULL_PARTS:
        cv2.fillConvexPoly(mask, cv2.convexHull(points[list(part)]), (FACE,))
    return mask


def expand_eyebrows(landmarks_px: ArrayLike, eyebrows_expand_mod: float = 1.0) -> NDArray[np.int32]:
    """Given 68 landmarks, return them as (68, 2) whole px with the eyebrows moved up, away from the eyes.

    Coordinates are truncated towards zero first and last; halves between are floored, as DeepFaceLab does.
    """
    points = _whole_px(landmarks_px)
    middle_left, middle_right = (points[36] + points[0]) // 2, (points[16] + points[45]) // 2
    quarter_left, quarter_right = (points[36] + middle_left) // 2, (points[45] + middle_right) // 2
    below_left = np.stack((quarter_left, *points[36:40]))
    below_right = np.stack((*points[42:46], quarter_right))
    expanded = points.copy()
    for brow, below in ((slice(17, 22), below_left), (slice(22, 27), below_right)):
        lifted = points[brow] + eyebrows_expand_mod * _BROW_LIFT * (points[brow] - below)
        expanded[brow] = np.trunc(lifted).astype(np.int32)
    return expanded


def eyes_mouth_mask(height_px: int, width_px: int, landmarks_px: ArrayLike) -> NDArray[np.float32]:
    """Given 68 landmarks, return the (height_px, width_px) float32 weight 0..1 of eyes and mouth, softly edged."""
    points = _whole_px(landmarks_px)
    left_eye, right_eye, mouth = EYE_AND_MOUTH_PARTS
    eyes = _soft_parts(height_px, width_px, points, (left_eye, right_eye))
    lips = _soft_parts(height_px, width_px, points, (mouth,))
    weight: NDArray[np.float32] = np.minimum(eyes + lips, np.float32(1.0))
    return weight


def _soft_parts(
    height_px: int, width_px: int, points: NDArray[np.int32], parts: tuple[tuple[int, ...], ...]
) -> NDArray[np.float32]:
    mask = np.zeros((height_px, width_px), dtype=np.float32)
    for part in parts:
        cv2.fillConvexPoly(mask, cv2.convexHull(points[list(part)]), (1,))
    dilate_px = max(height_px // _DILATE_SHARE, 1)
    mask_grown = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (dilate_px, dilate_px)))
    blur_px = height_px // _BLUR_SHARE | 1
    return np.asarray(cv2.GaussianBlur(mask_grown, (blur_px, blur_px), 0), dtype=np.float32)


def _whole_px(landmarks_px: ArrayLike) -> NDArray[np.int32]:
    points = np.asarray(landmarks_px, dtype=np.float64)
    if points.shape != (LANDMARK_COUNT, 2):
        raise FormatError(f"landmarks have shape {points.shape}, expected ({LANDMARK_COUNT}, 2)")
    if not (np.abs(points) < _MAX_COORDINATE_PX).all():
        raise FormatError(f"a landmark lies more than {_MAX_COORDINATE_PX} px from the image, or nowhere")
    return np.trunc(points).astype(np.int32)
