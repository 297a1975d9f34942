""".dfld/renames.jsonl: every rename in a faceset, in batches, on the disk before the first of a batch is done.

    {"batch": …}   a batch is prepared: its number, kind and reason, and which batch it undoes
    {"move": …}    one file of it: from, to, the temporary name it may take, and what it is known by after a kill
    {"begin": n}   all n moves of the batch stand above; from here on it is carried out, by whoever comes next
    {"end": …}     it is carried out; which files are elsewhere than planned, and which had gone
    {"saved": …}   a copy of the metadata of all faces was made, by its hash, and behind which batch: it holds the names
                   that faces had then

In the file a line is one JSON object, and paths are relative to the folder that holds `aligned/`. Lines are only added;
`dfld forget` alone writes the file anew. A line that makes no sense says nothing, and a batch whose moves are not all
there was never begun.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from operator import attrgetter
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from core.opening import read_regular
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.state_folder import PRIVATE_FILE, make_state_folder
from engine.workspace.output_files import as_output_error

JOURNAL_NAME = "renames.jsonl"
JOURNAL_BYTES_MAX = 4 << 30
"""A move has about 300 bytes: ten million renames."""
_PLACES = (attrgetter("source"), attrgetter("target"), attrgetter("temporary"))
GONE = ""
"""Place of a file that was not there any more."""


@dataclass(frozen=True)
class Move:
    """One file of a batch. Paths are relative to the folder that holds `aligned/`."""

    source: str
    target: str
    temporary: str
    """In the folder of `source`; taken only where two files change places."""
    inode: int
    size_bytes: int
    mtime_ns: int
    face_id: str = ""
    reason: str = ""
    is_mask: bool = False
    """It is no face, but the mask of one that is renamed with it."""


@dataclass(frozen=True)
class Batch:
    """Renames that are done or undone together."""

    number: int
    kind: str
    """What asked for it: sort, curate, …"""
    at: datetime
    reason: str = ""
    undoes: int | None = None
    """The batch that this one takes back."""
    folders_made: tuple[str, ...] = ()
    moves: tuple[Move, ...] = ()
    has_begun: bool = False
    has_ended: bool = False
    exceptions: Mapping[int, str] = field(default_factory=lambda: MappingProxyType({}))
    """Where the file of a move went, by its place in `moves`, when not to its target; GONE."""

    @property
    def places(self) -> dict[str, str]:
        """Return source → where the file went, GONE for one that was not there any more."""
        return {move.source: self.exceptions.get(index, move.target) for index, move in enumerate(self.moves)}


def journal_path(folder: FacesetFolder) -> Path:
    return folder.state / JOURNAL_NAME


def read_journal(folder: FacesetFolder) -> tuple[Batch, ...]:
    """Return the batches of a faceset that were begun, oldest first; none where no file was ever renamed.

    Raise OutputError where the journal lies there and cannot be read."""
    return batches_in(_journal_bytes(folder))


def append_lines(folder: FacesetFolder, lines: Iterable[Mapping[str, object]]) -> None:
    """Add lines; they survive a power loss when this returns. Raise OutputError."""
    path = journal_path(folder)
    data = b"".join(map(line_bytes, lines))
    with as_output_error("write", path):
        make_state_folder(folder)
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        with open(os.open(path, flags, PRIVATE_FILE), "r+b", buffering=0) as file:  # noqa: PTH123
            size = os.fstat(file.fileno()).st_size
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                data = b"\n" + data  # a full disk cut the last line short
            while data:
                data = data[file.write(data) :]
            os.fsync(file.fileno())


def lines_of_batch(batch: Batch) -> Iterator[Mapping[str, object]]:
    """Yield the lines that stand in the journal before the first rename of a batch."""
    head: dict[str, object] = {"number": batch.number, "kind": batch.kind, "at": batch.at.isoformat()}
    if batch.reason:
        head["reason"] = batch.reason
    if batch.undoes is not None:
        head["undoes"] = batch.undoes
    if batch.folders_made:
        head["folders_made"] = list(batch.folders_made)
    yield {"batch": head}
    yield from ({"move": _move_values(move)} for move in batch.moves)
    yield {"begin": len(batch.moves)}


def line_bytes(line: Mapping[str, object]) -> bytes:
    """Return a line as it stands in the file, with its line break."""
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def line_of_end(batch: Batch) -> dict[str, object]:
    """Return the line that stands in the journal after the last rename of a batch."""
    return {"end": {"number": batch.number, "exceptions": [[index, to] for index, to in batch.exceptions.items()]}}


def line_of_copy(sha256: str, behind: int) -> dict[str, object]:
    """Return the line for a copy of the metadata: its hash, and the last batch before it, 0 for none."""
    return {"saved": {"sha256": sha256, "behind": behind}}


def read_copies(folder: FacesetFolder) -> dict[str, int]:
    """Return behind which batch each copy of the metadata was made, by its hash. Raise OutputError."""
    copies: dict[str, int] = {}
    for key, value in _entries_in(_journal_bytes(folder)):
        if key == "saved" and isinstance(value, dict):
            sha256, behind = value.get("sha256"), value.get("behind")
            if isinstance(sha256, str) and isinstance(behind, int):
                copies[sha256] = behind
    return copies


def batches_in(data: bytes) -> tuple[Batch, ...]:
    """Return the batches of a journal's bytes that were begun, oldest first."""
    batches: dict[int, Batch] = {}
    prepared: Batch | None = None
    moves: list[Move] = []
    for key, value in _entries_in(data):
        try:
            match key:
                case "batch" if isinstance(value, dict):
                    prepared, moves = _batch_of(value), []
                case "move" if isinstance(value, dict):
                    moves.append(_move_of(value))
                case "begin" if prepared is not None and value == len(moves) and _is_possible(moves):
                    batches[prepared.number] = replace(prepared, moves=tuple(moves), has_begun=True)
                    prepared = None
                case "end" if isinstance(value, dict):
                    exceptions = MappingProxyType({int(index): _place(to) for index, to in value["exceptions"]})
                    number = int(value["number"])
                    batches[number] = replace(batches[number], has_ended=True, exceptions=exceptions)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError):
            continue  # edited: what it said is then not known
    return tuple(batches.values())


