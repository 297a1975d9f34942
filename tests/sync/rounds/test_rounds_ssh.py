"""Whole rounds over real sshd with trainers that run: all ways of control, both roads, and what trainers saw."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sync.rounds.rounds import Rounds
from sync.trainers.cooperating import hook_line, install_hook
from sync.transports.local import LocalTransport
from tests.sync.fleet import Fleet, weights_value
from tests.sync.sshd import SshMachine
from tests.sync.training import MODEL, TrainingMachine, until


def lay_out(machines: list[SshMachine], folder: Path, transfer: str) -> Fleet:
    made = []
    for seed, one in enumerate(machines):
        model_dir = one.fresh_folder() / "work space" / "model"
        model_dir.mkdir(parents=True)
        training = TrainingMachine(one.machine(model_dir=str(model_dir), transfer=transfer))
        training.write_model(seed=seed)
        made.append(training)
    return Fleet(made, folder / "state")


def put_under_control(fleet: Fleet, control: str) -> None:
    for one in fleet.machines:
        match control:
            case "command":
                one.commanded()
            case "cooperative":
                one.machine = replace(one.machine, control="cooperative")
                install_hook(LocalTransport(one.machine), one.places)
                flag, _, code = shlex.split(hook_line(one.places))
                one.options = [flag, "-0.05", code, "--save-every", "1000"]
            case "none":
                one.machine = replace(one.machine, status=f"test -e {shlex.quote(str(one.pid_file))}")


def start_all(fleet: Fleet) -> None:
    for one in fleet.machines:
        one.start()
    for one in fleet.machines:
        if one.machine.control == "cooperative":
            until(lambda one=one: (one.folder / ".dfld" / MODEL.prefix / "alive.json").exists(), "a sign of life")


def history(one: TrainingMachine) -> list[dict[str, dict[str, str]]]:
    path = one.folder.parent / "history.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


def loaded_sets(one: TrainingMachine) -> list[dict[str, str]]:
    return [line["loaded"] for line in history(one) if "loaded" in line]


def saved_sets(one: TrainingMachine) -> list[dict[str, str]]:
    return [line["saved"] for line in history(one) if "saved" in line]


@pytest.fixture(params=["openssh", "paramiko"])
def fleet(request: pytest.FixtureRequest, ssh_machines: list[SshMachine], quick_folder: Path) -> Iterator[Fleet]:
    made = lay_out(ssh_machines, quick_folder, request.param)
    yield made
    for one in made.machines:
        one.kill()


@pytest.mark.parametrize("control", ["command", "cooperative"])
def test_trainers_train_on_from_the_average(fleet: Fleet, control: str) -> None:
    put_under_control(fleet, control)
    start_all(fleet)
    pids = [one.pid() for one in fleet.machines]
    rounds = Rounds(fleet.settings())
    begun = rounds.start_from("gpu1")
    assert (begun.outcome, dict(begun.doubted)) == ("initialised", {}), begun.reason

    done = rounds.average()

    assert done.outcome == "averaged", (done.reason, done.excluded, done.doubted)
    assert done.receivers == ("gpu1", "gpu2", "gpu3")
    assert not done.doubted
    record = rounds.records()[-1]
    for one in fleet.machines:
        staged = {part: file.sha256 for part, file in record.staged[one.machine.name].files.items()}
        assert loaded_sets(one)[-1] == staged, "the last thing that each trainer read is the whole average"
        assert one.runs()
    if control == "cooperative":
        assert pids == [one.pid() for one in fleet.machines], "nobody was restarted"
        assert all(done.lost_iterations[name] > 0 for name in done.receivers), "what was thrown away counts"
    assert all(done.paused_s[name] > 0 for name in done.receivers)
    assert not done.not_seen
    rounds.close()


def test_without_control_trainers_must_rest(fleet: Fleet) -> None:
    put_under_control(fleet, "none")
    rounds = Rounds(fleet.settings())
    begun = rounds.start_from("gpu1")
    assert begun.outcome == "initialised", (begun.reason, begun.excluded)
    start_all(fleet)
    until(lambda: all(one.state()["iter"] > 20_000 for one in fleet.machines), "the first saves")

    held = rounds.average()
    assert held.outcome == "held"
    assert "may not stop it" in held.excluded["gpu1"]
    for one in fleet.machines:
        one.interrupt()

    done = rounds.average()
    assert done.outcome == "averaged", (done.reason, done.excluded)
    assert len({weights_value(one) for one in fleet.machines}) == 1
    rounds.close()


def test_a_round_that_makes_most_trainers_worse_is_undone(fleet: Fleet) -> None:
    put_under_control(fleet, "command")
    start_all(fleet)
    rounds = Rounds(fleet.settings())
    begun = rounds.start_from("gpu1")
    assert begun.outcome == "initialised", (begun.reason, begun.excluded)
    # A file that is lost between the swap and the restart is made anew at random by DeepFaceLab, without a word.
    for one in fleet.machines:
        lost = shlex.quote(str(one.folder / MODEL.file_name("inter.npy")))
        mark = shlex.quote(str(one.folder.parent / "lost"))
        command = f"test -e {mark} || {{ rm {lost}; touch {mark}; }}; {one.machine.start}"
        one.machine = replace(one.machine, start=command)
    rounds.close()
    rounds = Rounds(fleet.settings())
    before = [record.number for record in rounds.records()]

    done = rounds.average()

    assert done.outcome == "undone", (done.reason, done.doubted, done.excluded)
    assert "the loss went from" in done.reason
    undo = rounds.records()[-1]
    assert undo.undoes == done.number
    for one in fleet.machines:
        # What each gave to the round is what it trains on from again: its last save before it.
        until(lambda one=one: loaded_sets(one)[-1] in saved_sets(one), f"{one.machine.name} with its own weights")
        assert one.runs()
    assert rounds.history().newest == before[-1], "the common start is the one before the bad round"
    again = rounds.average()
    assert again.outcome == "averaged", (again.reason, again.excluded, again.doubted)
    rounds.close()


def test_a_trainer_that_hangs_at_start_is_told_and_the_others_go_on(fleet: Fleet) -> None:
    put_under_control(fleet, "command")
    start_all(fleet)
    settings = fleet.settings(trainer=replace(fleet.settings().trainer, proof_s=6.0))
    rounds = Rounds(settings)
    begun = rounds.start_from("gpu1")
    assert begun.outcome == "initialised", (begun.reason, begun.excluded)
    rounds.close()
    two = fleet["gpu2"]
    two.machine = replace(two.machine, start=f"{two.command_line()} --background --hang-at-start")
    rounds = Rounds(fleet.settings(trainer=settings.trainer))

    done = rounds.average()

    assert done.outcome == "averaged"
    assert "did not go on training" in done.doubted["gpu2"]
    assert "gpu1" not in done.doubted
    rounds.close()


def test_a_machine_whose_clock_is_wrong_takes_part(fleet: Fleet) -> None:
    put_under_control(fleet, "none")
    rounds = Rounds(fleet.settings())
    begun = rounds.start_from("gpu1")
    assert begun.outcome == "initialised", (begun.reason, begun.excluded)
    fleet.train_by_hand()
    import os
    import time

    for path in fleet["gpu2"].folder.glob("alice*"):
        os.utime(path, (time.time() + 86_400,) * 2)
    for path in fleet["gpu3"].folder.glob("alice*"):
        os.utime(path, (time.time() - 86_400 * 365,) * 2)
    done = rounds.average()
    assert done.contributors == ("gpu1", "gpu2", "gpu3"), done.excluded
    rounds.close()
