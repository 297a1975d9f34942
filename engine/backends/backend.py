"""The contract of a backend: a set of models that finds faces, marks 68 points and distinguishes people.

One file per set of models; each is opened by `engine.backends.catalog.open_backend`. Everything above this line
of the engine talks to this Protocol alone, and tests/engine/backends/test_backends.py holds every backend to it.

Images are (H, W, 3) uint8 BGR. Coordinates are px of the image handed in. No method keeps a reference to an
image, writes to it, or depends on calls before it. A backend may be used from one thread at a time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.models.model_files import ModelFile
from engine.types import Face, Image, Metric


@dataclass(frozen=True)
class BackendInfo:
    """What a backend is made of: written into every log, shown by `dfld backends`."""

    name: str
    models: tuple[ModelFile, ...]
    recognition_model: str
    """Name of the recogniser; embeddings are comparable only when this is equal."""
    embedding_size: int
    metric: Metric
    default_threshold: float
    """Raw similarity from which two faces are taken for one person, calibrated per recogniser."""
    device: str
    """What really runs: `CPUExecutionProvider`, `CUDAExecutionProvider`, `cpu` …"""
    versions: Mapping[str, str]
    """Libraries that decide the numbers: onnxruntime, insightface, dlib …"""
    detection_side_px: int = 640
    """Longest side of the picture that `detect` looks at by itself; a larger one may be handed in scaled down to it."""
    warnings: tuple[str, ...] = ()
    """What a person should know before trusting the speed or the numbers, as "the GPU is idle because …"."""


class Backend(Protocol):
    """Detect faces, mark points, and embed."""

    @property
    def info(self) -> BackendInfo: ...

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
        """Given an image, find faces scored at least `min_confidence` (0..1), largest bbox first.

        `side_px`: scale the longer side to this for the search, for small cut-outs round a known face; None = the
        backend's own size.
        """
        ...

    def detect_each(
        self, images: Sequence[Image], *, min_confidence: float = 0.5, side_px: int | None = None
    ) -> list[list[Face]]:
        """`detect` in each of several images; those of one size may share a run of the model, which changes nothing."""
        ...

    def landmarks_68(self, image: Image, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Given faces of this image, return their 68 iBUG points: (len(faces), 68, 2) px."""
        ...

    def recognition_crop(self, image: Image, face: Face) -> Image:
        """Cut the small aligned picture that the recogniser reads; its size is the backend's own business.

        Crops outlive their frame: a track keeps the crops of its best samples and embeds them in one batch.
        """
        ...

    def embed(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """Given recognition crops, return (len(crops), D) embeddings; unit length where the metric is cosine.

        A batch equals its crops one by one (to 1e-4), so batching may never change a decision. In half precision on a
        GPU similarities hold to engine.models.half_precision.SIMILARITY_CHANGE_MAX.
        """
        ...
