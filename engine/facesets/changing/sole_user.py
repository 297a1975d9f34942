"""One program at a time changes a faceset: two at once would write a face under a name that by now is another's.

The lock ends with the process that holds it, however that ends. Whoever gets it first finishes what a kill left half
done, so that nobody ever works on a faceset in between.
"""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager

from engine.errors import FacesetInUseError
from engine.facesets.changing.renames import recover
from engine.facesets.changing.replacements import recover as recover_replacements
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.state_folder import PRIVATE_FILE, make_state_folder
from engine.workspace.output_files import as_output_error

LOCK_NAME = "lock"


@contextmanager
def sole_user(folder: FacesetFolder) -> Iterator[None]:
    """Hold a faceset, with all that a kill cut short carried out first. Not twice in one process.

    Raise FacesetInUseError where another program holds it, OutputError where the disk refuses.
    """
    path = folder.state / LOCK_NAME
    with as_output_error("write", path):
        make_state_folder(folder)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, PRIVATE_FILE)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            if problem.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise FacesetInUseError(
                f"another dfld works on {folder.aligned} at this moment; nothing was changed",
                hint="wait for its end; where it is the daemon, `dfld pause` ends its work for now",
            ) from None
        recover(folder)
        recover_replacements(folder)
        yield
    finally:
        os.close(descriptor)
