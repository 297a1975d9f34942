"""Files and commands on a machine over SSH: the `Transport` for real machines.

One kept paramiko connection carries commands and single requests; whole files go over OpenSSH's `ssh` where it is
installed, else over the same paramiko connection. This file holds what both roads share: reconnecting, resuming at a
byte, hashing in flight, and putting files in place. How connections are made is in `sync.transports.ssh.connection` and
`sync.transports.ssh.openssh`, how SFTP is spoken in `sync.transports.sftp` and `sync.transports.sftp_bulk`.
"""

from __future__ import annotations

import contextlib
import hashlib
import random
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TypeVar

from core.files import put_in_place
from dfl.byte_source import ByteSource
from sync.errors import (
    ConnectionLostError,
    RemoteDiskFullError,
    RemoteFileChangedError,
    RemoteFileError,
    RemoteFileMissingError,
    SyncError,
    UnreachableError,
)
from sync.transports.in_flight import Arriving, HashBeside, Leaving
from sync.transports.local import LocalTransport
from sync.transports.sftp import OPEN_CREATE, OPEN_READ, OPEN_TRUNCATE, OPEN_WRITE, SftpClient
from sync.transports.sftp_bulk import read_in_order, write_in_order
from sync.transports.ssh.connection import SshConnection
from sync.transports.ssh.openssh import OpenSshStream, find_ssh, has_windows_line_ends
from sync.transports.transport import PART, OnBytes, Transport, clock_of, ignore_bytes
from sync.types import CommandResult, FileStat, Machine

STALL_S = 30.0
"""A healthy link moves some byte in any half minute, also at 10 kB/s."""
REQUEST_DEADLINE_S = 60.0
"""One stat, rename or listing, with connecting where it is the first."""
RECONNECTS = 8
"""How often a transfer is resumed without any progress in between."""
RECONNECT_WAIT_S = 0.2
"""About doubled at each try without progress: 25 s in all, enough for a restarting sshd or a switch."""
RESUME_GRAIN_BYTES = 1024 * 1024
"""An interrupted upload goes on at the last whole MiB that the machine has."""

T = TypeVar("T")


def connect(machine: Machine, *, stop: threading.Event | None = None) -> Transport:
    """Return the transport that `[[machine]] transfer` names; it connects at its first call.

    `stop`: ends the waits before a broken transfer is resumed, and the wait before the machine is tried again.
    """
    if machine.transfer == "local":
        return LocalTransport(machine)
    program = find_ssh() if machine.transfer in ("auto", "openssh") else None
    if machine.transfer == "openssh" and program is None:
        raise SyncError(
            f'machine {machine.name}: transfer = "openssh", but there is no `ssh` program here',
            hint='apt-get install openssh-client, or transfer = "auto"',
        )
    return SshTransport(machine, ssh_program=program, stop=stop)


