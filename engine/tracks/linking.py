"""The faces of one shot -> tracks: who goes with whom from one look to the next.

Pure: boxes, embeddings and frame numbers in, tracks out. Looks may lie several frames apart (engine.search.scout looks
sparsely); the frames between are filled in later, for wanted tracks alone (engine.search.follow).

Why no tracker library: ByteTrack and its kin (supervision, norfair) expect every frame and boxes alone. Here looks are
sparse and each face brings an embedding, which settles crossings and fast moves that overlap and a Kalman filter
cannot; what is left for a library is one greedy assignment.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.faces.boxes import centre, overlap, size_of
from engine.identity.same_person import resemblance
from engine.tracks.track import GOOD_CLARITY, SPLIT_SAMPLES, Track, centre_of, predict
from engine.types import Embedding, Face, Metric

OVERLAP_SURE = 0.5
"""Two boxes that overlap so much (intersection over union) are one face unless clear embeddings say otherwise."""
REACH, REACH_PER_FRAME = 0.6, 0.12
"""How far a face may be from where it was expected, in face sizes, at once and for every frame since."""
REACH_KNOWN = 3.0
"""How far if its embedding says that it is the same face: somebody who runs, or a whip pan."""
SIZE_RATIO, SIZE_RATIO_PER_FRAME = 1.5, 0.03
"""By how much a face may grow or shrink, at once and for every frame since: nobody comes nearer faster."""
CONTESTED = 0.5
"""Scores of two pairs that differ by less do not say which of them is right: people who cross come this close."""


@dataclass(frozen=True, eq=False)
class FoundFace:
    """A face found by a look at a whole frame, with its embedding where one was made."""

    face: Face
    embedding: Embedding | None = None
    clarity: float = 0.0


def link(
    tracks: Sequence[Track], found: Sequence[FoundFace], frame: int, metric: Metric, same: float
) -> dict[int, int]:
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
    tracks: Sequence[Track], found: Sequence[FoundFace], links: dict[int, int], frame: int, metric: Metric, same: float
) -> set[int]:
    """Return the places in found whose link is ambiguous by geometry; the recogniser settles them.

    Ambiguous: another track fits the face nearly as well (CONTESTED), or another face the track. Both faces count.
    """
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


def _affinity(
    track: Track, looked: FoundFace, expected: NDArray[np.float64], gap: int, metric: Metric, same: float
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


def _clear_likeness(track: Track, looked: FoundFace, metric: Metric) -> float | None:
    """Similarity of a face to the track's latest clear samples; None unless both sides are clear."""
    if looked.embedding is None or looked.clarity < GOOD_CLARITY:
        return None
    clear = [sample for sample in track.samples if sample.clarity >= GOOD_CLARITY][-SPLIT_SAMPLES:]
    return resemblance(centre_of(clear, metric), looked.embedding, metric) if clear else None
