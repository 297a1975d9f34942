"""Pure: how fast a trainer iterates, and since when, as its saves show."""

from __future__ import annotations

from dataclasses import dataclass

LEAST_BETWEEN_SAVES_S = 20
"""Times on machines are whole seconds: two saves nearer than this give no pace within 5 %."""


@dataclass(frozen=True)
class SavePoint:
    """One save of a trainer."""

    saved_s: int
    """By the machine's own clock, seconds since 1970."""
    iteration: int


def pace_between(earlier: SavePoint | None, later: SavePoint) -> float | None:
    """Return seconds per iteration between two saves; None where they say nothing."""
    if earlier is None or later.iteration <= earlier.iteration:
        return None
    between_s = later.saved_s - earlier.saved_s
    return between_s / (later.iteration - earlier.iteration) if between_s >= LEAST_BETWEEN_SAVES_S else None


def iterating_for_s(
    *, started_ago_s: float, saved_ago_s: float, iterations: int, pace_s: float | None, save_period_s: float
) -> float:
    """Return for how long a trainer has been iterating, from the first save that shows it.

    `started_ago_s`: since its start command returned; `saved_ago_s`: since that save; `iterations`: trained by then.
    Where the pace says more than there was time for (the machine was off between the saves that it was taken from), or
    there is none, a save came by the clock of DeepFaceLab, `save_period_s` after the first iteration, or, before that
    time, because a person asked for it: then nothing is known but that it iterates now.
    """
    saved_ago_s = max(0.0, min(saved_ago_s, started_ago_s))
    until_save_s = started_ago_s - saved_ago_s
    if pace_s is not None and iterations * pace_s <= until_save_s:
        return saved_ago_s + iterations * pace_s
    return saved_ago_s + (save_period_s if until_save_s >= save_period_s else 0.0)
