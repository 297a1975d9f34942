"""What the control socket can be asked, and the report that answers it.

    status · jobs [states, limit] · job id · retry id [replace, discard_hand_work] · cancel id · quarantine · release id
    pause [inbox] · drain [inbox] · resume [inbox] · scan [inbox, dry_run] · reload · forget name
    verify inbox [repair] · verified [jobs]

Times are Unix seconds, file names text with undecodable bytes as surrogates. How it looks to a person is the
command line's business.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Literal, Protocol
from uuid import uuid4

from core.moves import OtherFileError
from daemon.arrivals.hashing import HashingStoppedError
from daemon.averaging import Averaging
from daemon.config.schema import Config, InboxConfig
from daemon.control.forget import forget, wipe_until_gone
from daemon.control.request import NUMBER_END, Request
from daemon.control.verify import start_verification, verifications
from daemon.errors import ControlError
from daemon.events.event import Notify
from daemon.events.job_events import JobRedone
from daemon.health import Health
from daemon.inboxes.intake import IntakeStatus
from daemon.inboxes.plan import plan_inbox
from daemon.inboxes.running import Inboxes
from daemon.jobs import originals
from daemon.jobs.job_queue import EVERYTHING, JobQueue
from daemon.jobs.kinds.registry import KINDS
from daemon.jobs.running import Running
from daemon.ledger import claims
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Connection, Ledger
from daemon.ledger.transitions import STATES, JobEvent, State, can
from daemon.reports.jobs import JobDetails, JobReport, RetriedJob
from daemon.reports.orders import ForgetReport, PlannedFile, Reloaded, ScanStarted
from daemon.reports.service import CheckReport, HoldReport, InboxReport, LostFootage, RunningReport, ServiceReport
from daemon.reports.verify import ClipVerification, VerificationStarted
from daemon.worker.workspaces import survey_results

JOBS_MAX = 1000
CANCEL_WAIT_S = 15.0
"""A running job of a person to forget gets so long to stop."""
RELEASE_HINT = "put the file back into the inbox yourself: its content is recognised, and its job tried again"


class RunningService(Protocol):
    """The parts of a service that can be asked or steered."""

    config: Config
    ledger: Ledger
    queue: JobQueue
    inboxes: Inboxes
    averaging: Averaging
    health: Health
    notify: Notify
    started_s: float

    def reload(self) -> list[str]: ...

    def recycle_workers(self) -> None: ...

    def stop_reading(self) -> None: ...


class Answers:
    """Answers requests about one service. Called from the socket's threads."""

    def __init__(self, service: RunningService) -> None:
        self._service = service
        self._asked: dict[str, Callable[[Request], object]] = {
            "status": self._status,
            "jobs": self._jobs,
            "job": lambda request: job_details(self._job(request)),
            "retry": self._retry,
            "cancel": self._cancel,
            "quarantine": self._quarantine,
            "release": self._release,
            "pause": lambda request: self._pause(request, "pause"),
            "drain": lambda request: self._pause(request, "drain"),
            "resume": lambda request: self._pause(request, None),
            "scan": self._scan,
            "reload": lambda _request: Reloaded(tuple(self._service.reload())),
            "forget": self._forget,
            "verify": self._verify,
            "verified": self._verified,
        }

    def __call__(self, details: Mapping[str, object]) -> object:
        """Answer one request with a report. Raise DfldError for what is refused."""
        request = Request(details)
        do = request.do
        if not isinstance(do, str) or do not in self._asked:
            raise ControlError(f"asked for {do!r}, expected one of {', '.join(self._asked)}")
        return self._asked[do](request)

    # -- looking

    def _status(self, _request: Request) -> ServiceReport:
        service, now_s = self._service, time.time()
        counts = service.ledger.read(table.state_counts)
        states: Counter[State] = Counter()
        for (_, state), count in counts.items():
            states[state] += count
        return ServiceReport(
            pid=os.getpid(),
            started_s=service.started_s,
            now_s=now_s,
            state="draining" if service.queue.stopping.is_set() else "running",
            pauses=dict(service.queue.pauses()),
            running=tuple(running_report(one, now_s) for one in service.health.running()),
            inboxes=tuple(self._inbox_reports(counts)),
            models=service.averaging.statuses(),
            jobs={state: states[state] for state in STATES},
            checks=tuple(CheckReport(one.name, one.ok, one.detail) for one in service.health.ready()),
        )

    def _inbox_reports(self, counts: Mapping[tuple[str, State], int]) -> Iterator[InboxReport]:
        """Yield the state of each inbox. `counts`: (inbox, state) → jobs in it."""
        service = self._service
        holds, settling, statuses = service.queue.holds(), service.inboxes.settling(), service.inboxes.statuses()
        lost = service.ledger.read(table.lost_footage)
        for inbox in service.config.inboxes:
            status, hold = statuses.get(inbox.name, IntakeStatus()), holds.get(inbox.name)
            yield InboxReport(
                name=inbox.name,
                path=str(inbox.path),
                workspace=str(inbox.workspace),
                up=status.up,
                trouble=status.trouble,
                read_only=status.read_only,
                mode=status.mode,
                pending=status.pending,
                waiting_for=status.waiting_for,
                last_scan_s=status.last_scan_s,
                scan_seconds=status.scan_seconds,
                settling=settling.get(inbox.name, 0),
                held=None if hold is None else HoldReport(hold.kind, hold.message),
                lost_footage=LostFootage(*lost.get(inbox.name, (0, 0.0))),
                jobs={state: counts.get((inbox.name, state), 0) for state in STATES},
            )

    def _jobs(self, request: Request) -> list[JobReport]:
        asked = request.texts("states")
        if wrong := [one for one in asked if one not in list(map(str, STATES))]:
            raise ControlError(f"no job is ever {wrong[0]!r}, expected one of {', '.join(STATES)}")
        states = tuple(map(State, asked)) or STATES
        limit = min(request.number("limit") or JOBS_MAX, JOBS_MAX)
        found = self._service.ledger.read(lambda reader: list(table.jobs(reader, states, limit)))
        return [job_report(job) for job in found]

    def _quarantine(self, _request: Request) -> list[JobReport]:
        return self._jobs(Request({"states": ["quarantined"]}))

    def _scan(self, request: Request) -> ScanStarted | list[PlannedFile]:
        inboxes = self._inboxes(request)
        if not request.flag("dry_run"):
            for inbox in inboxes:
                self._service.inboxes.scan_now(inbox.name)
            return ScanStarted(tuple(inbox.name for inbox in inboxes))
        config, ledger = self._service.config, self._service.ledger
        return [one for inbox in inboxes for one in plan_inbox(inbox, config, ledger)]

    # -- changing

    def _retry(self, request: Request) -> RetriedJob:
        job = self._job(request)
        if job.state is State.RUNNING:
            raise ControlError(f"job {job.id} runs already")
        if can(job.state, JobEvent.RELEASE):
            return RetriedJob(**vars(self._release(request)))
        source = self._inbox(job.inbox).path / os.fsdecode(job.path)
        reads_original = KINDS[job.kind].reads_original
        if reads_original and not source.exists():
            raise ControlError(
                f"job {job.id}: {source} is not there any more; nothing was changed",
                hint=_where_it_is(job, source),
            )
        replaced = self._require_leave_to_replace(job, request)
        discard = str(uuid4()) if request.flag("discard_hand_work") else ""

        def again(writer: Connection) -> None:
            # A done job on purpose once more: from the beginning, whatever it was made with.
            event = JobEvent.REDO if discard or not can(job.state, JobEvent.RETRY) else JobEvent.RETRY
            table.apply(writer, job.id, event, discard=discard)

        self._service.ledger.write(again)
        self._service.queue.wake_idle()
        if replaced:
            message = f"job {job.id}: {os.fsdecode(job.path)} is done once more, as asked for: {replaced}"
            self._service.notify(JobRedone(message, job.inbox, job.id))
        return RetriedJob(**vars(job_report(self._job(request))), replaced=replaced)

    def _require_leave_to_replace(self, job: Job, request: Request) -> str:
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

    def _cancel(self, request: Request) -> JobReport:
        job = self._job(request)
        if not can(job.state, JobEvent.CANCEL):
            raise ControlError(f"job {job.id} is {job.state}: there is nothing to cancel")
        if job.state is State.RUNNING:
            self._service.queue.cancel(job.id)
        else:
            self._service.ledger.write(lambda writer: table.cancel(writer, job.id, now_s=time.time()))
        return job_report(self._job(request))

    def _release(self, request: Request) -> JobReport:
        """Put a quarantined file back into its inbox, where it goes through the gate again."""
        job = self._job(request)
        if not can(job.state, JobEvent.RELEASE):
            raise ControlError(f"job {job.id} is {job.state}, not quarantined")
        end = time.monotonic() + CANCEL_WAIT_S
        while job.original == "to_quarantine" and time.monotonic() < end and not self._service.queue.stopping.wait(0.1):
            job = self._job(request)  # a runner is moving it
        inbox = self._inbox(job.inbox)
        place = Path(os.fsdecode(job.original_path)) if job.original_path is not None else None
        wanted = inbox.path / os.fsdecode(job.path)
        if job.original == "quarantined" and place is not None:
            try:
                originals.put_back(place, wanted, self._service.stop_reading)
            except HashingStoppedError as stop:
                raise ControlError(f"job {job.id}: the service stops; {place} was not put back") from stop
            except OtherFileError as problem:
                raise ControlError(f"job {job.id}: {problem.message}", hint="try it again") from problem
            except OSError as problem:
                if not isinstance(problem, FileNotFoundError) or not os.path.lexists(wanted):  # else: a kill came after
                    why = f"{place} cannot be put back: {problem.strerror}"
                    raise ControlError(f"job {job.id}: {why}; nothing was changed", hint=RELEASE_HINT) from problem
                originals.reason_path(place).unlink(missing_ok=True)
        elif job.original == "to_quarantine" and not os.path.lexists(wanted):
            raise ControlError(
                f"job {job.id}: its original is not in the quarantine yet", hint="try it again in a minute"
            )
        elif not os.path.lexists(wanted):
            why = f"there is nothing to put back: {wanted} was gone before it could be moved"
            raise ControlError(f"job {job.id}: {why}; nothing was changed", hint=RELEASE_HINT)

        def back(writer: Connection) -> None:
            table.apply(writer, job.id, JobEvent.RELEASE)
            claims.forget_files(writer, job.inbox, [job.path])

        self._service.ledger.write(back)
        self._service.inboxes.forget(job.inbox, [job.path])
        return job_report(self._job(request))

    def _pause(self, request: Request, mode: Literal["pause", "drain"] | None) -> dict[str, str]:
        name = request.text("inbox")
        if name is not None:
            self._inbox(name)
        self._service.queue.set_pause(EVERYTHING if name is None else name, mode)
        return dict(self._service.queue.pauses())

    def _forget(self, request: Request) -> ForgetReport:
        name = request.text("name")
        if name is None:
            raise ControlError("forget needs the name of an inbox")
        inbox = next((one for one in self._service.config.inboxes if one.name == name), None)
        if inbox is not None:  # or its files would be taken again at once
            self._service.queue.set_pause(name, "pause")
        end = time.monotonic() + CANCEL_WAIT_S
        while any(one.inbox == name for one in self._service.health.running()) and time.monotonic() < end:
            self._service.queue.stopping.wait(0.1)
        forgotten, needles = forget(self._service.ledger, name, inbox)
        self._service.recycle_workers()
        if forgotten.remains:
            wipe_until_gone(self._service.ledger, name, needles, self._service.queue.stopping, self._service.notify)
        return ForgetReport(
            name=name,
            removed=forgotten.removed,
            ledger_rows=forgotten.ledger_rows,
            left=forgotten.left,
            remains=forgotten.remains,
            paused=inbox is not None,
        )

    def _verify(self, request: Request) -> VerificationStarted:
        name = request.text("inbox")
        if name is None:
            raise ControlError("verify needs the name of an inbox")
        inbox = self._inbox(name).name
        repair = request.flag("repair")
        started = start_verification(self._service.ledger, inbox, repair=repair, now_s=time.time())
        self._service.queue.wake_idle()
        return started

    def _verified(self, request: Request) -> list[ClipVerification]:
        numbers = [int(one) for one in request.texts("jobs") if one.isdecimal() and int(one) < NUMBER_END]
        return verifications(self._service.ledger, numbers)

    # -- finding

    def _job(self, request: Request) -> Job:
        number = request.number("id")
        job = None
        if number is not None:
            job = self._service.ledger.read(lambda reader: table.job_by_id(reader, number))
        if job is None:
            raise ControlError(f"there is no job {number!r}", hint="`dfld jobs` lists them")
        return job

    def _inbox(self, name: str) -> InboxConfig:
        names = [inbox.name for inbox in self._service.config.inboxes]
        for inbox in self._service.config.inboxes:
            if inbox.name == name:
                return inbox
        raise ControlError(f"there is no inbox {name!r}, expected one of {', '.join(names)}")

    def _inboxes(self, request: Request) -> list[InboxConfig]:
        name = request.text("inbox")
        return list(self._service.config.inboxes) if name is None else [self._inbox(name)]


