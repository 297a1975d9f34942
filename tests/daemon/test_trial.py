"""A large file that is no video is refused without being read; only a clear no counts."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from daemon.inboxes import claims
from daemon.worker.trial import does_not_open
from tests.clips import make_clip
from tests.daemon_rig import READING_WORKER, InProcess, Rig, wait_until


def go_on() -> bool:
    return False


def test_a_video_opens_and_text_does_not(tmp_path: Path) -> None:
    (tmp_path / "notes.mp4").write_bytes(b"these are my notes" * 1000)
    assert not does_not_open(make_clip(tmp_path / "clip.mp4", frames=3), go_on, within=[tmp_path])
    assert does_not_open(tmp_path / "notes.mp4", go_on, within=[tmp_path])


def test_what_cannot_be_told_is_no_clear_no(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=3)
    assert not does_not_open(clip, lambda: True, within=[tmp_path]), "stopped before the child answered"


def test_a_pipe_or_a_file_elsewhere_is_a_clear_no_and_nothing_waits_for_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert does_not_open(tmp_path / "pipe.mp4", go_on, within=[tmp_path])
    clip = make_clip(tmp_path / "clip.mp4", frames=3)
    assert does_not_open(clip, go_on, within=[tmp_path / "inbox"])


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr(claims, "TRIED_FIRST_BYTES", 4 << 20)
    rig = Rig(tmp_path)
    rig.tables["watch"]["unreadable_grace"] = "100ms"
    return rig


def test_a_large_file_that_is_no_video_is_quarantined_unread(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object, **__: object) -> str:
        raise AssertionError("it was hashed")

    monkeypatch.setattr(claims, "member_hashes", never)
    (rig.inbox / "disk image.mp4").write_bytes(os.urandom(1 << 20) * 5)
    with InProcess(rig, READING_WORKER):
        (job,) = rig.wait_for_states("quarantined")
        wait_until((rig.inbox / ".quarantine" / "disk image.mp4").exists, "not moved")
    assert job["reason"] == "not_readable"
    assert job["sha256"].endswith("-of-head-and-tail")


def test_a_large_video_is_hashed_in_full_and_known_again(rig: Rig) -> None:
    clip = make_clip(rig.base / "clip.mp4", frames=5).read_bytes()
    padded = clip + (len(padding := bytes(5 << 20)) + 8).to_bytes(4) + b"free" + padding
    (rig.inbox / "one.mp4").write_bytes(padded)
    with InProcess(rig, READING_WORKER):
        rig.wait_for_states("done")
        (rig.inbox / "two.mp4").write_bytes(padded)
        wait_until(lambda: rig.count("SELECT count(*) FROM files") == 2, "the second was not seen")
    (job,) = rig.jobs()
    assert len(job["sha256"]) == 64
