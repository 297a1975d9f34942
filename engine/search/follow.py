"""Pass two over footage: find a wanted track's face in every frame between the looks of pass one.

A search near the expected place costs a twenty-fifth of a look at the whole frame, and it is spent on wanted tracks
alone. The expected place runs straight from where the face was found last to where the next look saw it; where a
track begins or ends between two looks, the face is followed outwards until it is gone.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.faces.boxes import centre, overlap, size_of
from engine.frames.contract import DecodedFrame, region_round
from engine.search.looks import look_near_each
from engine.tracks.track import Track
from engine.types import Face, Image

GIVE_UP_AFTER = 2
"""Frames in a row without the face after which a track is no longer followed."""
GAP_MAX = 36
"""Frames between two looks at a track across which it is searched for; a longer gap is an absence."""
TAKEN_OVERLAP = 0.4
"""A search that ends on another track's face has lost its own."""
STEADY = 0.03
"""A face found within this fraction of its size of where it was expected moves as expected: for the next frames …"""
ASSUMED_FRAMES = 2
"""… so many of them, its place is taken as expected without a search; the next search shows whether that was right.
The landmark predictor mends what is left: the error on the labelled clips does not change."""
SEARCH_REACH = 1.7
"""Face sizes round the expected place that a search may look at: half of NEAR_GROWTH, turned by any roll."""


@dataclass(frozen=True, eq=False)
class Found:
    """A wanted track's face in one frame."""

    track: int
    frame: int
    face: Face
    looked: bool
    """Seen by a look at the whole frame, not only by a search near the track."""


@dataclass(frozen=True, eq=False)
class Expected:
    """Where a wanted track's face is, or should be searched for, in one frame."""

    track: int
    known: Face
    """The face itself where it is certain, else its latest sighting."""
    box: NDArray[np.floating]
    """(4,) px."""
    certain: bool = False
    looked: bool = False
    goes_on: bool = False
    """A later look saw the track: a miss here is a gap, not its end."""
    misses: int = 0
    """Frames in a row without it so far."""
    since: int = 0
    """Frame of the latest sighting."""
    assumed: int = 0
    """Frames in a row, this one included, whose place was taken without a search."""


@dataclass
class _Followed:
    """A track that is being followed beyond its last look."""

    face: Face
    frame: int
    misses: int = 0
    steady: bool = False
    """The last search found it where it was expected."""
    assumed: int = 0


