"""A channel of a connection as a plain stream of bytes, for an SFTP session."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Iterable, Iterator
from typing import Protocol

from sync.errors import ConnectionLostError
from sync.transports.ssh.foreign_errors import foreign
from sync.transports.ssh.watchdog import Watchdog

CHANNEL_PIECE_BYTES = 32 * 1024 - 64
"""What paramiko puts into one packet to OpenSSH: 64 bytes less than the packet may hold. Pieces of the whole 32 KiB
would each be followed by a packet of 64 bytes, which costs as much of Python's time as a full one."""
RECEIVE_BYTES = 2 * 1024 * 1024
"""The whole SSH window."""


class Channel(Protocol):
    """What is used of paramiko's channel."""

    def sendall(self, s: bytes) -> None: ...
    def recv(self, nbytes: int) -> bytes: ...
    def settimeout(self, timeout: float | None) -> None: ...
    def close(self) -> None: ...


class ChannelStream:
    """A paramiko channel as a plain stream of bytes; see `sync.transports.sftp.ByteStream`."""

    def __init__(self, channel: Channel, machine: str, watchdog: Watchdog, *, stall_s: float) -> None:
        self.channel = channel
        self.stall_s = stall_s
        self.machine = machine
        self.ends_at = math.inf
        self._watchdog = watchdog
        self._received = memoryview(b"")

    def send(self, *parts: bytes | memoryview) -> None:
        with self._bounded():
            for piece in cut(parts, CHANNEL_PIECE_BYTES):
                self._limit()
                self.channel.sendall(piece)
                self._watchdog.moved()

    def receive_into(self, view: memoryview) -> None:
        with self._bounded():
            while view:
                if not self._received:
                    self._limit()
                    # All that is there: paramiko deletes the head of an array at each call.
                    self._received = memoryview(self.channel.recv(RECEIVE_BYTES))
                    self._watchdog.moved()
                    if not self._received:
                        raise EOFError("it closed the SFTP session")
                piece = self._received[: len(view)]
                view[: len(piece)] = piece
                view, self._received = view[len(piece) :], self._received[len(piece) :]

    def close(self) -> None:
        with contextlib.suppress(ConnectionLostError), foreign(ConnectionLostError, "not closed", self.machine):
            self.channel.close()  # it is given back in any case

    def _limit(self) -> None:
        """Let the next wait end at the stall limit or at the deadline, whichever is first."""
        left = min(self.stall_s, self.ends_at - time.monotonic())
        if left <= 0:
            raise ConnectionLostError("the deadline passed during a transfer", machine=self.machine)
        self.channel.settimeout(left)

    @contextlib.contextmanager
    def _bounded(self) -> Iterator[None]:
        with foreign(ConnectionLostError, "the connection ended", self.machine):
            try:
                with self._watchdog.watching():
                    yield
            except TimeoutError as error:
                passed = time.monotonic() >= self.ends_at
                reason = (
                    "the deadline passed during a transfer" if passed else f"no byte moved for {self.stall_s:.0f} s"
                )
                raise ConnectionLostError(reason, machine=self.machine) from error


def cut(parts: Iterable[bytes | memoryview], size: int) -> Iterator[bytes]:
    """Yield the bytes of all parts in order, `size` at a time; the last piece may be shorter."""
    begun = b""
    for part in parts:
        rest = memoryview(part)
        while len(begun) + len(rest) >= size:
            taken = size - len(begun)
            yield b"".join((begun, rest[:taken]))
            begun, rest = b"", rest[taken:]
        begun = b"".join((begun, rest))
    if begun:
        yield begun
