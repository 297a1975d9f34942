"""dlib's 68-point predictor and 128-d descriptor, from the files of the package face_recognition_models.

The package is never imported (importing it pulls in pkg_resources): its files are found by importlib. Used by the
dlib and opencv_cascade backends, and by the insightface one for packs without a 68-point model.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.errors import ModelError
from engine.faces.warps import box_warp, cut, fit_warp, map_back
from engine.models.model_files import LICENCE_300W, LICENCE_DLIB_CC0, ModelFile, describe_model_file, require_model_file
from engine.types import Image

EMBEDDED_HINT = "pip install 'dfld[embedded]'"
PACKAGE = "face_recognition_models"
LANDMARKS_FILE = "shape_predictor_68_face_landmarks.dat"
DESCRIPTOR_FILE = "dlib_face_recognition_resnet_model_v1.dat"

DESCRIPTOR_MODEL = "dlib_face_recognition_resnet_model_v1"
DESCRIPTOR_SIZE = 128
DESCRIPTOR_CROP_PX = 150  # the network's input
DESCRIPTOR_PADDING = 0.25  # dlib's own default, which the network was trained with

# Two faces are one person from here: distance 0.6, as dlib's author states for this network (99.38 % on LFW).
# benchmarks/match_pairs.py over 15 faces of four people: 35 same-person pairs from 0.50 up, 70 different pairs up to
# 0.32, so 0.40 lies in the middle. Six actors in another photo: up to 0.39.
DESCRIPTOR_THRESHOLD = 0.4

# Where the five points lie in the unit square of dlib's HOG detector, whose boxes the predictor was trained with:
# median over 149 boxes of faces with known points, made symmetric.
FIVE_POINTS_IN_BOX = np.array([[0.297, 0.289], [0.703, 0.289], [0.500, 0.517], [0.307, 0.718], [0.693, 0.718]])
# The box handed to the predictor, relative to that square. Median error over 220 faces at 0.8, 0.9, 1.0, 1.1:
# 0.051, 0.052, 0.051, 0.052 of the eye distance; 90th percentile 0.079, 0.076, 0.087, 0.096.
PREDICTOR_BOX_SCALE = 0.9
# Side of that square in the crop that is predicted on. Points come back in whole px: 1/200 of the box is enough.
BOX_PX = 200
CROP_PX = 2 * BOX_PX
# The face's square in the picture that the descriptor's chip is cut from: finer than the 150 px chip, so that
# rounding its points to whole px moves nothing.
CHIP_SOURCE_PX = 300

# Largest number of chips in one pass: bounds memory; larger batches are no faster on a CPU.
BATCH = 16


def import_dlib() -> ModuleType:
    """Return the module dlib. Raise ModelError, with the remedy, when it is not installed."""
    try:
        import dlib
    except ImportError as problem:
        raise ModelError(f"dlib cannot be imported: {problem}", hint=EMBEDDED_HINT) from problem
    module: ModuleType = dlib
    return module


def find_dlib_model(name: str) -> Path:
    """Return the path of one of the package's files, without importing the package. Raise ModelError when missing."""
    spec = util.find_spec(PACKAGE)
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if not folders:
        raise ModelError(f"{name} is needed, but the package {PACKAGE} is not installed", hint=EMBEDDED_HINT)
    return require_model_file(Path(folders[0]) / "models" / name)


def load_dlib_model(kind: str, path: Path) -> Any:
    """Load a file with the dlib class `kind`. Raise ModelError, naming the file, when it is damaged."""
    try:
        return getattr(import_dlib(), kind)(str(path))
    except RuntimeError as problem:
        raise ModelError(f"model file {path} cannot be loaded by dlib: {problem}", hint=EMBEDDED_HINT) from problem