@dataclass
class Follower:
    """Fills in one window, frame by frame in order; for one thread."""

    backend: Backend
    min_confidence: float
    wanted: Mapping[int, Track]
    """Tracks to fill in, by id, with their sightings of this window, and the last one before it where they go on."""
    others: Sequence[Track]
    """The window's other tracks, whose faces are not to be taken."""
    assume_steady: bool = True
    """Take the place of steady faces as expected in some frames; False where each face will be asked who it is."""
    _followed: dict[int, _Followed] = field(default_factory=dict)
    _early: dict[int, dict[int, Face]] = field(default_factory=dict)
    """Faces found backwards from a birth: frame -> track -> face."""

    def births_at(self, look: int) -> list[int]:
        """Tracks first seen at this look: they are followed back to the look before."""
        return [number for number, track in self.wanted.items() if track.sightings[0].frame == look]

    def follow_back(self, born: Sequence[int], frames: Iterable[DecodedFrame]) -> None:
        """Given the frames between a look and the one before, last first, follow tracks born there to their start."""
        ends = {
            number: _Followed(self.wanted[number].sightings[0].face, self.wanted[number].sightings[0].frame)
            for number in born
        }
        for decoded in frames:
            if not ends:
                return
            index = decoded.index
            pixels = decoded.to_frame(region_round([end.face.bbox for end in ends.values()], SEARCH_REACH)).pixels
            near = self._near(pixels, [(number, end.face, end.face.bbox) for number, end in ends.items()], index)
            for number, face in near.items():
                if face is None:
                    ends[number].misses += 1
                    if ends[number].misses >= GIVE_UP_AFTER:
                        del ends[number]
                    continue
                ends[number] = _Followed(face, index)
                self._early.setdefault(index, {})[number] = face

    def expect(self, index: int) -> list[Expected]:
        """Say where wanted faces are or should be in the next frame. Frames come in order."""
        places = [self._expected(number, track, index) for number, track in self.wanted.items()]
        return [place for place in places if place is not None]

    def fill(self, index: int, pixels: Image, expected: Sequence[Expected]) -> list[Found]:
        """Given the frame and what `expect` said of it, return the wanted faces in it.

        `pixels` need be right round the expected places alone.
        """
        found = []
        searched = self._search(index, pixels, [place for place in expected if not place.certain])
        for place in expected:
            before = self._followed.get(place.track)
            face = place.known if place.certain else searched[place.track]
            if face is not None:
                steady = before is not None and before.steady if place.certain else _is_steady(face, place.box)
                self._followed[place.track] = _Followed(face, index, steady=steady, assumed=place.assumed)
                found.append(Found(place.track, index, face, place.looked))
        return _apart(found)

    def _expected(self, number: int, track: Track, index: int) -> Expected | None:
        seen = next((one.face for one in track.sightings if one.frame == index), None)
        if seen is not None:
            return Expected(number, seen, seen.bbox, certain=True, looked=True)
        early = self._early.get(index, {}).get(number)
        if early is not None:
            return Expected(number, early, early.bbox, certain=True)
        followed = self._followed.get(number) or self._before(track, index)
        if followed is None:
            return None
        target = next((one for one in track.sightings if one.frame > index), None)
        if target is not None and target.frame - followed.frame > GAP_MAX + followed.misses:
            target = None
        expected = followed.face.bbox.astype(np.float64)
        if target is not None:
            fraction = (index - followed.frame) / (target.frame - followed.frame)
            expected = expected + (target.face.bbox - expected) * fraction
        assuming = self.assume_steady and target is not None and followed.steady and followed.assumed < ASSUMED_FRAMES
        if assuming and self._alone(number, expected, index):
            moved = _moved_to(followed.face, expected)
            return Expected(number, moved, expected, certain=True, goes_on=True, assumed=followed.assumed + 1)
        return Expected(
            number, followed.face, expected, goes_on=target is not None, misses=followed.misses, since=followed.frame
        )

    def _alone(self, number: int, box: NDArray[np.floating], index: int) -> bool:
        """Say whether nobody else's face is where this one is expected: where people cross, every frame is searched."""
        places = (_place(rival, index) for rival in self._rivals(number))
        return all(place is None or overlap(place, box) == 0.0 for place in places)

    def _rivals(self, number: int) -> list[Track]:
        return [*self.others, *(track for other, track in self.wanted.items() if other != number)]

    def _search(self, index: int, pixels: Image, places: Sequence[Expected]) -> dict[int, Face | None]:
        """Search for faces where they are expected; by track, None where one is not."""
        near = self._near(pixels, [(place.track, place.known, place.box) for place in places], index)
        for place in places:
            if near[place.track] is None:
                self._followed[place.track] = _Followed(place.known, place.since, place.misses + 1)
                if not place.goes_on and place.misses + 1 >= GIVE_UP_AFTER:
                    del self._followed[place.track]
        return near

    def _before(self, track: Track, index: int) -> _Followed | None:
        """The track's last sighting before `index`, close enough to go on from."""
        before = [one for one in track.sightings if one.frame < index]
        if not before or before[-1].frame < index - GIVE_UP_AFTER:
            return None
        return _Followed(before[-1].face, before[-1].frame)

    def _near(
        self, pixels: Image, places: Sequence[tuple[int, Face, NDArray[np.floating]]], index: int
    ) -> dict[int, Face | None]:
        """Look near (track, latest face, expected box) places; a face that is rather another track's is not taken."""
        if not places:
            return {}
        faces = look_near_each(self.backend, pixels, [place[1:] for place in places], self.min_confidence)
        found: dict[int, Face | None] = {}
        for (number, _, box), face in zip(places, faces, strict=True):
            taken = face is not None and any(
                (place := _place(rival, index)) is not None
                and overlap(face.bbox, place) > max(TAKEN_OVERLAP, overlap(face.bbox, box))
                for rival in self._rivals(number)
            )
            found[number] = None if taken else face
        return found


def _is_steady(face: Face, expected: NDArray[np.floating]) -> bool:
    size = size_of(expected)
    off = float(np.linalg.norm(centre(face.bbox) - centre(expected)))
    return max(off, abs(size_of(face.bbox) - size)) <= STEADY * size


def _moved_to(face: Face, box: NDArray[np.floating]) -> Face:
    """Return the face moved and scaled as its box is."""
    scale, middle = size_of(box) / size_of(face.bbox), centre(face.bbox)
    points = None
    if face.landmarks_5 is not None:
        points = np.asarray((face.landmarks_5 - middle) * scale + centre(box), np.float32)
    return Face(np.asarray(box, np.float32), face.detection_score, points)


def _place(track: Track, index: int) -> NDArray[np.float64] | None:
    """Where a track's face is in a frame, straight between its sightings; None outside them or in a long gap."""
    before = next((one for one in reversed(track.sightings) if one.frame <= index), None)
    after = next((one for one in track.sightings if one.frame >= index), None)
    if before is None or after is None:
        return None
    if before.frame == after.frame:
        return before.face.bbox.astype(np.float64)
    if after.frame - before.frame > GAP_MAX:
        return None
    fraction = (index - before.frame) / (after.frame - before.frame)
    return np.asarray(before.face.bbox + (after.face.bbox - before.face.bbox) * fraction, np.float64)


def _apart(found: list[Found]) -> list[Found]:
    """Drop a searched face that lies on one that was looked at, or on a better one: two tracks, one face."""
    kept: list[Found] = []
    for one in sorted(found, key=lambda one: (not one.looked, -one.face.detection_score, one.track)):
        if all(overlap(one.face.bbox, other.face.bbox) < TAKEN_OVERLAP for other in kept):
            kept.append(one)
    return sorted(kept, key=lambda one: one.track)
