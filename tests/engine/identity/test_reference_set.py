from __future__ import annotations

import numpy as np
import pytest

from engine.identity.reference_set import cluster_centres, duplicate_weights, leave_one_out, people_in, weighted_mean

DIMENSIONS = 32


def around(axis: int, count: int, spread: float, seed: int = 0) -> np.ndarray:
    rows = np.zeros((count, DIMENSIONS))
    rows[:, axis] = 1
    rows += np.random.default_rng(seed + axis).normal(0, spread, rows.shape)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def test_takes_of_one_moment_count_once() -> None:
    burst, other = np.repeat(around(0, 1, 0.0), 4, axis=0), around(1, 1, 0.0)
    weights = duplicate_weights(np.concatenate([burst, other]), "cosine", 0.4)
    assert weights.tolist() == pytest.approx([0.25] * 4 + [1.0])
    mean = weighted_mean(np.concatenate([burst, other]), weights, "cosine")
    assert mean[0] == pytest.approx(mean[1])


def test_two_poses_of_a_person_get_a_centre_each() -> None:
    rows = np.concatenate([around(0, 6, 0.08), around(1, 6, 0.08)])
    centres = cluster_centres(rows, np.ones(12), "cosine")
    assert sorted(centres.argmax(axis=1).tolist()) == [0, 1]
    np.testing.assert_allclose(np.linalg.norm(centres, axis=1), 1, atol=1e-6)


def test_few_or_alike_photos_have_one_centre() -> None:
    assert len(cluster_centres(around(0, 3, 0.1), np.ones(3), "cosine")) == 1
    assert len(cluster_centres(around(0, 12, 0.02), np.ones(12), "cosine")) == 1


def test_the_photo_that_does_not_fit_has_the_lowest_leave_one_out_similarity() -> None:
    rows = np.concatenate([around(0, 5, 0.08), around(3, 1, 0.08)])
    fits = leave_one_out(rows, np.ones(6), "cosine")
    assert fits.argmin() == 5
    assert fits[:5].min() > 0.5 > fits[5]
    assert np.isnan(leave_one_out(rows[:1], np.ones(1), "cosine")).all()


def test_two_people_are_two_groups_and_a_chain_of_ages_is_one() -> None:
    assert people_in(np.concatenate([around(0, 3, 0.05), around(1, 2, 0.05)]), "cosine", 0.4) == [[0, 1, 2], [3, 4]]
    steps = np.linspace(0, np.pi / 2, 5)
    chain = np.zeros((5, DIMENSIONS), np.float32)
    chain[:, 0], chain[:, 1] = np.cos(steps), np.sin(steps)
    assert people_in(chain, "cosine", 0.4) == [[0, 1, 2, 3, 4]]
