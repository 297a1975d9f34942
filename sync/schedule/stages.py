"""When a round is due: the stage of training, the interval that is worth its downtime, and the end.

Pure: what data.dat says goes in, a stage and a number of iterations come out. A stage says how many iterations lie
between two rounds (defaults: early 5000, mid 2000, late 1000). Stages follow one of

    the loss's trend     how much it fell over the last doubling of iterations: > 10 % early, 2-10 % mid, < 2 % late
    the loss's value     a stage begins when the loss is below its `below_loss`
    the iteration        a stage begins at its `from_iteration`

The trend takes medians, since DeepFaceLab's loss varies by 5-15 % from batch to batch, asks three windows in a
row before it moves on, and never moves back unless the options change: that makes another loss.

While a GAN is trained, the stage's interval is halved. The interval used is never shorter than one save of the
trainer (weights on disk are only ever as new as that) nor than twenty times the measured downtime of a round, so that
averaging costs at most 5 % of the training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from sync.errors import DisagreementError

EARLY_FALL = 0.10
LATE_FALL = 0.02
WINDOWS_THAT_AGREE = 3
"""One window may fall by chance."""
SMALLEST_WINDOW = 500
"""Iterations per median; 1 % of the iterations where that is more."""
DOWNTIME_FACTOR = 20
"""The interval is at least this many times the downtime: overhead at most 5 %."""
GAN_DIVISOR = 2
SAVE_PERIOD_S = 25 * 60.0
"""DeepFaceLab saves every 25 minutes; that is fixed in its Trainer."""


@dataclass(frozen=True)
class StageSettings:
    """One stage of training."""

    name: str
    every_iterations: int
    """Iterations between two rounds, as wanted; see `interval_iterations` for what is used."""
    from_iteration: int | None = None
    """The stage begins here. Either all stages after the first have this, or `below_loss`, or neither."""
    below_loss: float | None = None
    """The stage begins once the median loss is below this."""

    def __post_init__(self) -> None:
        if self.every_iterations < 1:
            raise DisagreementError(
                f"stage {self.name}: every_iterations = {self.every_iterations}, expected 1 or more"
            )


DEFAULT_STAGES = (StageSettings("early", 5000), StageSettings("mid", 2000), StageSettings("late", 1000))


@dataclass(frozen=True)
class StageTable:
    """The stages of one model, first to last, and when syncing ends."""

    stages: tuple[StageSettings, ...] = DEFAULT_STAGES
    target_loss: float | None = None
    """Syncing ends when the median loss of every machine reaches this."""

    def __post_init__(self) -> None:
        later = self.stages[1:]
        by_iteration = [stage.from_iteration for stage in later if stage.from_iteration is not None]
        by_loss = [stage.below_loss for stage in later if stage.below_loss is not None]
        if not self.stages:
            raise DisagreementError("there is no stage")
        if (
            len(by_iteration) not in (0, len(later))
            or len(by_loss) not in (0, len(later))
            or (by_iteration and by_loss)
        ):
            raise DisagreementError(
                "every stage after the first has from_iteration, or every one below_loss, or neither"
            )
        if by_iteration != sorted(by_iteration) or by_loss != sorted(by_loss, reverse=True):
            raise DisagreementError("stages come in the order of training: iterations rising, losses falling")
        if self.follows_trend and len(self.stages) > 3:
            raise DisagreementError(f"the trend of the loss distinguishes three stages, {len(self.stages)} are given")

    @property
    def follows_trend(self) -> bool:
        """Whether neither iterations nor losses are given, so that the trend decides."""
        return all(stage.from_iteration is None and stage.below_loss is None for stage in self.stages[1:])


@dataclass(frozen=True)
class StageState:
    """What is remembered between two observations of a model's losses; plain values."""

    stage: int = 0
    """Index into the table."""
    options: str = ""
    """The options at the last observation (dfl.model_options.training_options_text); empty before the first."""
    since: int = 0
    """Iteration since which the options have been these; losses before it are not compared."""

    @classmethod
    def remembered(cls, fields: Mapping[str, object]) -> StageState:
        """Return what was remembered; the state before the first observation where that is no such thing."""
        stage, options, since = (fields.get(name) for name in ("stage", "options", "since"))
        if isinstance(stage, int) and isinstance(options, str) and isinstance(since, int) and len(fields) == 3:
            return cls(stage, options, since)
        return cls()


