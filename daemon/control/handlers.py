"""What the control socket can be asked, and the report that answers it.

    status · jobs [states, limit] · job id · retry id [replace, discard_hand_work] · cancel id · quarantine · release id
    pause [inbox] · drain [inbox] · resume [inbox] · scan [inbox, dry_run] · reload · forget name
    verify inbox [repair] · verified [jobs, faces] · mask, curate: workspace role [asked]

Times are Unix seconds, file names text with undecodable bytes as surrogates. How it looks to a person is the
command line's business.
"""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Literal

from daemon.control.describe import job_details, job_report, running_report
from daemon.control.faceset_orders import ORDERS, order
from daemon.control.forget import forget, wipe_until_gone
from daemon.control.job_orders import cancel, release, retry
from daemon.control.request import NUMBER_END, Request
from daemon.control.running_service import RunningService, inbox_of, inboxes_of, job_of
from daemon.control.verify import start_verification, verifications
from daemon.errors import ControlError
from daemon.inboxes.intake import IntakeStatus
from daemon.inboxes.plan import plan_inbox
from daemon.jobs.job_queue import EVERYTHING
from daemon.ledger import jobs as table
from daemon.ledger.transitions import STATES, State
from daemon.reports.jobs import JobReport
from daemon.reports.orders import ForgetReport, PlannedFile, Reloaded, ScanStarted
from daemon.reports.service import CheckReport, HoldReport, InboxReport, LostFootage, ServiceReport
from daemon.reports.verify import ClipVerification, VerificationStarted

JOBS_MAX = 1000
CANCEL_WAIT_S = 15.0
"""A running job of a person to forget gets so long to stop."""


class Answers:
    """Answers requests about one service. Called from the socket's threads."""

    def __init__(self, service: RunningService) -> None:
        self._service = service
        self._asked: dict[str, Callable[[Request], object]] = {
            "status": self._status,
            "jobs": self._jobs,
            "job": lambda request: job_details(job_of(self._service, request)),
            "retry": lambda request: retry(self._service, request),
            "cancel": lambda request: cancel(self._service, request),
            "quarantine": self._quarantine,
            "release": lambda request: release(self._service, request),
            "pause": lambda request: self._pause(request, "pause"),
            "drain": lambda request: self._pause(request, "drain"),
            "resume": lambda request: self._pause(request, None),
            "scan": self._scan,
            "reload": lambda _request: Reloaded(tuple(self._service.reload())),
            "forget": self._forget,
            "verify": self._verify,
            "verified": self._verified,
            **{do: partial(self._faceset_order, do) for do in ORDERS},
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
        inboxes = inboxes_of(self._service, request)
        if not request.flag("dry_run"):
            for inbox in inboxes:
                self._service.inboxes.scan_now(inbox.name)
            return ScanStarted(tuple(inbox.name for inbox in inboxes))
        config, ledger = self._service.config, self._service.ledger
        return [one for inbox in inboxes for one in plan_inbox(inbox, config, ledger)]

    # -- changing

    def _pause(self, request: Request, mode: Literal["pause", "drain"] | None) -> dict[str, str]:
        name = request.text("inbox")
        if name is not None:
            inbox_of(self._service, name)
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
        inbox = inbox_of(self._service, name).name
        repair = request.flag("repair")
        started = start_verification(self._service.ledger, inbox, repair=repair, now_s=time.time())
        self._service.queue.wake_idle()
        return started

    def _faceset_order(self, do: str, request: Request) -> JobReport | None:
        workspace, role = request.text("workspace"), request.text("role")
        if workspace is None or role is None:
            raise ControlError(f"{do} needs a workspace and a role, src or dst")
        service, asked = self._service, request.table("asked")
        job = order(service.ledger, service.config, do, workspace, role, asked, now_s=time.time())
        service.queue.wake_idle()
        return None if job is None else job_report(job)

    def _verified(self, request: Request) -> list[ClipVerification]:
        numbers = [int(one) for one in request.texts("jobs") if one.isdecimal() and int(one) < NUMBER_END]
        return verifications(self._service.ledger, numbers, with_faces=request.flag("faces"))
