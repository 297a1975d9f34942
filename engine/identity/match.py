"""Does this track belong to that person? Similarity, the rule, and the reasons that a face can end with. Pure.

Similarity is raw, in the backend's own metric, and larger is closer: the cosine of the angle between two
embeddings, or 1 − their Euclidean distance.

The rule asks tracks, not frames. A track's similarity is that of the centre of its best clear samples, 40 % of them,
weighted by clarity: noise, blur and compression differ from frame to frame, so in the centre they cancel out. (The
mean of the samples' own similarities falls with their noise: a hard-compressed speaker had 0.35 by it and 0.42 by the
centre, while as many of 13 000 pairs of strangers reached 0.40 as before, two.) From `threshold` on a track is
accepted, within REVIEW_WIDTH below it goes to review, below that it is rejected.
Around this stand, each with its reason:

- nearly as like a negative reference as the person: rejected, and as like the person at another age: review;
- two faces in one frame are two people: beside an accepted track the less similar one cannot be the person;
- what a video has taught: a track a little short of the threshold that closely resembles sure tracks of the same
  video (same light, clothes, camera) is accepted with it, and one that resembles their neighbours is not;
- no clear sample (profile, blur, dark): nobody can tell, so review at most.

Inside an accepted track weak faces are kept, and told apart as rescued.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.tracks.tracking import Sample, Track, centre_of, resemblance
from engine.types import Embedding, Identity, Metric

ACCEPTED = "accepted"
RESCUED = "rescued"
"""A weak face (profile, blur, blink, dark) kept because its track is the person's."""
ACCEPTED_IN_VIDEO = "accepted_in_video"
"""A little under the threshold, but close to sure tracks of the same video."""
REVIEW = "review"
"""Within the review band below the threshold."""
REVIEW_UNCLEAR = "review_unclear"
"""Similar enough, but no clear view to be sure by."""
REVIEW_OTHER_AGE = "review_other_age"
"""The person, but as like the other age's references."""
NO_MATCH = "no_match"
"""Below the similarity threshold and its review band."""
NEGATIVE = "closer_to_negative"
"""A negative reference, or somebody seen beside the person, is as similar."""
ANOTHER_IN_FRAME = "another_in_frame"
"""The person was more surely somebody else in the same frame."""
LOW_CONFIDENCE = "low_confidence"
"""The detector is not sure that it is a face."""
TOO_MANY_FACES = "too_many_faces"
"""`max_faces_per_frame` more similar faces of the same frame were kept."""
NOT_VARIED = "near_duplicate"
"""Dropped by keep = "varied": a face much like it was kept."""
NOT_FIT = "not_fit_to_train"
"""Dropped by only_fit_to_train: small, blurred, or half outside the frame."""
BY_HAND = "decided_by_hand"
"""Not written: in an earlier run a hand deleted, moved or changed this face."""

REASONS = (
    ACCEPTED,
    RESCUED,
    ACCEPTED_IN_VIDEO,
    REVIEW,
    REVIEW_UNCLEAR,
    REVIEW_OTHER_AGE,
    NO_MATCH,
    NEGATIVE,
    ANOTHER_IN_FRAME,
    LOW_CONFIDENCE,
    TOO_MANY_FACES,
    NOT_VARIED,
    NOT_FIT,
    BY_HAND,
)

KEPT_REASONS = (ACCEPTED, RESCUED, ACCEPTED_IN_VIDEO)
REVIEW_REASONS = (REVIEW, REVIEW_UNCLEAR, REVIEW_OTHER_AGE, ANOTHER_IN_FRAME)
"""Reasons of faces in review/; ANOTHER_IN_FRAME also ends tracks that are rejected."""

REVIEW_WIDTH = 0.10
"""Below the threshold: about one standard deviation of strangers' similarities, so a person's look is worth it."""
BEST_SHARE, BEST_AT_LEAST = 0.4, 3
"""A person is known by the best views; the others say how hard the shot is, not who it is."""
CLEAR = 0.3
"""Clarity from which a sample counts as evidence."""
FEW_SAMPLES_EXTRA = {0: 0.03, 1: 0.03, 2: 0.015}
"""Added to the threshold for tracks of so few clear samples: a mean of three scatters a third of a deviation less."""
NEGATIVE_MARGIN = 0.05
"""The person must be more similar than a negative by this; two photos of one day scatter so much."""
TOP_RAW = 3
"""Raw references whose mean is blended with the best cluster's centre."""
REFERENCE_SPREAD = 0.10
"""Standard deviation of strangers' similarities, from which more references cost more threshold."""
_QUANTILE_STEPS = ((1, 0.0), (2, 0.17), (3, 0.27), (4, 0.34), (6, 0.43), (8, 0.50))
"""(n, z(1e-4 / n) - z(1e-4)): standard deviations by which the best of n strangers' scores rises at one error rate."""

