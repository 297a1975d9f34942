"""How a head is turned, from the points on its face. Pure."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

NOSE_DEPTH = 0.55
"""How far the nose's tip stands out, in units of the eye distance, on an average head (300-W 3-D mean shape)."""


def pose_of_five(points: NDArray[np.float32]) -> tuple[float, float]:
    """Given (5, 2) eye, eye, nose, mouth, mouth px, return (yaw, roll) in degrees.

    Roll is the angle of the line from eyes to mouth, which holds for profiles too. Yaw follows from how far the nose
    leaves that line, sideways, against the face's height: a nose that protrudes by NOSE_DEPTH moves by its sine.
    """
    eyes, mouth = (points[0] + points[1]) / 2.0, (points[3] + points[4]) / 2.0
    down = mouth - eyes
    height = float(np.hypot(down[0], down[1]))
    if height < 1e-3:
        return 0.0, 0.0
    roll = math.degrees(math.atan2(-float(down[0]), float(down[1])))
    off = points[2] - eyes
    aside = float(off[0] * down[1] - off[1] * down[0]) / height
    # Eyes to mouth is about one eye distance on a frontal face, and yaw does not shorten it.
    sine = max(-1.0, min(1.0, aside / height / NOSE_DEPTH))
    return math.degrees(math.asin(sine)), roll


def pose_of_68(points: NDArray[np.float64]) -> tuple[float, float]:
    """Given (68, 2) iBUG points, return (yaw, roll) in degrees, as `pose_of_five` does."""
    five = np.stack([points[36:42].mean(0), points[42:48].mean(0), points[30], points[48], points[54]])
    return pose_of_five(five.astype(np.float32))
