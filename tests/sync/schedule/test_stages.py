"""Stages: by the loss's trend, its value or the iteration; and an interval that is worth its downtime."""

from __future__ import annotations

import numpy as np
import pytest

from sync.errors import DisagreementError
from sync.schedule.stages import (
    DEFAULT_STAGES,
    LossHistory,
    StageSettings,
    StageState,
    StageTable,
    interval_iterations,
    loss_fall,
    machines_due,
    recent_loss,
    stage_after,
    target_reached,
)
from sync.trainers.proof import what_is_odd

TREND = StageTable()


def history(iteration: int, *, power: float = 0.0, level: float = 1.0, noise: float = 0.1, tail: int | None = None):
    """Losses that fall as a power of the iteration, with DeepFaceLab's noise from batch to batch."""
    steps = np.arange(1, iteration + 1, dtype=np.float64)
    generator = np.random.default_rng(7)
    loss = level * steps**-power * (1 + noise * generator.standard_normal(iteration))
    losses = np.stack([loss * 0.6, loss * 0.4], axis=1).astype(np.float32)
    return LossHistory(iteration, losses[-(tail or iteration) :])


def stage_of(power: float, iteration: int = 40_000) -> int:
    return stage_after(TREND, StageState(), history(iteration, power=power, noise=0.03), "options").stage


def test_defaults_are_those_of_the_table() -> None:
    assert [(stage.name, stage.every_iterations) for stage in DEFAULT_STAGES] == [
        ("early", 5000),
        ("mid", 2000),
        ("late", 1000),
    ]


@pytest.mark.parametrize(("fall", "stage"), [(0.30, 0), (0.13, 0), (0.07, 1), (0.035, 1), (0.012, 2), (0.0, 2)])
def test_the_fall_over_the_last_doubling_decides(fall: float, stage: int) -> None:
    assert stage_of(power=-np.log2(1 - fall)) == stage


def test_the_fall_is_measured_through_the_noise() -> None:
    fall = loss_fall(history(40_000, power=0.1, noise=0.15), 40_000)
    assert fall == pytest.approx(1 - 2**-0.1, abs=0.02)


def test_a_short_history_is_early() -> None:
    assert stage_of(power=0.0, iteration=1500) == 0
    assert stage_after(TREND, StageState(), history(40_000, tail=5000), "options").stage == 0


def test_one_quiet_window_does_not_move_the_stage() -> None:
    losses = history(40_000, power=-np.log2(0.85)).losses.copy()
    losses[-500:] *= 1.2  # the newest window alone looks as if nothing fell any more
    jumped = LossHistory(40_000, losses)
    assert loss_fall(jumped, 40_000) < 0.02
    assert stage_after(TREND, StageState(), jumped, "options").stage == 0


def test_a_stage_is_never_left_for_an_earlier_one_within_the_same_options() -> None:
    state = StageState(stage=2, options="options")
    assert stage_after(TREND, state, history(40_000, power=0.4), "options").stage == 2


def test_other_options_begin_anew_and_compare_only_losses_since_then() -> None:
    late = stage_after(TREND, StageState(), history(40_000), "options")
    assert late.stage == 2
    anew = stage_after(TREND, late, history(41_000), "random_warp off")
    assert (anew.stage, anew.since) == (0, 41_000)
    assert stage_after(TREND, anew, history(42_000), "random_warp off").stage == 0
    assert stage_after(TREND, anew, history(60_000), "random_warp off").stage == 2


def test_stages_by_iteration() -> None:
    table = StageTable((StageSettings("a", 10), StageSettings("b", 20, 1000), StageSettings("c", 30, 5000)))
    stages = [stage_after(table, StageState(), history(n), "o").stage for n in (999, 1000, 4999, 5000)]
    assert stages == [0, 1, 1, 2]


def test_stages_by_loss_do_not_flicker_around_their_limit() -> None:
    table = StageTable((StageSettings("a", 10), StageSettings("b", 20, below_loss=0.5)))
    state = stage_after(table, StageState(), history(2000, level=0.49), "o")
    assert state.stage == 1
    assert stage_after(table, state, history(3000, level=0.51), "o").stage == 1
    assert stage_after(table, state, history(3000, level=0.51), "other options").stage == 0


