from __future__ import annotations

import numpy as np
import pytest

from engine.search.area import WHOLE
from engine.search.novelty import EDGE_FRACTION, novel_region
from engine.types import Image

HEIGHT, WIDTH = 90, 160


def wall(shift: int = 0, *, gain: float = 1.0, grain: float = 0.0, seed: int = 3) -> Image:
    """A wall of soft blocks, seen by a camera that panned by `shift` px."""
    coarse = np.random.default_rng(seed).uniform(40, 200, (20, 50))
    fine = np.kron(coarse, np.ones((6, 6)))
    for axis in (0, 1):
        fine = (np.roll(fine, 1, axis) + fine + np.roll(fine, -1, axis)) / 3
    seen = fine[10 : 10 + HEIGHT, 10 + shift : 10 + shift + WIDTH] * gain
    return np.clip(seen + np.random.default_rng(seed + 1 + shift).normal(0, grain, seen.shape), 0, 255).astype(np.uint8)


def with_face(picture: Image, x: int, y: int, size: int) -> Image:
    shown = picture.copy()
    patch = shown[y : y + size, x : x + size]
    patch[:] = np.where(patch.mean() > 120, 60, 190)
    return shown


@pytest.mark.parametrize("grain", [0.0, 1.5])
def test_a_still_wall_has_no_news_though_the_picture_is_grainy(grain: float) -> None:
    assert novel_region(wall(grain=grain), wall(grain=grain, seed=3)) is None


@pytest.mark.parametrize("shift", [1, 4, 9])
def test_a_pan_has_no_news_until_it_has_brought_in_a_wide_strip(shift: int) -> None:
    assert novel_region(wall(), wall(shift)) is None
    assert novel_region(wall(), wall(int(EDGE_FRACTION * WIDTH) + 2)) == WHOLE


@pytest.mark.parametrize("shift", [0, 5])
@pytest.mark.parametrize("size", [4, 12])
def test_a_face_that_appears_is_the_news_and_lies_in_the_box(shift: int, size: int) -> None:
    news = novel_region(wall(), with_face(wall(shift), 70, 40, size))
    assert news is not None
    x1, y1, x2, y2 = news
    assert x1 * WIDTH <= 70
    assert y1 * HEIGHT <= 40
    assert x2 * WIDTH >= 70 + size
    assert y2 * HEIGHT >= 40 + size
    assert (x2 - x1) * (y2 - y1) < 0.15, "and little else does"


def test_what_changes_within_a_known_face_is_no_news() -> None:
    changed = with_face(wall(), 70, 40, 12)
    known = (66 / WIDTH, 36 / HEIGHT, 86 / WIDTH, 56 / HEIGHT)
    assert novel_region(wall(), changed, [known]) is None
    assert novel_region(wall(), with_face(changed, 20, 20, 8), [known]) is not None


def test_a_change_of_light_is_news_nearly_everywhere() -> None:
    news = novel_region(wall(), wall(gain=0.7))
    assert news is not None
    assert (news[2] - news[0]) * (news[3] - news[1]) > 0.9


def test_a_picture_of_another_size_is_all_news() -> None:
    assert novel_region(wall(), wall()[:, :100]) == WHOLE


def test_the_pictures_stay_as_they_are() -> None:
    before, now = wall(), wall(5)
    copies = before.copy(), now.copy()
    novel_region(before, now)
    np.testing.assert_array_equal(before, copies[0])
    np.testing.assert_array_equal(now, copies[1])
    assert novel_region(before, now) is None, "the same answer again"


@pytest.mark.parametrize("size", [(1, 160), (2, 160), (3, 160), (160, 1), (1280, 160), (1, 1)])
def test_a_strip_of_a_few_rows_is_compared_as_well(size: tuple[int, int]) -> None:
    before, now = np.zeros(size, np.uint8), np.full(size, 200, np.uint8)
    assert novel_region(before, before) is None
    assert novel_region(before, now) is not None
