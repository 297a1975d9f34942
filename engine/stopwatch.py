"""Seconds spent in each stage of the pipeline, so that a slow one is visible."""

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
