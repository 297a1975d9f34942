"""How far mouth and eyes are open, how wide the mouth is, in units that a turn of the head does not change.

Heights are compared with a height, the way from the eyes to the mouth, widths with a width, the distance of the eyes: a
head that turns shortens both alike. Turned by 45 degrees, the mean head's mouth seems open by the same, 1.4 times as
far against the mouth's own width, 1.1 times against the unit square; by 60 degrees 1.0, 2.0 and 1.1 times. Its eyes are
open by the same at 45, against their own width 1.4 times as far. Nodding by 20 degrees changes these by 5 %, and widths
by nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

EYE_WIDTH = 0.39
"""Of the mean head, in ways from the eyes to the mouth: so that an eye that faces the camera has the aspect ratio
that the literature calls by that name (Soukupová and Čech 2016): about .3 open, below .2 shut."""


@dataclass(frozen=True)
class Expression:
    """Of one face."""

    mouth_open: float
    """Gap between the lips, in ways from the eyes to the mouth: 0 shut, .3 wide open."""
    mouth_width: float
    """Between the corners, in distances between the eyes' centres: .9 at rest."""
    eye_opening: float
    """Gap between the lids, in widths of an eye, mean of both: .3 open, below .2 shut."""


def measure_expression(landmarks: NDArray[np.float64]) -> Expression:
    """Given (68, 2) landmarks, px of any picture, return how far mouth and eyes are open."""
    left, right = landmarks[36:42], landmarks[42:48]
    eyes = (left.mean(axis=0) + right.mean(axis=0)) / 2
    height = max(_distance(eyes, (landmarks[48] + landmarks[54]) / 2), 1e-9)
    width = max(_distance(left.mean(axis=0), right.mean(axis=0)), 1e-9)
    lips = sum(_distance(landmarks[61 + one], landmarks[67 - one]) for one in range(3)) / 3
    lids = sum(_distance(eye[1], eye[5]) + _distance(eye[2], eye[4]) for eye in (left, right)) / 4
    return Expression(lips / height, _distance(landmarks[48], landmarks[54]) / width, lids / height / EYE_WIDTH)


def _distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.hypot(*(one - other)))
