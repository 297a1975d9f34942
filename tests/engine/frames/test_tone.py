"""HDR comes out as `ffmpeg` with zscale and tonemap=hable shows it: whole frames, regions, small copies, thumbnails."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.footage.video import open_frames, probe
from engine.frames.contract import FrameForm
from engine.frames.tone import hdr_of, luma_table, tone_map
from tests.clips import draw_numbered, make_clip

CHAIN = (
    "zscale=t=linear:npl=100,format=gbrpf32le,zscale=p=bt709,tonemap=tonemap=hable:desat=0:peak=10,"
    "zscale=t=bt709:m=gbr:r=pc,format=gbrp"
)
TRANSFERS = {"PQ": 16, "HLG": 18}
SIZE = (320, 192)
Draw = Callable[[int], NDArray[np.uint8]]


def lit(number: int) -> NDArray[np.uint8]:
    """Return HDR codes, (H, W, 3) BGR: soft light and colours from black to far beyond white, no edges."""
    width, height = SIZE
    x, y = np.meshgrid(np.linspace(0, 2 * np.pi, width), np.linspace(0, 2 * np.pi, height))
    light = 105 + 75 * np.sin(x / 2 + number / 5) * np.cos(y / 3)
    tint = [24 * np.sin(y + phase) for phase in (0.0, 2.0, 4.0)]
    return np.clip(np.stack([light + one for one in tint], -1), 0, 255).astype(np.uint8)


def hdr_clip(path: Path, kind: str, *, bits: int = 10, full: bool = False, draw: Draw = lit) -> Path:
    colour = {"color_trc": TRANSFERS[kind], "color_primaries": 9, "colorspace": 9, "color_range": 2 if full else 1}
    return make_clip(
        path, frames=2, size=SIZE, codec="libx265", pix_fmt=f"yuv420p{bits}le" if bits > 8 else "yuv420p",
        colour=colour, draw=draw,
    )  # fmt: skip


def first(path: Path, form: FrameForm = FrameForm()) -> NDArray[np.uint8]:  # noqa: B008 -- frozen
    with open_frames(path, form=form) as reader:
        return next(reader).to_frame().pixels


@pytest.fixture(scope="module")
def zscale() -> str:
    """The path of an ffmpeg that can tone-map; the test is skipped with the reason where there is none."""
    program = shutil.which("ffmpeg")
    if program is None:
        pytest.skip("there is no ffmpeg here")
    filters = subprocess.run([program, "-hide_banner", "-filters"], capture_output=True, text=True, check=True).stdout
    if " zscale " not in filters or " tonemap " not in filters:
        pytest.skip("ffmpeg here is built without zscale (libzimg) or tonemap")
    return program


@pytest.mark.parametrize("kind", TRANSFERS)
@pytest.mark.parametrize(("bits", "full"), [(10, False), (10, True), (8, False), (12, False)])
def test_pixels_are_those_of_zscale_and_tonemap(kind: str, bits: int, full: bool, zscale: str, tmp_path: Path) -> None:
    clip = hdr_clip(tmp_path / "clip.mkv", kind, bits=bits, full=full)
    command = [zscale, "-v", "error", "-i", clip, "-vf", CHAIN, "-frames:v", "1", "-f", "rawvideo", "-"]
    raw = subprocess.run(command, capture_output=True, check=True).stdout
    green, blue, red = np.frombuffer(raw, np.uint8).reshape(3, SIZE[1], SIZE[0])
    wanted = np.stack([blue, green, red], -1).astype(np.float64)
    assert wanted.max() - wanted.min() > 150, "the picture tells nothing"
    error = float(((first(clip) - wanted) ** 2).mean())
    assert 10 * np.log10(255**2 / error) >= 35
    assert abs(float((first(clip) - wanted).mean())) < 1


@pytest.mark.parametrize("kind", TRANSFERS)
def test_diffuse_white_is_as_bright_from_pq_as_from_hlg(kind: str) -> None:
    code = {"PQ": 0.5807, "HLG": 0.75}[kind]  # of 203 cd/m², BT.2408
    for full_range, y in ((False, 64 + 876 * code), (True, 1023 * code)):
        hdr = hdr_of(transfer=TRANSFERS[kind], matrix=9, primaries=9, full_range=full_range, bits=10)
        assert hdr is not None
        luma, middle = np.full((4, 4), round(y) << 6, np.uint16), np.full((4, 4), 512 << 6, np.uint16)
        assert np.abs(tone_map((luma, middle, middle), hdr).astype(int) - 192).max() <= 1


def test_the_table_for_thumbnails_says_what_becomes_of_gray() -> None:
    for kind, full_range in ((kind, full) for kind in TRANSFERS for full in (False, True)):
        hdr = hdr_of(transfer=TRANSFERS[kind], matrix=9, primaries=9, full_range=full_range, bits=8)
        assert hdr is not None
        codes = np.arange(16, 236)
        planes = (codes[None].astype(np.uint16) << 8, *(np.full((1, 220), 128 << 8, np.uint16),) * 2)
        shown = tone_map(planes, hdr)[0, :, 0] / 255.0
        wanted = shown * 255 if full_range else 16 + 219 * shown
        assert np.abs(luma_table(hdr)[codes] - wanted).max() <= 1.01
        assert (np.diff(luma_table(hdr).astype(int)) >= 0).all()


def test_a_brighter_code_is_never_darker_and_black_stays_black() -> None:
    for kind in TRANSFERS:
        hdr = hdr_of(transfer=TRANSFERS[kind], matrix=2, primaries=2, full_range=False, bits=10)
        assert hdr is not None
        luma = (np.arange(64, 941, dtype=np.uint16) << 6)[None]
        middle = np.full_like(luma, 512 << 6)
        gray = tone_map((luma, middle, middle), hdr)[0].astype(int)
        assert (np.diff(gray, axis=0) >= 0).all()
        assert gray[0].max() == 0
        assert gray[-1].min() == 255


@pytest.mark.parametrize("kind", TRANSFERS)
def test_thumbnails_small_copies_and_regions_show_the_tones_of_the_whole(kind: str, tmp_path: Path) -> None:
    clip = hdr_clip(tmp_path / "clip.mkv", kind)
    whole = first(clip)
    with open_frames(clip) as reader:
        frame = next(reader)
        small, part = frame.scaled(80), frame.to_frame((60, 40, 160, 120)).pixels
    assert np.array_equal(part[40:120, 60:160], whole[40:120, 60:160])
    assert part[180, 310].max() == 0, "the rest was not paid for"
    wanted = cv2.resize(whole, (80, 48), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(int) - wanted).mean() < 2
    gray = hdr_clip(tmp_path / "gray.mkv", kind, draw=lambda number: np.repeat(lit(number)[:, :, 1:2], 3, axis=2))
    with open_frames(gray) as reader:
        frame = next(reader)
        wanted = cv2.resize(frame.to_frame().pixels, (40, 24), interpolation=cv2.INTER_AREA)[:, :, 1]
        assert np.abs(frame.luma(40) - (16 + wanted * (219 / 255))).mean() < 3


@pytest.mark.parametrize("kind", TRANSFERS)
def test_without_tone_mapping_the_codes_are_taken_as_they_are_and_it_is_said(kind: str, tmp_path: Path) -> None:
    clip = hdr_clip(tmp_path / "clip.mkv", kind)
    flat = first(clip, FrameForm(tone_map=False))
    assert np.abs(flat.astype(int) - lit(0)).mean() < 3
    with open_frames(clip, form=FrameForm(tone_map=False)) as reader:
        assert any("without tone mapping" in told for told in reader.warnings)
    assert any("tone-mapped to SDR (BT.709)" in told for told in probe(clip).warnings)


def test_sdr_of_10_bits_is_not_touched(tmp_path: Path) -> None:
    colour = {"color_trc": 1, "color_primaries": 1, "colorspace": 1}
    clip = make_clip(tmp_path / "sdr.mkv", codec="libx265", pix_fmt="yuv420p10le", colour=colour)
    assert not any("HDR" in told for told in probe(clip).warnings)
    assert np.abs(first(clip).astype(int) - draw_numbered(0)).mean() < 4
    assert np.array_equal(first(clip), first(clip, FrameForm(tone_map=False)))


def test_rgb_hdr_needs_no_matrix(tmp_path: Path) -> None:
    codes = np.full((64, 96, 3), 148, np.uint8)
    clip = make_clip(
        tmp_path / "rgb.mkv", frames=1, codec="ffv1", pix_fmt="gbrp10le", draw=lambda _number: codes,
        colour={"color_trc": 16, "color_primaries": 9},
    )  # fmt: skip
    assert np.abs(first(clip).astype(int) - 192).max() <= 2