class DlibLandmarks:
    """The 68-point predictor, fed so that it works on faces of any size and roll."""

    def __init__(self) -> None:
        self._path = find_dlib_model(LANDMARKS_FILE)
        self._predict = load_dlib_model("shape_predictor", self._path)
        self._rectangle = import_dlib().rectangle

    @property
    def model_file(self) -> ModelFile:
        return describe_model_file(self._path, task="landmarks_68", licence=LICENCE_300W)

    def from_five_points(self, image: Image, landmarks_5: NDArray[np.floating]) -> NDArray[np.float64]:
        """Given five points in image px, turn the face upright, predict, and return (68, 2) image px.

        The five points decide the roll, scale and place of the predictor's box, whatever the detector's boxes
        are like: median error 0.05 of the eye distance on faces from 45 to 240 px, rolled or not.
        """
        offset = (CROP_PX - BOX_PX) / 2
        return self._predict_in(image, fit_warp(landmarks_5, FIVE_POINTS_IN_BOX * BOX_PX + offset), PREDICTOR_BOX_SCALE)

    def from_box(self, image: Image, box: NDArray[np.floating], *, rolled_deg: float = 0.0) -> NDArray[np.float64]:
        """Given a box like those of dlib's HOG detector (square, brows to chin), return (68, 2) image px.

        `rolled_deg`: how far the head is thought to be rolled clockwise.
        """
        x1, y1, x2, y2 = (float(value) for value in box)
        side = 2 * max(x2 - x1, y2 - y1)
        warp = box_warp(((x1 + x2) / 2, (y1 + y2) / 2), side, CROP_PX, rolled_deg=rolled_deg)
        return self._predict_in(image, warp, 1.0)

    def _predict_in(self, image: Image, warp: NDArray[np.float64], box_scale: float) -> NDArray[np.float64]:
        import cv2

        grey = cv2.cvtColor(cut(image, warp, CROP_PX), cv2.COLOR_BGR2GRAY)
        half = round(BOX_PX * box_scale / 2)
        middle = CROP_PX // 2
        shape = self._predict(grey, self._rectangle(middle - half, middle - half, middle + half, middle + half))
        points = np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)
        return map_back(points, warp)


class DlibDescriptor:
    """The 128-d face descriptor: crops in, embeddings out. Similarity is 1 − Euclidean distance."""

    def __init__(self) -> None:
        self._path = find_dlib_model(DESCRIPTOR_FILE)
        self._network = load_dlib_model("face_recognition_model_v1", self._path)
        self._dlib = import_dlib()

    @property
    def model_file(self) -> ModelFile:
        return describe_model_file(self._path, task="recognition", licence=LICENCE_DLIB_CC0)

    def crop(self, image: Image, landmarks_68: NDArray[np.floating]) -> Image:
        """Cut the (150, 150, 3) BGR chip that the network reads, turned upright by the 68 points."""
        import cv2

        low, high = landmarks_68.min(axis=0), landmarks_68.max(axis=0)
        side = float(max(high - low))
        # The chip reaches about half a face beyond the points; a whole one leaves room for any roll.
        left, top = np.maximum(np.floor(low - side), 0).astype(int)
        right, bottom = np.minimum(np.ceil(high + side), [image.shape[1], image.shape[0]]).astype(int)
        if right - left < 2 or bottom - top < 2:
            return np.zeros((DESCRIPTOR_CROP_PX, DESCRIPTOR_CROP_PX, 3), dtype=np.uint8)
        region = cv2.cvtColor(image[top:bottom, left:right], cv2.COLOR_BGR2RGB)
        scale = CHIP_SOURCE_PX / max(side, 1.0)
        size = (max(1, round(region.shape[1] * scale)), max(1, round(region.shape[0] * scale)))
        region = cv2.resize(region, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        points = (landmarks_68 - [left, top]) * scale
        parts = [self._dlib.point(round(float(x)), round(float(y))) for x, y in points]
        shape = self._dlib.full_object_detection(self._dlib.rectangle(0, 0, size[0], size[1]), parts)
        chip = self._dlib.get_face_chip(region, shape, DESCRIPTOR_CROP_PX, DESCRIPTOR_PADDING)
        return np.ascontiguousarray(chip[:, :, ::-1])

    def embed(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """Given crops made by `crop`, return (len(crops), 128)."""
        rows: list[Sequence[float]] = []
        for start in range(0, len(crops), BATCH):
            chips = [np.ascontiguousarray(crop[:, :, ::-1]) for crop in crops[start : start + BATCH]]
            rows.extend(self._network.compute_face_descriptor(chips))
        return np.array(rows, dtype=np.float32).reshape(len(crops), DESCRIPTOR_SIZE)
