"""The tracks of a window after pass one: which need more samples, where each is split, and the verdict on each.

Pure; engine.clip.sample_doubtful takes the samples, engine.tracks.verdicts judges one track by itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from engine.identity.same_person import REVIEW_WIDTH
from engine.reasons import ACCEPTED, NEGATIVE
from engine.search.scout import Scout, replace_track
from engine.tracks.splitting import disagreement, split, split_frame
from engine.tracks.track import Track
from engine.tracks.verdicts import Gallery, TrackVerdict, is_settled, judge_together, judge_track, learn, limit_of

DOUBT_WIDTH = 0.15
"""Tracks so little below the threshold are asked in more frames before they are judged, and so are those that resemble
the video's sure tracks about as a photo of the person would: asking costs little, and accepts nobody by itself."""
DOUBT_SAMPLES = 16
"""Frames of a doubtful track that are asked: its best 40 % are then six."""


@dataclass(frozen=True)
class Asking:
    """Which of a track's faces to ask who they are."""

    every: int
    """Of the faces found, one in so many …"""
    closely: tuple[int, int] = (0, -1)
    """… and between these frames, where the person may have changed, each."""

    def wants(self, frame: int, shown: int) -> bool:
        """Say whether to ask the face in `frame`, the track's `shown`-th of the window."""
        return shown % self.every == 0 or self.closely[0] < frame < self.closely[1]


@dataclass(frozen=True, eq=False)
class Decision:
    """What became of a window's tracks."""

    tracks: tuple[Track, ...]
    verdicts: Mapping[int, TrackVerdict]
    """By track id."""
    beside: Mapping[int, frozenset[int]]
    """Who was seen in one frame with whom, by track id."""
    gallery: Gallery
    accepted: frozenset[int]
    """Tracks that go on and were accepted."""
    first_frame: int
    """Sightings before this one were recorded with an earlier window."""

    def with_outcome(self, *outcomes: str) -> dict[int, Track]:
        return {track.id: track for track in self.tracks if self.verdicts[track.id].outcome in outcomes}

    @property
    def faces_seen(self) -> int:
        """How many faces of the window its tracks hold."""
        return sum(one.frame >= self.first_frame for track in self.tracks for one in track.sightings)


def tracks_to_ask(scout: Scout, gallery: Gallery, *, first_frame: int, examined: int) -> dict[int, Asking]:
    """Given a scouted window, return which tracks to ask in more frames before they are judged, by id.

    Those are doubtful, or may have changed their person at or after `first_frame`. `examined`: how many frames the
    window has.
    """
    every = -(-examined // DOUBT_SAMPLES)
    verdicts = _judge(scout, gallery)
    asked = {number: Asking(every) for number, verdict in verdicts.items() if _doubtful(verdict, _limit(scout, number))}
    metric, same = scout.settings.identity.metric, scout.settings.rule.same_person
    for number, track in scout.window.tracks.items():
        changed = disagreement(track, metric, same) or scout.window.taken_over.get(number)
        if changed is not None and changed[1] >= first_frame:
            asked[number] = Asking(every, changed)
    return asked


def judge_window(scout: Scout, gallery: Gallery, accepted: frozenset[int], first_frame: int) -> tuple[Decision, Scout]:
    """Given a window's tracks with all their samples, split those that changed their person and judge them all.

    `gallery`: what the video taught before; `accepted`: tracks of earlier windows that were accepted. Return the
    scout too, with the parts of split tracks in their place.
    """
    scout = _split_switches(scout)
    verdicts = {
        number: _persisting(verdict, _limit(scout, number)) if number in accepted else verdict
        for number, verdict in _judge(scout, gallery).items()
    }
    tracks, beside = tuple(scout.window.tracks.values()), scout.window.beside
    verdicts = judge_together(tracks, verdicts, beside)
    live = {track.id for track in scout.state.live}
    decision = Decision(
        tracks=tracks,
        verdicts=verdicts,
        beside=beside,
        gallery=learn(gallery, tracks, verdicts, beside, scout.settings.identity, scout.settings.rule.threshold),
        accepted=frozenset(number for number in live & verdicts.keys() if verdicts[number].outcome == "accepted")
        | frozenset(number for number in live - verdicts.keys() if number in accepted),
        first_frame=first_frame,
    )
    return decision, scout


def _judge(scout: Scout, gallery: Gallery) -> dict[int, TrackVerdict]:
    identity, rule = scout.settings.identity, scout.settings.rule
    return {number: judge_track(track, identity, rule, gallery) for number, track in scout.window.tracks.items()}


def _limit(scout: Scout, number: int) -> float:
    """The similarity from which a track of the window is accepted."""
    return limit_of(scout.window.tracks[number], scout.settings.identity, scout.settings.rule.threshold)


def _split_switches(scout: Scout) -> Scout:
    """Split every track where its clear samples stop agreeing; parts are examined again."""
    metric, same = scout.settings.identity.metric, scout.settings.rule.same_person
    waiting = list(scout.window.tracks)
    while waiting:
        track = scout.window.tracks[waiting.pop()]
        frame = split_frame(track, metric, same)
        if frame is None or track.last.frame < frame:
            continue
        first, second = split(track, frame, scout.state.next_track)
        scout = replace_track(scout, track.id, first, second)
        waiting.append(second.id)
    return scout


def _doubtful(verdict: TrackVerdict, limit: float) -> bool:
    if verdict.samples == 0 or verdict.outcome == "accepted":
        return False
    if verdict.in_video is not None and verdict.in_video >= limit - REVIEW_WIDTH:
        return True
    return not is_settled(verdict, limit) and verdict.similarity >= limit - DOUBT_WIDTH


def _persisting(verdict: TrackVerdict, limit: float) -> TrackVerdict:
    """Keep a track that was accepted before through a weak stretch: hysteresis of one review band."""
    weak = verdict.outcome == "review" or verdict.similarity >= limit - REVIEW_WIDTH
    if verdict.outcome != "accepted" and weak and verdict.reason != NEGATIVE:
        return replace(verdict, outcome="accepted", reason=ACCEPTED)
    return verdict
