"""What the tests of synchronisation may ask for: three machines with a real sshd each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sync.fleet import Fleet, make_fleet
from tests.sync.sshd import SshMachine, make_ssh_machine


@pytest.fixture(scope="session")
def ssh_machines(memory_folder: Path) -> Iterator[list[SshMachine]]:
    """Three machines with homes of their own, for the whole test run."""
    folder = memory_folder / "machines"
    made = [make_ssh_machine(folder, name) for name in ("gpu1", "gpu2", "gpu3")]
    yield made
    for machine in made:
        machine.stop()


@pytest.fixture
def fleet(quick_folder: Path) -> Iterator[Fleet]:
    made = make_fleet(quick_folder)
    yield made
    for one in made.machines:
        one.kill()
