"""The given face in every frame of its shot, in one direction, while it stays the same face.

It is looked for near where its motion leads it. After some frames without it, only a face that the recogniser takes for
the same is it again. Whether it became somebody else without ever being lost, which happens where people cross, is
asked of the whole track at the end (engine.tracks.splitting).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from engine.frames.contract import DecodedFrame, region_round
from engine.identity.same_person import resemblance
from engine.search.follow import GAP_MAX, GIVE_UP_AFTER, SEARCH_REACH
from engine.search.looks import look_near
from engine.search.observer import Observer
from engine.steps import Step
from engine.tracks.splitting import split_frame
from engine.tracks.track import Sample, Sighting, Track, centre_of, predict
from engine.types import Face

SAMPLE_EVERY = 6
"""The recogniser is asked about one face in so many: four a second."""


@dataclass(frozen=True, eq=False)
class Followed:
    """What was seen of a face in one direction, in the order in which it was looked for."""

    sightings: tuple[Sighting, ...]
    samples: tuple[Sample, ...]
    refused: tuple[Sighting, ...]
    """Faces in its place, after some frames without it, that the recogniser does not take for it."""
    is_lost: bool
    """It was lost before the frames ended."""


class GivenFace:
    """A face that is being followed in one direction; for one thread."""

    def __init__(self, observer: Observer, start: Sighting, sample: Sample) -> None:
        self._observer = observer
        self._same = observer.backend.info.default_threshold
        self._latest = Track(0, 0, (replace(start, frame=0),))
        """Its last two sightings, with frames counted from the start in the direction of the search."""
        self._first = start.frame
        self._misses = 0
        self._seen = 0
        self._sightings: list[Sighting] = []
        self._refused: list[Sighting] = []
        self._samples = [sample]

    def follow(self, frames: Iterable[DecodedFrame], step: Step) -> None:
        """Look for it in frames, each one further than the one before, until it is lost."""
        for decoded in frames:
            step()
            self._look(decoded)
            if self.is_lost:
                return

    @property
    def is_lost(self) -> bool:
        return self._misses > GAP_MAX

    @property
    def followed(self) -> Followed:
        return Followed(tuple(self._sightings), tuple(self._samples[1:]), tuple(self._refused), self.is_lost)

    def _look(self, decoded: DecodedFrame) -> None:
        place = abs(decoded.index - self._first)
        box = predict(self._latest, place) if not self._misses else self._latest.last.face.bbox.astype(np.float64)
        pixels = decoded.to_frame(region_round([box], SEARCH_REACH)).pixels
        observer = self._observer
        face = look_near(observer.backend, pixels, self._latest.last.face, box, observer.min_confidence)
        if face is None:
            self._misses += 1
            return
        sighting = Sighting(decoded.index, face, decoded.pts)
        if self._misses >= GIVE_UP_AFTER and not self._is_it(decoded, face):
            self._misses += 1
            self._refused.append(sighting)
            return
        self._misses = 0
        self._seen += 1
        if self._seen % SAMPLE_EVERY == 0:
            self._samples += observer.sample(decoded, [face])
        self._sightings.append(sighting)
        self._latest = replace(
            self._latest, sightings=(self._latest.last, Sighting(place, face)) if place else (Sighting(0, face),)
        )

    def _is_it(self, decoded: DecodedFrame, face: Face) -> bool:
        (sample,) = self._observer.sample(decoded, [face])
        known = centre_of(self._samples, self._observer.identity.metric)
        return resemblance(known, sample.embedding, self._observer.identity.metric) >= self._same


def refused_track(back: Followed, on: Followed, track: Track) -> Track | None:
    """Return the faces between those of the track that are somebody else's, as a track of its own; None for none."""
    first, last = track.sightings[0].frame, track.last.frame
    found = [one for one in (*back.refused, *on.refused) if first < one.frame < last]
    return Track(1, 0, tuple(sorted(found, key=lambda one: one.frame))) if found else None


def track_of(start: Sighting, sample: Sample, back: Followed, on: Followed, observer: Observer) -> Track:
    """Return the track of a face that was followed both ways, without the parts in which it is somebody else."""
    sightings = sorted((*back.sightings, start, *on.sightings), key=lambda one: one.frame)
    samples = sorted((*back.samples, sample, *on.samples), key=lambda one: one.frame)
    track = Track(0, 0, tuple(sightings), tuple(samples))
    metric, same = observer.identity.metric, observer.backend.info.default_threshold
    while (frame := split_frame(track, metric, same)) is not None:
        is_before = start.frame < frame
        kept = [one for one in track.sightings if (one.frame < frame) == is_before]
        left = [one for one in track.samples if (one.frame < frame) == is_before]
        track = replace(track, sightings=tuple(kept), samples=tuple(left))
    return track
