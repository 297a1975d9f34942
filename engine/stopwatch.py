"""Seconds spent in each stage of the pipeline, and how full the queues between them are: what shows the slow one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import TypeVar

Item = TypeVar("Item")


class Stopwatch:
    """Adds up seconds by stage; any thread may use it."""

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._seconds: dict[str, float] = {}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = self._clock()
        try:
            yield
        finally:
            self.add({name: self._clock() - begin})

    def each(self, name: str, items: Iterator[Item]) -> Iterator[Item]:
        """Pass items on, adding up how long each is waited for."""
        while True:
            with self.stage(name):
                try:
                    item = next(items)
                except StopIteration:
                    return
            yield item

    def add(self, seconds: Mapping[str, float]) -> None:
        """Add the sums of another stopwatch."""
        with self._lock:
            for name, value in seconds.items():
                self._seconds[name] = self._seconds.get(name, 0.0) + value

    @property
    def seconds(self) -> dict[str, float]:
        """A copy of the sums so far."""
        with self._lock:
            return dict(self._seconds)


class QueueFill:
    """Adds up how much of a queue's room is taken, over time; any thread may use it.

    A queue that is full most of the time waits for the stage behind it, an empty one for the stage before it.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._begin = self._since = clock()
        self._fraction = 0.0
        self._fraction_seconds = 0.0

    def set(self, fraction: float) -> None:
        """Take note that from now on this fraction of the room is taken; more than 1 counts as 1."""
        with self._lock:
            now = self._clock()
            self._fraction_seconds += self._fraction * (now - self._since)
            self._since, self._fraction = now, min(1.0, fraction)

    @property
    def fraction_seconds(self) -> float:
        """The fraction taken, integrated over time so far: its growth in a second is the mean of that second."""
        with self._lock:
            return self._fraction_seconds + self._fraction * (self._clock() - self._since)

    @property
    def mean(self) -> float:
        """The mean fraction taken since the queue was made, 0..1."""
        return self.fraction_seconds / max(self._clock() - self._begin, 1e-9)
