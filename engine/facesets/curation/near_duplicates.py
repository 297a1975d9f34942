"""How much two faces differ, and which of many stands for which. Pure.

Each measure of a face is divided by one noticeable step of it; the distance of two faces is the Euclidean one of these
columns, in steps. Measured on labelled clips: within 1.75 steps two pictures are visibly the same, and pose and picture
are both needed (either alone takes faces for the same that are not).

The columns are whole numbers, GRID_PER_STEP to the step, and so small that every sum of products below is one that
float32 holds exactly. So the distances, and who is near whom, do not depend on the order of the faces, on the linear
algebra library or on the machine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.facesets.features import Column, Features

GRID_PER_STEP = 24
MOST_STEPS = 24
"""Of one column either way: 120 degrees of yaw, and more than any other measure reaches. Nine columns that differ by
twice as much, and the picture, are 11 979 000 grid units squared, less than the 2^24 up to which float32 is exact."""
YAW_STEP, PITCH_STEP, ROLL_STEP = 5.0, 5.0, 14.0
"""Degrees."""
MOUTH_OPEN_STEP, MOUTH_WIDTH_STEP, EYE_STEP = 0.12, 0.10, 0.08
LIGHT_STEP, LOG_BRIGHTNESS_STEP = 0.25, 0.25
LUMA_STEP = 0.22
"""Of a picture of length 1: two with a correlation of 0.976 are one step apart."""
BLOCK = 256
"""Faces compared with the kept ones at once."""

Rows = NDArray[np.int64]
Vectors = NDArray[np.float32]
"""(N, D) whole numbers."""


@dataclass(frozen=True, eq=False)
class Representation:
    """Which faces are kept, and who is near the others."""

    kept: NDArray[np.bool_]
    """(N,)."""
    nearest: Rows
    """(N,) the kept face that is nearest of those before it; a kept one has itself."""
    steps_apart: NDArray[np.float64]
    """(N,) how far that one is."""


def vectors_of(features: Features) -> Vectors:
    """Return what is compared of each face, on the grid. What could not be measured counts as 0."""
    columns = [
        _on_grid(features.yaw, YAW_STEP),
        _on_grid(features.pitch, PITCH_STEP),
        _on_grid(features.roll, ROLL_STEP),
        _on_grid(features.mouth_open, MOUTH_OPEN_STEP),
        _on_grid(features.mouth_width, MOUTH_WIDTH_STEP),
        _on_grid(features.eye_opening, EYE_STEP),
        _on_grid(features.light_x, LIGHT_STEP),
        _on_grid(features.light_y, LIGHT_STEP),
        _on_grid(np.log(np.maximum(features.brightness, 1.0)), LOG_BRIGHTNESS_STEP),
    ]
    picture = np.rint(np.nan_to_num(features.luma_dct) * np.float32(GRID_PER_STEP / LUMA_STEP))
    return np.concatenate([np.stack(columns, axis=1), picture], axis=1).astype(np.float32)


def stand_for_each_other(vectors: Vectors, order: Rows, radius: float, *, surely_kept: int) -> Representation:
    """Given the places of faces, best first, keep each that has no kept one within `radius` steps before it.

    The first `surely_kept` of them stay however near they are to each other. Faces that `order` leaves out are not
    kept and have no nearest (-1).
    """
    count = len(vectors)
    kept, nearest = np.zeros(count, np.bool_), np.full(count, -1, np.int64)
    apart = np.full(count, np.inf)
    reach = _squared_reach(radius)
    pool = _Pool(vectors, len(order))
    for start in range(0, len(order), BLOCK):
        places = order[start : start + BLOCK]
        squares = (vectors[places] ** 2).sum(axis=1)
        near, distances = pool.nearest(places)
        fresh = _fresh_of(vectors[places], near, distances, reach, max(0, surely_kept - start))
        _take_nearer(vectors[places], squares, places, fresh, near, distances)
        kept[places[fresh]] = True
        near[fresh], distances[fresh] = places[fresh], 0.0
        nearest[places], apart[places] = near, np.sqrt(distances) / GRID_PER_STEP
        pool.add(places[fresh])
    return Representation(kept, nearest, apart)


def nearest_of(vectors: Vectors, rows: Rows, candidates: Rows) -> tuple[Rows, NDArray[np.float64]]:
    """Return for each face of `rows` its nearest of `candidates`, of equals the first, and how many steps apart it is.

    Without candidates: -1 and infinity.
    """
    pool = _Pool(vectors, len(candidates))
    pool.add(candidates)
    parts = [pool.nearest(rows[start : start + BLOCK]) for start in range(0, len(rows), BLOCK)]
    if not parts:
        return np.zeros(0, np.int64), np.zeros(0)
    return np.concatenate([one[0] for one in parts]), np.sqrt(np.concatenate([one[1] for one in parts])) / GRID_PER_STEP


def steps_from(vectors: Vectors, rows: Rows, row: int) -> NDArray[np.float64]:
    """Return for each face of `rows` how many steps it is from that of `row`."""
    differences = vectors[rows] - vectors[row]
    squares = (differences * differences).sum(axis=1).astype(np.float64)
    return np.asarray(np.sqrt(squares) / GRID_PER_STEP)


class _Pool:
    """Faces that others are compared with. Not shared by threads."""

    def __init__(self, vectors: Vectors, most: int) -> None:
        self._vectors = vectors
        # 2ab - bb, whose largest is the least aa - 2ab + bb, is one product with a last column of -bb.
        self._rows = np.empty((most, vectors.shape[1] + 1), np.float32)
        self._places = np.empty(most, np.int64)
        self._count = 0
        self._scores = np.empty(BLOCK * most, np.float32)

    def add(self, places: Rows) -> None:
        rows = self._vectors[places]
        end = self._count + len(places)
        self._rows[self._count : end, :-1] = 2 * rows
        self._rows[self._count : end, -1] = -(rows**2).sum(axis=1)
        self._places[self._count : end] = places
        self._count = end

    def nearest(self, places: Rows) -> tuple[Rows, NDArray[np.float64]]:
        """Return the nearest of the pool for at most BLOCK faces, and the squared distance in grid units."""
        if not self._count:
            return np.full(len(places), -1, np.int64), np.full(len(places), np.inf)
        rows = self._vectors[places]
        scores = self._scores[: len(places) * self._count].reshape(len(places), self._count)
        np.matmul(np.column_stack([rows, np.ones(len(rows), np.float32)]), self._rows[: self._count].T, out=scores)
        best = scores.argmax(axis=1)
        squares = (rows**2).sum(axis=1) - scores[np.arange(len(places)), best]
        return self._places[best], squares.astype(np.float64)


def _fresh_of(rows: Vectors, near: Rows, distances: NDArray[np.float64], reach: float, surely_kept: int) -> Rows:
    """Return which of a block's faces, best first, are kept."""
    free = (near < 0) | (distances > reach)
    squares = (rows**2).sum(axis=1)
    among = squares[:, None] + squares[None, :] - 2 * (rows @ rows.T) <= reach
    fresh = []
    for number in range(len(rows)):
        if number < surely_kept or free[number]:
            fresh.append(number)
            free &= ~among[number]
    return np.array(fresh, np.int64)


def _take_nearer(
    rows: Vectors,
    squares: NDArray[np.float32],
    places: Rows,
    fresh: Rows,
    near: Rows,
    distances: NDArray[np.float64],
) -> None:
    """Put a kept face of the same block, before it, in the place of one of an earlier block that is further away."""
    if not len(fresh):
        return
    within = (squares[:, None] + squares[fresh][None, :] - 2 * (rows @ rows[fresh].T)).astype(np.float64)
    within[fresh[None, :] >= np.arange(len(rows))[:, None]] = np.inf
    best = within.argmin(axis=1)
    nearer = within[np.arange(len(rows)), best] < distances
    near[nearer] = places[fresh[best[nearer]]]
    distances[nearer] = within[nearer, best[nearer]]


def _squared_reach(radius: float) -> float:
    return float(np.floor((radius * GRID_PER_STEP) ** 2 + 1e-6))


def _on_grid(values: Column, step: float) -> NDArray[np.float32]:
    steps = np.nan_to_num(values.astype(np.float64)) / step
    return np.rint(np.clip(steps, -MOST_STEPS, MOST_STEPS) * GRID_PER_STEP).astype(np.float32)
