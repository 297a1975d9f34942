"""The dlib backend: works offline from PyPI packages alone.

Detection by dlib's HOG detector, then the 68-point predictor and the 128-d descriptor.

HOG sees upright, fairly frontal faces whose box is 80 px or more. The image is therefore scaled so that its longer
side is DETECTION_SIDE_PX (but at most doubled): in a 1280 px wide frame faces from about 80 px are found,
in a 640 px one from 40 px. Time grows with the square of it: about 60 ms for 1280 x 720 on one core.

dlib's scores have no upper end. Confidence is 1 / (1 + exp(−2·score)): dlib's own threshold 0 becomes 0.5, a clear
face (score 1) 0.88, and 0.12 (score −1) lets in much that is not a face.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import BackendInfo
from engine.errors import ModelError
from engine.faces.warps import five_of_68, scale_to
from engine.models.dlib_models import (
    DESCRIPTOR_MODEL,
    DESCRIPTOR_SIZE,
    DESCRIPTOR_THRESHOLD,
    DlibDescriptor,
    DlibLandmarks,
    import_dlib,
)
from engine.models.model_files import (
    LICENCE_DLIB_CODE,
    ModelFile,
    describe_built_in,
)
from engine.types import Face, Image

DETECTION_SIDE_PX = 1280
"""Longest side at which the detector looks: see above what it finds at this size and what it costs."""
# Upsampling further makes boxes from noise and costs four times as much a step.
MAX_UPSCALE = 2.0
# Of the curve from dlib's scores to 0..1: see above.
SCORE_STEEPNESS = 2.0
# Below this score HOG answers with texture; confidences down to 0 are served by it.
LOWEST_SCORE = -1.0

# dlib's HOG detector is five in one: frontal, turned left, turned right, and these two, which answer to rolled heads.
# Marking a head rolled by 32 to 46 degrees from a box taken as upright puts its points 0.3 eye distances off; from one
# taken as rolled by 30 degrees, 0.1.
HOG_PART_ROLL_DEG = MappingProxyType({3: -30.0, 4: 30.0})


class DlibBackend:
    """Detect, mark and embed with dlib alone; see the module."""

    def __init__(self, *, device: str = "auto") -> None:
        """Load the models. Raise ModelError when dlib or a file is missing, damaged, or cannot use `device`."""
        self._hog = import_dlib().get_frontal_face_detector()
        detection = describe_built_in("dlib frontal HOG", task="detection", licence=LICENCE_DLIB_CODE)
        self._landmarks = DlibLandmarks()
        self._descriptor = DlibDescriptor()
        self._info = dlib_info(
            "dlib",
            detection,
            self._landmarks,
            self._descriptor,
            device=device,
            detection_side_px=DETECTION_SIDE_PX,
        )

    @property
    def info(self) -> BackendInfo:
        return self._info

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
        """Given an image, find faces scored at least `min_confidence` (0..1), largest bbox first."""
        scaled, scale = scale_to(image, side_px or DETECTION_SIDE_PX, at_most=MAX_UPSCALE)
        lowest = max(LOWEST_SCORE, score_of(min_confidence))
        boxes, scores, rolls = self._boxes(scaled, lowest)
        return faces_from_boxes(image, boxes / scale, confidence_of(scores), min_confidence, self._landmarks, rolls)

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

    def _boxes(
        self, image: Image, lowest: float
    ) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
        """Run the detector; return (N, 4) boxes in px of the scaled image, dlib's scores, and the rolls in degrees."""
        import cv2

        rectangles, scores, parts = self._hog.run(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), 0, lowest)
        rolls = [HOG_PART_ROLL_DEG.get(part, 0.0) for part in parts]
        # A dlib rectangle holds its last pixel: its right edge is one px further.
        boxes = [(one.left(), one.top(), one.right() + 1, one.bottom() + 1) for one in rectangles]
        return np.array(boxes, dtype=np.float64).reshape(-1, 4), np.array(scores, dtype=np.float64), np.array(rolls)


def confidence_of(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Map dlib's scores onto 0..1; see the module."""
    return np.asarray(1.0 / (1.0 + np.exp(-SCORE_STEEPNESS * scores)))


def score_of(confidence: float) -> float:
    """Undo `confidence_of`: the dlib score that has this confidence; ±infinity at the ends."""
    if confidence <= 0.0:
        return -np.inf
    return float(np.log(confidence / (1.0 - confidence)) / SCORE_STEEPNESS) if confidence < 1.0 else np.inf


def faces_from_boxes(
    image: Image,
    boxes: NDArray[np.float64],
    confidences: NDArray[np.float64],
    min_confidence: float,
    landmarks: DlibLandmarks,
    rolls_deg: NDArray[np.float64] | None = None,
) -> list[Face]:
    """Given HOG-like boxes in image px, mark each and return the faces with five points, largest bbox first."""
    faces = []
    rolls = np.zeros(len(boxes)) if rolls_deg is None else rolls_deg
    for box, confidence, roll in zip(boxes, confidences, rolls, strict=True):
        if confidence >= min_confidence:
            five = five_of_68(landmarks.from_box(image, box, rolled_deg=float(roll)))
            faces.append(Face(bbox=box, detection_score=float(min(confidence, 1.0)), landmarks_5=five))
    return sorted(faces, key=lambda face: -face.width_px * face.height_px)


def landmarks_of(image: Image, faces: Sequence[Face], landmarks: DlibLandmarks) -> NDArray[np.float32]:
    """Given faces of this image, return (len(faces), 68, 2) px; a face without five points is marked by its bbox."""
    rows = [
        landmarks.from_box(image, face.bbox)
        if face.landmarks_5 is None
        else landmarks.from_five_points(image, face.landmarks_5)
        for face in faces
    ]
    return np.array(rows, dtype=np.float32).reshape(len(faces), 68, 2)


def dlib_info(
    name: str,
    detection: ModelFile,
    landmarks: DlibLandmarks,
    descriptor: DlibDescriptor,
    *,
    device: str,
    detection_side_px: int,
) -> BackendInfo:
    """Describe a backend that distinguishes people by dlib's descriptor. Raise ModelError when CUDA cannot be had."""
    dlib = import_dlib()
    on_gpu = bool(dlib.DLIB_USE_CUDA) and device != "cpu"
    if device == "cuda" and not on_gpu:
        raise ModelError(
            f"the GPU was asked for, but this build of dlib ({dlib.__version__}) has no CUDA; nothing was run",
            hint="use `--backend insightface` with `make install-gpu`, or `--device cpu`",
        )
    return BackendInfo(
        name=name,
        models=(detection, landmarks.model_file, descriptor.model_file),
        recognition_model=DESCRIPTOR_MODEL,
        embedding_size=DESCRIPTOR_SIZE,
        metric="one_minus_distance",
        default_threshold=DESCRIPTOR_THRESHOLD,
        device="cuda" if on_gpu else "cpu",
        detection_side_px=detection_side_px,
        versions=library_versions({"dlib": str(dlib.__version__)}),
    )


def library_versions(known: dict[str, str]) -> dict[str, str]:
    """Add the version of OpenCV, whose resizing every backend uses, to `known`."""
    import cv2

    return {**known, "opencv": cv2.__version__}
