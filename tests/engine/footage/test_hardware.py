"""Decoding on the GPU, as far as a machine without one can tell: what is compared, and what happens where it fails."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from engine.footage.container import open_source
from engine.footage.hardware import PICTURES_COMPARED, as_software, disagreement, try_on_gpu
from engine.footage.video import open_frames
from engine.frames.pixels import to_bgr
from tests.clips import make_clip

NVIDIA = Path("/dev/nvidia0")


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    return make_clip(tmp_path / "clip.mp4", frames=20)


def first_frames(clip: Path, skip: int = 0) -> list[av.VideoFrame]:
    with av.open(str(clip)) as container:
        return list(container.decode(video=0))[skip : skip + PICTURES_COMPARED]


@pytest.mark.skipif(NVIDIA.exists(), reason="this machine has an NVIDIA GPU")
def test_where_no_gpu_decodes_the_software_does_and_the_reader_says_why(clip: Path) -> None:
    with open_source(clip, within=None) as file:
        assert "the GPU cannot" in try_on_gpu(file, clip).why_not
    with open_frames(clip) as plain, open_frames(clip, on_gpu=True) as asked:
        assert not any("by software" in warning for warning in plain.warnings)
        assert any(warning.startswith("decoded by software: the GPU cannot") for warning in asked.warnings)
        for one, other in zip(plain, asked, strict=True):
            assert (one.index, one.pts) == (other.index, other.pts)
            np.testing.assert_array_equal(one.to_frame().pixels, other.to_frame().pixels)


def test_the_same_pictures_agree_also_in_the_layout_of_a_gpu(clip: Path) -> None:
    wanted = first_frames(clip)
    from_gpu = [frame.reformat(format="nv12") for frame in first_frames(clip)]
    assert from_gpu[0].format.name == "nv12"
    assert disagreement(wanted, from_gpu) == ""
    np.testing.assert_array_equal(to_bgr(as_software(from_gpu[0], wanted[0].format.name)), to_bgr(wanted[0]))


def test_other_pictures_and_missing_ones_are_told(clip: Path) -> None:
    wanted = first_frames(clip)
    assert "decodes 7 of its first pictures, the software 8" in disagreement(wanted, wanted[:-1])
    assert "decodes picture 0 differently" in disagreement(wanted, first_frames(clip, skip=1))
