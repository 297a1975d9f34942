from __future__ import annotations

from collections.abc import Iterator

import pytest

from engine.stopwatch import QueueFill, Stopwatch


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_stages_add_up_and_waiting_for_items_is_a_stage() -> None:
    clock = Clock()
    watch = Stopwatch(clock)

    def slow() -> Iterator[str]:
        for item in "ab":
            clock.now += 2
            yield item

    assert list(watch.each("decode", slow())) == ["a", "b"]
    with watch.stage("detect"):
        clock.now += 5
    watch.add({"detect": 1.0})
    assert watch.seconds == {"decode": 4.0, "detect": 6.0}


def test_a_queue_is_as_full_as_its_share_times_the_time_it_was_so() -> None:
    clock = Clock()
    fill = QueueFill(clock)
    clock.now += 1
    fill.set(0.5)
    clock.now += 2
    fill.set(3.0)
    clock.now += 1
    assert fill.fraction_seconds == pytest.approx(0.5 * 2 + 1.0), "more than all its room is all its room"
    assert fill.mean == pytest.approx(2.0 / 4)
