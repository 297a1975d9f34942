"""Small videos made on the spot, whose every frame carries its own number.

`make_clip` draws, encodes and muxes with PyAV; `frame_number` reads the number back from decoded pixels, so that a
test can tell which frame it was given, whatever the codec did to it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from engine.types import SourceVerdict

Image = NDArray[np.uint8]

NUMBER_BITS = 10
CELL_PX = 8
DEFAULT_SIZE = (96, 64)  # width of at least NUMBER_BITS * CELL_PX, so that the number fits


def draw_numbered(number: int, size: tuple[int, int] = DEFAULT_SIZE) -> Image:
    """Return an (H, W, 3) BGR picture: the number as black and white cells on top, a moving colour ramp below.

    Its four corners differ (see `corner_order`): with cells on top, red grows to the right, blue downwards.
    """
    width, height = size
    x, y = np.meshgrid(np.linspace(0, 200, width), np.linspace(0, 200, height))
    picture = np.stack([y + 20, np.full_like(x, (number * 5) % 200 + 20), x + 20], axis=-1).astype(np.uint8)
    picture[:CELL_PX] = 0
    for bit in range(min(NUMBER_BITS, width // CELL_PX)):
        if number >> bit & 1:
            picture[:CELL_PX, bit * CELL_PX : (bit + 1) * CELL_PX] = 255
    return picture


def frame_number(picture: Image) -> int:
    """Read the number drawn by `draw_numbered` from BGR or gray pixels of the same size."""
    gray = picture if picture.ndim == 2 else picture.mean(axis=-1)
    cells = min(NUMBER_BITS, gray.shape[1] // CELL_PX)
    return sum(
        1 << bit
        for bit in range(cells)
        if gray[2 : CELL_PX - 2, bit * CELL_PX + 2 : (bit + 1) * CELL_PX - 2].mean() > 128
    )


def make_clip(
    path: Path,
    *,
    frames: int = 30,
    size: tuple[int, int] = DEFAULT_SIZE,
    codec: str | None = "libx264",
    pix_fmt: str = "yuv420p",
    rate: int = 25,
    options: Mapping[str, str] | None = None,
    b_frames: int | None = None,
    gop: int = 12,
    ticks: Sequence[int] | None = None,
    rotation: float = 0,
    mirrored: bool = False,
    cover: bool = False,
    audio: bool = False,
    container_options: Mapping[str, str] | None = None,
    colour: Mapping[str, int] | None = None,
    aspect: Fraction | None = None,
    draw: Callable[[int], Image] | None = None,
) -> Path:
    """Write a video to `path`, its container chosen by the suffix, and return the path.

    `codec=None` leaves the video stream out; `ticks` gives each frame's time in units of 1/(40 * rate) s (variable
    rate); `rotation` is stored as the display matrix, degrees counterclockwise, `mirrored` left-right before it;
    `cover` adds a still picture as cover art; `b_frames` turns on that many;
    `aspect`: width to height of a pixel;
    `colour` sets attributes of the codec context (colorspace, color_range, color_trc, color_primaries); `draw` gives
    the BGR picture of each number. Lossy codecs run at high quality unless `options` say otherwise.
    """
    paint = draw or (lambda number: draw_numbered(number, size))
    with av.open(str(path), "w", options=dict(container_options or {})) as container:
        video = None
        if codec is not None:
            video = container.add_stream(codec, rate=rate)
            context = video.codec_context
            context.width, context.height = size
            context.pix_fmt = pix_fmt
            context.gop_size = gop
            context.time_base = Fraction(1, 40 * rate) if ticks is not None else Fraction(1, rate)
            if b_frames is not None:
                context.max_b_frames = b_frames
            for name, value in (colour or {}).items():
                setattr(context, name, value)
            if aspect is not None:
                context.sample_aspect_ratio = aspect
            video.options = {**_quality(codec), **(options or {})}
            if rotation or mirrored:
                video.set_display_rotation(rotation, hflip=mirrored)
        art = _add_cover(container) if cover else None
        sound = container.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000) if audio else None
        if video is not None:
            for number in range(frames):
                picture = av.VideoFrame.from_ndarray(paint(number), format="bgr24")
                picture = picture.reformat(format=pix_fmt, **_reformat_colour(colour))
                picture.pts = ticks[number] if ticks is not None else number
                picture.time_base = video.codec_context.time_base
                container.mux(video.encode(picture))
            container.mux(video.encode(None))
        if art is not None:
            still = av.VideoFrame.from_ndarray(draw_numbered(1, (200, 200)), format="bgr24")
            container.mux(art.encode(still.reformat(format="yuvj444p")))
            container.mux(art.encode(None))
        if sound is not None:
            _write_silence(container, sound, seconds=frames / rate)
    return path


def _add_cover(container: av.container.OutputContainer) -> av.VideoStream:
    art = container.add_stream("mjpeg", rate=1)
    art.codec_context.width, art.codec_context.height, art.codec_context.pix_fmt = 200, 200, "yuvj444p"
    art.disposition = av.stream.Disposition.attached_pic
    return art


def _reformat_colour(colour: Mapping[str, int] | None) -> dict[str, int]:
    names = {"colorspace": "dst_colorspace", "color_range": "dst_color_range"}
    return {names[key]: value for key, value in (colour or {}).items() if key in names}


def _quality(codec: str) -> dict[str, str]:
    return {
        "libx264": {"crf": "12", "preset": "ultrafast"},
        "libx265": {"crf": "12", "preset": "ultrafast", "x265-params": "log-level=none"},
        "libvpx-vp9": {"crf": "12", "b": "0", "deadline": "realtime", "cpu-used": "8"},
        "mpeg4": {"qscale": "2"},
        "mjpeg": {"qscale": "2"},
    }.get(codec, {})


def _write_silence(container: av.container.OutputContainer, stream: av.AudioStream, *, seconds: float) -> None:
    samples = 1024
    for number in range(max(1, round(seconds * 48000 / samples))):
        frame = av.AudioFrame.from_ndarray(np.zeros((2, samples), np.float32), format="fltp", layout="stereo")
        frame.sample_rate = 48000
        frame.pts = number * samples
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def is_deletable(verdict: SourceVerdict) -> bool:
    """Say whether the original may be deleted, as `daemon.jobs.tidying` decides by the report."""
    return verdict.word == "whole" and not verdict.unread
