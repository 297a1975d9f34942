"""Steps of work, made in any thread and told by one, so that whoever waits can tell slow from stuck.

Most of an extraction tells itself by the frames it reads. Not so walking to a cursor in a file that cannot be sought
in, filling in a long window, or comparing all faces of a film at its end: there the steps count. A step is work done,
never time passed: a thread that hangs makes none, and nothing is told.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, wait
from typing import TypeVar

Result = TypeVar("Result")
Step = Callable[[], None]

TELL_EVERY_S = 0.2


def no_step() -> None:
    """Stand in for a step nobody counts."""


class Steps:
    """Made, and waited with, by one thread; `step` may be called by any."""

    def __init__(self, tell: Callable[[], None], clock: Callable[[], float]) -> None:
        """`tell` is called by the thread that makes this, TELL_EVERY_S apart, and only when a step was made."""
        self._tell = tell
        self._clock = clock
        self._owner = threading.get_ident()
        self._told = clock()
        self._made = False

    def step(self) -> None:
        """Take note of a step; in the owner's thread, tell when it is time."""
        self._made = True
        if threading.get_ident() == self._owner:
            self.tell_if_due()

    def tell_if_due(self) -> None:
        if self._made and self._clock() - self._told >= TELL_EVERY_S:
            self.tell()

    def tell(self) -> None:
        """Tell at once."""
        self._made = False
        self._told = self._clock()
        self._tell()

    def result_of(self, work: Future[Result]) -> Result:
        """Wait for what another thread does, telling of its steps; return its result or raise what it raised."""
        while not wait([work], TELL_EVERY_S).done:
            self.tell_if_due()
        return work.result()
