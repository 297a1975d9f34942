"""Does a container end where it says that it ends? Read from its headers alone, without FFmpeg and without decoding.

    MP4, MOV      boxes with lengths; fragmented: `mfra` closes what FFmpeg wrote
    Matroska      the segment's length, the lengths of clusters and blocks
    AVI, FLV      chunks and tags with lengths; the file size that FLV's metadata states
    Ogg           pages in sequence; the last page of each stream is marked
    MPEG-PS, -TS  packets with lengths, or of one length
    DV, ASF       frames of one length; the file size in the header

What a container does not say (a transport stream that was cut exactly between two pictures), no reader of it can.

Two things are said, with the burden of proof on either side. `missing_bytes` and `trouble` say what is proven to be
missing or damaged. `unproven` is empty only where the walk came to the end of the file and every byte belongs to an
element that is known: whoever deletes the file needs that. Formats without a walk prove nothing.
Sources: ISO/IEC 14496-12, RFC 9559, RFC 3533, AVI RIFF and FLV specifications, ISO/IEC 13818-1.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from engine.footage.signatures import HEAD_BYTES, container_of, transport_packet

ELEMENTS_MAX = 4_000_000
"""A container of more elements is not walked to its end, and nothing is said of it: blocks of eleven hours of Matroska
with sound, pages of 16 GB of Ogg."""
INDEX_BYTES_MAX = 64 << 20
"""A larger table is not read, which bounds memory: four bytes a frame, hours of footage fit."""
TAIL_BYTES = 1 << 20
"""Read at once where a file is walked byte by byte: bounds memory."""
OGG_STREAMS_MAX = 10_000
"""A recorder chains a new stream with every cut; each is remembered."""
PACK, PROGRAM_END, PADDING_STREAM = 0xBA, 0xB9, 0xBE
"""Start codes of a program stream; the first two are no packets with a length."""
PADDING_MAX, PADDING_FRACTION_MAX = 64 << 10, 0.02
"""So many zeros at the end (one cluster of a disk), and so much of the file, are padding, in any container. Where it
states no end before them, more of them are what a copy that broke off leaves."""
SPARE_BYTES_MAX = 64 << 10
"""So much media data of an MP4 may belong to no sample: padding between chunks."""
NO_PROOF = "nothing in it proves that all of it is there"
SECOND_MOVIE = "holds a second movie behind the first, which is not read"
MOVIE_HEADS = (b"ftyp", b"moov", b"\x1aE\xdf\xa3", b"RIFF", b"OggS", b"FLV\x01")
ISO_BOXES = frozenset(
    b"ftyp moov mdat free skip wide pnot styp sidx moof uuid mfra meta udta emsg prft ssix imda".split()
)
EBML, SEGMENT, CLUSTER = 0x1A45DFA3, 0x18538067, 0x1F43B675
MATROSKA_ELEMENTS = frozenset(
    {CLUSTER, 0x114D9B74, 0x1549A966, 0x1654AE6B, 0x1C53BB6B, 0x1941A469, 0x1043A770, 0x1254C367}
    | {0xEC, 0xBF, 0xE7, 0xA3, 0xA0, 0xA7, 0xAB, 0x5854, 0xAF}
)
"""Of a segment (seek head, info, tracks, cues, attachments, chapters, tags), anywhere (void, CRC), of a cluster."""
BLOCKS = frozenset({0xA3, 0xA0})
"""Simple blocks and groups of a block, which begin with the number of a track or an element."""
ASF_HEAD = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
DV_HEAD = b"\x1f\x07\x00"
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
    """How much is promised beyond the end of the file; None where that cannot be said."""
    is_sized: bool = False
    """The missing bytes are those of the whole file, and not of one packet, page or fragment of many."""
    is_complete: bool = False
    """The container proves that it ends where it has to, and every element on the way was where it had to be."""
    trouble: str = ""
    """What is wrong with it beside the missing bytes: what ends a sentence that begins with the file."""
    unread_s: float | None = None
    """How long a second movie is that lies behind the first and that no player shows."""
    unproven: str = NO_PROOF
    """Why it is not proven that the file holds nothing but what was walked; "" where it is."""
    pictures: int | None = None
    """How many pictures the tables of an MP4 list, hidden ones included; how many chunks of an AVI hold one."""
    begins_again: bool = False
    """A fragmented MP4 repeats its header: segments of one recording, or a second one of the same form."""
    video_streams: int = 1
    """Of a transport stream: how many carry video, announced or not."""


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

    def zeros_from(self, place: int) -> int | None:
        """Return how many bytes lie behind `place` if all are zeros, else None."""
        for start in range(place, self.size, TAIL_BYTES):
            if self.at(start, TAIL_BYTES).strip(b"\0"):
                return None
        return max(0, self.size - place)

    def elements(self) -> Iterator[int]:
        """Count the elements of a walk. Raise _TooManyError where it has not ended after ELEMENTS_MAX of them."""
        yield from range(ELEMENTS_MAX)
        raise _TooManyError

    def require(self, end: int, *, is_sized: bool = False) -> None:
        if end > self.size:
            raise _CutError(end - self.size, is_sized=is_sized)


def _ended(
    source: _Source,
    name: str,
    place: int,
    *,
    is_stated: bool,
    is_complete: bool = False,
    trouble: str = "",
    unproven: str = "",
    pictures: int | None = None,
    begins_again: bool = False,
    video_streams: int = 1,
) -> Structure:
    """Judge what lies behind the last element, which ends at `place`; `is_stated`: the container says that it ends
    there. `unproven`: why the walk itself proves nothing; "" where it does. The others: what is known besides.
    """
    known = Structure(
        name, 0, is_complete=is_complete, trouble=trouble, pictures=pictures, begins_again=begins_again,
        video_streams=video_streams,
    )  # fmt: skip
    rest = source.size - place
    zeros = source.zeros_from(place) if rest > 0 else 0
    if zeros:
        is_padding = zeros <= min(PADDING_MAX, PADDING_FRACTION_MAX * source.size)
        if not (is_padding or is_stated):
            return Structure(name, 0, trouble=f"ends in {zeros} bytes of zeros, as a copy that broke off leaves them")
        if not (is_padding and is_stated):
            unproven = unproven or f"it ends in {zeros} bytes of zeros"
    elif zeros is None:
        if _holds_movie(source, place):
            return replace(known, trouble=SECOND_MOVIE)
        unproven = f"the {rest} bytes behind its end are of no known kind"
    return replace(known, unproven=unproven)


def _holds_movie(source: _Source, place: int) -> bool:
    for start in range(place, source.size, TAIL_BYTES):
        piece = source.at(start, TAIL_BYTES + 8)
        if any(head in piece for head in MOVIE_HEADS):
            return True
    return False


@dataclass
class _Tables:
    """What the tables of an MP4 list."""

    videos: set[int] = field(default_factory=set)
    """Numbers of the tracks of moving pictures."""
    pictures: int = 0
    sample_bytes: int = 0
    is_known: bool = True
    """False where a table could not be read, so that the sums are too small."""

    def read_movie(self, index: bytes) -> None:
        for _, start, end in _inner(index, 8, len(index), b"trak"):
            tables = {kind: (begin, stop) for kind, begin, stop in _deep(index, start, end)}
            if not {b"tkhd", b"hdlr", b"stsz"} <= set(tables):
                self.is_known = False
                continue
            at = tables[b"tkhd"][0]
            number = int.from_bytes(index[at + (20 if index[at] else 12) :][:4], "big")
            at, stop = tables[b"stsz"]
            size, count = struct.unpack_from(">II", index, at + 4)
            sizes = np.frombuffer(index, ">u4", count=max(0, min(count, (stop - at - 12) // 4)), offset=at + 12)
            self.is_known &= bool(size) or len(sizes) == count
            self.sample_bytes += size * count if size else int(sizes.sum(dtype=np.int64))
            if index[tables[b"hdlr"][0] + 8 :][:4] == b"vide":
                self.videos.add(number)
                self.pictures += count

    def read_fragment(self, index: bytes) -> None:
        for _, start, end in _inner(index, 8, len(index), b"traf"):
            number = 0
            for kind, begin, _ in _inner(index, start, end):
                if kind == b"tfhd":
                    number = int.from_bytes(index[begin + 4 : begin + 8], "big")
                elif kind == b"trun" and number in self.videos:
                    self.pictures += int.from_bytes(index[begin + 4 : begin + 8], "big")


def _inner(data: bytes, place: int, end: int, wanted: bytes = b"") -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes (kind, begin and end of content) of a box whose content is data[place:end]."""
    while place + 8 <= end:
        length = int.from_bytes(data[place : place + 4], "big")
        if length < 8 or place + length > end:
            return
        if not wanted or data[place + 4 : place + 8] == wanted:
            yield data[place + 4 : place + 8], place + 8, place + length
        place += length


