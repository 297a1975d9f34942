"""Decoded video frames -> arrays: gray thumbnails, small BGR, full BGR, each the right way up.

Not for reading files (engine.footage.video) and not for warps (engine.workspace.align).

Colour: the matrix and range are those the stream is tagged with. Untagged video is taken as BT.601 limited range,
the rule of `ffmpeg` and OpenCV, so that pixels agree with frames that DeepFaceLab's own tools extracted. Full-size
BGR is exact: 0.25 levels from the textbook formula with bilinear chroma on average (measured on 4:2:0 H.264), which is
rounding. swscale's default path (what OpenCV gives) is ten times faster (0.3 against 2.9 ms for 720p) but 1.15 levels
too dark on average and repeats chroma instead of interpolating it.

HDR (PQ, HLG) is tone-mapped by engine.frames.tone, from 16-bit planes: swscale's own way from 10 bits to 16-bit RGB
is half an 8-bit level too dark, which HDR's steep curves would make a visible error of. Pixels that are not square are
squared (engine.frames.shape), in thumbnails, small copies and whole frames alike.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Mapping
from fractions import Fraction
from typing import cast

import av
import cv2
import numpy as np
from av.sidedata.sidedata import SideData, Type
from av.video.plane import VideoPlane
from av.video.reformatter import Interpolation, VideoReformatter
from numpy.typing import NDArray

from engine.frames.contract import DecodedFrame, Region, height_for_width, luma_height
from engine.frames.tone import TRANSFERS, Hdr, Plane, hdr_of, luma_table, tone_map
from engine.types import Frame, Image

_EXACT = Interpolation.BILINEAR | Interpolation.FULL_CHR_H_INT | Interpolation.ACCURATE_RND | Interpolation.BITEXACT
_SMALL = Interpolation.AREA | Interpolation.BITEXACT
_SQUARING = cv2.INTER_CUBIC  # one side grows by 7 to 100 %: sharper than linear, and no ringing beyond a pixel
_RGB_MATRIX, _FULL_RANGE = 0, 2  # AVColorSpace, AVColorRange
_ONE_THREAD = 1  # Conversion runs beside decoding and detection; its own threads would fight theirs.

_HIGH_BITS_PREFIXES = ("p0", "p2", "p4")  # p010 and its kin keep their 10 to 16 bits at the top of each word
_MATRIX_BYTES = 36  # Nine 32-bit numbers: AVFrame side data DISPLAYMATRIX.

# One reformatter a thread and purpose: it caches the conversion tables, and it is not safe for two threads at once.
_local = threading.local()

# Display matrices (a, b, c, d) of 0, 90, 180 and 270 degrees counterclockwise.
_ROTATIONS = ((1, 0, 0, 1), (0, -1, 1, 0), (-1, 0, 0, -1), (0, 1, -1, 0))

_MARGIN_PX = 8
"""Chroma is interpolated: the outermost pixels of a cut-out differ, and are not asked for."""
_GRID_PX = 16
"""Cut-outs begin and end on this grid, or at the frame's edge: every chroma grid fits it."""
ROWS_A_BLOCK = 4
"""Rows that are read of the block of rows that becomes one pixel of a luma thumbnail."""
_WORTH_IT = 0.6
"""A region larger than this fraction of the frame is not worth cutting out."""
_ANY_TIME_BASE = Fraction(1, 1)
"""Filters ask for one; a single frame has no use for it."""

UPRIGHT = (False, False, False)
Turn = tuple[bool, bool, bool]
"""(transpose, flip left-right, flip top-bottom), applied in this order: all eight ways to lay a picture."""


def turn_of(frame: av.VideoFrame) -> Turn:
    """Given a frame, return how to show it upright, from its display matrix; odd angles go to the nearest right one.

    The matrix maps stored (x, y) to shown (a*x + c*y, b*x + d*y); FFmpeg's libavutil/display.h.
    """
    matrix = _display_matrix(frame)
    if matrix is None:
        return UPRIGHT
    a, b, c, d = matrix
    if abs(b) + abs(c) > abs(a) + abs(d):
        return True, c < 0, b < 0
    return False, a < 0, d < 0


def upright(pixels: Image, turn: Turn) -> Image:
    """Return the picture turned upright, contiguous."""
    transposed, flip_x, flip_y = turn
    if transposed:
        pixels = pixels.swapaxes(0, 1)
    if flip_x:
        pixels = pixels[:, ::-1]
    if flip_y:
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


