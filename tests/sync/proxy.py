"""A TCP proxy that stands between dfld and a machine and misbehaves on request."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Literal

Fault = Literal["none", "cut", "freeze", "flip", "drip"]


class FaultyProxy:
    """Passes bytes to `port` on loopback until told otherwise.

    `fault` happens once, when `after_bytes` have passed in `direction` ("down" = towards dfld) of one connection:
    cut closes both sides, freeze passes nothing more but stays open, flip inverts one bit, drip passes single bytes
    from then on. `every` makes it happen on every connection.
    """

    def __init__(self, port: int) -> None:
        self.target = port
        self.fault: Fault = "none"
        self.after_bytes = 0
        self.direction: Literal["down", "up"] = "down"
        self.every = False
        self.happened = 0
        self.connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self._pause = threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def arm(self, fault: Fault, after_bytes: int, *, direction: Literal["down", "up"] = "down") -> None:
        self.after_bytes = after_bytes
        self.direction = direction
        self.happened = 0
        self.fault = fault

    def close(self) -> None:
        self._listener.close()
        for end in self._open:
            self._shut(end)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self.target))
            except OSError:
                near.close()
                continue
            self.connections += 1
            self._open += [near, far]
            threading.Thread(target=self._pass_on, args=(near, far, "up"), daemon=True).start()
            threading.Thread(target=self._pass_on, args=(far, near, "down"), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, direction: str) -> None:
        passed = 0
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                passed += len(piece)
                if self._is_due(direction, passed):
                    self.happened += 1
                    if self.fault == "cut":
                        break
                    if self.fault == "freeze":
                        threading.Event().wait()
                    if self.fault == "flip":
                        piece = piece[:-1] + bytes([piece[-1] ^ 1])
                    if self.fault == "drip":
                        while byte := source.recv(1):
                            sink.sendall(byte)
                            self._pause.wait(0.05)
                sink.sendall(piece)
        self._shut(source)
        self._shut(sink)

    def _is_due(self, direction: str, passed: int) -> bool:
        armed = self.fault != "none" and (self.every or not self.happened)
        return armed and direction == self.direction and passed > self.after_bytes

    def _shut(self, end: socket.socket) -> None:
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
