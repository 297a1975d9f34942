"""The state folder: made private, and held by one service at a time.

The lock is inherited by workers, so a new service waits until the last worker of the one before is gone: two
processes never write the same faces.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path

from core.files import FILE_MODE, make_folder
from daemon.errors import ExitCode, ServiceError

LOCK_NAME = "lock"
LEDGER_NAME = "ledger.db"
SOCKET_NAME = "control.sock"
LOCK_WAIT_S = 15.0
"""Longer than a killed service's workers live."""
LOCK_LOOK_S = 0.1


def prepare_state_folder(folder: Path) -> None:
    """Make the folder, for owner and group alone. Raise ServiceError when it cannot be used."""
    try:
        make_folder(folder)
        folder.chmod(folder.stat().st_mode & 0o7777 & ~0o027)
    except OSError as problem:
        error = ServiceError(
            f"the state folder {folder} cannot be used: {problem.strerror}",
            hint="[service] state_dir must be a folder that the user who runs dfld may write",
        )
        error.exit_code = ExitCode.PERMISSION
        raise error from problem


class StateLock:
    """The held lock of a state folder."""

    def __init__(self, folder: Path, *, wait_s: float = LOCK_WAIT_S, on_wait: Callable[[str], None]) -> None:
        """Take the lock, waiting up to `wait_s`, which `on_wait` reports. Raise ServiceError when another holds it."""
        try:
            self.descriptor = os.open(folder / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE)
        except OSError as problem:
            raise ServiceError(f"cannot open {folder / LOCK_NAME}: {problem.strerror}") from problem
        deadline, said = time.monotonic() + wait_s, False
        while not self._taken():
            if not said:
                said = True
                on_wait(f"the state folder {folder} is in use by another dfld; waiting up to {wait_s:g} s for its end")
            if time.monotonic() > deadline:
                os.close(self.descriptor)
                error = ServiceError(
                    f"the state folder {folder} is in use by another dfld",
                    hint="stop the other one, or give this one a state_dir of its own",
                )
                error.exit_code = ExitCode.TEMPORARY
                raise error
            time.sleep(LOCK_LOOK_S)  # no stop event: signals are not taken yet, so they end the process at once

    def release(self) -> None:
        os.close(self.descriptor)

    def _taken(self) -> bool:
        try:
            fcntl.flock(self.descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as problem:
            if problem.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            return False
        return True
