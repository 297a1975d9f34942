"""A round that made most trainers worse is undone, or stays open and says so: its weights are no common start."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest

from sync.errors import RoundError
from sync.journal.report import report_of
from sync.rounds.round_work import RoundWork
from sync.rounds.rounds import Rounds
from sync.schedule.stages import StageTable
from sync.schedule.watch import RETRY_AFTER_S, Watch
from sync.trainers.proof import Progress
from sync.transports.local import LocalTransport
from tests.sync.fleet import Fleet, begun
from tests.sync.rounds.test_rounds_exceptions import FakeTrainer, Fault, commanded, rig
from tests.sync.training import MODEL

NO_FAULT = Fault("nowhere", 1, ValueError, again=False)


@pytest.fixture
def worse(fleet: Fleet, monkeypatch: pytest.MonkeyPatch) -> tuple[Rounds, dict[str, FakeTrainer]]:
    """A fleet whose trainers all get worse by whatever they are given."""
    begun(fleet).close()
    commanded(fleet)
    rounds, trainers = rig(fleet, NO_FAULT, monkeypatch)
    for trainer in trainers.values():
        monkeypatch.setattr(trainer, "progress", lambda since: Progress(since + 30, (9.9,) * 30))
    return rounds, trainers


def fill_disks(patches: pytest.MonkeyPatch) -> None:
    """Let the machines' disks be full from now on."""
    patches.setattr(LocalTransport, "free_bytes", lambda *_: 1000)


def after_the_swap(patches: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Have something happen once the new weights are on the machines and before the round is judged."""
    plain = Rounds._close

    def close(self: Rounds, work: RoundWork) -> None:
        happens()
        plain(self, work)

    patches.setattr(Rounds, "_close", close)


def test_a_bad_round_is_undone_with_the_weights_from_before(
    fleet: Fleet, worse: tuple[Rounds, dict[str, FakeTrainer]]
) -> None:
    rounds, trainers = worse
    before = fleet.sets()
    done = rounds.average()
    assert done.outcome == "undone", done.reason
    assert fleet.sets() == before
    assert all(trainer.runs and trainer.stops == 2 for trainer in trainers.values())
    assert rounds.history().newest == 1


def test_an_undo_without_room_stops_nobody_and_leaves_the_round_open_until_there_is_some(
    fleet: Fleet, worse: tuple[Rounds, dict[str, FakeTrainer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, trainers = worse
    before = fleet.sets()
    with monkeypatch.context() as patches:
        after_the_swap(patches, lambda: fill_disks(patches))
        with pytest.raises(RoundError, match=r"round 2 made most trainers worse and is not undone yet .* bytes free"):
            rounds.average()
        assert all(trainer.runs and trainer.stops == 1 for trainer in trainers.values()), "only for the round itself"
        open_round = rounds.record(2)
        assert not open_round.ended
        assert report_of(open_round, MODEL).outcome == "not_undone"
        assert fleet.sets() != before

        held = rounds.average()
        assert held.outcome == "held", "no average is made from bad weights"
        assert "round 2 made most trainers worse" in held.reason
        assert rounds.try_average().reason == held.reason
        assert all(trainer.stops == 1 for trainer in trainers.values())

    assert rounds.recover() == {}
    assert rounds.record(2).outcome == "undone"
    assert fleet.sets() == before
    assert rounds.history().newest == 1


@pytest.mark.parametrize("way", ["rollback", "start"])
def test_an_undo_that_can_never_succeed_gives_way_to_what_an_operator_gives_the_machines(
    fleet: Fleet, worse: tuple[Rounds, dict[str, FakeTrainer]], monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    rounds, trainers = worse
    with monkeypatch.context() as patches:
        after_the_swap(patches, lambda: shutil.rmtree(fleet.folder / "incoming"))
        with pytest.raises(RoundError, match="round 2 made most trainers worse and is not undone yet"):
            rounds.average()
    assert all(trainer.runs for trainer in trainers.values())

    done = rounds.roll_back() if way == "rollback" else rounds.start_from("gpu2")
    assert done.outcome in ("rolled_back", "initialised"), done.reason
    given = fleet.sets()

    assert rounds.recover() == {}
    assert rounds.record(2).outcome == "undone"
    assert fleet.sets() == given, "what was here before the bad round does not come over it"
    assert rounds.history().newest == done.number


def test_a_rollback_that_could_undo_the_bad_round_goes_back_no_further(
    fleet: Fleet, worse: tuple[Rounds, dict[str, FakeTrainer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, _ = worse
    before = fleet.sets()
    with monkeypatch.context() as patches:
        after_the_swap(patches, lambda: fill_disks(patches))
        with pytest.raises(RoundError):
            rounds.average()
    assert rounds.roll_back().outcome == "rolled_back"
    assert fleet.sets() == before


def test_a_bad_round_is_due_to_be_undone_at_the_next_look(
    worse: tuple[Rounds, dict[str, FakeTrainer]], monkeypatch: pytest.MonkeyPatch
) -> None:
    rounds, _ = worse
    with monkeypatch.context() as patches:
        after_the_swap(patches, lambda: fill_disks(patches))
        with pytest.raises(RoundError):
            rounds.average()
    outlook = Watch(rounds, StageTable(), monotonic=lambda: time.monotonic() + RETRY_AFTER_S + 1).observe()
    assert "within 10 minutes" in outlook.reason, "as any round that came to nothing"
    watch = Watch(rounds, StageTable(), clock=lambda: datetime.now(UTC) + timedelta(seconds=RETRY_AFTER_S + 1))
    outlook = watch.observe()
    assert outlook.due
    assert "made most trainers worse" in outlook.reason
