"""Does a container end where it says that it ends? Read from its headers alone, without FFmpeg and without decoding.

    MP4, MOV      boxes with lengths; fragmented: `mfra` closes what FFmpeg wrote
    Matroska      the segment's length, the lengths of clusters and blocks
    AVI, FLV      chunks and tags with lengths; the file size that FLV's metadata states
    Ogg           pages in sequence; the last page of each stream is marked
    MPEG-PS, -TS  packets with lengths, or of one length
    DV, ASF       frames of one length; the file size in the header

What a container does not tell (a transport stream that was cut exactly between two pictures), no reader of it can.
Sources: ISO/IEC 14496-12, RFC 9559, RFC 3533, AVI RIFF and FLV specifications, ISO/IEC 13818-1.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from engine.footage.signatures import HEAD_BYTES, container_of, transport_packet

ELEMENTS_MAX = 4_000_000
"""A container of more elements is not walked to its end, and nothing is said of it: blocks of eleven hours of Matroska
with sound, pages of 16 GB of Ogg."""
INDEX_BYTES_MAX = 64 << 20
TAIL_BYTES = 1 << 20
OGG_STREAMS_MAX = 10_000
"""A recorder chains a new stream with every cut; each is remembered."""
PACK, PROGRAM_END = 0xBA, 0xB9
"""Start codes of a program stream that are no packets with a length."""
ISO_BOXES = frozenset(
    b"ftyp moov mdat free skip wide pnot styp sidx moof uuid mfra meta udta emsg prft ssix imda".split()
)
EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
MATROSKA_ELEMENTS = frozenset(
    {CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
    | {0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xAF}
)
"""Of a segment (seek head, info, tracks, cues, attachments, chapters, tags), anywhere (void, CRC), of a cluster."""
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
DV_FRAME_BYTES = {False: 120_000, True: 144_000}  # 525/60, 625/50
FLV_TAGS = frozenset({8, 9, 18})
WITHOUT_END = frozenset({"mpegvideo", "mxf"})
"""Known here, but nothing in them says where they end."""


_BITS_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


class Descriptor(Protocol):
    def fileno(self) -> int: ...


@dataclass(frozen=True)
class Structure:
    """What the headers of a file say of its end."""

    container: str
    """"" where it is none that is known here."""
    missing_bytes: int | None = None
    """How much is promised beyond the end of the file; None where that cannot be told."""
    is_sized: bool = False
    """The missing bytes are those of the whole file, and not of one packet, page or fragment of many."""
    is_complete: bool = False
    """The container proves that it ends where it has to, and every element on the way was where it had to be."""
    trouble: str = ""
    """What is wrong with it beside the missing bytes: what ends a sentence that begins with the file."""
    unread_s: float | None = None
    """How long a second movie is that lies behind the first and that no player shows."""


class _CutError(Exception):
    """An element reaches beyond the end of the file by so many bytes; `is_sized`: the one that holds all others."""

    def __init__(self, missing: int, *, is_sized: bool = False) -> None:
        super().__init__(missing)
        self.missing = missing
        self.is_sized = is_sized


def structure_of(file: Descriptor) -> Structure:
    """Walk the headers of an open file. Raise OSError when it cannot be read."""
    source = _Source(file.fileno())
    head = source.at(0, HEAD_BYTES)
    if not head.strip(b"\0"):
        return Structure("zeros")
    name = "mp4" if head[4:8] in ISO_BOXES else container_of(head)
    walk = _WALKS.get(name)
    if walk is None:
        return Structure("other" if name in WITHOUT_END else "")
    try:
        return walk(source)
    except _CutError as cut:
        return Structure(name, cut.missing, cut.is_sized)
    except _TooManyError:
        return Structure(name)


class _TooManyError(Exception):
    """There are more than ELEMENTS_MAX elements: what comes behind them is not known."""


class _Source:
    """Bytes of an open file by place."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.size = os.fstat(descriptor).st_size

    def at(self, place: int, length: int) -> bytes:
        """Return `length` bytes, fewer at the end of the file."""
        return os.pread(self._descriptor, length, place)

    def need(self, place: int, length: int) -> bytes:
        """Return exactly `length` bytes. Raise _CutError where the file ends before."""
        found = self.at(place, length)
        if len(found) < length:
            raise _CutError(length - len(found))
        return found

    def elements(self) -> Iterator[int]:
        """Count the elements of a walk. Raise _TooManyError where it has not ended after ELEMENTS_MAX of them."""
        yield from range(ELEMENTS_MAX)
        raise _TooManyError

    def require(self, end: int, *, is_sized: bool = False) -> None:
        if end > self.size:
            raise _CutError(end - self.size, is_sized=is_sized)


