"""Files of a workspace: written, moved and removed whole, and what the disk refuses as an OutputError.

Where files go is engine.workspace.file_names; how one gets there whole is core.files.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.files import TEMPORARY_SUFFIX, make_folder, open_new, rename_over, replace_file, sync_folder
from core.opening import RefusedFileError
from engine.errors import DiskFullError, OutputError
from engine.workspace.file_names import Layout


def prepare_workspace(layout: Layout) -> None:
    """Make the folders and try a write in each; clear what a killed run left. Raise OutputError when it cannot."""
    for folder in layout.folders:
        with as_output_error("make the folder", folder):
            make_folder(folder)
        _remove_leftovers(folder, layout)
        probe = folder / f".{layout.prefix}writable{TEMPORARY_SUFFIX}"
        with as_output_error("write in", folder):
            os.close(open_new(probe))
            probe.unlink()


def write_file(path: Path, content: bytes, *, before_rename: Callable[[Path], object] | None = None) -> None:
    """Write `content` under a temporary name in the same folder, sync it, and rename it to `path`.

    `before_rename` is called with the temporary name once the bytes are on the disk. A reader, and a crash at any
    point, sees the old file, no file, or the whole new one. Raise DiskFullError (retryable) when space runs out,
    OutputError otherwise; either way no temporary file stays behind.
    """
    with as_output_error("write", path):
        replace_file(path, content, check=before_rename)


def move_file(source: Path, target: Path) -> None:
    """Move a file within the workspace; nothing to do where it was moved before. Raise OutputError."""
    with as_output_error("move", source):
        if source.exists() or not target.exists():
            rename_over(source, target)


def remove_file(path: Path) -> None:
    """Remove a file, which may be gone already. Raise OutputError."""
    with as_output_error("remove", path):
        path.unlink(missing_ok=True)


def sync_folders(folders: Iterable[Path]) -> None:
    """Make the names in `folders` survive a power loss; called once per finished piece of work."""
    for folder in folders:
        with as_output_error("sync", folder):
            sync_folder(folder)


def _remove_leftovers(folder: Path, layout: Layout) -> None:
    """Remove temporary files of this clip alone: `take-2` may be written at this moment, by another worker."""
    own = r"\d{8}\.\w+" if folder == layout.frames else rf"{layout.prefix}(\d{{8}}_\w+\.\w+|\w+\.\w+|writable)"
    pattern = re.compile(rf"\.{own}{re.escape(TEMPORARY_SUFFIX)}")
    with as_output_error("clear leftovers of an interrupted run in", folder):
        for leftover in folder.iterdir():
            if pattern.fullmatch(leftover.name):
                leftover.unlink(missing_ok=True)


@contextmanager
def as_output_error(what: str, path: Path) -> Iterator[None]:
    """Turn OSError into OutputError, DiskFullError where space ran out: "cannot `what` `path`: …"."""
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"cannot {what} {path}: {reason}", hint="free some space; what was written so far is kept"
            ) from problem
        hint = ""
        if isinstance(problem, RefusedFileError):
            pass  # what it is stands in the reason: no right would help
        elif problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = f"give the user that runs dfld the right to write in {path.parent}"
        elif problem.errno in (errno.ENOTDIR, errno.EEXIST):
            hint = "a file stands where a folder is needed; choose another output folder"
        raise OutputError(f"cannot {what} {path}: {reason}", hint=hint) from problem
