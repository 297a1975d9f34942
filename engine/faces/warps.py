"""Upright crops: similarity warps (rotation, one scale, shift) fitted to a few points. Pure.

Not for DeepFaceLab's own crops, whose arithmetic must match DeepFaceLab's: those are in dfl.geometry.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.types import Image

Warp = NDArray[np.float64]
"""(2, 3): image px -> crop px."""


def fit_warp(source: NDArray[np.floating], target: NDArray[np.floating]) -> Warp:
    """Given (N, 2) points and where they should go, return the similarity warp with the least squared error.

    In the complex plane such a warp is z -> a·z + b, and least squares gives a = Σ conj(s)·t / Σ |s|² over the
    centred points: Umeyama's solution in two dimensions without its reflection case. Points that all coincide
    give a pure shift.
    """
    s = source[:, 0] + 1j * source[:, 1]
    t = target[:, 0] + 1j * target[:, 1]
    centred = s - s.mean()
    spread = float((np.abs(centred) ** 2).sum())
    a = complex((np.conj(centred) * (t - t.mean())).sum() / spread) if spread > 1e-9 else 1.0 + 0.0j
    b = complex(t.mean() - a * s.mean())
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]])


def box_warp(centre: tuple[float, float], side_px: float, size_px: int, *, rolled_deg: float = 0.0) -> Warp:
    """Return the warp that puts a square of `side_px` round `centre`, turned upright by `rolled_deg`, onto a crop.

    `rolled_deg` is how far the face is rolled clockwise in the image, as `roll_deg` says.
    """
    scale = size_px / max(side_px, 1e-3)
    roll_rad = np.radians(rolled_deg)
    cosine, sine = scale * np.cos(roll_rad), scale * np.sin(roll_rad)
    middle = size_px / 2
    x, y = centre
    return np.array(
        [[cosine, sine, middle - cosine * x - sine * y], [-sine, cosine, middle + sine * x - cosine * y]],
    )


def scale_to(image: Image, longer_side_px: int, *, at_most: float = 2.0) -> tuple[Image, float]:
    """Scale an image so that its longer side has `longer_side_px`, enlarging it `at_most` so often.

    Return it with the scale.
    """
    import cv2

    height, width = image.shape[:2]
    scale = min(at_most, longer_side_px / max(height, width))
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    flags = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(image, size, interpolation=flags), dtype=np.uint8), scale


def cut(image: Image, warp: Warp, size_px: int) -> Image:
    """Cut the (size_px, size_px, 3) crop that `warp` describes; what lies outside the image is black."""
    import cv2

    return np.asarray(cv2.warpAffine(image, warp, (size_px, size_px), flags=cv2.INTER_LINEAR), dtype=np.uint8)


def map_back(points: NDArray[np.floating], warp: Warp) -> NDArray[np.float64]:
    """Given (N, 2) crop px, return where they lie in image px."""
    linear = np.linalg.inv(warp[:, :2])
    return np.asarray((points - warp[:, 2]) @ linear.T, dtype=np.float64)


def five_of_68(points: NDArray[np.floating]) -> NDArray[np.float32]:
    """Given (68, 2) iBUG points, return the five: eye centres, nose tip, mouth corners, image left first."""
    return np.stack(
        [points[36:42].mean(axis=0), points[42:48].mean(axis=0), points[30], points[48], points[54]]
    ).astype(np.float32)


def roll_deg(landmarks_5: NDArray[np.floating]) -> float:
    """Given five points, return how far the head is rolled clockwise in the image: -180..180, 0 = upright."""
    across = landmarks_5[1] - landmarks_5[0]
    return float(np.degrees(np.arctan2(across[1], across[0])))
