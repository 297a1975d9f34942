"""Which tracks show the person: the rule by similarity, and the evidence beside it. Pure.

The rule judges tracks, not frames. A track's similarity is that of the centre of its best clear samples, 40 % of them,
weighted by clarity: noise, blur and compression differ from frame to frame, so in the centre they cancel out. (The
mean of the samples' own similarities falls with their noise: a hard-compressed speaker had 0.35 by it and 0.42 by the
centre, while as many of 13 000 pairs of strangers reached 0.40 as before, two.) From the threshold on a track is
accepted, within REVIEW_WIDTH below it goes to review, below that it is rejected. Beside this there are, each
with its reason:

- nearly as like a negative reference as the person: rejected, and as like the person at another age: review;
- two faces in one frame are two people: beside an accepted track the less similar one cannot be the person;
- what a video has taught: a track a little short of the threshold that closely resembles sure tracks of the same
  video (same light, clothes, camera) is accepted with it, and one that resembles their neighbours is not;
- no clear sample (profile, blur, dark): nobody can say, so review at most.

Inside an accepted track weak faces are kept, and marked as rescued. Similarity itself is engine.identity.same_person.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.identity.same_person import (
    IN_VIDEO_FLOOR,
    REVIEW_WIDTH,
    Rule,
    centres_of,
    corrected_threshold,
    known_in_video,
    resemblance,
    similarities_to,
    similarity,
)
from engine.reasons import (
    ACCEPTED,
    ACCEPTED_IN_VIDEO,
    ANOTHER_IN_FRAME,
    NEGATIVE,
    NO_MATCH,
    REVIEW,
    REVIEW_OTHER_AGE,
    REVIEW_UNCLEAR,
)
from engine.tracks.track import Sample, Track, centre_of
from engine.types import Embedding, Identity, Metric

BEST_FRACTION, BEST_AT_LEAST = 0.4, 3
"""A person is known by the best views; the others say how hard the shot is, not who it is."""
CLEAR = 0.3
"""Clarity from which a sample counts as evidence."""
FEW_SAMPLES_EXTRA = {0: 0.03, 1: 0.03, 2: 0.015}
"""Added to the threshold for tracks of so few clear samples: a mean of three scatters a third of a deviation less."""
NEGATIVE_MARGIN = 0.05
"""The person must be more similar than a negative by this; two photos of one day scatter so much."""
SURE_EXTRA = 0.10
"""A track this far above the threshold may teach the gallery."""
SETTLED_REJECT = 0.20
"""A track this far below the threshold after CLEAR_ENOUGH clear samples is somebody else for good."""
CLEAR_ENOUGH = 6
"""Clear samples after which one more can hardly change a settled verdict."""
GALLERY_MAX = 32
"""Entries of a kind, the latest: bounds what every window carries to the next."""
GALLERY_NEW = 0.90
"""An entry more similar than this to one that is there teaches nothing."""
Outcome = Literal["accepted", "review", "rejected"]


@dataclass(frozen=True, eq=False)
class Gallery:
    """What the video has taught so far: centres of tracks that are surely the person's, and surely not."""

    positives: tuple[Embedding, ...] = ()
    negatives: tuple[Embedding, ...] = ()


@dataclass(frozen=True)
class TrackVerdict:
    """What was decided about a track, and on what evidence."""

    outcome: Outcome
    reason: str
    similarity: float
    """Of the track to the person; -1 where there was no sample at all."""
    samples: int
    """Clear samples it rests on."""
    negative: float | None = None
    """Similarity to the nearest negative, where there are any."""
    in_video: float | None = None
    """Similarity to sure tracks of the same video, where there are any."""


def limit_of(track: Track, identity: Identity, threshold: float) -> float:
    """Return the similarity from which a track is accepted as the person.

    `threshold`: the run's `Rule.threshold`. It is corrected for the number of reference photos, and raised for a track
    of few clear samples.
    """
    clear = sum(sample.clarity >= CLEAR for sample in track.samples)
    return corrected_threshold(threshold, len(centres_of(identity))) + FEW_SAMPLES_EXTRA.get(clear, 0.0)


def judge_track(track: Track, identity: Identity, rule: Rule, gallery: Gallery) -> TrackVerdict:
    """Given a track with its samples, judge it by itself; `judge_together` then compares those that shared a frame."""
    clear = [sample for sample in track.samples if sample.clarity >= CLEAR]
    used = clear or list(track.samples)
    if not used:
        return TrackVerdict("rejected", NO_MATCH, -1.0, 0)
    rows = np.stack([sample.embedding for sample in used])
    best = centre_of(best_samples(similarity(rows, identity), used), identity.metric)
    likeness = float(similarity(best[None, :], identity)[0])
    negative = _nearest(rows, used, identity.negatives, identity.metric)
    in_video = _nearest(rows, used, gallery.positives, identity.metric) if clear else None
    verdict = TrackVerdict("rejected", NO_MATCH, likeness, len(clear), negative, in_video)
    return _weigh(verdict, track, identity, rule, gallery)


def is_settled(verdict: TrackVerdict, limit: float) -> bool:
    """Say whether more samples can hardly change a verdict: enough clear ones, and far from the limit (`limit_of`)."""
    if verdict.samples < CLEAR_ENOUGH:
        return False
    return not -SETTLED_REJECT < verdict.similarity - limit < SURE_EXTRA


