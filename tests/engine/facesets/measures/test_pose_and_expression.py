from __future__ import annotations

import numpy as np
import pytest

from dfl.geometry import head_pose
from engine.faces.pose import pose_of_68
from engine.facesets.measures.expression import measure_expression
from engine.facesets.measures.pose import measure_turn
from tests.landmarked_faces import landmarks_in_frame

TURNS = [(yaw, pitch) for yaw in (-60, -30, 0, 30, 60) for pitch in (-20, 0, 20)]


@pytest.mark.parametrize(("yaw", "pitch"), TURNS)
def test_a_turned_mean_head_is_found_to_be_turned_so(yaw: float, pitch: float) -> None:
    points = landmarks_in_frame(yaw_degrees=yaw, pitch_degrees=pitch)
    found = measure_turn(points)
    deep_face_lab = np.degrees(head_pose(points - points.min(axis=0) + 180, 512))
    assert found.yaw == pytest.approx(-deep_face_lab[1], abs=8)
    assert found.pitch == pytest.approx(deep_face_lab[0], abs=8)
    assert abs(found.yaw) == pytest.approx(abs(yaw), abs=8)
    assert found.error < 0.01


def test_the_signs_are_those_of_the_rest_of_the_engine() -> None:
    points = landmarks_in_frame(yaw_degrees=30)
    assert measure_turn(points).yaw * pose_of_68(points)[0] > 0
    looks_up = landmarks_in_frame()
    looks_up[[27, 28, 29, 30, *range(31, 36)], 1] -= 12  # the nose moves up
    assert measure_turn(looks_up).pitch > 5


@pytest.mark.parametrize("roll", [-170, -90, -20, 0, 45, 135])
def test_roll_is_found_all_the_way_round(roll: float) -> None:
    assert measure_turn(landmarks_in_frame(roll_degrees=roll)).roll == pytest.approx(roll, abs=1)


def test_points_that_are_no_face_have_a_large_error() -> None:
    rng = np.random.default_rng(3)
    points = landmarks_in_frame()
    assert measure_turn(points + rng.normal(0, 15, points.shape)).error > 0.1
    assert measure_turn(points).error < 0.01


@pytest.mark.parametrize("scale", [0.01, 1.0, 20.0])
def test_size_changes_neither_turn_nor_expression(scale: float) -> None:
    points = landmarks_in_frame(yaw_degrees=20)
    assert measure_turn(points * scale).yaw == pytest.approx(measure_turn(points).yaw, abs=1e-6)
    assert measure_expression(points * scale).mouth_open == pytest.approx(measure_expression(points).mouth_open)


@pytest.mark.parametrize(("yaw", "pitch"), TURNS)
def test_a_turn_of_the_head_opens_no_mouth_and_shuts_no_eye(yaw: float, pitch: float) -> None:
    ahead, turned = (
        measure_expression(landmarks_in_frame(yaw_degrees=one, pitch_degrees=two))
        for one, two in ((0, 0), (yaw, pitch))
    )
    assert turned.mouth_open == pytest.approx(ahead.mouth_open, abs=0.02)
    assert turned.mouth_width == pytest.approx(ahead.mouth_width, abs=0.02)
    assert turned.eye_opening == pytest.approx(ahead.eye_opening, abs=0.04)


def test_lips_and_lids_that_part_are_measured() -> None:
    points = landmarks_in_frame()
    rest = measure_expression(points)
    assert rest.eye_opening == pytest.approx(0.3, abs=0.02)
    wide, shut = points.copy(), points.copy()
    wide[65:68, 1] += 20
    shut[[37, 38, 43, 44], 1] = shut[[41, 40, 47, 46], 1]
    assert measure_expression(wide).mouth_open > rest.mouth_open + 0.2
    assert measure_expression(shut).eye_opening < 0.1
    points[[48, 54], 0] += (-10, 10)
    assert measure_expression(points).mouth_width > rest.mouth_width + 0.15


def test_points_on_one_spot_end_in_numbers() -> None:
    spot = np.full((68, 2), 5.0)
    assert np.isfinite(measure_turn(spot).error)
    assert measure_expression(spot).mouth_open == 0
