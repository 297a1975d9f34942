"""How much of an aligned face lies outside its frame, which the file does not say: it holds no size of the frame.

Outside its frame a crop is black (DeepFaceLab's extractor and dfld's). What lies left of the frame's left edge or above
its upper one follows from the crop's matrix. Where its right and lower edges are is learnt from all faces of a clip:
the frame reaches at least as far as the furthest pixel of any crop that is not black. So a dark scene is not taken for
a face that is cut off, as long as something in the clip shows where the frame ends.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from dfl.geometry import Matrix, invert_mat

BLACK_MAX = 8
"""Luma up to which a pixel may be outside: JPEG moves black by a few levels beside an edge."""
GRID = 32
"""A crop is examined at so many places in a row and in a column: steps of 3 % of its width, 0.1 % of its area."""
BLOCK = 256
"""Crops at once: bounds memory."""


def reach_of_crop(luma: NDArray[np.uint8], mat: Matrix, size_px: int) -> tuple[float, float]:
    """Given the (S, S) luma of a crop and its matrix frame px -> aligned px of `size_px`, return how far to the
    right and down its picture reaches, frame px; (0, 0) for a black one. Raise FormatError where the matrix has no
    inverse."""
    is_picture = luma > BLACK_MAX
    rows = np.nonzero(is_picture.any(axis=1))[0]
    if not len(rows):
        return 0.0, 0.0
    # The furthest pixel in any direction is the first or last of its row.
    first = is_picture[rows].argmax(axis=1)
    last = luma.shape[1] - is_picture[rows, ::-1].argmax(axis=1)
    corners = np.concatenate([np.stack([first, rows], axis=1), np.stack([last, rows + 1], axis=1)])
    back = invert_mat(mat)
    x, y = (corners * (size_px / luma.shape[0]) @ back[:, :2].T + back[:, 2]).max(axis=0)
    return float(x), float(y)


def part_outside(
    mats: NDArray[np.float64], sizes: NDArray[np.int32], frames: NDArray[np.float64]
) -> NDArray[np.float32]:
    """Given (N, 2, 3) matrices frame px -> aligned px, each with an inverse or of NaN, (N,) sides of the aligned
    images, px, and (N, 2) right and lower edges of their frames, frame px, return (N,) the part of each crop that
    lies outside its frame, 0..1; 0 where the matrix is NaN."""
    step = (np.arange(GRID) + 0.5) / GRID
    places = np.stack(np.meshgrid(step, step), axis=-1).reshape(1, -1, 2)
    found = np.zeros(len(mats), np.float32)
    known = np.nonzero(np.isfinite(mats).all(axis=(1, 2)))[0]
    for start in range(0, len(known), BLOCK):
        rows = known[start : start + BLOCK]
        back = np.linalg.inv(mats[rows, :, :2])
        points = (places * sizes[rows, None, None] - mats[rows, None, :, 2]) @ back.transpose(0, 2, 1)
        # The centre of the first pixel of a frame is 0, that of the last one less than its edge.
        found[rows] = ((points < -0.5) | (points > frames[rows, None])).any(axis=2).mean(axis=1)
    return found
