"""What one window of footage hands to the next, as JSON: exact, so that a resumed run decides as an undisturbed one.

Arrays are written as base64 of their little-endian bytes. The text comes back from a ledger that dfld wrote itself;
it is read with json and checked in shape, never trusted with code.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import InputError
from engine.faces.quality import FaceQuality
from engine.frames.shots import ShotState
from engine.search.scout import ScoutState
from engine.tracks.review_tracks import ReviewTrack
from engine.tracks.track import Sample, Sighting, Track
from engine.tracks.verdicts import Gallery
from engine.types import Face

FORMAT = 2
"""Raised where a text of the format before cannot be read: a clip that was left half done then starts over, for the
format is part of its basis. A value that later windows can do without is added with a default instead."""


@dataclass(frozen=True, eq=False)
class Carry:
    """Everything that later windows need of earlier ones."""

    scout: ScoutState = field(default_factory=ScoutState)
    shot: ShotState | None = None
    """None where the next frame begins a shot."""
    gallery: Gallery = field(default_factory=Gallery)
    waiting: tuple[ReviewTrack, ...] = ()
    """Tracks in review that the end of the clip may explain."""
    accepted: frozenset[int] = frozenset()
    """Live tracks that were accepted: they stay so unless something speaks against them."""


def carry_to_json(carry: Carry) -> str:
    """Write a carry as JSON text."""
    scout = carry.scout
    return json.dumps(
        {
            "format": FORMAT,
            "next_track": scout.next_track,
            "shot": scout.shot,
            "interval": scout.interval,
            "last_look": scout.last_look,
            "last_full_look": scout.last_full_look,
            "last_whole_look": scout.last_whole_look,
            "look_thumbnail": _array(scout.look_thumbnail),
            "glanced": _array(scout.seen_small),
            "studied": _array(scout.seen_full),
            "doubtful_looks": scout.doubtful_looks,
            "live": [_track(track) for track in scout.live],
            "thumbnail": _array(carry.shot.thumbnail) if carry.shot else None,
            "usual_change": carry.shot.usual_change if carry.shot else None,
            "positives": [_array(row) for row in carry.gallery.positives],
            "negatives": [_array(row) for row in carry.gallery.negatives],
            "accepted": sorted(carry.accepted),
            "waiting": [[one.track, _array(one.centre), one.similarity, one.limit] for one in carry.waiting],
        },
        separators=(",", ":"),
    )


def carry_from_json(text: str) -> Carry:
    """Read what `carry_to_json` wrote; an empty text is the carry of a video's start. Raise InputError for others."""
    if not text:
        return Carry()
    try:
        data = json.loads(text)
        if data["format"] != FORMAT:
            raise ValueError(f"format {data['format']!r}, expected {FORMAT}")
        thumbnail = _from_array(data["thumbnail"])
        return Carry(
            scout=ScoutState(
                next_track=int(data["next_track"]),
                shot=int(data["shot"]),
                live=tuple(_from_track(track) for track in data["live"]),
                interval=int(data["interval"]),
                last_look=data["last_look"],
                last_full_look=data["last_full_look"],
                last_whole_look=data["last_whole_look"],
                look_thumbnail=_from_array(data["look_thumbnail"]),
                seen_small=_from_array(data["glanced"]),
                seen_full=_from_array(data["studied"]),
                doubtful_looks=int(data["doubtful_looks"]),
            ),
            shot=None if thumbnail is None else ShotState(thumbnail, float(data["usual_change"])),
            gallery=Gallery(_rows(data["positives"]), _rows(data["negatives"])),
            waiting=tuple(
                ReviewTrack(int(track), _needed(centre), float(similarity), float(limit))
                for track, centre, similarity, limit in data["waiting"]
            ),
            accepted=frozenset(int(number) for number in data["accepted"]),
        )
    except (ValueError, KeyError, TypeError) as problem:
        raise InputError(
            f"the saved state of an interrupted extraction cannot be read: {problem!r}",
            hint="start the extraction from the beginning",
        ) from problem


def _track(track: Track) -> dict[str, object]:
    return {
        "id": track.id,
        "shot": track.shot,
        "sightings": [
            [one.frame, one.pts, one.face.detection_score, _array(one.face.bbox), _array(one.face.landmarks_5)]
            for one in track.sightings
        ],
        "samples": [[one.frame, one.clarity, _array(one.embedding), asdict(one.quality)] for one in track.samples],
    }


def _from_track(data: Any) -> Track:
    sightings = tuple(
        Sighting(int(frame), Face(_needed(box), float(score), _from_array(points)), pts)
        for frame, pts, score, box, points in data["sightings"]
    )
    samples = tuple(
        Sample(int(frame), _needed(embedding), float(clarity), _from_quality(quality))
        for frame, clarity, embedding, quality in data["samples"]
    )
    return Track(int(data["id"]), int(data["shot"]), sightings, samples)


def _from_quality(data: Mapping[str, float]) -> FaceQuality:
    """Earlier dflds measured more of a face than is used: that is left out."""
    return FaceQuality(float(data["width_px"]), float(data["yaw_degrees"]), float(data["outside"]))


def _array(array: NDArray[np.generic] | None) -> list[object] | None:
    if array is None:
        return None
    little = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"))
    return [array.dtype.name, list(array.shape), base64.b64encode(little.tobytes()).decode("ascii")]


def _from_array(data: Any) -> NDArray[Any] | None:
    if data is None:
        return None
    name, shape, text = data
    if name not in ("float32", "float64", "uint8"):
        raise ValueError(f"an array of {name!r}")
    dtype = np.dtype(name).newbyteorder("<")
    return np.frombuffer(base64.b64decode(text, validate=True), dtype).reshape(shape).astype(np.dtype(name))


def _needed(data: object) -> NDArray[np.float32]:
    array = _from_array(data)
    if array is None:
        raise ValueError("an array is missing")
    return array


def _rows(data: Iterable[object]) -> tuple[NDArray[np.float32], ...]:
    return tuple(_needed(row) for row in data)
