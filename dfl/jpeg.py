"""The JPEG container as DeepFaceLab parses it, and the one segment in it that is DeepFaceLab's own.

A JPEG is a row of segments, each `FF`, a marker byte and, for most, a big-endian length that counts itself. After
SOS the entropy-coded data runs to the next marker. DeepFaceLab keeps its metadata as the whole payload of APP15
(`FF EF`), placed after the last other APPn segment; no magic, no prefix.

What DeepFaceLab's parser refuses is refused here: restart markers (DRI), an APP0 that is not JFIF, bytes after EOI.
Not for decoding pixels.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dfl.errors import FormatError

PAYLOAD_LIMIT_BYTES = 0xFFFF - 2
"""A segment's length field has 16 bits and counts its own two bytes."""
FILE_LIMIT_BYTES = 64 << 20
"""An aligned image of 2048 px at quality 100 has about 5 MiB."""

_SOI, _EOI, _SOS, _DRI, _TEM = 0xD8, 0xD9, 0xDA, 0xDD, 0x01
_APP0, _APP15 = 0xE0, 0xEF
_RESTARTS = range(0xD0, 0xD8)
_FRAME_HEADERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
"""SOF0 to SOF15; C4, C8 and CC mark Huffman tables, an extension and arithmetic coding."""


@dataclass(frozen=True)
class Segment:
    """A marker and its bytes: `data[start:end]` from its FF on, entropy-coded data of a scan included."""

    marker: int
    start: int
    payload_start: int
    payload_end: int
    end: int


def read_app15(data: bytes) -> bytes | None:
    """Given a JPEG, return the payload of its last APP15 segment, None where there is none."""
    found = [segment for segment in list_segments(data) if segment.marker == _APP15]
    return data[found[-1].payload_start : found[-1].payload_end] if found else None


def with_app15(data: bytes, payload: bytes) -> bytes:
    """Given a JPEG, return it with this payload as its one APP15, behind its last other APPn or else behind SOI.

    Every APP15 it had is left out: DeepFaceLab reads the last one. Raise FormatError when the payload is too long.
    """
    if len(payload) > PAYLOAD_LIMIT_BYTES:
        raise FormatError(
            f"metadata of {len(payload)} bytes does not fit in an aligned JPEG, which holds {PAYLOAD_LIMIT_BYTES}",
            hint="the XSeg mask is the large part; store a smaller one",
        )
    kept = [segment for segment in list_segments(data) if segment.marker != _APP15]
    place = max((i for i, segment in enumerate(kept) if _APP0 <= segment.marker < _APP15), default=0) + 1
    own = bytes((0xFF, _APP15)) + (len(payload) + 2).to_bytes(2, "big") + payload
    before, after = ([data[s.start : s.end] for s in part] for part in (kept[:place], kept[place:]))
    return b"".join((*before, own, *after))


def without_app15(data: bytes) -> bytes:
    """Given a JPEG, return it without any APP15: what stays the same when its metadata alone is written anew."""
    return b"".join(data[one.start : one.end] for one in list_segments(data) if one.marker != _APP15)


def read_size(data: bytes) -> tuple[int, int]:
    """Given a JPEG, return (width, height) in px from its frame header."""
    for segment in list_segments(data):
        if segment.marker in _FRAME_HEADERS:
            header = data[segment.payload_start : segment.payload_end]
            if len(header) < 5:
                raise FormatError("not a JPEG DeepFaceLab reads: its frame header is cut short")
            return int.from_bytes(header[3:5], "big"), int.from_bytes(header[1:3], "big")
    raise FormatError("not a JPEG DeepFaceLab reads: it has no frame header")


def list_segments(data: bytes) -> list[Segment]:
    """Given a JPEG, return its segments from SOI to EOI. Raise FormatError for one DeepFaceLab would refuse."""
    if len(data) > FILE_LIMIT_BYTES:
        raise FormatError(f"JPEG of {len(data)} bytes, at most {FILE_LIMIT_BYTES} are read")
    if data[:2] != bytes((0xFF, _SOI)):
        raise FormatError("not a JPEG: it does not begin with FF D8")
    return list(_walk(data))


def _walk(data: bytes) -> Iterator[Segment]:
    at = 0
    while at < len(data):
        if data[at] != 0xFF or at + 2 > len(data):
            raise FormatError(f"not a JPEG DeepFaceLab reads: no marker at byte {at}")
        marker, payload = data[at + 1], at + 2
        if marker in (_SOI, _EOI, _TEM):
            yield Segment(marker, at, payload, payload, payload)
            if marker == _EOI:
                if payload != len(data):
                    raise FormatError(f"not a JPEG DeepFaceLab reads: {len(data) - payload} bytes follow its end")
                return
            at = payload
            continue
        if marker == _DRI or marker in _RESTARTS:
            raise FormatError(
                "not a JPEG DeepFaceLab reads: it has restart markers",
                hint="encode it again as a baseline JPEG without restart interval",
            )
        end = payload + int.from_bytes(data[payload : payload + 2], "big")
        if marker < 0xC0 or end < payload + 2 or end > len(data):
            raise FormatError(f"not a JPEG DeepFaceLab reads: segment FF {marker:02X} at byte {at} is broken")
        if marker == _APP0 and data[payload + 2 : payload + 7] != b"JFIF\0":
            raise FormatError("not a JPEG DeepFaceLab reads: its APP0 segment is not JFIF")
        after = _end_of_scan(data, end) if marker == _SOS else end
        yield Segment(marker, at, payload + 2, end, after)
        at = after
    raise FormatError("not a JPEG DeepFaceLab reads: it is cut short, without its end marker")


def _end_of_scan(data: bytes, start: int) -> int:
    """Return where entropy-coded data ends: at the next FF that is not stuffed with 00."""
    at = data.find(b"\xff", start)
    while 0 <= at < len(data) - 1 and data[at + 1] == 0:
        at = data.find(b"\xff", at + 2)
    return at if at >= 0 else len(data)
