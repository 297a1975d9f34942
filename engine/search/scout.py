"""Pass one over footage: look at whole frames now and then, link the faces into tracks, and ask who they are.

Looking costs most of an extraction's time, so it is done sparsely: at the start and end of every shot, sooner where
faces move or have just appeared, later where nothing happens (engine.search.schedule). Embeddings are made only while
they can still decide. What lies between two looks is filled in by engine.search.follow, for tracks that turned out to
be wanted.

Pure: a `Scout` is a value. `step` takes one and what was observed, and returns the next one and what to ask about the
frame, until it asks nothing more; engine.search.observer carries that out. `ScoutState` is what outlives a crash.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from engine.faces.boxes import centre, size_of
from engine.identity.same_person import Rule
from engine.search.area import WHOLE, FrameArea, area_of_box, area_round, fraction_of
from engine.search.certainty import is_unsure, shows_in_small
from engine.search.novelty import novel_region
from engine.search.requests import (
    AreaRequest,
    EmbedRequest,
    FrameRead,
    FrameView,
    KnownFaces,
    KnownPlace,
    NearRequest,
    Observation,
    Request,
    Seen,
    SmallLookRequest,
    SmallPicture,
    SmallPictureRequest,
    StretchEnds,
    WholeRequest,
)
from engine.search.schedule import (
    INTERVAL_BORN,
    LOST_AFTER,
    RECHECK,
    interval_after,
    interval_after_nothing,
    look_due,
    turned_divisor,
    whole_due,
)
from engine.tracks.linking import FoundFace, contested, link
from engine.tracks.same_frame import crowded, displaced
from engine.tracks.track import Sample, Sighting, Track, add_sample, predict
from engine.tracks.verdicts import Gallery, is_settled, judge_track, limit_of
from engine.tracks.window_tracks import WindowTracks
from engine.types import Face, Identity, Image

AREA_MAX = 0.4
"""A part of the frame is looked at in full size up to this fraction of it; beyond, a look in small costs less."""
KNOWN_GROWTH = 0.12
"""A known face that moves changes so much of the picture round its box, as a fraction of its side."""
FAST = 0.5
"""A face that moved by more than this fraction of its size between looks is looked for twice as often."""


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
    seen_small: Image | None = None
    """Luma picture of the last frame whose new parts were looked at, if only in small."""
    seen_full: Image | None = None
    """Luma picture of the last frame whose new parts were looked at in full size."""
    doubtful_looks: int = 0
    """Looks of this shot that found no sure face: when to try turned pictures."""


@dataclass(frozen=True, eq=False)
class ScoutSettings:
    """What stays the same for a whole clip."""

    identity: Identity
    rule: Rule
    detection_side_px: int
    """Longest side at which the detector usually looks (`BackendInfo.detection_side_px`)."""
    rate_scale: float = 1.0
    """The footage's frame rate, as a multiple of the one that intervals are written for."""


@dataclass(frozen=True, eq=False)
class _Frame:
    """The frame that is being observed, as far as that has come."""

    view: FrameView
    only_if_new: bool = False
    """Nobody is there: look only where it shows something new."""
    whole: bool = False
    """Look at all of it even if less would do."""
    ends_stretch: bool = False
    """Look again, whole, should a first look leave something out."""
    luma: Image | None = None
    seen: Seen | None = None
    guess: Mapping[int, int] = field(default_factory=dict)
    """Which face goes on which live track by geometry alone: place in seen -> place in live."""
    asked: tuple[int, ...] = ()
    """Places in seen of the faces that are asked who they are."""


@dataclass(frozen=True, eq=False)
class Scout:
    """What pass one knows of a window so far; a value, advanced by `step`."""

    settings: ScoutSettings
    state: ScoutState = field(default_factory=ScoutState)
    window: WindowTracks = field(default_factory=WindowTracks)
    looks: tuple[int, ...] = ()
    """Frames looked at in this window."""
    full_looks: tuple[int, ...] = ()
    """Those of them up to which everything new was looked at in full size."""
    births: tuple[int, ...] = ()
    """Those of them that found a new face away from the known ones."""
    frame: _Frame | None = None
    """Being observed; None between frames."""

    @property
    def full_up_to(self) -> int | None:
        """The last frame up to which everything new in this window was looked at in full size."""
        return self.full_looks[-1] if self.full_looks else None

    def faces_seen(self, since: int) -> int:
        """Return how many faces of this window were seen from frame `since` on; its tracks may be older."""
        return sum(one.frame >= since for track in self.window.tracks.values() for one in track.sightings)

    def all_settled(self) -> bool:
        """Say whether more frames can hardly change what this window's tracks are."""
        return all(_settled(self, track) for track in self.window.tracks.values())


