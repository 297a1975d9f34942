"""Where a track changes its person: the frame from which its clear embeddings stop agreeing. Pure."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

from engine.identity.same_person import resemblance
from engine.tracks.track import GOOD_CLARITY, SPLIT_SAMPLES, Track, centre_of
from engine.types import Metric


def disagreement(track: Track, metric: Metric, same: float) -> tuple[int, int] | None:
    """Return the two neighbouring samples' frames between which the person may have changed; None where all agree.

    One clear sample that does not resemble its neighbours is enough to ask, not to split (`split_frame`).
    """
    clear = [sample for sample in track.samples if sample.clarity >= GOOD_CLARITY]
    worst, where = same, None
    for before, after in pairwise(clear):
        likeness = resemblance(before.embedding, after.embedding, metric)
        if likeness < worst:
            worst, where = likeness, (before.frame, after.frame)
    return where


def split_frame(track: Track, metric: Metric, same: float) -> int | None:
    """Return the frame from which a track shows somebody else; None while it stays one person.

    Clear samples before and after each point are compared, up to SPLIT_SAMPLES a side; where their centres fall below
    `same` the track is split at the deepest such point. A face that only turns away is not clear, so it cannot split.
    """
    clear = [sample for sample in track.samples if sample.clarity >= GOOD_CLARITY]
    worst, where = same, None
    for place in range(1, len(clear)):
        before, after = clear[max(0, place - SPLIT_SAMPLES) : place], clear[place : place + SPLIT_SAMPLES]
        if min(len(before), len(after)) < min(2, len(clear) - 1):
            continue
        likeness = resemblance(centre_of(before, metric), centre_of(after, metric), metric)
        if likeness < worst:
            worst, where = likeness, clear[place].frame
    return where


def split(track: Track, frame: int, new_id: int) -> tuple[Track | None, Track]:
    """Cut a track before `frame`; the later part gets `new_id`. The first is None where it has no sighting left."""
    early = tuple(one for one in track.sightings if one.frame < frame)
    late = tuple(one for one in track.sightings if one.frame >= frame)
    samples_early = tuple(one for one in track.samples if one.frame < frame)
    samples_late = tuple(one for one in track.samples if one.frame >= frame)
    first = replace(track, sightings=early, samples=samples_early) if early else None
    return first, Track(new_id, track.shot, late, samples_late)
