"""ArcFace-style recognisers: square crops in, embeddings of unit length out, and when two faces are one person.

insightface's own wrapper (ArcFaceONNX) normalises the crops and runs the graph; what stands here is how many go into a
run, which graphs with a fixed batch decide themselves, and what is known of each recogniser.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.models.model_files import hash_of_model_file
from engine.models.onnx_session import Session
from engine.types import Image

# Where ArcFace-style networks expect the five points in a 112 px crop (insightface.utils.face_align.arcface_dst).
ARCFACE_POINTS_112 = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)
# Largest number of crops in one run: bounds memory; a GPU is saturated well below.
BATCH = 64


# Raw cosine from which two faces are one person. For w600k_r50 insightface's own evaluation (ICCV21-MFR, all pairs)
# puts a false accept rate of 1e-6 at 0.4078, with 91 % of true pairs above; its GUI and server use 0.40 for every pack.
# That is the rule for recognisers that are not in the table, with a warning to calibrate.
DEFAULT_THRESHOLD = 0.40
THRESHOLDS = MappingProxyType(
    {
        "w600k_r50": 0.40,  # buffalo_l, buffalo_m
        "w600k_mbf": 0.40,  # buffalo_s, buffalo_sc: insightface's value, not measured here
        "glintr100": 0.40,  # antelopev2: likewise
        # A 128-d MobileFaceNet, by its hash since its name says little. benchmarks/match_pairs.py: 35 same-person pairs
        # from 0.59 up, 70 different pairs up to 0.21; the most alike two of six actors in another photo reach 0.42 as a
        # single pair, while blurred faces of the right person lie at 0.39.
        "e72a5710cce378dc46472b6b845cb90647634f2738d8c3e581735cf195b9866f": 0.40,
    }
)


class ArcFaceModel(Protocol):
    """What of insightface's ArcFaceONNX is used."""

    session: Session
    input_size: tuple[int, int]
    input_shape: Sequence[int | str | None]
    """Of a batch of crops: a text or None where any size goes."""

    def get_feat(self, crops: Sequence[Image]) -> NDArray[np.float32]: ...


class Recogniser:
    """A recogniser, given insightface's wrapper of its open session."""

    def __init__(self, model: ArcFaceModel) -> None:
        self._model = model

    @property
    def session(self) -> Session:
        """What the graph is run with; another session of the same graph may be put in its place."""
        return self._model.session

    @session.setter
    def session(self, session: Session) -> None:
        self._model.session = session

    @property
    def side_px(self) -> int:
        """Sides of the square crop that it reads."""
        return int(self._model.input_size[0])

    def embed(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """Given one crop or more, return (len(crops), D), unit length, in as few runs as the graph allows."""
        fixed = self._model.input_shape[0]
        step = fixed if isinstance(fixed, int) else BATCH
        rows = []
        for start in range(0, len(crops), step):
            batch = list(crops[start : start + step])
            missing = step - len(batch) if isinstance(fixed, int) else 0
            rows.append(self._model.get_feat(batch + batch[-1:] * missing)[: len(batch)])
        embeddings = np.concatenate(rows).astype(np.float32)
        lengths = np.linalg.norm(embeddings, axis=1, keepdims=True)
        return np.asarray(embeddings / np.maximum(lengths, 1e-12), dtype=np.float32)

    def try_out(self) -> int:
        """Run it once and return the size of an embedding. Raise ValueError where its answer is no list of values."""
        width, height = self._model.input_size
        fixed = self._model.input_shape[0]
        blank = [np.zeros((height, width, 3), dtype=np.uint8)] * (fixed if isinstance(fixed, int) else 1)
        answer = self._model.get_feat(blank)
        if answer.ndim != 2:
            raise ValueError(f"it answers with an array of shape {answer.shape}, expected (batch, size)")
        return int(answer.shape[1])


def threshold_of(recogniser: Path) -> float | None:
    """Return the calibrated raw cosine from which two faces are one person; None for an unknown recogniser."""
    return THRESHOLDS.get(recogniser.stem, THRESHOLDS.get(hash_of_model_file(recogniser)))


def arcface_points(size_px: int) -> NDArray[np.float64]:
    """Return where the five points go in a crop of `size_px`: 112 px scaled, or 128 px with 8 px at each side."""
    if size_px % 112 == 0:
        return ARCFACE_POINTS_112 * (size_px / 112)
    ratio = size_px / 128
    return ARCFACE_POINTS_112 * ratio + [8.0 * ratio, 0.0]
