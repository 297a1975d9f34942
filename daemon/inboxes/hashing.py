"""Content hashes of arrivals: what tells one content from another, whatever it is called.

A video's hash is the SHA-256 of its bytes; a folder's is that of its images' names and hashes. Reading bytes is
all that happens here: nothing of a file is interpreted in the service's own process. Each file is opened as
core.opening does, and what was opened must be what was looked at: a pipe or another file under its name is never read.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from core.opening import chunks_of, open_regular
from daemon.inboxes.settling import FileIdentity, Unit

ENDS_BYTES = 4 << 20
"""So much of the head and of the tail goes into a rough hash."""


class HashingStoppedError(Exception):
    """The hash was given up because the service stops."""


class ChangedMeanwhileError(Exception):
    """The file is not the one that was looked at; it has to go through the gate again."""


def content_hash(root: Path, unit: Unit, stopped: Callable[[], bool], *, within: Sequence[Path]) -> str:
    """Return the SHA-256 of a unit in hex. `within`: where a video may really lie, if it is a link.

    Raise OSError when it cannot be read, ChangedMeanwhileError, or HashingStoppedError on a stop.
    """
    full = root / unit.path
    if unit.kind == "video":
        with _open(full, unit.members[0][1], within, follow_links=True) as file:
            return _hash(file, full, stopped)
    whole = hashlib.sha256()
    for name, looked_at in unit.members:
        whole.update(f"{len(name)}:".encode() + name.encode(errors="surrogateescape"))
        with _open(full / name, looked_at, [root]) as file:
            whole.update(bytes.fromhex(_hash(file, full / name, stopped)))
    return whole.hexdigest()


def rough_hash(root: Path, unit: Unit, *, within: Sequence[Path]) -> str:
    """Return a name for the content of a video file that does not open: of its size, head and tail.

    It cannot be mistaken for a hash of all bytes. Raise as `content_hash`.
    """
    digest = hashlib.sha256(f"{unit.size_bytes}:".encode())
    with _open(root / unit.path, unit.members[0][1], within, follow_links=True) as file:
        digest.update(file.read(ENDS_BYTES))
        file.seek(max(0, unit.size_bytes - ENDS_BYTES))
        digest.update(file.read(ENDS_BYTES))
    return f"{digest.hexdigest()}-of-head-and-tail"


def _open(path: Path, looked_at: FileIdentity, within: Sequence[Path], *, follow_links: bool = False) -> io.FileIO:
    file = open_regular(path, within=within, follow_links=follow_links)
    if not looked_at.is_same_file(FileIdentity.of(os.fstat(file.fileno()))):
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