def begin_shot(scout: Scout) -> Scout:
    """Forget the faces of the shot before: no track crosses a cut."""
    return replace(scout, state=ScoutState(next_track=scout.state.next_track, shot=scout.state.shot + 1))


def end_window(scout: Scout) -> Scout:
    """Forget what was worked off: tracks that go on keep their samples and last places."""
    live = tuple(replace(track, sightings=track.sightings[-2:]) for track in scout.state.live)
    return Scout(scout.settings, replace(scout.state, live=live))


def update_track(scout: Scout, track: Track) -> Scout:
    """Put a track with more samples in place of its earlier self."""
    live = tuple(track if one.id == track.id else one for one in scout.state.live)
    return replace(scout, window=scout.window.with_track(track), state=replace(scout.state, live=live))


def replace_track(scout: Scout, old: int, first: Track | None, second: Track) -> Scout:
    """Put the two parts of a split track in place of it; the later one may go on."""
    parts = [part for part in (first, second) if part is not None]
    live = tuple(second if track.id == old else track for track in scout.state.live)
    state = replace(scout.state, live=live, next_track=max(scout.state.next_track, second.id + 1))
    return replace(scout, window=scout.window.with_parts(old, parts), state=state)


def step(scout: Scout, seen: Observation) -> tuple[Scout, Request | None]:
    """Given a frame, or the answer to what was asked about it, return the scout now and what to ask next, if anything.

    A frame may be observed again. Raise ValueError for an answer that nobody asked for.
    """
    if isinstance(seen, FrameRead):
        return _begin_frame(scout, seen.view)
    if isinstance(seen, StretchEnds):
        return _begin_last_frame(scout, seen.view)
    frame = scout.frame
    if frame is None:
        raise ValueError(f"{type(seen).__name__} is the answer to nothing: no frame is being observed")
    if isinstance(seen, SmallPicture):
        return _compare(replace(scout, frame=replace(frame, luma=seen.luma)))
    if isinstance(seen, KnownFaces):
        return _look_for_new(scout, seen.faces)
    if isinstance(seen, Seen):
        return _ask_who(replace(scout, frame=replace(frame, seen=seen)))
    return _put_on_tracks(scout, dict(zip(frame.asked, seen.samples, strict=True)))


def _begin_frame(scout: Scout, view: FrameView) -> tuple[Scout, Request | None]:
    """Look at a frame if it is time; where nobody is, only if it shows something new."""
    state = scout.state
    due = look_due(
        view.index,
        view.thumbnail,
        last_look=state.last_look,
        look_thumbnail=state.look_thumbnail,
        interval=state.interval,
        somebody_there=any(track.last.frame == state.last_look for track in state.live),
        whole_due=_whole_due(scout, view.index),
        rate_scale=scout.settings.rate_scale,
    )
    if due == "no":
        return scout, None
    return replace(scout, frame=_Frame(view, only_if_new=due == "if new")), SmallPictureRequest()


def _begin_last_frame(scout: Scout, view: FrameView) -> tuple[Scout, Request | None]:
    """Look at the last frame of a stretch, so that nothing new in it was left out."""
    if scout.full_up_to == view.index:
        return scout, None
    if scout.state.last_look == view.index:
        frame = _Frame(view, whole=True)
    else:
        frame = _Frame(view, only_if_new=not scout.state.live, ends_stretch=True)
    return replace(scout, frame=frame), SmallPictureRequest()


def _compare(scout: Scout) -> tuple[Scout, Request | None]:
    """Given the small picture, begin the look, unless nobody is there and nothing is new."""
    frame, luma = _observed(scout)
    if frame.only_if_new:
        state = scout.state
        area = _novel(state.seen_full, frame, luma, ())
        if area is None or (fraction_of(area) > AREA_MAX and _novel(state.seen_small, frame, luma, ()) is None):
            return _note_nothing(scout, everything=area is None), None
    return _look(scout)


def _note_nothing(scout: Scout, *, everything: bool) -> Scout:
    """Take note that a frame with nobody in it was compared and shows nothing new; `everything`: in full size."""
    frame, _ = _observed(scout)
    state = replace(
        scout.state,
        last_look=frame.view.index,
        look_thumbnail=frame.view.thumbnail,
        interval=interval_after_nothing(scout.state.interval),
    )
    scout = replace(scout, state=state, frame=None)
    return _note_full(scout, frame.view.index, None) if everything else scout


