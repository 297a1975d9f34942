"""A kill at any step of dealing with an original leaves nothing out of sight, and the next try ends the work."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from core.move_and_delete import know
from daemon.arrivals.hashing import HashingStoppedError
from daemon.jobs.kinds.registry import KINDS
from daemon.jobs.originals import put_back, put_back_all_asides, write_reason
from daemon.jobs.tidying import Tidier
from daemon.ledger import claims, members
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger
from daemon.ledger.members import Member
from tests.daemon_rig import ROOT, Rig

CONTENT = b"footage " * 2000
SIDECAR = b"priority = 1\n"
STEPS_MAX = 150
NAMES = ("clip.mp4", "clip.mp4.dfld.toml")


@pytest.fixture(scope="module")
def killer() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.daemon.kill_originals"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as program:
        yield program
        assert program.stdin is not None
        program.stdin.close()


class Bench:
    """An inbox with a clip, and its quarantine on the same or on another filesystem."""

    def __init__(self, base: Path, away: Path) -> None:
        self.rig = Rig(base)
        self.away = away
        self.rig.inboxes["alice"] |= {"quarantine_dir": str(away / "q"), "done_dir": str(away / "done")}
        (base / "state").mkdir()

    @property
    def inbox(self) -> Path:
        return self.rig.inbox

    def fill(self, folder: Path) -> None:
        for old in (self.inbox, self.away):
            shutil.rmtree(old, ignore_errors=True)
            old.mkdir(parents=True)
        folder.mkdir(exist_ok=True)
        for name, content in zip(NAMES, (CONTENT, SIDECAR), strict=True):
            (folder / name).write_bytes(content)

    def killed_at(self, killer: subprocess.Popen[str], step: int, work: str) -> bool:
        asked: dict[str, Any] = {"step": step, "work": work, "config": str(self.rig.config_path)}
        assert killer.stdin is not None
        assert killer.stdout is not None
        killer.stdin.write(json.dumps(asked) + "\n")
        killer.stdin.flush()
        return bool(json.loads(killer.stdout.readline()))

    def start(self) -> None:
        """Do what a service does before the first scan."""
        put_back_all_asides((self.inbox, self.away / "q"))

    def clips(self) -> list[Path]:
        """Return where the clip can be seen: whole, under a name that is not hidden."""
        return [one for one in self.files() if one.read_bytes() == CONTENT and not one.name.startswith(".")]

    def files(self) -> list[Path]:
        return sorted(one for top in (self.inbox, self.away) for one in top.rglob("*") if one.is_file())


@pytest.fixture(params=["one filesystem", "two filesystems"])
def bench(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Bench]:
    if request.param == "one filesystem":
        yield Bench(tmp_path, tmp_path / "away")
        return
    other = Path("/dev/shm")
    if not os.access(other, os.W_OK) or other.stat().st_dev == tmp_path.stat().st_dev:
        pytest.skip("there is no second filesystem at /dev/shm")
    far = other / f"dfld-test-{os.getpid()}-{tmp_path.name}"
    yield Bench(tmp_path, far)
    shutil.rmtree(far, ignore_errors=True)


def ended_job(bench: Bench, ledger: Ledger, original: str) -> None:
    """Make job 1 of the clip in the inbox, as a worker left it."""
    found = [
        Member(os.fsencode(name), role, know(bench.inbox / name))
        for name, role in zip(NAMES, ("footage", "companion"), strict=True)  # type: ignore[arg-type]
    ]
    arrival = Arrival(
        inbox="alice",
        path=b"clip.mp4",
        kind="extract",
        source_kind="video",
        file_state="identity",
        sha256=found[0].known.sha256,
        size_bytes=len(CONTENT),
        arrived_s=0.0,
        workspace=str(bench.rig.workspace),
        role="src",
        slugs=["clip"],
        priority=0,
        members=tuple(found),
    )

    def step(writer: Any) -> None:
        for name in ("members", "files", "jobs"):
            writer.execute(f"DELETE FROM {name}")
        writer.execute("DELETE FROM sqlite_sequence")
        job = claims.claim(writer, arrival, now_s=1.0, on_duplicate="skip", earlier_is_there=False).job
        assert job.id == 1
        members.remember(writer, job.id, found)
        state = "quarantined" if original == "to_quarantine" else "done"
        report = json.dumps({"verdict": {"word": "whole", "unread": []}})
        question = "UPDATE jobs SET state = ?, original = ?, report = ? WHERE id = ?"
        writer.execute(question, (state, original, report, job.id))

    ledger.write(step)


@pytest.mark.parametrize(
    ("bench", "on_done", "original"),
    [
        ("two filesystems", "keep", "to_quarantine"),
        ("one filesystem", "move", "to_finish"),
        ("one filesystem", "delete", "to_finish"),
    ],
    indirect=["bench"],
)
def test_a_kill_at_any_step_of_tidying_up_is_made_good_with_path_reason_and_companions(
    bench: Bench, killer: subprocess.Popen[str], on_done: str, original: str
) -> None:
    bench.rig.inboxes["alice"]["on_done"] = on_done
    folder = bench.away / ("q" if original == "to_quarantine" else "done")
    ledger = Ledger(bench.rig.base / "state" / "ledger.db")
    for step in range(1, STEPS_MAX):
        bench.fill(bench.inbox)
        ended_job(bench, ledger, original)
        killed = bench.killed_at(killer, step, "tidy")
        bench.start()
        assert bench.clips() or on_done == "delete", f"step {step}: out of sight"
        job = tidied(bench, ledger)
        assert job.original == {"keep": "quarantined", "move": "moved", "delete": "deleted"}[on_done]
        place = None if on_done == "delete" else folder / "clip.mp4"
        assert job.original_path == (None if place is None else os.fsencode(place)), f"step {step}"
        reason = [folder / "clip.mp4.reason.json"] if original == "to_quarantine" else []
        assert bench.files() == sorted([*(folder / name for name in NAMES if place is not None), *reason]), step
        if not killed:
            ledger.close()
            return
    raise AssertionError("the work never ended by itself")


@pytest.mark.parametrize("bench", ["two filesystems"], indirect=True)
def test_a_stop_interrupts_the_reading_of_an_original_and_the_next_start_goes_on(bench: Bench) -> None:
    bench.rig.inboxes["alice"]["on_done"] = "move"
    bench.fill(bench.inbox)
    ledger = Ledger(bench.rig.base / "state" / "ledger.db")
    ended_job(bench, ledger, "to_finish")

    def stop() -> None:
        raise HashingStoppedError

    assert tidied(bench, ledger, stop).original == "to_finish"
    assert bench.files() == [bench.inbox / name for name in NAMES]
    turns: list[int] = []
    assert tidied(bench, ledger, lambda: turns.append(1)).original == "moved"
    assert len(turns) >= 2, "of the copy, and of reading it back"
    ledger.close()


def tidied(bench: Bench, ledger: Ledger, turn: Callable[[], None] = lambda: None) -> Job:
    config = bench.rig.config
    Tidier(ledger, lambda _event: None, lambda _inbox, _paths: None, KINDS).tidy(1, config.inboxes[0], config, turn)
    job = ledger.read(lambda reader: table.job_by_id(reader, 1))
    assert job is not None
    return job


def test_a_kill_at_any_step_of_a_release_leaves_the_file_in_sight_and_the_next_release_ends_it(
    bench: Bench, killer: subprocess.Popen[str]
) -> None:
    for step in range(1, STEPS_MAX):
        bench.fill(bench.away / "q")
        place = bench.away / "q" / "clip.mp4"
        write_reason(place, {"reason": "duplicate"})
        killed = bench.killed_at(killer, step, "release")
        with suppress(FileNotFoundError):  # it was in the inbox before the kill
            put_back(place, bench.inbox / "clip.mp4")
        found = [one for one in bench.files() if one.read_bytes() == CONTENT]
        assert found, f"step {step}: lost"
        assert all(one.parent == bench.inbox and not one.name.startswith(".") for one in found), f"step {step}: {found}"
        if not killed:
            return
    raise AssertionError("the work never ended by itself")


def test_a_kill_at_any_step_of_a_duplicates_quarantine_leaves_it_in_sight_at_the_next_start(
    bench: Bench, killer: subprocess.Popen[str]
) -> None:
    for step in range(1, STEPS_MAX):
        bench.fill(bench.inbox)
        killed = bench.killed_at(killer, step, "duplicate")
        bench.start()
        assert bench.clips(), f"step {step}: out of sight: {bench.files()}"
        if not killed:
            return
    raise AssertionError("the work never ended by itself")
