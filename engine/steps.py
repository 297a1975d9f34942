"""Steps of work, made in any thread and reported by one, so that whoever waits can distinguish slow from stuck.

Most of an extraction shows by the frames it reads. Not so walking to a cursor in a file that cannot be sought in,
filling in a long window, or comparing all faces of a film at its end: there the steps count. A step is work done, never
time passed: a thread that hangs makes none, and nothing is reported.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

Result = TypeVar("Result")
Step = Callable[[], None]

REPORT_EVERY_S = 0.2
"""Often enough for a progress bar, seldom enough to cost nothing."""


def no_step() -> None:
    """Stand in for a step nobody counts."""


class Steps:
    """Made, and waited with, by one thread; `step` may be called by any."""

    def __init__(self, report: Callable[[], None], clock: Callable[[], float]) -> None:
        """`report` is called by the thread that makes this, REPORT_EVERY_S apart, and only when a step was made."""
        self._report = report
        self._clock = clock
        self._owner = threading.get_ident()
        self._reported = clock()
        self._made = False

    def step(self) -> None:
        """Take note of a step; in the owner's thread, report when it is time."""
        self._made = True
        if threading.get_ident() == self._owner:
            self.report_if_due()

    def report_if_due(self) -> None:
        if self._made and self._clock() - self._reported >= REPORT_EVERY_S:
            self.report()

    def report(self) -> None:
        """Report at once."""
        self._made = False
        self._reported = self._clock()
        self._report()

    def result_of(self, work: Future[Result]) -> Result:
        """Wait for what another thread does, reporting its steps; return its result or raise what it raised."""
        while not wait([work], REPORT_EVERY_S).done:
            self.report_if_due()
        return work.result()
