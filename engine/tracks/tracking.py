"""The faces of one shot -> tracks: who goes with whom from one look to the next.

Pure: boxes, embeddings and frame numbers in, tracks out. Looks may lie several frames apart (engine.tracks.scout looks
sparsely); the frames between are filled in later, for wanted tracks alone (engine.tracks.follow).

Why no tracker library: ByteTrack and its kin (supervision, norfair) expect every frame and boxes alone. Here looks are
sparse and each face brings an embedding, which settles crossings and fast moves that overlap and a Kalman filter
cannot; what is left for a library is one greedy assignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from engine.tracks.quality import FaceQuality
from engine.types import Embedding, Face, Metric

GOOD_CLARITY = 0.5
"""From here on an embedding may contradict geometry: forbid a link, or split a track."""
OVERLAP_SURE = 0.5
"""Two boxes that overlap so much (intersection over union) are one face unless clear embeddings say otherwise."""
REACH, REACH_PER_FRAME = 0.6, 0.12
"""How far a face may be from where it was expected, in face sizes, at once and for every frame since."""
REACH_KNOWN = 3.0
"""How far if its embedding says that it is the same face: somebody who runs, or a whip pan."""
SIZE_RATIO, SIZE_RATIO_PER_FRAME = 1.5, 0.03
CONTESTED = 0.5
"""Scores of two pairs that differ by less do not say which of them is right: people who cross come this close."""
SAMPLES_MAX = 24
"""Samples a track carries; beyond, the least clear go. A long track's best 40 % are still ten."""
SPLIT_SAMPLES = 3
"""Clear samples on each side that must disagree before a track is split: one bad embedding is no change of person."""


@dataclass(frozen=True, eq=False)
class Sighting:
    """A face in one frame, and the track it belongs to by geometry."""

    frame: int
    face: Face
    pts: int | None = None


@dataclass(frozen=True, eq=False)
class Sample:
    """A face that was asked who it is."""

    frame: int
    embedding: Embedding
    clarity: float
    """0..1, engine.tracks.quality.clarity: how much the embedding may count."""
    quality: FaceQuality


@dataclass(frozen=True, eq=False)
class Track:
    """One face through one shot."""

    id: int
    """Counts up from 0 within a video; a track that was split gets new ones."""
    shot: int
    sightings: tuple[Sighting, ...]
    """In frame order, at least one."""
    samples: tuple[Sample, ...] = ()
    """In frame order; a subset of the sightings, and of those of earlier windows."""

    @property
    def last(self) -> Sighting:
        return self.sightings[-1]


@dataclass(frozen=True, eq=False)
class Looked:
    """A face found by a look at a whole frame, with its embedding where one was made."""

    face: Face
    embedding: Embedding | None = None
    clarity: float = 0.0


def link(tracks: Sequence[Track], found: Sequence[Looked], frame: int, metric: Metric, same: float) -> dict[int, int]:
    """Given live tracks and the faces of a frame, say which goes on which: place in found -> place in tracks.

    Pairs are taken best first; each track and face goes once. A pair's score is the overlap with the expected place
    plus, where both embeddings are clear, their similarity. `same`: similarity from which two clear faces count as
    one person whatever their distance; below half of it, clear faces are two people whatever their overlap.
    """
    pairs = []
    for place, track in enumerate(tracks):
        expected, gap = predict(track, frame), frame - track.last.frame
        for number, looked in enumerate(found):
            score = _affinity(track, looked, expected, gap, metric, same)
            if score is not None:
                pairs.append((score, place, number))
    pairs.sort(key=lambda pair: (-pair[0], pair[1], pair[2]))
    taken: set[int] = set()
    links: dict[int, int] = {}
    for _, place, number in pairs:
        if place not in taken and number not in links:
            taken.add(place)
            links[number] = place
    return links


def contested(
    tracks: Sequence[Track], found: Sequence[Looked], links: dict[int, int], frame: int, metric: Metric, same: float
) -> set[int]:
    """Return the places in found whose link geometry leaves open: another track might as well be theirs, or theirs
    another face. Asking the recogniser settles them."""
    scores = {
        (place, number): score
        for place, track in enumerate(tracks)
        for number, looked in enumerate(found)
        if (score := _affinity(track, looked, predict(track, frame), frame - track.last.frame, metric, same))
        is not None
    }
    open_ = set()
    for number, place in links.items():
        for (other, rival), score in scores.items():
            crosses = (other == place) != (rival == number)
            if crosses and score > scores[place, number] - CONTESTED:
                open_ |= {number, rival}
    return open_


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


