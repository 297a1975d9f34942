"""What an extraction leaves in the ledger piece by piece: faces, cursor and counts. Functions of a connection.

Every function that changes something runs inside one transaction of `Ledger.write`: faces and cursor move together.
"""

from __future__ import annotations

import json
import sqlite3
from collections import Counter
from dataclasses import asdict

from daemon.ledger import faces
from daemon.ledger.jobs import Job, apply, require_attempt
from daemon.ledger.totals import add_totals
from daemon.ledger.transitions import JobEvent
from engine.types import Commit, Counts, Cursor, Resume


def resume_of(connection: sqlite3.Connection, job: Job) -> Resume | None:
    """Return what earlier commits of this job left; None when there were none."""
    if not job.next_frame:
        return None
    cursor, counts = Cursor(job.next_frame, job.last_pts), Counts(**json.loads(job.counts))
    return Resume(cursor, faces.records_of(connection, job.id), counts, job.carry)


def store_commit(connection: sqlite3.Connection, job_id: int, attempt: int, commit: Commit) -> None:
    """Add the faces of one finished piece and move the cursor, together; deaths before it count no more.

    Raise StaleAttemptError for an attempt that another one has followed.

    Faces that the end of the clip revised get their final row. The totals of outcomes only grow: such a face counts
    under what it was taken for and under what it ended as.
    """
    faces.add_faces(connection, job_id, commit.records)
    were_kept = faces.revise_faces(connection, job_id, commit.revised)
    inbox, counts = connection.execute("SELECT inbox, counts FROM jobs WHERE id = ?", (job_id,)).fetchone()
    before = Counts(**json.loads(counts))
    ended = (*commit.records, *(face for _, face in commit.revised))
    amounts = Counter(f"faces_{face.reason}" for face in ended)
    amounts["frames_decoded"] = commit.counts.frames_decoded - before.frames_decoded
    amounts["packets_damaged"] = commit.counts.packets_damaged - before.packets_damaged
    amounts["faces_written"] = sum(face.kept for face in ended) - were_kept
    add_totals(connection, inbox, amounts)
    apply(
        connection,
        job_id,
        JobEvent.COMMIT,
        attempt=attempt,
        next_frame=commit.cursor.next_frame,
        last_pts=commit.cursor.last_pts,
        counts=json.dumps(asdict(commit.counts)),
        carry=commit.carry,
    )


def start_over(connection: sqlite3.Connection, job: Job, basis: str) -> None:
    """Forget the cursor and faces of a job, because what made them (`basis`) is not what runs now.

    Raise StaleAttemptError for an attempt that another one has followed.
    """
    require_attempt(connection, job)
    faces.forget_faces(connection, job.id)
    connection.execute(
        "UPDATE jobs SET next_frame = 0, last_pts = NULL, counts = '{}', carry = '', basis = ? WHERE id = ?",
        (basis, job.id),
    )