class SshTransport:
    """Files and commands on a machine over SSH; see `sync.transports.transport.Transport` for every method."""

    def __init__(
        self,
        machine: Machine,
        *,
        ssh_program: str | None,
        stall_s: float = STALL_S,
        stop: threading.Event | None = None,
    ) -> None:
        """`ssh_program`: OpenSSH's client for whole files, None for paramiko alone.

        `stop` ends the waits before a transfer is resumed, and is handed to each `SshConnection`.
        """
        self.machine = machine
        self._ssh_program = ssh_program
        self._stall_s = stall_s
        self._stop = stop or threading.Event()
        self._connection: SshConnection | None = None
        self._requests: SftpClient | None = None
        self._bulk: SftpClient | None = None

    @property
    def runs_beside_others(self) -> bool:
        return self._ssh_program is not None

    # Single requests. Those that may be asked twice are, once, on a new connection: the kept one may have died
    # unseen since the last poll.

    def stat(self, path: str) -> FileStat:
        return self._twice(lambda sftp: sftp.stat(path))

    def list_files(self, folder: str) -> list[FileStat]:
        return sorted(self._twice(lambda sftp: sftp.list_files(folder)), key=lambda file: file.name)

    def remove(self, path: str) -> None:
        self._twice(lambda sftp: sftp.remove(path))

    def make_folder(self, path: str) -> None:
        missing = []
        while path and not self._twice(partial(_exists, path=path)):
            missing.append(path)
            path = path.rpartition("/")[0]
        for folder in reversed(missing):
            self._twice(partial(SftpClient.make_folder, path=folder))

    def remove_folder(self, path: str) -> None:
        self._twice(lambda sftp: sftp.remove_folder(path))

    def free_bytes(self, folder: str) -> int | None:
        return self._twice(lambda sftp: sftp.free_bytes(folder))

    def rename_over(self, old: str, new: str) -> None:
        self._once(lambda sftp: sftp.rename_over(old, new))

    def hard_link(self, old: str, new: str) -> bool:
        return self._once(lambda sftp: sftp.hard_link(old, new))

    def clock_s(self, folder: str) -> int:
        return clock_of(self, folder)

    def run(self, command: str, *, timeout_s: float) -> CommandResult:
        if self._connection is not None and not self._connection.alive:
            self.close()
        return self._connected().run(command, timeout_s=timeout_s)

    # Small files, in memory.

    def read(self, path: str, *, most_bytes: int) -> bytes:
        def read_all(sftp: SftpClient) -> bytes:
            content = bytearray()
            with self._opened(sftp, path, OPEN_READ) as handle:
                size = sftp.handle_stat(handle, path).size_bytes
                if size > most_bytes:
                    raise RemoteFileError(f"{path} has {size} bytes, more than {most_bytes}", machine=self.machine.name)
                read_in_order(sftp, handle, path, 0, size, content.extend)
            return bytes(content)

        return self._twice(read_all)

    @contextlib.contextmanager
    def open_ranges(self, path: str) -> Iterator[ByteSource]:
        sftp = self._twice(lambda client: client)
        sftp.stream.ends_at = time.monotonic() + self.machine.deadline_s
        with self._opened(sftp, path, OPEN_READ) as handle:
            yield _RemoteRanges(sftp, handle, path)

    def write(self, path: str, content: bytes) -> None:
        def write_all(sftp: SftpClient) -> None:
            left = memoryview(content)

            def next_piece(most: int) -> memoryview:
                nonlocal left
                piece, left = left[:most], left[most:]
                return piece

            with self._opened(sftp, path + PART, OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE) as handle:
                write_in_order(sftp, handle, path, 0, next_piece, ignore_bytes)
                sftp.sync_to_disk(handle, path)
            sftp.rename_over(path + PART, path)

        self._twice(write_all)

    # Whole files.

    def pull(self, path: str, destination: Path, *, on_bytes: OnBytes = ignore_bytes) -> str:
        part = destination.with_name(destination.name + PART)
        with part.open("wb", buffering=0) as file, HashBeside() as sha256:
            arriving = Arriving(file.fileno(), sha256, on_bytes)
            self._keep_trying(lambda sftp: self._pull_rest(sftp, path, arriving), lambda: arriving.count)
        put_in_place({part: destination})
        return sha256.hexdigest()

    def _pull_rest(self, sftp: SftpClient, path: str, arriving: Arriving) -> None:
        with self._opened(sftp, path, OPEN_READ) as handle:
            now = sftp.handle_stat(handle, path)
            if arriving.version is None:
                arriving.version = now
            elif arriving.version != now:
                raise RemoteFileChangedError(f"{path} changed while it was pulled", machine=self.machine.name)
            room = arriving.sha256.room
            read_in_order(sftp, handle, path, arriving.count, now.size_bytes, arriving.take, room=room)
            if sftp.handle_stat(handle, path) != now:
                raise RemoteFileChangedError(f"{path} changed while it was pulled", machine=self.machine.name)

    def push(self, source: Path, path: str, *, on_bytes: OnBytes = ignore_bytes) -> str:
        with source.open("rb", buffering=0) as file, HashBeside() as sha256:
            leaving = Leaving(file.fileno(), sha256, on_bytes)
            self._keep_trying(lambda sftp: self._push_rest(sftp, path, leaving), lambda: leaving.confirmed)
        digest = sha256.hexdigest()
        if leaving.resumed:
            self._check_by_reading_back(path + PART, leaving.size_bytes, digest)
        self._once(lambda sftp: sftp.rename_over(path + PART, path))
        return digest

    def _push_rest(self, sftp: SftpClient, path: str, leaving: Leaving) -> None:
        part = path + PART
        start = 0
        flags = OPEN_WRITE | OPEN_CREATE | OPEN_TRUNCATE
        if leaving.confirmed:
            flags = OPEN_WRITE
            there = min(sftp.stat(part).size_bytes, leaving.confirmed)
            start = there // RESUME_GRAIN_BYTES * RESUME_GRAIN_BYTES
            leaving.resumed = True
        leaving.go_to(start)
        try:
            with self._opened(sftp, part, flags) as handle:
                write_in_order(sftp, handle, part, start, leaving.next_piece, leaving.written)
                sftp.sync_to_disk(handle, part)
                there = sftp.handle_stat(handle, part).size_bytes
        except RemoteFileError as error:
            self._explain_full_disk(sftp, path, leaving.size_bytes - leaving.confirmed, error)
            raise
        if there != leaving.size_bytes:
            raise RemoteFileError(
                f"{part} has {there} bytes after {leaving.size_bytes} were written", machine=self.machine.name
            )

    def _check_by_reading_back(self, path: str, size_bytes: int, digest: str) -> None:
        sha256 = hashlib.sha256()
        read = 0

        def take(piece: memoryview) -> None:
            nonlocal read
            sha256.update(piece)
            read += len(piece)

        def read_rest(sftp: SftpClient) -> None:
            with self._opened(sftp, path, OPEN_READ) as handle:
                read_in_order(sftp, handle, path, read, size_bytes, take)

        self._keep_trying(read_rest, lambda: read)
        if sha256.hexdigest() != digest:
            raise RemoteFileError(
                f"{path} does not hold what was sent after the connection broke", machine=self.machine.name
            )

    def _explain_full_disk(self, sftp: SftpClient, path: str, needed: int, error: RemoteFileError) -> None:
        """OpenSSH says only "failure" when a disk is full; ask how much room there is and say so."""
        free = None
        with contextlib.suppress(RemoteFileError):
            free = sftp.free_bytes(path.rpartition("/")[0])
            sftp.remove(path + PART)
        if free is not None and free < needed + RESUME_GRAIN_BYTES:
            raise RemoteDiskFullError(
                f"no space for {path}: {free} bytes are free", machine=self.machine.name
            ) from error

    # Connections.

    def close(self) -> None:
        for sftp in (self._bulk, self._requests):
            if sftp is not None:
                sftp.close()
        if self._connection is not None:
            self._connection.close()
        self._bulk = self._requests = self._connection = None

    def _connected(self) -> SshConnection:
        if self._connection is None or not self._connection.alive:
            self.close()
            self._connection = SshConnection(self.machine, stall_s=self._stall_s, stop=self._stop)
        return self._connection

    def _request_client(self) -> SftpClient:
        connection = self._connected()
        if self._requests is None:
            self._requests = SftpClient(connection.open_sftp(), self.machine.name)
        return self._requests

    def _bulk_client(self) -> SftpClient:
        if self._ssh_program is None or has_windows_line_ends(self.machine.key):
            return self._request_client()
        if self._bulk is None:
            # First the kept connection: it reports an unknown key or a refused login in words of its own.
            self._connected()
            stream = OpenSshStream(self._ssh_program, self.machine, stall_s=self._stall_s)
            try:
                self._bulk = SftpClient(stream, self.machine.name)
            except SyncError:
                stream.close()
                raise
        return self._bulk

    def _once(self, ask: Callable[[SftpClient], T]) -> T:
        try:
            sftp = self._request_client()
            sftp.stream.ends_at = time.monotonic() + REQUEST_DEADLINE_S
            return ask(sftp)
        except ConnectionLostError:
            self.close()
            raise

    def _twice(self, ask: Callable[[SftpClient], T]) -> T:
        try:
            return self._once(ask)
        except ConnectionLostError:
            return self._once(ask)

    def _keep_trying(self, move: Callable[[SftpClient], None], moved: Callable[[], int]) -> None:
        """Run `move` until it ends, on a new connection after each break, while bytes move and time is left."""
        ends_at = time.monotonic() + self.machine.deadline_s
        tries_left, wait_s, reached = RECONNECTS, RECONNECT_WAIT_S, moved()
        while True:
            try:
                sftp = self._bulk_client()
                sftp.stream.ends_at = ends_at
                move(sftp)
                return
            except (ConnectionLostError, UnreachableError):
                self.close()
                if moved() > reached:
                    tries_left, wait_s, reached = RECONNECTS, RECONNECT_WAIT_S, moved()
                tries_left -= 1
                if tries_left <= 0 or time.monotonic() + wait_s > ends_at or self._stop.wait(wait_s):
                    raise
                # By chance, so that machines that lost one switch do not all come back at once.
                wait_s *= random.uniform(1.5, 2.5)

    @contextlib.contextmanager
    def _opened(self, sftp: SftpClient, path: str, flags: int) -> Iterator[bytes]:
        handle = sftp.open(path, flags)
        try:
            yield handle
        except ConnectionLostError:
            raise
        except BaseException:
            with contextlib.suppress(RemoteFileError):
                sftp.close_handle(handle, path)
            raise
        sftp.close_handle(handle, path)


class _RemoteRanges:
    """Ranges of an open file on a machine; see `dfl.byte_source.ByteSource`."""

    def __init__(self, sftp: SftpClient, handle: bytes, path: str) -> None:
        self.size = sftp.handle_stat(handle, path).size_bytes
        self._sftp, self._handle, self._path = sftp, handle, path

    def read_at(self, offset: int, length: int) -> bytes:
        content = bytearray()
        end = min(offset + length, self.size)
        read_in_order(self._sftp, self._handle, self._path, offset, end, content.extend)
        return bytes(content)


def _exists(sftp: SftpClient, path: str) -> bool:
    try:
        sftp.stat(path)
    except RemoteFileMissingError:
        return False
    return True
