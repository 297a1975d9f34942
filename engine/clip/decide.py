"""A scouted window -> who is who: split tracks that changed their person, ask doubtful ones again, judge them all."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace

from engine.backends.backend import Backend
from engine.frames.contract import DecodedFrame, region_round
from engine.identity.same_person import REVIEW_WIDTH, Rule
from engine.reasons import ACCEPTED, NEGATIVE
from engine.search.follow import SEARCH_REACH, Follower
from engine.search.scout import Scout
from engine.tracks.splitting import disagreement, split, split_frame
from engine.tracks.track import SAMPLES_MAX, Sighting, Track, add_sample, add_sighting
from engine.tracks.verdicts import Gallery, TrackVerdict, is_settled, judge_together, judge_track, learn
from engine.types import Identity

DOUBT_WIDTH = 0.15
"""Tracks so little below the threshold are asked in more frames before they are judged, and so are those that resemble
the video's sure tracks about as a photo of the person would: asking costs little, and accepts nobody by itself."""
DOUBT_SAMPLES = 16
"""Frames of a doubtful track that are asked: its best 40 % are then six."""


@dataclass(frozen=True)
class _Ask:
    """Which of a track's faces to ask who they are."""

    every: int
    """Of the faces found, one in so many …"""
    closely: tuple[int, int] = (0, -1)
    """… and between these frames, where the person may have changed, each."""

    def wants(self, frame: int, shown: int) -> bool:
        return shown % self.every == 0 or self.closely[0] < frame < self.closely[1]


@dataclass(frozen=True, eq=False)
class Decision:
    """What became of a window's tracks."""

    tracks: tuple[Track, ...]
    verdicts: Mapping[int, TrackVerdict]
    """By track id."""
    gallery: Gallery
    accepted: frozenset[int]
    """Tracks that go on and were accepted."""
    first_frame: int
    """Sightings before this one were recorded with an earlier window."""

    def with_outcome(self, *outcomes: str) -> dict[int, Track]:
        return {track.id: track for track in self.tracks if self.verdicts[track.id].outcome in outcomes}


def decide(
    scout: Scout,
    backend: Backend,
    identity: Identity,
    rule: Rule,
    *,
    gallery: Gallery,
    accepted: frozenset[int],
    first_frame: int,
    examined: int,
    frames: Callable[[], AbstractContextManager[Iterable[DecodedFrame]]],
) -> Decision:
    """Given a scouted window, judge its tracks, each by itself and then together.

    `accepted`: tracks that go on from an earlier window and were accepted there. `first_frame`: where the window
    begins; `examined`: how many frames it has; `frames` gives them once more, for asking doubtful tracks again.
    """
    same = backend.info.default_threshold
    verdicts = _judge(scout, identity, rule, gallery)
    every = -(-examined // DOUBT_SAMPLES)
    asked = {number: _Ask(every) for number, verdict in verdicts.items() if _doubtful(verdict)}
    for number, track in scout.tracks.items():
        torn = disagreement(track, identity.metric, same) or scout.torn.get(number)
        if torn is not None and torn[1] >= first_frame:
            asked[number] = _Ask(every, torn)
    if asked:
        with frames() as again:
            _ask_again(scout, backend, asked, again)
    _split_switches(scout, identity, same)
    verdicts = _judge(scout, identity, rule, gallery)
    verdicts = {number: _persisting(number, verdict, accepted, rule) for number, verdict in verdicts.items()}
    tracks = tuple(scout.tracks.values())
    beside = {number: frozenset(others) for number, others in scout.beside.items()}
    verdicts = judge_together(tracks, verdicts, beside)
    live = {track.id for track in scout.state.live}
    return Decision(
        tracks=tracks,
        verdicts=verdicts,
        gallery=learn(gallery, tracks, verdicts, beside, identity),
        accepted=frozenset(number for number in live & verdicts.keys() if verdicts[number].outcome == "accepted")
        | frozenset(number for number in live - verdicts.keys() if number in accepted),
        first_frame=first_frame,
    )


def _judge(scout: Scout, identity: Identity, rule: Rule, gallery: Gallery) -> dict[int, TrackVerdict]:
    return {number: judge_track(track, identity, rule, gallery) for number, track in scout.tracks.items()}


def _split_switches(scout: Scout, identity: Identity, same: float) -> None:
    """Split every track where its clear samples stop agreeing; parts are looked at again."""
    waiting = list(scout.tracks)
    while waiting:
        track = scout.tracks[waiting.pop()]
        frame = split_frame(track, identity.metric, same)
        if frame is None or track.last.frame < frame:
            continue
        first, second = split(track, frame, scout.state.next_track)
        scout.replace_track(track.id, first, second)
        waiting.append(second.id)


def _doubtful(verdict: TrackVerdict) -> bool:
    if verdict.samples == 0 or verdict.outcome == "accepted":
        return False
    if verdict.in_video is not None and verdict.in_video >= verdict.threshold - REVIEW_WIDTH:
        return True
    return not is_settled(verdict) and verdict.similarity >= verdict.threshold - DOUBT_WIDTH


def _ask_again(scout: Scout, backend: Backend, asked: Mapping[int, _Ask], frames: Iterable[DecodedFrame]) -> None:
    """Follow doubtful tracks through the window and sample each in the frames that are asked.

    Each such face counts as seen there: where a track is split, both parts end on the frame.
    """
    wanted = {number: scout.tracks[number] for number in asked}
    others = [track for number, track in scout.tracks.items() if number not in wanted]
    follower = Follower(backend, scout.min_confidence, wanted, others, coast=False)
    shown = dict.fromkeys(wanted, 0)
    for decoded in frames:
        expected = follower.expect(decoded.index)
        if not expected:
            continue
        region = region_round([place.box for place in expected], SEARCH_REACH)
        for found in follower.fill(decoded.index, decoded.to_frame(region).pixels, expected):
            track = scout.tracks[found.track]
            shown[track.id] += 1
            wants = found.frame <= track.last.frame and asked[track.id].wants(found.frame, shown[track.id])
            if wants and all(one.frame != found.frame for one in track.samples):
                (sample,) = scout.sample(decoded, [found.face])
                samples = add_sample(track.samples, sample, most=2 * SAMPLES_MAX)
                seen = add_sighting(track.sightings, Sighting(found.frame, found.face, decoded.pts))
                scout.update_track(replace(track, sightings=seen, samples=samples))


def _persisting(number: int, verdict: TrackVerdict, accepted: frozenset[int], rule: Rule) -> TrackVerdict:
    """Keep a track that was accepted before through a weak stretch: hysteresis of one review band."""
    weak = verdict.outcome == "review" or verdict.similarity >= verdict.threshold - rule.review_width
    if number in accepted and verdict.outcome != "accepted" and weak and verdict.reason != NEGATIVE:
        return replace(verdict, outcome="accepted", reason=ACCEPTED)
    return verdict
