"""What a video gives: its description, its frames in order, upright and in true colours."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
import PIL.Image
import pytest

from engine.errors import InputError
from engine.footage.video import open_frames, probe
from engine.frames.pixels import turn_of, upright
from engine.types import Image
from tests.clips import draw_numbered

Maker = Callable[..., Path]
Reader = Callable[[Image], int]

BT709, BT601 = 1, 5  # av.video.reformatter.Colorspace
LIMITED, FULL = 1, 2  # av.video.reformatter.ColorRange
COLOUR_TOLERANCE = 2.0  # levels: 4:4:4 at high quality, so that only rounding is left

FORMATS = {
    "h264 mp4": ("a.mp4", {}),
    "h264 mkv": ("a.mkv", {}),
    "h264 mov": ("a.mov", {}),
    "h264 transport stream": ("a.ts", {}),
    "vp9 webm": ("a.webm", {"codec": "libvpx-vp9"}),
    "mpeg4 avi": ("a.avi", {"codec": "mpeg4"}),
    "mjpeg avi": ("b.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "10 bit": ("a.mkv", {"pix_fmt": "yuv420p10le"}),
    "4:2:2": ("a.mkv", {"pix_fmt": "yuv422p"}),
    "gray": ("a.mkv", {"pix_fmt": "gray"}),
    "10 bit gray": ("a.mkv", {"codec": "ffv1", "pix_fmt": "gray10le"}),
    "transparent": ("a.mkv", {"codec": "ffv1", "pix_fmt": "yuva420p"}),
    "RGB": ("a.avi", {"codec": "ffv1", "pix_fmt": "bgr0"}),
    "planar RGB": ("a.mkv", {"codec": "libx264rgb", "pix_fmt": "rgb24"}),
    "raw": ("a.avi", {"codec": "rawvideo", "pix_fmt": "bgr24"}),
    "odd size": ("a.mkv", {"pix_fmt": "yuv444p", "size": (97, 65)}),
    "odd size, halved chroma": ("a.mkv", {"codec": "ffv1", "size": (97, 65)}),
    "sound first": ("a.mp4", {"audio": True}),
}


@pytest.mark.parametrize(("name", "options"), FORMATS.values(), ids=FORMATS.keys())
def test_every_frame_comes_once_in_order_whatever_the_format(
    make_clip: Maker, frame_number: Reader, tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    clip = make_clip(tmp_path / name, frames=20, **options)
    with open_frames(clip) as reader:
        frames = list(reader)
        assert reader.warnings == ()
        assert (reader.packets_damaged, reader.frames_decoded) == (0, 20)
    width, height = options.get("size", (96, 64))  # type: ignore[misc]
    assert [frame.index for frame in frames] == list(range(20))
    assert frames[7].source_filename == "00000007.png"
    for frame in frames:
        pixels = frame.to_frame().pixels
        assert pixels.shape == (height, width, 3)
        assert frame_number(pixels) == frame.index
        assert frame_number(frame.luma(width)) == frame.index


def test_a_single_frame_is_a_video(make_clip: Maker, frame_number: Reader, tmp_path: Path) -> None:
    with open_frames(make_clip(tmp_path / "one.mp4", frames=1)) as reader:
        assert [frame_number(frame.to_frame().pixels) for frame in reader] == [0]
        assert reader.warnings == ()


def test_the_description_says_size_rate_and_length(make_clip: Maker, tmp_path: Path) -> None:
    info = probe(make_clip(tmp_path / "clip.mp4", frames=50))
    assert (info.kind, info.width, info.height) == ("video", 96, 64)
    assert (info.frames_estimate, info.average_rate) == (50, Fraction(25))
    assert (info.codec, info.pixel_format) == ("h264", "yuv420p")


def test_the_times_of_a_variable_rate_are_exact(make_clip: Maker, tmp_path: Path) -> None:
    ticks = [0, 40, 85, 90, 200, 1000, 1010]
    clip = make_clip(tmp_path / "uneven.mp4", frames=len(ticks), ticks=ticks)
    with open_frames(clip) as reader:
        times = [frame.pts * frame.time_base for frame in reader if frame.pts is not None]
        assert any("variable frame rate" in warning for warning in reader.warnings)
    assert times == [Fraction(tick, 1000) for tick in ticks]


@pytest.mark.parametrize("counterclockwise", [0, 90, 180, 270])
def test_rotation_stored_in_the_container_is_applied(make_clip: Maker, tmp_path: Path, counterclockwise: int) -> None:
    clip = make_clip(tmp_path / "turned.mp4", frames=1, rotation=counterclockwise, pix_fmt="yuv444p")
    upright = np.rot90(draw_numbered(0), counterclockwise // 90)
    with open_frames(clip) as reader:
        frame = next(reader)
        assert (reader.info.height, reader.info.width) == upright.shape[:2]
    pixels = frame.to_frame().pixels
    assert np.abs(pixels.astype(int) - upright).mean() < COLOUR_TOLERANCE
    gray = cv2.cvtColor(pixels, cv2.COLOR_BGR2GRAY)
    luma = frame.luma(pixels.shape[1])
    assert luma.shape == gray.shape
    assert np.corrcoef(luma.ravel(), gray.ravel())[0, 1] > 0.99
    assert np.abs(frame.scaled(pixels.shape[1]).astype(int) - pixels).mean() < COLOUR_TOLERANCE


def test_a_mirrored_display_matrix_is_applied(make_clip: Maker, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "mirrored.mp4", frames=1, mirrored=True, pix_fmt="yuv444p")
    with open_frames(clip) as reader:
        pixels = next(reader).to_frame().pixels
    assert np.abs(pixels.astype(int) - draw_numbered(0)[:, ::-1]).mean() < COLOUR_TOLERANCE


@pytest.mark.parametrize("matrix", [BT601, BT709])
@pytest.mark.parametrize("value_range", [LIMITED, FULL])
def test_colours_follow_the_stream_s_matrix_and_range(
    make_clip: Maker, tmp_path: Path, matrix: int, value_range: int
) -> None:
    clip = make_clip(
        tmp_path / "colours.mkv", frames=1, pix_fmt="yuv444p", colour={"colorspace": matrix, "color_range": value_range}
    )
    with open_frames(clip) as reader:
        pixels = next(reader).to_frame().pixels
    difference = pixels.astype(int) - draw_numbered(0)
    assert np.abs(difference).mean() < COLOUR_TOLERANCE
    assert np.abs(difference.mean(axis=(0, 1))).max() < 1.0


def test_full_size_pixels_are_those_of_the_textbook_formula(make_clip: Maker, tmp_path: Path) -> None:
    """ITU-R BT.601, limited range, chroma interpolated linearly at its place (left of each pair of columns)."""
    clip = make_clip(tmp_path / "exact.mkv", frames=1, codec="ffv1")
    with av.open(str(clip)) as container:
        stored = next(container.decode(video=0)).to_ndarray()
    width, height = 96, 64
    luma = (stored[:height].astype(np.float64) - 16) * 255 / 219
    planes = [plane.reshape(height // 2, width // 2) for plane in np.split(stored[height:].ravel(), 2)]
    place = np.array([[0.5, 0, 0], [0, 0.5, -0.25]])
    linear = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    full = [
        cv2.warpAffine(plane.astype(np.float32), place, (width, height), flags=linear, borderMode=cv2.BORDER_REPLICATE)
        for plane in planes
    ]
    blue, red = ((plane.astype(np.float64) - 128) * 255 / 112 for plane in full)
    r, b = luma + red * (1 - 0.299), luma + blue * (1 - 0.114)
    g = (luma - 0.299 * r - 0.114 * b) / 0.587
    expected = np.clip(np.stack([b, g, r], axis=-1), 0, 255)
    with open_frames(clip) as reader:
        pixels = next(reader).to_frame().pixels
    assert np.abs(pixels - expected).mean() < 0.5
    assert np.abs(pixels - expected).max() <= 2.0


def test_pixels_agree_with_opencv_s_reader(make_clip: Maker, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=5)
    capture = cv2.VideoCapture(str(clip))
    with open_frames(clip) as reader:
        for frame in reader:
            _, theirs = capture.read()
            assert np.abs(frame.to_frame().pixels.astype(int) - theirs).mean() < 2.5
    capture.release()


def test_thumbnails_keep_the_aspect_ratio(make_clip: Maker, tmp_path: Path) -> None:
    with open_frames(make_clip(tmp_path / "clip.mp4", frames=1, rotation=90)) as reader:
        frame = next(reader)
    assert frame.luma(32).shape == (48, 32)
    assert frame.scaled(16).shape == (24, 16, 3)


def test_a_stream_that_changes_its_size_keeps_each_frame_s_own(make_clip: Maker, tmp_path: Path) -> None:
    small, large = (make_clip(tmp_path / f"{w}.ts", frames=10, size=(w, 64)) for w in (96, 128))
    joined = tmp_path / "joined.ts"
    joined.write_bytes(small.read_bytes() + large.read_bytes())
    with open_frames(joined) as reader:
        widths = [frame.to_frame().pixels.shape[1] for frame in reader]
    assert widths == [96] * 10 + [128] * 10


def test_what_looks_odd_is_said(make_clip: Maker, tmp_path: Path) -> None:
    hdr = probe(make_clip(tmp_path / "hdr.mp4", pix_fmt="yuv420p10le", colour={"color_trc": 16, "color_primaries": 9}))
    woven = probe(make_clip(tmp_path / "woven.mp4", options={"x264-params": "tff=1"}))
    assert any("HDR" in warning for warning in hdr.warnings)
    assert any("interlaced" in warning for warning in woven.warnings)


def test_the_number_of_threads_changes_nothing(make_clip: Maker, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", b_frames=3, options={"preset": "medium"})
    runs = []
    for threads in (1, 2, 5):
        with open_frames(clip, decode_threads=threads) as reader:
            runs.append([(frame.index, frame.pts, frame.to_frame().pixels.tobytes()) for frame in reader])
    assert runs[0] == runs[1] == runs[2]


def test_cover_art_beside_a_video_is_not_taken_for_it(make_clip: Maker, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=3, cover=True)
    with av.open(str(clip)) as container:
        assert len(container.streams.video) == 2
    with open_frames(clip) as reader:
        assert (reader.info.width, len(list(reader))) == (96, 3)


def test_a_picture_larger_than_the_limit_is_refused(make_clip: Maker, tmp_path: Path) -> None:
    wide = make_clip(tmp_path / "wide.avi", frames=1, size=(16_400, 16), codec="mjpeg", pix_fmt="yuvj420p")
    with pytest.raises(InputError, match="16400x16 px, expected at most"):
        probe(wide)


@pytest.mark.parametrize("counterclockwise", [0, 90, 180, 270])
def test_rotation_is_found_beside_side_data_that_pyav_cannot_name(
    make_clip: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, counterclockwise: int
) -> None:
    """A picture's EXIF block is such data; here every frame is made to look like that."""
    exif = PIL.Image.Exif()
    exif[0x010E] = "a description"
    PIL.Image.fromarray(draw_numbered(0)).save(tmp_path / "exif.mjpeg", format="jpeg", exif=exif)
    with open_frames(tmp_path / "exif.mjpeg") as reader:
        assert next(reader).to_frame().pixels.shape == draw_numbered(0).shape

    class Unnamed:
        rotation = counterclockwise

        @property
        def side_data(self) -> None:
            raise ValueError("31 is not a valid Type")

    turned = upright(draw_numbered(0), turn_of(cast(av.VideoFrame, Unnamed())))
    assert np.array_equal(turned, np.rot90(draw_numbered(0), counterclockwise // 90))


@pytest.mark.parametrize("name", ["with space ü.mp4", "clip%03d.mp4", "http:x.mp4", os.fsdecode(b"\xff\xfe.mp4")])
def test_a_name_is_only_a_name(make_clip: Maker, tmp_path: Path, name: str) -> None:
    plain = make_clip(tmp_path / "plain.mp4", frames=2)
    odd = plain.rename(tmp_path / name)
    assert probe(odd).frames_estimate == 2
