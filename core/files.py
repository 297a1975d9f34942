"""The one way to write a file: temporary name in the same folder, write, sync, verify, rename. Private from birth.

The owner writes, the group reads, others see nothing: many hold a person's face, or what is known of it. Errors stay
OSError: each caller words them itself. Moving a file that somebody else wrote is core.move_and_delete.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

FOLDER_MODE = 0o750
FILE_MODE = 0o640
TEMPORARY_SUFFIX = ".part"
NAME_BYTES_MAX = 255
"""Of a file name, on every usual Linux filesystem (NAME_MAX)."""
COPIED_AT_ONCE_BYTES = 4 << 20
RENAME_NOREPLACE, AT_FDCWD = 1, -100
"""Both from <linux/fs.h> and <fcntl.h>, for renameat2(2)."""
_CANNOT_BE_ASKED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.EMLINK})
"""How filesystems say that they have no rename without replacing (NFS), or no hard links (FAT)."""


def make_folder(folder: Path) -> None:
    """Make a folder and those above it that are missing, each with FOLDER_MODE; one that is there stays as it is.

    `Path.mkdir(parents=True, mode=…)` gives its mode to the last one only. Raise OSError.
    """
    if not os.path.isdir(folder):  # noqa: PTH112 -- Path.is_dir raises where a folder above is closed to us
        if folder.parent != folder:
            make_folder(folder.parent)
        folder.mkdir(mode=FOLDER_MODE, exist_ok=True)


def temporary_name(path: Path) -> Path:
    """Return what `path` is called while it is written: hidden, in the same folder, taken by no inbox."""
    name = f".{path.name}{TEMPORARY_SUFFIX}"
    if len(os.fsencode(name)) > NAME_BYTES_MAX:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()}{TEMPORARY_SUFFIX}"
    return path.with_name(name)


def open_new(path: Path) -> int:
    """Make a file for its owner and group; return its descriptor. What lies there, a link perhaps, is removed first.

    Raise OSError.
    """
    path.unlink(missing_ok=True)
    return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)


@contextmanager
def written_whole(path: Path, *, check: Callable[[Path], object] | None = None) -> Iterator[Path]:
    """Yield the temporary name under which `path` is to be written; behind the block it is synced, checked and renamed.

    A reader, and a crash at any point, sees the old file, no file, or the whole new one. Who writes makes the file:
    `open_new`, SQLite, a zip archive. `check` gets the temporary name once the bytes are on the disk. The folder is
    the caller's to sync, once for many files. Raise OSError, or what the block or `check` raises, with the temporary
    file removed.
    """
    temporary = temporary_name(path)
    try:
        yield temporary
        sync_file(temporary)
        if check is not None:
            check(temporary)
        rename_over(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def replace_file(path: Path, content: bytes, *, check: Callable[[Path], object] | None = None) -> None:
    """Write `content` to `path`, whole or not at all; see `written_whole`."""
    with written_whole(path, check=check) as temporary, open(open_new(temporary), "wb") as file:
        file.write(content)


def put_in_place(files: Mapping[Path, Path]) -> None:
    """Give each file its name, over what has it: one file or a group, synced together. Raise OSError.

    `files`: where each lies now, on the same filesystem, whole → its name. All bytes are on the disk before the first
    gets its name, and all names are when this returns.
    """
    for path in files:
        sync_file(path)
    for path, target in files.items():
        rename_over(path, target)
    for folder in {target.parent for target in files.values()}:
        sync_folder(folder)


def put_folder_in_place(folder: Path, target: Path) -> None:
    """Give a folder of synced files its name, where nothing but an empty folder may have it. Raise OSError."""
    sync_folder(folder)
    folder.rename(target)
    sync_folder(target.parent)


def copy_new(path: Path, target: Path) -> None:
    """Copy a file that dfld wrote to a new one, with its bytes on the disk and its time. Raise OSError."""
    with path.open("rb") as source, open(open_new(target), "wb") as file:
        shutil.copyfileobj(source, file, COPIED_AT_ONCE_BYTES)
        file.flush()
        os.fsync(file.fileno())
        status = os.fstat(source.fileno())
        os.utime(file.fileno(), ns=(status.st_atime_ns, status.st_mtime_ns))


def link_or_copy_new(path: Path, target: Path) -> None:
    """Give a file that dfld wrote and synced one more name; a copy where the filesystem has no links. Raise OSError."""
    target.unlink(missing_ok=True)
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in _CANNOT_BE_ASKED:
            raise
        copy_new(path, target)


def rename_over(path: Path, target: Path) -> None:
    """Rename a file that is whole already within a filesystem, over what has the name. Raise OSError."""
    path.replace(target)


def rename_new(path: Path, target: Path) -> None:
    """Rename within a filesystem, replacing nothing. Raise FileExistsError where `target` is taken, or OSError."""
    if _rename_without_replacing(path, target):
        return
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in _CANNOT_BE_ASKED:
            raise
        # A kill between the next two steps leaves the empty file: no content is lost, and the next name is taken.
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        try:
            path.rename(target)  # over the empty file just made, which no other program had
        except BaseException:
            target.unlink()
            raise
    else:
        path.unlink()


def numbered(path: Path) -> Iterator[Path]:
    """Yield `path`, then `path` with 2, 3, … before its suffix, each short enough for a file name."""
    yield path
    number = 2
    while True:
        ending = f".{number}{path.suffix}"
        yield path.with_name(shortened(path.stem, NAME_BYTES_MAX - len(os.fsencode(ending))) + ending)
        number += 1


def shortened(name: str, room_bytes: int) -> str:
    """Return as much of the beginning of `name` as fits, without cutting a character in two."""
    while len(os.fsencode(name)) > room_bytes:
        name = name[:-1]
    return name


def sync_file(path: Path) -> None:
    """Make the bytes of a file survive a power loss. Raise OSError."""
    _sync(path, os.O_NOFOLLOW)


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power loss. Raise OSError."""
    _sync(folder, os.O_DIRECTORY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _rename_without_replacing(path: Path, target: Path) -> bool:
    """Call renameat2(2); False where the C library or the filesystem does not have it."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_BE_ASKED:
        return False
    raise OSError(number, os.strerror(number), str(path), None, str(target))