def first_places(batches: Sequence[Batch]) -> dict[str, str]:
    """Return where each file that was ever renamed is now, as far as dfld moved it → its first known place."""
    first_of: dict[str, str] = {}
    for batch in batches:
        places = batch.places
        firsts = {source: first_of.pop(source, source) for source in places}
        first_of |= {place: firsts[source] for source, place in places.items() if place != GONE}
    return first_of


def _journal_bytes(folder: FacesetFolder) -> bytes:
    path = journal_path(folder)
    with as_output_error("read", path):
        try:
            return read_regular(path, within=None, max_bytes=JOURNAL_BYTES_MAX)
        except (FileNotFoundError, NotADirectoryError):
            return b""


def _entries_in(data: bytes) -> Iterator[tuple[str, object]]:
    """Yield what each line says; one that was cut short by a full disk, or edited, says nothing."""
    for text in data.split(b"\n"):
        try:
            ((key, value), *_) = json.loads(text).items()
        except (AttributeError, TypeError, ValueError, RecursionError):
            continue
        yield key, value


def ids_of_places(batches: Sequence[Batch]) -> dict[str, str]:
    """Return where dfld put each face last → its id, "" where the journal does not say it."""
    placed: dict[str, str] = {}
    for batch in batches:
        ids = {move.source: move.face_id or placed.get(move.source, "") for move in batch.moves if not move.is_mask}
        went = {source: place for source, place in batch.places.items() if source in ids}
        for source in went:
            placed.pop(source, None)
        placed |= {place: ids[source] for source, place in went.items() if place != GONE}
    return placed


def _move_values(move: Move) -> dict[str, object]:
    values: dict[str, object] = {"from": move.source, "to": move.target, "by": move.temporary}
    values |= {"inode": move.inode, "size": move.size_bytes, "mtime_ns": move.mtime_ns}
    if move.face_id:
        values["face_id"] = move.face_id
    if move.reason:
        values["reason"] = move.reason
    if move.is_mask:
        values["is_mask"] = True
    return values


def _move_of(value: Mapping[str, object]) -> Move:
    inode, size, mtime_ns = (_whole(value[name]) for name in ("inode", "size", "mtime_ns"))
    source, target, temporary = (_place(value[name]) for name in ("from", "to", "by"))
    known = {name: str(value.get(name, "")) for name in ("face_id", "reason")}
    return Move(source, target, temporary, inode, size, mtime_ns, **known, is_mask=value.get("is_mask") is True)


def _is_possible(moves: Sequence[Move]) -> bool:
    """Say whether no two files have or get one name: what dfld writes never says otherwise."""
    return all(len({getter(move) for move in moves}) == len(moves) for getter in _PLACES)


def _batch_of(value: Mapping[str, object]) -> Batch:
    made = value.get("folders_made", [])
    if not isinstance(made, list):
        raise TypeError("folders_made is no list")
    undoes = value.get("undoes")
    return Batch(
        _whole(value["number"]),
        str(value["kind"]),
        datetime.fromisoformat(str(value["at"])),
        str(value.get("reason", "")),
        None if undoes is None else _whole(undoes),
        tuple(_place(one) for one in made),
    )


def _whole(value: object) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is no whole number")
    return value


def _place(value: object) -> str:
    """Return a path below the faceset's folder. Raise ValueError for one that leads out of it."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError(f"{value!r} is no path")
    path = PurePosixPath(value)
    if path.is_absolute() or ".." in path.parts or len(path.parts) > 2:
        raise ValueError(f"{value!r} is no path below the faceset's folder")
    return value