IN_VIDEO_EXTRA = 0.05
"""A track must resemble sure tracks of its video by this much more than the threshold asks of photos …"""
IN_VIDEO_FLOOR = 0.15
"""… be no further than this below the threshold itself …"""
IN_VIDEO_SUM = -0.05
"""… and both together must reach twice the threshold less this. Strangers share a scene's light: on the labelled clips,
flipped, darkened, halved and compressed, the sum of the two stays below 0.45 for strangers (0.67 for the likest two
centres of one scene) and above 0.77 for the person (mobile recogniser, threshold 0.40)."""
SURE_EXTRA = 0.10
"""A track this far above the threshold may teach the gallery."""
SETTLED_REJECT = 0.20
"""A track this far below the threshold after CLEAR_ENOUGH clear samples is somebody else for good."""
CLEAR_ENOUGH = 6
"""Clear samples after which one more can hardly change a settled verdict."""
GALLERY_MAX = 32
GALLERY_NEW = 0.90
"""An entry more similar than this to one that is there teaches nothing."""

Outcome = Literal["accepted", "review", "rejected"]


@dataclass(frozen=True)
class Rule:
    """The limits of one run."""

    threshold: float
    """Track similarity from which a track is accepted, before the correction for the number of references."""
    same_person: float
    """Similarity of two clear faces of one video from which they count as one person: the recogniser's default."""
    review_width: float = REVIEW_WIDTH


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
    threshold: float
    """What the similarity was held against."""
    negative: float | None = None
    """Similarity to the nearest negative, where there are any."""
    in_video: float | None = None
    """Similarity to sure tracks of the same video, where there are any."""


def similarity(embeddings: NDArray[Any], identity: Identity) -> NDArray[np.float64]:
    """Given (N, D) embeddings of faces, return how similar each is to the person: (N,).

    The mean of the similarity to the best cluster's centre and of that to the three most similar photos: a centre is
    steady, single photos know rare poses. Raise ModelError when the embeddings come from another recogniser.
    """
    if embeddings.ndim != 2 or embeddings.shape[1] != identity.mean.shape[0]:
        raise ModelError(
            f"embeddings of shape {embeddings.shape} cannot be compared with the identity {identity.name}, "
            f"which {identity.model} made with {identity.mean.shape[0]} values",
            hint="make the identity again with the backend in use",
        )
    best_centre = similarities_to(embeddings, _centres(identity), identity.metric).max(axis=1)
    raw = similarities_to(embeddings, identity.embeddings, identity.metric)
    top = np.sort(raw, axis=1)[:, ::-1][:, :TOP_RAW].mean(axis=1)
    return np.asarray((best_centre + top) / 2.0)


