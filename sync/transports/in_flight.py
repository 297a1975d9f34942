"""A file on its way: where it is, to the byte, and the hash of what has passed. Not for connections or names.

A connection may break anywhere; what these two remember is what lets a transfer go on at that place.
"""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from typing import Self

from sync.transports.sftp import LARGEST_REQUEST_BYTES
from sync.transports.transport import OnBytes
from sync.types import FileStat

PIECES_WAITING = 8
"""For the hash: 2 MiB, so that neither side waits for the other's turn."""


class HashBeside:
    """The sha256 of what passes, computed in a thread of its own: OpenSSL lets other Python code run meanwhile.

    Pieces are not copied: they arrive in, or leave from, buffers that go round between the transfer and the hash. One
    thread transfers. Use as a context manager; a transfer that fails leaves no thread behind.
    """

    def __init__(self) -> None:
        self._free: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
        self._pieces: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        for _ in range(PIECES_WAITING):
            self._free.put(bytearray(LARGEST_REQUEST_BYTES))
        self._room: memoryview | None = None
        self._sha256 = hashlib.sha256()
        self._thread = threading.Thread(target=self._hash, name="sha256", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        if self._thread.is_alive():
            self._pieces.put(None)
            self._thread.join()

    def room(self) -> memoryview:
        """Return the buffer that the next piece goes into; the same one until an `update` has taken it over."""
        if self._room is None:
            self._room = memoryview(self._free.get())
        return self._room

    def update(self, piece: memoryview) -> None:
        """Add a piece. A part of `room` may still be read until `room` is asked for again; others are copied."""
        if self._room is None or piece.obj is not self._room.obj:
            self._pieces.put(memoryview(bytes(piece)))
            return
        self._room = None
        self._pieces.put(piece)

    def hexdigest(self) -> str:
        """Return the hash of all pieces; none may come after."""
        self.__exit__()
        return self._sha256.hexdigest()

    def _hash(self) -> None:
        while (piece := self._pieces.get()) is not None:
            self._sha256.update(piece)
            if isinstance(piece.obj, bytearray):
                self._free.put(piece.obj)


class Arriving:
    """A file on its way in: written and hashed in order, so that `count` says exactly what is there."""

    def __init__(self, descriptor: int, sha256: HashBeside, on_bytes: OnBytes) -> None:
        self.version: FileStat | None = None
        self.count = 0
        self.sha256 = sha256
        self._descriptor = descriptor
        self._on_bytes = on_bytes

    def take(self, piece: memoryview) -> None:
        self.sha256.update(piece)
        done = 0
        while done < len(piece):
            done += os.pwrite(self._descriptor, piece[done:], self.count + done)
        self.count += len(piece)
        self._on_bytes(len(piece))


class Leaving:
    """A file on its way out: hashed once in order, though parts of it may be sent again after a break."""

    def __init__(self, descriptor: int, sha256: HashBeside, on_bytes: OnBytes) -> None:
        self.size_bytes = os.fstat(descriptor).st_size
        self.confirmed = 0
        """What the machine has said it wrote, from the start of the file."""
        self.resumed = False
        self.sha256 = sha256
        self._hashed = 0
        self._at = 0
        self._descriptor = descriptor
        self._on_bytes = on_bytes

    def go_to(self, offset: int) -> None:
        """Go on from `offset`, which the machine has everything before."""
        self._at = self.confirmed = offset

    def next_piece(self, most: int) -> memoryview:
        """Return what comes next, nothing at the end; valid until the next call."""
        room = self.sha256.room()
        piece = room[: os.preadv(self._descriptor, [room[:most]], self._at)]
        unhashed = piece[max(0, self._hashed - self._at) :]
        if unhashed:
            self.sha256.update(unhashed)
        self._at += len(piece)
        self._hashed = max(self._hashed, self._at)
        return piece

    def written(self, count: int) -> None:
        self.confirmed += count
        self._on_bytes(count)
