"""`dfld forget NAME`: remove what dfld made of a person, and say what it removed.

A person is an inbox: its faces, masks, frames, logs and previews in the workspaces, its rows in the ledger (they hold
embeddings in the state that jobs carry), copies of older ledgers. What the operator put there is not dfld's to
delete: originals, wherever they lie by now, and reference photos are named, so that they can be dealt with.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from daemon.config.schema import InboxConfig
from daemon.errors import ServiceError
from daemon.jobs.originals import reason_path
from daemon.jobs.outputs import clip_files
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger
from engine.workspace.workspace import inbox_layout


@dataclass(frozen=True)
class Forgotten:
    """What was removed, and what is left for a person to decide about."""

    name: str
    removed: tuple[str, ...]
    """Files."""
    ledger_rows: int
    left: tuple[str, ...]
    """Originals and reference photos, which are not dfld's."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forget(ledger: Ledger, name: str, inbox: InboxConfig | None) -> Forgotten:
    """Remove everything of the inbox `name`, which no worker is working for.

    inbox: its configuration, None where it has left it already. Raise ServiceError when the ledger knows no such
    name, or a job of it runs.
    """
    jobs = [job for job in ledger.read(lambda reader: list(table.jobs(reader))) if job.inbox == name]
    if not jobs and inbox is None:
        raise ServiceError(f"neither the ledger nor the configuration knows an inbox {name!r}; nothing was removed")
    if any(job.state == "running" for job in jobs):
        raise ServiceError(f"a job of {name} still runs; nothing was removed", hint=f"dfld pause {name}, then again")
    removed = [path for job in jobs for path in _remove_files(job, inbox)]
    rows = ledger.write(lambda writer: _remove_rows(writer, name))
    removed += _remove_copies(ledger.path)
    ledger.shrink()
    left = [path for job in jobs if (path := _original(job, inbox)) is not None]
    left += [str(path) for path in ((*inbox.references, *inbox.other_age) if inbox else ())]
    return Forgotten(name, tuple(removed), rows, tuple(left))


def _remove_files(job: Job, inbox: InboxConfig | None) -> list[str]:
    removed = []
    for path in clip_files(inbox_layout(Path(job.workspace), job.role, job.slug)):
        path.unlink(missing_ok=True)
        removed.append(str(path))
    original = _original(job, inbox)
    reason = reason_path(Path(original)) if original else None
    if reason is not None and reason.is_file():
        reason.unlink()
        removed.append(str(reason))
    return removed


def _original(job: Job, inbox: InboxConfig | None) -> str | None:
    if job.original_path is not None:
        path = Path(os.fsdecode(job.original_path))
    elif inbox is not None:
        path = inbox.path / os.fsdecode(job.path)
    else:
        return None
    return str(path) if os.path.lexists(path) else None


def _remove_rows(writer: sqlite3.Connection, name: str) -> int:
    count = 0
    count += writer.execute("DELETE FROM faces WHERE job IN (SELECT id FROM jobs WHERE inbox = ?)", (name,)).rowcount
    for statement in (
        "DELETE FROM files WHERE inbox = ?",
        "DELETE FROM jobs WHERE inbox = ?",
        "DELETE FROM totals WHERE inbox = ?",
    ):
        count += writer.execute(statement, (name,)).rowcount
    return count


def _remove_copies(ledger_path: Path) -> Sequence[str]:
    """Remove copies that were made before a migration: the person stands in them too."""
    removed = []
    for copy in sorted(ledger_path.parent.glob(f"{ledger_path.name}.schema*")):
        copy.unlink()
        removed.append(str(copy))
    return removed