def _where_it_is(job: Job, source: Path) -> str:
    """Return the remedy for a job whose original has left the inbox."""
    place = Path(os.fsdecode(job.original_path)) if job.original_path is not None else None
    if place is not None and place != source and os.path.lexists(place):
        return f"it lies in {place}: move it back to {source}, then try again"
    if job.original == "deleted":
        return 'it was deleted when the job was done (on_done = "delete"): put a copy into the inbox'
    return "put the file back into the inbox: its content is recognised under any name"


def running_report(one: Running, now_s: float) -> RunningReport:
    """Return the job in hand with its speed and the time that is left. Pure."""
    spent_s = now_s - one.working_since_s if one.working_since_s else 0.0
    frames = one.frames_done - one.frames_at_start
    rate = frames / spent_s if spent_s > 0 and frames > 0 else None
    left = None if one.frames_total is None else max(0, one.frames_total - one.frames_done)
    return RunningReport(
        job=one.job,
        inbox=one.inbox,
        path=one.path,
        phase=one.phase,
        since_s=one.since_s,
        frames_done=one.frames_done,
        frames_total=one.frames_total,
        faces_kept=one.faces_kept,
        faces_rejected=one.faces_rejected,
        faces_undecided=one.faces_undecided,
        frames_at_start=one.frames_at_start,
        working_since_s=one.working_since_s,
        moved_s=one.moved_s,
        held=one.held,
        job_kind=one.kind,
        unit=one.unit,
        frames_per_s=rate,
        faces_per_s=one.faces_kept / one.frames_done * rate if rate and one.frames_done else None,
        eta_s=left / rate if rate and left is not None else None,
    )


