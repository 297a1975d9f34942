"""How a job ends, written down: done, tried again, failed, quarantined, changed, interrupted.

Each method takes the job as it was started, changes the ledger in one transaction, handles the original, and
reports it. What the ledger cannot take at once (no space) is tried until it can: an outcome is never dropped.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict

from daemon.arrivals.roots import Root, inspect_root
from daemon.arrivals.scan import inspect_unit
from daemon.config.inbox_rules import scan_rules
from daemon.config.schema import Config, InboxConfig
from daemon.errors import WorkerError
from daemon.events.event import Notify
from daemon.events.job_events import (
    JobCancelled,
    JobDone,
    JobFailed,
    JobFollows,
    JobGone,
    JobInterrupted,
    JobQuarantined,
    JobResumed,
    JobWaits,
    JobWarning,
    OriginalKept,
)
from daemon.jobs.conversation import Request
from daemon.jobs.follow_ups import queue_follow_ups, sentence_of
from daemon.jobs.kinds.contract import Failure, JobKind, Piece, Reason
from daemon.jobs.retry import DEATHS_MAX, deaths_after, delay_s
from daemon.jobs.tidying import Tidier, Turn
from daemon.ledger import claims, extraction
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Connection, Ledger, LedgerUnavailableError
from daemon.ledger.totals import add_totals
from daemon.ledger.transitions import Action, JobEvent, Original, State, next_of
from daemon.worker.workspaces import clear_results
from engine.errors import OutputError

LEDGER_TRIES_PAUSE_S = 1.0
LEDGER_TRIES = 5
"""The service goes on stopping when the ledger's disk stays full: the job is then found running, and resumed."""
SPACE_RETRY_S = 10.0
"""A full disk is tried again this soon, however often it was full before: it empties by itself or by a person."""
INCOMPLETE_TRIES = 6
"""A file that may still be arriving is tried so often within the time that it is given."""
UNCOUNTED_RETRY_S: Mapping[Reason, float] = {"no_space": SPACE_RETRY_S, "held": 30.0}
"""Reasons that pass by themselves or by a person, however long that takes: no number of tries makes such a job fail,
and it is tried again at least so often."""


