"""Cuts a connection on which somebody waits while no byte moves."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator

WATCH_INTERVAL_S = 1.0


class Watchdog:
    """Cuts a connection on which somebody waits while no byte moves.

    paramiko's channel timeout covers reads; a write can wait inside the shared socket for ever while the other side
    acknowledges TCP but reads nothing. Fields are written by the working thread and read by the watching one.
    """

    def __init__(self, limit_s: float, cut: Callable[[], None]) -> None:
        self._limit_s = limit_s
        self._cut = cut
        self._waiting_since: float | None = None
        self._ended = threading.Event()
        threading.Thread(target=self._watch, name="ssh-watchdog", daemon=True).start()

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        self._waiting_since = time.monotonic()
        try:
            yield
        finally:
            self._waiting_since = None

    def moved(self) -> None:
        self._waiting_since = time.monotonic()

    def end(self) -> None:
        self._ended.set()

    def _watch(self) -> None:
        while not self._ended.wait(WATCH_INTERVAL_S):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self._limit_s:
                self._cut()
                return
