"""Which job runs next, and the threads that run them.

The board knows what holds an inbox back (its folder is gone, an operator paused it, a disk is low); the ledger knows
the order. Each slot is a thread with a runner, and a runner has one worker.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Literal

from daemon.config.schema import Config, InboxConfig
from daemon.errors import LedgerError
from daemon.events.event import Event, Tell
from daemon.jobs.disk import DiskGuard
from daemon.jobs.ingest import STUCK_S, Runner, Wish
from daemon.jobs.retry import longest_wait_s
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger, LedgerUnavailableError

EVERYTHING = "*"
"""The pause of everything."""
LOOK_EVERY_S = 2.0
"""Jobs that wait for a time or for space are looked at this often; new ones wake the slots at once."""
LEDGER_PAUSE_S = 2.0

HoldKind = Literal["operator", "drain", "disk", "folder"]


@dataclass(frozen=True)
class Hold:
    """Why no job of an inbox starts now."""

    kind: HoldKind
    message: str


class Board:
    """What may start now. Any thread may ask or change it."""

    def __init__(self, config: Config, ledger: Ledger, guard: DiskGuard, is_up: Callable[[str], str]) -> None:
        """`is_up(inbox)` returns "" for an inbox whose folder is there, else what is wrong with it."""
        self.wake = threading.Condition()
        self.stopping = threading.Event()
        self._config = config
        self._ledger = ledger
        self._guard = guard
        self._is_up = is_up
        self._lock = threading.Lock()
        self._pauses: dict[str, str] = ledger.read(table.pauses)
        self._cancelled: set[int] = set()

    @property
    def config(self) -> Config:
        return self._config

    def configure(self, config: Config) -> None:
        """Take a new configuration; jobs in hand end under the one they began with."""
        self._config = config
        self._guard.settings = config.disk
        self.poke()

    def pauses(self) -> Mapping[str, str]:
        with self._lock:
            return dict(self._pauses)

    def set_pause(self, scope: str, mode: Literal["pause", "drain"] | None) -> None:
        """Pause, drain or let go an inbox or everything; kept over restarts."""
        self._ledger.write(lambda writer: table.set_pause(writer, scope, mode, time.time()))
        with self._lock:
            if mode is None:
                self._pauses.pop(scope, None)
            else:
                self._pauses[scope] = mode
        self.poke()

    def cancel(self, job_id: int) -> None:
        """Have the runner of this job give it up."""
        with self._lock:
            self._cancelled.add(job_id)

    def wish(self, job: Job) -> Wish:
        """Say what is wanted of a job in hand."""
        if self.stopping.is_set():
            return "stop"
        with self._lock:
            if job.id in self._cancelled:
                return "cancel"
            if "pause" in (self._pauses.get(EVERYTHING), self._pauses.get(job.inbox)):
                return "pause"
        return "stop" if self._is_up(job.inbox) else ""

    def holds(self) -> dict[str, Hold]:
        """Return inbox → why none of its jobs starts; inboxes without a hold are left out."""
        found = {}
        pauses = self.pauses()
        state_room = self._guard.room(self._config.service.state_dir)
        for inbox in self._config.inboxes:
            mode = pauses.get(EVERYTHING) or pauses.get(inbox.name)
            if mode:
                found[inbox.name] = Hold("operator" if mode == "pause" else "drain", f"{mode}d by an operator")
            elif trouble := self._is_up(inbox.name):
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
        may_start = partial(table.any_ready, now_s=time.time(), inboxes=free, longest_wait_s=longest_s)
        if not self._ledger.read(may_start):
            return None
        start = partial(table.start_next, now_s=time.time(), inboxes=free, longest_wait_s=longest_s)
        job = self._ledger.write(start)
        return None if job is None else (job, free[job.inbox], config)

    def over(self, job: Job) -> None:
        """A job in hand ended: what was wanted of it is settled."""
        with self._lock:
            self._cancelled.discard(job.id)

    def poke(self) -> None:
        """Have idle slots look at once."""
        with self.wake:
            self.wake.notify_all()


class Slot:
    """A thread that runs jobs, one at a time."""

    def __init__(
        self,
        number: int,
        board: Board,
        runner: Runner,
        ledger: Ledger,
        tell: Tell,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.runner = runner
        self.thread = threading.Thread(target=self._run, name=f"slot-{number}")
        self.retired = threading.Event()
        """Set when a reload lowered the number of workers: the slot ends after the job in hand."""
        self._board = board
        self._ledger = ledger
        self._tell = tell
        self._monotonic = monotonic
        self._turned_s = monotonic()
        """When the slot last looked for work, on the monotonic clock."""

    def is_stuck(self) -> bool:
        """Say whether this thread hangs, with a job in hand or without one. Any thread."""
        if self.runner.running is not None:
            return self.runner.is_stuck()
        last_s = max(self._turned_s, self.runner.last_turned_s)
        return self.thread.is_alive() and self._monotonic() - last_s > STUCK_S

    def _run(self) -> None:
        try:
            while not (self._board.stopping.is_set() or self.retired.is_set()):
                self._turned_s = self._monotonic()
                try:
                    self.runner.recycle_if_asked()
                    started = self._board.next()
                    if started is not None:
                        self._work(*started)
                        continue
                except LedgerError as problem:
                    if not isinstance(problem, LedgerUnavailableError):  # of those the service says why
                        self._tell(Event("ledger.failed", problem.message, "error"))
                    self._board.stopping.wait(LEDGER_PAUSE_S)
                    continue
                with self._board.wake:
                    self._board.wake.wait(LOOK_EVERY_S)
        finally:
            self.runner.close()

    def _work(self, job: Job, inbox: InboxConfig, config: Config) -> None:
        try:
            self.runner.run(job, inbox, config, lambda: self._board.wish(job))
        except LedgerError as problem:
            self._tell(Event("ledger.failed", problem.message, "error", inbox.name, job.id))
            self._give_back(job)
        finally:
            self._board.over(job)

    def _give_back(self, job: Job) -> None:
        """Put a job whose outcome could not be written back into the queue, once the ledger takes it."""
        while not self._board.stopping.is_set():
            self._turned_s = self._monotonic()
            try:
                self._ledger.write(lambda writer: table.give_back(writer, job.id))
            except LedgerUnavailableError:
                self._board.stopping.wait(LEDGER_PAUSE_S)
            else:
                return
