"""How a sample is turned, scaled, moved, mirrored and warped: drawn from its seed, as DeepFaceLab draws it.

    pixel of the output -> affine, backwards -> warp map -> pixel of the crop

Coordinates are px of the crop, R px a side, which is the output's as well. Pure. Source of every number: DeepFaceLab
commit 46fc239, core/imagelib/warp.py.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

_LARGEST_TURN_DEG = 10.0
_LARGEST_SHIFT = 0.05
"""Of the output's side."""
_FLIP_DRAWS, _FLIPPED = 10, 4
"""An integer below the first is drawn, and below the second means a mirrored sample."""
_CELL_DIVISORS = (2, 4, 8)
"""The grid of the warp has cells of a half, a quarter or an eighth of the output's side."""
_NOISE_LIMIT = 2.5
"""Normal numbers further out are drawn anew; the others are divided by it."""
_NOISE_CELLS = 0.24
"""A grid point is moved by at most this part of a cell in each of the two fields of noise."""


@dataclass(frozen=True, eq=False)
class Geometry:
    """Where the pixels of one sample come from, but for the warp."""

    mat: NDArray[np.float64]
    """(2, 3): px of the crop -> px of the output, before it is mirrored."""
    flip: bool
    """The output is mirrored last."""


@dataclass(frozen=True, eq=False)
class WarpNoise:
    """What moves the grid of a warp."""

    cell_px: int
    first: NDArray[np.float32]
    """(n - 2, n - 2) of -1..1, for the inner points of a grid of n lines."""
    second: NDArray[np.float32]
    """The same, added transposed: x and y are moved by one field, mirrored at the diagonal."""

    @property
    def lines(self) -> int:
        return len(self.first) + 2


@dataclass(frozen=True)
class HsvShift:
    """How the colours of a warped picture are moved."""

    hue_deg: int
    saturation: float
    value: float


def draw_geometry(
    draws: np.random.RandomState,
    seed: int,
    side_px: int,
    *,
    random_flip: bool,
    scale_range: float,
    hsv_power: float = 0.0,
) -> tuple[Geometry, HsvShift | None]:
    """Draw the turn, scale, shift and mirroring of a sample, and behind them its shift of colours where there is one.

    `draws` is begun anew with `seed`: to make one takes a hundred times as long. The order is DeepFaceLab's: turn,
    scale, shift in x and y; the mirror only where it may be; the colours last.
    """
    draws.seed(seed)
    turn_deg = draws.uniform(-_LARGEST_TURN_DEG, _LARGEST_TURN_DEG)
    scale = draws.uniform(1 / (1 + scale_range), 1 + scale_range)
    shift = [draws.uniform(-_LARGEST_SHIFT, _LARGEST_SHIFT) * side_px for _ in "xy"]
    flip = bool(random_flip and draws.randint(_FLIP_DRAWS) < _FLIPPED)
    centre = side_px // 2
    mat = np.asarray(cv2.getRotationMatrix2D((centre, centre), turn_deg, scale), np.float64)
    mat[:, 2] += shift
    if not hsv_power:
        return Geometry(mat, flip), None
    largest_deg = max(1, int(360 * hsv_power * 0.5))
    hue = int(draws.randint(-largest_deg, largest_deg + 1))
    saturation, value = ((draws.random_sample() - 0.5) * hsv_power for _ in "sv")
    return Geometry(mat, flip), HsvShift(hue, saturation, value)


def draw_warp(draws: np.random.RandomState, seed: int, side_px: int) -> WarpNoise:
    """Begin `draws` anew with `seed`, and draw the grid and the noise of a sample's warp."""
    draws.seed(seed)
    cell_px = side_px // _CELL_DIVISORS[draws.randint(len(_CELL_DIVISORS))]
    inner = side_px // cell_px - 1
    first, second = (_limited_normals(draws, inner * inner).reshape(inner, inner) for _ in "xy")
    return WarpNoise(cell_px, first, second)


def warp_map(noise: WarpNoise, side_px: int) -> NDArray[np.float32]:
    """Return the (R, R) map of a warp: in which column of the crop each pixel's value lies. That of rows is its
    transpose.

    Without noise column x comes from x + 0.5: half a pixel, which every DeepFaceLab model is trained with.
    """
    columns = np.broadcast_to(np.linspace(0.0, side_px, noise.lines), (noise.lines, noise.lines)).copy()
    inner = columns[1:-1, 1:-1]
    inner += noise.first * (noise.cell_px * _NOISE_CELLS)
    inner += noise.second.T * (noise.cell_px * _NOISE_CELLS)
    return _dense(columns, noise.cell_px, side_px).astype(np.float32)


def warp_moves(noise: WarpNoise, side_px: int) -> NDArray[np.float32]:
    """Return the (R, R) map of how many columns further right than x + 0.5 each pixel's value lies: `warp_map` with
    less arithmetic. That of rows is its transpose."""
    moves = np.zeros((noise.lines, noise.lines), np.float32)
    np.add(noise.first, noise.second.T, out=moves[1:-1, 1:-1])
    moves *= np.float32(noise.cell_px * _NOISE_CELLS)
    return np.ascontiguousarray(_dense(moves, noise.cell_px, side_px), np.float32)


def _dense(
    grid: NDArray[np.float32] | NDArray[np.float64], cell_px: int, side_px: int
) -> NDArray[np.integer | np.floating]:
    size = (side_px + cell_px, side_px + cell_px)
    half_px = cell_px // 2
    return cv2.resize(grid, size)[half_px:-half_px, half_px:-half_px]


def _limited_normals(draws: np.random.RandomState, count: int) -> NDArray[np.float32]:
    """Draw `count` normal numbers, each anew until it lies within the limit, as -1..1."""
    accepted = np.empty(0)
    while (missing := count - len(accepted)) > 0:
        numbers = draws.standard_normal(missing)
        accepted = np.append(accepted, numbers[np.abs(numbers) <= _NOISE_LIMIT])
    return (accepted / _NOISE_LIMIT).astype(np.float32)
