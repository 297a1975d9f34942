"""Arrivals in the ledger: from a complete file's content to its job. Functions of a connection.

Content decides, never a name: the same content in the same inbox finds its job again, and the inbox says what then
happens. `files` holds what lies in the inboxes and was handled. Everything runs inside one transaction of
`Ledger.write`; nothing here looks at the disk or a clock.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal

from daemon.ledger import members
from daemon.ledger.jobs import OF_ITS_FILE, Job, Kind, apply, fetched, job_by_id, job_of_content
from daemon.ledger.members import Member
from daemon.ledger.transitions import (
    HAS_LEFT,
    UNFINISHED,
    UNSUCCESSFUL,
    Action,
    JobEvent,
    State,
    can,
    next_of,
    sql_list,
    states_with,
)

ClaimOutcome = Literal["queued", "again", "known", "moved", "duplicate", "reprocess", "supersedes", "back", "refused"]

AGEING_S = 600.0
"""Waiting so long is worth one step of priority: nothing starves, and ten minutes hardly reorder a day's work."""


@dataclass(frozen=True)
class Arrival:
    """A complete file or folder, as the gate let it through and the hasher read it."""

    kind: str
    """Of the job that it becomes: daemon.jobs.kinds."""
    inbox: str
    path: bytes
    source_kind: Kind
    file_state: str
    """Inode, size and time of what was read: another one, another file."""
    sha256: str
    size_bytes: int
    arrived_s: float
    workspace: str
    role: Literal["src", "dst"]
    slugs: Sequence[str]
    """Names to try, best first; the first that no other content uses in this workspace is taken."""
    priority: int
    sidecar: str = ""
    skip: bool = False
    members: tuple[Member, ...] = ()
    """Its files as they were read."""
    mark: str = ""
    """See daemon.arrivals.hashing.mark_of."""
    supersedes: int | None = None
    """A job whose source lacks footage, and of whose source this is a longer copy."""


@dataclass(frozen=True)
class Claim:
    """What the ledger made of an arrival."""

    outcome: ClaimOutcome
    job: Job
    message: str = ""


def rank(arrived_s: float, priority: int) -> float:
    """Return the place in the queue, smallest first: arrival, moved ahead by `AGEING_S` for each step of priority.

    Equal to "priority plus one for every ten minutes waited, highest first", without ever being recomputed.
    """
    return arrived_s - priority * AGEING_S


def claim(
    connection: sqlite3.Connection,
    arrival: Arrival,
    *,
    now_s: float,
    on_duplicate: Literal["skip", "reprocess", "quarantine"],
    earlier_is_there: bool,
) -> Claim:
    """Given an arrival, find or make its job.

    `earlier_is_there` says whether the file that the content's job was claimed from is still in place: if not,
    the job follows the content to its new name.
    """
    job = job_of_content(connection, arrival.inbox, arrival.sha256)
    whole = _whole_of_part(connection, arrival) if job is None else None
    if whole is not None and whole.state in UNSUCCESSFUL:  # nothing came of it: the part is what there is
        connection.execute("DELETE FROM parts WHERE inbox = ? AND sha256 = ?", (arrival.inbox, arrival.sha256))
    elif whole is not None:
        _remember(connection, arrival, whole.id, "duplicate", now_s)
        return Claim(
            "duplicate", whole, f"it is a part of {os.fsdecode(whole.path)}, which is {whole.state}, and may be deleted"
        )
    if (job is None or job.state in UNSUCCESSFUL) and (part := _superseded(connection, arrival)) is not None:
        if job is not None:  # a whole copy once more that nothing came of, and whose part was done anew meanwhile
            connection.execute("UPDATE parts SET job = ? WHERE job = ?", (part.id, job.id))
            connection.execute("DELETE FROM jobs WHERE id = ?", (job.id,))
        return _supersede(connection, arrival, part, now_s)
    if job is None:
        return _claim_new(connection, arrival, now_s, in_place_of=whole)
    known = connection.execute(
        "SELECT 1 FROM files WHERE inbox = ? AND path = ? AND job = ?", (arrival.inbox, arrival.path, job.id)
    ).fetchone()
    if known and job.state is not State.GONE and job.original not in HAS_LEFT:
        _remember(connection, arrival, job.id, "taken" if job.path == arrival.path else "duplicate", now_s)
        if job.path == arrival.path:
            connection.execute("UPDATE jobs SET file_state = ? WHERE id = ?", (arrival.file_state, job.id))
            members.remember(connection, job.id, arrival.members)
        to_go = on_duplicate == "quarantine" and job.path != arrival.path
        if to_go and (earlier_is_there or job.state not in UNFINISHED):  # a stop or a kill came before it went
            return Claim("duplicate", job, f"the same content as {os.fsdecode(job.path)} of job {job.id}")
        return Claim("known", fetched(connection, job.id))
    if job.state in UNFINISHED and not earlier_is_there:
        _follow(connection, arrival, job.id)
        _remember(connection, arrival, job.id, "taken", now_s)
        return Claim("moved", fetched(connection, job.id), "the job goes on under this new name")
    if can(job.state, JobEvent.RETURN):
        _follow(connection, arrival, job.id)
        _remember(connection, arrival, job.id, "taken", now_s)
        apply(connection, job.id, JobEvent.RETURN)
        return Claim("again", fetched(connection, job.id), f"it was {job.state}, and is tried again")
    if on_duplicate == "reprocess" and job.state is State.DONE:
        _follow(connection, arrival, job.id)
        _remember(connection, arrival, job.id, "taken", now_s)
        apply(connection, job.id, JobEvent.REDO)
        return Claim("reprocess", fetched(connection, job.id), "it is done, and is done once more (on_duplicate)")
    if job.path == arrival.path and on_duplicate != "quarantine":
        return _back_in_inbox(connection, arrival, job, now_s)
    _remember(connection, arrival, job.id, "duplicate", now_s)
    return Claim(
        "duplicate", job, f"it has the same content as {os.fsdecode(job.path)} of job {job.id}, which is {job.state}"
    )


