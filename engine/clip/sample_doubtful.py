"""Doubtful tracks of a window are followed through its frames, and the recogniser gets more of their faces."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from engine.clip.judge_window import Asking
from engine.frames.contract import DecodedFrame, region_round
from engine.search.follow import SEARCH_REACH, Follower
from engine.search.observer import Observer
from engine.search.scout import Scout, update_track
from engine.tracks.track import SAMPLES_MAX, Sighting, add_sample, add_sighting


def sample_doubtful(
    scout: Scout, asked: Mapping[int, Asking], observer: Observer, frames: Iterable[DecodedFrame]
) -> Scout:
    """Given a window's frames again, add samples to tracks in the frames that `asked` wants; return the scout after it.

    Each such face counts as seen there: where a track is split, both parts end on the frame.
    """
    tracks = scout.window.tracks
    wanted = {number: tracks[number] for number in asked}
    others = [track for number, track in tracks.items() if number not in wanted]
    follower = Follower(observer.backend, observer.min_confidence, wanted, others, assume_steady=False)
    shown = dict.fromkeys(wanted, 0)
    for decoded in frames:
        expected = follower.expect(decoded.index)
        if not expected:
            continue
        region = region_round([place.box for place in expected], SEARCH_REACH)
        for found in follower.fill(decoded.index, decoded.to_frame(region).pixels, expected):
            track = scout.window.tracks[found.track]
            shown[track.id] += 1
            wants = found.frame <= track.last.frame and asked[track.id].wants(found.frame, shown[track.id])
            if wants and all(one.frame != found.frame for one in track.samples):
                (sample,) = observer.sample(decoded, [found.face])
                samples = add_sample(track.samples, sample, most=2 * SAMPLES_MAX)
                seen = add_sighting(track.sightings, Sighting(found.frame, found.face, decoded.pts))
                scout = update_track(scout, replace(track, sightings=seen, samples=samples))
    return scout
