"""How many faces each cell may have, and which of them have the places. Pure."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from engine.facesets.curation.cells import PITCH_CELLS, YAW_CELLS, Cells, pose_counts
from engine.facesets.curation.near_duplicates import Rows, Vectors, nearest_of, steps_from
from engine.facesets.curation.settings import MATCH_FLOOR

_SMOOTHED = ((0, 0, 4), (0, 1, 2), (0, -1, 2), (1, 0, 2), (-1, 0, 2), (1, 1, 1), (1, -1, 1), (-1, 1, 1), (-1, -1, 1))
"""(cells of yaw away, cells of pitch away, weight): 1 2 1 both ways, so that a pose is wanted one cell around it."""


def budgets_of(cells: Cells, per_cell: int, match: Cells | None) -> Rows:
    """Return (N,) how many faces the cell of each face may have: `per_cell`, or with `match`, the cells of the faces
    that the model is to be used on, in proportion to how many of them have that pose.

    The pose that most of those have gets `per_cell` for each light and expression, others in proportion, at least
    MATCH_FLOOR. Light and expression follow the own faces: which of them a model can learn, it should.
    """
    if match is None or not len(match.yaw):
        return np.full(len(cells.yaw), per_cell, np.int64)
    needed = smoothed(pose_counts(match))
    budget = np.maximum(min(MATCH_FLOOR, per_cell), -(-per_cell * needed // needed.max()))
    return np.asarray(budget.reshape(-1)[cells.poses])


def smoothed(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return (YAW_CELLS, PITCH_CELLS) counts, each spread over the cells around it, times 16."""
    spread = np.zeros((YAW_CELLS + 2, PITCH_CELLS + 2), np.int64)
    for yaw, pitch, weight in _SMOOTHED:
        spread[1 + yaw : 1 + yaw + YAW_CELLS, 1 + pitch : 1 + pitch + PITCH_CELLS] += weight * counts
    return spread[1:-1, 1:-1]


def with_places(vectors: Vectors, order: Rows, budget: int, *, surely_kept: int) -> Rows:
    """Given the faces of one cell, best first, return those that have its places; the first `surely_kept` always.

    Half of the places go to the best faces; each other one to the face that differs most from all that have one.
    """
    if len(order) <= budget:
        return order
    taken = max(surely_kept, -(-budget // 2))
    chosen, left = order[:taken].tolist(), order[taken:]
    _, apart = nearest_of(vectors, left, order[:taken])
    while len(chosen) < budget:
        furthest = int(apart.argmax())  # of equals the best
        chosen.append(int(left[furthest]))
        apart = np.minimum(apart, steps_from(vectors, left, int(left[furthest])))
    return np.array(chosen, np.int64)
