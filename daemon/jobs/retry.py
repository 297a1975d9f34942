"""When a job is tried again, and when a file has killed enough workers. Pure."""

from __future__ import annotations

import signal

DEATHS_MAX = 3
"""A file that kills its worker so often, with nothing finished in between, is quarantined."""
SAME_PLACE_FRAMES = 64
"""Two deaths so close together are at the same place: progress is reported five times a second."""


def delay_s(attempts: int, *, first_s: float, longest_s: float) -> float:
    """Return the wait after the given number of failures in a row: `first_s`, doubled each time, up to `longest_s`."""
    return min(longest_s, first_s * 2.0 ** min(attempts - 1, 60))


def longest_wait_s(longest_delay_s: float, unreadable_grace_s: float) -> float:
    """Return the longest time that a job is made to wait: for its next try, or for a file still being written."""
    return max(longest_delay_s, unreadable_grace_s)


def deaths_after(deaths: int, death_frame: int | None, *, frame: int, killed_by: int) -> int:
    """Given the deaths counted so far and where the last one was, return the count with this one.

    A crash (`killed_by` is a signal of the program's own making, or 0 for an exit) always counts. SIGKILL comes from
    outside (an operator, the kernel short of memory): a file is blamed for it only where it strikes at the same
    frame again. Commits in between have set the count to 0 already.
    """
    if killed_by == signal.SIGKILL and death_frame is not None and abs(frame - death_frame) > SAME_PLACE_FRAMES:
        return 1
    return deaths + 1
