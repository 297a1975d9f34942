"""`dfld forget NAME`: remove what dfld made of a person, prove that it is gone, and say what is left.

A person is an inbox: its faces, whatever they are called by now, masks, frames, logs and previews in the workspaces,
its rows in the ledger (they hold embeddings in the state that jobs carry), copies of older ledgers. What the operator
put there is not dfld's to delete: originals, wherever they lie by now, and reference photos are named, so that they
can be dealt with.

What SQLite deletes it overwrites, but another program that reads the ledger keeps the old pages alive. Then that is
said, and tried again until the program lets go; done is only what a search through the files did not find any more.
"""

from __future__ import annotations

import json
import os
import sqlite3
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from daemon.config.schema import InboxConfig
from daemon.errors import LedgerError, ServiceError
from daemon.events.event import Event, Tell
from daemon.jobs.originals import reason_path
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger
from daemon.worker.workspaces import clip_of, remove_faces

TRY_AGAIN_S = 2.0
NEEDLE_BYTES_MIN = 6
"""A shorter name occurs by chance."""
CHUNK_BYTES = 4 << 20


@dataclass(frozen=True)
class Forgotten:
    """What was removed, what is left for a person to decide about, and what could not be removed yet."""

    name: str
    removed: tuple[str, ...]
    """Files."""
    ledger_rows: int
    left: tuple[str, ...]
    """Originals and reference photos, which are not dfld's, and pictures of which nobody can tell whom they show."""
    remains: tuple[str, ...]
    """Files that still hold something of the person, each with the reason; none once it is done."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def forget(ledger: Ledger, name: str, inbox: InboxConfig | None) -> tuple[Forgotten, frozenset[bytes]]:
    """Remove everything of the inbox `name`, which no worker is working for; return it, and the needles to look for.

    inbox: its configuration, None where it has left it already. Raise ServiceError when the ledger knows no such
    name, or a job of it runs; OutputError where a workspace cannot be gone through, with the ledger unchanged.
    """
    jobs = [job for job in ledger.read(lambda reader: list(table.jobs(reader))) if job.inbox == name]
    if not jobs and inbox is None:
        raise ServiceError(f"neither the ledger nor the configuration knows an inbox {name!r}; nothing was removed")
    if any(job.state == "running" for job in jobs):
        raise ServiceError(f"a job of {name} still runs; nothing was removed", hint=f"dfld pause {name}, then again")
    faces = remove_faces([_clip(ledger, job) for job in jobs]) if jobs else {"removed": [], "left": [], "remains": []}
    removed = [*faces["removed"], *(path for job in jobs if (path := _remove_reason(job, inbox)) is not None)]
    left = [path for job in jobs if (path := _original(job, inbox)) is not None]
    left += [str(path) for path in ((*inbox.references, *inbox.other_age) if inbox else ())]
    needles = _needles(ledger, name, jobs)
    rows = ledger.write(lambda writer: _remove_rows(writer, name))
    removed += _remove_copies(ledger.path)
    remains = [*faces["remains"], *wipe(ledger, needles, ledger.shrink)]
    return Forgotten(name, tuple(removed), rows, (*faces["left"], *left), tuple(remains)), needles


def wipe(ledger: Ledger, needles: frozenset[bytes], overwrite: Callable[[], None]) -> list[str]:
    """Have SQLite `overwrite` what was deleted; search its files for `needles` and return those that hold one still."""
    try:
        overwrite()
        why = "another program reads the ledger and keeps the deleted pages alive"
    except LedgerError as problem:
        why = problem.message
    files = sorted(ledger.path.parent.glob(f"*{ledger.path.name}*"))
    return [f"{path}: {why}; it is tried again" for path in files if path.is_file() and _holds_any(path, needles)]


def wipe_until_gone(ledger: Ledger, name: str, needles: frozenset[bytes], stop: threading.Event, tell: Tell) -> None:
    """Go on with `wipe` until nothing is found any more, in a thread of its own; `stop` ends it.

    What is left then is overwritten when the service starts anew: opening the ledger empties its log.
    """

    def work() -> None:
        while not stop.wait(TRY_AGAIN_S):
            if not wipe(ledger, needles, ledger.empty_log):
                message = f"{name} is forgotten: nothing of it is left in the files of the ledger"
                tell(Event("forget.done", message, "info", facts={"name": name}))
                return

    threading.Thread(target=work, name="forget", daemon=True).start()


def _clip(ledger: Ledger, job: Job) -> Mapping[str, Any]:
    """Return a job's clip with the place of each written face: those of an older dfld stand in no manifest."""

    def boxes(reader: sqlite3.Connection) -> list[Any]:
        rows = reader.execute("SELECT frame, record FROM faces WHERE job = ? AND file IS NOT NULL", (job.id,))
        return [[frame, [round(edge) for edge in json.loads(record)["bbox"]]] for frame, record in rows]

    return {**clip_of(job), "boxes": ledger.read(boxes) if job.kind == "video" else []}


