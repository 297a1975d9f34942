"""Pure: did a trainer take the weights it was given? By its iterations and its losses, before and after.

DeepFaceLab re-initialises a weight file that is missing or misshaped at random, without a word, and goes on counting
iterations; only the loss shows it. Thresholds from the notes on divergence: worse than the median before by more than
three median absolute deviations, and by more than 5 %.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

Losses = tuple[float, ...]
"""One number per iteration, the sum of its row (src and dst), oldest first."""

ROWS_COMPARED = 500
"""Before and after: enough that the median of DeepFaceLab's noisy losses (5-15 % per batch) stands within 1 %."""
ROWS_NEEDED = 20
"""After: fewer would judge by noise; at 0.3-1 s per iteration these take seconds."""
DEVIATIONS_ALLOWED = 3.0
SHARE_ALLOWED = 0.05


@dataclass(frozen=True)
class Progress:
    """How far a trainer is, and the losses of what it trained since it was given weights."""

    iteration: int
    losses: Losses


def rows(history: Iterable[Iterable[float]]) -> Losses:
    """Return one number per iteration for the last rows of a loss history."""
    return tuple(float(sum(map(float, row))) for row in list(history)[-ROWS_COMPARED:])


def is_enough(progress: Progress | None) -> bool:
    """Say whether there is enough to judge by."""
    return progress is not None and len(progress.losses) >= ROWS_NEEDED


@dataclass(frozen=True)
class LossLevel:
    """Where a machine's loss stood."""

    median: float
    deviation: float
    """Median absolute deviation."""


def level_of(losses: Losses) -> LossLevel | None:
    """Return where the last losses stand; None without any that is a number."""
    known = [loss for loss in losses if math.isfinite(loss)][-ROWS_COMPARED:]
    if not known:
        return None
    middle = median(known)
    return LossLevel(middle, median(abs(loss - middle) for loss in known))


def why_doubted(before: LossLevel | None, after: Losses) -> str:
    """Return why the losses say that the weights were not taken, or are bad; nothing when they are well.

    Without a level from before (a machine that just joined) only numbers that are no numbers are doubted.
    """
    odd = what_is_odd(after)
    if odd:
        return odd
    if before is None or not after:
        return ""
    limit = before.median + max(DEVIATIONS_ALLOWED * before.deviation, SHARE_ALLOWED * abs(before.median))
    now = median(after)
    return "" if now <= limit else f"the loss went from {before.median:.4f} to {now:.4f}, more than {limit:.4f}"


def what_is_odd(losses: Losses) -> str:
    """Return what is to be said of losses that are infinite or no numbers at all; nothing of finite ones."""
    infinite, undefined = sum(map(math.isinf, losses)), sum(map(math.isnan, losses))
    if not infinite and not undefined:
        return ""
    kinds = [f"{infinite} are infinite"] * bool(infinite) + [f"{undefined} are no number"] * bool(undefined)
    return f"of its last {len(losses)} losses {' and '.join(kinds)}"


def is_bad_for_most(doubts: Sequence[str]) -> bool:
    """Say whether most of the machines doubt: then the weights are bad, else single trainers are."""
    return sum(map(bool, doubts)) * 2 > len(doubts)
