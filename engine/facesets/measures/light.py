"""How bright a face is, from where the light comes, and what its picture shows, coarsely."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

LUMA_SIDE_PX, LUMA_DCT_SIDE = 32, 10
LUMA_DCT_COUNT = LUMA_DCT_SIDE * LUMA_DCT_SIDE - 1
"""The 10 x 10 lowest frequencies without the constant one: they hold 81 to 90 % of the power of such a picture."""
STEP_PX = 2
"""Every second pixel of every second row is enough for a mean over thousands."""
FEWEST_PX = 16
"""A hull with fewer of these lies outside the picture."""


@dataclass(frozen=True)
class Light:
    """Of the luma inside the hull; NaN where there is none."""

    x: float
    y: float
    """Change of the fitted plane over half the unit square, in parts of the mean: positive is brighter on the
    picture's right, or below."""
    mean: float
    std: float
    """Levels, 0..255."""


def measure_light(luma: NDArray[np.uint8], hull: NDArray[np.bool_], unit_px: float) -> Light:
    """Given (S, S) luma, (S, S) what of it is face, and the side of the unit square in px of it, return the light on
    it.

    A plane is fitted to the luma by least squares, eyes, beard and shadows included.
    """
    rows, columns = np.nonzero(hull[::STEP_PX, ::STEP_PX])
    if len(rows) < FEWEST_PX:
        return Light(float("nan"), float("nan"), float("nan"), float("nan"))
    values = luma[::STEP_PX, ::STEP_PX][rows, columns].astype(np.float64)
    mean = float(values.mean())
    x, y = columns - columns.mean(), rows - rows.mean()
    xx, xy, yy = float((x * x).sum()), float((x * y).sum()), float((y * y).sum())
    xv, yv = float((x * values).sum()), float((y * values).sum())
    determinant = max(xx * yy - xy * xy, 1e-9)
    half = unit_px / STEP_PX / 2 / max(mean, 1.0)
    light_x, light_y = (yy * xv - xy * yv) / determinant * half, (xx * yv - xy * xv) / determinant * half
    return Light(light_x, light_y, mean, float(values.std()))


def luma_dct(luma: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Given (S, S) luma, return (LUMA_DCT_COUNT,) its coarse content as engine.facesets.features.Features.luma_dct
    says.

    Orthonormal: the distance of two rows is that of the pictures of 32 x 32 px without their fine detail. A picture
    without any contrast gives zeros.
    """
    # Averaged in floating point: of a dark face there are too few levels to round to.
    small = cv2.resize(luma.astype(np.float32), (LUMA_SIDE_PX, LUMA_SIDE_PX), interpolation=cv2.INTER_AREA)
    level = small - small.mean()
    found = cv2.dct(level / np.float32(max(float(np.linalg.norm(level)), 1e-3)))[:LUMA_DCT_SIDE, :LUMA_DCT_SIDE]
    return np.asarray(found.ravel()[1:], np.float32)
