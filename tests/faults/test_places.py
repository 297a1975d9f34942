"""Inbox folders that go away, and disks that fill up: flagged, the others go on, everything comes back by itself.

The filesystems are real tmpfs mounts, which need root (or a user namespace that gives it).
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from daemon.control.client import ask
from tests.daemon_rig import InProcess, Killable, Rig, wait_until
from tests.fake_worker import fake_video

FLAGGED_WITHIN_S = 30.0


def can_mount() -> bool:
    if os.geteuid() != 0:
        return False
    probe = subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False)
    return probe.returncode == 0


needs_mount = pytest.mark.skipif(not can_mount(), reason="mounting a small filesystem needs root")


@contextmanager
def small_filesystem(place: Path, size: str) -> Iterator[None]:
    place.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=False, capture_output=True)


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    """Two inboxes, of which nothing but events makes scans; folders and what is left to tidy are looked at often."""
    monkeypatch.setattr("daemon.inboxes.intake.ROOT_CHECK_S", 0.5)
    monkeypatch.setattr("daemon.service.TIDY_EVERY_S", 1.0)
    rig = Rig(tmp_path, inboxes=("alice", "bob"))
    rig.tables["watch"]["rescan_every"] = "1h"
    return rig


def inbox_status(rig: Rig, name: str = "alice") -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in ask(rig.base / "state", "status")["inboxes"] if one["name"] == name)
    return found


def wait_for_trouble(rig: Rig, *troubles: str) -> None:
    wait_until(
        lambda: inbox_status(rig)["trouble"] in troubles and not inbox_status(rig)["up"],
        lambda: f"not flagged: {inbox_status(rig)}",
        FLAGGED_WITHIN_S,
    )


def wait_for_recovery(rig: Rig, name: str) -> None:
    """Drop a file into alice's inbox and wait until it is done."""
    dropped = time.monotonic()
    (rig.inbox / f"{name}.mp4").write_bytes(fake_video(frames=2, name=name))
    wait_until(lambda: done(rig, name), lambda: f"{inbox_status(rig)} {rig.states()}", FLAGGED_WITHIN_S)
    assert time.monotonic() - dropped < FLAGGED_WITHIN_S


def done(rig: Rig, name: str) -> bool:
    return any(job["path"] == f"{name}.mp4".encode() and job["state"] == "done" for job in rig.jobs())


def others_go_on(rig: Rig, name: str) -> None:
    (rig.base / "bob" / f"{name}.mp4").write_bytes(fake_video(frames=2, name=f"bob {name}"))
    wait_until(lambda: done(rig, name), "the other inbox stands still")


def test_a_folder_that_is_deleted_and_made_again(rig: Rig) -> None:
    with InProcess(rig):
        wait_until(lambda: inbox_status(rig)["up"], "not up")
        shutil.rmtree(rig.inbox)
        wait_for_trouble(rig, "missing")
        others_go_on(rig, "meanwhile")
        rig.inbox.mkdir()
        wait_for_recovery(rig, "again")


def test_a_folder_that_is_renamed_and_replaced(rig: Rig) -> None:
    with InProcess(rig):
        wait_until(lambda: inbox_status(rig)["up"], "not up")
        rig.inbox.rename(rig.base / "old")
        rig.inbox.mkdir()
        wait_for_recovery(rig, "new")
        (rig.base / "old" / "stray.mp4").write_bytes(fake_video(frames=2, name="stray"))
        others_go_on(rig, "later")
        assert not done(rig, "stray")


def test_an_inbox_that_is_not_there_at_the_start_is_taken_up_when_it_comes(rig: Rig) -> None:
    rig.inbox.rmdir()
    with InProcess(rig):
        wait_for_trouble(rig, "missing")
        others_go_on(rig, "meanwhile")
        rig.inbox.mkdir()
        wait_for_recovery(rig, "late")


@needs_mount
def test_a_share_that_is_unmounted_under_the_watch_and_mounted_again(rig: Rig) -> None:
    with small_filesystem(rig.inbox, "8M"):
        (rig.inbox / "first.mp4").write_bytes(fake_video(frames=2, name="first"))
        with InProcess(rig):
            wait_until(lambda: done(rig, "first"), "not done")
            subprocess.run(["umount", "--lazy", str(rig.inbox)], check=True)
            wait_for_trouble(rig, "unmounted")
            (rig.inbox / "wrong place.mp4").write_bytes(fake_video(frames=2, name="below the mount point"))
            others_go_on(rig, "meanwhile")
            with small_filesystem(rig.inbox, "8M"):
                wait_for_recovery(rig, "second")
            assert not done(rig, "wrong place")
            assert inbox_status(rig)["jobs"]["done"] == 2