def judge_together(
    tracks: Sequence[Track], verdicts: Mapping[int, TrackVerdict], beside: Mapping[int, frozenset[int]]
) -> dict[int, TrackVerdict]:
    """Given tracks, verdicts by track id and who was seen in one frame with whom, apply that these are two people.

    Best tracks first: beside an accepted one, a less similar one is rejected; one that is accepted itself goes to
    review, as only one of the two can be right and the other may be a mirror image or a picture of the person.
    """
    final = dict(verdicts)
    order = sorted(tracks, key=lambda track: (-verdicts[track.id].similarity, track.id))
    for track in order:
        mine = final[track.id]
        if mine.outcome == "rejected":
            continue
        for other in beside.get(track.id, frozenset()):
            theirs = final.get(other)
            if theirs is None or theirs.outcome != "accepted" or theirs.similarity <= mine.similarity:
                continue
            final[track.id] = replace(
                mine, outcome="review" if mine.outcome == "accepted" else "rejected", reason=ANOTHER_IN_FRAME
            )
            break
    return final


def learn(
    gallery: Gallery,
    tracks: Sequence[Track],
    verdicts: Mapping[int, TrackVerdict],
    beside: Mapping[int, frozenset[int]],
    identity: Identity,
    threshold: float,
) -> Gallery:
    """Return the gallery with what sure tracks teach: themselves as positives, those beside them as negatives.

    `threshold`: the run's `Rule.threshold`.
    A neighbour teaches only when it is clear and unlike the person; otherwise a mirror image or a doubled
    detection would turn the person into a negative.
    """
    positives, negatives = gallery.positives, gallery.negatives
    by_id = {track.id: track for track in tracks}
    for track in tracks:
        verdict = verdicts[track.id]
        limit = limit_of(track, identity, threshold)
        sure = verdict.outcome == "accepted" and verdict.similarity >= limit + SURE_EXTRA
        if not sure or verdict.samples < BEST_AT_LEAST:
            continue
        for entry in _views(track, identity.metric):
            positives = _with(positives, entry, identity.metric)
        for other in sorted(beside.get(track.id, frozenset())):
            theirs = verdicts.get(other)
            if theirs is None or theirs.samples < BEST_AT_LEAST:
                continue
            if theirs.similarity >= limit - REVIEW_WIDTH:
                continue
            negatives = _with(negatives, _views(by_id[other], identity.metric)[0], identity.metric)
    return Gallery(positives, negatives)


def best_samples(values: NDArray[np.float64], samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of the best 40 % of values, at least three of them."""
    count = min(len(values), max(BEST_AT_LEAST, round(BEST_FRACTION * len(values))))
    return [samples[place] for place in np.argsort(-values, kind="stable")[:count]]


def _weigh(verdict: TrackVerdict, track: Track, identity: Identity, rule: Rule, gallery: Gallery) -> TrackVerdict:
    """Turn measured similarities into an outcome and its reason."""
    likeness, limit = verdict.similarity, limit_of(track, identity, rule.threshold)
    if likeness < limit - max(REVIEW_WIDTH, IN_VIDEO_FLOOR):
        return verdict
    if verdict.negative is not None and verdict.negative >= likeness - NEGATIVE_MARGIN:
        return replace(verdict, reason=NEGATIVE)
    used = [sample for sample in track.samples if sample.clarity >= CLEAR] or list(track.samples)
    rows = np.stack([sample.embedding for sample in used])
    learned = _nearest(rows, used, gallery.negatives, identity.metric)
    known = max(likeness, verdict.in_video or 0.0)
    unsure = likeness < limit + SURE_EXTRA
    if unsure and learned is not None and learned >= max(rule.same_person, known - NEGATIVE_MARGIN):
        return replace(verdict, reason=NEGATIVE)
    outcome = _by_limit(verdict, limit)
    if outcome.outcome == "accepted":
        other_age = _nearest(rows, used, identity.other_age, identity.metric)
        if other_age is not None and other_age >= likeness:
            return replace(outcome, outcome="review", reason=REVIEW_OTHER_AGE)
    return outcome


def _by_limit(verdict: TrackVerdict, limit: float) -> TrackVerdict:
    likeness, in_video = verdict.similarity, verdict.in_video
    if likeness >= limit:
        if verdict.samples == 0:
            return replace(verdict, outcome="review", reason=REVIEW_UNCLEAR)
        return replace(verdict, outcome="accepted", reason=ACCEPTED)
    if in_video is not None and known_in_video(likeness, in_video, limit):
        return replace(verdict, outcome="accepted", reason=ACCEPTED_IN_VIDEO)
    if likeness >= limit - REVIEW_WIDTH:
        return replace(verdict, outcome="review", reason=REVIEW)
    return verdict


def _nearest(
    rows: NDArray[np.float32],
    samples: Sequence[Sample],
    references: NDArray[np.float32] | Sequence[Embedding] | None,
    metric: Metric,
) -> float | None:
    """Return the track's similarity to the most similar reference, measured as to the person; None without any."""
    if references is None or not len(references):
        return None
    table = np.asarray(references)
    best = centre_of(best_samples(similarities_to(rows, table, metric).max(axis=1), samples), metric)
    return float(similarities_to(best[None, :], table, metric).max())


def _views(track: Track, metric: Metric) -> list[Embedding]:
    """Return the centre of a track's clear samples, then its two most different thirds in time."""
    clear = [sample for sample in track.samples if sample.clarity >= CLEAR]
    views = [centre_of(clear, metric)]
    if len(clear) >= 2 * BEST_AT_LEAST:
        views += [centre_of(clear[:BEST_AT_LEAST], metric), centre_of(clear[-BEST_AT_LEAST:], metric)]
    return views


def _with(entries: tuple[Embedding, ...], entry: Embedding, metric: Metric) -> tuple[Embedding, ...]:
    if any(resemblance(one, entry, metric) >= GALLERY_NEW for one in entries):
        return entries
    return (*entries, entry)[-GALLERY_MAX:]
