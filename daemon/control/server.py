"""The control socket: a Unix socket in the state folder, one JSON line each way. Server and client.

    {"do": "status"}  →  {"ok": true, "answer": {…}}   or   {"ok": false, "error": "…", "hint": "…"}

What can be asked is `daemon.control.answers`. The socket is for owner and group (0660) in a folder closed to others;
never TCP. Requests are short and come from people: one thread accepts, one answers each.
"""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from core.errors import DfldError
from daemon.errors import ControlError
from daemon.state_folder import SOCKET_NAME

SOCKET_MODE = 0o660
REQUEST_BYTES_MAX = 64 << 10
ANSWER_BYTES_MAX = 64 << 20
LONG_TIMEOUT_S = 4 * 3600.0
"""What goes through all pictures of a workspace takes as long as its disk needs."""
TIMEOUT_S = 30.0
"""For each read and write; answers that take longer are not given by this socket."""
ACCEPT_LOOK_S = 0.5
CONNECTIONS_MAX = 8

Answerer = Callable[[Mapping[str, Any]], Any]


class ControlServer:
    """Listens until `close`. `answer` runs in a thread of each connection."""

    def __init__(self, state_dir: Path, answer: Answerer) -> None:
        """Listen in `state_dir`, whose lock the caller holds. Raise ControlError when the socket cannot be made."""
        self._path = state_dir / SOCKET_NAME
        self._answer = answer
        self._stop = threading.Event()
        self._connections = threading.BoundedSemaphore(CONNECTIONS_MAX)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(ACCEPT_LOOK_S)
        try:
            self._path.unlink(missing_ok=True)  # of a service that was killed: the lock says that it is gone
            with _short_path(state_dir) as short:
                self._socket.bind(short)
            self._path.chmod(SOCKET_MODE)
            self._socket.listen(CONNECTIONS_MAX)
        except OSError as problem:
            self._socket.close()
            raise ControlError(f"cannot listen on {self._path}: {problem.strerror}") from problem
        self._thread = threading.Thread(target=self._accept, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._stop.set()
        self._thread.join()
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _accept(self) -> None:
        while not self._stop.is_set():
            try:
                connection, _ = self._socket.accept()
            except TimeoutError:
                continue
            except OSError:  # out of descriptors for a moment
                self._stop.wait(ACCEPT_LOOK_S)
                continue
            if self._connections.acquire(blocking=False):
                threading.Thread(target=self._serve, args=(connection,), name="control-answer", daemon=True).start()
            else:
                connection.close()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):  # a client that went away has no use for an answer
            try:
                connection.settimeout(TIMEOUT_S)
                connection.sendall(self._reply(connection) + b"\n")
            finally:
                self._connections.release()

    def _reply(self, connection: socket.socket) -> bytes:
        try:
            request = json.loads(_read_line(connection, REQUEST_BYTES_MAX))
            if not isinstance(request, dict):
                raise ValueError("not an object")
        except ValueError as problem:
            return json.dumps({"ok": False, "error": f"not a request: {problem}", "hint": ""}).encode()
        try:
            return json.dumps({"ok": True, "answer": self._answer(request)}).encode()
        except DfldError as problem:
            return json.dumps({"ok": False, "error": problem.message, "hint": problem.hint}).encode()


def ask(state_dir: Path, do: str, *, timeout_s: float = TIMEOUT_S, **details: Any) -> Any:
    """Ask the daemon of this state folder; return its answer. Raise ControlError when none answers or it refuses."""
    path = state_dir / SOCKET_NAME
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as connection:
            connection.settimeout(TIMEOUT_S)
            with _short_path(state_dir) as short:
                connection.connect(short)
            connection.sendall(json.dumps({"do": do, **details}).encode() + b"\n")
            connection.settimeout(timeout_s)
            reply = json.loads(_read_line(connection, ANSWER_BYTES_MAX))
    except (OSError, ValueError) as problem:
        raise ControlError(
            f"no daemon answers on {path}: {problem.strerror if isinstance(problem, OSError) else problem}",
            hint="is it running, with this configuration, and may you use its socket? (group of the dfld user)",
        ) from problem
    if not reply.get("ok"):
        raise ControlError(str(reply.get("error")), hint=str(reply.get("hint", "")))
    return reply["answer"]


class _short_path:
    """The socket's path in a form that fits into the 108 bytes of a socket address, however deep the folder is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> str:
        self._descriptor = os.open(self._folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        return f"/proc/self/fd/{self._descriptor}/{SOCKET_NAME}"

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _read_line(connection: socket.socket, limit: int) -> bytes:
    """Read up to a line's end. Raise ValueError when it is longer than `limit` or cut off."""
    parts, size = [], 0
    while True:
        part = connection.recv(65536)
        parts.append(part)
        size += len(part)
        if part.endswith(b"\n"):
            return b"".join(parts)
        if not part:
            raise ValueError("the connection ended early")
        if size > limit:
            raise ValueError(f"longer than {limit} bytes")
