"""What signals ask of a running service: SIGTERM and SIGINT to stop, a second one to stop at once, SIGHUP to reload.

Those of a command that works alone are `daemon.commands.stop`.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class SignalRequests:
    """What signals ask for. Handlers only set events; the main loop acts."""

    def __init__(self, stop: threading.Event) -> None:
        self.stop = stop
        self.at_once = threading.Event()
        self.reload = threading.Event()

    def on_stop(self, _number: int, _frame: FrameType | None) -> None:
        if self.stop.is_set():
            self.at_once.set()
        self.stop.set()

    def on_reload(self, _number: int, _frame: FrameType | None) -> None:
        self.reload.set()


@contextmanager
def taken_signals(requests: SignalRequests) -> Iterator[None]:
    """Take the signals for as long as the service runs, where Python allows it: in the main thread."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {signal.SIGTERM: requests.on_stop, signal.SIGINT: requests.on_stop, signal.SIGHUP: requests.on_reload}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
