"""Was all of an image file read as its one picture? Walks its structure; pixels are engine.pictures.decoding' affair.

Decoders conceal damage: libjpeg fills what it cannot read with grey and only warns, which nobody can learn through
OpenCV; WebP and TIFF go on over zeros. They also read the first picture of many and stop. So it is decided here what
the bytes prove:

    damage   the picture itself is not whole
    unread   the file holds, or may hold, more than the picture that was read

The bytes are untrusted: every walk is bounded by their length.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import simplejpeg

JPEG_SOS, JPEG_EOI = 0xDA, 0xD9
_JPEG_DHT = 0xC4
_JPEG_PROGRESSIVE = frozenset({0xC2, 0xC6, 0xCA, 0xCE})
_TIFF_MOST_BYTES_A_PX = 64  # four numbers of 64 bits, and rows of tiles that reach over the edge
_TIFF_PLAIN, _TIFF_DEFLATE = 1, (8, 32946)
_JPEG_ALONE = frozenset({0x01, 0xD8, *range(0xD0, 0xD8)})  # markers without a segment: TEM, SOI, RST0..7
_JPEG_MARKER = re.compile(rb"\xff+[^\x00\xff\xd0-\xd7]")
"""What ends entropy-coded data (T.81 §B.1.1.5): not the stuffed zero byte, not a restart marker."""


ZEROS = 64
"""A longer run of zero bytes in compressed data is a hole: entropy coders write none, whatever they compress, but for
the cases that are looked at here. Flat pictures of every encoder at hand have at most 16."""
VP8_PX_A_ZERO = 5000
"""So many pixels of a flat WebP may add a zero byte: its arithmetic coder writes nothing else for one symbol that is
the likelier one every time. Measured: 10,000."""
EXIF_PADDING = 4096
"""Zeros that programs leave in metadata so that it can grow, where data of pictures are not distinguished from it."""
MOST_PAGES, MOST_TAGS, MOST_STRIPS = 100, 1_000, 200_000
"""Of a TIFF that are looked at; a picture of 16,384 px a side has 65,536 tiles of 64 px."""
PIECE = 1 << 16
"""Bytes of a compressed stream that are read at a time."""
MOST_BLOCKS = 5_000_000
"""Of a GIF that are followed, 255 bytes each."""
MOST_SEGMENTS = 100_000
"""Of a JPEG that are followed; the longest ICC profile takes 255."""


@dataclass(frozen=True)
class Account:
    """What the bytes of an image file prove, each as the rest of a sentence that begins with the file; "" for none."""

    damage: str = ""
    unread: str = ""


class JpegSegment(NamedTuple):
    """One marker segment: where its payload starts, of SOS also its entropy-coded data, and where that ends."""

    marker: int
    start: int
    end: int
    coded: int = 0


def jpeg_segments(data: bytes) -> Iterator[JpegSegment]:
    """Walk a JPEG (ITU-T T.81 annex B) to its EOI, or to where its structure breaks off."""
    place = 2
    for _ in range(MOST_SEGMENTS):
        if place + 2 > len(data) or data[place] != 0xFF:
            return
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
            coded, end = end, found.start() if found else len(data)
            yield JpegSegment(marker, place, end, coded)
        else:
            yield JpegSegment(marker, place, end)
        place = end


def count_scans(data: bytes) -> int:
    """Return the number of scans of a JPEG, each of which its decoder goes over the whole picture for."""
    segments = list(jpeg_segments(data))
    if len(segments) == MOST_SEGMENTS:
        return MOST_SEGMENTS
    return sum(segment.marker == JPEG_SOS for segment in segments)


def account_for(data: bytes, kind: str, size: tuple[int, int]) -> Account:
    """Given an image file that was decoded, say what its bytes show of damage, and of content that was not read.

    `kind`: engine.pictures.decoding.picture_format's word; `size`: width and height of the picture, px.
    """
    try:
        return _ACCOUNTS[kind](data, size)
    except (struct.error, IndexError):
        return Account(damage="its structure breaks off")
    except (ArithmeticError, ValueError, RuntimeError, MemoryError):
        return Account(unread="whether it is whole is not known")


def _jpeg(data: bytes, size: tuple[int, int]) -> Account:
    del size
    segments = list(jpeg_segments(data))
    if not segments or segments[-1].marker != JPEG_EOI:
        return Account(damage="it ends before its end marker")
    if _has_jpeg_hole(data, segments):
        return Account(damage="its compressed data have a hole of zeros")
    tail = _behind(data[segments[-1].end :])
    try:
        _decode_eighth(data, strict=True)
    except ValueError:
        try:
            _decode_eighth(data, strict=False)
        except ValueError:
            return Account(unread=tail or "it is of a kind of JPEG whose damage cannot be seen")
        return Account(damage="its compressed data do not end where the picture does")
    return Account(unread=tail)


def _decode_eighth(data: bytes, *, strict: bool) -> None:
    """Decode all of a JPEG's entropy-coded data, and an eighth of its pixels. Raise ValueError where that fails, and,
    if `strict`, for what libjpeg only warns of: bits that are missing or left over."""
    simplejpeg.decode_jpeg(data, colorspace="GRAY", min_height=1, min_width=1, min_factor=8, strict=strict)


def _has_jpeg_hole(data: bytes, segments: list[JpegSegment]) -> bool:
    """Say whether a scan has zeros that its Huffman codes cannot mean."""
    zero_codes: dict[int, int] = {}  # class and number of a table -> what its code of zero bits alone means
    progressive = False
    for segment in segments:
        if segment.marker == _JPEG_DHT:
            zero_codes.update(_zero_codes(data[segment.start + 2 : segment.end]))
        elif segment.marker in _JPEG_PROGRESSIVE:
            progressive = True
        elif segment.marker == JPEG_SOS:
            coded = data[segment.coded : segment.end]
            if bytes(ZEROS) not in coded:
                continue
            header = data[segment.start + 2 : segment.coded]
            if not _zeros_have_a_meaning(header, coded, zero_codes, progressive):
                return True
    return False


def _zero_codes(tables: bytes) -> Iterator[tuple[int, int]]:
    """T.81 §B.2.4.2: class and number, 16 counts, then the symbols, that of the code of zeros first."""
    place = 0
    while place + 17 < len(tables):
        yield tables[place], tables[place + 17]
        place += 17 + sum(tables[place + 1 : place + 17])


def _zeros_have_a_meaning(header: bytes, coded: bytes, zero_codes: dict[int, int], progressive: bool) -> bool:
    """Zeros without end mean a flat picture where they say "as the block before" and "no more in this block".

    In a progressive JPEG, the coefficients of a flat picture take no room; only what is written for each block can be
    zeros: the mean as it was before, or one more bit of it.
    """
    count = header[0]
    selectors = header[2 : 1 + 2 * count : 2]
    same = all(zero_codes.get(selector >> 4) == 0 for selector in selectors)
    if not progressive:
        return same and all(zero_codes.get(0x10 | selector & 0x0F) == 0 for selector in selectors)
    first, refined = header[1 + 2 * count], header[3 + 2 * count] >> 4
    if first > 0:
        return False
    return bytes(ZEROS) not in coded[:-2].strip(b"\0") if refined else same  # flat above and below: black bars


def _png(data: bytes, size: tuple[int, int]) -> Account:
    """PNG §5: length, type, data, checksum; acTL of an animation begins with its number of frames."""
    del size
    place, frames = 8, 1
    while True:
        (length, kind) = struct.unpack_from(">I4s", data, place)
        (checksum,) = struct.unpack_from(">I", data, place + 8 + length)
        is_critical = not kind[0] & 0x20
        if is_critical and zlib.crc32(memoryview(data)[place + 4 : place + 8 + length]) != checksum:
            return Account(damage="a checksum in it is wrong")
        if kind == b"acTL":
            (frames,) = struct.unpack_from(">I", data, place + 8)
        place += 12 + length
        if kind == b"IEND":
            return Account(unread=_frames(frames) or _behind(data[place:]))


def _gif(data: bytes, size: tuple[int, int]) -> Account:
    """GIF89a §18 to 27: blocks of extensions (0x21) and images (0x2C), each with sub-blocks, to the trailer (0x3B)."""
    del size
    place = 13 + (3 << (data[10] & 7) + 1 if data[10] & 0x80 else 0)
    frames = blocks = 0
    while data[place] != 0x3B:
        if data[place] == 0x2C:
            frames += 1
            place += 11 + (3 << (data[place + 9] & 7) + 1 if data[place + 9] & 0x80 else 0)
        elif data[place] == 0x21:
            place += 2
        else:
            return Account(damage="its structure breaks off")
        while data[place]:
            place += 1 + data[place]
            blocks += 1
        if blocks > MOST_BLOCKS:
            return Account(unread="it has more blocks than are followed")
        place += 1
    hole = "its compressed data may have a hole" if bytes(ZEROS) in data[:place] else ""
    return Account(unread=_frames(frames) or _behind(data[place + 1 :]) or hole)


def _webp(data: bytes, size: tuple[int, int]) -> Account:
    """RFC 9649 §2.4 to 2.7: RIFF chunks, of which ANMF is a frame of an animation."""
    end = 8 + int.from_bytes(data[4:8], "little")
    if end > len(data):
        return Account(damage="it is truncated")
    place, frames, zeros = 12, 0, bytes(ZEROS + size[0] * size[1] // VP8_PX_A_ZERO)
    hole = ""
    while place + 8 <= end:
        kind, length = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], "little")
        if place + 8 + length > end:
            return Account(damage="it is truncated")
        frames += kind == b"ANMF"
        if kind in (b"VP8 ", b"VP8L", b"ALPH", b"ANMF") and zeros in data[place + 8 : place + 8 + length]:
            hole = "its compressed data may have a hole"
        place += 8 + length + (length & 1)
    return Account(unread=_frames(frames) or _behind(data[end:]) or hole)


def _bmp(data: bytes, size: tuple[int, int]) -> Account:
    """The rows start where the header says; each is filled up to four bytes."""
    start, bits, compression = (struct.unpack_from("<" + c, data, p)[0] for c, p in (("I", 10), ("H", 28), ("I", 30)))
    row = (size[0] * bits + 31) // 32 * 4
    if compression not in (0, 3):
        end, row = len(data), 0
    else:
        end = start + row * size[1]
    if end > len(data):
        return Account(damage="it is truncated")
    return Account(unread=_zero_rows(data[start:end], row) or _behind(data[end:]))


def _tiff(data: bytes, size: tuple[int, int]) -> Account:
    """TIFF 6.0 §2: a chain of directories, one a page; strips or tiles of the first hold the picture."""
    order = "<" if data[:1] == b"I" else ">"
    pages: list[dict[int, tuple[int, ...]]] = []
    (place,) = struct.unpack_from(order + "I", data, 4)
    seen: set[int] = set()
    last = 0
    while place and place not in seen and len(seen) < MOST_PAGES:
        seen.add(place)
        tags, place, end = _tiff_directory(data, order, place, MOST_TAGS if pages else MOST_STRIPS)
        pages.append(tags)
        inner = [
            _tiff_directory(data, order, at, MOST_TAGS)[2] for tag in _TIFF_INNER for at in tags.get(tag, ())[:9] if at
        ]
        last = max(last, end, *inner)
        for places, sizes in ((273, 279), (324, 325)):
            ends = zip(tags.get(places, ()), tags.get(sizes, ()), strict=False)
            last = max(last, *(start + length for start, length in ends), 0)
    full = [tags for tags in pages[1:] if not tags.get(254, (0,))[0] & 1]  # others are smaller copies
    first = pages[0]
    starts, lengths = first.get(273) or first.get(324) or (), first.get(279) or first.get(325) or ()
    if not starts or len(starts) != len(lengths):
        return Account(unread=_frames(1 + len(full)) or "where its pixels end is not known")
    if any(start + length > len(data) for start, length in zip(starts, lengths, strict=True)):
        return Account(damage="it is truncated")
    parts = (data[start : start + length] for start, length in zip(starts, lengths, strict=True))
    more = _frames(1 + len(full)) or _behind(data[last:])
    compression = first.get(259, (1,))[0]
    if compression in _TIFF_DEFLATE:
        most = size[0] * size[1] * _TIFF_MOST_BYTES_A_PX
        whole = all(_is_whole_deflate(part, most) for part in parts)
        return Account(damage="" if whole else "its compressed data are damaged", unread=more)
    if compression != _TIFF_PLAIN:
        hole = any(bytes(ZEROS) in part for part in parts)
        return Account(damage="its compressed data have a hole of zeros" if hole else "", unread=more)
    bits = first.get(258, (1,))
    samples = first.get(277, (1,))[0] if first.get(284, (1,))[0] == 1 else 1
    row = (first.get(322, (size[0],))[0] * bits[0] * samples + 7) // 8
    return Account(unread=more or _zero_rows(b"".join(parts), row))


_TIFF_LAYOUTS = {1: "B", 3: "H", 4: "I", 13: "I"}
_TIFF_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_TIFF_INNER = (330, 34665, 34853)  # directories inside of a directory: smaller copies, EXIF, GPS
_TIFF_WANTED = frozenset({254, 258, 259, 273, 277, 279, 284, 322, 324, 325, *_TIFF_INNER})


def _tiff_directory(data: bytes, order: str, place: int, most: int) -> tuple[dict[int, tuple[int, ...]], int, int]:
    """Return the wanted tags of a directory, where the next one is (0: there is none), and where all of it ends."""
    (count,) = struct.unpack_from(order + "H", data, place)
    tags: dict[int, tuple[int, ...]] = {}
    end = place + 6 + 12 * count
    for entry in range(place + 2, place + 2 + 12 * min(count, MOST_TAGS), 12):
        tag, form, number = struct.unpack_from(order + "HHI", data, entry)
        length = number * _TIFF_BYTES.get(form, 0)
        if length > 4:
            end = max(end, struct.unpack_from(order + "I", data, entry + 8)[0] + length)
        if tag not in _TIFF_WANTED or form not in _TIFF_LAYOUTS or number > most:
            continue
        layout = f"{order}{number}{_TIFF_LAYOUTS[form]}"
        at = entry + 8 if struct.calcsize(layout) <= 4 else struct.unpack_from(order + "I", data, entry + 8)[0]
        tags[tag] = struct.unpack_from(layout, data, at)
    (following,) = struct.unpack_from(order + "I", data, place + 2 + 12 * count)
    return tags, following, end


def _is_whole_deflate(part: bytes, most: int) -> bool:
    """Say whether a zlib stream ends, with its checksum, before it gives more than `most` bytes; they are dropped."""
    stream = zlib.decompressobj()
    given = 0
    try:
        for place in range(0, len(part), PIECE):
            piece = part[place : place + PIECE]
            while piece and not stream.eof and given <= most + PIECE:
                given += len(stream.decompress(piece, 1 << 20))
                piece = stream.unconsumed_tail
    except zlib.error:
        return False
    return stream.eof


def _boxes(data: bytes, size: tuple[int, int]) -> Account:
    """ISO/IEC 14496-12 §4.2: boxes of a still picture; `moov` is a sequence's, `mpvd` holds a phone's film."""
    del size
    place, film = 0, ""
    while place < len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, place + 8)
        length = length or len(data) - place
        if length < 8 or place + length > len(data):
            return Account(damage="it is truncated") if kind.isalnum() else Account(unread=_behind(data[place:]))
        if kind not in (b"ftyp", b"meta", b"mdat", b"free", b"skip", b"uuid"):
            film = "it holds a film or a sequence of pictures beside the one that is read"
        place += length
    hole = bytes(EXIF_PADDING if b"Exif" in data else ZEROS) in data or data.endswith(bytes(ZEROS))
    return Account(unread=film or ("its compressed data may have a hole" if hole else ""))


def _frames(count: int) -> str:
    return f"only the first of its {count} pictures is read" if count > 1 else ""


def _behind(tail: bytes) -> str:
    """Say what stands behind a picture's end; fill bytes and line ends are nothing."""
    tail = tail.strip(b"\0\xff\r\n\t ")
    if not tail:
        return ""
    what = "a film, " if b"ftyp" in tail[:4096] else "a further picture, " if tail.startswith(b"\xd8\xff") else ""
    return f"behind its end it has {what}{len(tail)} bytes that are not read"


def _zero_rows(pixels: bytes, row: int) -> str:
    """Pixels that are not compressed may end in black rows, but zeros from within a row on are what copies that broke
    off leave; where that is a black picture's ragged edge, the doubt costs nothing but a file that is kept."""
    zeros = len(pixels) - len(pixels.rstrip(b"\0"))
    if zeros in (0, len(pixels)) or zeros <= row or (row and zeros % row == 0):
        return ""
    return f"its last {zeros} bytes are zeros from within a row on"


_ACCOUNTS: dict[str, Callable[[bytes, tuple[int, int]], Account]] = {
    "JPEG": _jpeg, "PNG": _png, "GIF": _gif, "WebP": _webp, "BMP": _bmp, "TIFF": _tiff, "AVIF": _boxes, "HEIC": _boxes,
}  # fmt: skip
