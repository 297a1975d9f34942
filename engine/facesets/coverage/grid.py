"""Pose cells with their counts here and there, and which are missing. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.facesets.curation.cells import PITCH_CELLS, YAW_CELLS, Cells, PoseCell, cells_of, pose_counts
from engine.facesets.features import Features

ENOUGH = 3
"""Fewer faces of a pose teach a model nothing of it; fewer than that there are chance, or landmarks gone wrong."""

CellState = Literal["covered", "missing", "gap", "unneeded", "empty"]
"""covered: enough here. missing: there needs it, and here has not enough. gap: nobody says what is needed, but poses on
both sides are here. unneeded: here, and there not or too few to say. empty: not here, and nothing asks for it."""


@dataclass(frozen=True)
class CoveredCell:
    """One pose cell."""

    cell: PoseCell
    here: int
    """Faces of the set that is looked at (src)."""
    there: int | None
    """Faces of the set that it is compared with (dst); None without one."""
    state: CellState
    sharpest: str | None
    """File name of the sharpest face here; None where there is none."""


def covered_cells(here: Features, there: Features | None) -> tuple[CoveredCell, ...]:
    """Return all cells, from the highest pitch down and in each row from the picture's left to its right."""
    cells = cells_of(here)
    counts = pose_counts(cells)
    needed = None if there is None else pose_counts(cells_of(there))
    sharpest = _sharpest(here, cells)
    found = []
    for pitch in reversed(range(-PITCH_CELLS // 2, PITCH_CELLS // 2)):
        for yaw in range(-YAW_CELLS // 2, YAW_CELLS // 2):
            at = yaw + YAW_CELLS // 2, pitch + PITCH_CELLS // 2
            cell = PoseCell(yaw, pitch)
            found.append(
                CoveredCell(
                    cell,
                    int(counts[at]),
                    None if needed is None else int(needed[at]),
                    _state(counts, needed, at),
                    sharpest.get(cell),
                )
            )
    return tuple(found)


def missing_cells(cells: Sequence[CoveredCell]) -> list[CoveredCell]:
    """Return the cells that are missing, those first that most faces there have; or the gaps, without a set there."""
    found = [one for one in cells if one.state in ("missing", "gap")]
    return sorted(found, key=lambda one: (-(one.there or 0), one.here, abs(one.cell.yaw + 0.5), one.cell))


def _state(counts: NDArray[np.int64], needed: NDArray[np.int64] | None, at: tuple[int, int]) -> CellState:
    if needed is not None and needed[at] >= ENOUGH:
        return "covered" if counts[at] >= ENOUGH else "missing"
    if needed is not None:
        return "unneeded" if counts[at] else "empty"
    if counts[at] >= ENOUGH:
        return "covered"
    return "gap" if _is_between(counts, at) else "empty"


def _is_between(counts: NDArray[np.int64], at: tuple[int, int]) -> bool:
    """Say whether the cells on both sides, in yaw or in pitch, have enough faces."""
    full = np.pad(counts >= ENOUGH, 1)
    yaw, pitch = at[0] + 1, at[1] + 1
    return bool((full[yaw - 1, pitch] and full[yaw + 1, pitch]) or (full[yaw, pitch - 1] and full[yaw, pitch + 1]))


def _sharpest(features: Features, cells: Cells) -> dict[PoseCell, str]:
    sharpness = np.nan_to_num(features.nf.astype(np.float64), nan=-np.inf)
    best: dict[PoseCell, tuple[float, str]] = {}
    for row, name in enumerate(features.name):
        found = (-float(sharpness[row]), name)
        cell = cells.pose(row)
        best[cell] = min(best.get(cell, found), found)
    return {cell: name for cell, (_, name) in best.items()}
