"""The contract of "files and commands on a machine", in words; and its version for a folder on this computer.

Not for deciding what to move (snapshot, push) and not for how SSH works (ssh*). Everything above this line of sync
talks to `Transport` alone; tests/sync/transports/test_transport_contract.py holds every kind to the words below.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from dfl.byte_source import ByteSource
from sync.errors import (
    RemoteFileMissingError,
)
from sync.types import CommandResult, FileStat, Machine

CLOCK_TRIES = 20
"""Two programs that ask one machine for its time at once meet in a few milliseconds of each question."""
PART = ".part"
"""Ending of a file on its way in; whatever bears it was never complete."""

OnBytes = Callable[[int], None]
"""Called with the number of bytes that have just moved."""


def ignore_bytes(_count: int) -> None:
    """An OnBytes for callers who do not want to know."""


class Transport(Protocol):
    """Files and commands on one machine. One thread at a time; the connection is kept between calls.

    Paths are absolute, with `/` between folders; names may hold spaces and any character that the machine's disk
    allows. Nothing passes through a shell but `run`. Every method ends: it raises ConnectionLostError when nothing
    moves for the stall limit, and pull and push when the machine's `deadline_s` has passed. UnreachableError,
    HostKeyError and LoginError may come from any method, since any may be the first to connect. What has no
    `raises` below raises RemoteFileError when the machine refuses. Only regular files are opened to be read: at a pipe,
    a machine would wait for whoever writes to it, so RemoteFileError names it at once.
    """

    @property
    def machine(self) -> Machine: ...

    @property
    def runs_beside_others(self) -> bool:
        """Whether transfers of several machines at once are faster than one after the other.

        False where they would share this interpreter's time for encryption (paramiko).
        """

    def stat(self, path: str) -> FileStat:
        """Return size and time of a file; one round trip. Raise RemoteFileMissingError when it is not there."""

    def list_files(self, folder: str) -> list[FileStat]:
        """Return the regular files of a folder by name. Raise RemoteFileMissingError when there is no such folder."""

    def read(self, path: str, *, most_bytes: int) -> bytes:
        """Return a whole file, in memory only. Raise RemoteFileError when it is larger than `most_bytes`."""

    def open_ranges(self, path: str) -> AbstractContextManager[ByteSource]:
        """Open a file to read ranges of it, into memory only; it stays the same file while a trainer replaces it."""

    def write(self, path: str, content: bytes) -> None:
        """Put `content` at `path`: beside it first, on disk, then renamed over what was there."""

    def pull(self, path: str, destination: Path, *, on_bytes: OnBytes = ignore_bytes) -> str:
        """Copy a file from the machine to `destination` and return the sha256 of the bytes that arrived.

        The bytes go to `destination` + `.part`, to disk, then get their name. A cut connection is resumed
        where it broke, as long as the file still has the size and time it began with. Raise RemoteFileChangedError
        when it changed meanwhile.
        """

    def push(self, source: Path, path: str, *, on_bytes: OnBytes = ignore_bytes) -> str:
        """Copy a file of this computer to `path` on the machine and return the sha256 of the bytes sent.

        The bytes go to `path` + `.part`, to the machine's disk, are checked for size (and read back where the
        connection had broken in between), then renamed over `path`. Raise RemoteDiskFullError without touching
        what was at `path`.
        """

    def rename_over(self, old: str, new: str) -> None:
        """Give `old` the name `new` in one step, replacing what had it. Raise RemoteFileMissingError without `old`."""

    def hard_link(self, old: str, new: str) -> bool:
        """Give `old` a second name; False where server or disk cannot, or where `new` exists.

        Raise RemoteFileMissingError without `old`.
        """

    def remove(self, path: str) -> None:
        """Remove a file; one that is not there is fine."""

    def make_folder(self, path: str) -> None:
        """Make a folder and those above it; one that exists is fine."""

    def remove_folder(self, path: str) -> None:
        """Remove an empty folder; one that is not there is fine."""

    def free_bytes(self, folder: str) -> int | None:
        """Return what this user may still write there; None where the machine does not say."""

    def clock_s(self, folder: str) -> int:
        """Return the machine's own time in seconds since 1970, by the age of a file written there just now."""

    def run(self, command: str, *, timeout_s: float) -> CommandResult:
        """Hand a line to the user's login shell and wait for its end, not for what it leaves in the background.

        For `sync.transports.remote_command.run_command` alone: what the shell makes of the line, and what it prints
        besides, differs from user to user. Of a long output the end is kept. Raise CommandError when it has not ended
        after `timeout_s`.
        """

    def close(self) -> None:
        """Give the connection back; a later call connects again."""


Connect = Callable[[Machine], Transport]
"""Makes the transport of a machine; connects at the first call, not here."""


def clock_of(transport: Transport, folder: str) -> int:
    """Return the time in seconds since 1970 of a file written in `folder` just now.

    The service and a command may ask the same machine at once: one then finds its file renamed by the other, and
    writes it again. Raise RemoteFileMissingError where the folder is not there.
    """
    probe = f"{folder}/.dfld-clock"
    for _ in range(CLOCK_TRIES - 1):
        with contextlib.suppress(RemoteFileMissingError):
            transport.write(probe, b"")
            return transport.stat(probe).modified_s
    transport.write(probe, b"")
    return transport.stat(probe).modified_s