def _look(scout: Scout) -> tuple[Scout, Request | None]:
    """Ask for a look at the whole frame, or first for one near the known faces."""
    frame, _ = _observed(scout)
    live = _recent(scout, frame.view.index)
    if frame.whole or _whole_due(scout, frame.view.index):
        return scout, _look_at_whole(scout, live)
    if not live:
        return _look_for_new(scout, ())
    return scout, NearRequest(_places(live, frame.view.index))


def _look_for_new(scout: Scout, places: Sequence[Face | None]) -> tuple[Scout, Request | None]:
    """Given where the recent tracks' faces are now, ask for a look where the frame shows something new."""
    frame, luma = _observed(scout)
    view, live = frame.view, _recent(scout, frame.view.index)
    known = tuple(face for face in places if face is not None)
    lost = [
        track.last.face
        for track, face in zip(live, places, strict=True)
        if face is None and track.last.frame == scout.state.last_look
    ]
    area = area_round(
        _novel(scout.state.seen_full, frame, luma, known), [face.bbox for face in lost], view.width, view.height
    )
    if area is None:
        return step(scout, Seen(known, full=True))
    if fraction_of(area) <= AREA_MAX:
        return scout, AreaRequest(area, known, turned_divisor(scout.state.doubtful_looks))
    if not all(shows_in_small(face, view.width, view.height, scout.settings.detection_side_px) for face in lost):
        return scout, _look_at_whole(scout, live)
    if not lost and _novel(scout.state.seen_small, frame, luma, known) is None:
        return step(scout, Seen(known, full=False))
    return scout, SmallLookRequest(known)


def _look_at_whole(scout: Scout, live: Sequence[Track]) -> WholeRequest:
    frame, _ = _observed(scout)
    return WholeRequest(_places(live, frame.view.index), turned_divisor(scout.state.doubtful_looks))


def _ask_who(scout: Scout) -> tuple[Scout, Request | None]:
    """Given the faces of the frame, ask who those are whose track is new, doubtful, undecided or due for a check."""
    frame, _ = _observed(scout)
    faces, index = _faces(frame), frame.view.index
    live, rule = _recent(scout, index), scout.settings.rule
    plain = [FoundFace(face) for face in faces]
    metric = scout.settings.identity.metric
    guess = link(live, plain, index, metric, rule.same_person)
    open_ = contested(live, plain, guess, index, metric, rule.same_person)
    asked = tuple(
        n
        for n, face in enumerate(faces)
        if n not in guess or n in open_ or crowded(face, faces) or _needs_sample(scout, live[guess[n]], index)
    )
    scout = replace(scout, frame=replace(frame, guess=guess, asked=asked))
    if asked:
        return scout, EmbedRequest(tuple(faces[n] for n in asked))
    return _put_on_tracks(scout, {})


def _put_on_tracks(scout: Scout, samples: Mapping[int, Sample]) -> tuple[Scout, Request | None]:
    """Given the samples that were asked for, by place among the faces, link all faces and take note of the look."""
    frame, luma = _observed(scout)
    faces, seen, index = _faces(frame), frame.seen, frame.view.index
    assert seen is not None
    live = _recent(scout, index)
    found = [
        FoundFace(face, samples[n].embedding, samples[n].clarity) if n in samples else FoundFace(face)
        for n, face in enumerate(faces)
    ]
    links = link(live, found, index, scout.settings.identity.metric, scout.settings.rule.same_person)
    born = len(links) < len(faces)
    doubtful = scout.state.doubtful_looks + (seen.full and is_unsure(faces))
    scout = replace(scout, window=scout.window.with_taken_over(displaced(live, frame.guess, links), index))
    scout = _advance(scout, live, faces, links, samples)
    state = replace(
        scout.state,
        doubtful_looks=doubtful,
        seen_small=luma if seen.wide else scout.state.seen_small,
        last_whole_look=index if seen.whole else scout.state.last_whole_look,
    )
    scout = replace(
        scout, state=state, births=(*scout.births, index) if seen.wide and born else scout.births, frame=None
    )
    if seen.full:
        scout = _note_full(scout, index, luma)
    if frame.ends_stretch and scout.full_up_to != index:
        return _look(replace(scout, frame=_Frame(frame.view, whole=True, luma=luma)))
    return scout, None


