"""Files and folders that hold a person's face, or what is known of it: private from birth, and never half written.

The owner writes, the group reads, others see nothing. Errors stay OSError: each caller tells them in its own words.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from core.files import NAME_BYTES_MAX, sync_folder

__all__ = [
    "FILE_MODE", "FOLDER_MODE", "NAME_BYTES_MAX", "TEMPORARY_SUFFIX",
    "make_folder", "open_new", "replace_file", "sync_folder", "temporary_name",
]  # fmt: skip

FOLDER_MODE = 0o750
FILE_MODE = 0o640
TEMPORARY_SUFFIX = ".part"


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


def replace_file(path: Path, content: bytes, *, check: Callable[[Path], object] | None = None) -> None:
    """Write `content` under a temporary name in the same folder, sync it, `check` it there, and rename it to `path`.

    A reader, and a crash at any point, sees the old file, no file, or the whole new one. Raise OSError, or what
    `check` raises, with the temporary file removed.
    """
    temporary = temporary_name(path)
    descriptor = open_new(temporary)
    try:
        with open(descriptor, "wb") as file:  # noqa: PTH123 -- takes the descriptor with its private mode
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