def _iso(source: _Source) -> Structure:
    place, kinds, second_s, is_second = 0, set[bytes](), None, False
    encoder_ends_with_mfra = False
    for _ in source.elements():
        head = source.at(place, 16)
        if not head:
            break
        if len(head) < 8 or head[4:8] not in ISO_BOXES:
            if len(head) < 8 and head.strip(b"\0") and (b"moof" in kinds or b"mdat" not in kinds):
                raise _CutError(8 - len(head))
            break  # what cameras and programs put behind the boxes
        length, kind = int.from_bytes(head[:4], "big"), head[4:8]
        if length == 1 and len(head) == 16:
            length = int.from_bytes(head[8:], "big")
        elif length == 0:
            length = source.size - place
        if length < 8:
            return Structure("mp4", 0, trouble=f"holds a box of impossible length at byte {place}")
        source.require(place + length, is_sized=kind == b"mdat" and b"moof" not in kinds)
        if kind == b"moov":
            index = source.at(place, min(length, INDEX_BYTES_MAX))
            if b"moov" in kinds and b"mvex" not in index:
                is_second, second_s = True, _movie_seconds(index)
            encoder_ends_with_mfra = b"Lavf" in index
        kinds.add(kind)
        place += length
    if not kinds & {b"moov", b"moof"}:
        return Structure("mp4", None)
    if is_second:
        trouble = "holds a second movie behind the first, which is not read"
        return Structure("mp4", 0, trouble=trouble, unread_s=second_s)
    if b"moof" in kinds:
        ends = b"mfra" in kinds
        cut = encoder_ends_with_mfra and not ends and not kinds & {b"styp", b"sidx"}
        return Structure(
            "mp4", 0, is_complete=ends, trouble="ends without the table that closes a fragmented MP4" if cut else ""
        )
    return Structure("mp4", 0, is_complete=b"mdat" in kinds)


def _movie_seconds(index: bytes) -> float | None:
    """Read the length of a movie from its header box (`mvhd`: version, flags, times, time scale, duration)."""
    at = index.find(b"mvhd")
    if at < 0 or len(index) < at + 40:
        return None
    wide = index[at + 4] == 1
    scale, duration = struct.unpack_from(">IQ" if wide else ">II", index, at + (24 if wide else 16))
    return duration / scale if scale else None


def _matroska(source: _Source) -> Structure:
    place = _element_end(source, 0)
    identity, length, place = _element(source, place)
    if identity != SEGMENT:
        return Structure("matroska", 0, trouble="has no segment behind its header")
    end = None if length is None else place + length
    if end is not None:
        source.require(end, is_sized=True)
    for _ in source.elements():
        if place >= (source.size if end is None else end):
            break
        identity, length, inside = _element(source, place)
        if end is None and identity in (EBML, SEGMENT):
            return Structure("matroska", 0, trouble="holds a second movie behind the first, which is not read")
        if identity not in MATROSKA_ELEMENTS:
            return Structure("matroska", 0, trouble=f"is damaged at byte {place}, between two elements")
        if length is not None:
            source.require(inside + length)
        place = inside if length is None or identity == CLUSTER else inside + length  # into a cluster, to its blocks
    if end is not None and source.at(end, 4) == EBML.to_bytes(4):
        return Structure("matroska", 0, trouble="holds a second movie behind the first, which is not read")
    return Structure("matroska", 0, is_complete=end is not None)


