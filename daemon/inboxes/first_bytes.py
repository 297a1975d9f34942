"""What the first bytes of a file say it is: for names that say nothing, or lie. Interprets no more than a signature.

Not for deciding that a video can be used: only a worker opens it. Signatures are those of the formats' own
specifications, as FFmpeg's demuxers probe for them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from core.opening import open_regular

ContentKind = Literal["video", "text", "other"]

HEAD_BYTES = 4096
"""Enough for three packets of a transport stream and the headers of an Ogg file's streams."""

_PACKETS = ((0, 188), (4, 192), (0, 204))
"""Transport streams: where the first sync byte stands, and the distance to the next (ISO/IEC 13818-1, BDAV, DVB)."""
_MP4_BOXES = (b"moov", b"mdat", b"moof", b"wide", b"pnot", b"styp", b"sidx")
_MP4_NO_VIDEO_BRANDS = (
    b"heic",
    b"heix",
    b"heim",
    b"heis",
    b"mif1",
    b"mif2",
    b"avif",
    b"crx ",
    b"jpx ",
    b"jp2 ",
    b"M4A ",
    b"M4B ",
    b"M4P ",
)
"""Still pictures and sound in the same container."""
_STARTS = (
    b"\x1a\x45\xdf\xa3",  # Matroska, WebM
    b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",  # ASF: WMV
    b"FLV\x01",
    b".RMF",
    b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02",  # MXF
    b"\x00\x00\x01\xba",  # MPEG program stream
    b"\x00\x00\x01\xb3",  # MPEG-1 and -2 video
    b"DKIF",  # IVF
    b"YUV4MPEG2",
    b"nut/multimedia container",
    b"\xb7\xd8\x00\x20\x37\x49\xda\x11",  # WTV
    b"\x1f\x07\x00",  # DV
)
_OGG_VIDEO = (b"\x80theora", b"BBCD\x00", b"OVP80", b"\x01video\x00")
_TEXT_CONTROLS = frozenset(range(0x20)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1B}


def content_kind(head: bytes) -> ContentKind:
    """Given the first bytes of a file, say whether they begin a video, are text, or neither."""
    if _has_signature(head):
        return "video"
    if _is_text(head):
        return "text"
    # Sync bytes are the letter G, which a text may hold at such places.
    return "video" if any(_has_packets(head, first, size) for first, size in _PACKETS) else "other"


def read_head(path: Path) -> bytes | None:
    """Return the first bytes of a regular file; None for anything else, for a link, or where it may not be read."""
    try:
        with open_regular(path, within=None) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return None


def _has_signature(head: bytes) -> bool:
    if head[4:8] == b"ftyp":
        return head[8:12] not in _MP4_NO_VIDEO_BRANDS
    if head[:4] == b"RIFF":
        return head[8:12] in (b"AVI ", b"AVIX", b"AMV ")
    if head[:4] == b"OggS":
        return any(codec in head for codec in _OGG_VIDEO)
    return head[4:8] in _MP4_BOXES or head.startswith(_STARTS)


def _has_packets(head: bytes, first: int, size: int) -> bool:
    places = (first, first + size, first + 2 * size)
    return len(head) > places[-1] and all(head[place] == 0x47 for place in places)


def _is_text(head: bytes) -> bool:
    if not head or _TEXT_CONTROLS & set(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as problem:
        return problem.start > len(head) - 4 and problem.reason == "unexpected end of data"  # cut within a character
    return True
