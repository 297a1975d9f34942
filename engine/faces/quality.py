"""How good a face is, for two separate ends: to say who it is, and to train on.

Pure: numbers in, numbers out. A face too poor to identify may still be worth keeping when its track says who it
is (a blink, a profile); a face that identifies well may be too small to train on. So the two are never mixed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.faces.pose import pose_of_five
from engine.types import Face

SIZE_FULL_PX = 48.0
"""A face this wide gives a recogniser of 112 px all it needs; smaller ones count for less."""
YAW_FULL_DEGREES, YAW_NONE_DEGREES = 35.0, 80.0
"""Recognisers lose a face from half profile on and hardly know it in full profile."""
EDGE_FULL, EDGE_NONE = 0.05, 0.5
"""Fraction of the box outside the frame: a chin cut off does no harm, half a face does."""
UNRECOGNISABLE_FROM, UNRECOGNISABLE_ALL = 0.33, 0.62
"""Blankness (see `clarity`): clear faces of 30 people stay below 0.28, faces that nobody could name lie above 0.55
(measured with a 128-d MobileFaceNet)."""
TRAIN_SIZE_PX, TRAIN_SHARPNESS = 64.0, -6.0
"""Below these a trainer learns blur. Sharp faces of the labelled clips have a sharpness of -4.1, the softest of 642 has
-5.5; one of a face 256 px wide is left with -6 by a blur of 2 px, a motion over 10 px, or when it was enlarged five
times. They flag; whether such faces are dropped the owner decides."""


@dataclass(frozen=True)
class FaceQuality:
    """What can be measured of one face without knowing whose it is."""

    width_px: float
    yaw_degrees: float
    """Absolute turn to the side; 0 where no points are known."""
    outside: float
    """Fraction of the box that lies outside the frame, 0..1."""


def measure(face: Face, *, frame_width: int, frame_height: int) -> FaceQuality:
    """Given a face of a frame of this size, px, measure what limits how surely it can be recognised."""
    yaw, _ = pose_of_five(face.landmarks_5) if face.landmarks_5 is not None else (0.0, 0.0)
    return FaceQuality(
        width_px=face.width_px,
        yaw_degrees=abs(yaw),
        outside=outside_fraction(face.bbox, frame_width=frame_width, frame_height=frame_height),
    )


def clarity(quality: FaceQuality, blankness: float) -> float:
    """Return 0..1: how much this face's embedding may count as evidence of who it is.

    `blankness` says where the embedding lies between clear photos (0) and faces with nothing left to recognise (1);
    engine.identity.reference_set measures both ends by blurring the reference photos. Poor faces of different people
    gather there and resemble each other, which neither detection score nor sharpness shows (Deng et al., arXiv
    2106.04112).
    """
    return (
        _fall(blankness, UNRECOGNISABLE_FROM, UNRECOGNISABLE_ALL)
        * _fall(quality.yaw_degrees, YAW_FULL_DEGREES, YAW_NONE_DEGREES, floor=0.2)
        * _fall(quality.outside, EDGE_FULL, EDGE_NONE)
        * min(1.0, quality.width_px / SIZE_FULL_PX)
    )


def fit_to_train(*, width_px: float, aligned_sharpness: float | None, outside: float) -> bool:
    """Say whether a face is large, sharp and whole enough that a trainer gains by it.

    `width_px` and `outside` (fraction of the box) are of the detection in the frame, `aligned_sharpness` is that of
    engine.facesets.measures.sharpness, of the aligned face; None where it cannot be measured.
    """
    is_sharp = aligned_sharpness is None or aligned_sharpness >= TRAIN_SHARPNESS
    return width_px >= TRAIN_SIZE_PX and is_sharp and outside < EDGE_NONE


def outside_fraction(bbox: NDArray[np.float32], *, frame_width: int, frame_height: int) -> float:
    """Return the fraction of a box (x1, y1, x2, y2 px) that lies outside the frame."""
    x1, y1, x2, y2 = (float(v) for v in bbox)
    area = max(x2 - x1, 1e-3) * max(y2 - y1, 1e-3)
    inside = max(0.0, min(x2, frame_width) - max(x1, 0.0)) * max(0.0, min(y2, frame_height) - max(y1, 0.0))
    return 1.0 - min(1.0, inside / area)


def _fall(value: float, full: float, none: float, *, floor: float = 0.0) -> float:
    """1 up to `full`, `floor` from `none` on, straight between."""
    return max(floor, min(1.0, 1.0 - (value - full) / (none - full) * (1.0 - floor)))
