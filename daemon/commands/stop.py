"""Ctrl-C and SIGTERM while a command works: the first asks it to end in order, the second interrupts it.

`dfld run` has signals of its own (`daemon.service`).
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from daemon.errors import ExitCode


class Stop(threading.Event):
    """Set by the first signal, whose number it keeps."""

    signal_number: int = signal.SIGINT

    @property
    def exit_code(self) -> ExitCode:
        return ExitCode.TERMINATED if self.signal_number == signal.SIGTERM else ExitCode.INTERRUPTED


@contextmanager
def stop_on_signals() -> Iterator[Stop]:
    """Yield a Stop that the first Ctrl-C or SIGTERM sets; a second raises KeyboardInterrupt with its number."""
    stop = Stop()

    def on_signal(number: int, _frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt(number)
        stop.signal_number = number
        stop.set()

    before = {number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
