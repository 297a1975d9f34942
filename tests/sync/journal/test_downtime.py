"""How long a round keeps trainers from training: until they iterate again, and what is thrown away included."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from sync.journal.downtime import (
    downtime_s,
    foresee,
    lost_iterations,
    measured_load_s,
    standstills,
)
from sync.journal.lines import Line, Resumed
from sync.journal.record import RoundRecord, replay
from sync.rounds.round_work import Waiting
from sync.rounds.rounds import Rounds
from sync.trainers.cooperating import hook_line, install_hook
from sync.trainers.pace import SavePoint, iterating_for_s, pace_between
from sync.transports.local import LocalTransport
from tests.sync.fleet import Fleet, make_fleet
from tests.sync.journal_entries import entry
from tests.sync.training import until

START = datetime(2026, 1, 1, tzinfo=UTC)
PULLED = {"loss": None, "parts": [], "bytes": 10, "seconds": 8.0}
STAGED = {"files": {}, "sources": {}, "bytes": 10, "seconds": 9.0}


def record(*lines: tuple[float, str, str, dict[str, Any]], running: dict[str, bool] | None = None) -> RoundRecord:
    """A round that began at START, its lines so many seconds later."""
    running = {"a": True} if running is None else running
    plan = {"kind": "average", "source": "", "machines": list(running), "running": running}
    entries = [entry("planned", "", plan, START)]
    entries += [entry(step, name, facts, START + timedelta(seconds=at)) for at, step, name, facts in lines]
    return replay(1, entries)


def test_a_stopped_trainer_stands_still_until_it_iterates_again_and_not_until_its_start_command_returned() -> None:
    done = record(
        (10, "settling", "a", {"stops": True}), (20, "settled", "a", {}), (60, "swapped", "a", {"iteration": None}),
        (61, "resumed", "a", {}), (1700, "iterating", "a", {"iteration": 9, "for_s": 1500.0}),
    )  # fmt: skip
    assert standstills(done)["a"].seconds == 190
    assert standstills(done)["a"].seen
    assert measured_load_s(done, "a") == 140


def test_the_rounds_downtime_is_from_the_first_request_to_the_last_trainer() -> None:
    done = record(
        (10, "settling", "a", {"stops": True}), (50, "settling", "b", {"stops": True}),
        (70, "resumed", "a", {}), (70, "resumed", "b", {}),
        (80, "iterating", "a", {"iteration": 9, "for_s": 0.0}),
        (200, "iterating", "b", {"iteration": 9, "for_s": 10.0}),
        running={"a": True, "b": True, "c": False},
    )  # fmt: skip
    assert {name: one.seconds for name, one in standstills(done).items()} == {"a": 70, "b": 140}
    assert downtime_s(done) == 180


@pytest.mark.parametrize("last", ["released", "resumed", "doubted"])
def test_a_trainer_that_was_not_seen_again_stood_still_at_least_so_long(last: str) -> None:
    done = record((10, "settling", "a", {"stops": True}), (60, last, "a", {"reason": "late"}))
    assert standstills(done)["a"].seconds == 50
    assert not standstills(done)["a"].seen


def test_a_cooperating_trainer_loses_what_it_trains_between_its_save_and_the_new_weights() -> None:
    done = record(
        (10, "settling", "a", {"stops": False}), (15, "settled", "a", {}),
        (20, "pulled", "a", {"iteration": 500, **PULLED}), (60, "swapped", "a", {"iteration": 640}),
        (61, "resumed", "a", {}), (63, "iterating", "a", {"iteration": 641, "for_s": 3.0}),
    )  # fmt: skip
    assert standstills(done)["a"].seconds == 50
    assert lost_iterations(done) == {"a": 140}


def test_a_cooperating_trainer_whose_round_is_given_up_loses_its_save_alone() -> None:
    done = record(
        (10, "settling", "a", {"stops": False}), (15, "settled", "a", {}),
        (20, "pulled", "a", {"iteration": 500, **PULLED}), (90, "aborted", "", {"outcome": "held", "reason": "x"}),
        (91, "released", "a", {}),
    )  # fmt: skip
    assert standstills(done)["a"].seconds == 5
    assert lost_iterations(done) == {}


@pytest.mark.parametrize(
    ("started", "saved", "iterations", "pace", "expected"),
    [
        (1600, 10, 3000, 0.5, 1510),  # 3000 iterations of half a second before the save
        (1600, 10, 3000, None, 1510),  # no pace: DeepFaceLab saves 1500 s after its first iteration
        (1600, 10, 3000, 9.0, 1510),  # a pace that was measured over a pause says more than there was time for
        (90, 10, 3000, None, 10),  # saved by a hand: all that is known is that it iterates
        (90, 10, 100, 0.5, 60),
        (90, -3, 100, None, 0),  # clocks apart
        (90, 500, 100, 0.5, 90),
    ],
)
def test_when_it_began_to_iterate_is_reckoned_back_from_the_first_save(
    started: float, saved: float, iterations: int, pace: float | None, expected: float
) -> None:
    assert expected == iterating_for_s(
        started_ago_s=started, saved_ago_s=saved, iterations=iterations, pace_s=pace, save_period_s=1500
    )


def test_a_pace_needs_two_saves_that_lie_apart() -> None:
    assert pace_between(SavePoint(1000, 100), SavePoint(1150, 400)) == 0.5
    assert pace_between(None, SavePoint(1150, 400)) is None
    assert pace_between(SavePoint(1000, 400), SavePoint(1150, 400)) is None
    assert pace_between(SavePoint(1149, 100), SavePoint(1150, 400)) is None


def test_a_forecast_names_what_was_never_measured() -> None:
    dry = record(
        (10, "pulled", "a", {"iteration": 500, **PULLED}), (12, "pulled", "b", {"iteration": 500, **PULLED}),
        (15, "accepted", "", {"contributors": ["a", "b"]}), running={"a": True, "b": True, "c": False},
    )  # fmt: skip
    first = foresee(dry, loads_in_place={"a": False, "b": True, "c": False}, save_s={"a": 12.0, "b": None}, last=None)
    assert (first["a"].seconds, first["a"].unknown) == (12 + 8 + 3 + 8, ("load",))
    assert (first["b"].seconds, first["b"].unknown) == (8 + 3 + 8, ("save",))
    assert "c" not in first
    last = record(
        (10, "settling", "a", {"stops": True}), (11, "pulled", "a", {"iteration": 400, "pace_s": 0.5, **PULLED}),
        (12, "staged", "a", STAGED), (20, "swapped", "a", {"iteration": None}), (21, "resumed", "a", {}),
        (90, "iterating", "a", {"iteration": 401, "for_s": 0.0}),
    )  # fmt: skip
    found = foresee(dry, loads_in_place={"a": False, "b": True, "c": False}, save_s={"a": 12.0, "b": None}, last=last)
    assert found["a"].parts == {"save": 12, "transfer and average": 8 + 3 + 9, "load": 70}
    assert found["a"].iterations == (12 + 20 + 70) * 2
    assert found["a"].unknown == ()


# With trainers that run.


@pytest.fixture
def training(quick_folder: Path) -> Iterator[Fleet]:
    made = make_fleet(quick_folder, ("gpu1", "gpu2"))
    yield made
    for one in made.machines:
        one.kill()


def test_loading_is_part_of_what_is_reported(training: Fleet) -> None:
    training["gpu2"].options += ["--load-s", "3"]
    for one in training.machines:
        one.options += ["--save-every", "3"]  # so rare that a dry run finds a moment between two
        one.commanded()
    rounds = Rounds(training.settings())
    assert rounds.start_from("gpu1").outcome == "initialised"
    for one in training.machines:
        one.start()
    for one in training.machines:
        until(lambda one=one: one.state()["iter"] > 20_000, "the first save")

    done = rounds.average()

    assert done.outcome == "averaged", (done.reason, done.excluded)
    for one in training.machines:
        lines = [json.loads(line) for line in (one.folder.parent / "history.jsonl").read_text().splitlines()]
        began = [line["at"] for line in lines if "loaded" in line][-1]
        ended = max(line["at"] for line in lines if "saved" in line and line["at"] < began)
        # Times of files on a machine are whole seconds.
        assert done.paused_s[one.machine.name] > began - ended - 1, one.machine.name
    assert done.paused_s["gpu2"] > 2
    assert done.downtime_s >= max(done.paused_s.values())
    assert not done.not_seen
    dry = rounds.try_average()
    assert set(dry.forecast) == {"gpu1", "gpu2"}, (dry.reason, dry.excluded)
    assert dry.forecast["gpu2"].parts["load"] > 2


def test_a_cooperating_trainer_that_dies_after_the_push_is_not_waited_for(training: Fleet) -> None:
    """`proof_s` is an hour: the round ends because the machine says that the process is gone."""
    for one in training.machines:
        one.machine = replace(one.machine, control="cooperative", status="")
        install_hook(LocalTransport(one.machine), one.places)
        flag, _, code = shlex.split(hook_line(one.places))
        one.options += [flag, "-0.05", code, "--save-every", "1000"]
        one.start()
        until(
            lambda one=one: (one.folder / ".dfld" / one.places.model.prefix / "alive.json").exists(), "a sign of life"
        )
    settings = training.settings(
        trainer=replace(training.settings().trainer, proof_s=3600, alive_s=3600, answer_s=3600)
    )
    rounds = Rounds(settings)
    assert rounds.start_from("gpu1").outcome == "initialised"
    killed = training["gpu2"].pid()

    def kill_one(line: Line | Waiting) -> None:
        if line == Resumed("gpu2"):
            training["gpu2"].kill()

    done = Rounds(settings, on_progress=kill_one).average()

    assert done.outcome == "averaged", (done.reason, done.excluded)
    assert done.doubted == {"gpu2": f"its process {killed} has ended"}
    assert done.lost_iterations["gpu1"] > 0
    assert done.paused_s["gpu1"] > 0
