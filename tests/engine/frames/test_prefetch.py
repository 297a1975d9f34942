from __future__ import annotations

import threading
from collections.abc import Iterator

import numpy as np
import pytest

from engine.errors import InputError
from engine.footage.image_folder import DecodedImage
from engine.frames.contract import DecodedFrame, Evidence, FrameReader
from engine.frames.prefetch import Prefetch

FRAME_BYTES = 300


class CountingReader(FrameReader):
    """Hands out `count` frames; counts how many were asked for; may fail at the end."""

    def __init__(self, count: int, problem: Exception | None = None) -> None:
        self.asked = 0
        self.moved = threading.Condition()
        self._frames = self._walk(count, problem)

    @property
    def warnings(self) -> tuple[str, ...]:
        return ()

    def __next__(self) -> DecodedFrame:
        with self.moved:
            self.asked += 1
            self.moved.notify_all()
        return next(self._frames)

    def evidence(self) -> Evidence:
        return Evidence(self.frames_decoded)

    def close(self) -> None:
        pass

    def wait_until_asked(self, times: int) -> None:
        with self.moved:
            assert self.moved.wait_for(lambda: self.asked >= times, timeout=30)

    @staticmethod
    def _walk(count: int, problem: Exception | None) -> Iterator[DecodedFrame]:
        for index in range(count):
            yield DecodedImage(np.zeros((10, 10, 3), np.uint8), index=index, name=f"{index}.png", packets_damaged=0)
        if problem is not None:
            raise problem


def test_frames_come_in_order_and_end() -> None:
    with Prefetch(CountingReader(50)) as frames:
        assert [frame.index for frame in frames] == list(range(50))
        assert next(frames, None) is None


def test_no_more_is_decoded_ahead_than_fits_the_budget() -> None:
    reader = CountingReader(50)
    with Prefetch(reader, ahead_bytes=3 * FRAME_BYTES) as frames:
        reader.wait_until_asked(4)
        assert reader.asked == 4, "three are held, the fourth waits to be put"
        next(frames)
        reader.wait_until_asked(5)
        assert reader.asked == 5


def test_how_full_it_is_adds_up_over_time() -> None:
    reader = CountingReader(50)
    with Prefetch(reader, ahead_bytes=3 * FRAME_BYTES) as frames:
        reader.wait_until_asked(4)
        assert frames.fill.fraction_seconds > 0
        assert 0 < frames.fill.mean <= 1


def test_one_frame_larger_than_the_budget_still_comes() -> None:
    with Prefetch(CountingReader(3), ahead_bytes=1) as frames:
        assert len(list(frames)) == 3


def test_what_the_reader_raises_reaches_the_caller_after_the_frames_before_it() -> None:
    with Prefetch(CountingReader(2, InputError("cut off"))) as frames:
        assert [next(frames).index, next(frames).index] == [0, 1]
        with pytest.raises(InputError, match="cut off"):
            next(frames)
        assert next(frames, None) is None


def test_closing_early_ends_the_thread() -> None:
    reader = CountingReader(10_000)
    with Prefetch(reader, ahead_bytes=FRAME_BYTES) as frames:
        next(frames)
    assert not any(thread.name == "decode" for thread in threading.enumerate())
    assert reader.asked < 10
