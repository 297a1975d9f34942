"""Jobs in the ledger: choosing the next, beginning, ending. Functions of a connection.

A job is one content (by hash) in one inbox, for ever: the same content met again finds its job. Every function
that changes something runs inside one transaction of `Ledger.write`. Nothing here looks at the disk or a clock. Which
state follows which is the table of `daemon.ledger.transitions`; `apply` alone changes a state.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

from daemon.errors import LedgerError
from daemon.ledger.totals import add_totals
from daemon.ledger.transitions import (
    STATES,
    TO_TIDY,
    Action,
    JobEvent,
    Original,
    State,
    can,
    next_of,
    sql_list,
    states_with,
)

Kind = Literal["video", "folder"]


READY = (
    f"state IN {sql_list(*states_with(JobEvent.START))} AND NOT (not_before_s > :now_s AND not_before_s <= :latest_s)"
    f" AND NOT EXISTS (SELECT 1 FROM jobs AS other WHERE other.state IN {sql_list(State.RUNNING)}"
    " AND (other.id = jobs.subject OR other.subject = jobs.id"
    " OR (other.workspace = jobs.workspace AND other.role = jobs.role"
    " AND (jobs.kind IN (SELECT value FROM json_each(:alone)) OR other.kind IN (SELECT value FROM json_each(:alone))))"
    "))"
)
"""A job may start unless its time lies ahead by no more than the longest wait; further ahead than that only a clock
that was set back can have put it. It never runs beside the job that it is about, nor beside one that is about it; one
of a kind that has a faceset for itself, beside none of the same side of the workspace."""

OF_ITS_FILE = "subject IS NULL"
"""A job that is about its own file, not about another job: there is one for each content and one for each slug."""

OF_THE_TABLE = frozenset({"state", "attempt"})
"""Columns that follow from events alone."""

_CHANGES: Mapping[Action, Mapping[str, object]] = {
    Action.CLEAR_REASON: {"reason": "", "message": "", "hint": ""},
    Action.CLEAR_DEATHS: {"deaths": 0, "death_frame": None},
    Action.CLEAR_FAILURES: {"attempts": 0, "deaths": 0, "death_frame": None, "not_before_s": 0.0},
    Action.WAIT_NO_LONGER: {"not_before_s": 0.0},
    Action.REOPEN: {"finished_s": None, "discard": ""},
    Action.FORGET_CURSOR: {"basis": "again", "report": "", "next_frame": 0, "last_pts": None, "started_s": None},
    Action.DROP_CARRY: {"carry": ""},
    Action.ORIGINAL_IN_INBOX: {"original": Original.IN_INBOX, "original_path": None},
    Action.ORIGINAL_TO_QUARANTINE: {"original": Original.TO_QUARANTINE, "original_path": None},
}
"""What an action sets, where that does not hang on the job or the time."""


class NoTransitionError(LedgerError):
    """What was to happen to a job cannot happen in the state that it is in; nothing was changed."""


class StaleAttemptError(LedgerError):
    """Whoever speaks for a job does an attempt that another one has followed; nothing was changed."""


@dataclass(frozen=True)
class Job:
    """One row of `jobs`."""

    id: int
    kind: str
    """Of job: daemon.jobs.kinds."""
    subject: int | None
    """The job that it is about; None: it is about its own file."""
    request: str
    """JSON of what was asked for; its kind says what."""
    attempt: int
    """How often it was started; whoever does an earlier attempt may not change it any more."""
    inbox: str
    path: bytes
    source_kind: Kind
    sha256: str
    size_bytes: int
    file_state: str
    """Inode, size and time of the file when it was claimed: another one, another file."""
    workspace: str
    role: Literal["src", "dst"]
    slug: str
    sidecar: str
    priority: int
    rank: float
    state: State
    reason: str
    message: str
    hint: str
    attempts: int
    deaths: int
    death_frame: int | None
    not_before_s: float
    arrived_s: float
    started_s: float | None
    finished_s: float | None
    basis: str
    next_frame: int
    last_pts: int | None
    counts: str
    carry: str
    frames_total: int | None
    report: str
    original: Original
    original_path: bytes | None
    verdict: str
    missing_s: float | None
    missing_share: float | None
    mark: str
    discard: str
    """Name of the order to discard manual changes when the job is done once more; "" = they stay."""


def job_by_id(connection: sqlite3.Connection, job_id: int) -> Job | None:
    row = connection.execute("SELECT * FROM jobs WHERE id = ?", (job_id,)).fetchone()
    return _job(row) if row else None


def fetched(connection: sqlite3.Connection, job_id: int) -> Job:
    """Return a job whose row this transaction made or changed: it is there."""
    job = job_by_id(connection, job_id)
    assert job is not None, "a row of this transaction"
    return job


def job_of_content(connection: sqlite3.Connection, inbox: str, sha256: str) -> Job | None:
    question = f"SELECT * FROM jobs WHERE inbox = ? AND sha256 = ? AND {OF_ITS_FILE}"
    row = connection.execute(question, (inbox, sha256)).fetchone()
    return _job(row) if row else None


def jobs(connection: sqlite3.Connection, states: Collection[State] = STATES, limit: int = -1) -> Iterator[Job]:
    """Return jobs in these states, first in the queue first."""
    marks = ", ".join("?" * len(states))
    rows = connection.execute(
        f"SELECT * FROM jobs WHERE state IN ({marks}) ORDER BY rank, id LIMIT ?", (*states, limit)
    )
    return map(_job, rows)


def apply(
    connection: sqlite3.Connection,
    job_id: int,
    event: JobEvent,
    *,
    now_s: float = 0.0,
    attempt: int | None = None,
    **values: object,
) -> State | None:
    """Let an event happen to a job: its next state and what goes with it, as the table of transitions says.

    `attempt`: the one that whoever says so does. `values` are further columns, which win; state and attempt are the
    table's alone. Return the new state, None for a job that is not there any more. Raise NoTransitionError where the
    event cannot happen to a job in its state, StaleAttemptError where another attempt has begun, ValueError where
    `values` name the state.
    """
    _require_free(values)
    question = "SELECT state, inbox, attempt, started_s FROM jobs WHERE id = ?"
    row = connection.execute(question, (job_id,)).fetchone()
    if row is None:
        return None
    if attempt is not None:
        _require_attempt(job_id, attempt, row["attempt"])
    before = State(row["state"])
    if not can(before, event):
        raise NoTransitionError(f"job {job_id} is {before}: {event} cannot happen to it; nothing was changed")
    state, actions = next_of(before, event)
    changes: dict[str, object] = {"state": state}
    for action in actions:
        changes |= _CHANGES.get(action, {})
    if Action.BEGIN_ATTEMPT in actions:
        changes["attempt"] = row["attempt"] + 1
    if Action.NOTE_START in actions:
        changes["started_s"] = now_s if row["started_s"] is None else row["started_s"]
    if Action.NOTE_END in actions:
        changes["finished_s"] = now_s
    if Action.COUNT_END in actions:
        add_totals(connection, row["inbox"], {f"jobs_{state}": 1})
    _set(connection, job_id, {**changes, **values})
    return state


def start_next(
    connection: sqlite3.Connection,
    *,
    now_s: float,
    inboxes: Collection[str],
    longest_wait_s: float,
    alone: Collection[str] = (),
) -> Job | None:
    """Take the job that is next among these inboxes and mark it running; None when none may start now.

    `alone`: kinds of jobs that have the faceset of a workspace for themselves.

    Inboxes with fewer running jobs go first, so that a thousand files dropped into one leave the others their worker;
    among equals the smallest rank. No job waits longer than `longest_wait_s` from `now_s`, whatever the clock did.
    """
    running = dict.fromkeys(inboxes, 0)
    question = f"SELECT inbox, count(*) FROM jobs WHERE state IN {sql_list(State.RUNNING)} GROUP BY inbox"
    for inbox, count in connection.execute(question):
        if inbox in running:
            running[inbox] = count
    row = None
    for count in sorted(set(running.values())):
        equals = [inbox for inbox, its_count in running.items() if its_count == count]
        row = (
            row
            or connection.execute(
                f"SELECT id FROM jobs WHERE {READY} AND {_OF_THESE} ORDER BY rank, id LIMIT 1",
                _ready_values(now_s, longest_wait_s, alone, equals),
            ).fetchone()
        )
    if row is None:
        return None
    apply(connection, row[0], JobEvent.START, now_s=now_s)
    return fetched(connection, row[0])


def any_ready(
    connection: sqlite3.Connection,
    *,
    now_s: float,
    inboxes: Collection[str],
    longest_wait_s: float,
    alone: Collection[str] = (),
) -> bool:
    """Say whether `start_next` would find a job; nothing is written."""
    row = connection.execute(
        f"SELECT 1 FROM jobs WHERE {READY} AND {_OF_THESE} LIMIT 1",
        _ready_values(now_s, longest_wait_s, alone, inboxes),
    ).fetchone()
    return row is not None


_OF_THESE = "inbox IN (SELECT value FROM json_each(:inboxes))"


def _ready_values(
    now_s: float, longest_wait_s: float, alone: Collection[str], inboxes: Collection[str]
) -> dict[str, object]:
    """Return the values of the parameters that `READY` and `_OF_THESE` have."""
    return {
        "now_s": now_s,
        "latest_s": now_s + longest_wait_s,
        "alone": json.dumps(list(alone)),
        "inboxes": json.dumps(list(inboxes)),
    }


def require_attempt(connection: sqlite3.Connection, job: Job) -> None:
    """Raise StaleAttemptError where another attempt at the job has begun than the one that `job` was started for."""
    row = connection.execute("SELECT attempt FROM jobs WHERE id = ?", (job.id,)).fetchone()
    if row is not None:
        _require_attempt(job.id, job.attempt, row[0])


def _require_attempt(job_id: int, attempt: int, now: int) -> None:
    if attempt != now:
        raise StaleAttemptError(
            f"job {job_id}: attempt {attempt} is over, attempt {now} has followed it; what it says is refused"
        )


def give_back(connection: sqlite3.Connection, job: Job) -> None:
    """Put a job whose attempt nobody does any more back into the queue.

    A job that does not run, and one of which another attempt has begun, stays as it is.
    """
    with suppress(NoTransitionError, StaleAttemptError):
        apply(connection, job.id, JobEvent.GIVE_BACK, attempt=job.attempt)


def fail(connection: sqlite3.Connection, job: Job, now_s: float, reason: str, message: str, hint: str) -> bool:
    """End a job that runs as failed, and nothing else; say whether it was done.

    A job that does not run, and one of which another attempt has begun, stays as it is.
    """
    why = {"reason": reason, "message": message, "hint": hint}
    try:
        return apply(connection, job.id, JobEvent.FAIL, now_s=now_s, attempt=job.attempt, **why) is not None
    except (NoTransitionError, StaleAttemptError):
        return False


def update(connection: sqlite3.Connection, job_id: int, **values: object) -> None:
    """Set columns of one job. Raise ValueError for state and attempt: those only `apply` changes."""
    _require_free(values)
    _set(connection, job_id, values)


def _require_free(values: Mapping[str, object]) -> None:
    if named := sorted(OF_THE_TABLE & values.keys()):
        raise ValueError(f"{' and '.join(named)} of a job: the table of transitions alone sets it; nothing was changed")


def _set(connection: sqlite3.Connection, job_id: int, values: Mapping[str, object]) -> None:
    """Set columns of one job. Text may hold file names that are no text: SQLite takes them escaped."""
    columns = ", ".join(f"{name} = ?" for name in values)
    kept = [_as_utf_8(value) if isinstance(value, str) else value for value in values.values()]
    connection.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*kept, job_id))


def _as_utf_8(text: str) -> str:
    return text.encode(errors="backslashreplace").decode()


def cancel(connection: sqlite3.Connection, job_id: int, *, now_s: float, attempt: int | None = None) -> None:
    """End a job because an operator said so. Raise NoTransitionError for one that ended already."""
    message = "cancelled by the operator"
    apply(connection, job_id, JobEvent.CANCEL, now_s=now_s, attempt=attempt, reason="cancelled", message=message)


def interrupted_to_queue(connection: sqlite3.Connection) -> int:
    """Put jobs that a dead service left running back into the queue; return how many. Jobs that wait wait no longer."""
    found = list(jobs(connection, states_with(JobEvent.SERVICE_DIED)))
    states = [apply(connection, job.id, JobEvent.SERVICE_DIED) for job in found]
    return states.count(State.QUEUED)


def job_about(connection: sqlite3.Connection, kind: str, subject_id: int) -> Job | None:
    """Return the job of a kind about another job; None where there is none."""
    row = connection.execute("SELECT * FROM jobs WHERE kind = ? AND subject = ?", (kind, subject_id)).fetchone()
    return _job(row) if row else None


def queue_about(
    connection: sqlite3.Connection, kind: str, subject: Job, *, request: str, rank: float, now_s: float
) -> Job:
    """Queue a job of a kind about another job: from its beginning, also where it was done before.

    One that runs already for the same request goes on as it is. Raise NoTransitionError where one runs for another
    request; nothing was changed.
    """
    found = job_about(connection, kind, subject.id)
    if found is None:
        state, _ = next_of(None, JobEvent.ARRIVE)
        row = connection.execute(
            "INSERT INTO jobs (kind, subject, inbox, path, source_kind, sha256, size_bytes, file_state, workspace,"
            " role, slug, sidecar, priority, rank, state, arrived_s, original)"
            " SELECT ?, id, inbox, path, source_kind, sha256, size_bytes, file_state, workspace, role, slug, '', 0, ?,"
            " ?, ?, ? FROM jobs WHERE id = ? RETURNING id",
            (kind, rank, state, now_s, Original.KEPT, subject.id),
        ).fetchone()
        found = fetched(connection, row[0])
    if found.state is State.RUNNING and found.request != request:
        raise NoTransitionError(f"job {found.id} ({kind}) runs for another request; nothing was changed")
    if found.state is not State.RUNNING:
        apply(connection, found.id, JobEvent.REDO, request=request, rank=rank, arrived_s=now_s, original=Original.KEPT)
        update(connection, found.id, path=subject.path, workspace=subject.workspace, role=subject.role)
        update(connection, found.id, slug=subject.slug, frames_total=None, counts="{}", carry="")
    return fetched(connection, found.id)


def requeue_failed(connection: sqlite3.Connection, reasons: Collection[str]) -> int:
    """Put jobs that failed for these reasons back into the queue; return how many."""
    found = [job.id for job in jobs(connection, states_with(JobEvent.SETUP_CHANGED)) if job.reason in reasons]
    for job_id in found:
        apply(connection, job_id, JobEvent.SETUP_CHANGED)
    return len(found)


def jobs_to_tidy(connection: sqlite3.Connection) -> list[Job]:
    """Return ended jobs whose original still has to be moved, deleted or quarantined."""
    return [
        _job(row)
        for row in connection.execute(f"SELECT * FROM jobs WHERE original IN {sql_list(*TO_TIDY)} ORDER BY id")
    ]


def state_counts(connection: sqlite3.Connection) -> dict[tuple[str, State], int]:
    """Return (inbox, state) → number of jobs."""
    return {
        (row[0], State(row[1])): row[2]
        for row in connection.execute("SELECT inbox, state, count(*) FROM jobs GROUP BY inbox, state")
    }


def lost_footage(connection: sqlite3.Connection) -> dict[str, tuple[int, float]]:
    """Return inbox → number of sources that lack footage and have no whole copy yet, and s known to be missing."""
    rows = connection.execute(
        "SELECT inbox, count(*), coalesce(sum(missing_s), 0.0) FROM jobs WHERE verdict = 'lost footage' GROUP BY inbox"
    )
    return {row[0]: (row[1], row[2]) for row in rows}


def counts_of_done(connection: sqlite3.Connection, kind: str) -> dict[str, dict[str, int]]:
    """Return inbox → what the jobs of a kind that are done counted, together."""
    found: dict[str, Counter[str]] = {}
    question = f"SELECT inbox, counts FROM jobs WHERE kind = ? AND state IN {sql_list(State.DONE)}"
    for inbox, counts in connection.execute(question, (kind,)):
        found.setdefault(inbox, Counter()).update(json.loads(counts))
    return {inbox: dict(counts) for inbox, counts in found.items()}


def oldest_queued_s(connection: sqlite3.Connection) -> dict[str, float]:
    """Return inbox → arrival of its oldest file that waits. What waits to be done about one is no file: a curation may
    wait for days until a trainer ends."""
    which = f"state IN {sql_list(*states_with(JobEvent.START))} AND {OF_ITS_FILE}"
    rows = connection.execute(f"SELECT inbox, min(arrived_s) FROM jobs WHERE {which} GROUP BY inbox")
    return {row[0]: row[1] for row in rows}


def last_done_s(connection: sqlite3.Connection) -> dict[str, float]:
    """Return inbox → when its last job was done."""
    which = f"state IN {sql_list(State.DONE)} AND {OF_ITS_FILE}"
    rows = connection.execute(f"SELECT inbox, max(finished_s) FROM jobs WHERE {which} GROUP BY inbox")
    return {row[0]: row[1] for row in rows}


def _job(row: sqlite3.Row) -> Job:
    return Job(**{**dict(row), "state": State(row["state"]), "original": Original(row["original"])})
