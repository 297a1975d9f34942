"""What a finished round leaves, and that a rollback takes back all that rejected rounds wrote."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sync.averaging.average import AverageSettings
from sync.rounds.deploy import join
from sync.rounds.rounds import Rounds
from sync.rounds.store import Store
from tests.sync.fleet import Fleet, begun

NESTEROV = AverageSettings(outer="nesterov")


def left_by_rounds(store: Store) -> dict[str, str]:
    """Hash of every file that a later round or a merger would use."""
    deployed = store.deployed()
    files = {f"deploy {part}": path for part, path in (deployed.files if deployed else {}).items()}
    files |= {f"momentum {part}": path for part, path in (store.momentum_files() or {}).items()}
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def three_rounds(fleet: Fleet) -> tuple[Rounds, list[dict[str, str]]]:
    """A start and three averages with an outer step; what each left, by number."""
    rounds = begun(fleet, average=NESTEROV)
    left = [{}, left_by_rounds(rounds.store)]
    for _ in range(3):
        done = rounds.average()
        assert done.outcome == "averaged", done.reason
        left.append(left_by_rounds(rounds.store))
        fleet.train_by_hand()
    assert len({tuple(sorted(one.items())) for one in left}) == 5, "each round left something else"
    assert any(name.startswith("momentum") for name in left[2])
    return rounds, left


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_rollback_restores_the_model_to_deploy_and_the_outer_steps_memory(fleet: Fleet, number: int) -> None:
    rounds, left = three_rounds(fleet)

    done = rounds.roll_back(number)

    assert done.outcome == "rolled_back", done.reason
    assert left_by_rounds(rounds.store) == left[number]
    assert f"are those after round {number} again" in done.reason


def test_after_a_rollback_rounds_go_on_as_if_the_rejected_one_had_never_been(fleet: Fleet, tmp_path: Path) -> None:
    rounds = begun(fleet, average=NESTEROV)
    assert rounds.average().outcome == "averaged"
    without = tmp_path / "without"
    shutil.copytree(fleet.folder, without)
    fleet.train_by_hand()
    assert rounds.average().outcome == "averaged"
    assert rounds.roll_back(2).outcome == "rolled_back"
    fleet.train_by_hand()
    assert rounds.average().outcome == "averaged"

    # A store in which round 3 was never made is given the last average.
    new = rounds.store.average(5)
    other = Store(without)
    other.keep_average(5, new.files, new.sha256, new.iteration)
    for part in rounds.records()[-1].averaged.momentum:
        shutil.copy(rounds.store.folder / "momentum" / part, other.outgoing(5) / f"momentum_{part}")
    join(other, rounds.records()[-1], NESTEROV)
    assert left_by_rounds(rounds.store) == left_by_rounds(other)


def test_a_second_rollback_never_goes_to_a_round_that_was_rejected(fleet: Fleet) -> None:
    rounds, left = three_rounds(fleet)
    assert rounds.roll_back(2).outcome == "rolled_back"  # 3 and 4 are rejected
    assert rounds.history().rejected == {3: 5, 4: 5}
    assert rounds.history().lineage == (1, 2, 5)

    done = rounds.roll_back()

    assert rounds.records()[-1].source == "1", done.reason
    assert left_by_rounds(rounds.store) == left[1]


def test_a_rejected_round_can_be_taken_after_all_by_its_number(fleet: Fleet) -> None:
    rounds, left = three_rounds(fleet)
    rounds.roll_back(2)
    assert rounds.roll_back(4).outcome == "rolled_back"
    assert left_by_rounds(rounds.store) == left[4]
    assert rounds.history().rejected == {5: 6}


def test_a_rejected_rounds_spread_is_no_measure_for_later_ones(fleet: Fleet) -> None:
    rounds, _ = three_rounds(fleet)
    spreads = rounds.history().usual_spreads
    rounds.roll_back(2)
    assert rounds.history().usual_spreads == spreads[:1]


def test_a_new_start_begins_both_anew(fleet: Fleet) -> None:
    rounds, _ = three_rounds(fleet)
    assert rounds.start_from("gpu1").outcome == "initialised"
    assert not rounds.store.momentum_files()
    deployed = rounds.store.deployed()
    assert deployed
    kept = rounds.store.average(5).sha256
    assert {part: hashlib.sha256(path.read_bytes()).hexdigest() for part, path in deployed.files.items()} == kept


def test_where_the_state_then_is_not_kept_nothing_of_the_rejected_round_stays(fleet: Fleet) -> None:
    rounds, _ = three_rounds(fleet)
    shutil.rmtree(rounds.store.folder / "after")
    done = rounds.roll_back(3)
    assert "it begins anew with that round's weights" in done.reason
    assert not rounds.store.momentum_files()
    deployed = rounds.store.deployed()
    assert deployed
    assert {part: hashlib.sha256(path.read_bytes()).hexdigest() for part, path in deployed.files.items()} == (
        rounds.store.average(3).sha256
    )


def test_what_rounds_left_is_kept_as_long_as_their_averages(fleet: Fleet) -> None:
    rounds = begun(fleet, keep_rounds=2, average=NESTEROV)
    for _ in range(3):
        assert rounds.average().outcome == "averaged"
        fleet.train_by_hand()
    assert sorted(path.name for path in (rounds.store.folder / "after").iterdir()) == ["000003", "000004"]


class Killed(BaseException):
    """The process ends here."""


def dying_at(monkeypatch: pytest.MonkeyPatch, nth: int) -> Callable[[], bool]:
    """Let the nth change of the disk never happen; return whether it came to that."""
    count = 0

    def dying(real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == nth:
                raise Killed
            return real(*arguments, **named)

        return call

    for owner, name in ((os, "link"), (Path, "rename"), (Path, "replace"), (Path, "unlink"), (shutil, "rmtree")):
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))
    return lambda: count >= nth


@pytest.mark.parametrize("kind", ["average", "init", "rollback"])
def test_killed_at_any_change_of_the_disk_the_next_dfld_comes_to_the_same(
    fleet: Fleet, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, _ = three_rounds(fleet)
    before = tmp_path / "before"
    shutil.copytree(rounds.store.folder, before)
    match kind:
        case "average":
            rounds.average()
        case "init":
            rounds.start_from("gpu2")
        case "rollback":
            rounds.roll_back(2)
    expected, record = left_by_rounds(rounds.store), rounds.records()[-1]
    assert (record.kind.name, record.number) == (kind, 5)
    kept = rounds.store.average(5)
    # What the round had written by then: its average, and the outer step's memory as a file to be taken over.
    Store(before).keep_average(5, kept.files, kept.sha256, kept.iteration)
    for part in record.averaged.momentum if record.averaged else ():
        shutil.copy(rounds.store.folder / "momentum" / part, Store(before).outgoing(5) / f"momentum_{part}")
    nth = died = 0
    while nth == died:
        nth += 1
        store = Store(tmp_path / f"killed {nth}")
        shutil.copytree(before, store.folder)
        with monkeypatch.context() as patch:
            reached = dying_at(patch, nth)
            try:
                join(store, record, NESTEROV)
            except Killed:
                assert reached()
                died = nth
        join(store, record, NESTEROV)
        assert left_by_rounds(store) == expected, f"killed at change {nth}"
        assert store.restore_state(5, 6), "and it can be gone back to"
        shutil.rmtree(store.folder)
    assert nth > 10
