"""Whole rounds with machines that look like Windows: drives, backslashes, no hard links, no fsync, no limits."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sync.rounds.rounds import Rounds
from sync.types import Machine
from tests.sync.fleet import Fleet, as_value, mean_of
from tests.sync.sshd import SshMachine, make_ssh_machine
from tests.sync.training import TrainingMachine

NOT_ON_WINDOWS = "hardlink,fsync,statvfs,limits"
MODEL_DIR = r"C:\workspace of alice\model"


@pytest.fixture
def windows(quick_folder: Path) -> Iterator[list[SshMachine]]:
    made = [make_ssh_machine(quick_folder, name, denied=NOT_ON_WINDOWS, drives=True) for name in ("gpu1", "gpu2")]
    yield made
    for machine in made:
        machine.stop()


@pytest.mark.parametrize("transfer", ["openssh", "paramiko"])
def test_a_round_among_windows_machines(windows: list[SshMachine], quick_folder: Path, transfer: str) -> None:
    local = []
    for seed, one in enumerate(windows):
        folder = one.home / "C:" / "workspace of alice" / "model"
        folder.mkdir(parents=True)
        local.append(TrainingMachine(Machine(name=one.name, address="", model_dir=str(folder), transfer="local")))
        local[-1].write_model(seed=seed)
    fleet = Fleet(local, quick_folder / "state")
    machines = tuple(one.machine(model_dir=MODEL_DIR, transfer=transfer, status="false") for one in windows)
    rounds = Rounds(fleet.settings(machines=machines))

    begun = rounds.start_from("gpu1")
    assert begun.outcome == "initialised", (begun.reason, begun.excluded)
    fleet.train_by_hand()
    expected = as_value(mean_of(local))
    done = rounds.average()
    rounds.close()

    assert done.outcome == "averaged", (done.reason, done.excluded)
    assert set(fleet.sets().values()) == {expected}
    for one in windows:
        assert sorted(path.name for path in one.home.iterdir() if path.is_dir()) == ["C:", "work space"]