def _back_in_inbox(connection: sqlite3.Connection, arrival: Arrival, job: Job, now_s: float) -> Claim:
    """The original of a job that ended lies under its name again: a retry finds it as it is now."""
    connection.execute("UPDATE jobs SET file_state = ? WHERE id = ?", (arrival.file_state, job.id))
    members.remember(connection, job.id, arrival.members)
    _remember(connection, arrival, job.id, "taken", now_s)
    hint = f"`dfld jobs retry {job.id} --replace` does it once more"
    return Claim("back", fetched(connection, job.id), f"it is back in the inbox, and {job.state} already; {hint}")


def _claim_new(
    connection: sqlite3.Connection, arrival: Arrival, now_s: float, *, in_place_of: Job | None = None
) -> Claim:
    """Make a job. `in_place_of`: a job of which nothing came, and whose results and name this one takes over."""
    event, reason, message, hint = JobEvent.ARRIVE, "", "", ""
    if arrival.skip:
        event, reason, message = JobEvent.SKIP, "sidecar_skip", "its sidecar says skip = true"
    elif arrival.role == "dst" and (other := holder_of_dst(connection, arrival.workspace)):
        event, reason = JobEvent.REFUSE, "workspace_taken"
        message, hint = workspace_taken(arrival.workspace, other)
    before = _changed_before(connection, arrival)
    if in_place_of is not None and _has_its_slug(in_place_of, arrival):
        before = in_place_of.id
    slug = next(
        (slug for slug in arrival.slugs if not _slug_taken(connection, arrival, slug)),
        f"{arrival.slugs[0]}-{arrival.sha256[:12]}",
    )
    if before is not None:
        slug = take_over_slug(connection, before)
    state, actions = next_of(None, event)
    row = connection.execute(
        "INSERT INTO jobs (kind, inbox, path, source_kind, sha256, size_bytes, file_state, workspace, role, slug,"
        " sidecar, priority, rank, state, reason, message, hint, arrived_s, finished_s, mark)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) RETURNING id",
        (
            arrival.kind,
            arrival.inbox,
            arrival.path,
            arrival.source_kind,
            arrival.sha256,
            arrival.size_bytes,
            arrival.file_state,
            arrival.workspace,
            arrival.role,
            slug,
            arrival.sidecar,
            arrival.priority,
            rank(arrival.arrived_s, arrival.priority),
            state,
            reason,
            message,
            hint,
            arrival.arrived_s,
            now_s if Action.NOTE_END in actions else None,
            arrival.mark,
        ),
    ).fetchone()
    _remember(connection, arrival, row[0], "taken", now_s)
    members.remember(connection, row[0], arrival.members)
    return Claim("queued" if state in UNFINISHED else "refused", fetched(connection, row[0]), message)


