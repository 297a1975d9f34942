"""The child that reads the pictures of a workspace: what becomes of its death."""

from __future__ import annotations

import logging
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from daemon.crew.contract import WorkerSaidError
from daemon.errors import WorkerError
from daemon.ledger.faces import WrittenFace
from daemon.ledger.jobs import Job
from daemon.worker.workspaces import (
    Clip,
    RemovedFaces,
    clear_results,
    clip_of,
    missing_faces,
    remove_faces,
    survey_results,
)

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


@pytest.mark.parametrize("answer", ["nonsense", "[]", '{"some": []}', '{"removed": 5}'])
def test_an_answer_that_is_none_is_the_childs_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    monkeypatch.setattr(sys, "executable", program(tmp_path, f"cat > /dev/null; echo '{answer}'"))
    with pytest.raises(WorkerError, match="answered"):
        remove_faces(CLIPS)


def test_the_child_answers_each_request(tmp_path: Path) -> None:
    values = dict.fromkeys((one.name for one in fields(Job)), "")
    job = Job(**{**values, "workspace": str(tmp_path), "role": "src", "slug": "clip"})  # type: ignore[arg-type]
    for folder in ("aligned", "review"):
        (tmp_path / "data_src" / folder).mkdir(parents=True)
    assert survey_results(job) is None
    clear_results(job)
    assert missing_faces(job, [WrittenFace("", "gone.jpg")]) == ["gone.jpg"]
    assert remove_faces([clip_of(job)]) == RemovedFaces()
