"""The frames round a face, as many as its neighbours need, and the faces that were found in each: none is looked for
twice, since the neighbours of a face are faces themselves.

A face is looked for in a square cut out round its place, in which it fills nearly half and stands upright
(engine.search.looks), and its landmarks are found in a crop turned upright by what was found there.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.faces.boxes import overlap
from engine.faces.warps import five_of_68
from engine.frames.contract import DecodedFrame, region_round
from engine.frames.shots import ShotState, advance, is_cut
from engine.refining.agreement import NEIGHBOURS, Beside, Points, steadied
from engine.search.follow import SEARCH_REACH
from engine.search.looks import look_near
from engine.search.observer import thumbnail_of
from engine.types import Face

CONFIDENCE = 0.5
"""Of the detector; near a known face engine.search.looks believes a part of it."""
SAME_FACE = 0.5
"""Intersection over union from which a face that was found before is the one that is looked for."""
LANDMARKS_REACH = 2.5
"""Face sizes round a face that a landmark model may read: dlib's crop is the widest."""


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face in one frame."""

    face: Face
    landmarks: Points


@dataclass(eq=False)
class _Seen:
    """A frame in the window."""

    decoded: DecodedFrame
    shot: int
    found: list[FoundFace] = field(default_factory=list)


class FrameWindow:
    """The frames within NEIGHBOURS of the middle one, of a source that is read in order; for one thread."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._frames: deque[_Seen] = deque(maxlen=2 * NEIGHBOURS + 1)
        self._shot_state: ShotState | None = None
        self._shot = 0

    def read(self, decoded: DecodedFrame) -> None:
        """Take the next frame of the source into the window."""
        thumbnail = thumbnail_of(decoded)
        if self._shot_state is not None and is_cut(self._shot_state, thumbnail):
            self._shot, self._shot_state = self._shot + 1, None
        self._shot_state = advance(self._shot_state, thumbnail)
        self._frames.append(_Seen(decoded, self._shot))

    def find(self, index: int, landmarks: Points, box: NDArray[np.floating]) -> Beside | None:
        """Find a face of frame `index` again, and in the frames beside it in its shot; None where it is not seen.

        `landmarks`, `box`: (68, 2) and (4,), px, as they are known so far. The landmarks that come back are steadied;
        those of the neighbours are as they were found.
        """
        place = next((place for place, one in enumerate(self._frames) if one.decoded.index == index), None)
        if place is None:
            return None
        start = Face(np.asarray(box, np.float32), CONFIDENCE, five_of_68(landmarks))
        own = self._find_in(self._frames[place], start)
        if own is None:
            return None
        beside: list[Points] = []
        for direction in (-1, 1):
            latest = own.face
            for step in range(1, NEIGHBOURS + 1):
                other = place + direction * step
                if not 0 <= other < len(self._frames) or self._frames[other].shot != self._frames[place].shot:
                    break
                found = self._find_in(self._frames[other], latest)
                if found is None:
                    break
                beside.append(found.landmarks)
                latest = found.face
        raw = Beside(own.landmarks, tuple(beside))
        return Beside(steadied(raw), raw.neighbours)

    def is_same_shot(self, one: int, other: int) -> bool:
        """Say whether two frames, by their indices, are in the window and of one shot."""
        shots = {seen.decoded.index: seen.shot for seen in self._frames}
        return one in shots and shots.get(one) == shots.get(other)

    def _find_in(self, frame: _Seen, near: Face) -> FoundFace | None:
        """Find a face near where another frame, or what is stored, shows it."""
        known = [one for one in frame.found if overlap(one.face.bbox, near.bbox) >= SAME_FACE]
        if known:
            return max(known, key=lambda one: overlap(one.face.bbox, near.bbox))
        pixels = frame.decoded.to_frame(region_round([near.bbox], max(SEARCH_REACH, LANDMARKS_REACH))).pixels
        face = look_near(self._backend, pixels, near, near.bbox, CONFIDENCE)
        if face is None:
            return None
        landmarks = np.asarray(self._backend.landmarks_68(pixels, [face])[0], np.float64)
        found = FoundFace(face, landmarks)
        frame.found.append(found)
        return found