@needs_mount
def test_a_folder_that_becomes_read_only_is_flagged_and_its_files_are_done_all_the_same(rig: Rig) -> None:
    rig.inboxes["alice"]["on_done"] = "move"
    with small_filesystem(rig.inbox, "8M"):
        (rig.inbox / "a.mp4").write_bytes(fake_video(frames=2, name="a"))
        (rig.inbox / "bad.mp4").write_bytes(b"not a video" * 1000)
        subprocess.run(["mount", "-o", "remount,ro", str(rig.inbox)], check=True)
        with InProcess(rig):
            wait_until(lambda: inbox_status(rig)["read_only"], "not flagged", FLAGGED_WITHIN_S)
            wait_until(lambda: done(rig, "a"), "not done")
            wait_until(lambda: sorted(job["original"] for job in rig.jobs()) == ["marked", "to_finish"], "not marked")
            subprocess.run(["mount", "-o", "remount,rw", str(rig.inbox)], check=True)
            wait_until(lambda: not inbox_status(rig)["read_only"], "not recovered", FLAGGED_WITHIN_S)
            wait_until(lambda: (rig.inbox / ".done" / "a.mp4").exists(), "not moved", 30)
        assert sorted(rig.states()) == ["done", "quarantined"]


@needs_mount
def test_a_full_output_disk_pauses_the_job_and_leaves_nothing_half(rig: Rig, tmp_path: Path) -> None:
    workspace = Path(rig.inboxes["alice"]["workspace"])
    with small_filesystem(workspace, "1M"):
        ballast = workspace / "ballast"
        ballast.write_bytes(b"x" * 900_000)
        (rig.inbox / "a.mp4").write_bytes(fake_video(frames=200, name="a"))
        with InProcess(rig):
            wait_until(lambda: [job["reason"] for job in rig.jobs()] == ["no_space"], lambda: str(rig.jobs()))
            assert list(workspace.rglob("*.part")) == []
            others_go_on(rig, "meanwhile")
            ballast.unlink()
            freed = time.monotonic()
            wait_until(lambda: done(rig, "a"), lambda: str(rig.jobs()), 30)
            assert time.monotonic() - freed < 30
        assert len([name for name in rig.faces() if "alice" in name]) == 200


@needs_mount
def test_a_disk_below_its_reserve_holds_the_inbox_and_lets_it_go_again(rig: Rig) -> None:
    rig.tables["disk"] |= {"reserve": "2MB", "resume_margin": "1MB"}
    workspace = Path(rig.inboxes["alice"]["workspace"])
    with small_filesystem(workspace, "8M"):
        ballast = workspace / "ballast"
        ballast.write_bytes(b"x" * 7_000_000)
        (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5, name="a"))
        with InProcess(rig):
            wait_until(lambda: (inbox_status(rig)["held"] or {}).get("kind") == "disk", "not held")
            others_go_on(rig, "meanwhile")
            wait_until(lambda: any(job["inbox"] == "alice" for job in rig.jobs()), "not claimed")
            assert not done(rig, "a")
            os.truncate(ballast, 5_900_000)  # above the reserve, within the margin: still held
            others_go_on(rig, "still meanwhile")
            assert not done(rig, "a")
            ballast.unlink()
            wait_until(lambda: done(rig, "a"), "not let go", 30)


@needs_mount
def test_a_full_ledger_disk_pauses_the_work_and_nothing_is_lost(rig: Rig) -> None:
    state = rig.base / "state"
    with small_filesystem(state, "2M"):
        with Killable(rig) as service:
            service.wait_until_it_runs()
            fill(state / "ballast")
            (rig.inbox / "a.mp4").write_bytes(fake_video(frames=200, name="a"))
            wait_until(lambda: "the ledger cannot be written" in service.said(), "no trouble told")
            (state / "ballast").unlink()
            wait_until(lambda: done(rig, "a"), lambda: service.said()[-2000:], 40)
            assert service.terminate() == 0
        assert len(rig.faces()) == 200


def fill(ballast: Path) -> None:
    with ballast.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            pass
