"""What each similarity threshold would keep in one piece of footage, and which one fits it. Pure.

The footage itself gives the only impostors that are certain without labels: two faces in one frame are two people,
so beside a more similar face the less similar one cannot be the person. What no such face stood beside is unknown:
the curve counts it as kept, and does not say that it is right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

LOWEST, HIGHEST = 0.3, 0.95
"""Thresholds that a configuration may set (ExtractSettings)."""
STEP = 0.05
"""Fine enough to see a valley, coarse enough for a table that fits a terminal."""
STRANGERS_NEEDED = 3
"""Same-frame strangers from which their top says anything at all."""
KEPT_NEEDED = 2
"""Accepted tracks from which there is a cluster with a bottom."""
STRANGERS_TO_LOWER = 10
"""Fewer strangers than this never argue for less than the default: the next one may be more like the person."""
ABOVE_STRANGER = 0.02
"""Distance kept from the most similar stranger where the two groups overlap."""
NORMAL_95 = 1.645
"""Standard deviations of a one-sided bound of 95 %."""

Kind = Literal["person", "stranger", "undecided"]


@dataclass(frozen=True)
class SeenTrack:
    """One face through one shot, as far as a threshold is concerned."""

    id: int
    similarity: float
    """Raw, less what the rule adds to the threshold for few samples and many references: accepted from here on."""
    faces: int
    """Frames it spans."""
    first: int
    last: int
    """Frames of its first and last sighting; tracks whose spans overlap were in view together."""
    beside: frozenset[int] = frozenset()
    """Tracks seen in one frame with it."""
    eligible: bool = True
    """False where no threshold would accept it: no clear view, closer to a negative, or the other age."""


@dataclass(frozen=True)
class CurvePoint:
    """What one threshold does."""

    threshold: float
    tracks: int
    """Kept."""
    faces: int
    false_tracks: int
    """Would pass by similarity, but stood beside a more similar one: certainly not the person."""
    false_faces: int
    false_accept_rate: float | None
    """Fraction of same-frame strangers that would pass; None without strangers."""
    rate_at_most: float | None
    """Its 95 % upper bound (Wilson score), as few strangers say little."""


@dataclass(frozen=True)
class Choice:
    """The threshold that fits the footage, and why."""

    threshold: float
    reason: str


def certain_strangers(tracks: Sequence[SeenTrack]) -> dict[int, int]:
    """Return the tracks that cannot be the person, each with the more similar one it was in view with.

    Best first, as engine.tracks.verdicts decides; who is ruled out already rules nobody else out. This does not
    depend on the threshold: whatever accepts the less similar track accepts the other too.
    """
    ruled_out: dict[int, int] = {}
    better: list[SeenTrack] = []
    for track in sorted((one for one in tracks if one.eligible), key=lambda one: (-one.similarity, one.id)):
        rival = next((one for one in better if _together(one, track)), None)
        if rival is None:
            better.append(track)
        else:
            ruled_out[track.id] = rival.id
    return ruled_out


def kinds_of(tracks: Sequence[SeenTrack], default: float) -> dict[int, Kind]:
    """Sort tracks into the person (accepted at `default`), same-frame strangers of the person, and undecided."""
    ruled_out = certain_strangers(tracks)
    likeness = {track.id: track.similarity for track in tracks}
    kinds: dict[int, Kind] = {}
    for track in tracks:
        rival = ruled_out.get(track.id)
        if rival is not None:
            kinds[track.id] = "stranger" if likeness[rival] >= default else "undecided"
        else:
            kinds[track.id] = "person" if track.eligible and track.similarity >= default else "undecided"
    return kinds


def thresholds(default: float) -> tuple[float, ...]:
    """Return the thresholds of a curve, ascending: every STEP, and the default."""
    steps = round((HIGHEST - LOWEST) / STEP)
    return tuple(sorted({round(LOWEST + STEP * number, 2) for number in range(steps + 1)} | {round(default, 4)}))


def curve(tracks: Sequence[SeenTrack], default: float) -> tuple[CurvePoint, ...]:
    """Given the tracks of some footage, say what each threshold would keep and what it would let in."""
    ruled_out = certain_strangers(tracks)
    kinds = kinds_of(tracks, default)
    strangers = [track for track in tracks if kinds[track.id] == "stranger"]
    points = []
    for limit in thresholds(default):
        passing = [track for track in tracks if track.eligible and track.similarity >= limit]
        false = [track for track in passing if track.id in ruled_out]
        rate, most = _rate(sum(one.similarity >= limit for one in strangers), len(strangers))
        points.append(
            CurvePoint(
                threshold=limit,
                tracks=len(passing) - len(false),
                faces=sum(one.faces for one in passing) - sum(one.faces for one in false),
                false_tracks=len(false),
                false_faces=sum(one.faces for one in false),
                false_accept_rate=rate,
                rate_at_most=most,
            )
        )
    return tuple(points)


def choose(tracks: Sequence[SeenTrack], default: float) -> Choice:
    """Choose the middle of the widest valley between the strangers' top and the accepted tracks' bottom."""
    kinds = kinds_of(tracks, default)
    groups = _similarities(tracks, kinds)
    strangers, person = groups["stranger"], groups["person"]
    if len(strangers) < STRANGERS_NEEDED or len(person) < KEPT_NEEDED:
        return Choice(
            default,
            f"not enough evidence, keep auto ({default:.2f}): {len(strangers)} same-frame strangers and {len(person)} "
            f"accepted tracks were seen, at least {STRANGERS_NEEDED} and {KEPT_NEEDED} are needed",
        )
    top, bottom = max(strangers), min(person)
    if top >= bottom:
        value = _clamped(top + ABOVE_STRANGER)
        lost = sum(one < value for one in person)
        return Choice(
            value,
            f"a stranger in the person's own frame reaches {top:.2f}, above the lowest accepted track ({bottom:.2f}): "
            f"{value:.2f} is the least that keeps every such stranger out, and costs {lost} of {len(person)} tracks",
        )
    between = [one for one in groups["undecided"] if top < one < bottom]
    marks = sorted([top, bottom, *between])
    low, high = max(pairwise(marks), key=lambda gap: (gap[1] - gap[0], gap[0]))
    value = _clamped((low + high) / 2.0)
    said = (
        f"strangers end at {top:.2f}, accepted tracks begin at {bottom:.2f}, and {value:.2f} stands in the widest "
        f"valley between ({low:.2f} to {high:.2f})"
    )
    if value < default and len(strangers) < STRANGERS_TO_LOWER:
        return Choice(
            default,
            f"keep auto ({default:.2f}): {said}, but {len(strangers)} strangers are too few to go below it "
            f"({STRANGERS_TO_LOWER} are needed)",
        )
    return Choice(value, said)


def _similarities(tracks: Sequence[SeenTrack], kinds: Mapping[int, Kind]) -> dict[Kind, list[float]]:
    """Group the similarities of the tracks that a threshold could accept."""
    groups: dict[Kind, list[float]] = {"person": [], "stranger": [], "undecided": []}
    for track in tracks:
        if track.eligible:
            groups[kinds[track.id]].append(track.similarity)
    return groups


def _together(first: SeenTrack, second: SeenTrack) -> bool:
    seen = second.id in first.beside or first.id in second.beside
    return seen or (first.first <= second.last and second.first <= first.last)


def _clamped(value: float) -> float:
    return min(HIGHEST, max(LOWEST, math.ceil(round(value * 100, 6)) / 100))


def _rate(passed: int, count: int) -> tuple[float | None, float | None]:
    """Return a fraction and its 95 % upper bound (Wilson 1927)."""
    if not count:
        return None, None
    fraction, z2 = passed / count, NORMAL_95**2
    spread = NORMAL_95 * math.sqrt(fraction * (1 - fraction) / count + z2 / (4 * count * count))
    return fraction, min(1.0, (fraction + z2 / (2 * count) + spread) / (1 + z2 / count))
