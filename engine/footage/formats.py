"""Which file formats are footage, and what other files are called when they are refused. Pure.

FFmpeg knows some 350 formats, among them lists of other files, which it opens before anyone can object (playlists,
manifests, concat lists, session descriptions, subtitles in two files), pictures made of text, and audio. So formats
are allowed, not refused: those below hold moving pictures, and whatever stands in such a file, its demuxer opens no
other one (MOV's references to other files are off in FFmpeg unless asked for).
"""

from __future__ import annotations

from engine.footage.signatures import STILL_BRANDS, is_text

FOOTAGE_FORMATS = (
    # Containers, by the names of FFmpeg's demuxers.
    *("mov", "matroska", "avi", "mpegts", "mpeg", "flv", "live_flv", "kux", "asf", "asf_o", "wtv", "ogg", "rm", "ivr"),
    *("mxf", "gxf", "lxf", "dv", "nut", "ivf", "nsv", "nuv", "pva", "ty", "pmp", "vivo", "yuv4mpegpipe", "r3d", "cine"),
    *("dhav", "ifv", "luodat", "hxvs", "iv8", "lvf", "mpjpeg", "smjpeg", "mxg"),  # cameras and recorders of CCTV
    # Streams without a container.
    *("h264", "hevc", "vvc", "evc", "av1", "obu", "apv", "m4v", "mpegvideo", "h261", "h263", "vc1", "vc1test", "dirac"),
    *("cavsvideo", "avs2", "avs3", "mjpeg", "jpeg_pipe", "dnxhd"),  # jpeg_pipe: what FFmpeg takes raw MJPEG for
    # Moving pictures of the web.
    *("gif", "apng", "jpegxl_anim"),
)
"""Not here, though they hold pictures: mlv opens files beside it by name, and the formats of games hold no people."""

_LIST = "a list of other files ({}), and what it names is not opened"
_PICTURE = "a still picture ({})"
_AUDIO = "audio ({})"
_ARCHIVE = "an archive ({})"
_HEADS: tuple[tuple[bytes, str, str], ...] = (
    (b"#EXTM3U", _LIST, "M3U or HLS playlist"),
    (b"ffconcat version", _LIST, "for FFmpeg's concat"),
    (b"[playlist]", _LIST, "PLS playlist"),
    (b"[Reference]", _LIST, "Windows Media"),
    (b"RTSPtext", _LIST, "QuickTime"),
    (b"SMILtext", _LIST, "QuickTime"),
    (b"v=0", _LIST, "SDP session description"),
    (b"# VobSub index file", _LIST, "VobSub subtitles"),
    (b"<asx", _LIST, "Windows Media playlist"),
    (b"<ASX", _LIST, "Windows Media playlist"),
    (b"\x89PNG", _PICTURE, "PNG"),
    (b"BM", _PICTURE, "BMP"),
    (b"II*\0", _PICTURE, "TIFF or a camera's raw format"),
    (b"MM\0*", _PICTURE, "TIFF or a camera's raw format"),
    (b"v/1\x01", _PICTURE, "OpenEXR"),
    (b"SDPX", _PICTURE, "DPX"),
    (b"XPDS", _PICTURE, "DPX"),
    (b"8BPS", _PICTURE, "Photoshop"),
    (b"MLVI", "Magic Lantern's raw video, which is spread over several files", ""),
    (b"ID3", _AUDIO, "MP3"),
    (b"fLaC", _AUDIO, "FLAC"),
    (b"caff", _AUDIO, "CAF"),
    (b"#!AMR", _AUDIO, "AMR"),
    (b"PK\x03\x04", _ARCHIVE, "ZIP"),
    (b"7z\xbc\xaf\x27\x1c", _ARCHIVE, "7-Zip"),
    (b"Rar!", _ARCHIVE, "RAR"),
    (b"\x1f\x8b", _ARCHIVE, "gzip"),
    (b"\xfd7zXZ", _ARCHIVE, "XZ"),
    (b"%PDF", "a document (PDF)", ""),
)
_RIFF = {b"WAVE": _AUDIO.format("WAV"), b"WEBP": _PICTURE.format("WebP")}
_XML_LISTS = {
    b"<MPD": "DASH manifest",
    b"<SmoothStreamingMedia": "Smooth Streaming manifest",
    b"<smil": "SMIL",
    b"xspf": "XSPF playlist",
    b"<asx": "Windows Media playlist",
    b"CompositionPlaylist": "IMF composition",
}


def kind_of(head: bytes) -> str:
    """Given the first HEAD_BYTES of a file that is no footage, return what it is, as `a list of other files (…)`.

    "" where its first bytes do not say.
    """
    plain = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for start, kind, name in _HEADS:
        if head.startswith(start) or (kind is _LIST and plain.startswith(start)):
            return kind.format(name)
    if head[:4] == b"RIFF" and head[8:12] in _RIFF:
        return _RIFF[head[8:12]]
    if head[4:8] == b"ftyp" and head[8:12] in STILL_BRANDS:
        return _PICTURE.format(head[8:12].decode().strip().upper())
    if plain.startswith(b"<"):
        return next((_LIST.format(name) for mark, name in _XML_LISTS.items() if mark in plain), "text (XML or HTML)")
    return "text" if is_text(head) else ""
