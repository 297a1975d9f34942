"""What an image file's header and name say of it: its size, before anything is decoded or allocated; its format.

A picture of a few kilobytes can ask for gigabytes. Knows PNG, JPEG, BMP, WebP, GIF and TIFF; reads bytes, decodes
nothing. The sizes of AVIF and HEIC are found by the libraries that read them (engine.pictures.decoding).
"""

from __future__ import annotations

import struct

AVIF_BRANDS = frozenset({b"avif", b"avis"})
HEIF_BRANDS = frozenset({b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"})
"""Brands by which AVIF and HEIC files say what they are (ISO/IEC 23008-12)."""
IMAGE_SUFFIXES = frozenset(
    {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".hif", ".avif"}
)
"""Endings, in lower case, of the files that dfld takes for the frames of a folder."""
PHOTO_SUFFIXES = IMAGE_SUFFIXES | {
    ".jfif", ".gif",
    # Not read: taken all the same, so that such a photo is left out with its reason and not without a word.
    ".jxl", ".jp2", ".psd", ".exr", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2",
}  # fmt: skip
"""Endings, in lower case, of the files that dfld takes for reference photos in a folder of them."""

_JPEG_FRAME_MARKERS = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF0..SOF15; DHT, JPG and DAC are not
_TIFF_WIDTH, _TIFF_HEIGHT, _TIFF_SHORT = 256, 257, 3
_MAX_TIFF_TAGS = 1_000


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return (width, height) in px as stored, before EXIF orientation; None where the header cannot be read."""
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            return _two(">II", data, 16)
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data.startswith(b"BM"):
            width, height = _two("<ii", data, 18)
            return width, abs(height)  # negative: rows from the top
        if data.startswith(b"GIF8"):
            return _two("<HH", data, 6)
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
        if data[:4] in (b"II*\0", b"MM\0*"):
            return _tiff_size(data, "<" if data[:1] == b"I" else ">")
    except (struct.error, IndexError):
        return None
    return None


def _two(layout: str, data: bytes, offset: int) -> tuple[int, int]:
    first, second = struct.unpack_from(layout, data, offset)
    return first, second


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Walk the segments (ITU-T T.81 annex B) to the frame header: length, precision, height, width."""
    position = 2
    while data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _JPEG_FRAME_MARKERS:
            height, width = _two(">HH", data, position + 5)
            return width, height
        (length,) = struct.unpack_from(">H", data, position + 2)
        position += 2 + length
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    """RFC 9649: lossy (14 bits each behind the start code), lossless (14 bits each, less one), extended (24 bits)."""
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = _two("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _tiff_size(data: bytes, order: str) -> tuple[int, int] | None:
    """TIFF 6.0 §2: the first directory's ImageWidth and ImageLength."""
    (start,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, start)
    sizes: dict[int, int] = {}
    for entry in range(min(count, _MAX_TIFF_TAGS)):
        tag, kind = struct.unpack_from(f"{order}HH", data, start + 2 + 12 * entry)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT):
            layout = "H" if kind == _TIFF_SHORT else "I"
            (sizes[tag],) = struct.unpack_from(f"{order}{layout}", data, start + 10 + 12 * entry)
    if len(sizes) < 2:
        return None
    return sizes[_TIFF_WIDTH], sizes[_TIFF_HEIGHT]
