"""XSeg masks as DeepFaceLab stores them: an image file of one channel inside the metadata.

PNG; where that takes more than 50000 bytes, JPEG of the highest quality that fits. Usually 256x256 whatever the
size of the face; users of a mask resize it. The network that makes the masks is elsewhere (engine.masks).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.jpeg import read_size

FACE_FROM = 0.5
"""A pixel of a mask of 0..1 from which it belongs to the face (mainscripts/XSegUtil.py, apply_xseg, of DeepFaceLab's
commit 46fc239)."""
STORED_LIMIT_BYTES = 50_000
"""Leaves room for the rest of the metadata in a JPEG segment of 64 KiB."""
_LARGEST_SIDE_PX = 4096
"""Of a mask that is decoded; a few bytes of PNG can announce a picture of gigabytes."""
_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encode_xseg_mask(mask: NDArray[np.floating]) -> bytes:
    """Given an (H, W) or (H, W, 1) mask of 0..1, return the image file to store. Raise FormatError when none fits."""
    plane = mask[..., 0] if mask.ndim == 3 and mask.shape[2] == 1 else mask
    if plane.ndim != 2 or not plane.size:
        raise FormatError(f"an XSeg mask has shape {mask.shape}, expected (H, W) or (H, W, 1)")
    # Truncated, not rounded, as DeepFaceLab does.
    grey = (np.clip(plane, 0.0, 1.0) * 255).astype(np.uint8)
    encoded = _encode(".png", grey, [])
    quality = 100
    while len(encoded) > STORED_LIMIT_BYTES:
        if quality < 0:
            raise FormatError(f"an XSeg mask of {grey.shape} takes more than {STORED_LIMIT_BYTES} bytes at any quality")
        encoded = _encode(".jpg", grey, [cv2.IMWRITE_JPEG_QUALITY, quality])
        quality -= 1
    return encoded


def decode_xseg_mask(encoded: bytes) -> NDArray[np.float32]:
    """Given a stored mask, return it as (H, W) float32 of 0..1. Raise FormatError unless it is a small PNG or JPEG."""
    width, height = _announced_size(encoded)
    if not (0 < width <= _LARGEST_SIDE_PX and 0 < height <= _LARGEST_SIDE_PX):
        raise FormatError(f"an XSeg mask announces {width}x{height} px, at most {_LARGEST_SIDE_PX} a side are read")
    try:
        decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error as failure:
        raise FormatError(f"an XSeg mask of {len(encoded)} bytes cannot be decoded: {failure.err}") from failure
    if decoded is None or decoded.dtype != np.uint8:
        raise FormatError(f"an XSeg mask of {len(encoded)} bytes cannot be decoded")
    plane = decoded if decoded.ndim == 2 else decoded[..., 0]
    return plane.astype(np.float32) / np.float32(255)


def _announced_size(encoded: bytes) -> tuple[int, int]:
    if encoded.startswith(_PNG_SIGNATURE):
        if encoded[12:16] != b"IHDR" or len(encoded) < 24:
            raise FormatError("an XSeg mask begins as a PNG and has no PNG header")
        return int.from_bytes(encoded[16:20], "big"), int.from_bytes(encoded[20:24], "big")
    return read_size(encoded)


def _encode(extension: str, grey: NDArray[np.uint8], options: list[int]) -> bytes:
    done, buffer = cv2.imencode(extension, grey, options)
    if not done:
        raise FormatError(f"OpenCV could not encode an XSeg mask of {grey.shape} as {extension}")
    return buffer.tobytes()
