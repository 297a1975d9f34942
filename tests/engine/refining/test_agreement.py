"""Landmarks that were found again are judged beside those of the neighbouring frames."""

from __future__ import annotations

import numpy as np
import pytest

from engine.refining.agreement import Beside, Points, judge, laid_over, steadied
from tests.landmarked_faces import landmarks_in_frame

NOISE = 0.02


def series(noise: float, seed: int, *, step_px: float = 6.0, count: int = 5) -> list[Points]:
    """A head that moves and turns a little from frame to frame, with noise as a part of its size."""
    rng = np.random.default_rng(seed)
    size = float(np.ptp(landmarks_in_frame(), axis=0).max())
    return [
        landmarks_in_frame(yaw_degrees=0.5 * place, roll_degrees=place, scale=1.0 + 0.01 * place)
        + step_px * place
        + rng.normal(0, noise * size, (68, 2))
        for place in range(count)
    ]


def beside(points: list[Points]) -> Beside:
    return Beside(points[2], (*points[:2], *points[3:]))


@pytest.mark.parametrize("seed", range(20))
def test_noisy_landmarks_give_way_to_steady_ones(seed: int) -> None:
    judged = judge(beside(series(NOISE, seed)), beside(series(0.002, seed + 100)))
    assert judged.moves
    assert judged.reason == "agrees_with_neighbours"


@pytest.mark.parametrize("seed", range(20))
def test_steady_landmarks_do_not_give_way_to_noisy_ones(seed: int) -> None:
    assert not judge(beside(series(0.002, seed)), beside(series(NOISE, seed + 100))).moves


@pytest.mark.parametrize("seed", range(20))
def test_a_face_without_neighbours_moves_where_it_then_fits_a_head(seed: int) -> None:
    noisy, right = Beside(series(NOISE, seed)[2], ()), beside(series(0.0, seed))
    judged = judge(noisy, right)
    assert judged.left_before is None
    assert judged.reason == "fits_the_head"
    assert not judge(Beside(right.own, ()), Beside(noisy.own, ())).moves


def test_what_is_found_where_it_was_changes_nothing() -> None:
    points = series(0.0, 1)
    judged = judge(beside(points), Beside(points[2] + 1.0, beside(points).neighbours))
    assert (judged.moves, judged.reason) == (False, "close_enough")


def test_what_is_found_far_away_is_another_face() -> None:
    points = series(NOISE, 1)
    judged = judge(beside(points), Beside(series(0.0, 1)[2] + 200.0, ()))
    assert (judged.moves, judged.reason) == (False, "elsewhere")


def test_the_median_of_neighbours_takes_noise_away() -> None:
    right = series(0.0, 1)[2]
    noisy = [beside(series(0.01, seed)) for seed in range(20)]
    before = np.mean([np.linalg.norm(one.own - right, axis=1).mean() for one in noisy])
    after = np.mean([np.linalg.norm(steadied(one) - right, axis=1).mean() for one in noisy])
    assert after < 0.75 * before


def test_a_neighbour_with_another_expression_is_left_out_of_the_median() -> None:
    points = series(0.0, 1)
    opened = points[3].copy()
    opened[5:12] += [0.0, 60.0]  # the jaw
    assert len(laid_over([points[1], opened], points[2])) == 1
