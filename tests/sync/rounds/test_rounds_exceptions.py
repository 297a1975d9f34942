"""Whatever is raised in a round, at any call of any step: every trainer that was stopped runs again at once.

Machines are folders, trainers are fakes of our own `Trainer`: they can be stopped and started, and note whether they
ever load a set that is not whole. What is raised is no error of ours but what nobody foresaw.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import struct
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

import sync.rounds.new_weights as weights_module
import sync.rounds.rounds as rounds_module
from sync.errors import SyncError, TrainerError
from sync.journal.journal import Entry, FileJournal
from sync.rounds.round_work import RoundWork
from sync.rounds.rounds import Rounds
from sync.trainers.contract import Exchange, OnWait, SeenIterating, wait_in_silence
from sync.trainers.control import COMMAND, ControlMode
from sync.trainers.proof import Progress
from sync.transports.local import LocalTransport
from sync.transports.transport import Transport
from sync.types import Machine
from tests.sync.fleet import Fleet, make_fleet, move, weights_value
from tests.sync.training import TrainingMachine

NAMES = ("gpu1", "gpu2", "gpu3")
TRIALS = int(os.environ.get("DFLD_EXCEPTIONS", "2"))
RAISED: tuple[Callable[[], BaseException], ...] = (
    lambda: ValueError("on purpose"),
    lambda: struct.error("unpack requires a buffer of 4 bytes"),
    lambda: KeyError("on purpose"),
    lambda: MemoryError(),
    lambda: AssertionError("on purpose"),
    lambda: RecursionError("on purpose"),
    lambda: OSError(errno.ENOSPC, "No space left on device", "/here"),
    lambda: ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "on purpose"),
    lambda: KeyboardInterrupt(),
)
TRANSPORT = (
    "stat", "list_files", "read", "open_ranges", "write", "pull", "push", "rename_over", "hard_link", "remove",
    "make_folder", "remove_folder", "free_bytes", "clock_s",
)  # fmt: skip
TRAINER = ("is_running", "wait_until_stoppable", "settle", "take", "resume", "progress", "iterating_for_s")
HERE = (
    "journal.begin", "journal.append", "store.keep_average", "store.outgoing", "store.incoming", "store.averages",
    "average_model", "sort_out", "check_prospects", "leave_out", "join", "on_progress", "store.prune",
)  # fmt: skip


@dataclass
class Fault:
    """Raises at the nth call of one function, or at every call from then on."""

    place: str
    """`what` of this computer, or `machine.method`."""
    nth: int
    make: Callable[[], BaseException]
    again: bool
    calls: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def at(self, place: str) -> None:
        if place != self.place:
            return
        with self.lock:
            self.calls += 1
            raises = self.calls == self.nth or (self.again and self.calls > self.nth)
        if raises:
            raise self.make()


@dataclass
class FakeTrainer:
    """A trainer that can be stopped and started, and knows which sets are whole."""

    mode: ClassVar[ControlMode] = COMMAND
    one: TrainingMachine
    fault: Fault
    whole: set[bytes]
    """Every set that may be loaded: what was saved here, and what a decided round gave."""
    runs: bool = True
    mixed: bool = False
    stops: int = 0

    def at(self, method: str) -> None:
        self.fault.at(f"{self.one.machine.name}.{method}")

    def is_running(self) -> bool:
        self.at("is_running")
        return self.runs

    def wait_until_stoppable(
        self, on_wait: OnWait = wait_in_silence, seen: SeenIterating | None = None
    ) -> SeenIterating | None:
        self.at("wait_until_stoppable")
        on_wait("nothing", 0.0)
        return seen

    def settle(self, on_wait: OnWait = wait_in_silence, seen: SeenIterating | None = None) -> None:
        assert seen is None
        if self.runs:
            self.stops += 1
            self.runs = False  # and what is raised comes after the stop
            on_wait("its end", 1.0)
        self.at("settle")

    def take(self, exchange: Exchange) -> int | None:
        self.at("take")
        if self.runs:
            raise TrainerError("it runs")
        exchange.rename()
        return None

    def resume(self, on_wait: OnWait = wait_in_silence) -> None:
        on_wait("nothing", 0.0)
        self.at("resume")
        if not self.runs:
            self.runs = True
            self.mixed = self.mixed or weights_value(self.one) not in self.whole

    def progress(self, since_iteration: int) -> Progress | None:
        self.at("progress")
        return Progress(since_iteration + 30, (0.22,) * 30)

    def what_proves(self) -> str:
        return "its save"

    def iterating_for_s(
        self, iterations: int, *, taken_ago_s: float, started_ago_s: float, pace_s: float | None
    ) -> float:
        self.at("iterating_for_s")
        assert iterations == 30
        assert taken_ago_s >= 0
        assert started_ago_s >= 0
        return 0.0 if pace_s is None else iterations * pace_s

    def why_gone(self) -> str:
        return ""

    def wait_until(
        self, happened: Callable[[], bool], limit_s: float, *, heed_stop: bool = True, every: int = 1
    ) -> bool:
        assert limit_s > 0
        assert every == 1
        assert heed_stop
        return happened()


def failing_transport(machine: Machine, fault: Fault) -> Transport:
    """A transport that also raises before each method does its work."""

    def failing(method: str) -> Any:
        def call(self: Any, *positional: Any, **named: Any) -> Any:
            fault.at(f"{machine.name}.{method}")
            return getattr(LocalTransport, method)(self, *positional, **named)

        return call

    made = type("Failing", (LocalTransport,), {method: failing(method) for method in TRANSPORT})
    transport: Transport = made(machine)
    return transport


class FailingJournal(FileJournal):
    def __init__(self, folder: Path, fault: Fault) -> None:
        super().__init__(folder)
        self.fault = fault

    def begin(self) -> int:
        self.fault.at("journal.begin")
        return super().begin()

    def append(self, number: int, entry: Entry) -> None:
        self.fault.at("journal.append")
        super().append(number, entry)


def rig(fleet: Fleet, fault: Fault, monkeypatch: pytest.MonkeyPatch) -> tuple[Rounds, dict[str, FakeTrainer]]:
    def on_progress(_line: object) -> None:
        fault.at("on_progress")

    rounds = Rounds(
        fleet.settings(trainer=replace(fleet.settings().trainer, poll_s=0.001)),
        connect=lambda machine: failing_transport(machine, fault),
        journal=FailingJournal(fleet.folder / "rounds", fault),
        on_progress=on_progress,
    )
    trainers = {}
    for one in fleet.machines:
        name = one.machine.name
        trainers[name] = FakeTrainer(one, fault, {weights_value(one)})
        rounds.links[name] = replace(rounds.links[name], trainer=trainers[name])

    def wrapped(owner: Any, name: str, place: str) -> None:
        plain = getattr(owner, name)

        def call(*positional: Any, **named: Any) -> Any:
            fault.at(place)
            return plain(*positional, **named)

        monkeypatch.setattr(owner, name, call)

    for place in HERE:
        owner, _, name = place.rpartition(".")
        if owner == "store":
            wrapped(rounds.store, name, place)
        elif not owner and name != "on_progress":
            wrapped(rounds_module if hasattr(rounds_module, name) else weights_module, name, place)
    return rounds, trainers


@pytest.fixture(scope="module")
def begun_folder(memory_folder: Path) -> Path:
    """A fleet with a common start that has trained on, to be copied for every case."""
    folder = memory_folder / "exceptions"
    fleet = make_fleet(folder / "fleet", NAMES)
    commanded(fleet)
    for one in fleet.machines:
        one.machine = replace(one.machine, control="none")
    assert Rounds(fleet.settings()).start_from("gpu1").outcome == "initialised"
    for seed, one in enumerate(fleet.machines):
        move(one, iterations=100, step=0.01, seed=seed)
    return folder / "fleet"


def commanded(fleet: Fleet) -> None:
    for one in fleet.machines:
        one.machine = replace(one.machine, control="command", start="true", stop="true")


def copy_of(begun_folder: Path, to: Path) -> Fleet:
    shutil.copytree(begun_folder, to, copy_function=shutil.copy2)
    machines = [
        TrainingMachine(
            Machine(
                name=name,
                address="",
                model_dir=str(to / name / "work space" / "model"),
                transfer="local",
                status="false",
                control="command",
                start="true",
                stop="true",
            )
        )
        for name in NAMES
    ]
    return Fleet(machines, to / "state")


def run_with(
    fault: Fault, begun_folder: Path, to: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[str, dict[str, FakeTrainer], Fleet]:
    """Do one round with a fault in it; return how it ended, and its trainers."""
    fleet = copy_of(begun_folder, to)
    rounds, trainers = rig(fleet, fault, monkeypatch)

    def note_the_average(kept: Any) -> Any:
        for trainer in trainers.values():
            trainer.whole.add(b"".join(sorted_tensors(kept)))
        return kept

    plain = rounds_module.decide

    def decide(work: RoundWork) -> None:
        plain(work)
        note_the_average(rounds.store.average(work.number).files)

    monkeypatch.setattr(rounds_module, "decide", decide)
    try:
        done = rounds.average()
        ended = f"{done.outcome}: {done.reason} {dict(done.fenced)}"
    except (SyncError, KeyboardInterrupt) as error:
        ended = f"raised {type(error).__name__}: {error}"
    return ended, trainers, fleet


def sorted_tensors(files: dict[str, Path]) -> Iterator[bytes]:
    import pickle

    for _part, path in sorted(files.items()):
        for _, value in sorted(pickle.loads(path.read_bytes()).items()):
            yield value.tobytes()


def test_a_round_without_a_fault_stops_and_starts_every_trainer(
    begun_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = Fault("nowhere", 1, ValueError, again=False)
    ended, trainers, _ = run_with(fault, begun_folder, tmp_path / "x", monkeypatch)
    assert ended.startswith("averaged"), ended
    assert all(one.stops == 1 and one.runs and not one.mixed for one in trainers.values())


def check(fault: Fault, begun_folder: Path, to: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    with monkeypatch.context() as patches:
        ended, trainers, fleet = run_with(fault, begun_folder, to, patches)
    told = f"{fault.place} call {fault.nth}{' and all later' if fault.again else ''}: {fault.make()!r}: {ended}"
    for name, trainer in trainers.items():
        assert not trainer.mixed, f"{name} loaded a mixture: {told}"
        # Only a fault that stays, and stays on the machine itself, may keep its trainer down.
        excused = fault.again and fault.place.startswith(f"{name}.")
        assert trainer.runs or excused, f"{name} stays stopped: {told}"
    # And with the fault gone, the next call finishes what was begun, and does its own round.
    fault.place = "nowhere"
    with monkeypatch.context() as patches:
        rounds, after = rig(fleet, fault, patches)
        for name, trainer in after.items():
            trainer.runs = trainers[name].runs
            trainer.whole |= trainers[name].whole
        for one in fleet.machines:
            if trainers[one.machine.name].runs:
                move(one, iterations=50, step=0.001, seed=9)
                after[one.machine.name].whole.add(weights_value(one))
        left = rounds.recover()
    assert left == {}, f"{left} after {told}"
    assert all(trainer.runs and not trainer.mixed for trainer in after.values()), told
    shutil.rmtree(to)
    return ended


PLACES = [f"gpu2.{method}" for method in (*TRANSPORT, *TRAINER)] + list(HERE)


@pytest.mark.parametrize("place", PLACES)
def test_whatever_is_raised_no_trainer_stays_stopped(
    begun_folder: Path, quick_folder: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    rng = random.Random(place)
    for trial in range(TRIALS):
        fault = Fault(place, rng.randint(1, 4), rng.choice(RAISED), again=trial % 2 == 1)
        check(fault, begun_folder, quick_folder / str(trial), monkeypatch)


@pytest.mark.parametrize("nth", range(1, 36))
def test_a_full_disk_at_any_line_of_the_journal_leaves_no_trainer_stopped(
    begun_folder: Path, quick_folder: Path, monkeypatch: pytest.MonkeyPatch, nth: int
) -> None:
    fault = Fault("journal.append", nth, RAISED[6], again=True)
    check(fault, begun_folder, quick_folder / "x", monkeypatch)


def test_what_ended_the_round_is_its_reason(
    begun_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    full, _, _ = run_with(Fault("gpu2.pull", 1, RAISED[6], again=True), begun_folder, tmp_path / "a", monkeypatch)
    assert full.startswith("aborted: this computer: No space left on device (/here)")
    monkeypatch.undo()
    odd, _, _ = run_with(Fault("average_model", 1, RAISED[2], again=False), begun_folder, tmp_path / "b", monkeypatch)
    assert odd.startswith("aborted: KeyError: 'on purpose' (test_rounds_exceptions.py line ")
    monkeypatch.undo()
    one, trainers, _ = run_with(Fault("gpu2.pull", 1, RAISED[0], again=True), begun_folder, tmp_path / "c", monkeypatch)
    assert one.startswith("averaged: 2 of 2"), "one machine's nonsense is that machine's"
    assert trainers["gpu2"].stops == 1


def test_what_nobody_foresaw_at_the_end_of_a_round_stands_in_the_log_with_its_traceback(
    begun_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    ended, _, _ = run_with(Fault("join", 1, RAISED[2], again=False), begun_folder, tmp_path / "a", monkeypatch)
    assert "but it could not be closed: KeyError: 'on purpose' (test_rounds_exceptions.py line " in ended
    (record,) = (one for one in caplog.records if one.exc_info)
    assert record.__dict__["fields"]["boundary"] == "round"
    assert record.getMessage().startswith("the end of round ")
