"""Where a picture shows something that an earlier one of its shot did not: pure, on small luma pictures.

Where nothing is new nobody has come, and a detector would only see again what it saw before. A camera that pans or
tilts moves the whole picture: the two are laid over each other first, and what came in at the edge counts as new once
it is wide enough to hold a face. What that does not explain (zoom, parallax, shaking, a change of light) counts as
new: then the detector looks, which is never wrong and only costs time.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.search.area import WHOLE, FrameArea
from engine.types import Image

NOVELTY_WIDTH_PX = 160
"""Width of the compared pictures. Pasted faces of a fiftieth of the width are found in 92 of 100 cases, from a
twenty-fifth on always, on still and moving walls; the detector needs larger ones."""
PATCH_PX = 3
"""Side of the patches whose mean difference counts: smaller ones see grain, larger ones lose small faces."""
NEW_LUMA = 6.0
"""Mean difference of a patch, luma levels: grain (sigma 4 at 720p) and compression stay below 3."""
EDGE_ALLOWANCE = 0.3
"""Shifts are known to a tenth of a pixel: a difference is forgiven up to this fraction of the local contrast."""
EDGE_FRACTION = 1 / 16
"""A strip at the frame's edge that is wider than this fraction of the frame's width is new."""
SHIFT_MIN_PX = 0.2
"""Smaller shifts are not undone: resampling would do more harm."""
SHIFT_FROM_PX = 4
"""Side from which a picture holds enough rows and columns for a shift to be seen in it."""
MARGIN_FRACTION = 0.06
"""Fraction of the frame added round what is new: a face may reach beyond the part of it that differs."""


def novel_region(before: Image, now: Image, known: Iterable[FrameArea] = ()) -> FrameArea | None:
    """Given two (h, w) uint8 luma pictures of one shot, return the part that holds all that is new in the later one.

    None where nothing is new. What changes within the areas of `known` does not count.
    """
    if before.shape != now.shape:
        return WHOLE
    height, width = now.shape
    first, second = before.astype(np.float32), now.astype(np.float32)
    changed = _changed(first, second)
    for x1, y1, x2, y2 in known:
        columns = slice(max(0, int(x1 * width)), max(0, int(np.ceil(x2 * width))))
        changed[max(0, int(y1 * height)) : max(0, int(np.ceil(y2 * height))), columns] = False
    if not changed.any():
        return None
    x, y = _shift(first, second)
    far = max(abs(x), abs(y))
    if far > EDGE_FRACTION * width:
        return WHOLE
    if far >= SHIFT_MIN_PX:
        matrix = np.array([[1.0, 0.0, x], [0.0, 1.0, y]])
        laid = np.asarray(cv2.warpAffine(first, matrix, (width, height), flags=cv2.INTER_LINEAR), np.float32)
        changed &= _changed(laid, second)
        _clear_strip(changed, x)
        _clear_strip(changed.T, y)
    return _round(changed)


def _changed(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return which pixels lie in the middle of a patch that differs by more than its contrast explains."""
    patch = (PATCH_PX, PATCH_PX)
    difference = cv2.blur(cv2.absdiff(first, second), patch)
    contrast = cv2.blur(cv2.morphologyEx(second, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)), patch)
    return np.asarray(difference > NEW_LUMA + EDGE_ALLOWANCE * contrast, np.bool_)


def _shift(first: NDArray[np.float32], second: NDArray[np.float32]) -> tuple[float, float]:
    """Return by how many px (right, down) the picture moved, by phase correlation; not at all for a mere strip."""
    if min(first.shape) < SHIFT_FROM_PX:
        return 0.0, 0.0
    window = cv2.createHanningWindow(first.shape[::-1], cv2.CV_32F)
    # It writes into its arguments where their size needs no padding for the Fourier transform.
    (x, y), _ = cv2.phaseCorrelate(first.copy(), second.copy(), window)
    return float(x), float(y)


def _clear_strip(changed: NDArray[np.bool_], moved: float) -> None:
    """Take out the columns that a move by so many px to the right (or left) brought in, and a patch's reach more."""
    strip = int(np.ceil(abs(moved))) + PATCH_PX // 2
    if moved > 0:
        changed[:, :strip] = False
    elif moved < 0:
        changed[:, -strip:] = False


def _round(changed: NDArray[np.bool_]) -> FrameArea | None:
    """Return the box round what changed, with its margin."""
    rows, columns = np.flatnonzero(changed.any(axis=1)), np.flatnonzero(changed.any(axis=0))
    if not len(rows):
        return None
    height, width = changed.shape
    return (
        max(0.0, columns[0] / width - MARGIN_FRACTION),
        max(0.0, rows[0] / height - MARGIN_FRACTION),
        min(1.0, (columns[-1] + 1) / width + MARGIN_FRACTION),
        min(1.0, (rows[-1] + 1) / height + MARGIN_FRACTION),
    )
