"""Footage in windows: a shot, or a piece of a long one, read once, with pass one (engine.search.scout) on the way.

A window is what is decided together, written together and committed together. It ends at a cut, at the end of the
footage, or at a look once it is large; where it ends depends on the frames alone, never on time or threads, so that a
run that was resumed cuts the same windows as one that was not. Its frames are kept as the decoder left them as long
as they fit a budget; a window that outgrows it is read a second time instead.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from engine.footage.video import open_frames
from engine.frames.contract import AS_SHOWN, DecodedFrame, FrameForm
from engine.frames.shots import ShotState, advance, is_cut
from engine.search.observer import Observer, thumbnail_of
from engine.search.scout import Scout, begin_shot
from engine.steps import Step, no_step
from engine.types import Cursor, Image

HELD_BYTES = 112 << 20
"""Frames kept for pass two: 85 of 720p, 37 of 1080p, 9 of 4K. With models and writers a worker stays below 1 GB."""
UNSEEN_BYTES = 96 << 20
"""Frames between two full looks, which pass two goes back over: 70 of 720p, 31 of 1080p, 7 of 4K."""
LONGEST_S = 60.0
"""A longer shot is read in several windows: a crash loses the work on one window at most."""


@dataclass(frozen=True)
class Footage:
    """Where a clip's frames come from, and which of them are examined."""

    source: Path
    frame_skip: int = 0
    """Frames left out after each one examined."""
    within: tuple[Path, ...] | None = None
    """Folders that the source must lie in; None = anywhere."""
    form: FrameForm = AS_SHOWN


@dataclass(frozen=True, eq=False)
class Window:
    """A piece of one shot after pass one: which frames it has, and what their looks saw."""

    after: Cursor | None
    """Where it begins; None at the footage's start."""
    first: int
    """Index of its first frame; frames left out by `frame_skip` count."""
    end: Cursor
    """Where the next window begins: the place to commit at."""
    frames: int
    """How many were decoded."""
    packets_damaged: int
    """Damaged packets that the reader met up to its last frame."""
    examined: int
    """How many of them `frame_skip` leaves."""
    kept: tuple[DecodedFrame, ...] | None
    """The examined frames that pass two may need, in order, for `window_frames` alone; None where they outgrew
    HELD_BYTES: pass two then reads the footage again from `after`."""
    shot: ShotState | None
    """For the next window; None where this one ends its shot."""
    scout: Scout
    """What its looks saw."""

    @property
    def last(self) -> int:
        """Index of its last frame."""
        return self.end.next_frame - 1


class WindowReader:
    """Reads frames, finds cuts and runs pass one; for one thread."""

    def __init__(
        self,
        frames: Iterator[DecodedFrame],
        observer: Observer,
        *,
        frame_skip: int,
        frames_per_second: float,
        stop: threading.Event,
    ) -> None:
        """`stop` ends a window without result."""
        self._frames = frames
        self._observer = observer
        self.scout: Scout | None = None
        """As it is now, in the window that is being read; None before the first one."""
        self._step = frame_skip + 1
        self._longest = max(1, round(LONGEST_S * frames_per_second))
        self._held_limit = HELD_BYTES
        self._stop = stop
        self._pending: DecodedFrame | None = None

    def next_window(self, scout: Scout, shot: ShotState | None, after: Cursor | None) -> Window | None:
        """Read one window; None at the end of the footage, and when stopped before the window was whole.

        `scout`, `shot`: as the window before left them; shot None where this one begins a shot. `after`: where it
        begins.
        """
        self.scout = scout
        held: list[DecodedFrame] = []
        held_bytes = unseen_bytes = frames = examined = 0
        first, last, latest, complete = 0, None, None, True
        ends_shot = False
        while (decoded := self._next()) is not None:
            if self._stop.is_set():
                return None
            thumbnail = thumbnail_of(decoded) if decoded.index % self._step == 0 else None
            if thumbnail is not None and _begins_shot(shot, thumbnail):
                if examined:
                    self._pending, ends_shot = decoded, True
                    break
                scout, shot = begin_shot(scout), None
            first = first if frames else decoded.index
            last, frames = decoded, frames + 1
            if thumbnail is None:
                continue
            shot = advance(shot, thumbnail)
            latest, examined = (decoded, thumbnail), examined + 1
            unseen_bytes += decoded.nbytes
            if complete:
                held.append(decoded)
                held_bytes += decoded.nbytes
            scout = self._observer.read(scout, decoded, thumbnail)
            if unseen_bytes >= UNSEEN_BYTES:
                scout = self._observer.end_stretch(scout, decoded, thumbnail)
            self.scout = scout
            full = scout.full_up_to == decoded.index
            if full:
                unseen_bytes = 0
            if full and not scout.window.tracks:
                held, held_bytes, complete = [], 0, True
            if scout.state.last_look != decoded.index:
                continue
            settled = held_bytes < self._held_limit or scout.all_settled()
            if full and settled and (frames >= self._longest or held_bytes >= self._held_limit):
                break
            if not settled:
                held, held_bytes, complete = [], 0, False
        if last is None:
            return None
        if latest is not None:
            self.scout = scout = self._observer.end_stretch(scout, *latest)
        shot = None if ends_shot else shot
        return Window(
            after=after,
            first=first,
            end=Cursor(last.index + 1, last.pts),
            frames=frames,
            packets_damaged=last.packets_damaged,
            examined=examined,
            kept=tuple(held) if complete else None,
            shot=shot,
            scout=scout,
        )

    def _next(self) -> DecodedFrame | None:
        pending, self._pending = self._pending, None
        return pending if pending is not None else next(self._frames, None)


def _begins_shot(shot: ShotState | None, thumbnail: Image) -> bool:
    return shot is None or is_cut(shot, thumbnail)


@contextmanager
def window_frames(window: Window, footage: Footage, step: Step = no_step) -> Iterator[Iterable[DecodedFrame]]:
    """Give a window's examined frames once more: those that were kept, or read again from where it began.

    `step` is called for each of them, and for all that is read on the way to the first.
    """
    if window.kept is not None:
        yield _until(window.kept, window.last, 1, step)
        return
    with open_frames(footage.source, after=window.after, within=footage.within, form=footage.form, step=step) as reader:
        yield _until(reader, window.last, footage.frame_skip + 1, step)


def _until(frames: Iterable[DecodedFrame], last: int, every: int, step: Step) -> Iterator[DecodedFrame]:
    for decoded in frames:
        step()
        if decoded.index % every == 0:
            yield decoded
        if decoded.index >= last:
            return
