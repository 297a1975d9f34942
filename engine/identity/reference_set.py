"""A set of reference photos as embeddings: its clusters, its weights, what does not fit, and what "no face" is.

Pure arithmetic but for `measure_blank`, which asks the backend. Reading photos is engine.identity.reference_photos.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.identity.embedding import embed_faces
from engine.identity.same_person import similarities_to, similarity_to
from engine.types import Image, Metric

Rows = NDArray[np.float32]

DUPLICATE_EXTRA = 0.5
"""Photos closer than half-way from the threshold to 1 are takes of one moment: together they count once."""
CLUSTERS_MAX = 4
"""Frontal and both sides, at two ages, is about what a set of photos distinguishes; each more costs threshold."""
PHOTOS_PER_CLUSTER = 3
"""Fewer photos than this make no centre steadier than themselves."""
SILHOUETTE_MIN = 0.10
"""Below this a split of the set is noise."""
MIXED_BELOW = 0.10
"""Groups of photos of which no two reach the threshold less this are different people: the two best-linked people of
30 reach 0.42 - but groups link by their best pair, and a person's photos form a chain through pose and age."""
BLANK_SIDES = (5, 7, 9)
"""Photos are shrunk to so few px and enlarged again: nobody can be recognised in them."""
BLANK_BLURS = (0.08, 0.125)
"""Standard deviation of blurs, as fractions of the crop's side, that leave nothing either."""
KMEANS_ROUNDS = 50
"""Bounds a set that swings between two answers; others settle long before."""


def duplicate_weights(embeddings: Rows, metric: Metric, threshold: float) -> NDArray[np.float64]:
    """Given (N, D) photos, return (N,) weights: near-duplicates share one."""
    close = similarities_to(embeddings, embeddings, metric) >= threshold + DUPLICATE_EXTRA * (1.0 - threshold)
    np.fill_diagonal(close, True)
    return np.asarray(1.0 / close.sum(axis=1))


def weighted_mean(embeddings: Rows, weights: NDArray[np.float64], metric: Metric) -> Rows:
    """Return the (D,) weighted mean, of unit length where the metric is cosine."""
    mean = (embeddings.astype(np.float64) * weights[:, None]).sum(axis=0) / weights.sum()
    if metric == "cosine":
        mean = mean / max(float(np.linalg.norm(mean)), 1e-12)
    return np.asarray(mean, np.float32)


def cluster_centres(embeddings: Rows, weights: NDArray[np.float64], metric: Metric) -> Rows:
    """Given (N, D) photos, return (K, D) centres; pose and age are what separates photos of one person.

    K is the number up to CLUSTERS_MAX whose silhouette is best, 1 when none separates or photos are few. Spherical
    k-means from far-apart photos: the same set gives the same centres.
    """
    best, best_score = [np.arange(len(embeddings))], SILHOUETTE_MIN
    for count in range(2, min(CLUSTERS_MAX, round(weights.sum()) // PHOTOS_PER_CLUSTER) + 1):
        labels = _k_means(embeddings, weights, count, metric)
        groups = [np.flatnonzero(labels == k) for k in range(count)]
        if min(weights[group].sum() for group in groups) < PHOTOS_PER_CLUSTER - 1e-6:
            continue
        score = _silhouette(similarities_to(embeddings, embeddings, metric), labels)
        if score > best_score:
            best, best_score = groups, score
    return np.stack([weighted_mean(embeddings[group], weights[group], metric) for group in best])


def leave_one_out(embeddings: Rows, weights: NDArray[np.float64], metric: Metric) -> NDArray[np.float64]:
    """Return how similar each photo is to the mean of the others: (N,); nan for a photo alone."""
    values = np.full(len(embeddings), np.nan)
    for place in range(len(embeddings)):
        others = np.arange(len(embeddings)) != place
        if others.any():
            mean = weighted_mean(embeddings[others], weights[others], metric)
            values[place] = similarity_to(embeddings[place : place + 1], mean, metric)[0]
    return values


def people_in(embeddings: Rows, metric: Metric, threshold: float) -> list[list[int]]:
    """Group photos that are linked by pairs of at least the threshold less MIXED_BELOW; largest group first.

    One group is one person. Two groups are two people, or one who changed beyond recognition: a person must say.
    """
    linked = similarities_to(embeddings, embeddings, metric) >= threshold - MIXED_BELOW
    left = set(range(len(embeddings)))
    groups = []
    while left:
        group, edge = set(), {min(left)}
        while edge:
            group |= edge
            edge = {other for one in edge for other in np.flatnonzero(linked[one]).tolist()} & left - group
        left -= group
        groups.append(sorted(group))
    return sorted(groups, key=lambda group: (-len(group), group))


def measure_blank(backend: Backend, crops: Sequence[Image], embeddings: Rows) -> tuple[Rows, tuple[float, float]]:
    """Given recognition crops of clear photos and their embeddings, find where unrecognisable faces lie.

    Returns the centre of the photos' embeddings after blurring them beyond recognition, and the similarity to it of
    the clear photos and of the blurred ones (Identity.blank, Identity.blank_range).
    """
    blurred = [picture for crop in crops for picture in _unrecognisable(crop)]
    rows, metric = embed_faces(backend, blurred), backend.info.metric
    centre = weighted_mean(rows, np.ones(len(rows)), metric)
    clear = float(np.median(similarity_to(embeddings, centre, metric)))
    return centre, (clear, float(np.median(similarity_to(rows, centre, metric))))


def _unrecognisable(crop: Image) -> list[Image]:
    side = crop.shape[0]
    shrunk = [cv2.resize(crop, (px, px), interpolation=cv2.INTER_AREA) for px in BLANK_SIDES]
    pictures = [cv2.resize(small, crop.shape[1::-1], interpolation=cv2.INTER_CUBIC) for small in shrunk]
    pictures += [cv2.GaussianBlur(crop, (0, 0), share * side) for share in BLANK_BLURS]
    return [np.asarray(picture, np.uint8) for picture in pictures]


def _k_means(embeddings: Rows, weights: NDArray[np.float64], count: int, metric: Metric) -> NDArray[np.intp]:
    centres = [weighted_mean(embeddings, weights, metric)]
    while len(centres) <= count:  # the mean finds the first far photo, then goes
        nearest = similarities_to(embeddings, np.stack(centres), metric).max(axis=1)
        centres.append(embeddings[int(nearest.argmin())])
    table = np.stack(centres[1:])
    labels = similarities_to(embeddings, table, metric).argmax(axis=1)
    for _ in range(KMEANS_ROUNDS):
        table = np.stack(
            [
                weighted_mean(embeddings[labels == k], weights[labels == k], metric)
                if (labels == k).any()
                else table[k]
                for k in range(count)
            ]
        )
        again = similarities_to(embeddings, table, metric).argmax(axis=1)
        if (again == labels).all():
            break
        labels = again
    return np.asarray(labels)


def _silhouette(likeness: NDArray[np.float64], labels: NDArray[np.intp]) -> float:
    """Mean silhouette with 1 - similarity as the distance (Rousseeuw 1987)."""
    away, values = 1.0 - likeness, []
    for place, label in enumerate(labels):
        own = (labels == label) & (np.arange(len(labels)) != place)
        if not own.any():
            values.append(0.0)
            continue
        inner = float(away[place, own].mean())
        outer = min(float(away[place, labels == other].mean()) for other in set(labels.tolist()) - {int(label)})
        values.append((outer - inner) / max(inner, outer, 1e-9))
    return float(np.mean(values))
