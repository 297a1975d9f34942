"""An error that nobody foresaw costs one turn of a thread, or one file: it is logged, and everything else goes on."""

from __future__ import annotations

import http.client
import logging
import socket
import sys
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from daemon.control import forget
from daemon.control.client import ask
from daemon.control.server import ControlServer
from daemon.crew import local
from daemon.errors import ControlError, LedgerError, WorkerError
from daemon.health import Health
from daemon.inboxes.claims import Claimer
from daemon.inboxes.intake import Intake
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.outcomes import Outcomes
from daemon.ledger import extraction
from daemon.ledger.ledger import Ledger
from daemon.metrics.http import HttpServer, make_application
from daemon.metrics.registry import new_registry
from daemon.service import Service
from daemon.systemd import ServiceManager
from tests.daemon_rig import FAKE_WORKER, InProcess, Rig, wait_until
from tests.fake_worker import fake_video


def boundaries(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the boundary of each traceback in the log."""
    return [record.__dict__["fields"]["boundary"] for record in caplog.records if record.exc_info]


def test_an_inbox_that_fails_begins_anew_and_its_files_are_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
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


def fail_once(monkeypatch: pytest.MonkeyPatch, owner: type, method: str, error: Exception) -> None:
    """Let the first call of a method raise."""
    works, failures = getattr(owner, method), []

    def fails_once(*arguments: Any) -> Any:
        if not failures:
            failures.append(1)
            raise error
        return works(*arguments)

    monkeypatch.setattr(owner, method, fails_once)


@pytest.mark.parametrize("error", [ZeroDivisionError("on purpose"), WorkerError("on purpose")])
@pytest.mark.parametrize(
    ("owner", "method", "is_fed"),
    [
        (Health, "move_gauges", True),
        (Health, "status_line", True),
        (Service, "_report_ledger", True),
        (Health, "turns", False),
        (Health, "dead_threads", False),
    ],
)
def test_a_service_that_fails_while_it_looks_round_goes_on_and_feeds_the_watchdog_only_when_it_is_well(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    method: str,
    is_fed: bool,
    error: Exception,
) -> None:
    rig, fed, turns = Rig(tmp_path), list[int](), list[int]()
    monkeypatch.setattr("daemon.service.TICK_S", 0.05)

    def fails(*_: object) -> Any:
        turns.append(1)
        raise error

    with InProcess(rig):
        monkeypatch.setattr(owner, method, fails)
        wait_until(lambda: turns, "the service does not look round")
        monkeypatch.setattr(ServiceManager, "watchdog", lambda _self: fed.append(1))
        before = len(turns)
        wait_until(lambda: len(turns) > before + 5, "the service does not look round again")
        (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
        rig.wait_for_states("done")
        assert bool(fed) is is_fed
        monkeypatch.undo()
    assert set(boundaries(caplog)) == {"thread"}


SPEAKS = "import sys; sys.stderr.write('a line' + chr(10)); sys.stderr.flush(); sys.stdin.read()"


@pytest.mark.parametrize("what", ["messages", "error lines"])
def test_a_worker_that_cannot_be_read_is_ended_with_the_reason(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    def fails(_: object) -> Any:
        raise MemoryError("on purpose")

    if what == "messages":
        monkeypatch.setattr(local.MessageReader, "read", fails)
    link = local.LocalLink(
        command=(sys.executable, "-c", SPEAKS), on_error_line=fails if what == "error lines" else None
    )
    with pytest.raises(WorkerError, match="cannot be read .MemoryError: on purpose"):
        wait_until(lambda: link.receive(0.1), "the failure is handed over", 10)
    assert not link.is_alive
    assert boundaries(caplog) == ["thread"]


@pytest.mark.parametrize("error", [ZeroDivisionError("on purpose"), WorkerError("on purpose")])
@pytest.mark.parametrize(("owner", "method"), [(Claimer, "_next_batch"), (Claimer, "_arrivals"), (Intake, "_pause")])
def test_a_thread_of_an_inbox_that_fails_anywhere_in_its_turn_goes_on(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: type,
    method: str,
    error: Exception,
) -> None:
    fail_once(monkeypatch, owner, method, error)
    monkeypatch.setattr("daemon.inboxes.claims.FAILED_PAUSE_S", 0.05)
    monkeypatch.setattr("daemon.inboxes.intake.ROOT_CHECK_S", 0.2)
    rig = Rig(tmp_path)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
    with caplog.at_level(logging.WARNING), InProcess(rig):
        rig.wait_for_states("done")
    assert any("on purpose" in record.getMessage() for record in caplog.records)
    if isinstance(error, ZeroDivisionError):
        assert boundaries(caplog) == ["thread"]


def test_an_inbox_that_cannot_even_begin_anew_tries_it_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fail_once(monkeypatch, Intake, "_settle", ZeroDivisionError("on purpose"))
    fail_once(monkeypatch, Intake, "_begin_anew", KeyError("on purpose"))
    monkeypatch.setattr("daemon.inboxes.intake.ROOT_CHECK_S", 0.2)
    rig = Rig(tmp_path)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
    assert boundaries(caplog) == ["thread"] * 2


def test_a_request_that_cannot_be_read_is_answered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fails(*_: object) -> bytes:
        raise MemoryError("on purpose")

    monkeypatch.setattr("daemon.control.server.read_line", fails)
    server = ControlServer(tmp_path, lambda _request: {})
    with pytest.raises(ControlError, match="the log of the service says why"):
        ask(tmp_path, "status")
    server.close()
    assert boundaries(caplog) == ["request"]


@pytest.mark.parametrize("where", ["socketserver.ThreadingMixIn.process_request", "daemon.metrics.http._read_head"])
def test_an_http_connection_that_fails_is_counted_and_the_next_one_is_answered(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, where: str
) -> None:
    def fails(*_: object) -> bytes:
        raise RuntimeError("can't start new thread")

    server = HttpServer("127.0.0.1", 0, make_application(new_registry(), list, list))
    with monkeypatch.context() as broken:
        broken.setattr(where, fails)
        if where.startswith("socketserver"):  # refused unread: not a byte is sent, which would reset the connection
            with socket.create_connection(("127.0.0.1", server.port), timeout=10) as connection:
                assert connection.recv(100).startswith(b"HTTP/1.1 500 ")
        else:
            with pytest.raises(ConnectionError):
                status_of_livez(server)
    assert status_of_livez(server) == 200
    server.close()
    assert boundaries(caplog) == ["request"]


def status_of_livez(server: HttpServer) -> int:
    with closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)) as connection:
        connection.request("GET", "/livez")
        return connection.getresponse().status


def test_a_job_that_cannot_even_be_failed_is_failed_in_the_ledger_and_the_next_one_is_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    fail_once(monkeypatch, Outcomes, "done", KeyError("on purpose"))
    fail_once(monkeypatch, Outcomes, "failed", ZeroDivisionError("on purpose, too"))
    rig = Rig(tmp_path)
    (rig.inbox / "bad.mp4").write_bytes(fake_video(frames=5))
    with caplog.at_level(logging.INFO), InProcess(rig):
        rig.wait_for_states("failed")
        (rig.inbox / "good.mp4").write_bytes(fake_video(frames=6))
        jobs = rig.wait_for_states("failed", "done")
    assert (jobs[0]["reason"], "on purpose, too" in jobs[0]["message"]) == ("unforeseen", True)
    assert boundaries(caplog) == ["job", "job"]
    assert any("bad.mp4 is failed" in record.getMessage() for record in caplog.records), "who waits for it is told"


def test_a_commit_that_the_ledger_refuses_fails_its_job_alone_and_the_next_gets_a_new_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store_commit = extraction.store_commit

    def refused(connection: Any, job_id: int, attempt: int, commit: Any) -> None:
        store_commit(connection, job_id, attempt, commit)
        if job_id == 1:
            connection.execute("UPDATE jobs SET hint = NULL WHERE id = 1")

    monkeypatch.setattr(extraction, "store_commit", refused)
    rig = Rig(tmp_path)
    (rig.inbox / "bad.mp4").write_bytes(fake_video(frames=30))
    with caplog.at_level(logging.INFO), InProcess(rig):
        (job,) = rig.wait_for_states("failed")
        (rig.inbox / "good.mp4").write_bytes(fake_video(frames=31))
        jobs = rig.wait_for_states("failed", "done")
    assert (job["reason"], "NOT NULL" in job["message"], job["deaths"]) == ("unforeseen", True, 0)
    assert jobs[1]["deaths"] == 0
    assert boundaries(caplog) == ["job"], "it is logged and counted, once"
    assert (rig.inbox / "bad.mp4").exists(), "the file is not to blame"


def test_a_worker_that_waits_for_a_ledger_that_failed_is_replaced_before_its_job_is_given_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store_commit, failures = extraction.store_commit, []

    def fails_often(*about: Any) -> None:
        if len(failures) < 4:
            failures.append(1)
            raise LedgerError("on purpose")
        store_commit(*about)

    monkeypatch.setattr(extraction, "store_commit", fails_often)
    monkeypatch.setattr("daemon.jobs.dispatch.PAUSE_S", 0.05)
    rig = Rig(tmp_path)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=30))
    with InProcess(rig):
        (job,) = rig.wait_for_states("done")
    assert (job["deaths"], job["attempt"]) == (0, 5), "no worker dies of what it did not expect"


def test_a_job_whose_outcome_the_ledger_does_not_take_waits_between_its_attempts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*_: Any) -> None:
        raise LedgerError("on purpose")

    waits: list[float | None] = []

    class NotedEvent(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            waits.append(timeout)
            return super().wait(timeout)

    make = JobQueue.__init__

    def make_noted(queue: JobQueue, *arguments: Any) -> None:
        make(queue, *arguments)
        queue.stopping = NotedEvent()

    monkeypatch.setattr(JobQueue, "__init__", make_noted)
    monkeypatch.setattr(Outcomes, "done", fails)
    monkeypatch.setattr("daemon.jobs.dispatch.PAUSE_S", 3600.0)
    rig = Rig(tmp_path)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        wait_until(lambda: 3600.0 in waits, "it begins anew at once")
    (job,) = rig.jobs()
    assert job["attempt"] == 1


OF_ANOTHER_VERSION = (
    sys.executable,
    "-c",
    "import runpy; from daemon.crew import messages; messages.VERSION += 1;"
    f" runpy.run_path({FAKE_WORKER[1]!r}, run_name='__main__')",
)


def test_a_worker_of_another_version_blames_no_file_and_the_job_goes_on_with_a_restart(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig, OF_ANOTHER_VERSION):
        (job,) = rig.wait_for_states("failed")
    assert (job["reason"], job["deaths"], job["original"]) == ("version", 0, "in_inbox")
    assert "restart the service" in job["hint"]
    assert (rig.inbox / "clip.mp4").exists()
    with InProcess(rig):
        rig.wait_for_states("done")


DIES_AT_ONCE = (sys.executable, "-c", "import a_library_that_is_not_there")
SAYS_NONSENSE = (sys.executable, "-c", "print('Welcome!', flush=True); input()")


@pytest.mark.parametrize("command", [DIES_AT_ONCE, SAYS_NONSENSE, ("/no such program",)])
def test_a_worker_that_cannot_even_start_blames_no_file_and_the_job_goes_on_once_one_can(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    rig = Rig(tmp_path)
    rig.tables["retry"]["attempts"] = 2
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig, command):
        (job,) = rig.wait_for_states("failed")
    assert (job["reason"], job["deaths"], job["original"]) == ("worker_start", 0, "in_inbox")
    assert (rig.inbox / "clip.mp4").exists()
    with InProcess(rig):
        rig.wait_for_states("done")


def test_a_worker_that_dies_of_its_file_blames_it_also_where_it_did_another_job_before(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5, name="a"))
    with InProcess(rig):
        rig.wait_for_states("done")
        (rig.inbox / "b.mp4").write_bytes(fake_video(frames=5, name="b", kill_in_trying=11))
        rig.wait_for_states("done", "quarantined")
