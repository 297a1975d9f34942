"""Content hashes of arrivals: what tells one content from another, whatever it is called.

A video's hash is the SHA-256 of its bytes; a folder's is that of its images' names and hashes. Reading bytes is
all that happens here: nothing of a file is interpreted in the service's own process.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from daemon.inboxes.settling import Unit

CHUNK_BYTES = 4 << 20
"""Large enough that Python is not in the way, small enough that a stop is noticed at once."""


class HashingStoppedError(Exception):
    """The hash was given up because the service stops."""


def content_hash(root: Path, unit: Unit, stopped: Callable[[], bool]) -> str:
    """Return the SHA-256 of a unit in hex. Raise OSError when it cannot be read, HashingStoppedError on a stop."""
    full = root / unit.path
    if unit.kind == "video":
        return _file_hash(full, stopped)
    whole = hashlib.sha256()
    for name, _ in unit.members:
        whole.update(f"{len(name)}:".encode() + name.encode(errors="surrogateescape"))
        whole.update(bytes.fromhex(_file_hash(full / name, stopped)))
    return whole.hexdigest()


def rough_hash(root: Path, unit: Unit) -> str:
    """Return a name for the content of a video file that does not open: of its size, head and tail. Raise OSError.

    It cannot be mistaken for a hash of all bytes.
    """
    digest = hashlib.sha256(f"{unit.size_bytes}:".encode())
    with (root / unit.path).open("rb", buffering=0) as file:
        digest.update(file.read(CHUNK_BYTES))
        file.seek(max(0, unit.size_bytes - CHUNK_BYTES))
        digest.update(file.read(CHUNK_BYTES))
    return f"{digest.hexdigest()}-of-head-and-tail"


def _file_hash(path: Path, stopped: Callable[[], bool]) -> str:
    digest = hashlib.sha256()
    with path.open("rb", buffering=0) as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
            if stopped():
                raise HashingStoppedError
    return digest.hexdigest()
