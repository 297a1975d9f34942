"""What the tests of synchronisation may ask for: three machines with a real sshd each."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.sync.fleet import Fleet, make_fleet
from tests.sync.sshd import SshMachine, make_ssh_machine


@pytest.fixture(scope="session")
def memory_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one: rounds sync every line to disk, and a busy disk makes that slow."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path_factory.mktemp("memory")
        return
    with tempfile.TemporaryDirectory(dir=memory, prefix="dfld-tests-") as folder:
        yield Path(folder)


@pytest.fixture
def quick_folder(memory_folder: Path) -> Path:
    """A folder of one test's own, in memory."""
    return Path(tempfile.mkdtemp(dir=memory_folder))


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
