"""Who is near whom among the faces of a look, and what that says about tracks. Pure.

Geometry alone takes one person for another where faces are close, cross, or follow each other in one place: here it is
said where to ask the recogniser. Who goes on which track is engine.tracks.linking's business.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from engine.faces.boxes import centre, overlap, size_of
from engine.tracks.track import Track
from engine.types import Face

CROWDED = 1.2
"""Face sizes between two middles within which people may change places between two looks."""
NESTED = 0.1
"""Two boxes of a frame that overlap more are one face found twice, not two people."""


def crowded(face: Face, faces: Sequence[Face]) -> bool:
    """Say whether a face is within reach of another: only embeddings show whether they were swapped."""
    return any(
        other is not face
        and float(np.linalg.norm(centre(face.bbox) - centre(other.bbox)))
        < CROWDED * max(size_of(face.bbox), size_of(other.bbox))
        for other in faces
    )


def apart(track: Track, seen: Sequence[Track]) -> frozenset[int]:
    """Return the ids of tracks that the same look saw in another place: two faces in one frame are two people."""
    box = track.last.face.bbox
    return frozenset(other.id for other in seen if other.id != track.id and overlap(box, other.last.face.bbox) < NESTED)


def displaced(live: Sequence[Track], guess: Mapping[int, int], links: Mapping[int, int]) -> list[Track]:
    """Return the tracks whose place turned out to be another person's, with sightings that no sample confirmed.

    `guess`: which track each face goes on by geometry (place in live); `links`: and with the embeddings asked.
    """
    lost = [live[place] for number, place in guess.items() if links.get(number) != place]
    return [track for track in lost if track.samples and track.samples[-1].frame < track.last.frame]


def beside_parts(
    beside: Mapping[int, frozenset[int]], old: int, parts: Sequence[Track], tracks: Mapping[int, Track]
) -> dict[int, frozenset[int]]:
    """Return who was beside whom after track `old` was split: each part was beside those it shared a frame with."""
    companions = beside.get(old, frozenset())
    after = {number: others - {old} for number, others in beside.items() if number != old}
    for part in parts:
        after[part.id] = frozenset(
            other for other in companions if other in tracks and _share_a_frame(part, tracks[other])
        )
        for other in after[part.id]:
            after[other] = after.get(other, frozenset()) | {part.id}
    return after


def _share_a_frame(track: Track, other: Track) -> bool:
    return not {one.frame for one in track.sightings}.isdisjoint(one.frame for one in other.sightings)
