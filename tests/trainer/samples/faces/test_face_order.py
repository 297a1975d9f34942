"""Which face stands at which place of a training."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from trainer.samples.faces.face_order import ShuffledOrder, UniformYawOrder


def test_every_epoch_has_every_face_once_in_an_order_of_its_own() -> None:
    order = ShuffledOrder(50, seed=4, row="src")
    epochs = [[order.face_at(epoch * 50 + place) for place in range(50)] for epoch in range(3)]
    assert all(sorted(one) == list(range(50)) for one in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_place_has_the_same_face_whoever_asks_and_sides_and_seeds_differ() -> None:
    def first(seed: int, row: str) -> list[int]:
        order = ShuffledOrder(40, seed, row)
        return [order.face_at(place) for place in reversed(range(30, 60))]

    assert first(1, "src") == first(1, "src")
    assert first(1, "src") != first(1, "dst")
    assert first(1, "src") != first(2, "src")


def test_uniform_yaw_shows_each_direction_equally_often_and_no_face_of_a_bin_twice_before_the_others() -> None:
    yaws = [0.0] * 90 + [0.7] * 9 + [-1.5]
    order = UniformYawOrder(yaws, seed=1, row="src")
    shown = Counter(order.face_at(place) for place in range(270))
    assert sum(shown[one] for one in range(90)) == sum(shown[one] for one in range(90, 99)) == shown[99] == 90
    assert set(shown.values()) == {1, 10, 90}


def test_yaws_beyond_the_edges_have_a_bin() -> None:
    order = UniformYawOrder([-9.0, 9.0, 1.2, -1.2], seed=1, row="src")
    assert {order.face_at(place) for place in range(8)} == {0, 1, 2, 3}


@pytest.mark.parametrize("place", [0, 10**12])
def test_a_place_far_on_is_found_at_once(place: int) -> None:
    assert 0 <= ShuffledOrder(7, 1, "src").face_at(place) < 7
    assert 0 <= UniformYawOrder(np.linspace(-1, 1, 7).tolist(), 1, "src").face_at(place) < 7
