"""The bytes of one face from its folder or faceset.pak, and its pixels. Nothing in it is trusted."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import simplejpeg
from numpy.typing import NDArray

from core.opening import open_regular
from dfl.errors import FormatError
from dfl.jpeg import FILE_LIMIT_BYTES, read_size
from trainer.samples.faces.face_list import PACK_NAME, FileKey, TrainingFace, key_of

_LARGEST_SIDE_PX = 8192
"""Of a face that is decoded; a short file can announce a picture of gigabytes."""


def read_face(folder: Path, face: TrainingFace) -> tuple[bytes, FileKey]:
    """Return the JPEG of a face, and the key of the file that it was read from.

    Raise FileNotFoundError where it is no longer there as it was listed, OSError or FormatError where it cannot be
    read.
    """
    if face.place is None:
        with open_regular(folder / face.name, within=None, max_bytes=FILE_LIMIT_BYTES) as file:
            return file.readall(), key_of(os.fstat(file.fileno()))
    start, size_bytes = face.place
    if size_bytes > FILE_LIMIT_BYTES:
        raise FormatError(f"it has {size_bytes} bytes in {PACK_NAME}, at most {FILE_LIMIT_BYTES} are read")
    with open_regular(folder / PACK_NAME, within=None) as file:
        if key_of(os.fstat(file.fileno())) != face.file_key:
            raise FileNotFoundError(f"{PACK_NAME} was written anew")
        return os.pread(file.fileno(), size_bytes, start), face.file_key


def decode_face(data: bytes) -> NDArray[np.uint8]:
    """Given an aligned JPEG, return its (S, S, 3) uint8 BGR pixels.

    Raise FormatError where it is not square or not whole: libjpeg fills what is missing with grey, which a model
    would learn.
    """
    width, height = read_size(data)
    if width != height or not 0 < width <= _LARGEST_SIDE_PX:
        raise FormatError(f"the face is {width}x{height} px, expected a square of at most {_LARGEST_SIDE_PX} px")
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, colorspace="BGR", strict=True), np.uint8)
    except ValueError as problem:
        raise FormatError(f"the JPEG cannot be decoded whole: {problem}") from problem
