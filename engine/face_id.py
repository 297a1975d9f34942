"""Ids of faces and tracks: the same in every run, on every machine, under every file name. Pure.

    face_id = hex(SHA-256("dfld-face-1" ‖ source ‖ frame ‖ left ‖ top ‖ right ‖ bottom)[:16])

`source` is the SHA-256 of the source as its 32 raw bytes (engine.footage.source_hash), `frame` the frame's index in 8
bytes, the edges are those of the detector's box rounded to px, in 4 bytes each, signed; all of them big endian. The id
of a track is made likewise of its first face, with "dfld-track-1", so that it never equals a face's.

Names are for people, ids are for programs: whether two files show the same face is said by engine.same_face.
"""

from __future__ import annotations

import hashlib
import re
import struct
from collections.abc import Sequence

Box = tuple[int, int, int, int]
"""Left, top, right, bottom in frame px."""

FACE_RECIPE = b"dfld-face-1"
TRACK_RECIPE = b"dfld-track-1"
ID_BYTES = 16
"""Of SHA-256: 128 bits distinguish all faces of the world."""
_EDGE_LIMIT_PX = (1 << 31) - 1
_SHA256 = re.compile("[0-9a-f]{64}")


def face_id(source_sha256: str, frame: int, box: Box) -> str:
    """Return the id of a face: `source_sha256` in hex, index of the frame, detector's box in px.

    Raise ValueError for what is no SHA-256."""
    return _id(FACE_RECIPE, source_sha256, frame, box)


def track_id(source_sha256: str, frame: int, box: Box) -> str:
    """Return the id of a track: frame and box are those of its first face. Raise as `face_id`."""
    return _id(TRACK_RECIPE, source_sha256, frame, box)


def box_of(edges: Sequence[float]) -> Box:
    """Return the four edges of a box, rounded to whole px, halves to even as numpy does."""
    left, top, right, bottom = (round(edge) for edge in edges)
    return left, top, right, bottom


def is_sha256(text: str) -> bool:
    """Say whether a text is a SHA-256 in hex: a source that could not be read whole has another name in the ledger."""
    return _SHA256.fullmatch(text) is not None


def _id(recipe: bytes, source_sha256: str, frame: int, box: Box) -> str:
    if not is_sha256(source_sha256):
        raise ValueError(f"{source_sha256!r} is no SHA-256 in hex")
    edges = (max(-_EDGE_LIMIT_PX, min(_EDGE_LIMIT_PX, edge)) for edge in box)
    place = struct.pack(">Q4i", frame, *edges)
    return hashlib.sha256(recipe + bytes.fromhex(source_sha256) + place).digest()[:ID_BYTES].hex()
