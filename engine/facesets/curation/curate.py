"""The rule of a curation: from features and decisions to a verdict for each face. Pure.

1. What a person decided is final, and so is a face whose mask a person drew.
2. Gates: a face that is too poor goes; but the best three of a pose stay however poor they are.
3. Of near-duplicates the best stays, over the whole person and not only within a take; but a pose with few
   faces keeps three that differ by half as much.
4. A cell of pose, light and expression has a budget.

Every face that goes names a kept one that is most like it. Neither the order of the faces nor the machine changes a
verdict: of faces that are equally good the one with the smaller id comes first.

The faces that the merger needs, data_dst, are never thinned: `mark` says what is poor among them, and all stay.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.facesets.curation.budgets import budgets_of, with_places
from engine.facesets.curation.cells import PITCH_CELLS, YAW_CELLS, Cells, cells_of
from engine.facesets.curation.gates import Gate, Limits, gates_of, is_judged, limits_of
from engine.facesets.curation.near_duplicates import (
    Representation,
    Rows,
    Vectors,
    nearest_of,
    stand_for_each_other,
    steps_from,
    vectors_of,
)
from engine.facesets.curation.settings import BEST_OF_CELL, CurationSettings
from engine.facesets.curation.verdicts import GATES, Decision, Reason, Verdict
from engine.facesets.features import Features

SHARPNESS_DIGITS = 1000
"""Sharpness is compared to a thousandth: less is the rounding of a machine."""
PASSED = -1
"""In the place of a gate: none failed."""
POSE_CELLS = YAW_CELLS * PITCH_CELLS
_UNRELIABLE = GATES.index("landmarks_unsure")
"""A face whose landmarks are wrong has no known pose, and can be no rare one."""

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Curation:
    """What is decided of a faceset."""

    verdicts: tuple[Verdict, ...]
    """One a face, in the order of the features."""
    limits: Limits
    """What the faces were measured against."""


@dataclass(frozen=True, eq=False)
class _Steps:
    """What each step of the rule found for N faces."""

    gates: Mapping[Reason, Gate]
    failed: Rows
    """(N,) the first gate that a face fails, its place in GATES, or PASSED."""
    stays: Flags
    """A person decided that it stays."""
    goes: Flags
    """A person decided that it goes."""
    rare: Flags
    """Fails a gate and is one of the best of its pose."""
    represented: Representation
    kept: Flags
    """The end of it."""
    crowds: Rows
    """(N,) faces of its cell that are no near-duplicates."""
    budgets: Rows
    """(N,) faces that its cell may have."""


def curate(
    features: Features,
    decisions: Mapping[str, Decision],
    settings: CurationSettings | None = None,
    match: Features | None = None,
) -> Curation:
    """Decide which faces are trained on.

    `decisions`: what a person decided, by file name, since copies of a face have one id; names that are not there are
    passed over. `match`: the faces that the model is to be used on, whose poses the budget follows.
    """
    settings = settings or CurationSettings()
    cells, vectors, rank = cells_of(features), vectors_of(features), _ranks(features)
    limits = limits_of(features, settings)
    gates = gates_of(features, limits)
    failed = _first_failed(gates, len(features))
    goes = np.array([decisions.get(one) == "aside" for one in features.name], np.bool_)
    stays = ~goes & (features.has_polygons | np.array([one in decisions for one in features.name], np.bool_))
    rare = _poor_but_rare(cells, rank, failed, stays, goes)
    order = _candidates(rank, stays, ~goes & (stays | rare | (failed == PASSED)))
    represented = stand_for_each_other(vectors, order, settings.near_duplicate_radius, surely_kept=int(stays.sum()))
    represented = _with_every_pose(represented, vectors, cells, order, settings.near_duplicate_radius)
    budgets = budgets_of(cells, settings.per_cell, None if match is None else cells_of(match))
    kept = _within_budget(cells, vectors, order[represented.kept[order]], budgets, stays)
    crowds = np.bincount(cells.codes[represented.kept], minlength=int(cells.codes.max(initial=0)) + 1)[cells.codes]
    steps = _Steps(gates, failed, stays, goes, rare, represented, kept, crowds, budgets)
    stand_in, apart = _stand_ins(vectors, rank, steps)
    verdicts = tuple(
        _verdict(features, row, steps, settings, int(stand_in[row]), float(apart[row])) for row in range(len(features))
    )
    return Curation(verdicts, limits)


def mark(features: Features, settings: CurationSettings | None = None) -> Curation:
    """Say which faces are poor, and keep all of them."""
    limits = limits_of(features, settings or CurationSettings())
    gates = gates_of(features, limits)
    failed = _first_failed(gates, len(features))
    verdicts = (
        Verdict(
            name,
            face_id,
            "keep",
            "fit" if failed[row] == PASSED else "poor_but_needed",
            *_gate_at(gates, int(failed[row]), row),
        )
        for row, (name, face_id) in enumerate(zip(features.name, features.face_id, strict=True))
    )
    return Curation(tuple(verdicts), limits)


def _ranks(features: Features) -> Rows:
    """Return (N,) how many faces are better: the sharpest first, those too dark or too flat to judge last."""
    sharpness = np.nan_to_num(features.nf.astype(np.float64), nan=-1e3, posinf=1e3, neginf=-1e3)
    sharpness[~is_judged(features)] -= 1e4
    whole = np.rint(sharpness * SHARPNESS_DIGITS).astype(np.int64).tolist()
    order = sorted(range(len(whole)), key=lambda row: (-whole[row], features.face_id[row], features.name[row]))
    rank = np.empty(len(whole), np.int64)
    rank[order] = np.arange(len(whole))
    return rank


def _first_failed(gates: Mapping[Reason, Gate], count: int) -> Rows:
    failed = np.full(count, PASSED, np.int64)
    for place, reason in enumerate(GATES):
        failed[(failed == PASSED) & gates[reason].failed] = place
    return failed


def _poor_but_rare(cells: Cells, rank: Rows, failed: Rows, stays: Flags, goes: Flags) -> Flags:
    """Return the faces that fail a gate and are among the best of their pose all the same."""
    rare = np.zeros(len(rank), np.bool_)
    good = np.bincount(cells.poses[~goes & (stays | (failed == PASSED))], minlength=POSE_CELLS)
    poor = np.flatnonzero(~goes & ~stays & (failed != PASSED) & (failed != _UNRELIABLE))
    room = BEST_OF_CELL - good
    for row in poor[np.argsort(rank[poor])]:
        if room[cells.poses[row]] > 0:
            room[cells.poses[row]] -= 1
            rare[row] = True
    return rare


def _candidates(rank: Rows, stays: Flags, may_stay: Flags) -> Rows:
    """Return the faces that may stay: those that a person decided on first, then the best first."""
    rows = np.flatnonzero(may_stay)
    return rows[np.lexsort((rank[rows], ~stays[rows]))]


def _with_every_pose(
    represented: Representation, vectors: Vectors, cells: Cells, order: Rows, radius: float
) -> Representation:
    """Return the same with more faces of the poses of which fewer than BEST_OF_CELL are kept: the best one of a pose
    that has none, and others, best first, that are at least half the radius away from every kept face."""
    kept, nearest, apart = represented.kept.copy(), represented.nearest.copy(), represented.steps_apart.copy()
    room = BEST_OF_CELL - np.bincount(cells.poses[kept], minlength=POSE_CELLS)
    left = order[~kept[order] & (room[cells.poses[order]] > 0)]
    _, away = nearest_of(vectors, left, np.flatnonzero(kept))
    for place, row in enumerate(left):
        pose = cells.poses[row]
        if room[pose] == BEST_OF_CELL or (room[pose] > 0 and away[place] >= radius / 2):
            room[pose] -= 1
            kept[row], nearest[row], apart[row] = True, row, 0.0
            away = np.minimum(away, steps_from(vectors, left, int(row)))
    return Representation(kept, nearest, apart)


def _within_budget(cells: Cells, vectors: Vectors, order: Rows, budgets: Rows, stays: Flags) -> Flags:
    """Return which faces stay when each cell has its budget; what a person decided on stays anyway."""
    kept = np.zeros(len(vectors), np.bool_)
    by_cell = order[np.argsort(cells.codes[order], kind="stable")]
    starts = np.flatnonzero(np.diff(cells.codes[by_cell], prepend=-1))
    for rows in np.split(by_cell, starts[1:]):
        if len(rows):
            kept[with_places(vectors, rows, int(budgets[rows[0]]), surely_kept=int(stays[rows].sum()))] = True
    return kept


def _stand_ins(vectors: Vectors, rank: Rows, steps: _Steps) -> tuple[Rows, NDArray[np.float64]]:
    """Return for each face that goes which kept face stands for it, and how many steps apart that is; -1 for others.

    A near-duplicate is stood for by the face that it was measured against; where the budget took that one too, and for
    every other reason, by the kept face that is nearest.
    """
    stand_in, apart = steps.represented.nearest.copy(), steps.represented.steps_apart.copy()
    away = np.flatnonzero(~steps.kept)
    lost = away[(stand_in[away] < 0) | ~steps.kept[stand_in[away]]]
    kept = np.flatnonzero(steps.kept)
    stand_in[lost], apart[lost] = nearest_of(vectors, lost, kept[np.argsort(rank[kept])])
    stand_in[steps.kept] = -1
    return stand_in, apart


def _verdict(
    features: Features, row: int, steps: _Steps, settings: CurationSettings, stand_in: int, apart: float
) -> Verdict:
    """Put together what is said of one face."""
    measured, limit, poor = _gate_at(steps.gates, int(steps.failed[row]), row)
    reason: Reason = "fit" if poor is None else "poor_but_rare"
    if steps.stays[row] or steps.goes[row]:
        reason = "polygons" if steps.stays[row] and features.has_polygons[row] else "decided"
        measured, limit, poor = None, None, None
    elif poor is not None and not steps.rare[row]:
        reason, poor = poor, None
    elif not steps.represented.kept[row]:
        radius = settings.near_duplicate_radius
        reason, measured, limit, poor = "near_duplicate", _number(steps.represented.steps_apart[row]), radius, None
    elif not steps.kept[row]:
        reason, measured, limit, poor = "over_budget", float(steps.crowds[row]), float(steps.budgets[row]), None
    stands_for_it = None if stand_in < 0 else features.name[stand_in]
    return Verdict(
        features.name[row],
        features.face_id[row],
        "keep" if steps.kept[row] else "aside",
        reason,
        measured,
        limit,
        poor,
        stands_for_it,
        None if stands_for_it is None else round(apart, 3),
    )


def _gate_at(gates: Mapping[Reason, Gate], failed: int, row: int) -> tuple[float | None, float | None, Reason | None]:
    """Return measured, limit and name of the gate that a face fails; nothing for one that passes all."""
    if failed == PASSED:
        return None, None, None
    gate = gates[GATES[failed]]
    return _number(gate.measured[row]), gate.limit, GATES[failed]


def _number(value: np.floating) -> float | None:
    """Return a measure as it is shown; None for what could not be measured."""
    return round(float(value), 4) if np.isfinite(value) else None
