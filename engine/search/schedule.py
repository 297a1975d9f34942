"""When to look for faces again, how widely, and when turned pictures too. Pure: numbers in, numbers out.

Intervals are times, written as frames at USUAL_RATE; `rate_scale` is the footage's rate as a multiple of it.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Literal

from engine.frames.shots import change_between
from engine.types import Image

USUAL_RATE = 25.0
"""Frames a second for which intervals are written; folders of images count as such."""
SLOWEST_RATE, FASTEST_RATE = 1.0, 240.0
"""Rates that are believed: headers state others for time lapses and for broken clocks."""
INTERVAL_BORN, INTERVAL_FASTEST, INTERVAL_FACES, INTERVAL_CALM = 4, 2, 8, 10
"""Frames between looks: after a birth, for the fastest faces, while somebody is in doubt, and at most.
The last one is a promise: who shows a face of a thirteenth of the picture's width for 0.4 s is seen."""
FULL_EVERY = 50
"""Frames in which at least one look takes in, at full size, all that is new: smaller faces are seen for 2 s or missed,
which matters only where the whole picture changes all the time; elsewhere every look is at full size."""
STILL_EVERY, EMPTY_EVERY = 125, 250
"""Frames in which at least one look takes in the whole frame, new or not: with faces in it, and with none."""
INTERVAL_STEP = 4
"""By how much a quiet look lengthens the wait for the next one."""
MOVED_LUMA = 10.0
"""A thumbnail that changed by so many levels since the last look asks for one at once."""
LOST_AFTER = 36
"""Frames after which a face that is not seen is gone; its return is a new track, which the gallery recognises."""
RECHECK = 24
"""Frames between checks of a track whose identity is settled: a switch of person must not go unseen."""

Due = Literal["no", "if new", "now"]
"""Whether to look at a frame: not, only if it shows something new, or whatever it shows."""


def believed_rate(average_rate: Fraction | None) -> float:
    """Return the rate to work with, frames a second, for what a header states; None where it states none."""
    return min(max(float(average_rate or USUAL_RATE), SLOWEST_RATE), FASTEST_RATE)


def frames_at(at_usual_rate: int, rate_scale: float) -> int:
    """Return an interval in frames of the footage, at least 1."""
    return max(1, round(at_usual_rate * rate_scale))


def look_due(
    frame: int,
    thumbnail: Image,
    *,
    last_look: int | None,
    look_thumbnail: Image | None,
    interval: int,
    somebody_there: bool,
    whole_due: bool,
    rate_scale: float,
) -> Due:
    """Say whether to look at a frame of the current shot.

    `last_look`, `look_thumbnail`: of the shot's last look. `somebody_there`: it saw a face. `whole_due`: see there.
    """
    if last_look is None or look_thumbnail is None:
        return "now"
    waited = frame - last_look
    if waited < frames_at(interval, rate_scale):
        moved = change_between(look_thumbnail, thumbnail) > MOVED_LUMA
        if not moved or waited < frames_at(INTERVAL_BORN, rate_scale):
            return "no"
    return "now" if somebody_there or whole_due else "if new"


def whole_due(
    frame: int, *, last_whole_look: int | None, last_full_look: int | None, empty: bool, rate_scale: float
) -> bool:
    """Say whether a frame must be looked at whole, whatever it shows; `empty`: no track of the shot may go on."""
    if last_whole_look is None or last_full_look is None:
        return True
    every = frames_at(EMPTY_EVERY if empty else STILL_EVERY, rate_scale)
    return frame - last_whole_look >= every or frame - last_full_look >= frames_at(FULL_EVERY, rate_scale)


def interval_after(interval: int, *, born: bool, fast: bool, settled: bool) -> int:
    """Return the frames to wait after a look, given those waited before it.

    `born`: it found a new face; `fast`: a known one moved fast; `settled`: nobody that it saw is in doubt.
    """
    if fast:
        return max(INTERVAL_FASTEST, interval // 2)
    if born:
        return INTERVAL_BORN
    return min(INTERVAL_CALM if settled else INTERVAL_FACES, interval + INTERVAL_STEP)


def interval_after_nothing(interval: int) -> int:
    """Return the frames to wait after a frame that showed nothing new, with nobody there."""
    return min(INTERVAL_CALM, interval + INTERVAL_STEP)


def turned_divisor(doubtful_looks: int) -> int:
    """Say whether to look at turned pictures too: the usual size divided by this; 0 is not at all.

    At a shot's 1st, 2nd, 4th, 8th … full look that saw nothing sure: three more looks cost much, and a shot that
    showed nothing at eight of them hardly holds a face at the ninth. Half the size is enough for near faces, and
    once in eight times distant ones get their chance.
    """
    count = doubtful_looks + 1
    return 0 if count & (count - 1) else 1 if count % 8 == 0 else 2