@dataclass(frozen=True, eq=False)
class LossHistory:
    """The losses of one machine."""

    iteration: int
    losses: NDArray[np.float32] = field(repr=False)
    """(rows, columns): the last rows, oldest first; the last row belongs to `iteration`."""

    def median_at(self, iteration: int, window: int) -> float | None:
        """Median of the summed columns over the `window` rows that end at `iteration`; None without half of them.

        Rows that are not finite are left out: GAN terms can jump, and a NaN is found by the gates. Two finite float32
        numbers have a finite sum in float64.
        """
        stop = len(self.losses) - (self.iteration - iteration)
        kept = self.losses[max(0, stop - window) : max(0, stop)].astype(np.float64)
        rows = kept[np.isfinite(kept).all(axis=1)].sum(axis=1)
        return float(np.median(rows)) if len(rows) and len(rows) * 2 >= window else None

    def last_sums(self, count: int) -> tuple[float, ...]:
        """Return the sums of the last rows, oldest first, whatever they are."""
        return tuple(float(sum(map(float, row))) for row in self.losses[-count:])


def stage_after(table: StageTable, state: StageState, history: LossHistory, options: str) -> StageState:
    """Given one more observation of a model's losses, return what is remembered after it.

    `options`: the options now, as text. Another text than at the last observation begins anew in the first stage,
    with the losses from this iteration on; within the same options a stage is never left for an earlier one.
    """
    if not state.options:
        state = StageState(options=options)
    elif options != state.options:
        state = StageState(options=options, since=history.iteration)
    if table.follows_trend:
        reached = _stage_by_trend(len(table.stages), history, state.since)
    else:
        reached = _stage_by_value(table, history, state.since)
    return replace(state, stage=max(state.stage, reached))


def _stage_by_trend(stages: int, history: LossHistory, since: int) -> int:
    """The earliest stage that the last three windows speak for; 0 where too little is known."""
    window = window_iterations(history.iteration)
    places = []
    for back in range(WINDOWS_THAT_AGREE):
        fall = loss_fall(history, history.iteration - back * window, since=since)
        if fall is None:
            return 0
        places.append(0 if fall > EARLY_FALL else 1 if fall >= LATE_FALL else 2)
    return min(*places, stages - 1)


def _stage_by_value(table: StageTable, history: LossHistory, since: int) -> int:
    """Index of the last stage whose iteration or loss is reached."""
    loss = recent_loss(history, since=since)
    reached = 0
    for place, stage in enumerate(table.stages[1:], start=1):
        if stage.from_iteration is not None and history.iteration >= stage.from_iteration:
            reached = place
        if stage.below_loss is not None and loss is not None and loss < stage.below_loss:
            reached = place
    return reached


def window_iterations(iteration: int) -> int:
    """Iterations that one median is taken over."""
    return max(SMALLEST_WINDOW, iteration // 100)


def loss_fall(history: LossHistory, iteration: int, *, since: int = 0) -> float | None:
    """How much the median loss fell over the doubling that ends at `iteration`, as a part of what it was.

    Iterations are counted from `since`. None where that is unknown: fewer than four windows since then, or a
    history whose tail does not reach back to the middle.
    """
    window = window_iterations(history.iteration)
    trained = iteration - since
    if trained < 4 * window:
        return None
    before, now = history.median_at(since + trained // 2, window), history.median_at(iteration, window)
    if before is None or now is None or before <= 0:
        return None
    return 1.0 - now / before


def recent_loss(history: LossHistory, *, since: int = 0) -> float | None:
    """The median of the last window's losses, src and dst summed; None where they are too few since `since`."""
    if history.iteration - since < SMALLEST_WINDOW:
        return None
    return history.median_at(history.iteration, SMALLEST_WINDOW)


def target_reached(table: StageTable, histories: Mapping[str, LossHistory]) -> bool:
    """Whether the median loss of every machine is at or below the target, so that syncing ends."""
    losses = [recent_loss(history) for history in histories.values()]
    target = table.target_loss
    return target is not None and bool(losses) and all(loss is not None and loss <= target for loss in losses)


def interval_iterations(
    stage: StageSettings,
    *,
    iteration_s: float | None,
    downtime_s: float | None,
    gan: bool = False,
    save_period_s: float = SAVE_PERIOD_S,
) -> int:
    """The interval that is used: the stage's, but at least one save period and twenty times the downtime.

    `gan`: whether a GAN is trained; the stage's interval is then halved, because generator and discriminator chase
    each other and part sooner (FedGAN, arXiv 2006.07228, averages both nets together and often).

    `iteration_s`: measured seconds per iteration of the slowest machine; `downtime_s`: how long a round keeps
    trainers from training. None = not measured yet: the stage's interval is then taken as it is.
    """
    interval = max(1, stage.every_iterations // GAN_DIVISOR) if gan else stage.every_iterations
    least = max(save_period_s, DOWNTIME_FACTOR * (downtime_s or 0.0))
    if not iteration_s or not math.isfinite(least / iteration_s):
        return interval
    return max(interval, math.ceil(least / iteration_s))


def machines_due(iterations: Mapping[str, int], interval: int) -> tuple[str, ...]:
    """The machines that have trained a whole interval; `iterations`: machine → iterations since the last round."""
    return tuple(machine for machine, done in iterations.items() if done >= interval)
