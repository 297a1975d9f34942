"""The masks of a face at the size of its picture: which pixels are the face, and which are its eyes and mouth.

A stored XSeg mask counts; where there is none, the hull of the landmarks does. Polygons count through the XSeg mask
that a network trained on them made, as in DeepFaceLab. Source: DeepFaceLab commit 46fc239,
samplelib/SampleProcessor.py.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.hull import FACE, eyes_mouth_mask, hull_mask
from dfl.image import AlignedMetadata
from dfl.xseg_mask import decode_xseg_mask


def source_masks(metadata: AlignedMetadata, side_px: int) -> NDArray[np.float32]:
    """Given the metadata of a face of `side_px` px a side, return its (side_px, side_px, 2) float32 masks of 0..1.

    Channel 0 is the face, channel 1 eyes and mouth so far as they are face. Raise FormatError for a stored mask that
    cannot be decoded and for landmarks out of all bounds.
    """
    face = _face_mask(metadata, side_px)
    parts = eyes_mouth_mask(side_px, side_px, metadata.landmarks) * (face != 0)
    return np.dstack((face, parts))


def _face_mask(metadata: AlignedMetadata, side_px: int) -> NDArray[np.float32]:
    if metadata.xseg_mask is None:
        hull = hull_mask(side_px, side_px, metadata.landmarks, eyebrows_expand_mod=metadata.eyebrows_expand_mod)
        return hull.astype(np.float32) / np.float32(FACE)
    stored = decode_xseg_mask(metadata.xseg_mask)
    if stored.shape != (side_px, side_px):
        stored = np.asarray(cv2.resize(stored, (side_px, side_px), interpolation=cv2.INTER_CUBIC), np.float32)
    return np.clip(stored, 0.0, 1.0)
