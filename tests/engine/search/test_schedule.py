from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from engine.search.schedule import (
    EMPTY_EVERY,
    INTERVAL_BORN,
    INTERVAL_CALM,
    INTERVAL_FACES,
    STILL_EVERY,
    Due,
    believed_rate,
    frames_at,
    interval_after,
    look_due,
    turned_divisor,
    whole_due,
)

DARK, BRIGHT = np.full((30, 64), 40, np.uint8), np.full((30, 64), 200, np.uint8)


def due(frame: int, *, moved: bool = False, somebody: bool = True, interval: int = 8, rate_scale: float = 1.0) -> Due:
    return look_due(
        frame,
        BRIGHT if moved else DARK,
        last_look=0,
        look_thumbnail=DARK,
        interval=interval,
        somebody_there=somebody,
        whole_due=False,
        rate_scale=rate_scale,
    )


def test_a_look_is_due_after_the_interval_and_sooner_where_the_picture_changed() -> None:
    assert [due(frame) for frame in (1, 7, 8)] == ["no", "no", "now"]
    assert [due(frame, moved=True) for frame in (INTERVAL_BORN - 1, INTERVAL_BORN)] == ["no", "now"]
    assert due(8, somebody=False) == "if new"
    assert [due(frame, rate_scale=2.0) for frame in (15, 16)] == ["no", "now"]


def test_a_whole_look_is_due_more_seldom_where_nobody_is() -> None:
    def at(frame: int, *, empty: bool) -> bool:
        return whole_due(frame, last_whole_look=0, last_full_look=frame, empty=empty, rate_scale=1.0)

    assert [at(STILL_EVERY - 1, empty=False), at(STILL_EVERY, empty=False)] == [False, True]
    assert [at(EMPTY_EVERY - 1, empty=True), at(EMPTY_EVERY, empty=True)] == [False, True]


def test_the_interval_grows_while_nothing_happens_and_shrinks_with_speed() -> None:
    assert interval_after(10, born=True, fast=False, settled=True) == INTERVAL_BORN
    assert interval_after(8, born=True, fast=True, settled=True) == 4
    assert interval_after(8, born=False, fast=False, settled=True) == INTERVAL_CALM
    assert interval_after(8, born=False, fast=False, settled=False) == INTERVAL_FACES


def test_turned_pictures_are_tried_at_the_first_second_fourth_eighth_look_in_doubt() -> None:
    assert [count for count in range(16) if turned_divisor(count)] == [0, 1, 3, 7, 15]
    assert [turned_divisor(count) for count in (0, 1, 3, 7, 15)] == [2, 2, 2, 1, 1]


@pytest.mark.parametrize(
    ("stated", "taken"),
    [(None, 25.0), (Fraction(24000, 1001), 24000 / 1001), (Fraction(1, 60), 1.0), (Fraction(1000), 240.0)],
)
def test_a_rate_that_no_camera_has_is_not_believed(stated: Fraction | None, taken: float) -> None:
    assert believed_rate(stated) == taken


def test_an_interval_is_at_least_one_frame() -> None:
    assert [frames_at(4, scale) for scale in (0.04, 1.0, 2.4)] == [1, 4, 10]
