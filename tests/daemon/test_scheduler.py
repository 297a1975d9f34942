"""What recurs: it runs, failures are told and do not end it, a jump of the clock is noticed."""

from __future__ import annotations

import threading

from daemon.events.event import Event
from daemon.scheduler import CLOCK_JUMP_S, Scheduler
from tests.daemon_rig import wait_until


def test_work_recurs_and_a_failure_is_told_and_not_the_end() -> None:
    told: list[Event] = []
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        if len(runs) == 1:
            raise KeyError("on purpose")

    scheduler = Scheduler(told.append)
    scheduler.every(0.05, "work", work, at_once=True)
    scheduler.start()
    try:
        wait_until(lambda: len(runs) >= 3, "did not go on", 20)
    finally:
        scheduler.stop()
    assert [event.kind for event in told] == ["schedule.trouble"]
    assert "KeyError('on purpose')" in told[0].message


def test_a_turn_that_comes_while_the_last_one_runs_is_left_out_and_told() -> None:
    told: list[Event] = []
    go_on = threading.Event()
    runs: list[int] = []

    def work() -> None:
        runs.append(1)
        go_on.wait(20)

    scheduler = Scheduler(told.append)
    scheduler.every(0.05, "work", work, at_once=True)
    scheduler.start()
    try:
        wait_until(lambda: any("still runs" in event.message for event in told), "not told", 20)
        assert len(runs) == 1
    finally:
        go_on.set()
        scheduler.stop()


def test_a_clock_that_jumps_is_told() -> None:
    told: list[Event] = []
    now = {"wall": 1000.0, "monotonic": 50.0}
    scheduler = Scheduler(told.append, wall=lambda: now["wall"], monotonic=lambda: now["monotonic"])
    scheduler.start()
    try:
        for wall_s, monotonic_s in ((30.0, 30.0), (30.0 + CLOCK_JUMP_S * 2, 30.0), (-3600.0, 30.0)):
            now["wall"] += wall_s
            now["monotonic"] += monotonic_s
            scheduler._heartbeat()
    finally:
        scheduler.stop()
    assert [event.facts["seconds"] for event in told] == [CLOCK_JUMP_S * 2, -3630.0]
