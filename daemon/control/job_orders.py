"""What an operator can order about one job: try it again, cancel it, put its quarantined file back."""

from __future__ import annotations

import os
import time
from pathlib import Path
from uuid import uuid4

from core.move_and_delete import OtherFileError
from daemon.arrivals.hashing import HashingStoppedError
from daemon.control.describe import job_report
from daemon.control.request import Request
from daemon.control.running_service import RunningService, inbox_of, job_of
from daemon.errors import ControlError
from daemon.events.job_events import JobRedone
from daemon.jobs import originals
from daemon.jobs.follow_ups import queue_follow_ups
from daemon.jobs.kinds.registry import KINDS
from daemon.ledger import claims
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Connection
from daemon.ledger.transitions import JobEvent, Original, State, can
from daemon.reports.jobs import JobReport, RetriedJob
from daemon.worker.workspaces import survey_results

MOVE_WAIT_S = 15.0
"""An original on its way into the quarantine is waited for so long."""
RELEASE_HINT = "put the file back into the inbox yourself: its content is recognised, and its job tried again"


def retry(service: RunningService, request: Request) -> RetriedJob:
    """Put a job back into the queue; a quarantined one is released, a done one is done once more."""
    job = job_of(service, request)
    if job.state is State.RUNNING:
        raise ControlError(f"job {job.id} runs already")
    if can(job.state, JobEvent.RELEASE):
        return RetriedJob(**vars(release(service, request)))
    source = inbox_of(service, job.inbox).path / os.fsdecode(job.path)
    reads_original = KINDS[job.kind].reads_original
    if reads_original and not source.exists():
        raise ControlError(
            f"job {job.id}: {source} is not there any more; nothing was changed",
            hint=_where_it_is(job, source),
        )
    replaced = _require_leave_to_replace(job, request)
    discard = str(uuid4()) if request.flag("discard_hand_work") else ""

    def again(writer: Connection) -> None:
        # A done job on purpose once more: from the beginning, whatever it was made with.
        event = JobEvent.REDO if discard or not can(job.state, JobEvent.RETRY) else JobEvent.RETRY
        table.apply(writer, job.id, event, discard=discard)

    service.ledger.write(again)
    service.queue.wake_idle()
    if replaced:
        message = f"job {job.id}: {os.fsdecode(job.path)} is done once more, as asked for: {replaced}"
        service.notify(JobRedone(message, job.inbox, job.id))
    return RetriedJob(**vars(job_report(job_of(service, request))), replaced=replaced)


def _require_leave_to_replace(job: Job, request: Request) -> str:
    """Return what goes when a job is done once more. Refuse a done one, saying that, unless it was asked for."""
    discard = request.flag("discard_hand_work")
    if discard and not request.flag("replace"):
        raise ControlError("--discard-hand-work says what --replace removes; it does nothing alone")
    replaces = KINDS[job.kind].reads_original and job.state is State.DONE
    found = survey_results(job) if replaces else None
    if found is not None and not request.flag("replace"):
        raise ControlError(
            f"job {job.id} is done, and {found.holds}; nothing was changed",
            hint=f"`dfld jobs retry {job.id} --replace` does it once more: {found.goes}",
        )
    if found is None:
        return ""
    return found.went_with_changes if discard else found.went


def cancel(service: RunningService, request: Request) -> JobReport:
    job = job_of(service, request)
    if not can(job.state, JobEvent.CANCEL):
        raise ControlError(f"job {job.id} is {job.state}: there is nothing to cancel")
    if job.state is State.RUNNING:
        service.queue.cancel(job.id)
    else:
        _cancel_waiting(service, job)
    return job_report(job_of(service, request))


def _cancel_waiting(service: RunningService, job: Job) -> None:
    """Cancel a job that does not run, and queue what waited for its end alone."""
    now_s = time.time()
    inbox = next((one for one in service.config.inboxes if one.name == job.inbox), None)

    def write(writer: Connection) -> None:
        table.cancel(writer, job.id, now_s=now_s)
        if inbox is not None:
            queue_follow_ups(writer, KINDS[job.kind], job.id, inbox, service.config, now_s=now_s)

    service.ledger.write(write)
    service.queue.wake_idle()


def release(service: RunningService, request: Request) -> JobReport:
    """Put a quarantined file back into its inbox, where it goes through the gate again."""
    job = job_of(service, request)
    if not can(job.state, JobEvent.RELEASE):
        raise ControlError(f"job {job.id} is {job.state}, not quarantined")
    end = time.monotonic() + MOVE_WAIT_S
    while job.original is Original.TO_QUARANTINE and time.monotonic() < end and not service.queue.stopping.wait(0.1):
        job = job_of(service, request)  # a runner is moving it
    inbox = inbox_of(service, job.inbox)
    place = Path(os.fsdecode(job.original_path)) if job.original_path is not None else None
    wanted = inbox.path / os.fsdecode(job.path)
    if job.original is Original.QUARANTINED and place is not None:
        try:
            originals.put_back(place, wanted, service.stop_reading)
        except HashingStoppedError as stop:
            raise ControlError(f"job {job.id}: the service stops; {place} was not put back") from stop
        except OtherFileError as problem:
            raise ControlError(f"job {job.id}: {problem.message}", hint="try it again") from problem
        except OSError as problem:
            if not isinstance(problem, FileNotFoundError) or not os.path.lexists(wanted):  # else: a kill came after
                why = f"{place} cannot be put back: {problem.strerror}"
                raise ControlError(f"job {job.id}: {why}; nothing was changed", hint=RELEASE_HINT) from problem
            originals.reason_path(place).unlink(missing_ok=True)
    elif job.original is Original.TO_QUARANTINE and not os.path.lexists(wanted):
        raise ControlError(f"job {job.id}: its original is not in the quarantine yet", hint="try it again in a minute")
    elif not os.path.lexists(wanted):
        why = f"there is nothing to put back: {wanted} was gone before it could be moved"
        raise ControlError(f"job {job.id}: {why}; nothing was changed", hint=RELEASE_HINT)

    def back(writer: Connection) -> None:
        table.apply(writer, job.id, JobEvent.RELEASE)
        claims.forget_files(writer, job.inbox, [job.path])

    service.ledger.write(back)
    service.inboxes.forget(job.inbox, [job.path])
    return job_report(job_of(service, request))


def _where_it_is(job: Job, source: Path) -> str:
    """Return the remedy for a job whose original has left the inbox."""
    place = Path(os.fsdecode(job.original_path)) if job.original_path is not None else None
    if place is not None and place != source and os.path.lexists(place):
        return f"it lies in {place}: move it back to {source}, then try again"
    if job.original is Original.DELETED:
        return 'it was deleted when the job was done (on_done = "delete"): put a copy into the inbox'
    return "put the file back into the inbox: its content is recognised under any name"
