"""`dfld forget NAME`: remove what dfld made of a person, prove that it is gone, and say what is left.

A person is an inbox: its faces, whatever they are called by now, masks, frames, logs and previews in the workspaces,
what `.dfld/` there keeps of them, its rows in the ledger (they hold embeddings in the state that jobs carry), copies of
older ledgers, the reasons in the quarantine (they hold names and hashes of files). What the operator put there is not
dfld's to delete: originals, wherever they lie by now, and reference photos are named, so that they can be handled.

What SQLite deletes it overwrites, but another program that reads the ledger keeps the old pages alive. Then that is
said, and tried again until the program lets go; done is only what a search through the files did not find any more.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.boundary import boundary
from core.opening import CHUNK_BYTES, read_regular
from daemon.config.schema import InboxConfig
from daemon.errors import LedgerError, ServiceError
from daemon.events.event import Notify
from daemon.events.service_events import PersonForgotten
from daemon.jobs.originals import REASON_ENDING, reason_path
from daemon.ledger import faces
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Connection, Ledger
from daemon.ledger.transitions import Original, State
from daemon.worker.workspaces import Clip, RemovedFaces, clip_of, remove_faces

TRY_AGAIN_S = 2.0
NEEDLE_BYTES_MIN = 6
"""A shorter name occurs by chance."""
REASON_BYTES_MAX = 1 << 20


@dataclass(frozen=True)
class Forgotten:
    """What was removed, what is left for a person to decide about, and what could not be removed yet."""

    name: str
    removed: tuple[str, ...]
    """Files."""
    ledger_rows: int
    left: tuple[str, ...]
    """Originals and reference photos, which are not dfld's, and pictures of which nobody can say whom they show."""
    remains: tuple[str, ...]
    """Files that still hold something of the person, each with the reason; none once it is done."""


def forget(ledger: Ledger, name: str, inbox: InboxConfig | None) -> tuple[Forgotten, frozenset[bytes]]:
    """Remove everything of the inbox `name`, which no worker is working for; return it, and the needles to look for.

    inbox: its configuration, None where it has left it already. Raise ServiceError when the ledger knows no such
    name, or a job of it runs; OutputError where a workspace cannot be gone through, with the ledger unchanged.
    """
    jobs = [job for job in ledger.read(lambda reader: list(table.jobs(reader))) if job.inbox == name]
    if not jobs and inbox is None:
        raise ServiceError(f"neither the ledger nor the configuration knows an inbox {name!r}; nothing was removed")
    if any(job.state is State.RUNNING for job in jobs):
        raise ServiceError(f"a job of {name} still runs; nothing was removed", hint=f"dfld pause {name}, then again")
    clips = [_clip(ledger, job) for job in jobs if job.subject is None]
    gone = remove_faces(clips) if clips else RemovedFaces()
    reasons = _reasons(name, jobs, inbox)
    removed = [*gone.removed, *map(str, _remove_reasons(reasons))]
    left = {path: None for job in jobs if (path := _original(job, inbox)) is not None}
    left |= dict.fromkeys(path for path in map(str, reasons.values()) if os.path.lexists(path))
    left |= dict.fromkeys(_copies(ledger, inbox)) if inbox else {}
    left |= dict.fromkeys(str(path) for path in ((*inbox.references, *inbox.other_age) if inbox else ()))
    needles = _needles(ledger, name, jobs)
    rows = ledger.write(lambda writer: _remove_rows(writer, name))
    removed += _remove_copies(ledger.path)
    remains = [
        *gone.remains,
        *(f"{path}: cannot be removed" for path in _reasons(name, jobs, inbox)),
        *wipe(ledger, needles, ledger.shrink),
    ]
    return Forgotten(name, tuple(removed), rows, (*gone.left, *left), tuple(remains)), needles


def wipe(ledger: Ledger, needles: frozenset[bytes], overwrite: Callable[[], None]) -> list[str]:
    """Have SQLite `overwrite` what was deleted; search its files for `needles` and return those that hold one still."""
    try:
        overwrite()
        why = "another program reads the ledger and keeps the deleted pages alive"
    except LedgerError as problem:
        why = problem.message
    files = sorted(ledger.path.parent.glob(f"*{ledger.path.name}*"))
    return [f"{path}: {why}; it is tried again" for path in files if path.is_file() and _holds_any(path, needles)]


def wipe_until_gone(
    ledger: Ledger, name: str, needles: frozenset[bytes], stop: threading.Event, notify: Notify
) -> None:
    """Go on with `wipe` until nothing is found any more, in a thread of its own; `stop` ends it.

    What is left then is overwritten when the service starts anew: opening the ledger empties its log.
    """

    def work() -> None:
        while not stop.wait(TRY_AGAIN_S):
            with boundary("thread", "overwriting what was forgotten"):
                if not wipe(ledger, needles, ledger.empty_log):
                    message = f"{name} is forgotten: nothing of it is left in the files of the ledger"
                    notify(PersonForgotten(message, name=name))
                    return

    threading.Thread(target=work, name="forget", daemon=True).start()


