"""The threads that run jobs, one at a time each. Which job is next says `daemon.jobs.job_queue`.

A slot is the boundary of its jobs: what nobody foresaw is logged with its traceback, that job fails, and the next one
starts; where the runner cannot fail it, it is failed in the ledger alone. A slot is the boundary of its own turns, too,
in which it asks for a job.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

from core.boundary import boundary, log_unforeseen
from core.errors import DfldError
from daemon.config.schema import Config, InboxConfig
from daemon.errors import LedgerError
from daemon.events.event import Notify
from daemon.events.job_events import JobFailed
from daemon.events.service_events import LedgerFailed
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.kinds.contract import Failure
from daemon.jobs.runner import STUCK_S, Runner
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Connection, Ledger, LedgerUnavailableError

ASK_EVERY_S = 2.0
"""Jobs that wait for a time or for space are asked for this often; new ones wake the slots at once."""
PAUSE_S = 2.0
"""Between a turn that failed, for the ledger's sake or another's, and the next one."""


class Slot:
    """A thread that runs jobs, one at a time."""

    def __init__(
        self,
        number: int,
        queue: JobQueue,
        runner: Runner,
        ledger: Ledger,
        notify: Notify,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runner = runner
        self.thread = threading.Thread(target=self._run, name=f"slot-{number}")
        self.retired = threading.Event()
        """Set when a reload lowered the number of workers: the slot ends after the running job."""
        self._queue = queue
        self._ledger = ledger
        self._notify = notify
        self._monotonic = monotonic
        self._turned_s = monotonic()
        """When the slot last asked for work, on the monotonic clock."""

    def is_stuck(self) -> bool:
        """Say whether this thread hangs, with a running job or without one. Any thread."""
        if self.runner.running is not None:
            return self.runner.is_stuck()
        last_s = max(self._turned_s, self.runner.last_turned_s)
        return self.thread.is_alive() and self._monotonic() - last_s > STUCK_S

    def _run(self) -> None:
        try:
            while not (self._queue.stopping.is_set() or self.retired.is_set()):
                self._turned_s = self._monotonic()
                with boundary("thread", self.thread.name, self._turn_failed):
                    self._turn()
        finally:
            self.runner.close()

    def _turn(self) -> None:
        """Run the next job; where there is none, wait for one."""
        self.runner.recycle_if_asked()
        started = self._queue.next()
        if started is not None:
            self._work(*started)
            return
        with self._queue.wake:
            self._queue.wake.wait(ASK_EVERY_S)

    def _turn_failed(self, error: Exception) -> None:
        """Report what a boundary does not log, and wait: the next turn may meet the same."""
        if isinstance(error, LedgerError):
            if not isinstance(error, LedgerUnavailableError):  # of those the service says why
                self._notify(LedgerFailed(error.message))
        elif isinstance(error, DfldError):  # foreseen elsewhere, not here
            log_unforeseen("thread", self.thread.name, error)
        self._queue.stopping.wait(PAUSE_S)

    def _work(self, job: Job, inbox: InboxConfig, config: Config) -> None:
        try:
            with (
                boundary(
                    "job",
                    f"the end of job {job.id}",
                    lambda error: self._fail_in_ledger(job, unforeseen(error)),
                    passing=(LedgerError,),
                    job=job.id,
                    inbox=inbox.name,
                ),
                boundary(
                    "job",
                    f"job {job.id}",
                    lambda error: self.runner.fail(job, inbox, config, unforeseen(error)),
                    passing=(LedgerError,),
                    job=job.id,
                    inbox=inbox.name,
                ),
            ):
                self.runner.run(job, inbox, config, lambda: self._queue.request_for(job))
        except LedgerError as problem:
            self._notify(LedgerFailed(problem.message, inbox.name, job.id))
            self.runner.drop_worker(job)  # it may wait for an answer that it never gets
            self._queue.stopping.wait(PAUSE_S)  # the next attempt may meet the same
            self._write(lambda writer: table.give_back(writer, job))
        finally:
            self._queue.over(job)

    def _fail_in_ledger(self, job: Job, failure: Failure) -> None:
        """Fail a job that the runner could not even fail: given back, it would break the next turn in the same way."""
        failed: list[bool] = []
        self._write(
            lambda writer: failed.append(
                table.fail(writer, job, time.time(), failure.reason, failure.message, failure.hint)
            )
        )
        if failed[-1:] == [True]:  # else its outcome stands in the ledger, or the service stops
            file = os.fsdecode(job.path)
            text = f"job {job.id}: {file} is failed: {failure.message}"
            self._notify(JobFailed(text, job.inbox, job.id, reason=failure.reason, hint=failure.hint, file=file))

    def _write(self, step: Callable[[Connection], object]) -> None:
        """Write what becomes of a job whose outcome was not written, once the ledger takes it."""
        while not self._queue.stopping.is_set():
            self._turned_s = self._monotonic()
            try:
                self._ledger.write(step)
            except LedgerError:
                self._queue.stopping.wait(PAUSE_S)
            else:
                return


def unforeseen(error: Exception) -> Failure:
    """Return what an error that broke the service's own part of a job means for it: nobody knows whether it passes."""
    what = error.message if isinstance(error, DfldError) else f"{type(error).__name__}: {error}"
    hint = "the service's log has its traceback; `dfld jobs retry` tries the job again"
    return Failure("setup", "unforeseen", f"an error that nobody foresaw: {what}", hint)
