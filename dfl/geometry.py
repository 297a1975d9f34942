"""DeepFaceLab's face geometry: 68 landmarks to the crop of a face type, and what is computed beside it.

Closed forms in float64. DeepFaceLab computes partly in float32; the two agree within 1.4e-5 x size px (golden
align.json). Not for masks (dfl.hull), nor for choosing faces.

Coordinates: x right, y down, (0, 0) the top-left pixel. "frame px" are those of the source frame, "aligned px"
those of the cut image. A matrix is (2, 3) float64 and maps by `x' = m[:, :2] @ x + m[:, 2]`, without any half-pixel
shift: the corners of a crop map to 0 and `size`. Source of every formula: DeepFaceLab commit 46fc239,
facelib/LandmarksProcessor.py, restated in prose in the format notes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, hypot, pi, sqrt, tanh

import cv2
import numpy as np
from numpy.typing import ArrayLike, NDArray

from dfl.errors import FormatError
from dfl.face_tables import FACE_TYPES, FIT_POINTS, FIT_TARGET, MEAN_FACE_3D, MIRROR_PAIRS, POSE_POINTS

Matrix = NDArray[np.float64]
"""(2, 3) affine."""
Points = NDArray[np.float64]
"""(N, 2)."""

LANDMARK_COUNT = 68
_WHOLE_FACE_LIFT = 0.07
"""whole_face sits this share of the unit square's side higher, for the forehead."""
_HEAD_LIFT = 0.50
"""head sits higher by this share, and moves sideways with the face's yaw."""
_RECT_SIZE_PX = 256
"""The box of a face is measured on a crop of this side ..."""
_RECT_FACE_TYPE = "full_face_no_align"
"""... of this face type."""


@dataclass(frozen=True)
class _FaceSquare:
    """Where the template's unit square lies in the frame; complex numbers x + iy, frame px."""

    centre: complex
    x_axis: complex
    """Unit vector along the square's upper side; the y axis is this one turned by 90 degrees."""
    side_px: float

    @property
    def y_axis(self) -> complex:
        return self.x_axis * 1j


def fit_similarity(source: ArrayLike, target: ArrayLike) -> Matrix:
    """Given (N, 2) points and where they should lie, return the rotation, uniform scale and shift that fits best.

    Umeyama's least-squares similarity without reflection (PAMI 1991). In the plane, points being complex numbers,
    it is one division: a = sum(conj(s)·t) / sum(|s|²) over the centred points; |a| is the scale, arg(a) the angle.
    Raise FormatError when the points coincide or fit no direction better than another.
    """
    start, goal = _as_complex(_points(source)), _as_complex(_points(target))
    start_mean, goal_mean = complex(start.mean()), complex(goal.mean())
    spread = float(np.sum(np.abs(start - start_mean) ** 2))
    if not spread > 0.0:
        raise FormatError(f"fitting a similarity to {len(start)} points: all lie on one spot")
    turn = complex(np.sum(np.conj(start - start_mean) * (goal - goal_mean))) / spread
    if not abs(turn) > 0.0:
        raise FormatError(f"fitting a similarity to {len(start)} points: they resemble the target in no direction")
    shift = goal_mean - turn * start_mean
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def face_mat(landmarks_frame_px: ArrayLike, size_px: int, face_type: str, *, scale: float = 1.0) -> Matrix:
    """Given 68 landmarks in frame px, return the matrix frame px -> aligned px of `face_type`.

    `size_px` is the side of the aligned image; `scale` > 1 zooms in. Raise FormatError for a face type that has no
    crop (mark_only) or is unknown, and for landmarks that do not span a face.
    """
    facts = FACE_TYPES.get(face_type)
    if facts is None or facts.padding is None:
        raise FormatError(f"face type {face_type!r} has no crop; there are {', '.join(_cropped_face_types())}")
    landmarks = _landmarks(landmarks_frame_px)
    square, mat = _face_square(landmarks)
    centre = square.centre
    if face_type == "whole_face":
        centre -= _WHOLE_FACE_LIFT * square.side_px * square.y_axis
    elif face_type == "head":  # not head_no_align: its crop stays on the template's centre (golden align.json)
        yaw = _head_yaw(transform_points(landmarks, mat))
        centre += square.side_px * (square.x_axis * yaw / 2 - square.y_axis * _HEAD_LIFT)
    x_axis = 1.0 + 0.0j if facts.upright else square.x_axis
    return _crop_mat(centre, x_axis, square.side_px * (1 + 2 * sqrt(2) * facts.padding) / scale, size_px)