class Turns:
    """How to show the frames of one stream upright, asking each frame for no more than its rotation.

    A frame that was asked for its side data is kept alive by it (PyAV: each refers to the other) until Python looks
    for such circles, hundreds of frames later. So side data is read when the rotation changes, and then only.
    """

    def __init__(self) -> None:
        self._rotation: float | None = None
        self._turn = UPRIGHT

    def turn_of(self, frame: av.VideoFrame) -> Turn:
        if frame.rotation != self._rotation:
            self._rotation, self._turn = frame.rotation, turn_of(frame)
        return self._turn


class DecodedVideoFrame(DecodedFrame):
    """A frame as the decoder left it; see engine.frames.contract.DecodedFrame."""

    def __init__(
        self,
        decoded: av.VideoFrame,
        *,
        index: int,
        pts: int | None,
        time_base: Fraction,
        packets_damaged: int,
        turn: Turn,
        squared: tuple[int, int] | None = None,
        hdr: Hdr | None = None,
    ) -> None:
        """`squared`: (width, height) as stored, but with square pixels; None where they are square.

        `hdr`: how HDR is coded that is to be tone-mapped; None leaves the codes as they are.
        """
        self.index = index
        self.pts = pts
        self.time_base = time_base
        self.source_filename = f"{index:08d}.png"
        self.packets_damaged = packets_damaged
        self.nbytes = sum(plane.buffer_size for plane in decoded.planes)
        self._decoded = decoded
        self._turn = turn
        self._hdr = hdr
        self._is_square = squared is None or squared == (decoded.width, decoded.height)
        self._shape = squared or (decoded.width, decoded.height)
        self.width, self.height = self._shape[::-1] if self._turn[0] else self._shape

    def luma(self, width: int) -> Image:
        height = luma_height(width, (self.width, self.height))
        stored = (height, width) if self._turn[0] else (width, height)
        pixels = self._luma(stored)
        return upright(pixels if self._hdr is None else luma_table(self._hdr)[pixels], self._turn)

    def _luma(self, stored: tuple[int, int]) -> Image:
        """Return a gray thumbnail of this size (width, height) as stored."""
        plane = _luma_plane(self._decoded)
        if plane is None:
            return _convert(self._decoded, stored, "gray", _SMALL)
        # Some rows of each block are enough for its mean: reading them all would cost as much as decoding an easy clip.
        small = cv2.resize(
            plane[:: max(1, plane.shape[0] // stored[1] // ROWS_A_BLOCK)], stored, interpolation=cv2.INTER_AREA
        )
        if plane.dtype != np.uint8:
            small = np.right_shift(small.astype(np.uint16, copy=False), _bits_below_8(self._decoded.format))
        return small.astype(np.uint8, copy=False)

    def scaled(self, width: int) -> Image:
        return upright(_shown(self._decoded, self._stored_size(width), _SMALL, self._hdr), self._turn)

    def to_frame(self, region: Region | None = None) -> Frame:
        pixels = self._part(region) if region is not None else None
        if pixels is None:
            pixels = _shown(self._decoded, (self._decoded.width, self._decoded.height), _EXACT, self._hdr)
            if not self._is_square:
                pixels = np.asarray(cv2.resize(pixels, self._shape, interpolation=_SQUARING), np.uint8)
            pixels = upright(pixels, self._turn)
        return Frame(self.index, self.pts, self.time_base, pixels, self.source_filename)

    def _part(self, region: Region) -> Image | None:
        """Convert one region into a black frame; None where that is no gain, or the frame is turned or squared."""
        if self._turn != UPRIGHT or not self._is_square:
            return None
        width, height = self.width, self.height
        x1, y1 = (max(0, value - _MARGIN_PX) // _GRID_PX * _GRID_PX for value in region[:2])
        x2, y2 = (-(-(value + _MARGIN_PX) // _GRID_PX) * _GRID_PX for value in region[2:])
        x2, y2 = min(width, x2), min(height, y2)
        if x2 - x1 < 2 or y2 - y1 < 2 or (x2 - x1) * (y2 - y1) > _WORTH_IT * width * height:
            return None
        part = _cut_out(self._decoded, x1, y1, x2 - x1, y2 - y1)
        pixels = np.zeros((height, width, 3), np.uint8)  # pages that stay black are never touched
        pixels[y1:y2, x1:x2] = _shown(part, (x2 - x1, y2 - y1), _EXACT, self._hdr)
        return pixels

    def _stored_size(self, width: int) -> tuple[int, int]:
        """Return (width, height) before turning of a small copy that is `width` px wide when upright."""
        height = height_for_width(width, (self.width, self.height))
        return (height, width) if self._turn[0] else (width, height)


def hdr_in(frame: av.VideoFrame) -> Hdr | None:
    """Return how a frame codes HDR, by its tags; None for SDR."""
    if frame.color_trc not in TRANSFERS:
        return None
    layout = frame.format
    return hdr_of(
        transfer=frame.color_trc,
        matrix=_RGB_MATRIX if layout.is_rgb else frame.colorspace,
        primaries=frame.color_primaries,
        full_range=layout.is_rgb or frame.color_range == _FULL_RANGE,
        bits=layout.components[0].bits,
    )


def _shown(frame: av.VideoFrame, size: tuple[int, int], interpolation: int, hdr: Hdr | None) -> Image:
    """Return the frame as (h, w, 3) uint8 BGR of this size (width, height), as stored, HDR tone-mapped."""
    if hdr is None:
        return _convert(frame, size, "bgr24", interpolation)
    layout = "gbrp16le" if hdr.matrix == _RGB_MATRIX else "yuv444p16le"
    converted = _reformatted(frame, size, layout, interpolation)
    first, second, third = (_plane_of_16_bits(plane) for plane in converted.planes)
    return tone_map((first, second, third), hdr)


def _plane_of_16_bits(plane: VideoPlane) -> Plane:
    return np.frombuffer(memoryview(plane), np.uint16).reshape(plane.height, -1)[:, : plane.width]


def to_bgr(frame: av.VideoFrame) -> Image:
    """Return a frame as `DecodedVideoFrame.to_frame` shows it, but as stored, (h, w, 3) uint8."""
    return _convert(frame, (frame.width, frame.height), "bgr24", _EXACT)


def _cut_out(frame: av.VideoFrame, x: int, y: int, width: int, height: int) -> av.VideoFrame:
    """Return a rectangle of a frame, as stored, with all its tags; FFmpeg's crop moves pointers and copies nothing."""
    graph = av.filter.Graph()
    source = graph.add_buffer(width=frame.width, height=frame.height, format=frame.format, time_base=_ANY_TIME_BASE)
    crop, sink = graph.add("crop", f"{width}:{height}:{x}:{y}:exact=1"), graph.add("buffersink")
    source.link_to(crop)
    crop.link_to(sink)
    graph.configure()
    graph.push(frame)
    part = graph.pull()
    assert isinstance(part, av.VideoFrame)
    return part


def _convert(frame: av.VideoFrame, size: tuple[int, int], layout: str, interpolation: int) -> Image:
    """Return the frame as (h, w) or (h, w, 3) uint8 of this size (width, height), as stored."""
    return np.asarray(_reformatted(frame, size, layout, interpolation).to_ndarray(), np.uint8)


def _reformatted(frame: av.VideoFrame, size: tuple[int, int], layout: str, interpolation: int) -> av.VideoFrame:
    converters: dict[tuple[str, int], VideoReformatter] = _local.__dict__.setdefault("converters", {})
    converter = converters.setdefault((layout, interpolation), VideoReformatter())
    return converter.reformat(frame, *size, format=layout, interpolation=interpolation, threads=_ONE_THREAD)


def _luma_plane(frame: av.VideoFrame) -> NDArray[np.uint8] | NDArray[np.uint16] | None:
    """Return a view of the plane that holds nothing but luma, (h, w); None where the format has no such plane."""
    layout, plane = frame.format, frame.planes[0]
    luma, *others = layout.components
    alone = luma.is_luma and luma.plane == 0 and all(other.plane != 0 for other in others)
    if not alone or layout.is_big_endian or not 8 <= luma.bits <= 16 or layout.name == "pal8" or plane.line_size <= 0:
        return None
    dtype = np.dtype(np.uint8 if luma.bits == 8 else np.uint16)
    return np.ndarray((frame.height, frame.width), dtype, memoryview(plane), strides=(plane.line_size, dtype.itemsize))


def _bits_below_8(layout: av.VideoFormat) -> int:
    """Return by how many bits a 16-bit word of this format shifts right to become 8 bits."""
    if layout.name.startswith(_HIGH_BITS_PREFIXES):
        return 8
    return int(layout.components[0].bits) - 8


def _display_matrix(frame: av.VideoFrame) -> tuple[int, int, int, int] | None:
    try:
        side_data = cast(Mapping[Type, SideData], frame.side_data)  # PyAV's stub names the wrong key type
    except ValueError:  # PyAV 18 gives up on kinds of side data it has no name for, such as EXIF
        return _ROTATIONS[round(frame.rotation / 90) % 4]
    data = side_data.get(Type.DISPLAYMATRIX)
    if data is None:
        return None
    raw = bytes(data)
    if len(raw) < _MATRIX_BYTES:
        return None
    a, b, _, c, d = struct.unpack_from("=5i", raw)
    return a, b, c, d