def parts(connection: sqlite3.Connection, inbox: str, smaller_than: int) -> list[tuple[int, str]]:
    """Return (job, mark) of the videos of an inbox that lack footage and are smaller: a whole copy may come of each."""
    rows = connection.execute(
        f"SELECT id, mark FROM jobs WHERE inbox = ? AND state IN {sql_list(State.DONE)} AND verdict = 'lost footage'"
        " AND mark != ''"
        " AND size_bytes < ? ORDER BY size_bytes DESC",
        (inbox, smaller_than),
    )
    return [(row[0], row[1]) for row in rows]


def _whole_of_part(connection: sqlite3.Connection, arrival: Arrival) -> Job | None:
    row = connection.execute(
        "SELECT job FROM parts WHERE inbox = ? AND sha256 = ?", (arrival.inbox, arrival.sha256)
    ).fetchone()
    return fetched(connection, row[0]) if row else None


def _superseded(connection: sqlite3.Connection, arrival: Arrival) -> Job | None:
    if arrival.supersedes is None or arrival.skip:
        return None
    job = job_by_id(connection, arrival.supersedes)
    return job if job is not None and job.verdict == "lost footage" and can(job.state, JobEvent.REPLACE) else None


def _supersede(connection: sqlite3.Connection, arrival: Arrival, part: Job, now_s: float) -> Claim:
    """Put the longer copy in the place of its part: one clip, one job, one set of faces, under the names it has."""
    connection.execute("INSERT INTO parts (inbox, sha256, job) VALUES (?, ?, ?)", (arrival.inbox, part.sha256, part.id))
    connection.execute(
        "UPDATE jobs SET sha256 = ?, size_bytes = ?, mark = ?, verdict = '', missing_s = NULL, missing_share = NULL,"
        " frames_total = NULL, arrived_s = ? WHERE id = ?",
        (arrival.sha256, arrival.size_bytes, arrival.mark, arrival.arrived_s, part.id),
    )
    _follow(connection, arrival, part.id)
    apply(connection, part.id, JobEvent.REPLACE)
    if part.path != arrival.path:
        question = "UPDATE files SET outcome = 'duplicate' WHERE inbox = ? AND path = ?"
        connection.execute(question, (arrival.inbox, part.path))
    _remember(connection, arrival, part.id, "taken", now_s)
    message = (
        f"it holds more of the recording than {os.fsdecode(part.path)} did: the job is done anew, its faces take the "
        "place of the part's; manual changes stay"
    )
    return Claim("supersedes", fetched(connection, part.id), message)


def take_over_slug(connection: sqlite3.Connection, job_id: int) -> str:
    """Take the slug from a job whose results another job replaces, and return it for that one.

    What lies under the slug goes over with it: the new job's run clears the results before it writes, and manual
    changes of them hold for the new content, too (engine.results.manual_changes).
    """
    row = connection.execute("SELECT slug, sha256 FROM jobs WHERE id = ?", (job_id,)).fetchone()
    connection.execute("UPDATE jobs SET slug = ? WHERE id = ?", (_slug_without_results(job_id, row[1]), job_id))
    return str(row[0])


def pass_on_slug(connection: sqlite3.Connection, job: Job) -> None:
    """Give the slug of a job whose file changed to the job that its new content has got, unless that began."""
    row = connection.execute(
        "SELECT id FROM jobs WHERE inbox = ? AND path = ? AND workspace = ? AND role = ? AND id > ? AND basis = ''"
        f" AND state IN {sql_list(*states_with(JobEvent.START))} AND {OF_ITS_FILE} ORDER BY id LIMIT 1",
        (job.inbox, job.path, job.workspace, job.role, job.id),
    ).fetchone()
    if row:
        connection.execute("UPDATE jobs SET slug = ? WHERE id = ?", (take_over_slug(connection, job.id), row[0]))