def _needles(ledger: Ledger, name: str, jobs: Sequence[Job]) -> frozenset[bytes]:
    """Return what stood in the ledger of this person, and of nobody who stays: hashes of content, names of files."""

    def others(reader: sqlite3.Connection) -> bytes:
        question = "SELECT path FROM jobs WHERE inbox != ?1 UNION ALL SELECT path FROM files WHERE inbox != ?1"
        return b"\0".join(bytes(row[0]) for row in reader.execute(question, (name,)))

    stay = ledger.read(others)
    names = {job.path.rpartition(b"/")[2] for job in jobs}
    hashes = ledger.read(lambda reader: _hashes_of_others(reader, name))
    return frozenset(
        [one for one in names if len(one) >= NEEDLE_BYTES_MIN and one not in stay]
        + [job.sha256.encode() for job in jobs if len(job.sha256) >= NEEDLE_BYTES_MIN and job.sha256 not in hashes]
    )


def _hashes_of_others(reader: sqlite3.Connection, name: str) -> set[str]:
    return {row[0] for row in reader.execute("SELECT sha256 FROM jobs WHERE inbox != ?", (name,))}


def _holds_any(path: Path, needles: frozenset[bytes]) -> bool:
    """Say whether a file holds one of these byte strings; a file that cannot be read may."""
    overlap = max(map(len, needles), default=0)
    tail = b""
    try:
        with path.open("rb") as file:
            while chunk := file.read(CHUNK_BYTES):
                window = tail + chunk
                if any(needle in window for needle in needles):
                    return True
                tail = window[-overlap:] if overlap else b""
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def _remove_reason(job: Job, inbox: InboxConfig | None) -> str | None:
    """Remove the reason that stands beside a quarantined original; return where it was."""
    original = _original(job, inbox)
    reason = reason_path(Path(original)) if original else None
    if reason is None or not reason.is_file():
        return None
    reason.unlink()
    return str(reason)


def _original(job: Job, inbox: InboxConfig | None) -> str | None:
    if job.original_path is not None:
        path = Path(os.fsdecode(job.original_path))
    elif inbox is not None:
        path = inbox.path / os.fsdecode(job.path)
    else:
        return None
    return str(path) if os.path.lexists(path) else None


def _remove_rows(writer: sqlite3.Connection, name: str) -> int:
    """Remove every row of every table that names the inbox or a job of it; return how many."""
    tables = [row[0] for row in writer.execute("SELECT name FROM sqlite_schema WHERE type = 'table'").fetchall()]
    columns = {one: {column[1] for column in writer.execute(f"PRAGMA table_info({one})").fetchall()} for one in tables}
    own = "job IN (SELECT id FROM jobs WHERE inbox = ?)"
    count = sum(
        writer.execute(f"DELETE FROM {one} WHERE {own}", (name,)).rowcount for one in tables if "job" in columns[one]
    )
    for one in sorted(tables, key=lambda table_name: table_name == "jobs"):  # jobs last: others refer to them
        if "inbox" in columns[one]:
            count += writer.execute(f"DELETE FROM {one} WHERE inbox = ?", (name,)).rowcount
    return count


def _remove_copies(ledger_path: Path) -> Sequence[str]:
    """Remove copies that were made before a migration: the person stands in them too."""
    removed = []
    for copy in sorted(ledger_path.parent.glob(f"*{ledger_path.name}.schema*")):
        copy.unlink()
        removed.append(str(copy))
    return removed
