"""A service that cannot start says why once, and leaves nothing running or held."""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.errors import ExitCode, ServiceError, exit_code_of
from daemon.log import set_level
from daemon.service import run_service
from daemon.state_folder import StateLock
from tests.daemon_rig import ROOT, InProcess, Killable, Rig, wait_until


def test_a_taken_port_is_one_sentence_and_everything_else_is_let_go(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        rig.tables["http"]["listen"] = f"127.0.0.1:{taken.getsockname()[1]}"
        before = set(threading.enumerate())
        with pytest.raises(ServiceError, match="cannot listen on 127.0.0.1") as problem:
            run_service(rig.config)
        assert problem.value.__context__ is problem.value.__cause__, "nothing went wrong on the way out"
        assert set(threading.enumerate()) == before
        done = subprocess.run(
            [sys.executable, "-m", "daemon", "run", "--config", str(rig.config_path)],
            cwd=ROOT, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    rig.tables["http"]["listen"] = ""
    with InProcess(rig):  # state folder and ledger are free
        pass


def test_a_second_service_says_that_it_waits_and_that_it_may_be_tried_again(
    rig: Rig, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(StateLock.__init__, "__kwdefaults__", {"wait_s": 0.2})
    with InProcess(rig), pytest.raises(ServiceError, match="in use by another dfld") as problem:
        run_service(rig.config)
    assert exit_code_of(problem.value) is ExitCode.TEMPORARY
    assert "waiting up to 0.2 s" in caplog.text


def test_the_log_level_of_the_configuration_is_kept_to(rig: Rig) -> None:
    rig.tables["service"]["log_level"] = "error"
    with Killable(rig, real=True) as service:
        wait_until((rig.base / "state" / "control.sock").exists, "the service does not run")
        assert service.terminate() == 0
    assert service.said() == ""


def test_a_reload_changes_the_log_level(rig: Rig) -> None:
    before = logging.getLogger().level
    try:
        with InProcess(rig):
            rig.tables["service"]["log_level"] = "error"
            assert main(["reload", "--config", str(rig.config_path)]) == 0
            assert logging.getLogger().level == logging.ERROR
    finally:
        set_level(logging.getLevelName(before))


def test_the_warnings_of_a_configuration_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "config.toml"
    path.write_text("")
    assert main(["check", str(path)]) == 0
    assert "nothing to do" in capsys.readouterr().out
    assert main(["check", str(path), "--json"]) == 0
    assert "nothing to do" in json.loads(capsys.readouterr().out)["warnings"][0]