def plain_crop_mat(landmarks_frame_px: ArrayLike, size_px: int, margin_factor: float) -> Matrix:
    """Given 68 landmarks in frame px, return the matrix of a crop with any margin, which DeepFaceLab has no name for.

    The crop turns with the face; its side is 1 + 2·sqrt(2)·margin_factor unit squares. It is lifted as whole_face
    is, in proportion to the margin, so that margin 0.40 cuts what whole_face does.
    """
    square, _ = _face_square(_landmarks(landmarks_frame_px))
    lift = _WHOLE_FACE_LIFT * margin_factor / (FACE_TYPES["whole_face"].padding or 1.0)
    centre = square.centre - lift * square.side_px * square.y_axis
    return _crop_mat(centre, square.x_axis, square.side_px * (1 + 2 * sqrt(2) * margin_factor), size_px)


def transform_points(points: ArrayLike, mat: ArrayLike) -> Points:
    """Given (N, 2) points and a (2, 3) matrix, return the (N, 2) float64 points it maps them to."""
    matrix = np.asarray(mat, dtype=np.float64)
    mapped: Points = _points(points) @ matrix[:, :2].T + matrix[:, 2]
    return mapped


def invert_mat(mat: ArrayLike) -> Matrix:
    """Given a (2, 3) matrix, return the one of the way back. Raise FormatError when there is no way back."""
    matrix = np.asarray(mat, dtype=np.float64)
    (a, b, x), (c, d, y) = matrix.tolist()
    determinant = a * d - b * c
    if determinant == 0.0:
        raise FormatError("inverting a matrix frame px -> aligned px: it maps the plane onto a line")
    linear = np.array([[d, -b], [-c, a]]) / determinant
    return np.column_stack((linear, -linear @ (x, y)))


def face_rect(landmarks_frame_px: ArrayLike) -> NDArray[np.float64]:
    """Given 68 landmarks in frame px, return the box (4,) left, top, right, bottom in frame px DeepFaceLab takes."""
    back = invert_mat(face_mat(landmarks_frame_px, _RECT_SIZE_PX, _RECT_FACE_TYPE))
    last = _RECT_SIZE_PX - 1
    return transform_points([(0, 0), (last, last)], back).reshape(4)


