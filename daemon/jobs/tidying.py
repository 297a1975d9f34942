"""The originals of ended jobs: moved, deleted or quarantined, once each, now or when it becomes possible.

A runner tidies up right behind its job; what could not be done then (a read-only inbox, a full disk, a kill in
between) is found in the ledger and done later. What a job read and wrote says its kind: only that decides whether an
original may be deleted.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

from daemon.arrivals.hashing import (
    SHA256_LENGTH,
    ChangedMeanwhileError,
    HashingStoppedError,
    content_hash,
    footage_members,
    member_hashes,
)
from daemon.arrivals.scan import inspect_unit
from daemon.config.inbox_rules import scan_rules
from daemon.config.schema import Config, InboxConfig
from daemon.errors import WorkerError
from daemon.events.event import Notify
from daemon.events.job_events import OriginalKept, OriginalSettled, OriginalWaits
from daemon.jobs import originals
from daemon.jobs.kinds.contract import JobKind
from daemon.jobs.originals import OriginalsResult
from daemon.ledger import claims, members
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Connection, Ledger, LedgerUnavailableError
from daemon.ledger.members import Member
from daemon.ledger.transitions import HAS_LEFT, ORIGINALS, TO_TIDY, Original, OriginalEvent
from daemon.worker.workspaces import missing_faces
from engine.errors import OutputError
from engine.workspace.file_names import FRAME_NAME, inbox_layout

Turn = Callable[[], None]
"""Called again and again while an original is read; raises HashingStoppedError when the service stops."""


def _go_on() -> None:
    pass


class Tidier:
    """Deals with originals; any thread may ask, and each original is one thread's at a time."""

    def __init__(
        self,
        ledger: Ledger,
        notify: Notify,
        on_originals_gone: Callable[[str, list[bytes]], None],
        kinds: Mapping[str, JobKind],
    ) -> None:
        """`on_originals_gone(inbox, paths)`: these files left the inbox."""
        self._ledger = ledger
        self._notify = notify
        self._on_originals_gone = on_originals_gone
        self._kinds = kinds
        self._lock = threading.Lock()
        self._in_hand: set[int] = set()

    def tidy_all(self, config: Config, is_usable: Callable[[str], bool], turn: Turn = _go_on) -> None:
        """Tidy up behind every ended job of the inboxes that can be used."""
        by_name = {inbox.name: inbox for inbox in config.inboxes}
        for job in self._ledger.read(table.jobs_to_tidy):
            if job.inbox in by_name and is_usable(job.inbox):
                self.tidy(job.id, by_name[job.inbox], config, turn)

    def tidy(self, job_id: int, inbox: InboxConfig, config: Config, turn: Turn = _go_on) -> None:
        """Move, delete or quarantine the original of an ended job; what cannot be done now is done later.

        `turn` is called behind each piece of an original that was read: hundreds of gigabytes may be.
        """
        with self._lock:
            if job_id in self._in_hand:
                return
            self._in_hand.add(job_id)
        try:
            self._tidy_job(job_id, inbox, config, turn)
        except HashingStoppedError:
            self._notify(OriginalWaits(f"job {job_id}: the service stops", inbox.name, job_id, level="debug"))
        except LedgerUnavailableError as problem:
            self._notify(OriginalWaits(problem.message, inbox.name, job_id))
        finally:
            with self._lock:
                self._in_hand.discard(job_id)

    def _tidy_job(self, job_id: int, inbox: InboxConfig, config: Config, turn: Turn) -> None:
        job = self._ledger.read(lambda reader: table.job_by_id(reader, job_id))
        if job is None or job.original not in TO_TIDY:
            return
        path = inbox.path / os.fsdecode(job.path)
        deletes = job.original is Original.TO_FINISH and inbox.on_done == "delete"
        why = self._kinds[job.kind].why_not_deleted(job) if deletes else ""
        try:
            event, target = (OriginalEvent.KEEP, None) if why else self._tidy(job, path, inbox, config, turn)
        except (OSError, OutputError, WorkerError) as problem:
            reason = problem.strerror if isinstance(problem, OSError) else problem.message
            message = f"job {job.id}: {path} cannot be moved or deleted now ({reason}); it is tried again"
            self._notify(OriginalWaits(message, job.inbox, job.id))
            return

        original = ORIGINALS[job.original, event]

        def settle(writer: Connection) -> None:
            where = None if target is None else os.fsencode(target)
            table.update(writer, job.id, original=original, original_path=where, **({"message": why} if why else {}))
            if original in HAS_LEFT:
                claims.forget_files(writer, job.inbox, [job.path])
                members.forget(writer, job.id)

        self._ledger.write(settle)
        if original in HAS_LEFT:
            self._on_originals_gone(job.inbox, [job.path])
        if why:
            self._notify(OriginalKept(f"job {job.id}: {path}: {why}", job.inbox, job.id, level="info"))
        self._notify(OriginalSettled(f"job {job.id}: the original is {original}", job.inbox, job.id))

    def _tidy(
        self, job: Job, path: Path, inbox: InboxConfig, config: Config, turn: Turn
    ) -> tuple[OriginalEvent, Path | None]:
        """Do what is to be done with the original; return that, and where it is. Raise OSError when it has to wait."""
        files = self._members(job, inbox, config, turn)
        if files is None:
            self._report_left(job, (f"{path} is not what the job read; it was left alone",))
            return OriginalEvent.KEEP, None
        if job.original is Original.TO_FINISH and inbox.on_done == "delete":
            if missing := self._missing_results(job):
                message = f"job {job.id}: {missing[0]} is not there any more; {path} is kept, not deleted"
                self._notify(OriginalKept(message, job.inbox, job.id))
                return OriginalEvent.KEEP, path
            result = originals.delete_unit(
                inbox.path,
                job.path,
                job.source_kind,
                files,
                started=job.original_path is not None,
                on_start=lambda: self._note(job, path),
                on_chunk=turn,
            )
            return self._ended(job, result, OriginalEvent.DELETE)
        if job.original is Original.TO_FINISH:
            return self._ended(job, self._move(job, files, inbox, inbox.done_folder, turn), OriginalEvent.MOVE)
        try:
            result = self._move(job, files, inbox, inbox.quarantine_folder, turn)
        except OSError:
            if os.access(inbox.path, os.W_OK):
                raise
            return OriginalEvent.MARK, path  # a read-only inbox: the ledger alone says that it is not to be taken again
        if result.place is not None:
            originals.write_reason(result.place, _reason(job, path))
        return self._ended(job, result, OriginalEvent.MOVE)

    def _move(self, job: Job, files: list[Member], inbox: InboxConfig, folder: Path, turn: Turn) -> OriginalsResult:
        return originals.move_unit(
            inbox.path,
            job.path,
            job.source_kind,
            files,
            folder,
            started=None if job.original_path is None else Path(os.fsdecode(job.original_path)),
            on_start=lambda place: self._note(job, place),
            on_chunk=turn,
        )

    def _note(self, job: Job, place: Path) -> None:
        """Note what is about to be done with the original: the next try finds there what a kill had moved already."""
        where = os.fsencode(place)
        self._ledger.write(lambda writer: table.update(writer, job.id, original_path=where))

    def _ended(self, job: Job, result: OriginalsResult, event: OriginalEvent) -> tuple[OriginalEvent, Path | None]:
        self._report_left(job, result.left)
        return (OriginalEvent.KEEP, None) if result.left and not result.done else (event, result.place)

    def _report_left(self, job: Job, left: Sequence[str]) -> None:
        if left:
            more = f" (and {len(left) - 1} more)" if len(left) > 1 else ""
            message = f"job {job.id}: {left[0]}{more}; what came under its name since is an arrival of its own"
            self._notify(OriginalKept(message, job.inbox, job.id))

    def _members(self, job: Job, inbox: InboxConfig, config: Config, turn: Turn) -> list[Member] | None:
        """Return the files that the job read; None where it was claimed by a dfld that kept no list, and what lies
        there now is not what it claimed."""
        found = self._ledger.read(lambda reader: members.members_of(reader, job.id))
        if found:
            return found
        unit = inspect_unit(inbox.path, os.fsdecode(job.path), scan_rules(inbox, config.watch), job.source_kind)
        if unit is None:
            return []
        if unit.fingerprint != job.file_state:
            return None

        def going_on() -> bool:
            turn()
            return False

        try:
            hashes = member_hashes(inbox.path, unit, going_on, within=inbox.footage_folders)
        except ChangedMeanwhileError:
            return None
        if len(job.sha256) == SHA256_LENGTH and content_hash(unit, hashes) != job.sha256:
            return None
        return footage_members(unit, hashes)

    def _missing_results(self, job: Job) -> list[str]:
        """Return what the job wrote and the workspace holds no more: faces, and with role dst frames.

        Then the original is not deleted: what was made of it cannot be had again. A face is there under whatever name
        it has by now.
        """
        layout = inbox_layout(Path(job.workspace), job.role, job.slug)
        written = self._ledger.read(lambda reader: self._kinds[job.kind].written(reader, job))
        missing = missing_faces(job, written.faces) if written.faces else []
        if layout.frames is not None and not missing:
            found = frames_in(layout.frames)
            if found < written.frames:
                missing.append(f"one of {written.frames} frames ({found} are in {layout.frames})")
        return missing


def frames_in(folder: Path) -> int:
    """Count the whole frames that a folder holds; empty files are none."""
    try:
        with os.scandir(folder) as entries:
            return sum(bool(FRAME_NAME.fullmatch(one.name)) and one.stat().st_size > 0 for one in entries)
    except FileNotFoundError:
        return 0


def _reason(job: Job, path: Path) -> dict[str, object]:
    return {
        "file": str(path),
        "inbox": job.inbox,
        "job": job.id,
        "sha256": job.sha256,
        "reason": job.reason,
        "message": job.message,
        "hint": job.hint,
        "attempts": job.attempts,
        "workers_ended": job.deaths,
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "put_back": "dfld quarantine release " + str(job.id),
    }
