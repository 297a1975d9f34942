"""What has to be done next once a job has ended: asked of its kind, and queued together with its end."""

from __future__ import annotations

import os
from collections.abc import Sequence

from daemon.config.schema import Config, InboxConfig
from daemon.jobs.kinds.contract import FollowUp, JobKind
from daemon.ledger import jobs as table
from daemon.ledger.claims import rank
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Connection
from daemon.ledger.transitions import UNFINISHED


def queue_follow_ups(
    writer: Connection, kind: JobKind, job_id: int, inbox: InboxConfig, config: Config, *, now_s: float
) -> Sequence[Job]:
    """Queue what follows from the end of a job of this kind; return it. In the transaction that ends the job.

    What a person asked for and is not done yet stays as it was asked for: it is done after this end in any case.
    """
    job = table.job_by_id(writer, job_id)
    if job is None:
        return ()
    place = rank(now_s, inbox.priority)
    return [
        table.queue_about(writer, one.kind, one.subject, request=one.request, rank=place, now_s=now_s)
        for one in kind.follow_ups(writer, job, inbox, config)
        if not _is_asked_for(writer, one)
    ]


def sentence_of(job: Job) -> str:
    """Say of a job that follows from another one that it waits: `job 7 (mask) of clip.mp4 is queued`."""
    return f"job {job.id} ({job.kind}) of {os.fsdecode(job.path)} is queued"


def _is_asked_for(writer: Connection, one: FollowUp) -> bool:
    pending = table.job_about(writer, one.kind, one.subject.id)
    return pending is not None and pending.state in UNFINISHED and pending.request not in ("", one.request)
