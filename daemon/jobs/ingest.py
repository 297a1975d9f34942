"""One job from claim to outcome: a settled file through a worker, its commits into the ledger, its end told.

The job boundary of ingestion. A `Runner` belongs to one thread and has one worker, which it starts when there is
work, replaces when it dies, grows or hangs, and ends. The service itself never opens a video: what a file can do to
a process it does to the worker.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from daemon.arrivals.hashing import HashingStoppedError
from daemon.config.schema import Config, InboxConfig
from daemon.crew.link import WorkerDiedError, WorkerLink
from daemon.crew.messages import (
    Failure,
    Message,
    Order,
    Revised,
    begin_messages,
    commit_of,
    failure_of,
    order_message,
    progress_of,
    records_of,
    revised_of,
)
from daemon.errors import WorkerError
from daemon.events.event import Event, Tell
from daemon.jobs.disk import DiskGuard
from daemon.jobs.orders import make_order
from daemon.jobs.outcomes import Outcomes
from daemon.jobs.running import Running
from daemon.jobs.tidying import Tidier
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger, LedgerUnavailableError
from engine.types import Commit, FaceRecord, Progress

Wish = Literal["", "stop", "pause", "cancel"]
"""What somebody wants of the running job; read again and again while it runs."""

RECEIVE_S = 0.25
"""Between two looks at wishes, limits and memory while the worker is silent."""
LOAD_LIMIT_S = 1800.0
"""Models may have to be downloaded, and a GPU's first kernels compiled, before the first frame."""
MEMORY_LOOK_S = 1.0
STUCK_S = 60.0
"""A runner looks round four times a second; one that did not for so long hangs, and systemd has to know."""
HOLD_LOOK_S = 1.0
"""Between two tries to store a commit while the ledger or the disk has no room."""
STOP_RESERVE_S = 3.0
"""A worker asked to stop gets the drain time less this; then it is killed, and everything else is ended in time."""
STOP_LEAST_S = 0.5
WORKER_DEATHS_IN_LOADING_MAX = 5
"""So many workers in a row that die while they load models are the set-up's fault: the job waits."""


class _StoppedError(Exception):
    """The job in hand was ended by a wish; its cursor stands at its last commit."""

    def __init__(self, wish: Wish) -> None:
        super().__init__(wish)
        self.wish = wish


