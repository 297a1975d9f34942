"""One job from claim to outcome: through a worker, its commits into the ledger, its end reported.

A `Runner` belongs to one thread. Its workers, one for all kinds of jobs that need the same, it asks the crew for when
there is work, replaces when they die, grow or hang, and ends. The service itself never opens a video: what a file can
do to a process it does to the worker.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace

from core.boundary import log_unforeseen
from daemon.arrivals.hashing import HashingStoppedError
from daemon.config.schema import Config, InboxConfig
from daemon.crew.contract import Crew, Link, WorkerDiedError, WorkerSaidError
from daemon.crew.kept_links import KeptLinks
from daemon.crew.messages import OtherVersionError
from daemon.errors import WorkerError
from daemon.events.event import Notify
from daemon.events.job_events import JobStarted, JobWarning
from daemon.events.service_events import WorkerEnded, WorkerReplaced
from daemon.jobs.conversation import (
    LOAD_LIMIT_S,
    Conversation,
    Done,
    Request,
    RunState,
    StoppedError,
    WorkerEndedError,
)
from daemon.jobs.disk import DiskGuard
from daemon.jobs.kinds.contract import Failure, JobKind
from daemon.jobs.outcomes import Outcomes
from daemon.jobs.running_job import Running
from daemon.jobs.tidying import Tidier
from daemon.ledger.jobs import Job, NoTransitionError, StaleAttemptError
from daemon.ledger.ledger import Ledger

STUCK_S = 60.0
"""A runner goes round four times a second; one that did not for so long hangs, and systemd has to know."""
FAILED_STARTS_MAX = 5
"""So many workers in a row that end before a job can begin, as they start or load models: then the job waits."""


class Runner:
    """Runs one job after another. Its methods belong to one thread; `running`, `is_stuck` and `abandon` to any."""

    def __init__(
        self,
        *,
        slot: int,
        kinds: Mapping[str, JobKind],
        ledger: Ledger,
        guard: DiskGuard,
        notify: Notify,
        tidier: Tidier,
        crew: Crew,
        on_originals_gone: Callable[[str, list[bytes]], None],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        stopping: threading.Event | None = None,
    ) -> None:
        """`stopping`: set when the service stops, what interrupts the reading of an original that is moved or deleted.

        `on_originals_gone(inbox, paths)`: these files left the inbox, or have to go through the gate again."""
        self.recycle = threading.Event()
        """Set by any thread: all workers are replaced before the next job, with what they keep in mind."""
        self._kinds = kinds
        self._ledger = ledger
        self._guard = guard
        self._notify = notify
        self._workers = KeptLinks(crew, slot)
        self._wall = wall
        self._stopping = stopping or threading.Event()
        self._state = RunState(monotonic)
        self._outcomes = Outcomes(
            ledger, notify, tidier, on_originals_gone, wall, stopping=self._stopping, turn=self._turn_while_finishing
        )
        self._abandoned = threading.Event()

    @property
    def running(self) -> Running | None:
        """The running job. Any thread."""
        return self._state.running

    @property
    def last_turned_s(self) -> float:
        """When the runner last went round or was idle, on the monotonic clock; it ends hanging workers itself."""
        return self._state.last_turned_s

    def run(self, job: Job, inbox: InboxConfig, config: Config, request: Callable[[], Request]) -> None:
        """Do one job as far as it goes, and write down how it ended. Raise LedgerError when that cannot be done.

        `request()`: what somebody wants of the job at that moment.
        """
        kind = self._kinds[job.kind]
        path = os.fsdecode(job.path)
        self._state.running = Running(job.id, inbox.name, path, "trying", self._wall(), kind=kind.name, unit=kind.unit)
        self._state.turned()
        self._report_started(job, kind)
        try:
            self._run(job, kind, inbox, config, request)
        except (StaleAttemptError, NoTransitionError) as problem:  # another attempt began, or the job was ended
            self._replace_worker(kind, "stopped")
            self._notify(JobWarning(problem.message, job.inbox, job.id))
        finally:
            self._state.running = None
            self._state.turned()

    def is_stuck(self) -> bool:
        """Say whether the runner itself hangs; a worker that hangs is its own business. Any thread."""
        running = self.running
        if running is None:
            return False
        limit = LOAD_LIMIT_S if running.phase == "finishing" else STUCK_S
        return self._state.monotonic() - self.last_turned_s > limit

    def abandon(self) -> None:
        """Kill the worker under the running job, for good; the only method that another thread may call to end it.

        A job that had no worker yet at that moment gets none: it goes back to the queue.
        """
        self._abandoned.set()
        self._workers.kill_all()

    def close(self, reason: str = "stopped") -> None:
        """End the workers."""
        for _ in range(self._workers.close_all()):
            self._notify(WorkerEnded(f"a worker was ended ({reason})", reason=reason))

    def drop_worker(self, job: Job) -> None:
        """End the worker in the middle of a job that is given back: it may wait for an answer. Its own thread."""
        self._replace_worker(self._kinds[job.kind], "stopped")

    def fail(self, job: Job, inbox: InboxConfig, config: Config, failure: Failure) -> None:
        """End a job that broke the runner itself, with its worker: nobody knows what state that is in."""
        kind = self._kinds[job.kind]
        self._replace_worker(kind, "crashed")
        self._outcomes.failed(job, kind, inbox, config, failure)

    def _run(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, request: Callable[[], Request]) -> None:
        if kind.reads_original and not self._outcomes.source_ready(job, kind, inbox, config):
            return
        now_s = self._wall()
        order = self._ledger.read(lambda reader: kind.request(job, inbox, config, reader, now_s=now_s))
        if isinstance(order, Failure):
            self._outcomes.failed(job, kind, inbox, config, order)
            return
        try:
            link = self._ready_link(kind, config)
            ended = Conversation(
                link=link,
                job=job,
                kind=kind,
                config=config,
                workspace=inbox.workspace,
                request=request,
                ledger=self._ledger,
                guard=self._guard,
                notify=self._notify,
                state=self._state,
                stopping=self._stopping,
                make_room=lambda: self._drop_idle(kind, config),
                wall=self._wall,
            ).hold(order)
        except StoppedError as stopped:
            if not stopped.worker_is_free:
                self._replace_worker(kind, "stopped")
            self._outcomes.interrupted(job, kind, inbox, config, stopped.request)
        except WorkerDiedError as death:
            self._log_last_words(job, death)
            self._worker_failed(job, kind, inbox, config, death)
        except OtherVersionError as problem:  # the program was replaced under the service: no file is to blame
            self._replace_worker(kind, "crashed")
            failure = Failure("setup", "version", problem.message, problem.hint)
            self._outcomes.failed(job, kind, inbox, config, failure)
        except WorkerError as problem:
            self._worker_failed(job, kind, inbox, config, problem)
        else:
            self._ended(job, kind, inbox, config, ended)

    def _turn_while_finishing(self) -> None:
        self._state.turned()
        if self._stopping.is_set():
            raise HashingStoppedError

    def _finish(self) -> None:
        """From here on the original may be moved, which ends with the disk's own long sync."""
        self._state.change(lambda one: replace(one, phase="finishing"))

    def _ended(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, ended: Done | Failure) -> None:
        self._finish()
        if isinstance(ended, Failure):
            self._failed(job, kind, inbox, config, ended)
        else:
            self._done(job, kind, inbox, config, ended)
        worker = self._workers.find(kind.needs)
        if worker is not None:
            worker.jobs_done += 1
            if worker.jobs_done >= config.limits.worker_recycle_videos:
                self._replace_worker(kind, "recycled")

    def _failed(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, failure: Failure) -> None:
        blames_file = kind.reads_original and failure.outlook in ("file", "incomplete")
        if not blames_file or self._outcomes.source_ready(job, kind, inbox, config):
            self._outcomes.failed(job, kind, inbox, config, failure)
        if failure.reason in ("memory", "gpu"):
            self._replace_worker(kind, failure.reason)

    def _done(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, done: Done) -> None:
        ending = kind.ending(job, done.result)
        if not ending.completed:
            self._outcomes.interrupted(job, kind, inbox, config, "stop")
        elif kind.reads_original and (ending.source_changed or self._outcomes.changed(job, inbox, config)):
            self._outcomes.redo(job, kind, inbox, config)
        else:
            self._outcomes.done(job, kind, inbox, config, done.result)

    def recycle_if_asked(self) -> None:
        if self.recycle.is_set():
            self.recycle.clear()
            for _ in range(self._workers.drop_all()):
                self._report_replaced("recycled")

    def _ready_link(self, kind: JobKind, config: Config) -> Link:
        """Return a worker for a job of this kind. Raise StoppedError when the runner was abandoned."""
        if self._abandoned.is_set():
            raise StoppedError("stop", worker_is_free=False)
        kept = self._workers.find(kind.needs)
        if kept is not None and not kept.link.is_alive:
            self._replace_worker(kind, "crashed")
            kept = None
        self._state.worker_has_spoken = kept is not None
        worker = self._workers.use(kind.needs, config.limits.worker_memory_bytes)
        if self._abandoned.is_set():  # `abandon` may have come before there was a link that it could kill
            raise StoppedError("stop", worker_is_free=False)
        return worker.link

    def _replace_worker(self, kind: JobKind, reason: str) -> None:
        """End the worker for jobs of this kind, if there is one."""
        if self._workers.drop(kind.needs):
            self._report_replaced(reason)

    def _drop_idle(self, kind: JobKind, config: Config) -> None:
        """Keep all workers of this slot within what one may use: idle ones go before the running job is blamed."""
        for _ in range(self._workers.drop_idle_above(config.limits.worker_memory_bytes, busy=kind.needs)):
            self._report_replaced("recycled")

    def _report_replaced(self, reason: str) -> None:
        message = f"a worker was ended ({reason}); the next job that needs it gets a new one"
        self._notify(WorkerReplaced(message, reason=reason))

    @staticmethod
    def _log_last_words(job: Job, death: WorkerDiedError) -> None:
        """Log a worker that ended itself: of an error that nobody foresaw, whose traceback is what it said last."""
        if not death.signal:
            death.__cause__ = WorkerSaidError(death.last_words)
            log_unforeseen("job", f"job {job.id}: its worker", death, job=job.id, inbox=job.inbox)

    def _worker_failed(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, problem: WorkerError) -> None:
        """The worker died, was ended, or cannot even be started: blame the file, the machine, or nobody."""
        is_death = isinstance(problem, WorkerDiedError)
        is_start = not self._state.worker_has_spoken or (is_death and self._state.phase == "loading")
        self._replace_worker(kind, problem.reason if isinstance(problem, WorkerEndedError) else "crashed")
        self._finish()
        if is_start:
            self._start_failed(job, kind, inbox, config, problem.message)
            return
        killed_by = problem.signal if isinstance(problem, WorkerDiedError) else 0
        self._outcomes.died(job, kind, inbox, config, problem.message, frame=self._frame(), killed_by=killed_by)

    def _start_failed(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, message: str) -> None:
        """The worker ended before a job could begin: that is the machine's fault, and no file's."""
        self._state.failed_starts += 1
        if self._state.failed_starts < FAILED_STARTS_MAX:
            self._outcomes.interrupted(job, kind, inbox, config, "stop", message)
            return
        failure = Failure("passing", "worker_start", message, "see the log for what it said last")
        self._outcomes.failed(job, kind, inbox, config, failure)

    def _frame(self) -> int:
        return self.running.frames_done if self.running else 0

    def _report_started(self, job: Job, kind: JobKind) -> None:
        again = f"; it goes on at {kind.unit[:-1]} {job.next_frame}" if job.next_frame else ""
        message = f"job {job.id}: {os.fsdecode(job.path)} is worked on{again}"
        self._notify(
            JobStarted(
                message,
                job.inbox,
                job.id,
                file=os.fsdecode(job.path),
                cursor=job.next_frame,
                waited_s=self._wall() - job.arrived_s,
                is_arrival=kind.reads_original,
            )
        )
