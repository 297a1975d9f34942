"""Decoding in its own thread, a bounded number of bytes ahead of whoever uses the frames."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Self

from core.boundary import hand_over
from engine.frames.contract import DecodedFrame, FrameReader
from engine.steps import REPORT_EVERY_S, no_step
from engine.stopwatch import QueueFill

AHEAD_BYTES = 24 << 20
"""About 17 frames of 720p: enough to hide a look at a whole frame, little beside the models."""

TOGETHER = 8
"""Frames for which whoever waits is woken: one at a time, the threads would change places more often than they work."""


class Prefetch(Iterator[DecodedFrame]):
    """Hands out a reader's frames in order; its thread owns the reader until `close`. Context manager."""

    def __init__(
        self, reader: FrameReader, *, ahead_bytes: int = AHEAD_BYTES, on_wait: Callable[[], None] = no_step
    ) -> None:
        """`on_wait` is called again and again, by whoever asks for a frame, while none comes.

        `ahead_bytes`: reading pauses once decoded frames of so many bytes wait; only tests set it.
        """
        self._reader = reader
        self.fill = QueueFill()
        """How much of `ahead_bytes` is taken."""
        self._on_wait = on_wait
        self._ahead_bytes = ahead_bytes
        self._changed = threading.Condition()
        # All below are touched with `_changed` held.
        self._frames: deque[DecodedFrame] = deque()
        self._held_bytes = 0
        self._ended = False
        self._closed = False
        self._read: Future[None] = Future()
        """How the reading ended; what was raised in the thread is raised once in `__next__`."""
        self._thread = threading.Thread(target=self._run, name="decode", daemon=True)
        self._thread.start()

    def __next__(self) -> DecodedFrame:
        while not self._come():
            self._on_wait()
        with self._changed:
            if self._frames:
                frame = self._frames.popleft()
                if self._held_bytes >= self._ahead_bytes:
                    self._changed.notify_all()
                self._held_bytes -= frame.nbytes
                self.fill.set(self._held_bytes / self._ahead_bytes)
                return frame
        read, self._read = self._read, Future()
        if read.done():
            read.result()  # raises what ended it, once
        raise StopIteration

    def close(self) -> None:
        """Stop decoding and wait for the thread; the reader is the caller's again."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()
        self._frames.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _come(self) -> bool:
        """Wait a moment for some frames or the end; say whether there is one or the other."""
        with self._changed:
            return bool(self._frames) or self._changed.wait_for(self._is_enough, REPORT_EVERY_S)

    def _is_enough(self) -> bool:
        return self._ended or len(self._frames) >= TOGETHER or self._held_bytes >= self._ahead_bytes

    def _run(self) -> None:
        hand_over(self._read_all, self._read)
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _read_all(self) -> None:
        for frame in self._reader:
            if not self._put(frame):
                return

    def _put(self, frame: DecodedFrame) -> bool:
        with self._changed:
            self._changed.wait_for(lambda: self._closed or not self._frames or self._held_bytes < self._ahead_bytes)
            if self._closed:
                return False
            self._frames.append(frame)
            self._held_bytes += frame.nbytes
            self.fill.set(self._held_bytes / self._ahead_bytes)
            if self._is_enough():
                self._changed.notify_all()
            return True