class Runner:
    """Runs one job after another. Its methods belong to one thread; `running`, `is_stuck` and `abandon` to any."""

    def __init__(
        self,
        *,
        ledger: Ledger,
        guard: DiskGuard,
        tell: Tell,
        tidier: Tidier,
        start_worker: Callable[[Config], WorkerLink],
        on_originals_gone: Callable[[str, list[bytes]], None],
        wall: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        stopping: threading.Event | None = None,
    ) -> None:
        """`stopping`: set when the service stops, what interrupts the reading of an original that is moved or deleted.

        `on_originals_gone(inbox, paths)`: these files left the inbox, or have to go through the gate again."""
        self.running: Running | None = None
        self.last_turned_s = monotonic()
        """When the runner last looked round or was idle, on the monotonic clock; it ends hanging workers itself."""
        self.recycle = threading.Event()
        """Set by any thread: the worker is replaced before the next job, and what it keeps in mind goes with it."""
        self._ledger = ledger
        self._guard = guard
        self._tell = tell
        self._start_worker = start_worker
        self._wall = wall
        self._monotonic = monotonic
        self._stopping = stopping or threading.Event()
        self._outcomes = Outcomes(
            ledger, tell, tidier, on_originals_gone, wall, stopping=self._stopping, turn=self._turn_while_finishing
        )
        self._worker: WorkerLink | None = None
        self._videos_done = 0
        self._deaths_in_loading = 0

    def run(self, job: Job, inbox: InboxConfig, config: Config, wish: Callable[[], Wish]) -> None:
        """Do one job as far as it goes, and write down how it ended. Raise LedgerError when that cannot be done."""
        self.running = Running(job.id, inbox.name, os.fsdecode(job.path), "trying", self._wall())
        self.last_turned_s = self._monotonic()
        self._tell_started(job)
        try:
            self._run(job, inbox, config, wish)
        finally:
            self.running = None
            self.last_turned_s = self._monotonic()

    def is_stuck(self) -> bool:
        """Say whether the runner itself hangs; a worker that hangs is its own business. Any thread."""
        running = self.running
        if running is None:
            return False
        limit = LOAD_LIMIT_S if running.phase == "finishing" else STUCK_S
        return self._monotonic() - self.last_turned_s > limit

    def abandon(self) -> None:
        """Kill the worker under the job in hand; the only method that another thread may call to end it."""
        worker = self._worker
        if worker is not None:
            worker.kill()

    def close(self, reason: str = "stopped") -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.close()
            self._worker = None
            self._tell(Event("worker.ended", f"a worker was ended ({reason})", "debug", facts={"reason": reason}))

    def _run(self, job: Job, inbox: InboxConfig, config: Config, wish: Callable[[], Wish]) -> None:
        if not self._outcomes.source_ready(job, inbox, config):
            return
        order = make_order(job, inbox, config, now_s=self._wall())
        if isinstance(order, Failure):
            self._outcomes.failed(job, inbox, config, order)
            return
        try:
            worker = self._ready_worker(config)
            ended = _Conversation(self, worker, job, inbox, config, wish).hold(order)
        except _StoppedError as stopped:
            self._outcomes.interrupted(job, stopped.wish)
        except WorkerDiedError as death:
            self._buried(job, inbox, config, death)
        except WorkerError as problem:
            self._replace_worker("crashed")
            self._finish()
            self._outcomes.died(job, inbox, config, problem.message, frame=self._frame(), killed_by=0)
        else:
            self._ended(job, inbox, config, ended)

    def _turn_while_finishing(self) -> None:
        self.last_turned_s = self._monotonic()
        if self._stopping.is_set():
            raise HashingStoppedError

    def _finish(self) -> None:
        """From here on the original may be moved, which ends with the disk's own long sync."""
        if self.running is not None:
            self.running = replace(self.running, phase="finishing")

    def _ended(self, job: Job, inbox: InboxConfig, config: Config, message: Message) -> None:
        self._videos_done += 1
        self._finish()
        if message["type"] == "failed":
            failure = failure_of(message)
            blames_file = failure.outlook in ("file", "incomplete")
            if not blames_file or self._outcomes.source_ready(job, inbox, config):
                self._outcomes.failed(job, inbox, config, failure)
            if failure.reason in ("memory", "gpu"):
                self._replace_worker(failure.reason)
        elif not message["report"]["completed"]:
            self._outcomes.interrupted(job, "stop")
        elif self._outcomes.changed(job, inbox, config, message["report"]):
            self._outcomes.redo(job)
        else:
            self._outcomes.done(job, inbox, config, message["report"])
        if self._videos_done >= config.limits.worker_recycle_videos:
            self._replace_worker("recycled")

    def recycle_if_asked(self) -> None:
        if self.recycle.is_set():
            self.recycle.clear()
            self._replace_worker("recycled")

    def _ready_worker(self, config: Config) -> WorkerLink:
        if self._worker is None or not self._worker.is_alive:
            self._replace_worker("crashed")
            self._worker = self._start_worker(config)
        return self._worker

    def _replace_worker(self, reason: str) -> None:
        if self._worker is not None:
            self._worker.kill()
            self._worker = None
            message = f"the worker was ended ({reason}); the next job gets a new one"
            self._tell(Event("worker.replaced", message, "info", facts={"reason": reason}))
        self._videos_done = 0

    def _buried(self, job: Job, inbox: InboxConfig, config: Config, death: WorkerDiedError) -> None:
        """The worker died of its own or by another's hand: blame the file, the set-up, or nobody."""
        phase = self.running.phase if self.running else "trying"
        self._replace_worker("crashed")
        self._finish()
        if phase == "loading":
            self._deaths_in_loading += 1
            if self._deaths_in_loading < WORKER_DEATHS_IN_LOADING_MAX:
                self._outcomes.interrupted(job, "stop", death.message)
            else:
                failure = Failure("passing", "worker_died", death.message, "see the log for what it said last")
                self._outcomes.failed(job, inbox, config, failure)
            return
        self._outcomes.died(job, inbox, config, death.message, frame=self._frame(), killed_by=death.signal)

    def _frame(self) -> int:
        return self.running.frames_done if self.running else 0

    def _tell_started(self, job: Job) -> None:
        again = f"; it goes on at frame {job.next_frame}" if job.next_frame else ""
        message = f"job {job.id}: {os.fsdecode(job.path)} is worked on{again}"
        facts = {"file": os.fsdecode(job.path), "cursor": job.next_frame, "waited_s": self._wall() - job.arrived_s}
        self._tell(Event("job.started", message, "info", job.inbox, job.id, facts))


