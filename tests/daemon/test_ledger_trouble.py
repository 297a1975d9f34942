"""A ledger that cannot be used for a while: the service waits, says so once, and goes on; it never ends of it."""

from __future__ import annotations

import logging
import sqlite3
import urllib.error
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest

from daemon.control.client import ask
from daemon.errors import ControlError
from tests.daemon_rig import InProcess, Rig, wait_until
from tests.fake_worker import fake_video


@pytest.fixture
def rig(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Rig:
    monkeypatch.setattr("daemon.ledger.ledger.BUSY_TIMEOUT_MS", 200)
    rig = Rig(tmp_path)
    rig.tables["http"]["listen"] = "127.0.0.1:0"
    return rig


def get(service: InProcess, path: str) -> tuple[int, str]:
    assert service.ready is not None
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{service.ready.http_port}/{path}", timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.mark.parametrize("moment", ["before a file is claimed", "while a job runs"])
def test_another_programs_lock_is_waited_for_at_any_moment(
    rig: Rig, moment: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="dfld")
    with InProcess(rig) as service, closing(sqlite3.connect(rig.base / "state" / "ledger.db")) as other:
        other.isolation_level = None
        if moment == "while a job runs":
            (rig.inbox / "a.mp4").write_bytes(fake_video(frames=60, pause_s=0.02))
            wait_until(lambda: rig.states() == ["running"], "does not run")
        other.execute("BEGIN IMMEDIATE")
        if moment != "while a job runs":
            (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
        wait_until(lambda: "ledger" in get(service, "readyz?verbose")[1] and get(service, "readyz")[0] == 503, "ready")
        assert "locked by another program" in get(service, "readyz?verbose")[1]
        assert get(service, "livez")[0] == 200, "a restart would not help"
        status = ask(rig.base / "state", "status")
        assert any("locked" in check["detail"] for check in status["checks"] if not check["ok"])
        waits = wait_until(lambda: [one for one in caplog.messages if "locked by another" in one], "nothing was said")
        # A job that was about to store a piece says besides that it is held.
        assert sum(not one.startswith("job ") for one in waits) == 1
        other.execute("ROLLBACK")
        rig.wait_for_states("done")
        wait_until(lambda: get(service, "readyz")[0] == 200, "not ready again")
        wait_until(lambda: any("can be written again" in one for one in caplog.messages), "nothing was said")


@pytest.mark.parametrize("replaced", [False, True])
def test_a_ledger_that_is_deleted_or_replaced_under_the_service_is_told_and_nothing_is_lost(
    rig: Rig, replaced: bool
) -> None:
    state = rig.base / "state"
    with InProcess(rig) as service:
        (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
        rig.wait_for_states("done")
        (state / "ledger.db").rename(state / "aside")
        if replaced:
            (state / "ledger.db").write_bytes((state / "aside").read_bytes())
        wait_until(lambda: get(service, "readyz")[0] == 503, "still ready")
        assert "while dfld runs" in get(service, "readyz?verbose")[1]
        assert get(service, "livez")[0] == 200
        with pytest.raises(ControlError, match="while dfld runs"):
            ask(state, "jobs")
        (rig.inbox / "b.mp4").write_bytes(fake_video(frames=5, name="b"))
        (state / "aside").replace(state / "ledger.db")
        rig.wait_for_states("done", "done")
        wait_until(lambda: get(service, "readyz")[0] == 200, "not ready again")
