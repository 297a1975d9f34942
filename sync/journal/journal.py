"""What a round has done so far, on disk before anything builds on it.

The journal is the law after a crash: a round without a `decided` line has changed nothing that counts and is undone;
one with it is finished, whatever it takes. Not for metrics or for people (`dfld rounds` reads it, rounds write it).

File form: `<folder>/000123/journal.jsonl`, one JSON object per line, each line (`sync.journal.lines`) written and
synced before `append` returns. A last line without its end was never acknowledged to anybody and does not count.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from core.files import sync_file, sync_folder
from sync.errors import JournalError
from sync.journal.lines import Line, line_of

MAX_JOURNAL_BYTES = 16 * 2**20
"""A round of 20 machines writes about 100 lines."""


@dataclass(frozen=True)
class Entry:
    """One line of a journal, and when it was written."""

    line: Line
    at: datetime = field(default_factory=lambda: datetime.now(UTC))


class Journal(Protocol):
    """The journal of all rounds of one model. May be called from several threads."""

    def numbers(self) -> Sequence[int]:
        """Return the numbers of all rounds, oldest first."""

    def begin(self) -> int:
        """Return the number of a new round: never used before, also not by one that left nothing else behind."""

    def append(self, number: int, entry: Entry) -> None:
        """Write an entry; it survives kill -9 and power loss from the moment this returns."""

    def read(self, number: int) -> Sequence[Entry]:
        """Return the entries of a round, oldest first. Raise JournalError for a damaged one."""


class FileJournal:
    """A journal of files; see `Journal` for the methods."""

    def __init__(self, folder: Path, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """`folder` is made at the first round."""
        self.folder = folder
        self._clock = clock
        self._lock = threading.Lock()

    def numbers(self) -> list[int]:
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.name.isdecimal())

    def begin(self) -> int:
        with self._lock:
            self.folder.mkdir(parents=True, exist_ok=True)
            number = max(self.numbers(), default=0) + 1
            (self.folder / f"{number:06d}").mkdir()
            sync_folder(self.folder)
            return number

    def append(self, number: int, entry: Entry) -> None:
        line = entry.line
        values = {"step": line.step, "machine": line.machine, "at": self._clock().isoformat(), "facts": line.facts()}
        content = json.dumps(values, ensure_ascii=False).encode() + b"\n"
        path = self._path(number)
        with self._lock:
            try:
                is_new = not path.exists()
                descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
                try:
                    end = _end_of_whole_lines(descriptor)
                    os.ftruncate(descriptor, end)
                    try:
                        _write_all(descriptor, content, end)
                        sync_file(path)
                    except OSError:
                        # A line that was not acknowledged must not count later, when nobody acted on it.
                        os.ftruncate(descriptor, end)
                        raise
                finally:
                    os.close(descriptor)
                if is_new:
                    sync_folder(path.parent)
            except OSError as error:
                raise JournalError(f"cannot write {path}: {error.strerror}") from error

    def read(self, number: int) -> list[Entry]:
        path = self._path(number)
        try:
            if path.exists() and path.stat().st_size > MAX_JOURNAL_BYTES:
                raise JournalError(f"{path} is larger than {MAX_JOURNAL_BYTES} bytes")
            content = path.read_bytes() if path.exists() else b""
        except OSError as error:
            raise JournalError(f"cannot read {path}: {error.strerror}") from error
        whole = content[: content.rfind(b"\n") + 1]
        return [_entry(line, path, place) for place, line in enumerate(whole.splitlines(), 1)]

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}" / "journal.jsonl"


def _entry(line: bytes, path: Path, place: int) -> Entry:
    try:
        found = json.loads(line)
        step, machine, facts = str(found["step"]), str(found["machine"]), dict(found["facts"])
        return Entry(line_of(step, machine, facts), datetime.fromisoformat(found["at"]))
    except (ValueError, KeyError, TypeError) as error:
        raise JournalError(
            f"{path} line {place} is damaged",
            hint="the round cannot be finished by itself; compare the machines' given.json, then move the folder away",
        ) from error


def _end_of_whole_lines(descriptor: int) -> int:
    """Return the offset behind the last whole line: half a line is what a crash left of one."""
    size = os.fstat(descriptor).st_size
    content = os.pread(descriptor, min(size, MAX_JOURNAL_BYTES), 0)
    return content.rfind(b"\n") + 1


def _write_all(descriptor: int, content: bytes, offset: int) -> None:
    done = 0
    while done < len(content):
        done += os.pwrite(descriptor, content[done:], offset + done)
