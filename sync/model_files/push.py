"""New weights onto a machine in two steps: staged beside the live files first, put in place later, all or nothing.

Not for deciding when (rounds) or for stopping trainers (trainer). Staging changes no live file. Putting in place is a
row of renames that may be interrupted anywhere and done again: each file is either still staged, or its live hash
says that it is in place, or it is staged once more. The note `given.json` comes last.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from sync.errors import RemoteDiskFullError, RemoteFileError, RemoteFileMissingError
from sync.places import RemotePlaces
from sync.transports.transport import PART, OnBytes, Transport, ignore_bytes

HASH_PIECE_BYTES = 255 * 1024
MOST_NOTE_BYTES = 64 * 1024
ROOM_TO_SPARE_BYTES = 64 * 2**20
"""Beyond the staged files: the trainer's next save writes a temporary copy of its largest file."""


@dataclass(frozen=True)
class StagedFile:
    """One file that lies on a machine, beside the live one."""

    size_bytes: int
    sha256: str


def stage(
    transport: Transport,
    places: RemotePlaces,
    number: int,
    files: Mapping[str, Path],
    *,
    on_bytes: OnBytes = ignore_bytes,
) -> dict[str, StagedFile]:
    """Copy `files` (by part) to the machine beside the live ones and return what lies there now.

    Raise RemoteDiskFullError before the first byte when they cannot fit. No live file changes.
    """
    folder = places.staged(number)
    transport.make_folder(folder)
    needed = sum(path.stat().st_size for path in files.values())
    free = transport.free_bytes(folder)
    if free is not None and free < needed + ROOM_TO_SPARE_BYTES:
        raise RemoteDiskFullError(
            f"{places.model_dir} has {free} bytes free, {needed} and {ROOM_TO_SPARE_BYTES} to spare are needed",
            machine=transport.machine.name,
            hint="free space on the machine, for example old autobackups",
        )
    staged = {}
    for part, path in files.items():
        digest = transport.push(path, f"{folder}/{places.model.file_name(part)}", on_bytes=on_bytes)
        staged[part] = StagedFile(path.stat().st_size, digest)
    return staged


def put_in_place(
    transport: Transport,
    places: RemotePlaces,
    number: int,
    staged: Mapping[str, StagedFile],
    files: Mapping[str, Path],
) -> None:
    """Rename every staged file over its live one; safe to call again after an interruption anywhere.

    `files` are the same files on this computer, for one that is neither staged any more nor in place. The caller
    sees to it that no trainer runs.
    """
    for part, expected in staged.items():
        waiting = f"{places.staged(number)}/{places.model.file_name(part)}"
        if not _is_staged(transport, waiting, expected):
            if live_sha256(transport, places.live(part)) == expected.sha256:
                continue
            transport.make_folder(places.staged(number))
            transport.push(files[part], waiting)
        transport.rename_over(waiting, places.live(part))


def state_of_exchange(
    transport: Transport, places: RemotePlaces, number: int, staged: Mapping[str, StagedFile]
) -> Literal["old", "new", "mixed"]:
    """Say how far an interrupted `put_in_place` got: a trainer may start on a set that is whole, old or new."""
    there = {file.name for file in transport.list_files(places.staged(number))}
    waiting = [part for part in staged if places.model.file_name(part) in there]
    if len(waiting) == len(staged):
        return "old"
    if not waiting and all(live_sha256(transport, places.live(part)) == file.sha256 for part, file in staged.items()):
        return "new"
    return "mixed"


def round_given(transport: Transport, places: RemotePlaces) -> int:
    """Return the number of the round whose weights the machine was given last, as its own note says; 0 for none."""
    try:
        found = json.loads(transport.read(places.given, most_bytes=MOST_NOTE_BYTES))
        return int(found["round"])
    except (RemoteFileMissingError, ValueError, KeyError, TypeError):
        return 0


def note_given(transport: Transport, places: RemotePlaces, number: int, staged: Mapping[str, StagedFile]) -> None:
    """Write down on the machine what it was given; after the last file is in place."""
    note = {"round": number, "files": {part: file.sha256 for part, file in staged.items()}}
    transport.write(places.given, json.dumps(note).encode())


def unstage(transport: Transport, places: RemotePlaces, number: int) -> None:
    """Remove what a round staged and linked on the machine, as far as it is there."""
    for folder in (places.staged(number), places.snapshot(number)):
        with contextlib.suppress(RemoteFileMissingError):
            for file in transport.list_files(folder):
                transport.remove(f"{folder}/{file.name}")
        transport.remove_folder(folder)


def live_sha256(transport: Transport, path: str) -> str:
    """Read a file on the machine through memory and return its sha256; nothing for one that is not there."""
    sha256 = hashlib.sha256()
    try:
        with transport.open_ranges(path) as source:
            for offset in range(0, source.size, HASH_PIECE_BYTES):
                sha256.update(source.read_at(offset, HASH_PIECE_BYTES))
    except RemoteFileMissingError:
        return ""
    return sha256.hexdigest()


def _is_staged(transport: Transport, path: str, expected: StagedFile) -> bool:
    try:
        found = transport.stat(path)
    except RemoteFileMissingError:
        return False
    if found.size_bytes != expected.size_bytes:
        raise RemoteFileError(
            f"{path} has {found.size_bytes} bytes, {expected.size_bytes} were staged: somebody changed it",
            machine=transport.machine.name,
            hint=f"remove it ({PART} files too); the next try stages it again",
        )
    return True
