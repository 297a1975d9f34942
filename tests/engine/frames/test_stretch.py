"""Only a stretch of a video, with the indices of the whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import InputError
from engine.footage.video import open_frames
from engine.frames.stretch import StretchReader
from engine.types import Cursor

RATE = 25


def indices(path: Path, start_s: float | None, end_s: float | None, after: Cursor | None = None) -> list[int]:
    with StretchReader(open_frames(path, after=after), start_s=start_s, end_s=end_s) as reader:
        return [decoded.index for decoded in reader]


@pytest.fixture
def clip(tmp_path: Path, make_clip: Callable[..., Path]) -> Path:
    return make_clip(tmp_path / "clip.mp4", frames=30, rate=RATE)


@pytest.mark.parametrize(
    ("start_s", "end_s", "expected"),
    [(None, None, (0, 30)), (0.4, None, (10, 30)), (None, 0.4, (0, 10)), (0.4, 0.8, (10, 20)), (5.0, None, (0, 0))],
)
def test_frames_of_a_stretch_keep_their_indices(
    clip: Path, start_s: float | None, end_s: float | None, expected: tuple[int, int]
) -> None:
    assert indices(clip, start_s, end_s) == list(range(*expected))


def test_a_resume_in_a_stretch_goes_on_and_ends_where_the_whole_run_would(clip: Path) -> None:
    with StretchReader(open_frames(clip), start_s=0.4, end_s=0.8) as reader:
        seen = [next(reader) for _ in range(5)]
    cursor = Cursor(seen[-1].index + 1, seen[-1].pts)
    assert indices(clip, 0.4, 0.8, cursor) == list(range(15, 20))


def test_times_of_a_variable_rate_are_the_pts(tmp_path: Path, make_clip: Callable[..., Path]) -> None:
    ticks = [0, 40, 80, 4000, 4040, 8000]  # of 1/1000 s
    clip = make_clip(tmp_path / "vfr.mkv", frames=6, ticks=ticks, rate=RATE)
    assert indices(clip, 3.9, 5.0) == [3, 4]


def test_a_stretch_that_ends_before_it_begins_is_refused(clip: Path) -> None:
    with pytest.raises(InputError, match="from 2 s to 1 s is empty"):
        indices(clip, 2.0, 1.0)
