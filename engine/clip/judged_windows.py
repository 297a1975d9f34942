"""One clip as judged windows: each is read with pass one over it, doubtful tracks get more samples, all are judged.

What extraction and tuning share, so that a threshold is tuned on exactly what an extraction would see. Writing is not
its business (engine.clip.write_window).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from engine.backends.backend import Backend
from engine.clip.judge_window import Decision, judge_window, tracks_to_ask
from engine.clip.resume_state import Carry, carry_from_json, carry_to_json
from engine.clip.sample_doubtful import sample_doubtful
from engine.clip.windows import Footage, Window, WindowReader, window_frames
from engine.frames.contract import DecodedFrame
from engine.identity.same_person import Rule
from engine.search.observer import Observer
from engine.search.schedule import USUAL_RATE, believed_rate
from engine.search.scout import Scout, ScoutSettings, end_window
from engine.steps import Step, no_step
from engine.tracks.review_tracks import still_waiting
from engine.types import Cursor, Identity


@dataclass(frozen=True, eq=False)
class JudgedWindow:
    """A window, and what was decided about the tracks that were seen in it."""

    window: Window
    decision: Decision
    carry: str
    """What the next window needs of it and of those before (JSON): `Commit.carry`."""


class JudgedWindows(Iterator[JudgedWindow]):
    """The windows of a clip in order; for one thread. Ends with the footage, or when it is stopped."""

    def __init__(
        self,
        frames: Iterator[DecodedFrame],
        footage: Footage,
        backend: Backend,
        identity: Identity,
        rule: Rule,
        *,
        min_confidence: float,
        average_rate: Fraction | None,
        stop: threading.Event,
        after: Cursor | None = None,
        carry: str = "",
        step: Step = no_step,
    ) -> None:
        """`frames`: those of `footage` from `after` on, in order; a window may be read again from there.

        `average_rate`: what the footage states, frames a second. `carry`: of the window before; "" at the start.
        `stop` leaves the window that is being read out. `step` is called for every frame that is read again.
        """
        rate = believed_rate(average_rate)
        self._observer = Observer(backend, identity, min_confidence)
        self._settings = ScoutSettings(identity, rule, backend.info.detection_side_px, rate / USUAL_RATE)
        self._reader = WindowReader(
            frames, self._observer, frame_skip=footage.frame_skip, frames_per_second=rate, stop=stop
        )
        self._footage = footage
        self._after = after
        self._carry = carry_from_json(carry)
        self._step = step
        self._decision: Decision | None = None
        """Of the window that was handed out last, until the next one is read."""

    @property
    def faces_seen(self) -> int:
        """How many faces were seen so far in the window that is being worked on, or was handed out last."""
        if self._decision is not None:
            return self._decision.faces_seen
        first = self._after.next_frame if self._after else 0
        return self._reader.scout.faces_seen(first) if self._reader.scout else 0

    def __next__(self) -> JudgedWindow:
        carry, self._decision = self._carry, None
        scout = Scout(self._settings, carry.scout)
        window = self._reader.next_window(scout, carry.shot, self._after)
        if window is None:
            raise StopIteration
        scout = self._asked(window, carry)
        decision, scout = judge_window(scout, carry.gallery, carry.accepted, window.first)
        identity, threshold = self._settings.identity, self._settings.rule.threshold
        waiting = still_waiting(carry.waiting, decision.tracks, decision.verdicts, identity, threshold)
        text = carry_to_json(Carry(end_window(scout).state, window.shot, decision.gallery, waiting, decision.accepted))
        # Through text and back, so that this run goes on from what a resumed one would find.
        self._carry, self._after, self._decision = carry_from_json(text), window.end, decision
        return JudgedWindow(window, decision, text)

    def _asked(self, window: Window, carry: Carry) -> Scout:
        """Return what the window's looks saw, with more samples of its doubtful tracks."""
        asked = tracks_to_ask(window.scout, carry.gallery, first_frame=window.first, examined=window.examined)
        if not asked:
            return window.scout
        with window_frames(window, self._footage, self._step) as frames:
            return sample_doubtful(window.scout, asked, self._observer, frames)
