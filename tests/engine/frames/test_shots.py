from __future__ import annotations

import numpy as np
import pytest

from engine.frames.shots import ShotState, advance, change_between, is_cut
from engine.types import Image


def picture(seed: int, *, shift: int = 0, gain: float = 1.0) -> Image:
    """A smooth random picture, 36 x 64; `shift` pans it by so many pixels."""
    coarse = np.random.default_rng(seed).uniform(20, 220, (9, 26))
    fine = np.kron(coarse, np.ones((4, 4)))
    for axis in (0, 1):
        fine = (np.roll(fine, 1, axis) + fine + np.roll(fine, -1, axis)) / 3
    return np.clip(fine[:, shift : shift + 64] * gain, 0, 255).astype(np.uint8)


def after(*thumbnails: Image) -> ShotState:
    state = None
    for thumbnail in thumbnails:
        state = advance(state, thumbnail)
    assert state is not None
    return state


def test_another_picture_is_a_cut() -> None:
    assert is_cut(after(picture(1)), picture(2))


def test_the_same_picture_with_grain_is_no_cut() -> None:
    grain = np.random.default_rng(5).integers(-6, 7, (36, 64))
    grainy = np.clip(picture(1).astype(int) + grain, 0, 255).astype(np.uint8)
    assert not is_cut(after(picture(1)), grainy)


@pytest.mark.parametrize("gain", [0.5, 1.15])
def test_a_change_of_exposure_is_no_cut(gain: float) -> None:
    assert not is_cut(after(picture(1)), picture(1, gain=gain))


def test_a_slow_pan_is_no_cut() -> None:
    state = after(picture(1))
    for shift in range(1, 20):
        moved = picture(1, shift=shift)
        assert not is_cut(state, moved), shift
        state = advance(state, moved)


def test_black_frames_are_one_shot() -> None:
    black = np.full((36, 64), 16, np.uint8)
    speck = black.copy()
    speck[10, 10] = 60
    assert not is_cut(after(black), speck)


def test_a_frame_of_another_size_begins_a_shot() -> None:
    assert is_cut(after(picture(1)), picture(1)[:, :48])


def test_a_jump_between_like_pictures_is_a_cut_where_the_shot_was_still() -> None:
    still = [picture(1)] * 5
    jumped = picture(1, shift=5)
    assert is_cut(after(*still), jumped), "a jump cut"


def test_the_change_between_sizes_is_the_largest() -> None:
    assert change_between(picture(1), picture(1)[:, :48]) == 255.0
    assert change_between(picture(1), picture(1)) == 0.0
