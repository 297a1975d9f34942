"""What recurs: it runs, failures are told and do not end it, a jump of the clock is noticed."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

import pytest

from daemon.events.event import Event
from daemon.scheduler import CLOCK_JUMP_S, Scheduler
from tests.daemon_rig import wait_until


def test_work_recurs_and_a_failure_is_told_and_not_the_end(caplog: pytest.LogCaptureFixture) -> None:
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
    (record,) = (one for one in caplog.records if one.exc_info)
    assert record.__dict__["fields"] == {"boundary": "thread"}


def test_a_heartbeat_that_fails_is_logged_and_the_next_one_comes(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    beats: list[int] = []

    def beat(_self: Scheduler) -> None:
        beats.append(1)
        raise ZeroDivisionError

    monkeypatch.setattr("daemon.scheduler.HEARTBEAT_S", 0.01)
    monkeypatch.setattr(Scheduler, "_heartbeat", beat)
    scheduler = Scheduler(lambda _event: None)
    scheduler.start()
    try:
        wait_until(lambda: len(beats) >= 3, "the heartbeat died", 20)
    finally:
        scheduler.stop()
    assert any(record.exc_info for record in caplog.records)


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


def test_a_clock_that_was_set_back_delays_no_recurring_job_beyond_its_period() -> None:
    runs: list[int] = []
    scheduler = Scheduler(lambda _event: None)
    scheduler.every(3600, "work", lambda: runs.append(1))
    scheduler.start()
    try:
        # What a clock looks like to APScheduler that went back by a day after the next time was planned.
        scheduler._scheduler.modify_job("work", next_run_time=datetime.now(UTC) + timedelta(days=1))
        scheduler._heartbeat()
        wait_until(lambda: runs, "the job waits for the day that the clock went back", 20)
    finally:
        scheduler.stop()


def test_a_heartbeat_does_not_bring_forward_what_waits_for_its_period() -> None:
    scheduler = Scheduler(lambda _event: None)
    scheduler.every(3600, "work", lambda: None)
    scheduler.start()
    try:
        before = scheduler._scheduler.get_job("work").next_run_time
        scheduler._heartbeat()
        assert scheduler._scheduler.get_job("work").next_run_time == before
    finally:
        scheduler.stop()
