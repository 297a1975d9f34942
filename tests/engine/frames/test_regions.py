"""Part of a frame: the same pixels as the whole, wherever it lies and however the video is stored."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.footage.video import open_frames
from engine.frames.contract import Region, holds, region_round
from tests.clips import make_clip


@pytest.mark.parametrize("pix_fmt", ["yuv420p", "yuv422p", "yuv444p", "yuv420p10le"])
@pytest.mark.parametrize("region", [(40, 30, 90, 77), (-9, -9, 31, 25), (101, 51, 150, 99), (150, 90, 400, 300)])
def test_a_region_holds_the_pixels_of_the_whole_frame(tmp_path: Path, pix_fmt: str, region: Region) -> None:
    make_clip(tmp_path / "clip.mp4", frames=3, size=(192, 128), pix_fmt=pix_fmt)
    with open_frames(tmp_path / "clip.mp4") as reader:
        decoded = list(reader)[1]
    whole, part = decoded.to_frame().pixels, decoded.to_frame(region).pixels
    assert part.shape == whole.shape
    x1, y1, x2, y2 = (max(0, value) for value in region)
    np.testing.assert_array_equal(part[y1:y2, x1:x2], whole[y1:y2, x1:x2])


def test_what_lies_far_outside_a_region_is_not_converted(tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", frames=3, size=(192, 128))
    with open_frames(tmp_path / "clip.mp4") as reader:
        part = next(reader).to_frame((100, 60, 140, 100)).pixels
    assert not part[:20, :60].any()


def test_a_region_round_boxes_reaches_as_far_as_asked() -> None:
    boxes = [np.array([10.0, 10, 30, 20]), np.array([100.0, 50, 110, 90])]
    assert region_round(boxes, 1.0) == (0, -5, 145, 110)


def test_a_region_holds_a_part_as_far_as_the_frame_reaches() -> None:
    assert holds((0, 0, 50, 50), (-20, 10, 50, 50), 200, 100)
    assert not holds((10, 0, 50, 50), (-20, 10, 50, 50), 200, 100)
    assert holds((100, 50, 200, 100), (150, 60, 260, 130), 200, 100)
    assert not holds((0, 0, 50, 50), (10, 10, 51, 50), 200, 100)