def similarity_to(embeddings: NDArray[Any], reference: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """Given (N, D) embeddings and a (D,) reference, return the (N,) raw similarities in `metric`."""
    return similarities_to(embeddings, np.asarray(reference)[None, :], metric)[:, 0]


def blankness(embedding: Embedding, identity: Identity) -> float:
    """Return where an embedding lies between the clear reference photos (0) and faces nobody could name (1).

    0 where the identity has not measured it.
    """
    if identity.blank is None:
        return 0.0
    clear, blank = identity.blank_range
    here = float(similarity_to(np.asarray(embedding)[None, :], identity.blank, identity.metric)[0])
    return (here - clear) / max(blank - clear, 1e-6)


def similarities_to(embeddings: NDArray[Any], references: NDArray[Any], metric: Metric) -> NDArray[np.float64]:
    """Given (N, D) embeddings and (M, D) references, return the (N, M) raw similarities in `metric`."""
    rows, columns = np.asarray(embeddings, np.float64), np.asarray(references, np.float64)
    if metric == "cosine":
        lengths = np.linalg.norm(rows, axis=1)[:, None] * np.linalg.norm(columns, axis=1)[None, :]
        return np.asarray(rows @ columns.T / np.maximum(lengths, 1e-12))
    return np.asarray(1.0 - np.linalg.norm(rows[:, None, :] - columns[None, :, :], axis=2))


def corrected_threshold(threshold: float, clusters: int) -> float:
    """Return the threshold for an identity of so many clusters.

    The best of n centres flatters strangers: their scores' quantile at one error rate rises by z(a/n) - z(a)
    deviations (Bonferroni), half of which enters, as the centres are half of the score.
    """
    step = max(value for count, value in _QUANTILE_STEPS if count <= max(1, clusters))
    return threshold + REFERENCE_SPREAD * step / 2.0


def judge_track(track: Track, identity: Identity, rule: Rule, gallery: Gallery) -> TrackVerdict:
    """Given a track with its samples, decide by itself; `judge_together` then looks at who shared a frame."""
    clear = [sample for sample in track.samples if sample.clarity >= CLEAR]
    used = clear or list(track.samples)
    limit = corrected_threshold(rule.threshold, len(_centres(identity))) + FEW_SAMPLES_EXTRA.get(len(clear), 0.0)
    if not used:
        return TrackVerdict("rejected", NO_MATCH, -1.0, 0, limit)
    rows = np.stack([sample.embedding for sample in used])
    best = centre_of(best_samples(similarity(rows, identity), used), identity.metric)
    likeness = float(similarity(best[None, :], identity)[0])
    negative = _nearest(rows, used, identity.negatives, identity.metric)
    in_video = _nearest(rows, used, gallery.positives, identity.metric) if clear else None
    verdict = TrackVerdict("rejected", NO_MATCH, likeness, len(clear), limit, negative, in_video)
    return _weigh(verdict, track, identity, rule, gallery)


def known_in_video(likeness: float, in_video: float, limit: float) -> bool:
    """Say whether a track short of `limit` is the person all the same, by its likeness to the video's sure tracks."""
    return (
        in_video >= limit + IN_VIDEO_EXTRA
        and likeness >= limit - IN_VIDEO_FLOOR
        and likeness + in_video >= 2 * limit + IN_VIDEO_SUM
    )


def is_settled(verdict: TrackVerdict) -> bool:
    """Say whether more samples can hardly change a verdict: enough clear ones, and far from the threshold."""
    if verdict.samples < CLEAR_ENOUGH:
        return False
    return not -SETTLED_REJECT < verdict.similarity - verdict.threshold < SURE_EXTRA


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
) -> Gallery:
    """Return the gallery with what sure tracks teach: themselves as positives, those beside them as negatives.

    A neighbour teaches only when it is clear and unlike the person; otherwise a mirror image or a doubled
    detection would turn the person into a negative.
    """
    positives, negatives = gallery.positives, gallery.negatives
    by_id = {track.id: track for track in tracks}
    for track in tracks:
        verdict = verdicts[track.id]
        sure = verdict.outcome == "accepted" and verdict.similarity >= verdict.threshold + SURE_EXTRA
        if not sure or verdict.samples < BEST_AT_LEAST:
            continue
        for entry in _views(track, identity.metric):
            positives = _with(positives, entry, identity.metric)
        for other in sorted(beside.get(track.id, frozenset())):
            theirs = verdicts.get(other)
            if theirs is None or theirs.samples < BEST_AT_LEAST:
                continue
            if theirs.similarity >= verdict.threshold - REVIEW_WIDTH:
                continue
            negatives = _with(negatives, _views(by_id[other], identity.metric)[0], identity.metric)
    return Gallery(positives, negatives)


def best_samples(values: NDArray[np.float64], samples: Sequence[Sample]) -> list[Sample]:
    """Return the samples of the best 40 % of values, at least three of them."""
    count = min(len(values), max(BEST_AT_LEAST, round(BEST_SHARE * len(values))))
    return [samples[place] for place in np.argsort(-values, kind="stable")[:count]]


def _centres(identity: Identity) -> NDArray[np.float32]:
    return identity.mean[None, :] if identity.centres is None else identity.centres


def _weigh(verdict: TrackVerdict, track: Track, identity: Identity, rule: Rule, gallery: Gallery) -> TrackVerdict:
    """Turn measured similarities into an outcome and its reason."""
    likeness, limit = verdict.similarity, verdict.threshold
    if likeness < limit - max(rule.review_width, IN_VIDEO_FLOOR):
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
    outcome = _by_threshold(verdict, rule)
    if outcome.outcome == "accepted":
        other_age = _nearest(rows, used, identity.other_age, identity.metric)
        if other_age is not None and other_age >= likeness:
            return replace(outcome, outcome="review", reason=REVIEW_OTHER_AGE)
    return outcome


def _by_threshold(verdict: TrackVerdict, rule: Rule) -> TrackVerdict:
    likeness, limit, in_video = verdict.similarity, verdict.threshold, verdict.in_video
    if likeness >= limit:
        if verdict.samples == 0:
            return replace(verdict, outcome="review", reason=REVIEW_UNCLEAR)
        return replace(verdict, outcome="accepted", reason=ACCEPTED)
    if in_video is not None and known_in_video(likeness, in_video, limit):
        return replace(verdict, outcome="accepted", reason=ACCEPTED_IN_VIDEO)
    if likeness >= limit - rule.review_width:
        return replace(verdict, outcome="review", reason=REVIEW)
    return verdict


def _nearest(rows: NDArray[np.float32], samples: Sequence[Sample], references: Any, metric: Metric) -> float | None:
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
