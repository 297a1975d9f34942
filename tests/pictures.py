"""Image files made on the spot: every orientation, and HEIC, which nothing here encodes.

`UPRIGHT` is what each of them shows: red above blue, with a green mark at the upper left.
"""

from __future__ import annotations

import io
import struct
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

Image = NDArray[np.uint8]


def upright(size: tuple[int, int] = (48, 64)) -> Image:
    """Return (H, W, 3) uint8 BGR: red above blue, green at the upper left; flat, so that any codec keeps it."""
    width, height = size
    picture = np.zeros((height, width, 3), np.uint8)
    picture[: height // 2, :, 2] = 230
    picture[height // 2 :, :, 0] = 230
    picture[: height // 4, : width // 2] = (20, 220, 20)
    return picture


def stored_for(orientation: int, picture: Image) -> Image:
    """Return how a picture is stored that its EXIF orientation turns upright: the inverse of EXIF 2.32 §4.6.4."""
    if orientation in (3, 4, 7, 8):
        picture = picture[::-1]
    if orientation in (2, 3, 6, 7):
        picture = picture[:, ::-1]
    if orientation in (5, 6, 7, 8):
        picture = picture.swapaxes(0, 1)
    return np.ascontiguousarray(picture)


def encoded(picture: Image, form: str, mode: str = "RGB", orientation: int = 1, **options: Any) -> bytes:
    """Return the bytes of a file of Pillow's `form`, its picture stored in `mode` and turned by `orientation`."""
    stored = Pillow.fromarray(np.ascontiguousarray(stored_for(orientation, picture)[:, :, ::-1]))
    exif = Pillow.Exif()
    exif[0x0112] = orientation
    out = io.BytesIO()
    stored = stored.quantize(16) if mode == "P" else stored.convert(mode)
    stored.save(out, form, exif=exif, **options)
    return out.getvalue()


def heic(picture: Image, folder: Path, *, quarter_turns: int = 0) -> bytes:
    """Return a HEIC file (ISO/IEC 23008-12): one HEVC key frame as its primary item, turned counterclockwise."""
    path = folder / "still.mkv"
    height, width = picture.shape[:2]
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=1)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv444p"
        stream.options = {
            "crf": "4",
            "preset": "ultrafast",
            "x265-params": "log-level=none:keyint=1:bframes=0:pools=none:frame-threads=1",
        }
        frame = av.VideoFrame.from_ndarray(picture, format="bgr24")
        frame.pts, frame.time_base = 0, Fraction(1, 1)
        for packet in (*stream.encode(frame), *stream.encode(None)):
            container.mux(packet)
    with av.open(str(path)) as container:
        hvcc = bytes(container.streams.video[0].codec_context.extradata or b"")
        item = bytes(next(packet for packet in container.demux(video=0) if packet.size))
    turn = _box(b"irot", bytes([quarter_turns % 4]))
    properties = _box(b"hvcC", hvcc) + _full(b"ispe", struct.pack(">II", width, height)) + turn
    association = _full(b"ipma", struct.pack(">IHB3B", 1, 1, 3, 0x81, 2, 0x83))
    ftyp = _box(b"ftyp", b"heic\0\0\0\0mif1heic")

    def meta(offset: int) -> bytes:
        place = struct.pack(">BBHHHHII", 0x44, 0, 1, 1, 0, 1, offset, len(item))
        entry = _full(b"infe", struct.pack(">HH4s", 1, 0, b"hvc1") + b"\0", version=2)
        return _full(
            b"meta",
            _full(b"hdlr", b"\0\0\0\0pict" + bytes(13))
            + _full(b"pitm", struct.pack(">H", 1))
            + _full(b"iloc", place)
            + _full(b"iinf", struct.pack(">H", 1) + entry)
            + _box(b"iprp", _box(b"ipco", properties) + association),
        )

    return ftyp + meta(len(ftyp) + len(meta(0)) + 8) + _box(b"mdat", item)


def _box(kind: bytes, payload: bytes) -> bytes:
    return struct.pack(">I4s", len(payload) + 8, kind) + payload


def _full(kind: bytes, payload: bytes, *, version: int = 0) -> bytes:
    return _box(kind, bytes([version, 0, 0, 0]) + payload)
