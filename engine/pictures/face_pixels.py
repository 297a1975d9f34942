"""The pixels of an aligned face's JPEG as DeepFaceLab sees them. Nothing is trusted: size and scans are limited."""

from __future__ import annotations

import cv2
import numpy as np

from dfl.errors import FormatError
from dfl.jpeg import read_size
from engine.pictures.decoding import MOST_SCANS
from engine.pictures.whole_picture import count_scans
from engine.types import Image

LARGEST_SIDE_PX = 4096
"""DeepFaceLab writes aligned faces up to 2048 px; what announces more is not decoded."""


def face_pixels(data: bytes, *, side_max_px: int = LARGEST_SIDE_PX) -> Image:
    """Return the (H, W, 3) uint8 BGR pixels of a JPEG, never turned. Raise FormatError, before anything is decoded, for
    one that announces a side beyond `side_max_px`, and for one that cannot be decoded."""
    width, height = read_size(data)
    if not 0 < min(width, height) <= max(width, height) <= side_max_px:
        raise FormatError(f"announces {width}x{height} px, at most {side_max_px} a side are read")
    if count_scans(data) > MOST_SCANS:
        raise FormatError(f"stores its pixels in more than {MOST_SCANS} scans")
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    except cv2.error:
        pixels = None
    if pixels is None:
        raise FormatError("its pixels cannot be decoded")
    return np.asarray(pixels, np.uint8)
