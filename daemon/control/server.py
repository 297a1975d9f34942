"""The control socket: a Unix socket in the state folder, one JSON line each way. Its server.

    {"do": "status"}  →  {"ok": true, "answer": {…}}   or   {"ok": false, "error": "…", "hint": "…"}

What can be asked is `daemon.control.handlers`, how to ask `daemon.control.client`. The socket is for owner and group
(0660) in a folder closed to others; never TCP. Requests are short and come from people: one thread accepts, one answers
each. Whatever a client sends, it gets one line; a client that is slow gives way to the next one.
"""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from core.boundary import boundary
from core.errors import DfldError
from daemon.control.wire import TIMEOUT_S, read_line, short_path
from daemon.errors import ControlError
from daemon.reports.codec import encoded
from daemon.state_folder import SOCKET_NAME

SOCKET_MODE = 0o660
REQUEST_BYTES_MAX = 64 << 10
REQUEST_S = 10.0
"""For a whole request: a program sends it at once."""
PATIENCE_S = 0.5
"""When all places are taken, a client that was awaited for longer loses its own."""
QUEUE_MAX = 128
ROOM_LOOK_S = 0.1
ACCEPT_LOOK_S = 0.5
CONNECTIONS_MAX = 8
"""So many are answered at once; the others wait in the socket's queue."""

Answerer = Callable[[Mapping[str, object]], object]
"""Request → a report, or plain values with reports among them. Raises DfldError for what is refused."""


class ControlServer:
    """Listens until `close`. `answer` runs in a thread of each connection."""

    def __init__(self, state_dir: Path, answer: Answerer) -> None:
        """Listen in `state_dir`, whose lock the caller holds. Raise ControlError when the socket cannot be made."""
        self._path = state_dir / SOCKET_NAME
        self._answer = answer
        self._stop = threading.Event()
        self._room = threading.Condition()
        self._waits_since_s: dict[socket.socket, float | None] = {}
        """Every connection, oldest first: since when its client has to do something; None while it is answered."""
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        self._socket.settimeout(ACCEPT_LOOK_S)
        try:
            self._path.unlink(missing_ok=True)  # of a service that was killed: the lock says that it is gone
            with short_path(state_dir) as short:
                self._socket.bind(short)
            self._path.chmod(SOCKET_MODE)
            self._socket.listen(QUEUE_MAX)
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
            with boundary("thread", "the control socket", lambda _error: self._stop.wait(ACCEPT_LOOK_S)):
                if self._wait_for_room():
                    self._accept_one()

    def _accept_one(self) -> None:
        try:
            connection, _ = self._socket.accept()
        except TimeoutError:
            return
        except OSError:  # out of descriptors for a moment
            self._stop.wait(ACCEPT_LOOK_S)
            return
        with self._room:
            if len(self._waits_since_s) >= CONNECTIONS_MAX:
                self._cut_off_slowest()
            self._waits_since_s[connection] = time.monotonic()
        threading.Thread(target=self._serve, args=(connection,), name="control-answer", daemon=True).start()

    def _wait_for_room(self) -> bool:
        """Wait a moment for a place; say whether there is one, perhaps that of a client that is slow."""
        with self._room:
            if len(self._waits_since_s) >= CONNECTIONS_MAX and self._slowest() is None:
                self._room.wait(ROOM_LOOK_S)
            return len(self._waits_since_s) < CONNECTIONS_MAX or self._slowest() is not None

    def _slowest(self) -> socket.socket | None:
        """Return the connection whose client has been awaited longest, and for too long. `_room` is held."""
        waiting = [(since_s, one) for one, since_s in self._waits_since_s.items() if since_s is not None]
        since_s, slowest = min(waiting, key=lambda pair: pair[0], default=(math.inf, None))
        return slowest if time.monotonic() - since_s > PATIENCE_S else None

    def _cut_off_slowest(self) -> None:
        slowest = self._slowest()
        if slowest is not None:
            del self._waits_since_s[slowest]
            with suppress(OSError):
                slowest.shutdown(socket.SHUT_RDWR)

    def _serve(self, connection: socket.socket) -> None:
        try:
            with connection, suppress(OSError):  # a client that went away has no use for an answer
                reply = _failed()
                with boundary("request", "a request on the control socket", passing=(OSError,)):
                    reply = self._reply_to(connection)
                connection.settimeout(TIMEOUT_S)
                connection.sendall(reply + b"\n")
        finally:
            with self._room:
                self._waits_since_s.pop(connection, None)
                self._room.notify_all()

    def _reply_to(self, connection: socket.socket) -> bytes:
        """Read the request and return the answer. Raise OSError when the client goes away or is too slow."""
        try:
            line = read_line(connection, REQUEST_BYTES_MAX, time.monotonic() + REQUEST_S)
        except ValueError as problem:
            return _refusal(f"not a request: {problem}")
        with self._answering(connection):
            return self._reply(line)

    @contextmanager
    def _answering(self, connection: socket.socket) -> Iterator[None]:
        with self._room:
            if connection in self._waits_since_s:  # else it was cut off, just when its request was complete
                self._waits_since_s[connection] = None
        try:
            yield
        finally:
            with self._room:
                if connection in self._waits_since_s:
                    self._waits_since_s[connection] = time.monotonic()
                self._room.notify_all()

    def _reply(self, line: bytes) -> bytes:
        """Return the answer to one request, whatever it is."""
        try:
            request = json.loads(line)
            if not isinstance(request, dict):
                raise ValueError("not an object")
        except RecursionError:
            return _refusal("not a request: brackets nested very deeply")
        except ValueError as problem:
            return _refusal(f"not a request: {problem}")
        with boundary("request", "a request on the control socket", do=str(request.get("do"))):
            try:
                return json.dumps({"ok": True, "answer": encoded(self._answer(request))}).encode()
            except DfldError as problem:
                return _refusal(problem.message, problem.hint)
        return _failed()


def _failed() -> bytes:
    return _refusal("it failed; the log of the service says why")


def _refusal(error: str, hint: str = "") -> bytes:
    return json.dumps({"ok": False, "error": error, "hint": hint}).encode()
