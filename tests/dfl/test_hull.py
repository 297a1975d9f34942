"""Masks made from landmarks equal DeepFaceLab's (golden hull/)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from dfl.errors import FormatError
from dfl.face_tables import MEAN_FACE_3D
from dfl.hull import expand_eyebrows, eyes_mouth_mask, hull_mask


@pytest.fixture(scope="module")
def cases(shared: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shared / "golden" / "hull" / "hull.json").read_text())
    assert len(found) == 12
    return found


def a_face() -> np.ndarray:
    return np.array(MEAN_FACE_3D)[:, :2] + (128.0, 128.0)


def test_every_golden_hull_mask_is_met_pixel_by_pixel(cases: list[dict[str, Any]], shared: Path) -> None:
    for case in cases:
        golden = cv2.imread(str(shared / "golden" / "hull" / case["file"]), cv2.IMREAD_UNCHANGED)
        mask = hull_mask(
            case["height"], case["width"], case["landmarks"], eyebrows_expand_mod=case["eyebrows_expand_mod"]
        )
        np.testing.assert_array_equal(mask, golden, err_msg=case["file"])
        assert np.count_nonzero(mask) == case["hull_pixels_on"]


def test_every_golden_eyes_and_mouth_mask_is_met_to_the_last_bit_of_a_float(
    cases: list[dict[str, Any]], shared: Path
) -> None:
    for case in cases:
        golden = cv2.imread(str(shared / "golden" / "hull" / case["eyes_mouth_file"]), cv2.IMREAD_UNCHANGED)
        mask = eyes_mouth_mask(case["height"], case["width"], case["landmarks"])
        assert mask.dtype == np.float32
        off = np.abs((mask * 255).astype(np.uint8).astype(int) - np.asarray(golden))
        # The blur of OpenCV 4.1 rounds its last bit elsewhere: one grey level on 2 of 65536 px, in 2 of 12 masks.
        assert off.max() <= 1, case["eyes_mouth_file"]
        assert np.count_nonzero(off) <= 2, case["eyes_mouth_file"]


def test_a_hull_mask_has_two_values_only() -> None:
    assert set(np.unique(hull_mask(256, 256, a_face()))) == {0, 255}


def test_a_face_outside_the_image_leaves_an_empty_mask() -> None:
    assert hull_mask(64, 64, a_face() + 5000).max() == 0
    assert eyes_mouth_mask(64, 64, a_face() + 5000).max() == 0


def test_a_larger_factor_lifts_the_eyebrows_and_moves_nothing_else() -> None:
    low, high = expand_eyebrows(a_face(), 0.5), expand_eyebrows(a_face(), 2.0)
    assert (high[17:27, 1] < low[17:27, 1]).all()
    np.testing.assert_array_equal(np.delete(high, slice(17, 27), axis=0), np.delete(low, slice(17, 27), axis=0))


def test_a_landmark_too_far_away_for_the_polygon_filler_is_refused() -> None:
    landmarks = a_face()
    landmarks[3] = (1e9, 0)
    with pytest.raises(FormatError, match="32768 px"):
        hull_mask(256, 256, landmarks)


def test_a_small_image_still_gets_an_eyes_and_mouth_mask() -> None:
    assert eyes_mouth_mask(24, 24, a_face() * 24 / 256).max() > 0
