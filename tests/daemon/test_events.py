"""Events have the names and facts that the log, hooks and their readers know, whatever their types are called."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import FrozenInstanceError, fields
from typing import Any, get_args

import pytest

from daemon.config.sync_tables import HookEvent
from daemon.events import inbox_events, job_events, round_events, service_events
from daemon.events.event import COMMON, Event
from daemon.events.inbox_events import FileClaimed
from daemon.events.job_events import JobDone, OriginalKept
from daemon.events.round_events import RoundDone
from daemon.jobs.kinds.verify import VerifyFacts

MODULES = (inbox_events, job_events, round_events, service_events)
KINDS = {
    "clock.jumped": {"seconds"},
    "config.reloaded": {"result"},
    "config.warning": set(),
    "file.claimed": {"outcome", "file", "sha256"},
    "file.passed_over": {"file"},
    "file.unreadable": {"file", "reason"},
    "folder.not_read": {"file", "reason"},
    "forget.done": {"name"},
    "inbox.hinted": {"files"},
    "inbox.not_watched": set(),
    "inbox.overflow": set(),
    "inbox.read_only": set(),
    "inbox.rearmed": {"reason"},
    "inbox.scanned": {"trigger", "seconds", "files"},
    "inbox.slow": set(),
    "inbox.suspended": {"reason"},
    "inbox.up": {"after"},
    "job.cancelled": set(),
    "job.committed": {"similarities", "stage_seconds", "queue_seconds"},
    "job.done": {"seconds", "results"},
    "job.failed": {"reason", "hint", "file"},
    "job.follows": set(),
    "job.gone": {"reason"},
    "job.held": set(),
    "job.interrupted": {"reason"},
    "job.quarantined": {"reason", "hint", "file"},
    "job.redone": set(),
    "job.resumed": {"reason", "deaths", "frame"},
    "job.started": {"file", "cursor", "waited_s", "is_arrival"},
    "job.waits": {"reason", "attempt"},
    "job.warning": set(),
    "ledger.failed": set(),
    "ledger.waits": set(),
    "ledger.works": set(),
    "machine.down": {"model", "machine"},
    "machine.up": {"model", "machine"},
    "original.kept": {"verdict"},
    "original.put_back": set(),
    "original.settled": set(),
    "original.waits": set(),
    "round.abandoned": {"model"},
    "round.decided": {"model"},
    "round.doubted": {"model", "machine"},
    "round.excluded": {"model", "machine"},
    "round.failed": {"model", "round", "outcome", "contributors", "receivers", "excluded", "fenced", "seconds"},
    "round.ok": {"model", "round", "outcome", "contributors", "receivers", "excluded", "fenced", "seconds"},
    "round.poll_failed": {"model"},
    "round.recovered": {"model", "round"},
    "round.waits": {"model"},
    "schedule.trouble": {"schedule"},
    "service.resumed": set(),
    "service.started": {"pid", "port"},
    "service.stopped": set(),
    "service.stopping": set(),
    "worker.ended": {"reason"},
    "worker.replaced": {"reason"},
}
"""Name in the log -> the fields of its line: what people search for, and what hooks get."""


def kinds() -> Iterator[type[Event]]:
    for module in MODULES:
        for one in vars(module).values():
            if isinstance(one, type) and issubclass(one, Event) and one.kind:
                yield one


@pytest.mark.parametrize("kind", list(kinds()), ids=lambda kind: kind.__name__)
def test_a_kind_has_the_name_and_the_facts_that_its_readers_know(kind: type[Event]) -> None:
    facts = {one.name for one in fields(kind)} - set(COMMON)
    if kind.__name__ == "RoundNotDone":  # of a round that has no outcome
        assert facts < KINDS[kind.kind]
    else:
        assert facts == KINDS[kind.kind]


def test_every_name_has_its_type() -> None:
    assert {kind.kind for kind in kinds()} == set(KINDS)
    assert {kind.hook for kind in kinds()} - {""} == set(get_args(HookEvent))


def test_facts_are_what_a_kind_adds() -> None:
    claimed = FileClaimed("new", "alice", 7, outcome="queued", file="a.mp4", sha256="ab")
    assert claimed.facts == {"outcome": "queued", "file": "a.mp4", "sha256": "ab"}
    done = JobDone("done", "alice", 7, seconds=1.5, results=VerifyFacts(3, {"taken out": 1}))
    assert done.facts == {"faces": 3, "taken_out": 1, "seconds": 1.5}
    assert OriginalKept("kept").level == "warning"
    with pytest.raises(FrozenInstanceError):
        claimed.file = "b.mp4"  # type: ignore[misc]


def test_the_facts_of_a_round_are_json() -> None:
    rest: dict[str, Any] = {"excluded": {"gpu3": "away"}, "fenced": {}, "seconds": 2.0}
    done = RoundDone("r", model="sam", round=1, outcome="averaged", contributors=("a",), receivers=(), **rest)
    assert json.loads(json.dumps(done.facts))["contributors"] == ["a"]
