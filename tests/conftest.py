"""What every test may ask for."""

from __future__ import annotations

import os
import signal
import tempfile
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import hypothesis
import pytest

from tests import clips
from tests.sync.sshd import SshMachine, make_ssh_machine

ROOT = Path(__file__).parents[1]
# Programs that tests start are of this tree too, whichever tree the environment was installed from.
os.environ["PYTHONPATH"] = str(ROOT)

# A shell starts `pytest &` in a script with SIGINT ignored, and every program inherits that: trainers that tests start
# could not be stopped cleanly, which dfld would rightly refuse to try.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Nothing here is judged by how long it takes: a machine that others use too may be slow.
hypothesis.settings.register_profile("untimed", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
hypothesis.settings.load_profile("untimed")


BEGUN_FIRST = (
    "tests/systemd/test_boot.py",
    "tests/faults/test_real_kills.py",
    "tests/sync/rounds/test_crash.py",
    "tests/journeys/test_identity_by_track.py",
    "tests/sync/rounds/test_rounds_ssh.py",
    "tests/journeys/test_extract.py",
    "tests/journeys/test_command_line.py",
    "tests/monitoring/test_prometheus.py",
    "tests/journeys/test_containers.py",
    "tests/faults/test_kills.py",
    "tests/sync/rounds/test_deploy.py",
    "tests/sync/rounds/test_rounds_exceptions.py",
)
"""Files that take a minute or more: begun last, one of them would go on alone while every other process is done."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files for pytest-xdist, which gives them out in the order of their tests."""
    place = {ROOT / name: number for number, name in enumerate(BEGUN_FIRST)}
    items.sort(key=lambda item: place.get(item.path, len(place)))


@pytest.fixture(scope="session")
def shared() -> Path:
    """The measured facts, golden files and real footage beside the project; skips where they are not."""
    folder = Path(os.environ.get("DFLD_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"golden files and footage are not at {folder} (set DFLD_SHARED)")
    return folder


@pytest.fixture(scope="session")
def memory_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in memory where there is one: ledger and journals sync every step, and a busy disk makes that slow."""
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
    """Three machines, each with a real sshd and a home of its own, for the whole test run."""
    folder = memory_folder / "machines"
    made = [make_ssh_machine(folder, name) for name in ("gpu1", "gpu2", "gpu3")]
    yield made
    for machine in made:
        machine.stop()


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    """The clip maker of tests/clips.py: `make_clip(path, frames=30, codec=..., rotation=..., ...) -> path`."""
    return clips.make_clip


@pytest.fixture(scope="session")
def frame_number() -> Callable[[clips.Image], int]:
    """Reads back the number that `make_clip` drew into a frame."""
    return clips.frame_number


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where everything is installed (CI sets DFLD_NO_SKIP), a skipped test is a failed one."""
    report = yield
    if report.skipped and os.environ.get("DFLD_NO_SKIP") and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but nothing may skip here: {report.longrepr}"
    # What a test printed of a file name that is no text cannot travel between processes as it is.
    report.sections = [(head, body.encode(errors="backslashreplace").decode()) for head, body in report.sections]
    return report
