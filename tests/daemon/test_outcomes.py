"""Outcomes of a job: what an attempt that another one has followed may no longer do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from daemon.jobs import outcomes as module
from daemon.jobs.kinds.registry import KINDS
from daemon.jobs.outcomes import Outcomes
from daemon.jobs.tidying import Tidier
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.jobs import Job, StaleAttemptError
from daemon.ledger.ledger import Ledger
from daemon.ledger.transitions import JobEvent
from tests.daemon_rig import Rig

CLIP = Arrival(
    inbox="alice",
    path=b"clip.mp4",
    kind="extract",
    source_kind="video",
    file_state="i1",
    sha256="c" * 64,
    size_bytes=5,
    arrived_s=1.0,
    workspace="/ws",
    role="src",
    slugs=("clip",),
    priority=5,
)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    one = Ledger(tmp_path / "ledger.db")
    yield one
    one.close()


def started(ledger: Ledger) -> Job:
    job = ledger.write(lambda writer: table.start_next(writer, now_s=2.0, inboxes=["alice"], longest_wait_s=60.0))
    assert job is not None
    return job


def test_an_attempt_that_another_one_has_followed_removes_no_results_when_its_file_changed(
    ledger: Ledger, rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    cleared: list[int] = []
    config = rig.config
    configured = config.inboxes[0], config
    monkeypatch.setattr(module, "clear_results", lambda job: cleared.append(job.attempt))
    tidier = Tidier(ledger, lambda _event: None, lambda _inbox, _paths: None, KINDS)
    outcomes = Outcomes(
        ledger,
        lambda _event: None,
        tidier,
        lambda _inbox, _paths: None,
        stopping=threading.Event(),
        turn=lambda: None,
    )
    ledger.write(lambda writer: claim(writer, CLIP, now_s=1.0, on_duplicate="skip", earlier_is_there=True))
    first = started(ledger)
    ledger.write(lambda writer: table.apply(writer, first.id, JobEvent.STOP, attempt=first.attempt))
    second = started(ledger)
    with pytest.raises(StaleAttemptError):
        outcomes.redo(first, KINDS["extract"], *configured)
    assert cleared == [], "the results are those of the second attempt"
    outcomes.redo(second, KINDS["extract"], *configured)
    assert cleared == [second.attempt]
