"""The child that reads the pictures of a workspace: what becomes of its death."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

from daemon.crew.contract import WorkerSaidError
from daemon.errors import WorkerError
from daemon.worker.workspaces import Clip, remove_faces

CLIPS = [Clip("/ws", "src", "clip")]


def program(folder: Path, script: str) -> str:
    """Return a program that stands for Python."""
    path = folder / "python"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(("how", "tracebacks"), [("exit 1", 1), ("kill -9 $$", 0)], ids=["of an error", "by a signal"])
def test_all_that_a_child_said_last_is_kept_and_an_error_that_nobody_foresaw_is_logged(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    how: str,
    tracebacks: int,
) -> None:
    says = "echo 'Traceback (most recent call last):' >&2; echo '  line 7' >&2; echo 'KeyError: 5' >&2; "
    monkeypatch.setattr(sys, "executable", program(tmp_path, says + how))
    with caplog.at_level(logging.ERROR), pytest.raises(WorkerError, match="KeyError: 5") as death:
        remove_faces(CLIPS)
    assert isinstance(death.value.__cause__, WorkerSaidError)
    assert "Traceback (most recent call last):\n  line 7\nKeyError: 5" in str(death.value.__cause__)
    assert len([record for record in caplog.records if record.exc_info]) == tracebacks
    assert not tracebacks or "line 7" in caplog.text
