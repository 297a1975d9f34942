"""What is said between one order and its end: the messages of `daemon.crew.messages`, in their order.

A conversation belongs to the thread of its runner. It obeys what is wanted of the job (stop, pause, cancel), the limits
of time and memory, and the ledger: a finished piece is acknowledged once it is stored, and refused where another
attempt at the job has begun, or the job does not run any more.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from daemon.config.schema import Config
from daemon.crew import messages
from daemon.crew.contract import Link
from daemon.crew.messages import AboutTask, FromWorker, Task, ToWorker, in_pieces
from daemon.errors import WorkerError
from daemon.events.event import Notify
from daemon.events.job_events import JobCommitted, JobHeld
from daemon.jobs.disk import DiskGuard
from daemon.jobs.kinds.contract import Failure, JobKind, Piece
from daemon.jobs.running_job import Running
from daemon.ledger.jobs import Job, NoTransitionError, StaleAttemptError, require_attempt
from daemon.ledger.ledger import Connection, Ledger, LedgerUnavailableError
from engine.types import Progress

Request = Literal["", "stop", "pause", "cancel"]
"""What somebody wants of the running job; asked for again and again while it runs."""

RECEIVE_S = 0.25
"""Between two checks of requests, limits and memory while the worker is silent."""
LOAD_LIMIT_S = 1800.0
"""Models may have to be downloaded, and a GPU's first kernels compiled, before the first frame."""
MEMORY_CHECK_S = 1.0
HOLD_RETRY_S = 1.0
"""Between two tries to store a commit while the ledger or the disk has no room."""
STOP_RESERVE_S = 3.0
"""A worker asked to stop gets the drain time less this; then it is killed, and everything else is ended in time."""
STOP_LEAST_S = 0.5


class StoppedError(Exception):
    """The running job was ended because somebody wanted that; its cursor is at its last commit."""

    def __init__(self, request: Request, *, worker_is_free: bool) -> None:
        """`worker_is_free`: it ended its work as it was asked to, and may be given the next job."""
        super().__init__(request)
        self.request = request
        self.worker_is_free = worker_is_free


class WorkerEndedError(WorkerError):
    """The worker has to be replaced: it hangs, or uses too much memory."""

    def __init__(self, reason: Literal["no_progress", "memory"], code: str, message: str) -> None:
        """`reason`: of the replacement, for metrics."""
        super().__init__(f"the worker was ended ({code}): {message}")
        self.reason: Literal["no_progress", "memory"] = reason


class RunState:
    """The running job of one runner. Written by its thread alone; any thread may read `running`."""

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self.running: Running | None = None
        """None while the runner is idle."""
        self.last_turned_s = monotonic()
        """When the runner last went round or was idle, on the monotonic clock."""
        self.worker_has_spoken = False
        """Whether the worker has said anything: before that, what ends it has to do with no job."""
        self.failed_starts = 0
        """Workers in a row that ended before a job could begin: as they started, or while they loaded models."""
        self.monotonic = monotonic

    def change(self, changed: Callable[[Running], Running]) -> None:
        """Put what `changed` makes of the running job in its place."""
        if self.running is not None:
            self.running = changed(self.running)

    def turned(self) -> float:
        """Note that the runner went round; return the time."""
        self.last_turned_s = self.monotonic()
        return self.last_turned_s

    @property
    def phase(self) -> str:
        return self.running.phase if self.running else "trying"


@dataclass(frozen=True)
class Done:
    """The worker did the job, or was stopped at a piece."""

    result: tuple[Piece, ...]