def predict(track: Track, frame: int) -> NDArray[np.float64]:
    """Return where the track's face should be in `frame`: (4,) x1, y1, x2, y2 px, by its last motion, damped.

    The motion is that between its last two sightings; half of it is believed, and no further than a second ahead.
    """
    box = track.last.face.bbox.astype(np.float64)
    if len(track.sightings) < 2:
        return box
    before = track.sightings[-2]
    step = (centre(box) - centre(before.face.bbox)) / max(1, track.last.frame - before.frame)
    return box + np.tile(step * 0.5 * min(25, frame - track.last.frame), 2)


def overlap(first: NDArray[np.floating], second: NDArray[np.floating]) -> float:
    """Return intersection over union of two boxes (x1, y1, x2, y2)."""
    width = min(first[2], second[2]) - max(first[0], second[0])
    height = min(first[3], second[3]) - max(first[1], second[1])
    if width <= 0 or height <= 0:
        return 0.0
    both = float(width * height)
    return both / (_area(first) + _area(second) - both)


def centre(box: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.array([(box[0] + box[2]) / 2.0, (box[1] + box[3]) / 2.0])


def size_of(box: NDArray[np.floating]) -> float:
    """Return the side of the square of the same area, px."""
    return float(np.sqrt(max(_area(box), 1e-3)))


def resemblance(first: Embedding, second: Embedding, metric: Metric) -> float:
    """Return the similarity of two embeddings in the recogniser's own measure."""
    if metric == "cosine":
        return float(first @ second) / max(1e-9, float(np.linalg.norm(first) * np.linalg.norm(second)))
    return 1.0 - float(np.linalg.norm(first - second))


def centre_of(samples: Sequence[Sample], metric: Metric) -> Embedding:
    """Return the mean of the samples' embeddings weighted by clarity; unit length where the metric is cosine."""
    rows = np.stack([sample.embedding for sample in samples])
    weights = np.array([max(sample.clarity, 1e-3) for sample in samples], np.float32)
    mean = (rows * weights[:, None]).sum(0) / weights.sum()
    if metric == "cosine":
        mean = mean / max(1e-9, float(np.linalg.norm(mean)))
    return np.asarray(mean, np.float32)


def add_sample(samples: tuple[Sample, ...], sample: Sample, *, most: int = SAMPLES_MAX) -> tuple[Sample, ...]:
    """Return the samples with one more, in frame order.

    Past `most` the least clear one goes, of equally clear ones the one whose neighbours are nearest in time: what
    stays spans the track.
    """
    together = sorted([*samples, sample], key=lambda one: one.frame)
    if len(together) <= most:
        return tuple(together)
    frames = [together[0].frame - most, *(one.frame for one in together), together[-1].frame + most]
    spread = [after - before for before, after in zip(frames, frames[2:], strict=False)]
    goes = min(
        (place for place, one in enumerate(together) if one is not sample),
        key=lambda place: (together[place].clarity, spread[place], place),
    )
    return (*together[:goes], *together[goes + 1 :])


def add_sighting(sightings: tuple[Sighting, ...], sighting: Sighting) -> tuple[Sighting, ...]:
    """Return the sightings with one more, in frame order; one of its frame stays as it is."""
    if any(one.frame == sighting.frame for one in sightings):
        return sightings
    return tuple(sorted([*sightings, sighting], key=lambda one: one.frame))


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


def _affinity(
    track: Track, looked: Looked, expected: NDArray[np.float64], gap: int, metric: Metric, same: float
) -> float | None:
    """Score a pair, or None where they cannot be one face."""
    box = looked.face.bbox.astype(np.float64)
    size, expected_size = size_of(box), size_of(expected)
    ratio = max(size / expected_size, expected_size / size)
    if ratio > SIZE_RATIO + SIZE_RATIO_PER_FRAME * gap:
        return None
    distance = float(np.linalg.norm(centre(box) - centre(expected))) / max(size, expected_size)
    shared = max(overlap(box, expected), overlap(box, track.last.face.bbox))
    likeness = _clear_likeness(track, looked, metric)
    if likeness is not None and likeness < same / 2 and not (shared > OVERLAP_SURE and gap <= 2):
        return None
    near = REACH + REACH_PER_FRAME * min(gap, 25)
    if distance > near and not (likeness is not None and likeness >= same and distance <= REACH_KNOWN + near):
        return None
    return shared + (likeness or 0.0) - 0.1 * distance


def _clear_likeness(track: Track, looked: Looked, metric: Metric) -> float | None:
    """Similarity of a face to the track's latest clear samples; None unless both sides are clear."""
    if looked.embedding is None or looked.clarity < GOOD_CLARITY:
        return None
    clear = [sample for sample in track.samples if sample.clarity >= GOOD_CLARITY][-SPLIT_SAMPLES:]
    return resemblance(centre_of(clear, metric), looked.embedding, metric) if clear else None


def _area(box: NDArray[np.floating]) -> float:
    return max(float(box[2] - box[0]), 1e-3) * max(float(box[3] - box[1]), 1e-3)
