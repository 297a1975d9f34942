"""The originals of ended jobs: moved, deleted or quarantined, once each, now or when it becomes possible.

A runner tidies up right behind its job; what could not be done then (a read-only inbox, a full disk, a kill in
between) is found in the ledger and done later.
"""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from daemon.config.schema import Config, InboxConfig
from daemon.events.event import Event, Tell
from daemon.jobs import originals
from daemon.ledger import claims
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger, LedgerFullError
from engine.workspace.workspace import inbox_layout


class Tidier:
    """Deals with originals; any thread may ask, and each original is in one thread's hands at a time."""

    def __init__(self, ledger: Ledger, tell: Tell, on_originals_gone: Callable[[str, list[bytes]], None]) -> None:
        """`on_originals_gone(inbox, paths)`: these files left the inbox."""
        self._ledger = ledger
        self._tell = tell
        self._on_originals_gone = on_originals_gone
        self._lock = threading.Lock()
        self._in_hand: set[int] = set()

    def tidy_all(self, config: Config, is_usable: Callable[[str], bool]) -> None:
        """Tidy up behind every ended job of the inboxes that can be used."""
        by_name = {inbox.name: inbox for inbox in config.inboxes}
        for job in self._ledger.read(table.jobs_to_tidy):
            if job.inbox in by_name and is_usable(job.inbox):
                self.tidy(job.id, by_name[job.inbox], config)

    def tidy(self, job_id: int, inbox: InboxConfig, config: Config) -> None:
        """Move, delete or quarantine the original of an ended job; what cannot be done now is done later."""
        with self._lock:
            if job_id in self._in_hand:
                return
            self._in_hand.add(job_id)
        try:
            self._tidy_job(job_id, inbox, config)
        except LedgerFullError as problem:
            self._tell(Event("original.waits", problem.message, "warning", inbox.name, job_id))
        finally:
            with self._lock:
                self._in_hand.discard(job_id)

    def _tidy_job(self, job_id: int, inbox: InboxConfig, config: Config) -> None:
        job = self._ledger.read(lambda reader: table.job_by_id(reader, job_id))
        if job is None or job.original not in ("to_finish", "to_quarantine"):
            return
        path = inbox.path / os.fsdecode(job.path)
        try:
            original, target = self._tidy(job, path, inbox, config)
        except OSError as problem:
            message = f"job {job.id}: {path} cannot be moved or deleted now ({problem.strerror}); it is tried again"
            self._tell(Event("original.waits", message, "warning", job.inbox, job.id))
            return

        def settle(writer: sqlite3.Connection) -> None:
            where = None if target is None else os.fsencode(target)
            table.update(writer, job.id, original=original, original_path=where)
            if original not in ("marked", "kept"):
                claims.forget_files(writer, job.inbox, [job.path])

        self._ledger.write(settle)
        if original not in ("marked", "kept"):
            self._on_originals_gone(job.inbox, [job.path])
        self._tell(Event("original.settled", f"job {job.id}: the original is {original}", "debug", job.inbox, job.id))

    def _tidy(self, job: Job, path: Path, inbox: InboxConfig, config: Config) -> tuple[str, Path | None]:
        """Return what became of the original, and where it is. Raise OSError when it has to wait."""
        with_it = originals.companions(path, config.watch.done_marker)
        if job.original == "to_finish":
            if inbox.on_done == "delete":
                if missing := self._missing_faces(job):
                    message = f"job {job.id}: {missing[0]} is not there any more; {path} is kept, not deleted"
                    self._tell(Event("original.kept", message, "warning", job.inbox, job.id))
                    return "kept", path
                if os.path.lexists(path):
                    originals.delete(path)
                for one in with_it:
                    originals.delete(one)
                return "deleted", None
            if not os.path.lexists(path):
                return "moved", None  # a crash came between the move and this line
            target = originals.move_to(path, inbox.done_folder, below=inbox.path)
            for one in with_it:
                originals.move_to(one, inbox.done_folder, below=inbox.path)
            return "moved", target
        if not os.path.lexists(path):
            return "quarantined", None
        try:
            target = originals.move_to(path, inbox.quarantine_folder, below=inbox.path)
        except OSError:
            if os.access(inbox.path, os.W_OK):
                raise
            return "marked", path  # a read-only inbox: the ledger alone says that it is not to be taken again
        for one in with_it:
            originals.move_to(one, inbox.quarantine_folder, below=inbox.path)
        originals.write_reason(target, _reason(job, path))
        return "quarantined", target

    def _missing_faces(self, job: Job) -> list[str]:
        """Return the faces that the ledger knows and the workspace does not: then the original is not deleted."""
        layout = inbox_layout(Path(job.workspace), job.role, job.slug)
        names = self._ledger.read(lambda reader: table.kept_files(reader, job.id))
        return [name for name in names if not any((one / name).is_file() for one in (layout.aligned, layout.review))]


def _reason(job: Job, path: Path) -> dict[str, Any]:
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
