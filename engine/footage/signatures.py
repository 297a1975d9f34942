"""What the first bytes of a file say it is: the one table of signatures. Pure; interprets nothing behind them.

    videos    a container or stream of moving pictures, by name
    brands    ISO base media files that hold stills or sound, and no video
    text      no control characters, and UTF-8

Signatures are those of the formats' own specifications, as FFmpeg's demuxers probe for them. Used to find footage in
an inbox, to choose how a container's end is checked, to name what is refused, and to choose a picture's decoder.
"""

from __future__ import annotations

from engine.pictures.image_header import AVIF_BRANDS, HEIF_BRANDS

HEAD_BYTES = 4096
"""Enough for eight packets of a transport stream and the headers of an Ogg file's streams."""

STILL_BRANDS = AVIF_BRANDS | HEIF_BRANDS | {b"mif2", b"crx ", b"jpx ", b"jp2 "}
"""Pictures and sequences of pictures (ISO/IEC 23008-12 and 23000-22), Canon's raw format, JPEG 2000."""
SOUND_BRANDS = frozenset({b"M4A ", b"M4B ", b"M4P "})
BOXES = frozenset(b"moov mdat moof wide pnot styp sidx".split())
"""What an ISO base media or QuickTime file without `ftyp` begins with."""
AVI_KINDS = frozenset({b"AVI ", b"AVIX", b"AMV "})
OGG_VIDEO = (b"\x80theora", b"BBCD\x00", b"OVP80", b"\x01video\x00")
STARTS: tuple[tuple[bytes, str], ...] = (
    (b"\x1a\x45\xdf\xa3", "matroska"),
    (bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"), "asf"),
    (b"FLV\x01", "flv"),
    (b".RMF", "rm"),
    (b"\x06\x0e\x2b\x34\x02\x05\x01\x01\x0d\x01\x02", "mxf"),
    (b"\x00\x00\x01\xba", "mpeg"),
    (b"\x00\x00\x01\xb3", "mpegvideo"),
    (b"DKIF", "ivf"),
    (b"YUV4MPEG2", "yuv4mpeg"),
    (b"nut/multimedia container", "nut"),
    (b"\xb7\xd8\x00\x20\x37\x49\xda\x11", "wtv"),
    (b"\x1f\x07\x00", "dv"),
    (b"OggS", "ogg"),
)
PACKETS = ((188, 0), (192, 4), (204, 0))
"""Transport streams: length of a packet, where its sync byte stands (ISO/IEC 13818-1; BDAV: a time stamp; DVB:
a checksum)."""
SYNC = b"\x47"
PACKETS_MIN, PACKETS_MAX = 3, 8
"""So many sync bytes in a row are asked for, of so many that are looked at."""
_TEXT_CONTROLS = frozenset(range(0x20)) - {0x09, 0x0A, 0x0C, 0x0D, 0x1B}


def container_of(head: bytes) -> str:
    """Given the first HEAD_BYTES of a file, return the container or stream that begins with them; "" for none.

    An ISO base media file of stills or sound is "mp4", an Ogg file of sound "ogg": see `holds_video`.
    """
    if head[4:8] == b"ftyp":
        return "mp4"
    if head[:4] == b"RIFF" and head[8:12] in AVI_KINDS:
        return "avi"
    if name := next((name for start, name in STARTS if head.startswith(start)), ""):
        return name
    if is_text(head):  # the names of boxes are words, a sync byte is the letter G
        return ""
    if head[4:8] in BOXES:
        return "mp4"
    return "mpegts" if transport_packet(head) else ""


def holds_video(head: bytes) -> bool:
    """Given the first HEAD_BYTES of a file, say whether a container begins there that says of no other content."""
    name = container_of(head)
    if name == "mp4":
        return head[4:8] != b"ftyp" or head[8:12] not in STILL_BRANDS | SOUND_BRANDS
    if name == "ogg":
        return any(codec in head for codec in OGG_VIDEO)
    return name != ""


def transport_packet(head: bytes) -> int:
    """Return the length of a transport stream's packets: 188, with a time stamp 192, with checksums 204; 0: none."""
    for length, first in PACKETS:
        syncs = head[first : first + PACKETS_MAX * length : length]
        if len(syncs) >= PACKETS_MIN and not syncs.strip(SYNC):
            return length
    return 0


def is_text(head: bytes) -> bool:
    """Say whether first bytes are text: UTF-8, the last character perhaps cut off, without control characters."""
    if not head or _TEXT_CONTROLS & set(head):
        return False
    try:
        head.decode()
    except UnicodeDecodeError as problem:
        return problem.start > len(head) - 4 and problem.reason == "unexpected end of data"
    return True
