"""When a job is tried again, and when a file has killed enough workers."""

from __future__ import annotations

import signal

from daemon.jobs.retry import SAME_PLACE_FRAMES, deaths_after, delay_s


def test_the_wait_doubles_up_to_a_limit() -> None:
    waits = [delay_s(attempts, first_s=30, longest_s=3600) for attempts in (1, 2, 3, 8, 500)]
    assert waits == [30, 60, 120, 3600, 3600]


def test_every_crash_counts_wherever_it_was() -> None:
    assert deaths_after(2, 10, frame=5000, killed_by=signal.SIGSEGV) == 3
    assert deaths_after(1, 10, frame=10, killed_by=0) == 2


def test_a_kill_from_outside_is_blamed_on_the_file_only_where_it_strikes_again() -> None:
    assert deaths_after(2, 10, frame=10 + SAME_PLACE_FRAMES, killed_by=signal.SIGKILL) == 3
    assert deaths_after(2, 10, frame=11 + SAME_PLACE_FRAMES, killed_by=signal.SIGKILL) == 1
    assert deaths_after(0, None, frame=7, killed_by=signal.SIGKILL) == 1
