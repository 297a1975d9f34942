"""One `dfld extract` at a time in one output folder: two at once would mix their faces, and each would look whole.

The lock ends with the process that holds it, however that ends. Not for the daemon, whose ledger gives every clip a
name of its own.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from core.files import FILE_MODE, make_folder
from engine.errors import OutputError
from engine.workspace.file_names import Layout
from engine.workspace.output_files import as_output_error

LOCK_NAME = ".dfld.lock"


@contextmanager
def sole_writer(layout: Layout) -> Iterator[None]:
    """Hold the output folder. Raise OutputError where another dfld holds it or it cannot be made.

    The lock's file goes again at the end, and with it the folders that were made for it and stayed empty.
    """
    missing = [folder for folder in (layout.debug, layout.root) if not os.path.exists(folder)]  # noqa: PTH110
    path = layout.debug / LOCK_NAME
    with as_output_error("make the folder", layout.debug):
        make_folder(layout.debug)
    with as_output_error("write in", layout.debug):
        descriptor = _locked(path, layout.root)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        for folder in missing:
            with suppress(OSError):  # it holds something now
                folder.rmdir()


def _locked(path: Path, root: Path) -> int:
    """Return the descriptor of the locked file that lies at `path`: the holder before may just have removed its own."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, FILE_MODE)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.exists(path) and os.path.samestat(os.fstat(descriptor), path.stat()):  # noqa: PTH110
                return descriptor
        except OSError as problem:
            os.close(descriptor)
            if problem.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise OutputError(
                f"another dfld writes into {root} at this moment; nothing was changed",
                hint="wait for its end, or choose another --out",
            ) from None
        os.close(descriptor)