def test_the_target_ends_syncing_when_every_machine_reached_it() -> None:
    table = StageTable(target_loss=0.5)
    good, bad = history(2000, level=0.4), history(2000, level=0.6)
    assert target_reached(table, {"gpu0": good, "gpu1": good})
    assert not target_reached(table, {"gpu0": good, "gpu1": bad})
    assert not target_reached(table, {})
    assert not target_reached(StageTable(), {"gpu0": good})
    assert not target_reached(table, {"gpu0": history(100, level=0.1)})


def test_a_loss_that_is_no_number_is_left_out() -> None:
    losses = history(2000, level=0.4).losses.copy()
    losses[-100:] = np.nan
    assert recent_loss(LossHistory(2000, losses)) == pytest.approx(0.4, rel=0.05)


@pytest.mark.parametrize(
    ("iteration_s", "downtime_s", "expected"),
    [
        (None, None, 1000),  # nothing measured yet
        (5.0, 10.0, 1000),  # slow iterations: the stage's own interval is longer than a save
        (0.5, 10.0, 3000),  # one save period of 25 minutes
        (0.5, 120.0, 4800),  # twenty times two minutes
        (0.0, 120.0, 1000),
    ],
)
def test_the_interval_is_at_least_a_save_period_and_twenty_times_the_downtime(
    iteration_s: float | None, downtime_s: float | None, expected: int
) -> None:
    assert interval_iterations(DEFAULT_STAGES[2], iteration_s=iteration_s, downtime_s=downtime_s) == expected


@pytest.mark.parametrize(
    ("every", "iteration_s", "expected"), [(1000, None, 500), (1, None, 1), (1000, 1.0, 1500), (5001, 1.0, 2500)]
)
def test_a_gan_halves_the_interval_but_never_below_one_save(
    every: int, iteration_s: float | None, expected: int
) -> None:
    stage = StageSettings("late", every)
    assert interval_iterations(stage, iteration_s=iteration_s, downtime_s=None, gan=True) == expected


def test_the_machines_that_trained_a_whole_interval_are_due() -> None:
    done = {"gpu0": 1000, "gpu1": 999, "gpu2": 1500}
    assert machines_due(done, 1000) == ("gpu0", "gpu2")
    assert machines_due({}, 1000) == ()


@pytest.mark.parametrize(
    "stages",
    [
        (),
        (StageSettings("a", 1), StageSettings("b", 1, 10), StageSettings("c", 1)),
        (StageSettings("a", 1), StageSettings("b", 1, 10), StageSettings("c", 1, below_loss=0.1)),
        (StageSettings("a", 1), StageSettings("b", 1, 20), StageSettings("c", 1, 10)),
        (StageSettings("a", 1), StageSettings("b", 1, below_loss=0.1), StageSettings("c", 1, below_loss=0.2)),
        tuple(StageSettings(name, 1) for name in "abcd"),
    ],
)
def test_tables_that_make_no_sense_are_refused(stages: tuple[StageSettings, ...]) -> None:
    with pytest.raises(DisagreementError):
        StageTable(stages)


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(DisagreementError, match="1 or more"):
        StageSettings("a", 0)


@pytest.mark.parametrize("odd", [(np.inf, 0.1), (np.nan, 0.1), (np.inf, -np.inf), (3e38, 3e38)])
def test_losses_that_are_no_numbers_warn_of_nothing_and_are_told(odd: tuple[float, float]) -> None:
    rows = np.full((6000, 2), 0.1, np.float32)
    rows[-800:] = odd
    history = LossHistory(20_000, rows)
    assert stage_after(StageTable(), StageState(), history, "x").stage == 0
    assert recent_loss(history) == (pytest.approx(6e38) if odd == (3e38, 3e38) else None)
    words = what_is_odd(history.last_sums(500))
    if odd == (3e38, 3e38):
        assert words == ""
    else:
        kind = "infinite" if odd == (np.inf, 0.1) else "no number"
        assert words == f"of its last 500 losses 500 are {kind}"
