"""Whole files over SFTP, many requests under way: as fast as the connection, in order, resumable at a byte.

Not for connecting, deciding what to move, or where it goes: a caller hands in an open session and is notified of every
piece in file order, so that it can hash and write in flight and knows to the byte what has arrived when the
connection dies. Requests under way are bounded: unbounded prefetch floods some servers and fills memory.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable
from functools import partial

from sync.errors import ConnectionLostError, RemoteFileChangedError, RemoteFileError
from sync.transports.sftp import DATA, END_OF_FILE, READ, STATUS, WRITE, Fields, SftpClient, string

REQUESTS_UNDER_WAY = 32
"""times 255 KiB = 8 MiB: four SSH windows, so the server always has a next request; more was not faster."""


class _Pipeline:
    """Requests under way. Leaving it by an error of the file takes in the replies still to come, so that the
    session stays usable; a lost connection has none."""

    def __init__(self, client: SftpClient) -> None:
        self.client = client
        self.under_way = 0

    def ask(self, kind: int, body: bytes, payload: bytes | memoryview = b"") -> int:
        request = self.client.next_request()
        head = struct.pack(">IBI", len(body) + len(payload) + 5, kind, request)
        self.client.stream.send(head + body, payload)
        self.under_way += 1
        return request

    def receive_header(self) -> tuple[int, int, int]:
        self.under_way -= 1
        return self.client.receive_header()

    def __enter__(self) -> _Pipeline:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, ConnectionLostError):
            return
        while self.under_way:
            _, _, length = self.receive_header()
            self.client.receive_body(length)


def read_in_order(
    client: SftpClient,
    handle: bytes,
    path: str,
    start: int,
    end: int,
    take: Callable[[memoryview], object],
    *,
    room: Callable[[], memoryview] | None = None,
) -> None:
    """Read bytes start..end of an open file and hand them to `take`, in order, each exactly once.

    `take` gets a view that is only valid during the call, unless `room` is given: that is asked before each piece
    where to put it, and must hold at least the client's `request_bytes`.

    Replies may come in any order and may be short (servers other than OpenSSH): what is missing is asked for again.
    Raise RemoteFileChangedError when the file ends before `end`.
    """
    waiting: deque[tuple[int, int, int]] = deque()  # request, offset, length; in file order
    early: dict[int, bytes] = {}  # replies that overtook the one whose turn it is
    room = room or partial(_same, memoryview(bytearray(client.request_bytes)))
    asked = start

    with _Pipeline(client) as pipeline:

        def ask(offset: int, length: int) -> tuple[int, int, int]:
            return pipeline.ask(READ, string(handle) + struct.pack(">QI", offset, length)), offset, length

        def arrived(piece: memoryview) -> None:
            _, offset, length = waiting.popleft()
            if len(piece) > length:
                raise RemoteFileError(
                    f"its SFTP server sent {len(piece)} bytes of {path}, asked for {length}", machine=client.machine
                )
            take(piece)
            if len(piece) < length:
                waiting.appendleft(ask(offset + len(piece), length - len(piece)))

        while waiting or asked < end:
            while asked < end and len(waiting) < REQUESTS_UNDER_WAY:
                length = min(client.request_bytes, end - asked)
                waiting.append(ask(asked, length))
                asked += length
            if waiting[0][0] in early:
                arrived(memoryview(early.pop(waiting[0][0])))
                continue
            request, piece = _receive_piece(pipeline, room(), path)
            if request == waiting[0][0]:
                arrived(piece)
            elif any(request == known for known, _, _ in waiting):
                early[request] = bytes(piece)
            else:
                raise ConnectionLostError(f"its SFTP server answered request {request} twice", machine=client.machine)


def _same(buffer: memoryview) -> memoryview:
    return buffer


def _receive_piece(pipeline: _Pipeline, buffer: memoryview, path: str) -> tuple[int, memoryview]:
    client = pipeline.client
    kind, request, length = pipeline.receive_header()
    if kind == DATA and 4 < length <= 4 + len(buffer):
        size = int.from_bytes(client.receive_body(4))
        if size != length - 4:
            raise ConnectionLostError(f"its SFTP server sent a malformed piece of {path}", machine=client.machine)
        piece = buffer[:size]
        client.stream.receive_into(piece)
        return request, piece
    body = client.receive_body(length)
    if kind == STATUS and Fields(body, client.machine).uint32() == END_OF_FILE:
        raise RemoteFileChangedError(
            f"{path} ended before its size: it was replaced while being read", machine=client.machine
        )
    if kind == STATUS:
        client.raise_status(body, f"read {path}")
    raise RemoteFileError(f"its SFTP server answered a read of {path} with packet type {kind}", machine=client.machine)


def write_in_order(
    client: SftpClient,
    handle: bytes,
    path: str,
    start: int,
    next_piece: Callable[[int], memoryview],
    on_written: Callable[[int], object],
) -> None:
    """Write what `next_piece(most_bytes)` gives, until it gives nothing, from byte `start` on.

    `on_written` is called with the size of each piece that the server says it has written. Raise RemoteFileError when
    it refuses one.
    """
    sent: dict[int, int] = {}
    offset = start
    with _Pipeline(client) as pipeline:
        while piece := next_piece(client.request_bytes):
            body = string(handle) + struct.pack(">QI", offset, len(piece))
            sent[pipeline.ask(WRITE, body, piece)] = len(piece)
            offset += len(piece)
            if len(sent) >= REQUESTS_UNDER_WAY:
                on_written(_receive_written(pipeline, sent, path))
        while sent:
            on_written(_receive_written(pipeline, sent, path))


def _receive_written(pipeline: _Pipeline, sent: dict[int, int], path: str) -> int:
    client = pipeline.client
    kind, request, length = pipeline.receive_header()
    body = client.receive_body(length)
    if kind != STATUS or request not in sent:
        raise ConnectionLostError(
            f"its SFTP server answered a write of {path} with packet type {kind}", machine=client.machine
        )
    client.raise_status(body, f"write {path}")
    return sent.pop(request)
