"""Tracks that went to review, which later shots of the same clip may explain. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.identity.same_person import known_in_video, resemblance
from engine.reasons import REVIEW
from engine.tracks.track import Track, centre_of
from engine.tracks.verdicts import CLEAR, Gallery, TrackVerdict, limit_of
from engine.types import Embedding, Identity, Metric

WAITING_MAX = 64
"""At most so many review tracks wait for the clip's end: every commit stores each of them, and where there are more,
the threshold fits nobody."""


@dataclass(frozen=True, eq=False)
class ReviewTrack:
    """A track that went to review, as far as later shots may judge it again."""

    track: int
    centre: Embedding
    """Of its clear samples."""
    similarity: float
    """Of the track to the person."""
    limit: float
    """The similarity from which it would have been accepted: it rests on samples that the clip's end has no more."""


def still_waiting(
    waiting: Sequence[ReviewTrack],
    tracks: Sequence[Track],
    verdicts: Mapping[int, TrackVerdict],
    identity: Identity,
    threshold: float,
) -> tuple[ReviewTrack, ...]:
    """Return the review tracks that wait for the clip's end, with those of one more window; the likeliest if many.

    `threshold`: the run's `Rule.threshold`.
    """
    found = {one.track: one for one in waiting}
    for track in tracks:
        verdict = verdicts[track.id]
        clear = [sample for sample in track.samples if sample.clarity >= CLEAR]
        if verdict.reason == REVIEW and clear:
            limit = limit_of(track, identity, threshold)
            found[track.id] = ReviewTrack(track.id, centre_of(clear, identity.metric), verdict.similarity, limit)
    likeliest = sorted(found.values(), key=lambda one: (-one.similarity, one.track))[:WAITING_MAX]
    return tuple(sorted(likeliest, key=lambda one: one.track))


def is_known(one: ReviewTrack, gallery: Gallery, metric: Metric) -> bool:
    """Say whether a track in review resembles the clip's sure tracks: the rule for a track that comes after them."""

    def nearest(rows: Sequence[Embedding]) -> float:
        return max((resemblance(one.centre, row, metric) for row in rows), default=-1.0)

    in_video = nearest(gallery.positives)
    if nearest(gallery.negatives) >= in_video:
        return False
    return known_in_video(one.similarity, in_video, one.limit)
