from __future__ import annotations

import numpy as np
import pytest

from engine.faces.near_duplicates import ALIKE, choose_varied, descriptor_of
from engine.types import Image


def face(seed: int) -> Image:
    return np.kron(np.random.default_rng(seed).integers(0, 255, (16, 16)), np.ones((8, 8))).astype(np.uint8)


def test_brightness_and_contrast_make_no_other_view() -> None:
    dim = (face(1) * 0.5 + 20).astype(np.uint8)
    assert descriptor_of(face(1)) @ descriptor_of(dim) > 0.999
    assert descriptor_of(face(1)) @ descriptor_of(face(2)) < 0.5


def test_a_flat_picture_has_a_descriptor() -> None:
    assert np.isfinite(descriptor_of(np.full((64, 64), 90, np.uint8))).all()


def test_of_faces_that_show_the_same_the_sharpest_stays() -> None:
    rows = np.stack([descriptor_of(face(seed)) for seed in (1, 1, 2, 1, 2)])
    assert choose_varied(rows, [0.1, 0.3, 0.2, 0.2, 0.1]).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize("count", [0, 1])
def test_none_and_one_stay(count: int) -> None:
    assert choose_varied(np.zeros((count, 1024), np.float32), [0.1] * count).all()


def test_every_dropped_face_is_covered_by_a_sharper_kept_one_whatever_the_number() -> None:
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(40, 32))[rng.integers(0, 40, 1300)] + rng.normal(0, 0.05, (1300, 32))
    rows = np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)
    sharpness = rng.random(1300).tolist()
    keep = choose_varied(rows, sharpness)
    assert 40 <= keep.sum() < 300
    alike = rows @ rows.T >= ALIKE
    kept = np.flatnonzero(keep)
    for dropped in np.flatnonzero(~keep):
        assert any(alike[dropped, one] and sharpness[one] >= sharpness[dropped] for one in kept)
    np.fill_diagonal(alike, False)
    assert not alike[np.ix_(kept, kept)].any()