def _deep(data: bytes, place: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes of a track, those within its media boxes included, the first of a kind last."""
    for kind, begin, stop in reversed(list(_inner(data, place, end))):
        if kind in (b"mdia", b"minf", b"stbl"):
            yield from _deep(data, begin, stop)
        yield kind, begin, stop


def _iso(source: _Source) -> Structure:
    place, kinds, second_s, is_second, begins_again = 0, set[bytes](), None, False, False
    encoder_ends_with_mfra, first_index, tables, media_bytes = False, b"", _Tables(), 0
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
            if b"moov" in kinds and (b"mvex" not in index or index != first_index):
                is_second, second_s = True, _movie_seconds(index)
            elif b"moov" in kinds:
                begins_again = True
            else:
                tables.read_movie(index)
                tables.is_known &= length <= INDEX_BYTES_MAX
            first_index = first_index or index
            encoder_ends_with_mfra = b"Lavf" in index
        elif kind == b"moof":
            tables.read_fragment(source.at(place, min(length, INDEX_BYTES_MAX)))
        elif kind == b"mdat":
            media_bytes += length
        kinds.add(kind)
        place += length
    if not kinds & {b"moov", b"moof"}:
        return Structure("mp4", None)
    if is_second:
        return Structure("mp4", 0, trouble=SECOND_MOVIE, unread_s=second_s)
    pictures = tables.pictures if tables.videos else None
    if b"moof" in kinds:
        ends = b"mfra" in kinds
        cut = encoder_ends_with_mfra and not ends and not kinds & {b"styp", b"sidx"}
        return _ended(
            source, "mp4", place, is_stated=ends, is_complete=ends, pictures=pictures, begins_again=begins_again,
            trouble="ends without the table that closes a fragmented MP4" if cut else "",
            unproven="" if ends else NO_PROOF,
        )  # fmt: skip
    spare = media_bytes - tables.sample_bytes
    unproven = f"{spare} bytes of its media belong to nothing that it lists" if spare > SPARE_BYTES_MAX else ""
    return _ended(
        source, "mp4", place, is_stated=True, is_complete=b"mdat" in kinds, pictures=pictures,
        unproven=unproven if tables.is_known and b"mdat" in kinds else NO_PROOF,
    )  # fmt: skip


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
            return Structure("matroska", 0, trouble=SECOND_MOVIE)
        if end is None and not identity and source.zeros_from(place):
            return _ended(source, "matroska", place, is_stated=False, unproven=NO_PROOF)
        no_track = identity in BLOCKS and not source.at(inside, 8).strip(b"\0")
        if identity not in MATROSKA_ELEMENTS or no_track:
            return Structure("matroska", 0, trouble=f"is damaged at byte {place}, between two elements")
        if length is not None:
            source.require(inside + length)
        place = inside if length is None or identity == CLUSTER else inside + length  # into a cluster, to its blocks
    if end is None:
        return Structure("matroska", 0)
    return _ended(source, "matroska", end, is_stated=True, is_complete=True)


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
    place, zeros, pictures = 0, 0, dict[bytes, int]()
    for _ in source.elements():
        head = source.at(place, 12)
        if len(head) < 12 or head[:4] != b"RIFF":
            break
        length = int.from_bytes(head[4:8], "little")
        if place and head[8:] == b"AVI ":
            return Structure("avi", 0, trouble=SECOND_MOVIE)
        if length in (0, 0xFFFFFFFF):
            return Structure("avi", None)  # a recording that was never closed
        source.require(place + 8 + length, is_sized=True)
        broken, padding = _broken_chunk(source, place + 12, place + 8 + length, pictures)
        zeros += padding
        if broken is not None:
            return Structure("avi", 0, trouble=f"is damaged at byte {broken}, between two chunks")
        place += 8 + length + length % 2
    return _ended(
        source, "avi", min(place, source.size), is_stated=True,
        pictures=next(iter(pictures.values())) if len(pictures) == 1 else None,
        unproven=f"{zeros} bytes between its chunks are zeros" if zeros else "",
    )  # fmt: skip


def _broken_chunk(source: _Source, place: int, end: int, pictures: dict[bytes, int]) -> tuple[int | None, int]:
    """Walk the chunks up to `end`, into the lists of frames; return where one has no name, and the zeros at the end.

    `pictures` counts the chunks of each stream that hold one: empty ones stand for "as before".
    """
    elements = source.elements()
    while next(elements) >= 0 and place + 8 <= end:
        head = source.at(place, 12)
        if not head[:4].strip(b"\0"):
            zeros = end - place
            is_padding = zeros <= min(PADDING_MAX, PADDING_FRACTION_MAX * source.size)
            return (None, zeros) if is_padding and not source.at(place, zeros).strip(b"\0") else (place, 0)
        if not head[:4].decode("latin-1").isprintable() or not head[:4].isascii():
            return place, 0
        length = int.from_bytes(head[4:8], "little")
        into = head[:4] == b"LIST" and head[8:12] in (b"movi", b"rec ")
        if length and head[2:4] in (b"dc", b"db"):
            pictures[head[:2]] = pictures.get(head[:2], 0) + 1
        if not into and place + 8 + length > end:
            return place, 0
        place += 12 if into else 8 + length + length % 2
    return None, 0


def _flv(source: _Source) -> Structure:
    place = int.from_bytes(source.need(5, 4), "big") + 4
    promised = 0
    for number in source.elements():
        head = source.at(place, 11)
        if not head:
            break
        if head.startswith(b"FLV\x01"):
            return Structure("flv", 0, trouble=SECOND_MOVIE)
        if not head[0] and (place >= promised) and source.zeros_from(place):
            break
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
    ends = promised == place
    return _ended(source, "flv", place, is_stated=ends, is_complete=ends, unproven="" if ends else NO_PROOF)


def _flv_file_size(metadata: bytes) -> int:
    """Read the number `filesize` of `onMetaData` (AMF0: name, type 0, big-endian double); 0 where there is none."""
    at = metadata.find(b"filesize\x00")
    if at < 0 or len(metadata) < at + 17:
        return 0
    value = struct.unpack_from(">d", metadata, at + 9)[0]
    return int(value) if 0 < value < 1 << 53 else 0


def _ogg(source: _Source) -> Structure:
    place, next_page, ended, lost, is_chained = 0, dict[bytes, int](), set[bytes](), 0, False
    for _ in source.elements():
        head = source.at(place, 27 + 255)
        if not head:
            break
        if head[:4] != b"OggS"[: len(head[:4])]:
            if not lost and source.zeros_from(place):
                return _ended(source, "ogg", place, is_stated=ended == set(next_page), is_complete=True)
            return Structure("ogg", 0, trouble=f"is damaged at byte {place}, between two pages")
        if len(head) < 27 or len(head) < 27 + head[26]:
            raise _CutError(1)
        serial, number = head[14:18], int.from_bytes(head[18:22], "little")
        is_chained = is_chained or bool(ended and head[5] & 2)
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
    unproven = "it is a chain of several recordings" if is_chained else ""
    return Structure("ogg", 0, is_complete=True, unproven=unproven)


def _ogg_checksum(page: bytes) -> int:
    """Compute the CRC of a page, its own field as zeros: the polynomial of zlib's, with bits in their order."""
    zeroed = page[:22] + bytes(4) + page[26:]
    reversed_crc = zlib.crc32(zeroed.translate(_BITS_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{reversed_crc:032b}"[::-1], 2)


def _program_stream(source: _Source) -> Structure:
    place, is_filled_up = 0, False
    while place < source.size:
        head = source.at(place, 14)
        if len(head) < 4:
            raise _CutError(4 - len(head))
        if head[:3] != b"\x00\x00\x01":
            if source.zeros_from(place):
                return _ended(source, "mpeg", place, is_stated=False, unproven=NO_PROOF)
            return Structure("mpeg", 0, trouble=f"is damaged at byte {place}, between two packets")
        is_filled_up = head[3] in (PROGRAM_END, PADDING_STREAM)
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
    return Structure("mpeg", 0, unproven="" if is_filled_up else "nothing in it proves that its last picture is whole")


def _transport_stream(source: _Source) -> Structure:
    length = transport_packet(source.at(0, HEAD_BYTES))
    first = 4 if length == 192 else 0
    rest = source.size % length
    if rest and source.at(source.size - rest, rest).strip(b"\0"):
        raise _CutError(length - rest)
    step, video = length << 12, _TransportVideo()
    for place in range(0, source.size - rest, step):
        packets = source.at(place, min(step, source.size - rest - place))
        syncs = packets[first::length]
        if syncs.strip(b"\x47"):
            broken = place + length * (len(syncs) - len(syncs.lstrip(b"\x47")))
            if source.zeros_from(broken):
                return _ended(source, "mpegts", broken, is_stated=False, unproven=NO_PROOF)
            return Structure("mpegts", 0, trouble=f"is damaged behind byte {broken}: packets do not begin as they must")
        video.see(np.frombuffer(packets, np.uint8).reshape(-1, length)[:, first : first + 188])
    unproven = "" if video.is_unbroken else "packets of its video are missing between others"
    if not video.has_ended:
        unproven = "nothing in it proves that its last picture is whole"
    return _ended(
        source, "mpegts", source.size - rest, is_stated=False, unproven=unproven, video_streams=len(video.last)
    )


class _TransportVideo:
    """The packets that carry video: do they follow each other, and does the last one end a picture?"""

    def __init__(self) -> None:
        self.last: dict[int, tuple[int, bool]] = {}
        """Of each stream of video: counter of its last packet, and whether that was filled up."""
        self.is_unbroken = True

    @property
    def has_ended(self) -> bool:
        return all(is_filled for _, is_filled in self.last.values())

    def see(self, packets: NDArray[np.uint8]) -> None:
        """Given packets, (n, 188) uint8, note those that carry video (ISO/IEC 13818-1 §2.4.3)."""
        numbers = (packets[:, 1].astype(np.int32) & 0x1F) << 8 | packets[:, 2]
        carries = packets[:, 3] & 0x10 != 0
        begins = np.flatnonzero(carries & (packets[:, 1] & 0x40 != 0))
        content = np.where(packets[begins, 3] & 0x20, 5 + packets[begins, 4].astype(np.int32), 4)
        begins, content = begins[content <= 184], content[content <= 184]
        heads = [packets[begins, content + place] for place in range(4)]
        is_video = (heads[0] == 0) & (heads[1] == 0) & (heads[2] == 1)
        is_video &= (heads[3] & 0xF0 == 0xE0) | (heads[3] == 0xFD)
        for number in sorted({int(one) for one in np.unique(numbers[begins[is_video]])} | set(self.last)):
            mine = packets[carries & (numbers == number)]
            if not len(mine):
                continue
            counters = mine[:, 3] & 0x0F
            before = self.last[number][0] if number in self.last else int(counters[0]) - 1
            steps = np.diff(counters.astype(np.int32), prepend=before) & 0x0F
            self.is_unbroken &= bool(np.all(steps <= 1))
            self.last[number] = int(counters[-1]), _is_filled_up(mine[-1].tobytes())


def _is_filled_up(packet: bytes) -> bool:
    """Say whether a packet holds stuffing: what a picture ends in does not fill it."""
    if not packet[3] & 0x20:
        return False
    length = packet[4]
    if length < 2:
        return True
    return packet[4 + length] == 0xFF and (length > 7 or not packet[5] & 0x10)


def _asf(source: _Source) -> Structure:
    head = source.at(0, 1 << 16)
    at = head.find(ASF_FILE_PROPERTIES)
    if at < 0 or len(head) < at + 92:
        return Structure("asf", None)
    if int.from_bytes(head[at + 88 : at + 92], "little") & 1:
        return Structure("asf", None)  # a broadcast: no length is known
    end = int.from_bytes(head[at + 40 : at + 48], "little")
    source.require(end, is_sized=True)
    if source.at(end, len(ASF_HEAD)) == ASF_HEAD or ASF_HEAD in source.at(end, TAIL_BYTES):
        return Structure("asf", 0, trouble=SECOND_MOVIE)
    return Structure("asf", 0)  # a size in the header says nothing of what lies within it


def _dv(source: _Source) -> Structure:
    length = DV_FRAME_BYTES[bool(source.need(3, 1)[0] & 0x80)]
    for place in range(0, source.size, length):
        if source.at(place, len(DV_HEAD)) != DV_HEAD:
            if source.zeros_from(place):
                return _ended(source, "dv", place, is_stated=False, unproven=NO_PROOF)
            return Structure("dv", 0, trouble=f"is damaged at byte {place}, between two frames")
    if source.size % length:
        raise _CutError(length - source.size % length)
    return Structure("dv", 0, unproven="")


_WALKS: Mapping[str, Callable[[_Source], Structure]] = {
    "mp4": _iso, "matroska": _matroska, "avi": _riff, "flv": _flv, "ogg": _ogg, "mpeg": _program_stream,
    "mpegts": _transport_stream, "asf": _asf, "dv": _dv,
}  # fmt: skip
