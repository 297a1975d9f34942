"""Do landmarks that were found again fit better than those that a face has? Pure.

Landmarks of one face in neighbouring frames have the same shape but for what moves within 0.1 s, so that how far a
shape leaves those of its neighbours is error. Both series are measured by the same rule: the stored landmarks beside
the stored ones of their neighbours, the new beside the new. A better model than the one that runs here, or a careful
person, made the steadier series, and its landmarks stay.

Numbers were chosen on `street_interview` and `stage_speech` (`python -m benchmarks.refine`): landmarks as extracted
lie .0035 to .008 of a face from what is found again (99 % within .016), those with noise of 2 % of a face .025.
All points are (68, 2) float64, px of one frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.faces.warps import fit_warp
from engine.facesets.measures.pose import measure_turn

Points = NDArray[np.float64]
Reason = Literal["agrees_with_neighbours", "fits_the_head", "close_enough", "not_better", "elsewhere"]
MOVING_REASONS: tuple[Reason, ...] = ("agrees_with_neighbours", "fits_the_head")

NEIGHBOURS = 2
"""Frames looked at on either side of a face: at 25 frames a second, 0.08 s."""
SHAPE_CHANGE_MAX = 0.035
"""A neighbour whose shape differs more, as a fraction of the face, shows another expression or another person."""
CLOSE_ENOUGH = 0.012
"""Landmarks that lie nearer, as a fraction of the face, gain nothing by a move, which costs a JPEG generation."""
ELSEWHERE = 0.25
"""Landmarks that lie further away are another face's, or none's."""
CALMER = 0.75
"""The new landmarks agree with their neighbours if they leave them by at most this fraction of what the old ones do."""
HEAD_GAIN = 0.010
"""In distances between the eyes: noise of 2 % of a face adds .018 or more to the error of the mean head."""


@dataclass(frozen=True, eq=False)
class Beside:
    """The landmarks of a face, and those of the same series in neighbouring frames."""

    own: Points
    neighbours: tuple[Points, ...]
    """Empty where no neighbour is known."""


@dataclass(frozen=True)
class Judgement:
    """Whether a face gets its new landmarks, and what that rests on."""

    moves: bool
    reason: Reason
    moved: float
    """Mean distance between old and new landmarks, as a fraction of the face."""
    left_before: float | None
    """How far the old landmarks leave those of their neighbours, root mean square, as a fraction of the face; None
    where no neighbour is known."""
    left_after: float | None
    head_error_before: float
    """How far the old landmarks lie from those of the mean head, in distances between the eyes."""
    head_error_after: float


def face_size(landmarks: Points) -> float:
    """Return the longer side of the landmarks' box, px."""
    return max(float(np.ptp(landmarks, axis=0).max()), 1e-6)


def laid_over(neighbours: Sequence[Points], own: Points) -> list[Points]:
    """Return the neighbours' landmarks moved, turned and scaled onto `own`, those of another shape left out."""
    size = face_size(own)
    laid = [_apply(fit_warp(one, own), one) for one in neighbours]
    return [one for one in laid if _rms(one - own) <= SHAPE_CHANGE_MAX * size]


def steadied(found: Beside) -> Points:
    """Return the median, point by point, of landmarks and their neighbours': what one frame has by chance is gone."""
    return np.asarray(np.median([found.own, *laid_over(found.neighbours, found.own)], axis=0), np.float64)


def judge(stored: Beside, found: Beside) -> Judgement:
    """Say whether a face with the landmarks `stored.own` gets `found.own` instead."""
    size = face_size(found.own)
    moved = float(np.linalg.norm(found.own - stored.own, axis=1).mean()) / size
    before, after = _left(stored, size), _left(found, size)
    errors = measure_turn(stored.own).error, measure_turn(found.own).error
    reason = _reason(moved, before, after, errors[0] - errors[1])
    return Judgement(reason in MOVING_REASONS, reason, moved, before, after, *errors)


def _reason(moved: float, before: float | None, after: float | None, head_gain: float) -> Reason:
    if moved < CLOSE_ENOUGH:
        return "close_enough"
    if moved > ELSEWHERE:
        return "elsewhere"
    if before is None or after is None:  # nothing but the head to be held against
        return "fits_the_head" if head_gain >= HEAD_GAIN else "not_better"
    if after <= CALMER * before and head_gain > -HEAD_GAIN:
        return "agrees_with_neighbours"
    return "fits_the_head" if head_gain >= HEAD_GAIN and after <= before else "not_better"


def _left(series: Beside, size: float) -> float | None:
    """Return how far landmarks leave the median of their neighbours'; these are not left out for their shape here,
    since a series that jumps about is what this is to show."""
    if not series.neighbours:
        return None
    laid = [_apply(fit_warp(one, series.own), one) for one in series.neighbours]
    return _rms(np.median(laid, axis=0) - series.own) / size


def _apply(warp: NDArray[np.float64], points: Points) -> Points:
    return np.asarray(points @ warp[:, :2].T + warp[:, 2], np.float64)


def _rms(off: NDArray[np.float64]) -> float:
    return float(np.sqrt((off**2).sum(axis=1).mean()))
