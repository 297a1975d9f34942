"""A backend that several threads may use, one at a time, and that adds up how long each of its tasks takes."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend, BackendInfo
from engine.search.looks import near_side
from engine.stopwatch import Stopwatch
from engine.types import Face, Image


class TimedBackend:
    """Passes everything on to `backend`; same contract, but any thread may call: they wait for each other."""

    def __init__(self, backend: Backend, watch: Stopwatch) -> None:
        self._backend = backend
        self._watch = watch
        self._lock = threading.Lock()

    @property
    def info(self) -> BackendInfo:
        return self._backend.info

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
        with self._lock, self._watch.stage(self._stage(side_px)):
            return self._backend.detect(image, min_confidence=min_confidence, side_px=side_px)

    def detect_each(
        self, images: Sequence[Image], *, min_confidence: float = 0.5, side_px: int | None = None
    ) -> list[list[Face]]:
        with self._lock, self._watch.stage(self._stage(side_px)):
            return self._backend.detect_each(images, min_confidence=min_confidence, side_px=side_px)

    def landmarks_68(self, image: Image, faces: Sequence[Face]) -> NDArray[np.float32]:
        with self._lock, self._watch.stage("landmarks"):
            return self._backend.landmarks_68(image, faces)

    def recognition_crop(self, image: Image, face: Face) -> Image:
        with self._lock, self._watch.stage("recognise"):
            return self._backend.recognition_crop(image, face)

    def embed(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        with self._lock, self._watch.stage("recognise"):
            return self._backend.embed(crops)

    def _stage(self, side_px: int | None) -> str:
        """Searches near known faces are cut-outs of one small size; all else is looking for faces."""
        return "follow" if side_px == near_side(self.info.detection_side_px) else "detect"