def _advance(
    scout: Scout,
    live: Sequence[Track],
    faces: Sequence[Face],
    links: Mapping[int, int],
    samples: Mapping[int, Sample],
) -> Scout:
    """Write the links down: longer tracks, new ones, who was beside whom, and when to look next."""
    frame, _ = _observed(scout)
    view, state = frame.view, scout.state
    now, seen, fast = list(live), [], False
    next_track = state.next_track
    for n, face in enumerate(faces):
        sighting = Sighting(view.index, face, view.pts)
        if n in links:
            track = now[links[n]]
            fast |= _moved(track, face) > FAST
            before = track.sightings[:-1] if track.last.frame == view.index else track.sightings
            track = replace(track, sightings=(*before, sighting))
        else:
            track = Track(next_track, state.shot, (sighting,))
            next_track += 1
        if n in samples:
            track = replace(track, samples=add_sample(track.samples, samples[n]))
        if n in links:
            now[links[n]] = track
        else:
            now.append(track)
        seen.append(track)
    born = len(links) < len(faces)
    interval = interval_after(
        state.interval,
        born=born,
        fast=fast,
        settled=not fast and not born and all(_settled(scout, track) for track in seen),
    )
    return replace(
        scout,
        window=scout.window.with_look(seen),
        looks=scout.looks if scout.looks[-1:] == (view.index,) else (*scout.looks, view.index),
        state=replace(
            state,
            next_track=next_track,
            live=tuple(now),
            interval=interval,
            last_look=view.index,
            look_thumbnail=view.thumbnail,
        ),
    )


def _observed(scout: Scout) -> tuple[_Frame, Image]:
    """Return the frame that is being observed, with its small picture. Raise ValueError where it was not shown yet."""
    if scout.frame is None or scout.frame.luma is None:
        raise ValueError("the small picture of the frame was asked for, and something else was answered")
    return scout.frame, scout.frame.luma


def _faces(frame: _Frame) -> tuple[Face, ...]:
    if frame.seen is None:
        raise ValueError("the faces of the frame were asked for, and something else was answered")
    return frame.seen.faces


def _whole_due(scout: Scout, frame: int) -> bool:
    return whole_due(
        frame,
        last_whole_look=scout.state.last_whole_look,
        last_full_look=scout.state.last_full_look,
        empty=not scout.state.live,
        rate_scale=scout.settings.rate_scale,
    )


def _note_full(scout: Scout, frame: int, luma: Image | None) -> Scout:
    """Take note that everything new up to this frame was looked at in full size; `luma`: what it showed, if new."""
    seen_full = scout.state.seen_full if luma is None else luma
    return replace(
        scout,
        state=replace(scout.state, last_full_look=frame, seen_full=seen_full),
        full_looks=scout.full_looks if scout.full_up_to == frame else (*scout.full_looks, frame),
    )


def _novel(before: Image | None, frame: _Frame, luma: Image, known: Sequence[Face]) -> FrameArea | None:
    """Return the part of a frame that shows what an earlier one did not, besides known faces."""
    if before is None:
        return WHOLE
    view = frame.view
    return novel_region(before, luma, [area_of_box(face.bbox, view.width, view.height, KNOWN_GROWTH) for face in known])


def _recent(scout: Scout, frame: int) -> list[Track]:
    """Return the live tracks that were seen recently enough to go on."""
    return [track for track in scout.state.live if frame - track.last.frame <= LOST_AFTER * scout.settings.rate_scale]


def _places(tracks: Sequence[Track], frame: int) -> tuple[KnownPlace, ...]:
    return tuple(KnownPlace(track.last.face, predict(track, frame)) for track in tracks)


def _needs_sample(scout: Scout, track: Track, frame: int) -> bool:
    """Say whether one more embedding can still decide about a track, or is due as a check."""
    if track.samples and track.samples[-1].frame == frame:
        return False
    missed = scout.state.last_look is not None and track.last.frame < scout.state.last_look
    if missed or not _settled(scout, track):
        return True
    return frame - track.samples[-1].frame >= round(RECHECK * scout.settings.rate_scale)


def _settled(scout: Scout, track: Track) -> bool:
    identity, rule = scout.settings.identity, scout.settings.rule
    return is_settled(judge_track(track, identity, rule, Gallery()), limit_of(track, identity, rule.threshold))


def _moved(track: Track, face: Face) -> float:
    """Return how far a face moved since the track's last sighting, in face sizes."""
    return float(np.linalg.norm(centre(face.bbox) - centre(track.last.face.bbox))) / size_of(face.bbox)