class Outcomes:
    """Writes outcomes down. Used by the thread of one runner."""

    def __init__(
        self,
        ledger: Ledger,
        notify: Notify,
        tidier: Tidier,
        on_originals_gone: Callable[[str, list[bytes]], None],
        wall: Callable[[], float] = time.time,
        *,
        stopping: threading.Event,
        turn: Turn,
    ) -> None:
        """`turn`: called again and again while an original is read (daemon.jobs.tidying)."""
        self._stopping = stopping
        self._turn = turn
        self._tidier = tidier
        self._ledger = ledger
        self._notify = notify
        self._on_originals_gone = on_originals_gone
        self._wall = wall
        self._followers: Sequence[Job] = ()
        """Queued together with the latest end, and not reported yet."""

    def source_ready(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config) -> bool:
        """Say whether the job's file is there and as it was claimed; otherwise write down what happens instead."""
        job = self._ledger.read(lambda reader: table.job_by_id(reader, job.id)) or job  # it may have been renamed
        unit = inspect_unit(inbox.path, os.fsdecode(job.path), scan_rules(inbox, config.watch), job.source_kind)
        if unit is not None and unit.fingerprint == job.file_state:
            return self._workspace_free(job, kind, inbox, config)
        if not isinstance(inspect_root(inbox.path), Root):
            self.interrupted(job, kind, inbox, config, "stop", "the inbox's folder is not there")
        elif unit is not None:
            self.redo(job, kind, inbox, config)
        elif (path := self._other_place(job, inbox)) is not None:
            self._write(lambda writer: _follow(writer, job, path))
        else:
            self._gone(job, kind, inbox, config, "inbox_gone", "the file left the inbox before it was done")
        return False

    def _other_place(self, job: Job, inbox: InboxConfig) -> bytes | None:
        """Return where else in the inbox the same content lies."""
        paths = self._ledger.read(lambda reader: claims.other_paths(reader, job))
        return next((path for path in paths if (inbox.path / os.fsdecode(path)).exists()), None)

    def _workspace_free(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config) -> bool:
        other = None
        if job.role == "dst":
            other = self._ledger.read(lambda reader: claims.holder_of_dst(reader, job.workspace, job.id))
        if other is None:
            return True
        message, hint = claims.workspace_taken(job.workspace, other)
        self.failed(job, kind, inbox, config, Failure("setup", "workspace_taken", message, hint))
        return False

    def changed(self, job: Job, inbox: InboxConfig, config: Config) -> bool:
        """Say whether the file is another than the one that was claimed. A file that left cannot be asked."""
        now = self._ledger.read(lambda reader: table.job_by_id(reader, job.id)) or job
        unit = inspect_unit(inbox.path, os.fsdecode(now.path), scan_rules(inbox, config.watch), job.source_kind)
        return unit is not None and unit.fingerprint != now.file_state

    def redo(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config) -> None:
        """The file changed since it was claimed: what was made of it is removed, and it is a new arrival.

        Manual changes stay; the job of the new content takes it over, with the name (daemon.ledger.claims). Raise
        StaleAttemptError where another attempt has begun: the results are that one's.
        """
        self._ledger.read(lambda reader: table.require_attempt(reader, job))
        try:
            clear_results(job)
        except (OutputError, WorkerError) as problem:  # the job that takes the name over clears it before it writes
            self._notify(JobWarning(f"job {job.id}: {problem.message}", job.inbox, job.id))

        def hand_over(writer: Connection) -> None:
            extraction.start_over(writer, job, "")
            claims.pass_on_slug(writer, job)

        self._write(hand_over)
        why = "the file changed; what was made of it was removed, it goes through the gate again"
        self._gone(job, kind, inbox, config, "changed", why)

    def done(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, result: Sequence[Piece]) -> None:
        """Everything is written and committed: close the job, then deal with the original."""
        now_s = self._wall()
        now = self._ledger.read(lambda reader: table.job_by_id(reader, job.id)) or job
        ending = kind.ending(now, result)
        finishes = ending.original == "done with" and inbox.on_done != "keep"

        def close(writer: Connection) -> None:
            table.apply(
                writer,
                job.id,
                JobEvent.FINISH,
                now_s=now_s,
                attempt=job.attempt,
                original=Original.TO_FINISH if finishes else Original.KEPT,
                original_path=None,
                **asdict(ending.columns),
            )
            add_totals(writer, job.inbox, ending.totals)
            kind.end(writer, now, result)
            self._follow(writer, kind, job, inbox, config)

        self._write(close)
        path = os.fsdecode(job.path)
        message = f"job {job.id}: {path} is {kind.done_word}: {ending.sentence}"
        seconds = now_s - (job.started_s or now_s)
        self._notify(JobDone(message, job.inbox, job.id, seconds=seconds, results=ending.facts))
        if ending.lack:
            text = f"job {job.id}: {path}: {ending.lack}"
            self._notify(OriginalKept(text, job.inbox, job.id, verdict=ending.columns.verdict))
        for warning in ending.warnings:
            self._notify(JobWarning(f"job {job.id}: {warning}", job.inbox, job.id))
        self._report_followers()
        if kind.reads_original:
            self._tidier.tidy(job.id, inbox, config, self._turn)

    def failed(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, failure: Failure) -> None:
        """A worker said why not: wait and try again, mark it failed, or quarantine the file."""
        give_up = _give_up(kind)
        now_s = self._wall()
        if failure.outlook == "incomplete":
            grace = config.watch.unreadable_grace_s
            again_s = min(now_s + max(grace / INCOMPLETE_TRIES, 0.2), job.arrived_s + grace)
            self._wait(job, failure, again_s, attempts=job.attempts)
        elif failure.outlook == "passing":
            uncounted_s = UNCOUNTED_RETRY_S.get(failure.reason)
            attempts = job.attempts + (uncounted_s is None)
            if attempts >= config.retry.attempts:
                is_no_file_at_fault = failure.reason == "worker_start"
                self._end(job, kind, inbox, config, JobEvent.FAIL if is_no_file_at_fault else give_up, failure)
                return
            wait = delay_s(attempts or 1, first_s=config.retry.first_delay_s, longest_s=config.retry.max_delay_s)
            if uncounted_s is not None:
                wait = min(wait, uncounted_s)
            self._wait(job, failure, now_s + wait, attempts=attempts)
        elif failure.outlook == "file":
            self._end(job, kind, inbox, config, give_up, failure)
        else:
            self._end(job, kind, inbox, config, JobEvent.FAIL, failure)

    def died(
        self,
        job: Job,
        kind: JobKind,
        inbox: InboxConfig,
        config: Config,
        message: str,
        *,
        frame: int,
        killed_by: int,
    ) -> None:
        """The file's worker died or was ended: go on at the cursor, or give the file up."""
        now = self._ledger.read(lambda reader: table.job_by_id(reader, job.id)) or job
        deaths = deaths_after(now.deaths, now.death_frame, frame=frame, killed_by=killed_by)
        if deaths >= DEATHS_MAX:
            failure = Failure(
                "file",
                "worker_died",
                f"the file ended {deaths} workers with nothing finished in between, near {kind.unit[:-1]} {frame}:"
                f" {message}",
                "try to convert it with ffmpeg; `dfld quarantine` puts it back",
            )
            self._end(now, kind, inbox, config, _give_up(kind), failure)
            return
        self._write(
            lambda writer: table.apply(
                writer,
                job.id,
                JobEvent.DIE,
                attempt=job.attempt,
                reason="worker_died",
                message=message,
                deaths=deaths,
                death_frame=frame,
            )
        )
        text = f"job {job.id}: {message}; it goes on at {kind.unit[:-1]} {now.next_frame} ({deaths} of {DEATHS_MAX})"
        self._notify(JobResumed(text, job.inbox, job.id, reason="worker_died", deaths=deaths, frame=frame))

    def interrupted(
        self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, request: Request, why: str = ""
    ) -> None:
        """The job was stopped from outside: back into the queue at its cursor, or cancelled."""
        if request == "cancel":

            def cancel(writer: Connection) -> None:
                table.cancel(writer, job.id, now_s=self._wall(), attempt=job.attempt)
                self._follow(writer, kind, job, inbox, config)

            self._write(cancel)
            self._notify(JobCancelled(f"job {job.id} is cancelled", job.inbox, job.id))
            self._report_followers()
            return
        self._write(lambda writer: table.apply(writer, job.id, JobEvent.STOP, attempt=job.attempt, message=why))
        message = f"job {job.id} stops at its cursor" + (f": {why}" if why else "")
        self._notify(JobInterrupted(message, job.inbox, job.id, reason=request))

    def _wait(self, job: Job, failure: Failure, again_s: float, *, attempts: int) -> None:
        self._write(
            lambda writer: table.apply(
                writer,
                job.id,
                JobEvent.WAIT,
                attempt=job.attempt,
                reason=failure.reason,
                message=failure.message,
                hint=failure.hint,
                attempts=attempts,
                not_before_s=again_s,
            )
        )
        text = f"job {job.id}: {failure.message}; tried again in {max(0.0, again_s - self._wall()):.0f} s"
        self._notify(JobWaits(text, job.inbox, job.id, reason=failure.reason, attempt=attempts))

    def _end(
        self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, event: JobEvent, failure: Failure
    ) -> None:
        now_s = self._wall()
        state, actions = next_of(State.RUNNING, event)

        def close(writer: Connection) -> None:
            table.apply(
                writer,
                job.id,
                event,
                now_s=now_s,
                attempt=job.attempt,
                reason=failure.reason,
                message=failure.message,
                hint=failure.hint,
            )
            self._follow(writer, kind, job, inbox, config)

        self._write(close)
        text = f"job {job.id}: {os.fsdecode(job.path)} is {state}: {failure.message}"
        event_type = JobQuarantined if state is State.QUARANTINED else JobFailed
        self._notify(
            event_type(
                text,
                job.inbox,
                job.id,
                reason=failure.reason,
                hint=failure.hint,
                file=os.fsdecode(job.path),
            )
        )
        self._report_followers()
        if Action.ORIGINAL_TO_QUARANTINE in actions:
            self._tidier.tidy(job.id, inbox, config, self._turn)

    def _gone(self, job: Job, kind: JobKind, inbox: InboxConfig, config: Config, reason: str, message: str) -> None:
        def close(writer: Connection) -> None:
            table.apply(
                writer,
                job.id,
                JobEvent.LEAVE,
                now_s=self._wall(),
                attempt=job.attempt,
                reason=reason,
                message=message,
            )
            claims.forget_files(writer, job.inbox, [job.path])
            self._follow(writer, kind, job, inbox, config)

        self._write(close)
        self._on_originals_gone(job.inbox, [job.path])
        self._notify(JobGone(f"job {job.id}: {message}", job.inbox, job.id, reason=reason))
        self._report_followers()

    def _follow(self, writer: Connection, kind: JobKind, job: Job, inbox: InboxConfig, config: Config) -> None:
        """Queue what follows, in the transaction that ends a job, which may be tried more than once."""
        self._followers = queue_follow_ups(writer, kind, job.id, inbox, config, now_s=self._wall())

    def _report_followers(self) -> None:
        followers, self._followers = self._followers, ()
        for one in followers:
            self._notify(JobFollows(sentence_of(one), one.inbox, one.id))

    def _write(self, step: Callable[[Connection], object]) -> None:
        """Write an outcome; a full disk gets a few tries, then the slot puts the job back once the ledger has room."""
        for attempt in range(LEDGER_TRIES):
            try:
                self._ledger.write(step)
            except LedgerUnavailableError:
                if attempt == LEDGER_TRIES - 1:
                    raise
                self._stopping.wait(LEDGER_TRIES_PAUSE_S)
            else:
                return


def _give_up(kind: JobKind) -> JobEvent:
    """Return how a job ends that will not work: with its file in the quarantine, if it reads one."""
    return JobEvent.QUARANTINE if kind.reads_original else JobEvent.FAIL


def _follow(writer: Connection, job: Job, path: bytes) -> None:
    """Go on with another file of the same content; the row's file state is that of the file seen there."""
    row = writer.execute("SELECT file_state FROM files WHERE inbox = ? AND path = ?", (job.inbox, path)).fetchone()
    claims.forget_files(writer, job.inbox, [job.path])
    table.apply(writer, job.id, JobEvent.FOLLOW, attempt=job.attempt, path=path, file_state=row[0])
    writer.execute("UPDATE files SET outcome = 'taken' WHERE inbox = ? AND path = ?", (job.inbox, path))