class Conversation:
    """One order and what follows it."""

    def __init__(
        self,
        *,
        link: Link,
        job: Job,
        kind: JobKind,
        config: Config,
        workspace: Path,
        request: Callable[[], Request],
        ledger: Ledger,
        guard: DiskGuard,
        notify: Notify,
        state: RunState,
        stopping: threading.Event,
        make_room: Callable[[], None] = lambda: None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """`request()`: what somebody wants of the job now. `workspace`: what must have room for a commit.
        `make_room()`: have other workers leave the memory to this one."""
        self._link = link
        self._job = job
        self._task = Task(job.id, job.attempt)
        self._kind = kind
        self._no_progress_limit_s = config.limits.no_progress_timeout_s
        self._memory_limit = memory_limit(kind, config)
        self._stop_limit_s = max(STOP_LEAST_S, config.service.drain_timeout_s - STOP_RESERVE_S)
        self._workspace = workspace
        self._request = request
        self._ledger = ledger
        self._guard = guard
        self._notify = notify
        self._state = state
        self._stopping = stopping
        self._make_room = make_room
        self._wall = wall
        self._pieces: list[Piece] = []
        self._stage_seconds: Mapping[str, float] = {}
        self._queue_seconds: Mapping[str, float] = {}
        self._reported: tuple[Mapping[str, float], Mapping[str, float]] = {}, {}
        self._moved = self._memory_checked = state.monotonic()
        self._asked_to_stop: tuple[Request, float] | None = None

    def hold(self, request: Sequence[Piece]) -> Done | Failure:
        """Send the order and see it through.

        Raise StoppedError, StaleAttemptError where another attempt has begun, NoTransitionError where the job does not
        run any more, WorkerDiedError, or WorkerError.
        """
        order = messages.Order(self._task, self._kind.name)
        self._say_all(in_pieces(self._task, request, order))
        while True:
            message = self._link.receive(RECEIVE_S)
            self._link.flush(0.0)  # of a stop that found the pipe full
            self._state.worker_has_spoken |= message is not None
            self._check_limits()
            if not isinstance(message, AboutTask) or message.task != self._task:
                continue  # silence, that it is ready, or what was said before it knew of this attempt
            self._moved = self._state.monotonic()
            if (ended := self._handle(message)) is not None:
                return ended

    def _handle(self, message: FromWorker) -> Done | Failure | None:
        """Do what follows from a message; return how the job ended, None while it goes on."""
        match message:
            case messages.PieceSent(value=piece):
                self._pieces.append(piece)
            case messages.Readable():
                self._state.change(lambda one: replace(one, phase="loading"))
            case messages.Opened(basis=basis):
                self._begin(basis)
            case messages.ProgressMade(progress=progress):
                self._progressed(progress)
            case messages.CommitMade():
                self._commit(self._taken())
            case messages.JobFailed(failure=failure):
                return failure
            case messages.JobDone():
                return self._done(self._taken())
            case messages.Ready():
                pass
        return None

    def _taken(self) -> tuple[Piece, ...]:
        taken, self._pieces = tuple(self._pieces), []
        return taken

    def _done(self, result: tuple[Piece, ...]) -> Done:
        ending = self._kind.ending(self._job, result)
        if self._asked_to_stop and not ending.completed:
            raise StoppedError(self._asked_to_stop[0], worker_is_free=True)
        self._stage_seconds = ending.stage_seconds
        self._report_work(())
        return Done(result)

    def _say_all(self, several: Iterable[ToWorker]) -> None:
        for message in several:
            self._say(message)

    def _say(self, message: ToWorker) -> None:
        """Send the worker a message. While it does not take it, check the limits: that is no progress."""
        self._moved = self._state.monotonic()
        left = self._link.send(message)
        while left:
            before, left = left, self._link.flush(RECEIVE_S)
            if left < before:
                self._moved = self._state.monotonic()
            self._check_limits()

    def _begin(self, basis: str) -> None:
        """Give the worker where to begin: at the cursor when what decides the outcome is what made what is there."""
        job, kind = self._job, self._kind
        resume = self._ledger.read(lambda reader: kind.resume(reader, job)) if basis == job.basis else None
        if basis != job.basis:
            self._store_or_refuse(lambda: self._ledger.write(lambda writer: self._start_over(writer, basis)))
        self._state.failed_starts = 0
        at = job.next_frame if resume is not None else 0
        now_s = self._wall()
        self._state.change(
            lambda one: replace(one, phase="working", frames_at_start=at, frames_done=at, working_since_s=now_s)
        )
        begin = messages.Begin(self._task, resumes=resume is not None)
        self._say_all(in_pieces(self._task, resume or (), begin))

    def _start_over(self, writer: Connection, basis: str) -> None:
        require_attempt(writer, self._job)
        self._kind.start_over(writer, self._job, basis)

    def _progressed(self, progress: Progress) -> None:
        now_s = self._wall()
        self._state.change(
            lambda one: replace(
                one,
                frames_done=progress.frames_done,
                frames_total=progress.frames_total,
                faces_kept=progress.faces_kept,
                faces_rejected=progress.faces_rejected,
                faces_undecided=progress.faces_undecided,
                moved_s=now_s,
            )
        )
        self._stage_seconds, self._queue_seconds = progress.stage_seconds, progress.queue_seconds

    def _commit(self, pieces: Sequence[Piece]) -> None:
        similarities: Sequence[float] = ()

        def write() -> None:
            nonlocal similarities
            try:
                similarities = self._ledger.write(lambda writer: self._kind.store(writer, self._job, pieces))
            except UnicodeError as problem:
                what = f"text that cannot be stored ({problem})"
                raise WorkerError(f"a commit holds {what}; the worker is replaced") from problem

        self._store_or_refuse(write)
        self._say(messages.Ack(self._task))
        self._report_work(similarities)

    def _report_work(self, similarities: Sequence[float]) -> None:
        """Report what a finished piece took: each stage's time since the piece before, and how full the queues were."""
        (stages, queues), self._reported = self._reported, (self._stage_seconds, self._queue_seconds)
        self._notify(
            JobCommitted(
                inbox=self._job.inbox,
                job=self._job.id,
                similarities=similarities,
                stage_seconds=_grown(self._stage_seconds, stages),
                queue_seconds=_grown(self._queue_seconds, queues),
            )
        )

    def _store_or_refuse(self, write: Callable[[], None]) -> None:
        """Write to the ledger; where this attempt may not do so any more, refuse the worker what it waits for."""
        try:
            self._store(write)
        except (StaleAttemptError, NoTransitionError):
            self._say(messages.Refuse(self._task))
            raise

    def _store(self, write: Callable[[], None]) -> None:
        """Write to the ledger; while it or the disk has no room, the worker waits for its answer: nothing is lost."""
        while True:
            room = self._guard.room(self._workspace)
            why_not = room.why_not
            if room.ok:
                try:
                    write()
                except LedgerUnavailableError as problem:
                    why_not = problem.message
                else:
                    self._state.change(lambda one: replace(one, held=""))
                    return
            if self._state.running is not None and not self._state.running.held:
                message = f"job {self._job.id} is held: {why_not}"
                self._notify(JobHeld(message, self._job.inbox, self._job.id))
            self._hold(why_not)
            if request := self._request():
                raise StoppedError(request, worker_is_free=False)
            self._state.turned()
            self._stopping.wait(HOLD_RETRY_S)

    def _hold(self, why_not: str) -> None:
        self._state.change(lambda one: replace(one, held=why_not))

    def _check_limits(self) -> None:
        """Obey requests and limits: stop, time without a frame, memory."""
        now = self._state.turned()
        if self._asked_to_stop is not None:
            request, since = self._asked_to_stop
            if now - since > self._stop_limit_s:
                raise StoppedError(request, worker_is_free=False)
        elif request := self._request():
            self._asked_to_stop = (request, now)
            self._link.send(messages.Stop(self._task))
        is_loading = self._kind.needs.models and self._state.phase == "loading"
        limit = LOAD_LIMIT_S if is_loading else self._no_progress_limit_s
        if now - self._moved > limit:
            lack = "it reads nothing that it is sent, and that" if self._link.flush(0.0) else "no new frame"
            raise WorkerEndedError("no_progress", "worker_hung", f"{lack} for {limit:.0f} s")
        if now - self._memory_checked > MEMORY_CHECK_S:
            self._memory_checked = now
            self._make_room()
            used = self._link.resident_bytes()
            if used > self._memory_limit:
                lack = f"it uses {used >> 20} MiB, {self._memory_limit >> 20} are allowed"
                raise WorkerEndedError("memory", "memory", lack)


def memory_limit(kind: JobKind, config: Config) -> int:
    """Return how many bytes a worker may use for a job of this kind."""
    needed = kind.needs.memory_bytes
    return config.limits.worker_memory_bytes if needed is None else min(needed, config.limits.worker_memory_bytes)


def _grown(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: max(0.0, value - before.get(name, 0.0)) for name, value in now.items()}
