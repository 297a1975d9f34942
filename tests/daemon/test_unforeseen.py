"""An error that nobody foresaw costs one turn of a thread, or one file: it is logged, and everything else goes on."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import pytest

from daemon.control import forget
from daemon.control.client import ask
from daemon.errors import WorkerError
from daemon.jobs.job_queue import JobQueue
from daemon.ledger.ledger import Ledger
from tests.daemon_rig import InProcess, Rig, wait_until
from tests.fake_worker import fake_video


def boundaries(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the boundary of each traceback in the log."""
    return [record.__dict__["fields"]["boundary"] for record in caplog.records if record.exc_info]


def test_an_inbox_that_fails_begins_anew_and_its_files_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from daemon.inboxes.intake import Intake

    settle, failures = Intake._settle, []

    def fails_once(self: Intake) -> None:
        if not failures:
            failures.append(1)
            raise ZeroDivisionError("on purpose")
        settle(self)

    monkeypatch.setattr(Intake, "_settle", fails_once)
    monkeypatch.setattr("daemon.inboxes.intake.ROOT_CHECK_S", 0.2)
    rig = Rig(tmp_path)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
    with caplog.at_level(logging.INFO), InProcess(rig):
        rig.wait_for_states("done")
    assert boundaries(caplog) == ["thread"]
    said = [record.getMessage() for record in caplog.records]
    assert any("failed (ZeroDivisionError('on purpose')); it begins anew" in line for line in said)


def test_a_file_that_cannot_be_claimed_is_named_and_the_others_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from daemon.inboxes import claims

    content_hash = claims.content_hash

    def fails(unit: Any, hashes: Any) -> str:
        if unit.path == "bad.mp4":
            raise ZeroDivisionError
        return content_hash(unit, hashes)

    monkeypatch.setattr(claims, "content_hash", fails)
    rig = Rig(tmp_path)
    for name in ("bad.mp4", "good.mp4"):
        (rig.inbox / name).write_bytes(fake_video(frames=5, name=name))
    with caplog.at_level(logging.WARNING), InProcess(rig):
        (job,) = rig.wait_for_states("done")
        assert job["path"] == b"good.mp4"
        wait_until(lambda: "thread" in boundaries(caplog), "the failure is not in the log")
        monkeypatch.setattr(claims, "content_hash", content_hash)
        ask(tmp_path / "state", "scan")
        rig.wait_for_states("done", "done")
    assert any("bad.mp4 was not claimed (ZeroDivisionError())" in record.getMessage() for record in caplog.records)


@pytest.mark.parametrize("error", [ZeroDivisionError("on purpose"), WorkerError("on purpose")])
def test_a_slot_that_fails_while_it_asks_for_a_job_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    following, failures = JobQueue.next, []

    def fails_once(self: JobQueue) -> Any:
        if not failures:
            failures.append(1)
            raise error
        return following(self)

    monkeypatch.setattr(JobQueue, "next", fails_once)
    monkeypatch.setattr("daemon.jobs.dispatch.PAUSE_S", 0.05)
    rig = Rig(tmp_path)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
    assert boundaries(caplog) == ["thread"], "it is logged and counted, once"


def test_who_overwrites_what_was_forgotten_goes_on_when_that_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    turns: list[int] = []

    def fails_once(*_: object) -> list[str]:
        turns.append(1)
        if len(turns) == 1:
            raise ZeroDivisionError("on purpose")
        return []

    monkeypatch.setattr(forget, "wipe", fails_once)
    monkeypatch.setattr(forget, "TRY_AGAIN_S", 0.01)
    ledger, reported = Ledger(tmp_path / "ledger.db"), threading.Event()
    forget.wipe_until_gone(ledger, "alice", frozenset(), threading.Event(), lambda _event: reported.set())
    assert reported.wait(10), "it is tried again until it is done"
    ledger.close()
    assert boundaries(caplog) == ["thread"]


def test_the_traceback_of_a_worker_stands_in_the_log_of_the_service(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5, raise_at=2))
    with caplog.at_level(logging.INFO), InProcess(rig):
        (job,) = rig.wait_for_states("quarantined")
    assert job["reason"] == "worker_died"
    assert boundaries(caplog) == ["job"] * 3
    (record, *_) = (one for one in caplog.records if one.exc_info)
    text = logging.Formatter().format(record)
    assert "Traceback (most recent call last)" in text
    assert "KeyError: 'a bug that nobody foresaw'" in text
