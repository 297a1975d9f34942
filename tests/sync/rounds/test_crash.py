"""kill -9 of dfld at every line of the journal, on every machine: old everywhere or new everywhere, never a mixture."""

from __future__ import annotations

import os
import pickle
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from sync.rounds.rounds import Rounds
from tests.sync.crash_program import CrashCase
from tests.sync.fleet import Fleet, make_fleet, weights_value
from tests.sync.rounds.test_rounds_ssh import history, lay_out, loaded_sets, put_under_control, start_all
from tests.sync.training import MODEL

ROOT = Path(__file__).parents[3]
OF_THE_ROUND = ["planned", "accepted", "averaged", "decided", "closed"]
OF_A_MACHINE = ["settling", "settled", "pulled", "staging", "staged", "swapped", "resumed", "verified"]
MACHINES = ["gpu1", "gpu2", "gpu3"]
ALL_POINTS = os.environ.get("DFLD_KILL_POINTS") == "all"
"""On every machine and over every transport (benchmarks/faults.py round-kills); else every kind of point once."""


def machines_for(index: int) -> list[str]:
    """Return the machines on which the point of this index is tried: the first, one in between and the last in turn."""
    return MACHINES if ALL_POINTS else [MACHINES[index % len(MACHINES)]]


def points_of(steps_of_a_machine: list[str]) -> list[tuple[str, str]]:
    """Return every line of the journal as step and machine."""
    return [(step, "") for step in OF_THE_ROUND] + [
        (step, name) for index, step in enumerate(steps_of_a_machine) for name in machines_for(index)
    ]


@dataclass(frozen=True)
class Killer:
    """The program that forks a round and lets it die."""

    process: subprocess.Popen[str]

    def run_and_die(self, case: CrashCase, folder: Path) -> None:
        """Run a round in a process of its own that kills itself at the chosen point."""
        path = folder / "case.pickle"
        path.write_bytes(pickle.dumps(case))
        assert self.process.stdin
        assert self.process.stdout
        print(path, file=self.process.stdin, flush=True)
        ended = self.process.stdout.readline().strip()
        told = path.with_suffix(".told")
        words = told.read_text(encoding="utf-8") if told.exists() else "it failed, see above"
        assert ended == "-9", f"the round never came to {case.step} {case.machine}: {words}"


@pytest.fixture(scope="module")
def killer() -> Iterator[Killer]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.sync.crash_program"], cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        yield Killer(process)
        assert process.stdin
        process.stdin.close()


# Machines without trainers: every line, before and after it, and every single rename.


@pytest.fixture(scope="module")
def resting(memory_folder: Path) -> Fleet:
    made = make_fleet(memory_folder / "resting")
    assert Rounds(made.settings()).start_from("gpu1").outcome == "initialised"
    return made


def check_all_or_nothing(fleet: Fleet, killer: Killer, case: CrashCase, folder: Path) -> None:
    fleet.train_by_hand()
    old = fleet.sets()

    killer.run_and_die(case, folder)

    rounds = Rounds(fleet.settings())
    assert rounds.recover() == {}
    record = rounds.records()[-1]
    new = fleet.sets()
    if record.decided:
        assert len(set(new.values())) == 1, "the same average everywhere"
        assert not set(new.values()) & set(old.values())
        assert record.outcome == "averaged"
    else:
        assert new == old
    # Machines are asked for their time side by side: one may have been asked at the very moment of the kill.
    check_what_is_left(fleet, {"given.json", ".dfld-clock", ".dfld-clock.part"})
    fleet.train_by_hand()
    assert rounds.average().outcome == "averaged", "and the next round goes on"
    check_what_is_left(fleet, {"given.json", ".dfld-clock"})


def check_what_is_left(fleet: Fleet, names: set[str]) -> None:
    for one in fleet.machines:
        assert {path.name for path in (one.folder / ".dfld" / MODEL.prefix).iterdir()} <= names


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("step", "machine"), points_of(OF_A_MACHINE))
def test_after_a_kill_at_a_line_of_the_journal_all_machines_have_their_old_weights_or_all_the_new(
    resting: Fleet, killer: Killer, tmp_path: Path, step: str, machine: str, when: str
) -> None:
    check_all_or_nothing(resting, killer, CrashCase(resting.settings(), step, machine, when), tmp_path)


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(("machine", "nth"), [(name, nth) for nth in (1, 2, 3, 4) for name in machines_for(nth)])
def test_after_a_kill_at_a_rename_no_machine_has_a_mixture(
    resting: Fleet, killer: Killer, tmp_path: Path, machine: str, nth: int, when: str
) -> None:
    check_all_or_nothing(resting, killer, CrashCase(resting.settings(), "rename", machine, when, nth), tmp_path)


# Trainers that run: what they read when they start is what counts. Local machines at every line, real sshd at some.

