"""Boxes of faces (x1, y1, x2, y2 px): where their middle is, how large they are, how much two overlap. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def overlap(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = float(width * height)
    return both / (_area(first) + _area(second) - both)


def centre(box: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.array([(box[0] + box[2]) / 2.0, (box[1] + box[3]) / 2.0])


def size_of(box: NDArray[np.floating]) -> float:
    """Return the side of the square of the same area, px."""
    return float(np.sqrt(max(_area(box), 1e-3)))


def _area(box: NDArray[np.floating]) -> float:
    return max(float(box[2] - box[0]), 1e-3) * max(float(box[3] - box[1]), 1e-3)
