from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.facesets.curation import near_duplicates
from engine.facesets.curation.near_duplicates import (
    GRID_PER_STEP,
    MOST_STEPS,
    nearest_of,
    stand_for_each_other,
    steps_from,
    vectors_of,
)
from tests.feature_rig import made_features


def slow_greedy(vectors: np.ndarray, order: np.ndarray, radius: float) -> tuple[set[int], dict[int, float]]:
    """The rule as a loop over whole numbers of any size."""
    rows = [[int(value) for value in vector] for vector in vectors]
    kept: list[int] = []
    nearest: dict[int, float] = {}
    for row in order:
        squares = [sum((a - b) ** 2 for a, b in zip(rows[row], rows[other], strict=True)) for other in kept]
        if squares and min(squares) <= (radius * GRID_PER_STEP) ** 2:
            nearest[row] = min(squares) ** 0.5 / GRID_PER_STEP
        else:
            kept.append(row)
    return set(kept), nearest


@pytest.mark.parametrize("block", [3, 64, 256])
def test_blocks_of_any_size_find_what_a_plain_loop_finds(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "BLOCK", block)
    for seed in range(3):
        rng = np.random.default_rng(seed)
        near = rng.integers(0, 12, 120)
        features = made_features(12, seed)
        vectors = vectors_of(features)[near] + rng.integers(-6, 7, (120, 108)).astype(np.float32)
        order = rng.permutation(120)
        found = stand_for_each_other(vectors, order, 4.0, surely_kept=0)
        kept, nearest = slow_greedy(vectors, order, 4.0)
        assert set(np.flatnonzero(found.kept).tolist()) == kept
        assert 12 <= len(kept) < 120
        assert {row: pytest.approx(found.steps_apart[row]) for row in nearest} == nearest
        assert all(found.kept[found.nearest[row]] for row in order)


def test_every_sum_is_one_that_single_precision_holds_exactly() -> None:
    extremes = {name: [1e6, -1e6] for name in ("yaw", "pitch", "roll", "mouth_open", "mouth_width", "eye_opening")}
    extremes |= {"light_x": [1e6, -1e6], "light_y": [1e6, -1e6], "brightness": [1e30, 0]}
    vectors = vectors_of(made_features(2, **extremes)).astype(np.int64)
    first, second = vectors
    assert np.abs(vectors).max() <= MOST_STEPS * GRID_PER_STEP
    # 2ab - bb in parts, and the squared distance itself.
    assert 2 * np.abs(first * second).sum() + (second * second).sum() < 2**24
    assert ((first - second) ** 2).sum() < 2**24


@given(st.integers(0, 2**32 - 1), st.integers(1, 60))
def test_the_order_of_the_rows_does_not_change_a_distance(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = vectors_of(made_features(count, seed))
    shuffled = rng.permutation(count)
    place_of = np.argsort(shuffled)
    rows = rng.integers(0, count, 5)
    _, here = nearest_of(vectors, rows, np.arange(count))
    _, there = nearest_of(vectors[shuffled], place_of[rows], np.arange(count))
    assert np.array_equal(here, there)
    assert not here.any()
    assert np.array_equal(steps_from(vectors, rows, 0), steps_from(vectors[shuffled], place_of[rows], int(place_of[0])))


def test_each_measure_counts_as_many_steps_as_it_is_noticed() -> None:
    one = {"luma_dct": np.zeros((2, 99)), "brightness": [100, 100]}
    steps = {"yaw": 5, "pitch": 5, "roll": 14, "mouth_open": 0.12, "mouth_width": 0.1, "eye_opening": 0.08}
    steps |= {"light_x": 0.25, "light_y": 0.25}
    for name, step in steps.items():
        same = {other: [0.3, 0.3] for other in steps} | one | {name: [0.3, 0.3 + 2 * step]}
        assert steps_from(vectors_of(made_features(2, **same)), np.array([0]), 1) == pytest.approx(2, abs=0.05), name


def test_faces_that_are_decided_on_stay_however_near_they_are() -> None:
    vectors = np.zeros((5, 108), np.float32)
    found = stand_for_each_other(vectors, np.arange(5), 1.0, surely_kept=3)
    assert found.kept.tolist() == [True, True, True, False, False]
    nobody, apart = nearest_of(vectors, np.arange(2), np.zeros(0, np.int64))
    assert (nobody.tolist(), apart.tolist()) == ([-1, -1], [np.inf, np.inf])
