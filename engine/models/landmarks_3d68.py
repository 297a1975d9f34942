"""InsightFace's 68-point model, 1k3d68: upright crop in, 68 points out, all faces of an image in one run.

The graph reads a 192 px crop, 1.5 times the face's longer side, and answers with 1103 points of three coordinates
in -1..1, of which the last 68 are the iBUG points and depth is not used. What stands here, and not insightface's
own wrapper, because that one runs a face at a time, never turns a rolled head upright, and unpickles a file.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engine.faces.warps import box_warp, cut, map_back, roll_deg
from engine.models.onnx_session import Session
from engine.types import Face, Image

# What the graph was trained with; see above.
CROP_PX = 192
CROP_PER_FACE = 1.5
COORDINATES = 3
# Graphs converted from MXNet subtract and scale by themselves; others want insightface's mean and spread.
MEAN, SPREAD = 127.5, 128.0
# Crops in one run: bounds memory; a frame hardly shows more faces.
BATCH = 32


class Landmarks3d68:
    """The model, given its open ONNX Runtime session."""

    def __init__(self, path: Path, session: Session) -> None:
        self.session = session
        self._input = session.get_inputs()[0]
        self._fixed_batch = self._input.shape[0] if isinstance(self._input.shape[0], int) else None
        self._mean, self._spread = (0.0, 1.0) if _normalises_itself(path) else (MEAN, SPREAD)

    def mark(self, image: Image, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Given faces of this image, return (len(faces), 68, 2) px."""
        warps = [_warp_of(face) for face in faces]
        crops = [cut(image, warp, CROP_PX) for warp in warps]
        rows = [map_back(one, warp) for one, warp in zip(self.crop_points(crops), warps, strict=True)]
        return np.array(rows, dtype=np.float32).reshape(len(faces), 68, 2)

    def crop_points(self, crops: Sequence[Image]) -> NDArray[np.float64]:
        """Given crops of CROP_PX, return their points: (len(crops), 68, 2) crop px."""
        step = self._fixed_batch or BATCH
        parts = [self._run(list(crops[start : start + step])) for start in range(0, len(crops), step)]
        return np.concatenate(parts) if parts else np.zeros((0, 68, 2))

    def _run(self, crops: list[Image]) -> NDArray[np.float64]:
        """Given up to one batch of crops, return (len(crops), 68, 2) crop px."""
        import cv2

        filled = crops + crops[-1:] * ((self._fixed_batch or len(crops)) - len(crops))
        mean = (self._mean, self._mean, self._mean)
        blob = cv2.dnn.blobFromImages(filled, 1.0 / self._spread, (CROP_PX, CROP_PX), mean, swapRB=True)
        answer = self.session.run(None, {self._input.name: blob})[0]
        points = np.asarray(answer, dtype=np.float64).reshape(len(filled), -1, COORDINATES)[: len(crops), -68:, :2]
        return np.asarray((points + 1.0) * (CROP_PX / 2))


def _warp_of(face: Face) -> NDArray[np.float64]:
    """Return the warp to the model's crop: the bbox's centre and longer side, turned upright by the eye line."""
    x1, y1, x2, y2 = (float(value) for value in face.bbox)
    roll = 0.0 if face.landmarks_5 is None else roll_deg(face.landmarks_5)
    side = CROP_PER_FACE * max(x2 - x1, y2 - y1)
    return box_warp(((x1 + x2) / 2, (y1 + y2) / 2), side, CROP_PX, rolled_deg=roll)


def _normalises_itself(path: Path) -> bool:
    """Say by its first nodes whether a graph subtracts the mean itself (insightface's rule)."""
    import onnx

    nodes = onnx.load_model(str(path), load_external_data=False).graph.node
    names = [node.name for node in nodes[:8]]
    subtracts = any(name.startswith(("Sub", "_minus")) for name in names)
    scales = any(name.startswith(("Mul", "_mul")) for name in names)
    return (subtracts and scales) or "bn_data" in names[:3]
