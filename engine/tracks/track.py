"""A track: one face through one shot, with the frames that saw it and the embeddings that were made of it. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.faces.boxes import centre
from engine.faces.quality import FaceQuality
from engine.types import Embedding, Face, Metric

GOOD_CLARITY = 0.5
"""From here on an embedding may contradict geometry: forbid a link, or split a track."""
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
    """0..1, engine.faces.quality.clarity: how much the embedding may count."""
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
