"""Pass one over footage: look at whole frames now and then, link the faces into tracks, and ask who they are.

Looking costs most of an extraction's time, so it is done sparsely: at the start and end of every shot, sooner where
faces move or have just appeared, later where nothing happens. Embeddings are made only while they can still decide.
What lies between two looks is filled in by engine.search.follow, for tracks that turned out to be wanted.

State is for one thread, and all of it is in `ScoutState`, which can be carried over a crash.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.backends.backend import Backend
from engine.faces.boxes import centre, size_of
from engine.faces.quality import FaceQuality, clarity, measure
from engine.frames.contract import DecodedFrame, region_round
from engine.identity.embedding import embed_faces
from engine.identity.same_person import Rule, blankness
from engine.search.frame_search import (
    PART_MAX,
    Seen,
    area_of,
    find_everywhere,
    find_in_part,
    find_known,
    glance,
    glance_sees,
    is_unsure,
    part_round,
    share_of,
)
from engine.search.novelty import NOVELTY_WIDTH_PX, WHOLE, Share, news_between
from engine.search.shots import change_between
from engine.tracks.linking import Looked, contested, link
from engine.tracks.same_frame import apart, beside_parts, crowded, displaced
from engine.tracks.track import Sample, Sighting, Track, add_sample
from engine.tracks.verdicts import Gallery, is_settled, judge_track
from engine.types import Face, Identity, Image

INTERVAL_BORN, INTERVAL_FASTEST, INTERVAL_FACES, INTERVAL_CALM = 4, 2, 8, 10
"""Frames between looks at 25 frames/s: after a birth, for the fastest faces, while somebody is in doubt, and at most.
The last one is a promise: who shows a face of a thirteenth of the picture's width for 0.4 s is seen."""
FULL_EVERY = 50
"""Frames in which at least one look takes in, at full size, all that is new: smaller faces are seen for 2 s or missed,
which matters only where the whole picture changes all the time; elsewhere every look is at full size."""
STILL_EVERY, EMPTY_EVERY = 125, 250
"""Frames in which at least one look takes in the whole frame, new or not: with faces in it, and with none."""
KNOWN_GROWTH = 0.12
"""A known face that moves changes so much of the picture round its box, as a share of its side."""
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
    """Frame up to which everything that was new had been looked at in full size."""
    last_whole_look: int | None = None
    """Frame of the shot's last look at a whole frame in full size."""
    glanced: Image | None = None
    """Luma picture of the last frame whose news were looked at, if only at a glance."""
    studied: Image | None = None
    """Luma picture of the last frame whose news were looked at in full size."""
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
    torn: dict[int, tuple[int, int]] = field(default_factory=dict)
    """Tracks whose place somebody else turned out to have: between the last sample and that look, nobody was asked."""
    full_looks: list[int] = field(default_factory=list)
    """Those of them up to which everything new was looked at in full size."""
    births: list[int] = field(default_factory=list)
    """Those of them that found a new face away from the known ones."""

    def begin_shot(self) -> None:
        """Forget the faces of the shot before: no track crosses a cut."""
        self.state = ScoutState(next_track=self.state.next_track, shot=self.state.shot + 1)

    def due(self, decoded: DecodedFrame, thumbnail: Image) -> bool:
        """Say whether a frame of the current shot should be looked at; where nobody is, only if it shows news."""
        state, index = self.state, decoded.index
        if state.last_look is None or state.look_thumbnail is None:
            return True
        waited = index - state.last_look
        if waited < self._frames(state.interval):
            moved = change_between(state.look_thumbnail, thumbnail) > MOVED_LUMA
            if not moved or waited < self._frames(INTERVAL_BORN):
                return False
        if any(track.last.frame == state.last_look for track in state.live) or self._whole_look_due(index):
            return True
        return not self._shows_nothing(decoded, thumbnail)

    def look(self, decoded: DecodedFrame, thumbnail: Image, *, whole: bool = False) -> None:
        """Find the faces of a frame, put them on tracks, and take the samples that can still decide.

        `whole`: take in the whole frame even if less would do. A frame may be looked at again.
        """
        frame, luma = decoded.index, decoded.luma(NOVELTY_WIDTH_PX)
        seen = self._search(decoded, luma, whole=whole)
        faces = seen.faces
        live = [track for track in self.state.live if self._is_recent(track, frame)]
        metric, same = self.identity.metric, self.backend.info.default_threshold
        plain = [Looked(face) for face in faces]
        guess = link(live, plain, frame, metric, same)
        open_ = contested(live, plain, guess, frame, metric, same)
        asked = self._sample(decoded, faces, guess, live, open_)
        looked = [
            Looked(face, asked[n].embedding, asked[n].clarity) if n in asked else plain[n]
            for n, face in enumerate(faces)
        ]
        links = link(live, looked, frame, metric, same)
        doubtful = self.state.doubtful_looks + (seen.full and is_unsure(faces))
        for track in displaced(live, guess, links):
            self.torn.setdefault(track.id, (track.samples[-1].frame, frame))
        self._advance(live, faces, links, asked, decoded, thumbnail)
        if seen.wide and len(links) < len(faces):
            self.births.append(frame)
        self.state = replace(
            self.state,
            doubtful_looks=doubtful,
            glanced=luma if seen.wide else self.state.glanced,
            last_whole_look=frame if seen.whole else self.state.last_whole_look,
        )
        if seen.full:
            self._note_full(frame, luma)

    def look_at_end(self, decoded: DecodedFrame, thumbnail: Image) -> None:
        """Look at a window's last frame, so that nothing new in the window was left out."""
        if self.full_looks[-1:] == [decoded.index]:
            return
        if self.state.last_look != decoded.index:
            if not self.state.live and self._shows_nothing(decoded, thumbnail):
                return
            self.look(decoded, thumbnail)
        if self.full_looks[-1:] != [decoded.index]:
            self.look(decoded, thumbnail, whole=True)

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

    def faces_seen(self, since: int) -> int:
        """Return how many faces of this window were seen from frame `since` on; its tracks may be older."""
        return sum(one.frame >= since for track in self.tracks.values() for one in track.sightings)

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
        self.tracks, self.beside, self.torn = {}, {}, {}
        self.looks, self.full_looks, self.births = [], [], []

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
        self.beside = beside_parts(self.beside, old, parts, self.tracks)

    def _whole_look_due(self, frame: int) -> bool:
        """Say whether a frame must be looked at whole, whatever it shows."""
        state = self.state
        if state.last_whole_look is None or state.last_full_look is None:
            return True
        every = STILL_EVERY if state.live else EMPTY_EVERY
        return frame - state.last_whole_look >= self._frames(every) or frame - state.last_full_look >= self._frames(
            FULL_EVERY
        )

    def _search(self, decoded: DecodedFrame, luma: Image, *, whole: bool) -> Seen:
        """Find the faces of a frame: all over, or near where they were and where something is new."""
        backend, sure, share = self.backend, self.min_confidence, self._turned_share()
        live = [track for track in self.state.live if self._is_recent(track, decoded.index)]
        if whole or self._whole_look_due(decoded.index):
            return find_everywhere(backend, decoded, live, sure, turned_share=share)
        places = find_known(backend, decoded, live, sure)
        known = [face for face in places if face is not None]
        lost = [
            track.last.face
            for track, face in zip(live, places, strict=True)
            if face is None and track.last.frame == self.state.last_look
        ]
        part = self._news(self.state.studied, decoded, luma, known)
        part = part_round(part, [face.bbox for face in lost], decoded.width, decoded.height)
        if part is None:
            return Seen(known, full=True)
        if area_of(part) <= PART_MAX:
            return find_in_part(backend, decoded, part, known, sure, turned_share=share)
        if not all(glance_sees(face, decoded, backend.info.detection_side_px) for face in lost):
            return find_everywhere(backend, decoded, live, sure, turned_share=share)
        if not lost and self._news(self.state.glanced, decoded, luma, known) is None:
            return Seen(known, full=False)
        return glance(backend, decoded, known, sure)

    def _shows_nothing(self, decoded: DecodedFrame, thumbnail: Image) -> bool:
        """Say whether a frame of a shot where nobody is shows nothing new, and take note that it was examined."""
        luma, state = decoded.luma(NOVELTY_WIDTH_PX), self.state
        part = self._news(state.studied, decoded, luma, ())
        if part is not None and (area_of(part) <= PART_MAX or self._news(state.glanced, decoded, luma, ()) is not None):
            return False
        interval = min(INTERVAL_CALM, state.interval + INTERVAL_STEP)
        self.state = replace(state, last_look=decoded.index, look_thumbnail=thumbnail, interval=interval)
        if part is None:
            self._note_full(decoded.index, None)
        return True

    def _note_full(self, frame: int, luma: Image | None) -> None:
        """Take note that everything new up to this frame was looked at in full size; `luma`: what it showed, if new."""
        studied = self.state.studied if luma is None else luma
        self.state = replace(self.state, last_full_look=frame, studied=studied)
        if self.full_looks[-1:] != [frame]:
            self.full_looks.append(frame)

    def _news(self, before: Image | None, decoded: DecodedFrame, luma: Image, known: Sequence[Face]) -> Share | None:
        """Return the part of a frame that shows what an earlier one did not, besides known faces."""
        if before is None:
            return WHOLE
        return news_between(
            before, luma, [share_of(face.bbox, decoded.width, decoded.height, KNOWN_GROWTH) for face in known]
        )

    def _is_recent(self, track: Track, frame: int) -> bool:
        return frame - track.last.frame <= LOST_AFTER * self.rate_scale

    def _frames(self, at_usual_rate: int) -> int:
        return max(1, round(at_usual_rate * self.rate_scale))

    def _turned_share(self) -> int:
        """Say whether to look at turned pictures too, and at which share of the usual size; 0 is not at all.

        At a shot's 1st, 2nd, 4th, 8th … full look that saw nothing sure: three more looks are dear, and a shot that
        showed nothing at eight of them hardly holds a face at the ninth. Half the size is enough for near faces, and
        once in eight times distant ones get their chance.
        """
        count = self.state.doubtful_looks + 1
        return 0 if count & (count - 1) else 1 if count % 8 == 0 else 2

    def _sample(
        self,
        decoded: DecodedFrame,
        faces: Sequence[Face],
        guess: dict[int, int],
        live: Sequence[Track],
        open_: set[int],
    ) -> dict[int, Sample]:
        """Embed the faces whose track is new, doubtful, undecided or due for a check; by place in `faces`.

        `open_`: faces whose track geometry alone does not tell.
        """
        wanted = [
            n
            for n, face in enumerate(faces)
            if n not in guess or n in open_ or crowded(face, faces) or self._needs_sample(live[guess[n]], decoded.index)
        ]
        if not wanted:
            return {}
        return dict(zip(wanted, self.sample(decoded, [faces[n] for n in wanted]), strict=True))

    def _needs_sample(self, track: Track, frame: int) -> bool:
        """Say whether one more embedding can still decide about a track, or is due as a check."""
        if track.samples and track.samples[-1].frame == frame:
            return False
        missed = self.state.last_look is not None and track.last.frame < self.state.last_look
        if missed or not self._settled(track):
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
            self.beside.setdefault(track.id, set()).update(apart(track, seen))
        if self.looks[-1:] != [frame]:
            self.looks.append(frame)
        self.state = replace(
            self.state,
            next_track=next_track,
            live=tuple(now),
            interval=self._interval(seen, born=len(links) < len(faces), fast=fast),
            last_look=frame,
            look_thumbnail=thumbnail,
        )

    def _interval(self, seen: Sequence[Track], *, born: bool, fast: bool) -> int:
        if fast:
            return max(INTERVAL_FASTEST, self.state.interval // 2)
        if born:
            return INTERVAL_BORN
        known = all(self._settled(track) for track in seen)
        return min(INTERVAL_CALM if known else INTERVAL_FACES, self.state.interval + INTERVAL_STEP)


def _moved(track: Track, face: Face) -> float:
    return float(np.linalg.norm(centre(face.bbox) - centre(track.last.face.bbox))) / size_of(face.bbox)
