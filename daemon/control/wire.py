"""What both sides of the control socket share: where it is, and one line read from it within a limit."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon.state_folder import SOCKET_NAME

TIMEOUT_S = 30.0
"""For a whole answer, unless its client says otherwise."""


@contextmanager
def short_path(folder: Path) -> Iterator[str]:
    """Yield the socket's path in a form that fits into the 108 bytes of a socket address, however deep `folder` is."""
    descriptor = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{descriptor}/{SOCKET_NAME}"
    finally:
        os.close(descriptor)


def read_line(connection: socket.socket, limit: int, ends_at_s: float) -> bytes:
    """Read up to the first line's end, until that moment at most.

    Raise ValueError when it is longer than `limit` or cut off, TimeoutError.
    """
    parts, size = [], 0
    while True:
        connection.settimeout(max(ends_at_s - time.monotonic(), 0.001))
        part, end, _ = connection.recv(65536).partition(b"\n")
        parts.append(part)
        size += len(part)
        if size > limit:
            raise ValueError(f"longer than {limit} bytes")
        if end:
            return b"".join(parts)
        if not part:
            raise ValueError("the connection ended early")