class _Conversation:
    """What is said between one order and its end."""

    def __init__(
        self,
        runner: Runner,
        worker: WorkerLink,
        job: Job,
        inbox: InboxConfig,
        config: Config,
        wish: Callable[[], Wish],
    ) -> None:
        self._runner = runner
        self._worker = worker
        self._job = job
        self._inbox = inbox
        self._limits = config.limits
        self._stop_limit_s = max(STOP_LEAST_S, config.service.drain_timeout_s - STOP_RESERVE_S)
        self._wish = wish
        self._records: list[FaceRecord] = []
        self._revised: list[Revised] = []
        self._stage_seconds: Mapping[str, float] = {}
        self._queue_seconds: Mapping[str, float] = {}
        self._told: tuple[Mapping[str, float], Mapping[str, float]] = {}, {}
        self._moved = self._memory_looked = runner._monotonic()
        self._asked_to_stop: tuple[Wish, float] | None = None

    def hold(self, order: Order) -> Message:
        """Send the order and see it through; return `done` or `failed`. Raise what `Runner._run` catches."""
        self._say(order_message(order))
        while True:
            message = self._worker.receive(RECEIVE_S)
            self._worker.flush(0.0)  # of a stop that found the pipe full
            self._look_round()
            if message is None:
                continue
            self._moved = self._runner._monotonic()
            kind = message["type"]
            if kind == "readable":
                self._note(phase="loading")
            elif kind == "opened":
                self._begin(str(message["basis"]))
            elif kind == "progress":
                self._progressed(progress_of(message))
            elif kind == "records":
                self._records += records_of(message)
            elif kind == "revised":
                self._revised += revised_of(message)
            elif kind == "commit":
                self._commit(commit_of(message, self._records, self._revised))
                self._records, self._revised = [], []
            elif kind in ("done", "failed"):
                if self._asked_to_stop and kind == "done" and not message["report"]["completed"]:
                    raise _StoppedError(self._asked_to_stop[0])
                if kind == "done":
                    self._stage_seconds = message["report"]["stage_seconds"]
                    self._tell_work([])
                return message

    def _say(self, message: Message) -> None:
        """Tell the worker something. While it does not take it, look round: to take nothing is to make no progress."""
        self._moved = self._runner._monotonic()
        left = self._worker.send(message)
        while left:
            before, left = left, self._worker.flush(RECEIVE_S)
            if left < before:
                self._moved = self._runner._monotonic()
            self._look_round()

    def _begin(self, basis: str) -> None:
        """Tell the worker where to begin: at the cursor when the same identity and settings made what is there."""
        job, ledger = self._job, self._runner._ledger
        resume = ledger.read(lambda reader: table.resume_of(reader, job)) if basis == job.basis else None
        if basis != job.basis:
            self._store(lambda: ledger.write(lambda writer: table.start_over(writer, job.id, basis)))
        self._runner._deaths_in_loading = 0
        at = resume.cursor.next_frame if resume else 0
        self._note(phase="working", frames_at_start=at, frames_done=at, working_since_s=self._runner._wall())
        for message in begin_messages(resume):
            self._say(message)

    def _progressed(self, progress: Progress) -> None:
        self._note(
            frames_done=progress.frames_done,
            frames_total=progress.frames_total,
            faces_kept=progress.faces_kept,
            faces_rejected=progress.faces_rejected,
            faces_undecided=progress.faces_undecided,
            moved_s=self._runner._wall(),
        )
        self._stage_seconds, self._queue_seconds = progress.stage_seconds, progress.queue_seconds

    def _commit(self, commit: Commit) -> None:
        job, ledger = self._job, self._runner._ledger
        self._store(lambda: ledger.write(lambda writer: table.store_commit(writer, job.id, commit)))
        self._say({"type": "ack"})
        self._tell_work([record.similarity for record in commit.records if record.similarity is not None])

    def _tell_work(self, similarities: Sequence[float]) -> None:
        """Tell what a finished piece took: each stage's time since the piece before, and how full the queues were."""
        (stages, queues), self._told = self._told, (self._stage_seconds, self._queue_seconds)
        facts = {
            "similarities": similarities,
            "stage_seconds": _grown(self._stage_seconds, stages),
            "queue_seconds": _grown(self._queue_seconds, queues),
        }
        self._runner._tell(Event("job.committed", "", "debug", self._inbox.name, self._job.id, facts))

    def _store(self, write: Callable[[], None]) -> None:
        """Write to the ledger; while it or the disk has no room, the worker waits for its answer: nothing is lost."""
        while True:
            room = self._runner._guard.room(self._inbox.workspace)
            why_not = room.why_not
            if room.ok:
                try:
                    write()
                except LedgerUnavailableError as problem:
                    why_not = problem.message
                else:
                    self._note(held="")
                    return
            if self._runner.running is not None and not self._runner.running.held:
                message = f"job {self._job.id} is held: {why_not}"
                self._runner._tell(Event("job.held", message, "warning", self._inbox.name, self._job.id))
            self._note(held=why_not)
            if wish := self._wish():
                self._runner._replace_worker("stopped")
                raise _StoppedError(wish)
            self._runner.last_turned_s = self._runner._monotonic()
            threading.Event().wait(HOLD_LOOK_S)

    def _look_round(self) -> None:
        """Obey wishes and limits: stop, time without a frame, memory."""
        now = self._runner.last_turned_s = self._runner._monotonic()
        if self._asked_to_stop is not None:
            wish, since = self._asked_to_stop
            if now - since > self._stop_limit_s:
                self._runner._replace_worker("stopped")
                raise _StoppedError(wish)
        elif wish := self._wish():
            self._asked_to_stop = (wish, now)
            self._worker.send({"type": "stop"})
        phase = self._runner.running.phase if self._runner.running else "trying"
        limit = LOAD_LIMIT_S if phase == "loading" else self._limits.no_progress_timeout_s
        if now - self._moved > limit:
            lack = "it takes nothing that it is told, and that" if self._worker.flush(0.0) else "no new frame"
            self._end_worker("no_progress", f"{lack} for {limit:.0f} s", "worker_hung")
        if now - self._memory_looked > MEMORY_LOOK_S:
            self._memory_looked = now
            used = self._worker.resident_bytes()
            if used > self._limits.worker_memory_bytes:
                self._end_worker(
                    "memory", f"it uses {used >> 20} MiB, {self._limits.worker_memory_bytes >> 20} are allowed"
                )

    def _end_worker(self, reason: str, message: str, code: str = "memory") -> None:
        self._runner._replace_worker(reason)
        raise WorkerError(f"the worker was ended ({code}): {message}")

    def _note(self, **changes: Any) -> None:
        if self._runner.running is not None:
            self._runner.running = replace(self._runner.running, **changes)


def _grown(now: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    return {name: max(0.0, value - before.get(name, 0.0)) for name, value in now.items()}