def cut_to_even(frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Given an (H, W, 3 or more) picture, return a view of it with even height and width and three channels.

    DeepFaceLab drops an odd last row and column before anything else is measured.
    """
    height, width = frame.shape[:2]
    return frame[: height - height % 2, : width - width % 2, :3]


def warp_face(frame: NDArray[np.uint8], mat: ArrayLike, size_px: int) -> NDArray[np.uint8]:
    """Given a BGR frame and a matrix frame px -> aligned px, return the (size_px, size_px, 3) uint8 crop.

    Bilinear with a black border, as DeepFaceLab's extractor really does (the Lanczos flag it passes is ignored).
    """
    crop = cv2.warpAffine(
        cut_to_even(frame),
        np.asarray(mat, dtype=np.float64),
        (size_px, size_px),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(0, 0, 0),
    )
    return np.asarray(crop, dtype=np.uint8)


def mirror_landmarks(landmarks: ArrayLike, width_px: int) -> Points:
    """Given 68 landmarks of an image `width_px` wide, return those of the image mirrored left to right."""
    mirrored = _landmarks(landmarks).copy()
    left, right = (list(side) for side in zip(*MIRROR_PAIRS, strict=True))
    mirrored[left + right] = mirrored[right + left]
    mirrored[:, 0] = width_px - mirrored[:, 0] - 1
    return mirrored


def head_pose(landmarks_aligned_px: ArrayLike, size_px: int) -> tuple[float, float, float]:
    """Given 68 landmarks in aligned px of an image of side `size_px`, return (pitch, yaw, roll) in radians.

    Each in -pi/2..pi/2. A mean head is fitted through a camera of focal length `size_px` at the image's centre, no
    distortion, with OpenCV's iterative solver. Raise FormatError when it finds no pose.
    """
    camera = np.array([[size_px, 0, size_px / 2], [0, size_px, size_px / 2], [0, 0, 1]], dtype=np.float64)
    points = _landmarks(landmarks_aligned_px)[list(POSE_POINTS)]
    head = np.array(MEAN_FACE_3D, dtype=np.float64)[list(POSE_POINTS)]
    try:
        found, rotation_vector, _ = cv2.solvePnP(head, points, camera, np.zeros((4, 1)))
    except cv2.error as failure:
        raise FormatError(f"no head pose fits the 68 landmarks: {failure.err}") from failure
    if not found:
        raise FormatError("no head pose fits the 68 landmarks")
    turn = cv2.Rodrigues(rotation_vector)[0].tolist()
    x = atan2(turn[2][1], turn[2][2])
    y = atan2(-turn[2][0], hypot(turn[0][0], turn[1][0]))
    z = atan2(turn[1][0], turn[0][0])
    pitch, yaw, roll = (min(max(angle, -pi / 2), pi / 2) for angle in (-x, y, z))
    return pitch, yaw, roll


def _face_square(landmarks: Points) -> tuple[_FaceSquare, Matrix]:
    """Return the template's unit square in the frame, and the matrix frame px -> unit square it comes from."""
    mat = fit_similarity(landmarks[list(FIT_POINTS)], FIT_TARGET)
    back = invert_mat(mat)
    side = complex(back[0, 0], back[1, 0])
    centre = complex(*transform_points([(0.5, 0.5)], back)[0])
    return _FaceSquare(centre, side / abs(side), abs(side)), mat


def _head_yaw(landmarks_unit: Points) -> float:
    """Given landmarks in the unit square, return how far a head crop is moved towards the far side of a turned face."""
    x = landmarks_unit[:, 0]
    left = float(np.mean(x[[27, 28, 29]] - x[[0, 1, 2]]))
    right = float(np.mean(x[[16, 15, 14]] - x[[27, 28, 29]]))
    yaw = right - left
    return yaw * abs(tanh(2 * yaw))


def _crop_mat(centre: complex, x_axis: complex, side_px: float, size_px: int) -> Matrix:
    """Return the matrix of a square crop: its top-left corner to (0, 0), its bottom-right one to (size_px, size_px)."""
    turn = size_px / side_px * x_axis.conjugate()
    shift = (size_px / 2) * (1 + 1j) - turn * centre
    return np.array([[turn.real, -turn.imag, shift.real], [turn.imag, turn.real, shift.imag]])


def _cropped_face_types() -> list[str]:
    return [name for name, facts in FACE_TYPES.items() if facts.padding is not None]


def _landmarks(landmarks: ArrayLike) -> Points:
    points = _points(landmarks)
    if len(points) != LANDMARK_COUNT:
        raise FormatError(f"a face has {len(points)} landmarks, expected {LANDMARK_COUNT}")
    return points


def _points(values: ArrayLike) -> Points:
    """Return `values` as (N, 2) float64; raise FormatError for another shape, no point at all, or a non-finite one."""
    points = np.asarray(values, dtype=np.float64)
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise FormatError(f"points have shape {points.shape}, expected (N, 2)")
    if not np.isfinite(points).all():
        raise FormatError(f"{int((~np.isfinite(points)).any(axis=1).sum())} of {len(points)} points are not finite")
    return points


def _as_complex(points: Points) -> NDArray[np.complex128]:
    joined: NDArray[np.complex128] = points[:, 0] + 1j * points[:, 1]
    return joined
