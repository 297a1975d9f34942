"""Opening files whose names or places come from outside: footage, references, sidecars, files that go along.

    path → O_PATH descriptor (opens nothing, waits for nothing) → what is it? where does it lie? how large? → the same
    file, through that descriptor, for reading

The questions are put to the descriptor, so swapping the name for a pipe, a device or a link at any moment changes
nothing: what was asked about is what is read. A pipe gets no reader, a device is not woken. Not for files that dfld
writes.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

CHUNK_BYTES = 4 << 20
"""Large enough that Python is not in the way, small enough that a stop between two pieces is noticed at once."""
_KINDS = (
    (stat.S_ISLNK, "a symbolic link, which is not followed"),
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


class RefusedFileError(OSError):
    """A path names something that is not opened. `strerror` says why: `is a pipe, expected a regular file`."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(errno.EPERM, why, os.fspath(path))


def open_regular(
    path: Path,
    *,
    within: Sequence[Path] | None,
    outside: Sequence[Path] = (),
    follow_links: bool = False,
    max_bytes: int | None = None,
) -> io.FileIO:
    """Open a regular file for reading, without a buffer; `os.fstat` of its descriptor says what was opened.

    `within`: folders (or the very files) that it must lie in, links on the way resolved; None = anywhere, for paths
    that the operator wrote. `outside`: folders that it must not lie in. `follow_links`: whether `path` may itself be
    a symbolic link; where that leads must lie within, too. `max_bytes`: a larger file is refused.

    Never waits. Raise RefusedFileError for anything but such a file, BlockingIOError where another program holds a
    lease on it (try again later), and OSError where it is not there or may not be read. Each names `path`.
    """
    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow_links else os.O_NOFOLLOW))
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            kind = next((name for holds, name in _KINDS if holds(status.st_mode)), "something else")
            raise RefusedFileError(path, f"is {kind}, expected a regular file")
        _require_place(path, descriptor, status, within, outside)
        if max_bytes is not None and status.st_size > max_bytes:
            raise RefusedFileError(path, f"has {status.st_size} bytes, at most {max_bytes} are read")
        # The magic link leads to the inode that was asked about, whatever has the name by now.
        with _naming(path):
            return io.FileIO(os.open(f"/proc/self/fd/{descriptor}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    finally:
        os.close(descriptor)


def read_regular(
    path: Path,
    *,
    within: Sequence[Path] | None,
    outside: Sequence[Path] = (),
    follow_links: bool = False,
    max_bytes: int,
) -> bytes:
    """Return all bytes of a regular file, at most `max_bytes`, however it grows meanwhile. Raise as `open_regular`."""
    with open_regular(path, within=within, outside=outside, follow_links=follow_links, max_bytes=max_bytes) as file:
        return b"".join(chunks_of(file, path, max_bytes=max_bytes))


def chunks_of(file: io.FileIO, path: Path, *, max_bytes: int | None = None) -> Iterator[bytes]:
    """Yield the rest of an open file piece by piece. Raise RefusedFileError once there were more than `max_bytes`."""
    size = 0
    while chunk := _next_chunk(file, path):
        size += len(chunk)
        if max_bytes is not None and size > max_bytes:
            raise RefusedFileError(path, f"has more than {max_bytes} bytes")
        yield chunk
    if chunk is None:  # a file of /proc that would have to be waited for
        raise BlockingIOError(errno.EAGAIN, "has nothing to read now", os.fspath(path))


def _next_chunk(file: io.FileIO, path: Path) -> bytes | None:
    with _naming(path):
        return file.read(CHUNK_BYTES)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """Have an error of the system name the file by the path that the caller knows; of its own it names none."""
    try:
        yield
    except OSError as problem:
        problem.filename = os.fspath(path)
        raise


def sha256_of(path: Path, *, follow_links: bool) -> str:
    """Return the SHA-256 of a regular file, in hex. Raise as `open_regular`."""
    with open_regular(path, within=None, follow_links=follow_links) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def path_of(file: io.FileIO) -> str:
    """Return a path by which a library in this process opens the very file that is open here, whatever its name is."""
    return f"/proc/self/fd/{file.fileno()}"


def real_path(path: Path) -> Path:
    """Return where a path leads: a link must not hide that two folders are one, or what a folder really is in."""
    return Path(os.path.realpath(path))  # Path.resolve raises for links in a circle


def lies_within(real: Path, folders: Sequence[Path]) -> bool:
    """Say whether a path without links is one of these folders or below one; links in the folders' paths count."""
    return any(real.is_relative_to(os.path.realpath(folder)) for folder in folders)


def _require_place(
    path: Path, descriptor: int, status: os.stat_result, within: Sequence[Path] | None, outside: Sequence[Path]
) -> None:
    if within is None and not outside:
        return
    if status.st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fspath(path))
    place = Path(os.readlink(f"/proc/self/fd/{descriptor}"))  # noqa: PTH115 -- not a path that may be joined
    if within is not None and not lies_within(place, within):
        raise RefusedFileError(path, f"lies in {place.parent}, outside the folders that may be read here")
    if lies_within(place, outside):
        raise RefusedFileError(path, f"lies in {place.parent}, which may not be read here")