def _element_end(source: _Source, place: int) -> int:
    _, length, inside = _element(source, place)
    return inside + (length or 0)


def _element(source: _Source, place: int) -> tuple[int, int | None, int]:
    """Return an element's id, its length (None: unknown) and where its content begins (RFC 8794 §4, §5)."""
    head = source.at(place, 12)
    if not head:
        raise _CutError(1)
    id_length = 9 - head[0].bit_length() if head[0] else 9
    if id_length > 4:
        return 0, 0, place + 1
    if len(head) <= id_length:
        raise _CutError(1)
    identity = int.from_bytes(head[:id_length], "big")
    first = head[id_length]
    size_length = 9 - first.bit_length() if first else 9
    if size_length > 8:
        return 0, 0, place + 1
    value = head[id_length : id_length + size_length]
    if len(value) < size_length:
        raise _CutError(size_length - len(value))
    bits = 7 * size_length
    length = int.from_bytes(value, "big") & ((1 << bits) - 1)
    return identity, None if length == (1 << bits) - 1 else length, place + id_length + size_length


def _riff(source: _Source) -> Structure:
    place = 0
    for _ in source.elements():
        head = source.at(place, 12)
        if len(head) < 12 or head[:4] != b"RIFF":
            break
        length = int.from_bytes(head[4:8], "little")
        if place and head[8:] == b"AVI ":
            return Structure("avi", 0, trouble="holds a second movie behind the first, which is not read")
        if length in (0, 0xFFFFFFFF):
            return Structure("avi", None)  # a recording that was never closed
        source.require(place + 8 + length, is_sized=True)
        if (broken := _broken_chunk(source, place + 12, place + 8 + length)) is not None:
            return Structure("avi", 0, trouble=f"is damaged at byte {broken}, between two chunks")
        place += 8 + length + length % 2
    return Structure("avi", 0, is_complete=True)


def _broken_chunk(source: _Source, place: int, end: int) -> int | None:
    """Walk the chunks up to `end`, into the lists of frames; return where one has no name."""
    elements = source.elements()
    while next(elements) >= 0 and place + 8 <= end:
        head = source.at(place, 12)
        if not head[:4].strip(b"\0"):
            return None  # padding
        if not head[:4].decode("latin-1").isprintable() or not head[:4].isascii():
            return place
        length = int.from_bytes(head[4:8], "little")
        into = head[:4] == b"LIST" and head[8:12] in (b"movi", b"rec ")
        if not into and place + 8 + length > end:
            return place
        place += 12 if into else 8 + length + length % 2
    return None


def _flv(source: _Source) -> Structure:
    place = int.from_bytes(source.need(5, 4), "big") + 4
    promised = 0
    for number in source.elements():
        head = source.at(place, 11)
        if not head:
            break
        if head.startswith(b"FLV\x01"):
            return Structure("flv", 0, trouble="holds a second movie behind the first, which is not read")
        if head[0] & 0x1F not in FLV_TAGS:
            return Structure("flv", max(0, promised - source.size), trouble=f"is damaged at byte {place}")
        if len(head) < 11:
            raise _CutError(max(11 - len(head), promised - source.size), is_sized=promised > 0)
        length = int.from_bytes(head[1:4], "big")
        if number == 0 and head[0] == 18:
            promised = _flv_file_size(source.at(place + 11, min(length, TAIL_BYTES)))
        if place + 11 + length + 4 > source.size:
            raise _CutError(max(place + 11 + length + 4, promised) - source.size, is_sized=promised > 0)
        place += 11 + length + 4
    source.require(promised, is_sized=True)
    return Structure("flv", 0, is_complete=promised == source.size)


def _flv_file_size(metadata: bytes) -> int:
    """Read the number `filesize` of `onMetaData` (AMF0: name, type 0, big-endian double); 0 where there is none."""
    at = metadata.find(b"filesize\x00")
    if at < 0 or len(metadata) < at + 17:
        return 0
    value = struct.unpack_from(">d", metadata, at + 9)[0]
    return int(value) if 0 < value < 1 << 53 else 0


