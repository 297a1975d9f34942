"""Pass one over footage: look at whole frames now and then, link the faces into tracks, and ask who they are.

Looking costs most of an extraction's time, so it is done sparsely: at the start and end of every shot, sooner where
faces move or have just appeared, later where nothing happens. Embeddings are made only while they can still decide.
What lies between two looks is filled in by engine.follow, for tracks that turned out to be wanted.

State is for one thread, and all of it is in `ScoutState`, which can be carried over a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.backends.backend import Backend
from engine.footage import DecodedFrame, region_round
from engine.looking import detection_image, look_everywhere, look_near, look_turned, roll_of, scaled_face
from engine.match import Gallery, Rule, blankness, is_settled, judge_track
from engine.quality import FaceQuality, clarity, measure
from engine.recognise import embed_faces
from engine.shots import change_between
from engine.tracking import (
    Looked,
    Sample,
    Sighting,
    Track,
    add_sample,
    centre,
    link,
    overlap,
    predict,
    size_of,
)
from engine.types import Face, Identity, Image

INTERVAL_BORN, INTERVAL_FASTEST, INTERVAL_FACES, INTERVAL_CALM = 4, 2, 8, 12
"""Frames between looks at 25 frames/s: after a birth, for the fastest faces, while somebody is in doubt, and at most,
when everybody is known or nobody is there."""
FULL_EVERY = 24
"""Frames in which at least one look takes in the whole frame; between, it is enough to look near known faces."""
SMALL_SHARE = 2
"""A frame where nobody was is glanced at in half the usual size, a quarter of the work: who comes near shows, and who
stays far is found by the next whole look and followed back from there."""
INTERVAL_STEP = 4
"""By how much a quiet look lengthens the wait for the next one."""
FAST = 0.5
"""A face that moved by more than this share of its size between looks is looked for twice as often."""
CROP_REACH = 2.5
"""Face sizes round a face that a recogniser's crop may reach: dlib's chip is the widest, three faces at any roll."""
MOVED_LUMA = 10.0
"""A thumbnail that changed by so many levels since the last look asks for one at once."""
LOST_AFTER = 36
"""Frames after which a face that is not seen is gone; its return is a new track, which the gallery recognises."""
RECHECK = 24
"""Frames between checks of a track whose identity is settled: a switch of person must not go unseen."""
UPRIGHT_SURE = 0.7
"""Upright faces score higher; upside-down ones reach 0.65 as if they were upright, with their points all wrong."""
TURNED_FROM_DEGREES = 60.0
"""A track rolled further is searched for with its roll, before an upright look is believed about it."""
SAME_PLACE = 0.3
DUPLICATE_OVERLAP = 0.4
"""Two detections that overlap more are one face found twice."""


@dataclass(frozen=True, eq=False)
class ScoutState:
    """Everything pass one knows between two windows."""

    next_track: int = 0
    shot: int = -1
    live: tuple[Track, ...] = ()
    """Tracks of the current shot that may go on, with no more sightings than prediction needs."""
    interval: int = INTERVAL_BORN
    last_look: int | None = None
    """Frame of the last look in this shot."""
    look_thumbnail: Image | None = None
    last_full_look: int | None = None
    """Frame of the shot's last look at a whole frame."""
    doubtful_looks: int = 0
    """Looks of this shot that found no sure face: when to try turned pictures."""