TRAINING_POINTS = points_of([*OF_A_MACHINE, "iterating"])
OVER_SSH = (
    TRAINING_POINTS if ALL_POINTS else [("settling", "gpu2"), ("staged", "gpu2"), ("decided", ""), ("swapped", "gpu2")]
)
WAYS = ("command local", "command auto", "cooperative auto")
WAYS_AND_POINTS = [(way, *point) for way in WAYS for point in (TRAINING_POINTS if way == "command local" else OVER_SSH)]
IN_COMMANDS = [
    (way, step, when)
    for way in WAYS[:2]
    for step in ("stop", "start")
    for when in ("before", "during", "after")
    if when == "during" or ALL_POINTS or way == "command local"
]


@pytest.fixture(scope="module")
def trainings(request: pytest.FixtureRequest, memory_folder: Path) -> Iterator[Callable[[str], Fleet]]:
    """Make the fleet of a way, or return it while the same way is asked for: pytest would make one for each test."""
    kept: dict[str, Fleet] = {}

    def end_all() -> None:
        for fleet in kept.values():
            for one in fleet.machines:
                one.kill()
        kept.clear()

    def fleet_of(way: str) -> Fleet:
        if way not in kept:
            end_all()
            control, transfer = way.split()
            folder = Path(tempfile.mkdtemp(dir=memory_folder, prefix="training "))
            machines = request.getfixturevalue("ssh_machines") if transfer != "local" else []
            kept[way] = lay_out(machines, folder, transfer) if machines else make_fleet(folder)
            put_under_control(kept[way], control)
            start_all(kept[way])
            rounds = Rounds(kept[way].settings())
            begun = rounds.start_from("gpu1")
            assert begun.outcome == "initialised", (begun.reason, begun.excluded)
            rounds.close()
        return kept[way]

    yield fleet_of
    end_all()


@pytest.fixture
def training(request: pytest.FixtureRequest, trainings: Callable[[str], Fleet]) -> Fleet:
    return trainings(request.param)


def check_first_call_after_a_kill(fleet: Fleet) -> None:
    """The first call finishes or gives up the round that was killed, starts every trainer, and does its own round."""
    rounds = Rounds(fleet.settings())
    killed = rounds.records()[-1].number

    done = rounds.average()

    assert done.outcome == "averaged", (done.reason, dict(done.excluded), dict(done.fenced))
    assert done.number > killed
    assert done.receivers == ("gpu1", "gpu2", "gpu3")
    record = next(record for record in rounds.records() if record.number == killed)
    for one in fleet.machines:
        assert one.runs(), f"{one.machine.name} trains again"
        line = record.staged.get(one.machine.name)
        staged = {part: file.sha256 for part, file in line.files.items()} if line else {}
        assert (staged in loaded_sets(one)) == record.decided, "all or nothing"
        check_no_mixed_set(rounds, one)
        assert not (one.folder / ".dfld" / MODEL.prefix / "stopping.json").exists()
    rounds.close()


@pytest.mark.parametrize(("training", "step", "machine"), WAYS_AND_POINTS, indirect=["training"])
def test_after_a_kill_the_next_call_has_all_trainers_run(
    training: Fleet, killer: Killer, tmp_path: Path, step: str, machine: str
) -> None:
    killer.run_and_die(CrashCase(training.settings(), step, machine, "after"), tmp_path)
    check_first_call_after_a_kill(training)


@pytest.mark.parametrize(("training", "step", "when"), IN_COMMANDS, indirect=["training"])
def test_after_a_kill_in_the_command_that_stops_or_starts_a_trainer_all_trainers_run(
    training: Fleet, killer: Killer, tmp_path: Path, step: str, when: str
) -> None:
    two = training["gpu2"]
    plain, mark = two.machine, tmp_path / "mark"
    begins = f"touch {shlex.quote(str(mark))}; "
    changed = {"stop": begins + plain.stop} if step == "stop" else {"start": begins + plain.start}
    two.machine = replace(plain, **changed)
    try:
        killer.run_and_die(CrashCase(training.settings(), step, "gpu2", when, mark=str(mark)), tmp_path)
        check_first_call_after_a_kill(training)
    finally:
        two.machine = plain


def check_no_mixed_set(rounds: Rounds, one) -> None:  # type: ignore[no-untyped-def]
    """Every set that the trainer ever read is one that it saved, or one that a decided round gave it, as a whole."""
    whole = [line["saved"] for line in history(one) if "saved" in line]
    for record in rounds.records():
        line = record.staged.get(one.machine.name)
        staged = line.files if line else {}
        if record.decided and staged:
            whole.append({part: file.sha256 for part, file in staged.items() if not part.endswith("_opt.npy")})
    first, *later = loaded_sets(one)
    assert all(loaded in whole or loaded == first for loaded in later)


@pytest.mark.parametrize("training", WAYS[:1], indirect=True)
def test_a_mixed_set_that_a_trainer_read_is_found(training: Fleet) -> None:
    one = training.machines[0]
    path = one.folder.parent / "history.jsonl"
    before = path.read_text(encoding="utf-8")
    mixed = {**loaded_sets(one)[-1], "inter.npy": "0" * 64}
    import json

    path.write_text(before + json.dumps({"loaded": mixed}) + "\n", encoding="utf-8")
    try:
        with pytest.raises(AssertionError):
            check_no_mixed_set(Rounds(training.settings()), one)
    finally:
        path.write_text(before, encoding="utf-8")
    assert weights_value(one)
