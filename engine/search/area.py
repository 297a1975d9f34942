"""Parts of a frame, as fractions of its width and height, so that pictures of any size of it can be compared. Pure."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

FrameArea = tuple[float, float, float, float]
"""x1, y1, x2, y2 as fractions of a picture's width and height, 0..1."""

WHOLE: FrameArea = (0.0, 0.0, 1.0, 1.0)
ROOM_ROUND_LOST = 0.5
"""Room round a lost face in the area where it is searched, as a fraction of its box."""


def area_of_box(box: NDArray[np.floating], width: int, height: int, growth: float) -> FrameArea:
    """Return a box (x1, y1, x2, y2 px) of a frame as an area, grown on each side by `growth` of its own sides."""
    x, y = growth * float(box[2] - box[0]), growth * float(box[3] - box[1])
    return (box[0] - x) / width, (box[1] - y) / height, (box[2] + x) / width, (box[3] + y) / height


def area_round(
    area: FrameArea | None, boxes: Sequence[NDArray[np.floating]], width: int, height: int
) -> FrameArea | None:
    """Return the smallest area of a frame that holds `area` and the boxes (frame px) with some room; None for none."""
    areas = [] if area is None else [area]
    areas += [area_of_box(box, width, height, ROOM_ROUND_LOST) for box in boxes]
    if not areas:
        return None
    low = (max(0.0, min(one[axis] for one in areas)) for axis in (0, 1))
    high = (min(1.0, max(one[axis] for one in areas)) for axis in (2, 3))
    (x1, y1), (x2, y2) = low, high
    return x1, y1, x2, y2


def fraction_of(area: FrameArea) -> float:
    """Return how much of the frame an area is, 0..1."""
    return max(0.0, area[2] - area[0]) * max(0.0, area[3] - area[1])