@dataclass
class Scout:
    """Looks at frames and keeps the tracks of one window; for one thread."""

    backend: Backend
    identity: Identity
    rule: Rule
    min_confidence: float
    state: ScoutState = field(default_factory=ScoutState)
    rate_scale: float = 1.0
    """Frames a second over 25: intervals are times, written as frames at 25 frames/s."""
    tracks: dict[int, Track] = field(default_factory=dict)
    """Every track with a sighting in this window, by id."""
    beside: dict[int, set[int]] = field(default_factory=dict)
    """Who was seen in one frame with whom, in this window."""
    looks: list[int] = field(default_factory=list)
    """Frames looked at in this window."""
    full_looks: list[int] = field(default_factory=list)
    """Those of them where the whole frame was looked at."""

    def begin_shot(self) -> None:
        """Forget the faces of the shot before: no track crosses a cut."""
        self.state = ScoutState(next_track=self.state.next_track, shot=self.state.shot + 1)

    def due(self, index: int, thumbnail: Image) -> bool:
        """Say whether a frame of the current shot should be looked at."""
        state = self.state
        if state.last_look is None or state.look_thumbnail is None:
            return True
        waited = index - state.last_look
        if waited >= max(1, round(state.interval * self.rate_scale)):
            return True
        moved = change_between(state.look_thumbnail, thumbnail) > MOVED_LUMA
        return moved and waited >= max(1, round(INTERVAL_BORN * self.rate_scale))

    def look(self, decoded: DecodedFrame, thumbnail: Image, *, whole: bool = False) -> None:
        """Find the faces of a frame, put them on tracks, and take the samples that can still decide.

        `whole`: take in the whole frame even if a look near the known faces would do. A frame may be looked at again.
        """
        frame = decoded.index
        faces = None if whole or not self._full_look_fresh(frame) else self._find_cheaply(decoded, thumbnail)
        if faces is None:
            faces = self._find(decoded)
            self.full_looks.append(frame)
        live = [t for t in self.state.live if frame - t.last.frame <= LOST_AFTER * self.rate_scale]
        metric, same = self.identity.metric, self.backend.info.default_threshold
        plain = [Looked(face) for face in faces]
        guess = link(live, plain, frame, metric, same)
        asked = self._sample(decoded, faces, guess, live)
        looked = [
            Looked(face, asked[n].embedding, asked[n].clarity) if n in asked else plain[n]
            for n, face in enumerate(faces)
        ]
        links = link(live, looked, frame, metric, same)
        self._advance(live, faces, links, asked, decoded, thumbnail)

    def sample(self, decoded: DecodedFrame, faces: Sequence[Face]) -> list[Sample]:
        """Ask the recogniser about faces of a frame, in one batch."""
        region = region_round([face.bbox for face in faces], CROP_REACH)
        pixels = decoded.to_frame(region).pixels
        crops = [self.backend.recognition_crop(pixels, face) for face in faces]
        samples = []
        for face, crop, embedding in zip(faces, crops, embed_faces(self.backend, crops), strict=True):
            quality = measure(face, crop, frame_width=decoded.width, frame_height=decoded.height)
            samples.append(Sample(decoded.index, embedding, self._clarity(quality, embedding), quality))
        return samples

    def all_settled(self) -> bool:
        """Say whether more frames can hardly change what this window's tracks are."""
        return all(self._settled(track) for track in self.tracks.values())

    def update_track(self, track: Track) -> None:
        """Put a track with more samples in place of its earlier self."""
        self.tracks[track.id] = track
        live = tuple(track if one.id == track.id else one for one in self.state.live)
        self.state = replace(self.state, live=live)

    def end_window(self) -> None:
        """Forget what was worked off: tracks that go on keep their samples and last places."""
        self.state = self.window_state()
        self.tracks, self.beside, self.looks, self.full_looks = {}, {}, [], []

    def window_state(self) -> ScoutState:
        """Return the state for the next window: live tracks without the sightings that were worked off."""
        live = tuple(replace(track, sightings=track.sightings[-2:]) for track in self.state.live)
        return replace(self.state, live=live)

    def replace_track(self, old: int, first: Track | None, second: Track) -> None:
        """Put the two parts of a split track in place of it."""
        self.tracks.pop(old)
        parts = [part for part in (first, second) if part is not None]
        self.tracks.update({part.id: part for part in parts})
        live = tuple(second if track.id == old else track for track in self.state.live)
        self.state = replace(self.state, live=live, next_track=max(self.state.next_track, second.id + 1))
        companions = self.beside.pop(old, set())
        for part in parts:
            self.beside[part.id] = set(companions)
        for companion in companions:
            self.beside[companion] = (self.beside[companion] - {old}) | {part.id for part in parts}

    def _full_look_fresh(self, frame: int) -> bool:
        last = self.state.last_full_look
        return last is not None and frame - last < FULL_EVERY * self.rate_scale

    def _find_cheaply(self, decoded: DecodedFrame, thumbnail: Image) -> list[Face] | None:
        """Find the faces of the last look again, near where they were, or see in a small picture that nobody is there.

        None where the whole frame must be looked at: a face is gone, somebody came, or much has changed.
        """
        state = self.state
        known = [track for track in state.live if track.last.frame == state.last_look]
        if not known:
            side = self.backend.info.detection_side_px // SMALL_SHARE // 32 * 32
            image, _ = detection_image(decoded, side)
            return None if self.backend.detect(image, min_confidence=self.min_confidence, side_px=side) else []
        if state.look_thumbnail is None or change_between(state.look_thumbnail, thumbnail) > MOVED_LUMA:
            return None
        image, scale = detection_image(decoded, self.backend.info.detection_side_px)
        found: list[Face] = []
        for track in known:
            expected = predict(track, decoded.index) / scale
            face = look_near(
                self.backend, image, scaled_face(track.last.face, 1 / scale), expected, self.min_confidence
            )
            if face is None or any(overlap(face.bbox, other.bbox) > SAME_PLACE for other in found):
                return None
            found.append(face)
        return [scaled_face(face, scale) for face in found]

    def _find(self, decoded: DecodedFrame) -> list[Face]:
        """Look at the whole frame, then near the live tracks it did not show, then turned where a shot is empty."""
        image, scale = detection_image(decoded, self.backend.info.detection_side_px)
        faces = look_everywhere(self.backend, image, self.min_confidence)
        for track in self.state.live:
            expected = predict(track, decoded.index) / scale
            shown = [face for face in faces if overlap(face.bbox, expected) > SAME_PLACE]
            # A head that stands on its end looks like a poor upright face to a detector.
            if shown and abs(roll_of(track.last.face)) < TURNED_FROM_DEGREES:
                continue
            face = look_near(self.backend, image, track.last.face, expected, self.min_confidence)
            if face is not None:
                faces = [*(one for one in faces if overlap(one.bbox, face.bbox) <= SAME_PLACE), face]
        rolled = any(abs(roll_of(track.last.face)) >= TURNED_FROM_DEGREES for track in self.state.live)
        share = self._turned_share(faces)
        if share and not rolled:
            side = self.backend.info.detection_side_px // share // 32 * 32
            faces += look_turned(self.backend, image, self.min_confidence, side_px=side)
        return _once_each([scaled_face(face, scale) for face in faces])

    @staticmethod
    def _unsure(faces: Sequence[Face]) -> bool:
        return not any(face.detection_score >= UPRIGHT_SURE for face in faces)

    def _turned_share(self, faces: Sequence[Face]) -> int:
        """Say whether to look at turned pictures too, and at which share of the usual size; 0 is not at all.

        At a shot's 1st, 2nd, 4th … whole look that saw nothing sure: three more looks are dear, and a shot that showed
        nothing at eight of them hardly holds a face at the ninth. On an empty picture half the size is enough for
        near faces, and once in four times distant ones get their chance; unsure faces are worth the full size at once.
        """
        count = self.state.doubtful_looks + 1
        if not self._unsure(faces) or count & (count - 1):
            return 0
        return 1 if faces or count % 4 == 0 else 2

    def _sample(
        self, decoded: DecodedFrame, faces: Sequence[Face], guess: dict[int, int], live: Sequence[Track]
    ) -> dict[int, Sample]:
        """Embed the faces whose track is new, doubtful, undecided or due for a check; by place in `faces`."""
        wanted = [
            n
            for n, face in enumerate(faces)
            if n not in guess or _crowded(face, faces) or self._needs_sample(live[guess[n]], decoded.index)
        ]
        if not wanted:
            return {}
        return dict(zip(wanted, self.sample(decoded, [faces[n] for n in wanted]), strict=True))

    def _needs_sample(self, track: Track, frame: int) -> bool:
        """Say whether one more embedding can still decide about a track, or is due as a check."""
        if track.samples and track.samples[-1].frame == frame:
            return False
        if not self._settled(track):
            return True
        return frame - track.samples[-1].frame >= round(RECHECK * self.rate_scale)

    def _settled(self, track: Track) -> bool:
        return is_settled(judge_track(track, self.identity, self.rule, Gallery()))

    def _clarity(self, quality: FaceQuality, embedding: np.ndarray) -> float:
        return clarity(quality, blankness(embedding, self.identity))

    def _advance(
        self,
        live: Sequence[Track],
        faces: Sequence[Face],
        links: dict[int, int],
        asked: dict[int, Sample],
        decoded: DecodedFrame,
        thumbnail: Image,
    ) -> None:
        """Write the links down: longer tracks, new ones, who was beside whom, and when to look next."""
        now, seen, fast = list(live), [], False
        next_track, frame = self.state.next_track, decoded.index
        for n, face in enumerate(faces):
            if n in links:
                track = now[links[n]]
                fast |= _moved(track, face) > FAST
                before = track.sightings[:-1] if track.last.frame == frame else track.sightings
                track = replace(track, sightings=(*before, Sighting(frame, face, decoded.pts)))
            else:
                track = Track(next_track, self.state.shot, (Sighting(frame, face, decoded.pts),))
                next_track += 1
            if n in asked:
                track = replace(track, samples=add_sample(track.samples, asked[n]))
            if n in links:
                now[links[n]] = track
            else:
                now.append(track)
            seen.append(track)
        for track in seen:
            self.tracks[track.id] = track
            self.beside.setdefault(track.id, set()).update(_apart(track, seen))
        if self.looks[-1:] != [frame]:
            self.looks.append(frame)
        born, whole = len(links) < len(faces), self.full_looks[-1:] == [frame]
        self.state = ScoutState(
            next_track=next_track,
            shot=self.state.shot,
            live=tuple(now),
            interval=self._interval(seen, born=born, fast=fast),
            last_look=frame,
            look_thumbnail=thumbnail,
            last_full_look=frame if whole else self.state.last_full_look,
            doubtful_looks=self.state.doubtful_looks + (whole and self._unsure(faces)),
        )

    def _interval(self, seen: Sequence[Track], *, born: bool, fast: bool) -> int:
        if fast:
            return max(INTERVAL_FASTEST, self.state.interval // 2)
        if born:
            return INTERVAL_BORN
        known = all(self._settled(track) for track in seen)
        return min(INTERVAL_CALM if known else INTERVAL_FACES, self.state.interval + INTERVAL_STEP)


def _crowded(face: Face, faces: Sequence[Face]) -> bool:
    """A face within reach of another may be swapped with it: only embeddings tell."""
    return any(
        other is not face
        and float(np.linalg.norm(centre(face.bbox) - centre(other.bbox)))
        < 1.2 * max(size_of(face.bbox), size_of(other.bbox))
        for other in faces
    )


def _apart(track: Track, seen: Sequence[Track]) -> set[int]:
    """Ids of tracks seen in the same frame in another place: nested boxes are one face found twice."""
    box = track.last.face.bbox
    return {other.id for other in seen if other.id != track.id and overlap(box, other.last.face.bbox) < 0.1}


def _moved(track: Track, face: Face) -> float:
    return float(np.linalg.norm(centre(face.bbox) - centre(track.last.face.bbox))) / size_of(face.bbox)


def _once_each(faces: list[Face]) -> list[Face]:
    """Drop detections that lie over a better one."""
    kept: list[Face] = []
    for face in sorted(faces, key=lambda face: -face.detection_score):
        if all(overlap(face.bbox, other.bbox) < DUPLICATE_OVERLAP for other in kept):
            kept.append(face)
    return sorted(kept, key=lambda face: (float(face.bbox[0]), float(face.bbox[1])))
