"""All that is measured of one aligned face, as one row."""

from __future__ import annotations

import re
from dataclasses import dataclass
from math import atan2, degrees, nan, sqrt
from pathlib import PurePosixPath

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.geometry import Matrix
from dfl.image import AlignedMetadata, read_metadata
from dfl.xseg_mask import FACE_FROM, decode_xseg_mask
from engine.facesets.measures.expression import measure_expression
from engine.facesets.measures.face_luma import FaceLuma, face_luma
from engine.facesets.measures.frame_edges import reach_of_crop
from engine.facesets.measures.light import LUMA_DCT_COUNT, luma_dct, measure_light
from engine.facesets.measures.pose import measure_turn
from engine.facesets.measures.sharpness import measure_sharpness

SINGLE = (
    "yaw", "pitch", "roll", "pose_error", "mouth_open", "mouth_width", "eye_opening", "light_x", "light_y",
    "brightness", "luma_std", "nf", "nfdir", "upscale", "hull_area", "mask_over_hull",
)  # fmt: skip
"""Columns of engine.facesets.features.Features that are one number of one face."""
ROW = np.dtype(
    [
        *((name, "<f4") for name in SINGLE),
        ("luma_dct", "<f4", (LUMA_DCT_COUNT,)),
        ("size", "<i4"),
        ("has_polygons", "?"),
        ("frame", "<i8"),
        ("mat", "<f8", (2, 3)),
        ("reach", "<f8", (2,)),
    ]
)
"""What is kept of a face. `mat` and `reach` (engine.facesets.measures.frame_edges) say, over all faces of a clip,
how much of each is cut off; NaN where the file does not say where its crop lay."""
SOURCE_LENGTH_MAX = 200
"""Of the name of a frame, which a file may state at any length."""
_FRAME_NUMBER = re.compile(r"(.*?)[-_]?((?<!\d)\d{1,18})", re.DOTALL)


@dataclass(frozen=True, eq=False)
class FaceMeasures:
    """What was measured of one face, and what its file says of where it is from."""

    row: NDArray[np.void]
    """() of dtype ROW."""
    source: str
    """As in engine.facesets.features.Features."""
    face_id: str | None
    """`dfld_face_id`; None without one."""


def measure_face(data: bytes) -> FaceMeasures:
    """Given an aligned JPEG, measure the face. Raise FormatError where DeepFaceLab would not read it as a face."""
    metadata = read_metadata(data)
    face = face_luma(data, metadata)
    turn = measure_turn(face.landmarks)
    expression = measure_expression(face.landmarks)
    light = measure_light(face.luma, face.hull, face.unit_px)
    sharp = measure_sharpness(face.luma, face.landmarks, face.unit_px)
    mat = _mat_of(metadata)
    source, frame = _source_of(metadata.source_filename)
    row = np.zeros((), ROW)
    row["yaw"], row["pitch"], row["pose_error"] = turn.yaw, turn.pitch, turn.error
    row["roll"] = turn.roll if mat is None else _within_half_turn(turn.roll - degrees(atan2(mat[1, 0], mat[0, 0])))
    row["mouth_open"], row["mouth_width"] = expression.mouth_open, expression.mouth_width
    row["eye_opening"] = expression.eye_opening
    row["light_x"], row["light_y"], row["brightness"], row["luma_std"] = light.x, light.y, light.mean, light.std
    row["nf"], row["nfdir"] = sharp.nf, sharp.nfdir
    row["upscale"] = nan if mat is None else sqrt(abs(float(np.linalg.det(mat[:, :2]))))
    row["hull_area"], row["mask_over_hull"] = face.hull.mean(), _mask_over_hull(metadata, face)
    row["luma_dct"] = luma_dct(face.luma)
    row["size"], row["has_polygons"], row["frame"] = face.side_px, bool(metadata.seg_ie_polys), frame
    row["mat"] = nan if mat is None else mat
    row["reach"] = nan if mat is None else reach_of_crop(face.luma, mat, face.side_px)
    return FaceMeasures(row, source, metadata.dfld_face_id)


def _mat_of(metadata: AlignedMetadata) -> Matrix | None:
    """Return the crop's matrix frame px -> aligned px, None where there is none that leads back."""
    mat = metadata.image_to_face_mat
    return None if mat is None or abs(float(np.linalg.det(mat[:, :2]))) < 1e-12 else mat


def _within_half_turn(angle: float) -> float:
    return (angle + 180.0) % 360.0 - 180.0


def _source_of(filename: str | None) -> tuple[str, int]:
    """Return which clip a frame is from and its number there: `take-00000012.png` → ("take", 12), `00012.png` → ("",
    12), `portrait.jpg` → ("portrait", -1)."""
    stem = PurePosixPath((filename or "").replace("\\", "/")).stem[-SOURCE_LENGTH_MAX:]
    found = _FRAME_NUMBER.fullmatch(stem)
    return (stem, -1) if found is None else (found[1], int(found[2]))


def _mask_over_hull(metadata: AlignedMetadata, face: FaceLuma) -> float:
    """Return the part of the hull that the stored mask covers; NaN without one, or one that cannot be decoded."""
    if metadata.xseg_mask is None or not face.hull.any():
        return nan
    try:
        mask = decode_xseg_mask(metadata.xseg_mask)
    except FormatError:
        return nan
    fitted = cv2.resize(mask, face.luma.shape[::-1], interpolation=cv2.INTER_LINEAR)
    return float((fitted >= FACE_FROM)[face.hull].mean())
