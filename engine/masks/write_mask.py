"""A mask in the bytes of an aligned JPEG: whose it is, put in, taken out again. Pure; no file is opened.

    xseg_mask   DeepFaceLab's key: the mask as an image file of 256 x 256 px, every pixel 0 or 255 (dfl.xseg_mask)
    dfld_mask   dfld's own key, which DeepFaceLab does not know and keeps:
        source       `hull`, `polygons`, `xseg`, `parser`, or the words of a mix
        model_sha    SHA-256, hex, of the weights; "" for none
        threshold    from which a pixel belongs to the face
        checks       what was measured of the mask, by the name of the check
        mask_sha256  of the bytes under xseg_mask. Where it does not fit, somebody else wrote the mask since
        made_of      hash of the face and of what was asked for, by which the same work is not done again
        pictures     SHA-256 of the file in masks/ that shows this mask, then of the one that dfld wrote before

Only these two keys change: the others are written as they were read, with their types and in their order, and so are
pixels and all other segments.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.image import METADATA_PROTOCOL, array_of_bytes, bytes_of_array, read_fields
from dfl.jpeg import read_app15, with_app15
from dfl.pickles.dumping import WRITTEN_PROTOCOLS, dump_for_dfl
from dfl.xseg_mask import encode_xseg_mask
from engine.masks.source import PredictedMask

STORED_SIDE_PX = 256
"""What DeepFaceLab stores, whatever the side of the face."""
PNG_START = b"\x89PNG\r\n\x1a\n"
MASK_KEY, NOTE_KEY = "xseg_mask", "dfld_mask"
Owner = Literal["nobody", "dfld", "person"]
_HASH = re.compile("[0-9a-f]{64}")
_TEXT_MAX = 200
_CHECKS_MAX = 32


@dataclass(frozen=True)
class MaskNote:
    """What stands under `dfld_mask`."""

    source: str
    model_sha: str
    threshold: float
    checks: Mapping[str, float]
    mask_sha256: str
    made_of: str
    pictures: tuple[str, ...]

    def fields(self) -> dict[str, object]:
        """Return the note as plain values."""
        return {
            "source": self.source,
            "model_sha": self.model_sha,
            "threshold": float(self.threshold),
            "checks": {name: float(measured) for name, measured in self.checks.items()},
            "mask_sha256": self.mask_sha256,
            "made_of": self.made_of,
            "pictures": list(self.pictures),
        }


def note_in(fields: Mapping[str, object]) -> MaskNote | None:
    """Given a face's metadata, return what dfld noted of its mask; None where nothing that makes sense is there."""
    value = fields.get(NOTE_KEY)
    if not isinstance(value, dict):
        return None
    source, model_sha, threshold = value.get("source"), value.get("model_sha"), value.get("threshold")
    checks, pictures = value.get("checks"), value.get("pictures")
    mask_sha256, made_of = value.get("mask_sha256"), value.get("made_of")
    if not (
        _is_text(source)
        and _is_text(model_sha)
        and isinstance(threshold, float)
        and isinstance(checks, dict)
        and len(checks) <= _CHECKS_MAX
        and all(_is_text(name) and isinstance(measured, float) for name, measured in checks.items())
        and _is_hash(mask_sha256)
        and _is_hash(made_of)
        and isinstance(pictures, list)
        and len(pictures) <= 2
        and all(map(_is_hash, pictures))
    ):
        return None
    return MaskNote(str(source), str(model_sha), threshold, checks, str(mask_sha256), str(made_of), tuple(pictures))


def owner_in(fields: Mapping[str, object]) -> Owner:
    """Say whose the mask is that the metadata of a face holds. One that dfld did not write is a person's."""
    stored = fields.get(MASK_KEY)
    if stored is None:
        return "nobody"
    note = note_in(fields)
    if note is None:
        return "person"
    try:
        is_ours = hashlib.sha256(bytes_of_array(stored)).hexdigest() == note.mask_sha256
    except FormatError:
        return "person"
    return "dfld" if is_ours else "person"


def stored_mask(found: PredictedMask) -> bytes:
    """Return a mask as it is stored: at 256 px (Lanczos, as DeepFaceLab does), 1 from the threshold on, 0 elsewhere."""
    mask = found.mask
    if mask.shape[0] != STORED_SIDE_PX:
        size = (STORED_SIDE_PX, STORED_SIDE_PX)
        mask = np.asarray(cv2.resize(mask, size, interpolation=cv2.INTER_LANCZOS4), np.float32)
    return encode_xseg_mask((mask >= np.float32(found.threshold)).astype(np.float32))


def mask_picture(found: PredictedMask) -> bytes:
    """Return a mask as the PNG that lies in masks/: (S, S) gray, 255 in the face and 0 elsewhere."""
    done, encoded = cv2.imencode(".png", np.where(found.is_face, np.uint8(255), np.uint8(0)))
    if not done:
        raise FormatError(f"OpenCV could not encode a mask of {found.mask.shape} as PNG")
    return bytes(encoded.tobytes())


def with_mask(data: bytes, fields: Mapping[str, object], stored: bytes, note: MaskNote) -> bytes:
    """Given an aligned JPEG and its metadata as `dfl.image.read_fields` gives it, return the JPEG with this mask.

    Raise FormatError where the metadata would not fit into a JPEG segment.
    """
    return _with_fields(data, {**fields, MASK_KEY: array_of_bytes(stored), NOTE_KEY: note.fields()})


def without_own_mask(data: bytes) -> bytes:
    """Given an aligned JPEG, return what it was before dfld put its mask in; `data` itself where no mask is dfld's."""
    try:
        fields = read_fields(data)
        if owner_in(fields) != "dfld":
            return data
        return _with_fields(data, {key: value for key, value in fields.items() if key not in (MASK_KEY, NOTE_KEY)})
    except FormatError:
        return data


def picture_shows(data: bytes, is_face: NDArray[np.bool_]) -> bool:
    """Say whether a PNG of masks/ shows this (S, S) mask. What is no small PNG shows none."""
    if not data.startswith(PNG_START) or data[12:16] != b"IHDR" or len(data) < 24:
        return False
    if (int.from_bytes(data[16:20], "big"), int.from_bytes(data[20:24], "big")) != is_face.shape[::-1]:
        return False
    try:
        pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return False
    return pixels is not None and np.array_equal(pixels, np.where(is_face, np.uint8(255), np.uint8(0)))


def _with_fields(data: bytes, fields: Mapping[str, object]) -> bytes:
    """Write metadata anew in the pickle's own protocol, where DeepFaceLab reads that one."""
    payload = read_app15(data) or b""
    is_written = len(payload) > 1 and payload[0] == 0x80 and payload[1] in WRITTEN_PROTOCOLS
    return with_app15(data, dump_for_dfl(dict(fields), protocol=payload[1] if is_written else METADATA_PROTOCOL))


def _is_text(value: object) -> bool:
    return isinstance(value, str) and len(value) <= _TEXT_MAX


def _is_hash(value: object) -> bool:
    return isinstance(value, str) and _HASH.fullmatch(value) is not None
