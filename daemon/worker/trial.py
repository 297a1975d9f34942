"""Does a file open as a video? Asked before a large one is hashed, in a child process that may hang or crash.

A film is read once in full for its hash, which takes minutes; a disk image or an archive that somebody dropped is not
worth them. Only a clear no counts: where the child hangs, crashes or the disk fails under it, the answer is left to
the worker, which tries every file anyway before it extracts.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from daemon.crew.local import child_environment
from daemon.worker.process import die_with, limit_memory

LIMIT_S = 60.0
MEMORY_BYTES = 2 << 30
CHECK_EVERY_S = 0.1
EXIT_DOES_NOT_OPEN = 65  # EX_DATAERR of <sysexits.h>: no exit of Python's own


def does_not_open(path: Path, stopped: Callable[[], bool], *, within: Sequence[Path]) -> bool:
    """Say whether the file clearly is no video; False where it is one, or where that is unknown, or on a stop.

    `within`: folders that it must lie in.
    """
    child = subprocess.Popen(
        [sys.executable, "-m", "daemon.worker.trial", str(os.getpid()), path, *within],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=child_environment(),
        start_new_session=True,
    )
    ends_at_s = time.monotonic() + LIMIT_S
    try:
        while not stopped() and time.monotonic() < ends_at_s:
            try:
                return child.wait(CHECK_EVERY_S) == EXIT_DOES_NOT_OPEN
            except subprocess.TimeoutExpired:
                continue
        return False
    finally:
        child.kill()
        child.wait()


def main(parent: int, path: Path, within: Sequence[Path]) -> int:
    """Try the file in this process; return its exit code."""
    die_with(parent)
    limit_memory(MEMORY_BYTES)
    from engine.errors import InputError, InputUnavailableError
    from engine.footage.video import probe

    try:
        probe(path, within=within)
    except InputUnavailableError:
        return 1
    except InputError:
        return EXIT_DOES_NOT_OPEN
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]), [Path(one) for one in sys.argv[3:]]))