def job_report(job: Job) -> JobReport:
    """Return what a list says of a job: without its report and sidecar, which are long. Pure."""
    return JobReport(
        id=job.id,
        inbox=job.inbox,
        path=os.fsdecode(job.path),
        kind=job.source_kind,
        job_kind=job.kind,
        subject=job.subject,
        sha256=job.sha256,
        size_bytes=job.size_bytes,
        identity=job.file_state,
        workspace=job.workspace,
        role=job.role,
        slug=job.slug,
        priority=job.priority,
        rank=job.rank,
        state=job.state,
        reason=job.reason,
        message=job.message,
        hint=job.hint,
        attempts=job.attempts,
        deaths=job.deaths,
        death_frame=job.death_frame,
        not_before_s=job.not_before_s,
        arrived_s=job.arrived_s,
        started_s=job.started_s,
        finished_s=job.finished_s,
        basis=job.basis,
        next_frame=job.next_frame,
        last_pts=job.last_pts,
        counts=json.loads(job.counts),
        frames_total=job.frames_total,
        original=job.original,
        original_path=None if job.original_path is None else os.fsdecode(job.original_path),
        verdict=job.verdict,
        missing_s=job.missing_s,
        missing_share=job.missing_share,
        mark=job.mark,
        discard=job.discard,
    )


def job_details(job: Job) -> JobDetails:
    """Return everything that is known of a job. Pure."""
    return JobDetails(
        **vars(job_report(job)),
        report=json.loads(job.report) if job.report else None,
        sidecar=json.loads(job.sidecar) if job.sidecar else {},
        request=json.loads(job.request) if job.request else {},
    )
