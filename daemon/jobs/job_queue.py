"""Which job starts next, and what holds the others back. Who runs it is `daemon.jobs.dispatch`.

The queue knows what holds an inbox back (its folder is gone, an operator paused it, a disk is low); the ledger knows
the order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from daemon.config.schema import Config, InboxConfig
from daemon.jobs.conversation import Request
from daemon.jobs.disk import DiskGuard
from daemon.jobs.kinds.registry import HAVE_FACESET_ALONE
from daemon.jobs.retry import longest_wait_s
from daemon.ledger import jobs as table
from daemon.ledger import pauses
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger

EVERYTHING = "*"
"""The pause of everything."""

HoldKind = Literal["operator", "drain", "disk", "folder"]


@dataclass(frozen=True)
class Hold:
    """Why no job of an inbox starts now."""

    kind: HoldKind
    message: str


class JobQueue:
    """What may start now. Any thread may ask or change it."""

    def __init__(self, config: Config, ledger: Ledger, guard: DiskGuard, folder_problem: Callable[[str], str]) -> None:
        """`folder_problem(inbox)` returns "" for an inbox whose folder is there, else what is wrong with it."""
        self.wake = threading.Condition()
        self.stopping = threading.Event()
        self._config = config
        self._ledger = ledger
        self._guard = guard
        self._folder_problem = folder_problem
        self._lock = threading.Lock()
        self._pauses: dict[str, str] = ledger.read(pauses.pauses)
        self._cancelled: set[int] = set()

    @property
    def config(self) -> Config:
        return self._config

    def configure(self, config: Config) -> None:
        """Take a new configuration; running jobs end under the one they began with."""
        self._config = config
        self._guard.settings = config.disk
        self.wake_idle()

    def pauses(self) -> Mapping[str, str]:
        with self._lock:
            return dict(self._pauses)

    def set_pause(self, scope: str, mode: Literal["pause", "drain"] | None) -> None:
        """Pause, drain or let go an inbox or everything; kept over restarts."""
        self._ledger.write(lambda writer: pauses.set_pause(writer, scope, mode, time.time()))
        with self._lock:
            if mode is None:
                self._pauses.pop(scope, None)
            else:
                self._pauses[scope] = mode
        self.wake_idle()

    def cancel(self, job_id: int) -> None:
        """Have the runner of this job give it up."""
        with self._lock:
            self._cancelled.add(job_id)

    def request_for(self, job: Job) -> Request:
        """Say what is wanted of a running job."""
        if self.stopping.is_set():
            return "stop"
        with self._lock:
            if job.id in self._cancelled:
                return "cancel"
            if "pause" in (self._pauses.get(EVERYTHING), self._pauses.get(job.inbox)):
                return "pause"
        return "stop" if self._folder_problem(job.inbox) else ""

    def holds(self) -> dict[str, Hold]:
        """Return inbox → why none of its jobs starts; inboxes without a hold are left out."""
        found = {}
        pauses = self.pauses()
        state_room = self._guard.room(self._config.service.state_dir)
        for inbox in self._config.inboxes:
            mode = pauses.get(EVERYTHING) or pauses.get(inbox.name)
            if mode:
                found[inbox.name] = Hold("operator" if mode == "pause" else "drain", f"{mode}d by an operator")
            elif trouble := self._folder_problem(inbox.name):
                found[inbox.name] = Hold("folder", f"{inbox.path} is {trouble}")
            elif not state_room.ok:
                found[inbox.name] = Hold("disk", state_room.why_not)
            elif not (room := self._guard.room(inbox.workspace)).ok:
                found[inbox.name] = Hold("disk", room.why_not)
        return found

    def next(self) -> tuple[Job, InboxConfig, Config] | None:
        """Start the next job that nothing holds back; None when there is none. Raise LedgerError."""
        config, holds = self._config, self.holds()
        free = {inbox.name: inbox for inbox in config.inboxes if inbox.name not in holds}
        if not free or self.stopping.is_set():
            return None
        longest_s = longest_wait_s(config.retry.max_delay_s, config.watch.unreadable_grace_s)
        now_s, alone = time.time(), HAVE_FACESET_ALONE
        may_start = partial(table.any_ready, now_s=now_s, inboxes=free, longest_wait_s=longest_s, alone=alone)
        if not self._ledger.read(may_start):
            return None
        start = partial(table.start_next, now_s=now_s, inboxes=free, longest_wait_s=longest_s, alone=alone)
        job = self._ledger.write(start)
        return None if job is None else (job, free[job.inbox], config)

    def over(self, job: Job) -> None:
        """A running job ended: what was wanted of it is settled."""
        with self._lock:
            self._cancelled.discard(job.id)

    def wake_idle(self) -> None:
        """Have idle slots ask for a job at once."""
        with self.wake:
            self.wake.notify_all()
