"""Pixels that are not square are squared before anything looks at them, and frames for the merger have one size."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.footage.video import open_frames, probe
from engine.frames.contract import MAX_FRAME_PX, MAX_SIDE_PX, FrameForm
from engine.frames.shape import squared_size
from engine.types import Cursor
from tests.clips import draw_numbered, make_clip


@pytest.mark.parametrize(
    ("stored", "aspect", "shown"),
    [
        ((1440, 1080), Fraction(4, 3), (1920, 1080)),  # HDV
        ((720, 576), Fraction(64, 45), (1024, 576)),  # DVD, PAL, 16:9
        ((720, 576), Fraction(16, 15), (768, 576)),  # DVD, PAL, 4:3
        ((720, 480), Fraction(32, 27), (854, 480)),  # DVD, NTSC, 16:9
        ((720, 480), Fraction(8, 9), (720, 540)),  # DVD, NTSC, 4:3
        ((1920, 1080), Fraction(2), (3840, 1080)),  # anamorphic lens
        ((1080, 1920), Fraction(1, 2), (1080, 3840)),
        ((16000, 4000), Fraction(2), (16000, 2000)),  # too wide for more columns: fewer rows
        ((719, 405), Fraction(1), (719, 405)),
        ((1280, 720), Fraction(640, 639), (1280, 720)),  # rounding
        ((1280, 720), None, (1280, 720)),
        ((1280, 720), Fraction(0), (1280, 720)),
        ((1280, 720), Fraction(1000), (1280, 720)),  # a mistake
        ((1280, 720), Fraction(1, 1000), (1280, 720)),
    ],
)
def test_the_size_is_that_of_a_player(stored: tuple[int, int], aspect: Fraction | None, shown: tuple[int, int]) -> None:
    assert squared_size(*stored, aspect) == shown


def test_no_aspect_makes_a_picture_larger_than_dfld_takes_or_empty() -> None:
    rng = np.random.default_rng(5)
    for _ in range(2000):
        width, height = (int(side) for side in rng.integers(1, MAX_SIDE_PX, 2))
        if width * height > MAX_FRAME_PX:
            continue
        aspect = Fraction(int(rng.integers(1, 99)), int(rng.integers(1, 99)))
        shown = squared_size(width, height, aspect)
        assert min(shown) >= 1
        assert max(shown) <= MAX_SIDE_PX
        assert shown[0] * shown[1] <= MAX_FRAME_PX


@pytest.mark.parametrize("rotation", [0, 90, 180, 270])
@pytest.mark.parametrize("aspect", [Fraction(4, 3), Fraction(1, 2), Fraction(64, 45)])
def test_frames_small_copies_and_thumbnails_have_one_shape(aspect: Fraction, rotation: int, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=2, size=(144, 96), aspect=aspect, rotation=rotation)
    shown = squared_size(144, 96, aspect)
    shown = shown[::-1] if rotation in (90, 270) else shown
    info = probe(clip)
    assert (info.width, info.height) == shown
    assert any("pixels are not square" in told and "as players show them" in told for told in info.warnings)
    with open_frames(clip) as reader:
        frame = next(reader)
        whole, small, thumbnail = frame.to_frame().pixels, frame.scaled(48), frame.luma(48)
        assert (frame.width, frame.height) == shown
        assert np.array_equal(frame.to_frame((8, 8, 40, 40)).pixels, whole)
    assert whole.shape == (shown[1], shown[0], 3)
    height = max(1, round(48 * shown[1] / shown[0]))
    assert (small.shape, thumbnail.shape) == ((height, 48, 3), (height, 48))
    stored = cv2.resize(draw_numbered(0, (144, 96)), squared_size(144, 96, aspect), interpolation=cv2.INTER_CUBIC)
    assert np.abs(whole.astype(int) - np.rot90(stored, rotation // 90)).mean() < 8
    for copy in (small, cv2.cvtColor(small, cv2.COLOR_BGR2GRAY)):
        like = whole if copy.ndim == 3 else cv2.cvtColor(whole, cv2.COLOR_BGR2GRAY)
        assert np.abs(copy.astype(int) - cv2.resize(like, (48, height), interpolation=cv2.INTER_AREA)).mean() < 6


def test_square_pixels_are_left_to_the_last_bit(tmp_path: Path) -> None:
    plain = make_clip(tmp_path / "plain.mkv", frames=2)
    tagged = make_clip(tmp_path / "tagged.mkv", frames=2, aspect=Fraction(1))
    with open_frames(plain) as one, open_frames(tagged) as other:
        for first, second in zip(one, other, strict=True):
            assert np.array_equal(first.to_frame().pixels, second.to_frame().pixels)


@pytest.fixture(scope="module")
def changing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A stream of 12 frames of 160x96 and 12 of 96x96 px."""
    folder = tmp_path_factory.mktemp("changing")
    parts = [make_clip(folder / f"{size[0]}.ts", frames=12, size=size) for size in ((160, 96), (96, 96))]
    path = folder / "call.ts"
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    return path


def test_a_stream_that_changes_its_size_gives_frames_of_one_size_where_they_are_asked_for(changing: Path) -> None:
    with open_frames(changing, form=FrameForm(one_size=True)) as reader:
        frames = list(reader)
        told = reader.warnings
        assert reader.frames_decoded == len(frames) > 20
    assert {frame.to_frame().pixels.shape for frame in frames} == {(96, 160, 3)}
    assert {frame.scaled(80).shape for frame in frames} == {(48, 80, 3)}
    assert {frame.luma(80).shape for frame in frames} == {(48, 80)}
    late = frames[-1].to_frame().pixels
    assert late[:, :31].max() == 0, "black beside it"
    assert late[:, 33:127].mean() > 60, "whole in the middle"
    (change,) = [one for one in told if "picture size changes" in one]
    assert "from 160x96 to 96x96 px at frame 12" in change
    with open_frames(changing) as reader:
        assert {frame.to_frame().pixels.shape for frame in reader} == {(96, 160, 3), (96, 96, 3)}


def test_the_size_stays_that_of_the_first_frame_after_a_resume(changing: Path) -> None:
    with open_frames(changing, form=FrameForm(one_size=True)) as reader:
        frames = list(reader)
    cursor = Cursor(frames[16].index + 1, frames[16].pts)
    with open_frames(changing, after=cursor, form=FrameForm(one_size=True)) as reader:
        again = next(reader).to_frame().pixels
    assert np.array_equal(again, frames[17].to_frame().pixels)


def test_images_of_several_sizes_keep_them_and_the_change_is_told(tmp_path: Path) -> None:
    for name, size in {"a.png": (96, 64), "b.png": (128, 80)}.items():
        cv2.imwrite(str(tmp_path / name), draw_numbered(1, size))
    with open_frames(tmp_path, form=FrameForm(one_size=True)) as reader:
        assert [frame.to_frame().pixels.shape for frame in reader] == [(64, 96, 3), (80, 128, 3)]
        assert any("from 96x64 to 128x80 px at b.png" in told for told in reader.warnings)
