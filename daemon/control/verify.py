"""`dfld verify INBOX`: a job that reads each clip's faces back, and what these jobs have found so far."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence

from daemon.errors import ControlError
from daemon.jobs.kinds.registry import OF_VERIFICATIONS
from daemon.jobs.kinds.verify import repairs
from daemon.ledger import jobs as table
from daemon.ledger.claims import rank
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Connection, Ledger
from daemon.ledger.transitions import UNFINISHED, JobEvent, State, can
from daemon.reports.verify import ClipNotDone, ClipVerification, FaceFinding, VerificationStarted

PRIORITY = 0
"""What arrives goes first."""
NAMED_MAX = 1000
"""So many clips that are not done are named, begun ones first; all are counted. An answer has a largest size."""


def start_verification(ledger: Ledger, inbox: str, *, repair: bool, now_s: float) -> VerificationStarted:
    """Queue a job for each clip of an inbox that is done; with `repair`, try again what failed.

    A repair that is queued or runs already stays one. Raise ControlError where a clip is being read back without repair
    at this moment and a repair is asked for: the running job would end without it. Nothing was changed then.
    """

    def start(writer: Connection) -> VerificationStarted:
        own = [job for job in table.jobs(writer) if job.inbox == inbox and job.subject is None]
        place = rank(now_s, PRIORITY)
        queued = []
        for job in own:
            if job.state is State.DONE:
                request = _request(writer, job, repair=repair)
                about = table.queue_about(writer, OF_VERIFICATIONS.name, job, request=request, rank=place, now_s=now_s)
                queued.append(about.id)
        failed = [job.id for job in own if job.state is State.FAILED and can(job.state, JobEvent.RETRY)]
        for job_id in failed if repair else ():
            table.apply(writer, job_id, JobEvent.RETRY)
        unfinished = Counter(str(job.state) for job in own if job.state is not State.DONE)
        not_done = sorted((job for job in own if job.state is not State.DONE), key=_is_of_little_interest)[:NAMED_MAX]
        named = tuple(
            ClipNotDone(os.fsdecode(job.path), job.id, str(job.state), job.next_frame, job.frames_total)
            for job in not_done
        )
        return VerificationStarted(inbox, tuple(queued), tuple(failed if repair else ()), dict(unfinished), named)

    return ledger.write(start)


def _is_of_little_interest(job: Job) -> bool:
    """Say whether a clip that is not done has no faces in the workspace, and nobody waits for them."""
    return job.state not in (*UNFINISHED, State.FAILED) and not job.next_frame


def _request(writer: Connection, subject: Job, *, repair: bool) -> str:
    """Return what is asked of the verification of a clip, with what was asked of it before and is not done yet."""
    pending = table.job_about(writer, OF_VERIFICATIONS.name, subject.id)
    if pending is None or pending.state not in UNFINISHED:
        return json.dumps({"repair": repair})
    if repairs(pending):
        return pending.request
    if repair and pending.state is State.RUNNING:
        raise ControlError(
            f"job {pending.id} reads {os.fsdecode(subject.path)} back at this moment, and was not asked to repair; "
            "nothing was changed",
            hint=f"say it again once that job is done, or end it: dfld jobs cancel {pending.id}",
        )
    return json.dumps({"repair": repair})


def verifications(ledger: Ledger, job_ids: Sequence[int], *, with_faces: bool) -> list[ClipVerification]:
    """Return what these jobs have found so far; those that are not there any more are left out.

    `with_faces`: name the faces that are not whole, which may be many; else they are counted alone.
    """

    def read(reader: Connection) -> list[ClipVerification]:
        found = (table.job_by_id(reader, one) for one in job_ids)
        return [verification_of(job, with_faces=with_faces) for job in found if job is not None]

    return ledger.read(read)


def verification_of(job: Job, *, with_faces: bool) -> ClipVerification:
    """Return what a job of kind verify has found so far. Pure."""
    report = json.loads(job.report) if job.report else {}
    named = report.get("findings", json.loads(job.carry or "[]")) if with_faces else ()
    return ClipVerification(
        clip=os.fsdecode(job.path),
        state=str(job.state),
        faces_done=job.next_frame,
        faces_total=job.frames_total,
        counts=json.loads(job.counts),
        findings=tuple(FaceFinding(**one) for one in named),
        message=job.message,
        hint=job.hint,
        job=job.id,
        subject=job.subject,
        redo=bool(report.get("redo")),
    )
