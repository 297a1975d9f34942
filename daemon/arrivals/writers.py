"""Which files some process has open for writing, as far as this user may see it.

One walk over /proc for all files in question. Processes of other users are invisible without root: what cannot be
seen counts as no writer, and the gate's waiting time has to do.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from pathlib import Path

PROC = Path("/proc")


def open_for_writing(files: Collection[tuple[int, int]], proc: Path = PROC) -> frozenset[tuple[int, int]]:
    """Given (device, inode) pairs, return those that a process holds open for writing."""
    wanted = frozenset(files)
    if not wanted:
        return wanted
    found: set[tuple[int, int]] = set()
    for descriptor in _descriptors(proc):
        try:
            if not os.readlink(descriptor).startswith("/"):  # noqa: PTH115 -- thousands of them: plain text
                continue  # a socket, pipe or the like
            result = os.stat(descriptor)  # noqa: PTH116
            if (result.st_dev, result.st_ino) in wanted and _is_writable(descriptor):
                found.add((result.st_dev, result.st_ino))
                if found == wanted:
                    break
        except OSError:
            continue  # closed meanwhile, or not ours to see
    return frozenset(found)


def _descriptors(proc: Path) -> Iterator[str]:
    for process in os.listdir(proc):  # noqa: PTH208
        if process.isdigit():
            try:
                numbers = os.listdir(proc / process / "fd")  # noqa: PTH208
            except OSError:
                continue  # gone, or another user's
            for number in numbers:
                yield f"{proc}/{process}/fd/{number}"


def _is_writable(descriptor: str) -> bool:
    process, _, number = descriptor.rpartition("/fd/")
    with open(f"{process}/fdinfo/{number}", encoding="ascii") as info:  # noqa: PTH123 -- /proc paths stay text
        for line in info:
            if line.startswith("flags:"):
                return int(line.split()[1], 8) & os.O_ACCMODE != os.O_RDONLY
    return False