def _clip(ledger: Ledger, job: Job) -> Clip:
    """Return a job's clip with the id of each written face: those of an older dfld stand in no manifest."""
    return clip_of(job, ledger.read(lambda reader: faces.written_faces(reader, job.id)))


def _needles(ledger: Ledger, name: str, jobs: Sequence[Job]) -> frozenset[bytes]:
    """Return what stood in the ledger of this person, and of nobody who stays: hashes of content, names of files."""

    def others(reader: Connection) -> bytes:
        question = "SELECT path FROM jobs WHERE inbox != ?1 UNION ALL SELECT path FROM files WHERE inbox != ?1"
        return b"\0".join(bytes(row[0]) for row in reader.execute(question, (name,)))

    stay = ledger.read(others)
    seen, known = ledger.read(lambda reader: _seen_of(reader, name))
    names = {path.rpartition(b"/")[2] for path in seen.union(job.path for job in jobs)}
    known |= {job.sha256 for job in jobs}
    hashes = ledger.read(lambda reader: _hashes_of_others(reader, name))
    return frozenset(
        [one for one in names if len(one) >= NEEDLE_BYTES_MIN and one not in stay]
        + [sha256.encode() for sha256 in known if len(sha256) >= NEEDLE_BYTES_MIN and sha256 not in hashes]
    )


def _hashes_of_others(reader: Connection, name: str) -> set[str]:
    question = " UNION ".join(f"SELECT sha256 FROM {one} WHERE inbox != ?1" for one in ("jobs", "files", "parts"))
    return {row[0] for row in reader.execute(question, (name,))}


def _seen_of(reader: Connection, name: str) -> tuple[set[bytes], set[str]]:
    """Return the paths and hashes of what lay in the inbox and is no job's own: duplicates, parts of whole copies."""
    paths = {row[0] for row in reader.execute("SELECT path FROM files WHERE inbox = ?", (name,))}
    question = "SELECT sha256 FROM files WHERE inbox = ?1 UNION SELECT sha256 FROM parts WHERE inbox = ?1"
    return paths, {row[0] for row in reader.execute(question, (name,))}


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


def _reasons(name: str, jobs: Sequence[Job], inbox: InboxConfig | None) -> dict[Path, Path]:
    """Return the reason files of this inbox, each with the quarantined original that it stands beside or stood.

    Duplicates are no job's original, and a reason stays when its original is taken away by hand: so the quarantine is
    gone through for reasons that name the inbox, whatever the ledger says.
    """
    found = {reason_path(place): place for job in jobs if (place := _quarantined(job)) is not None}
    folders = {inbox.quarantine_folder} if inbox else set()
    folders |= {place.parent for place in found.values()}
    for folder in sorted(folders):
        for parent, subfolders, names in os.walk(folder):
            beside = {reason_path(Path(parent, one)): Path(parent, one) for one in (*subfolders, *names)}
            for path in (Path(parent, one) for one in sorted(names) if one.endswith(REASON_ENDING)):
                if _names_inbox(path, name):
                    found.setdefault(path, beside.get(path, path.with_name(path.name.removesuffix(REASON_ENDING))))
    return {reason: place for reason, place in found.items() if os.path.lexists(reason)}


def _quarantined(job: Job) -> Path | None:
    if job.original not in (Original.QUARANTINED, Original.TO_QUARANTINE) or job.original_path is None:
        return None
    return Path(os.fsdecode(job.original_path))


def _names_inbox(reason: Path, name: str) -> bool:
    """Say whether a reason file is about a file of this inbox; what is no reason file is about none."""
    try:
        values = json.loads(read_regular(reason, within=None, max_bytes=REASON_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(values, dict) and values.get("inbox") == name and "sha256" in values


def _remove_reasons(reasons: Mapping[Path, Path]) -> Iterator[Path]:
    for reason in reasons:
        with suppress(OSError):  # then it remains, and is reported
            reason.unlink()
            yield reason


def _copies(ledger: Ledger, inbox: InboxConfig) -> list[str]:
    """Return what lies in the inbox under other names than those of its jobs: the same content once more."""
    paths, _ = ledger.read(lambda reader: _seen_of(reader, inbox.name))
    found = (str(inbox.path / os.fsdecode(path)) for path in sorted(paths))
    return [path for path in found if os.path.lexists(path)]


def _original(job: Job, inbox: InboxConfig | None) -> str | None:
    if job.original_path is not None:
        path = Path(os.fsdecode(job.original_path))
    elif inbox is not None:
        path = inbox.path / os.fsdecode(job.path)
    else:
        return None
    return str(path) if os.path.lexists(path) else None


def _remove_rows(writer: Connection, name: str) -> int:
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
