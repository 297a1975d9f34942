"""Crops, boxes, poses and warps equal those DeepFaceLab made (golden align.json, warp/)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfl.errors import FormatError
from dfl.face_tables import FACE_TYPES, FIT_POINTS, FIT_TARGET, MEAN_FACE_3D
from dfl.geometry import (
    cut_to_even,
    face_mat,
    face_rect,
    fit_similarity,
    head_pose,
    invert_mat,
    mirror_landmarks,
    plain_crop_mat,
    transform_points,
    warp_face,
)

# DeepFaceLab computes the crop's corners in float32: 1.4e-5 of the side is what that costs it on a 17 px face.
MAT_TOLERANCE_OF_SIDE = 1.4e-5


@pytest.fixture(scope="module")
def align(shared: Path) -> list[dict[str, Any]]:
    cases: list[dict[str, Any]] = json.loads((shared / "golden" / "align.json").read_text())["cases"]
    assert len(cases) == 51
    return cases


def a_face() -> np.ndarray:
    """68 plausible landmarks, from the mean head seen from the front, 200 px wide at (400, 300)."""
    return np.array(MEAN_FACE_3D)[:, :2] * 1.4 + (400.0, 300.0)


def test_every_golden_matrix_is_met_within_what_float32_costs_deepfacelab(align: list[dict[str, Any]]) -> None:
    checked = 0
    for case in align:
        landmarks = np.array(case["landmarks"])
        for key, golden in case["mats"].items():
            face_type, size, scale = key.split("|")
            mat = face_mat(landmarks, int(size), face_type, scale=float(scale))
            apart = np.abs(transform_points(landmarks, mat) - transform_points(landmarks, golden)).max()
            assert apart <= MAT_TOLERANCE_OF_SIDE * int(size), (case["kind"], key)
            checked += 1
    assert checked == 51 * 7 * 4


def test_landmarks_are_carried_into_the_golden_aligned_image(align: list[dict[str, Any]]) -> None:
    for case in align:
        aligned = transform_points(case["landmarks"], face_mat(case["landmarks"], 256, "whole_face"))
        np.testing.assert_allclose(
            aligned, case["aligned_landmarks_whole_face_256"], rtol=0, atol=MAT_TOLERANCE_OF_SIDE * 256
        )


def test_the_box_of_a_face_is_the_golden_one(align: list[dict[str, Any]]) -> None:
    for case in align:
        np.testing.assert_allclose(face_rect(case["landmarks"]), case["rect_from_landmarks"], rtol=0, atol=1e-3)


def test_the_pose_is_the_golden_one(align: list[dict[str, Any]]) -> None:
    for case in align:
        pose = head_pose(case["aligned_landmarks_whole_face_256"], 256)
        np.testing.assert_allclose(pose, case["pitch_yaw_roll_from_whole_face_256"], rtol=0, atol=1e-5)


def test_warped_pixels_equal_the_golden_crops(shared: Path) -> None:
    golden = shared / "golden"
    cases = json.loads((golden / "warp" / "warp.json").read_text())
    assert len(cases) == 2
    for case in cases:
        frame = np.asarray(cv2.imread(str(golden / case["frame"])), dtype=np.uint8)
        want = cv2.imread(str(golden / case["result"]))
        np.testing.assert_array_equal(warp_face(frame, case["matrix"], case["size"]), want)
        own_mat = face_mat(case["landmarks"], case["size"], case["face_type"])
        off = np.abs(warp_face(frame, own_mat, case["size"]).astype(int) - np.asarray(want))
        # A matrix 1e-6 px away tips a bilinear weight (steps of 1/32 px) now and then.
        assert off.max() <= 2
        assert np.count_nonzero(off) <= off.size / 5000


def test_a_grey_or_odd_edge_is_cut_before_warping() -> None:
    frame = np.zeros((101, 203, 4), dtype=np.uint8)
    assert cut_to_even(frame).shape == (100, 202, 3)
    frame[100], frame[:, 202] = 255, 255
    identity = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert warp_face(frame, identity, 256).max() == 0


def test_corners_of_the_crop_map_to_zero_and_the_full_side() -> None:
    mat = face_mat(a_face(), 512, "full_face_no_align")
    back = invert_mat(mat)
    left, top = transform_points([(0, 0)], back)[0]
    right, bottom = transform_points([(512, 512)], back)[0]
    assert right - left == pytest.approx(bottom - top)
    np.testing.assert_allclose(transform_points([(right, top)], mat), [(512, 0)], atol=1e-9)


def test_a_larger_scale_zooms_in() -> None:
    assert face_mat(a_face(), 256, "head", scale=1.5)[0, 0] == pytest.approx(
        1.5 * face_mat(a_face(), 256, "head")[0, 0]
    )


@pytest.mark.parametrize("face_type", ["mark_only", "mve_custom", ""])
def test_a_face_type_without_a_crop_is_refused(face_type: str) -> None:
    with pytest.raises(FormatError, match="has no crop"):
        face_mat(a_face(), 256, face_type)


def test_landmarks_on_one_spot_are_refused() -> None:
    with pytest.raises(FormatError, match="one spot"):
        face_mat(np.full((68, 2), 7.0), 256, "whole_face")


def test_landmarks_that_are_not_numbers_are_refused() -> None:
    landmarks = a_face()
    landmarks[5, 0] = np.nan
    with pytest.raises(FormatError, match="1 of 68 points are not finite"):
        face_mat(landmarks, 256, "whole_face")


def test_five_landmarks_are_not_a_face() -> None:
    with pytest.raises(FormatError, match="5 landmarks, expected 68"):
        face_mat(a_face()[:5], 256, "whole_face")


def test_a_flat_matrix_has_no_way_back() -> None:
    with pytest.raises(FormatError, match="onto a line"):
        invert_mat([[1.0, 2.0, 0.0], [2.0, 4.0, 0.0]])


def test_a_plain_crop_of_margin_0_40_is_whole_face() -> None:
    np.testing.assert_allclose(plain_crop_mat(a_face(), 256, 0.40), face_mat(a_face(), 256, "whole_face"), atol=1e-9)


def test_a_wider_margin_shows_more() -> None:
    assert plain_crop_mat(a_face(), 256, 0.9)[0, 0] < plain_crop_mat(a_face(), 256, 0.3)[0, 0]


def test_mirroring_twice_gives_the_face_back() -> None:
    once = mirror_landmarks(a_face(), 800)
    assert once[0, 0] == 800 - a_face()[16, 0] - 1
    np.testing.assert_allclose(mirror_landmarks(once, 800), a_face())


def test_a_mirrored_face_turns_the_other_way(align: list[dict[str, Any]]) -> None:
    seen = 0
    for case in align:
        landmarks = case["aligned_landmarks_whole_face_256"]
        yaw = head_pose(landmarks, 256)[1]
        if abs(yaw) > 0.3:
            seen += 1
            assert np.sign(head_pose(mirror_landmarks(landmarks, 256), 256)[1]) == -np.sign(yaw), case["kind"]
    assert seen > 5


coordinate = st.floats(-1000, 1000)


@given(st.floats(0.05, 50), st.floats(-3.1, 3.1), coordinate, coordinate)
def test_a_similarity_is_found_again_from_where_it_put_the_template(
    scale: float, angle: float, x: float, y: float
) -> None:
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    forward = np.array([[cos, -sin, x], [sin, cos, y]])
    found = fit_similarity(transform_points(FIT_TARGET, forward), FIT_TARGET)
    np.testing.assert_allclose(transform_points(transform_points(FIT_TARGET, forward), found), FIT_TARGET, atol=1e-9)


def umeyama_1991(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The published algorithm, by singular values, as an oracle for the closed form."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    covariance = (target - target_mean).T @ (source - source_mean) / len(source)
    sign = np.array([1.0, -1.0 if np.linalg.det(covariance) < 0 else 1.0])
    u, d, vt = np.linalg.svd(covariance)
    if np.linalg.det(u) * np.linalg.det(vt) * sign[1] < 0:
        sign[1] = -sign[1]
    rotation = u @ np.diag(sign) @ vt
    scale = (d * sign).sum() / source.var(axis=0).sum()
    return np.column_stack((scale * rotation, target_mean - scale * rotation @ source_mean))


@given(st.integers(0, 2**32 - 1))
def test_the_closed_form_equals_umeyamas_algorithm_on_any_points(seed: int) -> None:
    random = np.random.default_rng(seed)
    source = random.normal(size=(33, 2)) * 50 + 300
    target = random.normal(size=(33, 2))
    np.testing.assert_allclose(fit_similarity(source, target), umeyama_1991(source, target), rtol=0, atol=1e-9)


def test_the_tables_agree_with_the_reference_notes(shared: Path) -> None:
    notes = json.loads((shared / "reference" / "dfl-formats-tables.json").read_text())
    assert [list(point) for point in FIT_TARGET] == notes["fit_target_33_points"]
    assert list(FIT_POINTS) == notes["fit_points_indices"]
    assert [list(point) for point in MEAN_FACE_3D] == notes["mean_face_3d_68"]
    for name, facts in notes["face_types"].items():
        assert FACE_TYPES[name].enum == facts["enum"]
        assert FACE_TYPES[name].padding == facts["padding"]
        assert FACE_TYPES[name].upright == bool(facts["upright"])
