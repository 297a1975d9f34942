"""Was all of an image file read as its one picture? Walks its structure; pixels are engine.footage.pictures' affair.

Decoders conceal damage: libjpeg fills what it cannot read with grey and only warns, and nobody can hear that through
OpenCV; WebP and TIFF go on over zeros. They also read the first picture of many and stop. So it is decided here what
the bytes prove:

    damage   the picture itself is not whole
    unread   the file holds, or may hold, more than the picture that was read

The bytes are untrusted: every walk is bounded by their length.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

JPEG_SOS, JPEG_EOI = 0xDA, 0xD9
_JPEG_ALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})  # markers without a segment: TEM, SOI, RST0..7
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""What ends entropy-coded data (T.81 §B.1.1.5): not the stuffed zero byte, not a restart marker."""


class JpegSegment(NamedTuple):
    """One marker segment; `start` and `end` are those of its payload, for SOS of the entropy-coded data behind it."""

    marker: int
    start: int
    end: int


def jpeg_segments(data: bytes) -> Iterator[JpegSegment]:
    """Walk a JPEG (ITU-T T.81 annex B) to its EOI, or to where its structure breaks off."""
    place = 2
    while place + 2 <= len(data) and data[place] == 0xFF:
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
            continue
        place += 2
        if marker == JPEG_EOI:
            yield JpegSegment(marker, place, place)
            return
        if marker in _JPEG_ALONE:
            continue
        end = place + int.from_bytes(data[place : place + 2], "big")
        if end < place + 2 or end > len(data):
            return
        if marker == JPEG_SOS:
            found = _JPEG_MARKER.search(data, end)
            place, end = end, found.start() if found else len(data)
        yield JpegSegment(marker, place, end)
        place = end


def count_scans(data: bytes) -> int:
    """Return the number of scans of a JPEG, each of which its decoder goes over the whole picture for."""
    return sum(segment.marker == JPEG_SOS for segment in jpeg_segments(data))
