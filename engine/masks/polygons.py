"""Masks from the polygons that a person drew in DeepFaceLab's editor. The polygons are read and never changed."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.image import MaskPolygon
from engine.masks.source import FaceToMask, NoMask, PredictedMask

MAX_COORDINATE_PX = 1 << 15
"""Points further out are refused: OpenCV's polygon filler works in fixed point and overflows beyond."""


class PolygonMasks:
    """The source `polygons`; see engine.masks.source.MaskSource."""

    name = "polygons"
    model_sha = None

    def masks(self, faces: Sequence[FaceToMask]) -> Sequence[PredictedMask | NoMask]:
        """Return what each face's polygons include; none for a face without a polygon that includes anything."""
        return [self._drawn(face) for face in faces]

    def _drawn(self, face: FaceToMask) -> PredictedMask | NoMask:
        polygons = face.metadata.seg_ie_polys
        if not any(polygon.include and len(polygon.points) for polygon in polygons):
            return NoMask(self.name, "they only exclude" if polygons else "the face has none")
        nothing = np.zeros((face.side_px, face.side_px), np.float32)
        return PredictedMask(draw_polygons(nothing, polygons), self.name, self.model_sha)


def draw_polygons(mask: NDArray[np.float32], polygons: Sequence[MaskPolygon]) -> NDArray[np.float32]:
    """Given an (S, S) mask of 0..1, return it with polygons drawn in as DeepFaceLab does.

    Points are truncated to whole px; all that include are filled with 1 first, then all that exclude with 0
    (SegIEPolys.overlay_mask of DeepFaceLab's commit 46fc239). Raise FormatError for points nowhere near the picture.
    """
    drawn = mask.copy()
    for include in (True, False):
        for polygon in polygons:
            if polygon.include == include and len(polygon.points):
                cv2.fillPoly(drawn, [_whole_px(polygon)], (float(include),))
    return drawn


def excluded_by(face: FaceToMask) -> NDArray[np.bool_]:
    """Return (S, S) bool: the pixels that a person's polygons exclude. Raise FormatError as `draw_polygons`."""
    everything = np.ones((face.side_px, face.side_px), np.float32)
    return np.asarray(draw_polygons(everything, face.metadata.seg_ie_polys) == 0.0)


def _whole_px(polygon: MaskPolygon) -> NDArray[np.int32]:
    points = np.trunc(polygon.points)
    if not (np.abs(points) < MAX_COORDINATE_PX).all():
        raise FormatError(f"a point of a polygon lies {MAX_COORDINATE_PX} px or more from the image")
    return points.astype(np.int32)
