"""The opencv_cascade backend: OpenCV's Haar cascade finds faces, dlib's models mark and distinguish them.

The lightest detector, for machines where even HOG is too slow; it sees upright frontal faces only. The image is
scaled so that its longer side is DETECTION_SIDE_PX, at most doubled; faces from 40 px of that are found.

Confidence is made of the weight that the cascade's last stage gives a box: 1 / (1 + exp(−2·(weight − 107))). On
labelled footage true faces weigh 107.8 to 109.2 (5th to 95th percentile: 0.83 to 0.99), false ones 106.3 to 107.05
(0.20 to 0.52).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import BackendInfo
from engine.backends.dlib import dlib_info, faces_from_boxes, landmarks_of
from engine.errors import ModelError
from engine.faces.warps import scale_to
from engine.models.dlib_models import DlibDescriptor, DlibLandmarks
from engine.models.model_files import LICENCE_OPENCV, describe_model_file, require_model_file
from engine.types import Face, Image

# Of OpenCV's three frontal cascades the one with the fewest false boxes: over 90 labelled frames 4 beside 69 true
# ones; frontalface_alt2 6 beside 70, frontalface_default 25 beside 69. Equalising the picture first only adds some.
CASCADE_FILE = "haarcascade_frontalface_alt.xml"
DETECTION_SIDE_PX = 960
"""Longest side at which the cascade looks: what is lightest is to stay light, and larger costs by its square."""
# As for dlib: upsampling further makes boxes from noise.
MAX_UPSCALE = 2.0
# OpenCV's own default: how much larger the window is in each pass.
SCALE_STEP = 1.1
# Overlapping windows that must agree before a box counts at all.
MIN_NEIGHBOURS = 3
# Of the scaled picture: smaller windows, twice the cascade's own 20 px, answer to texture.
SMALLEST_FACE_PX = 40

# Of the curve from weights to 0..1: see above.
MIDDLE_WEIGHT = 107.0
WEIGHT_STEEPNESS = 2.0

# dlib's square within the cascade's (unit square): side and centre, fitted over 69 boxes of faces with known points.
# Haar boxes reach higher up the forehead.
HOG_SIDE_IN_BOX = 0.89
HOG_CENTRE_IN_BOX = (0.5, 0.59)


class OpencvCascadeBackend:
    """Detect by Haar cascade, mark and embed by dlib; see the module."""

    def __init__(self, *, device: str = "auto") -> None:
        """Load the models. Raise ModelError when a file is missing or damaged, or when `device` is "cuda"."""
        import cv2

        if device == "cuda":
            raise ModelError(
                "the GPU was asked for, but opencv_cascade runs on the CPU only; nothing was run",
                hint="use `--backend insightface` with `make install-gpu`, or `--device cpu`",
            )
        path = require_model_file(Path(cv2.__file__).parent / "data" / CASCADE_FILE)
        self._cascade = cv2.CascadeClassifier(str(path))
        if self._cascade.empty():
            raise ModelError(f"model file {path} cannot be loaded by OpenCV", hint="reinstall opencv-python")
        self._landmarks = DlibLandmarks()
        self._descriptor = DlibDescriptor()
        detection = describe_model_file(path, task="detection", licence=LICENCE_OPENCV)
        self._info = dlib_info(
            "opencv_cascade",
            detection,
            self._landmarks,
            self._descriptor,
            device="cpu",
            detection_side_px=DETECTION_SIDE_PX,
        )

    @property
    def info(self) -> BackendInfo:
        return self._info

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
        """Given an image, find faces scored at least `min_confidence` (0..1), largest bbox first; see the contract."""
        import cv2

        scaled, scale = scale_to(image, side_px or DETECTION_SIDE_PX, at_most=MAX_UPSCALE)
        grey = cv2.cvtColor(scaled, cv2.COLOR_BGR2GRAY)
        boxes, _, weights = self._cascade.detectMultiScale3(
            grey,
            scaleFactor=SCALE_STEP,
            minNeighbors=MIN_NEIGHBOURS,
            minSize=(SMALLEST_FACE_PX, SMALLEST_FACE_PX),
            outputRejectLevels=True,
        )
        squares = hog_squares(np.array(boxes, dtype=np.float64).reshape(-1, 4)) / scale
        confidences = confidence_of(np.array(weights, dtype=np.float64).reshape(-1))
        return faces_from_boxes(image, squares, confidences, min_confidence, self._landmarks)

    def detect_each(
        self, images: Sequence[Image], *, min_confidence: float = 0.5, side_px: int | None = None
    ) -> list[list[Face]]:
        """Detect in one image after the other; see the contract."""
        return [self.detect(image, min_confidence=min_confidence, side_px=side_px) for image in images]

    def landmarks_68(self, image: Image, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Given faces of this image, return their 68 iBUG points: (len(faces), 68, 2) px."""
        return landmarks_of(image, faces, self._landmarks)

    def recognition_crop(self, image: Image, face: Face) -> Image:
        """Cut the 150 px chip that the descriptor reads."""
        return self._descriptor.crop(image, self.landmarks_68(image, [face])[0])

    def embed(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """Given recognition crops, return (len(crops), 128)."""
        return self._descriptor.embed(crops)


def confidence_of(weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map the last stage's weights onto 0..1; see the module."""
    return np.asarray(1.0 / (1.0 + np.exp(-WEIGHT_STEEPNESS * (weights - MIDDLE_WEIGHT))))


def hog_squares(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Given (N, 4) Haar boxes as x, y, width, height, return the squares that dlib's HOG would give: x1, y1, x2, y2."""
    centres = boxes[:, :2] + boxes[:, 2:] * HOG_CENTRE_IN_BOX
    halves = boxes[:, 2:] * (HOG_SIDE_IN_BOX / 2)
    return np.concatenate([centres - halves, centres + halves], axis=1)