def _changed_before(connection: sqlite3.Connection, arrival: Arrival) -> int | None:
    """Return the job of what lay at this path before it changed under dfld's hands; None where nothing did."""
    row = connection.execute(
        f"SELECT id FROM jobs WHERE inbox = ? AND path = ? AND workspace = ? AND role = ? AND {OF_ITS_FILE}"
        f" AND state IN {sql_list(State.GONE)} AND reason = 'changed'"
        " AND slug NOT GLOB 'gone-*' ORDER BY id DESC LIMIT 1",
        (arrival.inbox, arrival.path, arrival.workspace, arrival.role),
    ).fetchone()
    return int(row[0]) if row else None


def _has_its_slug(job: Job, arrival: Arrival) -> bool:
    place = (job.workspace, job.role) == (arrival.workspace, arrival.role)
    return place and job.slug != _slug_without_results(job.id, job.sha256)


def _slug_without_results(job_id: int, sha256: str) -> str:
    """Return the slug of a job whose own another job has taken over."""
    return f"gone-{sha256[:12]}-{job_id}"


def _slug_taken(connection: sqlite3.Connection, arrival: Arrival, slug: str) -> bool:
    """Say whether another content has this slug, or one that differs in capitals only: Windows and macOS see no
    difference between such names, and faces are copied there."""
    place = (arrival.workspace, arrival.role, slug)
    row = connection.execute(
        f"SELECT 1 FROM jobs WHERE workspace = ? AND role = ? AND slug = ? COLLATE NOCASE AND {OF_ITS_FILE}", place
    ).fetchone()
    return bool(row)


def holder_of_dst(connection: sqlite3.Connection, workspace: str, before: int | None = None) -> int | None:
    """Return the job whose frames a dst workspace holds or is going to; None when it is free.

    `before`: the job that asks; of several that only wait, the first has the workspace.
    """
    row = connection.execute(
        f"SELECT id FROM jobs WHERE workspace = :workspace AND role = 'dst' AND {OF_ITS_FILE}"
        " AND id != coalesce(:before, 0) AND"
        f" (state IN {sql_list(State.RUNNING, State.DONE)} OR"
        f" state IN {sql_list(*states_with(JobEvent.START))} AND id < coalesce(:before, id + 1)) ORDER BY id",
        {"workspace": workspace, "before": before},
    ).fetchone()
    return int(row[0]) if row else None


def workspace_taken(workspace: str, other: int) -> tuple[str, str]:
    """Return the sentence and the remedy for a dst clip whose workspace has another clip's frames."""
    return (
        f"the workspace {workspace} already holds the frames of another dst clip (job {other}); "
        "DeepFaceLab's merger has room for one clip a workspace, since its frames are named by number alone",
        f"give this clip an inbox with a workspace of its own, then `dfld jobs retry`; or cancel job {other}",
    )


def _follow(connection: sqlite3.Connection, arrival: Arrival, job_id: int) -> None:
    connection.execute(
        "UPDATE jobs SET path = ?, file_state = ?, sidecar = ?, priority = ?, rank = ? WHERE id = ?",
        (
            arrival.path,
            arrival.file_state,
            arrival.sidecar,
            arrival.priority,
            rank(arrival.arrived_s, arrival.priority),
            job_id,
        ),
    )
    members.remember(connection, job_id, arrival.members)


def _remember(connection: sqlite3.Connection, arrival: Arrival, job_id: int, outcome: str, now_s: float) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO files (inbox, path, file_state, sha256, outcome, job, seen_s)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        (arrival.inbox, arrival.path, arrival.file_state, arrival.sha256, outcome, job_id, now_s),
    )


def known_files(connection: sqlite3.Connection, inbox: str, *, without: str = "") -> dict[bytes, str]:
    """Return path → file state of everything in the inbox that was handled, without those of one outcome."""
    rows = connection.execute("SELECT path, file_state FROM files WHERE inbox = ? AND outcome != ?", (inbox, without))
    return {row[0]: row[1] for row in rows}


def forget_files(connection: sqlite3.Connection, inbox: str, paths: Collection[bytes]) -> None:
    """Drop files that a scan no longer finds, so that the same name can arrive anew."""
    connection.executemany("DELETE FROM files WHERE inbox = ? AND path = ?", [(inbox, path) for path in paths])


def other_paths(connection: sqlite3.Connection, job: Job) -> list[bytes]:
    """Return the other names in the inbox that hold the same content."""
    rows = connection.execute("SELECT path FROM files WHERE job = ? AND path != ?", (job.id, job.path))
    return [row[0] for row in rows]