def _ogg(source: _Source) -> Structure:
    place, next_page, ended, lost = 0, dict[bytes, int](), set[bytes](), 0
    for _ in source.elements():
        head = source.at(place, 27 + 255)
        if not head:
            break
        if head[:4] != b"OggS"[: len(head[:4])]:
            return Structure("ogg", 0, trouble=f"is damaged at byte {place}, between two pages")
        if len(head) < 27 or len(head) < 27 + head[26]:
            raise _CutError(1)
        serial, number = head[14:18], int.from_bytes(head[18:22], "little")
        lost += number != next_page.get(serial, number)
        next_page[serial] = number + 1
        if len(next_page) > OGG_STREAMS_MAX:
            raise _TooManyError
        ended -= {serial}
        if head[5] & 4:
            ended |= {serial}
        end = place + 27 + head[26] + sum(head[27 : 27 + head[26]])
        source.require(end)
        lost += _ogg_checksum(source.at(place, end - place)) != int.from_bytes(head[22:26], "little")
        place = end
    if lost:
        return Structure("ogg", 0, trouble=f"has {lost} missing or damaged pages")
    if ended != set(next_page):
        return Structure("ogg", None, trouble="ends without the page that closes a stream")
    return Structure("ogg", 0, is_complete=True)


def _ogg_checksum(page: bytes) -> int:
    """Compute the CRC of a page, its own field as zeros: the polynomial of zlib's, with bits in their order."""
    zeroed = page[:22] + bytes(4) + page[26:]
    reversed_crc = zlib.crc32(zeroed.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reversed_crc:032b}"[::-1], 2)


def _program_stream(source: _Source) -> Structure:
    place = 0
    while place < source.size:
        head = source.at(place, 14)
        if len(head) < 4:
            raise _CutError(4 - len(head))
        if head[:3] != b"\x00\x00\x01":
            if not source.at(place, TAIL_BYTES).strip(b"\0"):
                break  # padding
            return Structure("mpeg", 0, trouble=f"is damaged at byte {place}, between two packets")
        if head[3] == PROGRAM_END:
            place += 4
            continue
        if len(head) < (14 if head[3] == PACK else 6):
            raise _CutError(1)
        if head[3] == PACK:
            place += 14 + (head[13] & 7) if head[4] >> 6 == 1 else 12  # MPEG-2, MPEG-1
        else:
            place += 6 + int.from_bytes(head[4:6], "big")
    source.require(place)
    return Structure("mpeg", 0)


def _transport_stream(source: _Source) -> Structure:
    length = transport_packet(source.at(0, HEAD_BYTES))
    first = 4 if length == 192 else 0
    rest = source.size % length
    if rest and source.at(source.size - rest, rest).strip(b"\0"):
        raise _CutError(length - rest)
    step = length << 12
    for place in range(0, source.size - rest, step):
        packets = source.at(place, min(step, source.size - rest - place))
        if packets[first::length].strip(b"\x47"):
            return Structure("mpegts", 0, trouble=f"is damaged behind byte {place}: packets do not begin as they must")
    return Structure("mpegts", 0)


def _asf(source: _Source) -> Structure:
    head = source.at(0, 1 << 16)
    at = head.find(ASF_FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return Structure("asf", None)
    if int.from_bytes(head[at + 88 : at + 92], "little") & 1:
        return Structure("asf", None)  # a broadcast: no length is known
    source.require(int.from_bytes(head[at + 40 : at + 48], "little"), is_sized=True)
    return Structure("asf", 0, is_complete=True)


def _dv(source: _Source) -> Structure:
    length = DV_FRAME_BYTES[bool(source.need(3, 1)[0] & 0x80)]
    if source.size % length:
        raise _CutError(length - source.size % length)
    return Structure("dv", 0)


_WALKS: Mapping[str, Callable[[_Source], Structure]] = {
    "mp4": _iso, "matroska": _matroska, "avi": _riff, "flv": _flv, "ogg": _ogg, "mpeg": _program_stream,
    "mpegts": _transport_stream, "asf": _asf, "dv": _dv,
}  # fmt: skip
