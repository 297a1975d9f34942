"""Are two faces the same person? The similarity of embeddings, and the limits it is held against. Pure.

Similarity is raw, in the backend's own metric, and larger is closer: the cosine of the angle between two
embeddings, or 1 − their Euclidean distance. Two clear faces of one video count as one person from the recogniser's
default on; a track is the person of the reference photos from `Rule.threshold` on, corrected for the number of
references, and a little below it where it resembles sure tracks of its own video (`known_in_video`).
How the faces of a track are put together, and what else is weighed, is engine.tracks.verdicts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.types import Embedding, Identity, Metric

REVIEW_WIDTH = 0.10
"""Below the threshold: about one standard deviation of strangers' similarities, so a person's look is worth it."""
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


@dataclass(frozen=True)
class Rule:
    """The limits of one run."""

    threshold: float
    """Track similarity from which a track is accepted, before the correction for the number of references."""
    same_person: float
    """Similarity of two clear faces of one video from which they count as one person: the recogniser's default."""


def similarity(embeddings: NDArray[np.floating], identity: Identity) -> NDArray[np.float64]:
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
    best_centre = similarities_to(embeddings, centres_of(identity), identity.metric).max(axis=1)
    raw = similarities_to(embeddings, identity.embeddings, identity.metric)
    top = np.sort(raw, axis=1)[:, ::-1][:, :TOP_RAW].mean(axis=1)
    return np.asarray((best_centre + top) / 2.0)


def similarity_to(
    embeddings: NDArray[np.floating], reference: NDArray[np.floating], metric: Metric
) -> NDArray[np.float64]:
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


def similarities_to(
    embeddings: NDArray[np.floating], references: NDArray[np.floating], metric: Metric
) -> NDArray[np.float64]:
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


def known_in_video(likeness: float, in_video: float, limit: float) -> bool:
    """Say whether a track short of `limit` is the person all the same, by its likeness to the video's sure tracks."""
    return (
        in_video >= limit + IN_VIDEO_EXTRA
        and likeness >= limit - IN_VIDEO_FLOOR
        and likeness + in_video >= 2 * limit + IN_VIDEO_SUM
    )


def centres_of(identity: Identity) -> NDArray[np.float32]:
    return identity.mean[None, :] if identity.centres is None else identity.centres


def resemblance(first: Embedding, second: Embedding, metric: Metric) -> float:
    """Return the similarity of two embeddings in the recogniser's own measure."""
    if metric == "cosine":
        return float(first @ second) / max(1e-9, float(np.linalg.norm(first) * np.linalg.norm(second)))
    return 1.0 - float(np.linalg.norm(first - second))
