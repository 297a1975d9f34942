"""APScheduler for what recurs: heartbeat, tidying up, and whatever else the service adds.

Memory store, an explicit time zone, no missed run dropped, one run of a job at a time. A job that raises is reported
and runs again next time. APScheduler plans by the wall clock: after a suspend it
oversleeps, and a clock set back by a day would stop every recurring job for that day. So the heartbeat has a thread of
its own that waits on the monotonic clock, reports the jump, and brings every job back to its period.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime

from apscheduler.events import EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler

from core.boundary import boundary
from daemon.events.event import Notify
from daemon.events.service_events import ClockJumped, ScheduleTrouble

HEARTBEAT_S = 30.0
CLOCK_JUMP_S = 60.0
"""A wall clock that moved so much more or less than the monotonic one was set, or the machine slept."""


class Scheduler:
    """Runs functions again and again in threads of its own."""

    def __init__(
        self,
        notify: Notify,
        *,
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._notify = notify
        self._wall = wall
        self._monotonic = monotonic
        self._beat_wall, self._beat_monotonic = wall(), monotonic()
        self._scheduler = BackgroundScheduler(
            timezone=UTC, job_defaults={"misfire_grace_time": None, "coalesce": True, "max_instances": 1}
        )
        self._scheduler.add_listener(self._on_trouble, EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        self._ended = threading.Event()

    def every(self, seconds: float, name: str, work: Callable[[], None], *, at_once: bool = False) -> None:
        """Run `work` every so many seconds; a job of the same name is replaced."""
        first = {"next_run_time": datetime.now(UTC)} if at_once else {}
        self._scheduler.add_job(
            self._run, "interval", (name, work), seconds=seconds, id=name, name=name, replace_existing=True, **first
        )

    def forget(self, name: str) -> None:
        """End a recurring job."""
        if self._scheduler.get_job(name) is not None:
            self._scheduler.remove_job(name)

    def _run(self, name: str, work: Callable[[], None]) -> None:
        def failed(error: Exception) -> None:
            self._report(name, f"the recurring job {name} failed: {error!r}")

        with boundary("thread", f"the recurring job {name}", failed):
            work()

    def start(self) -> None:
        self._scheduler.start()
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    def stop(self) -> None:
        """Start nothing more. What runs is not waited for: APScheduler's own wait has no limit."""
        self._ended.set()
        if self._scheduler.running:  # not after a start that failed before it
            self._scheduler.shutdown(wait=False)

    def _beat(self) -> None:
        while not self._ended.wait(HEARTBEAT_S):
            with boundary("thread", "the heartbeat"):
                self._heartbeat()

    def _heartbeat(self) -> None:
        wall, monotonic = self._wall(), self._monotonic()
        jump = (wall - self._beat_wall) - (monotonic - self._beat_monotonic)
        self._beat_wall, self._beat_monotonic = wall, monotonic
        if abs(jump) > CLOCK_JUMP_S:
            message = f"the clock jumped by {jump:+.0f} s: the machine slept, or its time was set"
            self._notify(ClockJumped(message, seconds=jump))
        self._bring_back()
        self._scheduler.wakeup()

    def _bring_back(self) -> None:
        """Let no job wait longer than its period: after a clock that was set back its next time lies far ahead."""
        now = datetime.now(UTC)
        for job in self._scheduler.get_jobs():
            if job.next_run_time is not None and job.next_run_time - now > job.trigger.interval:
                with contextlib.suppress(JobLookupError):  # forgotten meanwhile
                    job.modify(next_run_time=now)

    def _on_trouble(self, event: JobEvent) -> None:
        if event.code == EVENT_JOB_MISSED:
            message = f"the recurring job {event.job_id} was missed"
        else:
            message = f"the recurring job {event.job_id} still runs; this turn is left out"
        self._report(event.job_id, message)

    def _report(self, name: str, message: str) -> None:
        self._notify(ScheduleTrouble(message, schedule=name))
