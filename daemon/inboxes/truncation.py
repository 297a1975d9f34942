"""Does the head of a file promise more than is there? Tells "still arriving" from "broken", without decoding.

MP4 and MOV are a row of boxes with their lengths; a file cut anywhere ends inside one, or lacks `moov`. Matroska,
AVI and others are only recognised. Reads a few bytes a box; runs in the worker.
"""

from __future__ import annotations

import os
from typing import IO

BOXES_MAX = 10_000
"""Fragmented files have a few boxes a second; past this the file is taken as it is."""
ISO_BOXES = frozenset(
    {b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot", b"styp", b"sidx", b"moof", b"uuid"}
)
CONTAINER_HEADS = (
    b"\x1a\x45\xdf\xa3",  # EBML: Matroska, WebM
    b"RIFF",
    b"FLV\x01",
    b"OggS",
    b"\x30\x26\xb2\x75",  # ASF
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",
    b"\x06\x0e\x2b\x34",  # MXF
)
HEAD_BYTES = 4096


def missing_bytes(file: IO[bytes]) -> int | None:
    """Return how many bytes the open file lacks, 0 for "as far as one can tell, none".

    None: the head is that of a known container, or still empty, and its length cannot be told; if such a file does
    not open, it may still be arriving. Raise OSError when it cannot be read.
    """
    size = os.fstat(file.fileno()).st_size
    head = file.read(HEAD_BYTES)
    if head[4:8] in ISO_BOXES:
        return _missing_of_boxes(file, size)
    if not head.strip(b"\0") or head.startswith(CONTAINER_HEADS):
        return None
    return 0


def _missing_of_boxes(file: IO[bytes], size: int) -> int | None:
    place, has_index = 0, False
    for _ in range(BOXES_MAX):
        file.seek(place)
        head = file.read(16)
        if not head:
            break
        if len(head) < 8:
            return 8 - len(head)
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        elif length == 0:
            length = size - place
        if length < 8:
            return 0  # no box: broken, not short
        has_index = has_index or kind in (b"moov", b"moof")
        place += length
        if place > size:
            return place - size
    return 0 if has_index else None
