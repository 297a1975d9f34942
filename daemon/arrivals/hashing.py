"""Content hashes of arrivals: what distinguishes one content from another, whatever it is called.

A video's hash is the SHA-256 of its bytes; a folder's is that of its images' names and hashes. Reading bytes is
all that happens here: nothing of a file is interpreted in the service's own process. Each file is opened as
core.opening does, and what was opened must be what was examined: a pipe or another file under its name is never read.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from core.move_and_delete import KnownFile
from core.opening import chunks_of, open_regular
from daemon.arrivals.settling import FileIdentity, Unit
from daemon.ledger.members import Member
from engine.footage.source_hash import folder_sha256
from engine.pictures.sequence import sequence_names

ENDS_BYTES = 4 << 20
"""So much of the head and of the tail goes into a rough hash."""
SHA256_LENGTH = 64
MARK_BYTES = 1 << 20
MARK_BYTES_LEAST = 512
"""No two recordings share so many bytes of compressed pictures at one place."""


class HashingStoppedError(Exception):
    """The hash was given up because the service stops."""


class ChangedMeanwhileError(Exception):
    """The file is not the one that was examined; it has to go through the gate again."""


def member_hashes(root: Path, unit: Unit, stopped: Callable[[], bool], *, within: Sequence[Path]) -> tuple[str, ...]:
    """Return the SHA-256 in hex of each file of a unit. `within`: where a video may really lie, if it is a link.

    Raise OSError when one cannot be read, ChangedMeanwhileError, or HashingStoppedError on a stop.
    """
    full = root / unit.path
    if unit.kind == "video":
        with _open(full, unit.members[0][1], within, follow_links=True) as file:
            return (_hash(file, full, stopped),)
    hashes = []
    for name, examined in unit.members:
        with _open(full / name, examined, [root]) as file:
            hashes.append(_hash(file, full / name, stopped))
    return tuple(hashes)


def content_hash(unit: Unit, hashes: Sequence[str]) -> str:
    """Return the SHA-256 of a unit in hex, made of its members' names and hashes; of a video, that of its bytes."""
    if unit.kind == "video":
        return hashes[0]
    return folder_sha256((name, digest) for (name, _), digest in zip(unit.members, hashes, strict=True))


def footage_members(unit: Unit, hashes: Sequence[str]) -> list[Member]:
    """Return the files of a unit as they were read.

    Of images with one stem (`1.jpg`, `1.png`) only one is a frame; the others are nobody's to move or delete.
    """
    read = set(sequence_names(name for name, _ in unit.members).names) if unit.kind == "folder" else {""}
    members = []
    for (name, one), digest in zip(unit.members, hashes, strict=True):
        if name not in read:
            continue
        path = f"{unit.path}/{name}" if name else unit.path
        sha256 = digest if len(digest) == SHA256_LENGTH else ""
        members.append(Member(os.fsencode(path), "footage", KnownFile(one.inode, one.size_bytes, one.mtime_ns, sha256)))
    return members


def mark_of(root: Path, unit: Unit, *, within: Sequence[Path]) -> str:
    """Return where the end of a video's bytes lies, and their hash; "" where they could be of any file.

    A longer copy of the same recording holds the same bytes at the same place, even where its head was written anew
    when the recording ended: so a whole copy of a part is recognised. `offset:length:sha256`. Raise as `member_hashes`.
    """
    length = min(MARK_BYTES, unit.size_bytes // 2)
    if unit.kind != "video" or length < MARK_BYTES_LEAST:
        return ""
    offset = unit.size_bytes - length
    with _open(root / unit.path, unit.members[0][1], within, follow_links=True) as file:
        digest = _piece_hash(file, offset, length)
    return f"{offset}:{length}:{digest}" if digest else ""


def holds_mark(root: Path, unit: Unit, mark: str, *, within: Sequence[Path]) -> bool:
    """Say whether a video holds the bytes of a mark at its place. Raise as `member_hashes`."""
    offset, length, digest = mark.split(":")
    with _open(root / unit.path, unit.members[0][1], within, follow_links=True) as file:
        return _piece_hash(file, int(offset), int(length)) == digest


def rough_hash(root: Path, unit: Unit, *, within: Sequence[Path]) -> str:
    """Return a name for the content of a video file that does not open: of its size, head and tail.

    It cannot be mistaken for a hash of all bytes. Raise as `member_hashes`.
    """
    digest = hashlib.sha256(f"{unit.size_bytes}:".encode())
    with _open(root / unit.path, unit.members[0][1], within, follow_links=True) as file:
        digest.update(file.read(ENDS_BYTES))
        file.seek(max(0, unit.size_bytes - ENDS_BYTES))
        digest.update(file.read(ENDS_BYTES))
    return f"{digest.hexdigest()}-of-head-and-tail"


def _open(path: Path, examined: FileIdentity, within: Sequence[Path], *, follow_links: bool = False) -> io.FileIO:
    file = open_regular(path, within=within, follow_links=follow_links)
    if not examined.is_same_file(FileIdentity.of(os.fstat(file.fileno()))):
        file.close()
        raise ChangedMeanwhileError
    return file


def _hash(file: io.FileIO, path: Path, stopped: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    for chunk in chunks_of(file, path):
        digest.update(chunk)
        if stopped():
            raise HashingStoppedError
    return digest.hexdigest()


def _piece_hash(file: io.FileIO, offset: int, length: int) -> str:
    """Hash a piece of a file; "" for one that is shorter, or a single byte over and over: a hole, or padding."""
    file.seek(offset)
    piece = file.read(length) or b""
    if len(piece) < length or piece == piece[:1] * length:
        return ""
    return hashlib.sha256(piece).hexdigest()
