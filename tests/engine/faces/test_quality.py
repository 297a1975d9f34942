from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from engine.faces.pose import pose_of_five
from engine.faces.quality import FaceQuality, clarity, fit_to_train, measure, outside_fraction
from engine.types import Face

FRONTAL = np.array([[40, 50], [74, 50], [57, 70], [43, 90], [71, 90]], np.float32)
GOOD = FaceQuality(120, 0, 0)


def turned(points: np.ndarray, degrees: float) -> np.ndarray:
    angle = np.radians(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    return (points @ turn.T).astype(np.float32)


def test_a_frontal_face_has_no_yaw_and_no_roll() -> None:
    assert pose_of_five(FRONTAL) == pytest.approx((0.0, 0.0), abs=1.0)


@pytest.mark.parametrize("degrees", [-170, -90, -30, 45, 120, 180])
def test_roll_is_measured_all_the_way_round(degrees: float) -> None:
    _, roll = pose_of_five(turned(FRONTAL, degrees))
    assert (roll - degrees + 180) % 360 - 180 == pytest.approx(0, abs=1)


def test_a_nose_to_the_side_is_yaw_whatever_the_roll() -> None:
    profile = FRONTAL.copy()
    profile[2, 0] += 15
    yaws = [abs(pose_of_five(turned(profile, roll))[0]) for roll in (0, 60, 180)]
    assert yaws[0] > 25
    assert yaws == pytest.approx([yaws[0]] * 3, abs=0.5)
    profile[2, 0] -= 30
    assert pose_of_five(profile)[0] == pytest.approx(-yaws[0], abs=0.5), "the other side is the other sign"


def test_points_that_coincide_have_no_pose() -> None:
    assert pose_of_five(np.zeros((5, 2), np.float32)) == (0.0, 0.0)


def test_measuring_says_size_turn_and_what_the_frame_cuts_off() -> None:
    face = Face(np.array([-50.0, 10, 50, 110]), 0.8, FRONTAL)
    quality = measure(face, frame_width=640, frame_height=360)
    assert quality.width_px == 100
    assert quality.outside == pytest.approx(0.5)
    assert quality.yaw_degrees < 2


@pytest.mark.parametrize(
    "poorer",
    [{"yaw_degrees": 70.0}, {"outside": 0.4}, {"width_px": 20.0}],
)
def test_what_hides_a_person_lowers_clarity(poorer: dict[str, float]) -> None:
    assert clarity(GOOD, 0.0) == 1.0
    assert clarity(replace(GOOD, **poorer), 0.0) < 0.6  # type: ignore[arg-type]


def test_an_embedding_near_the_blank_is_no_evidence() -> None:
    assert clarity(GOOD, 0.3) == 1.0
    assert clarity(GOOD, 0.7) == 0.0
    assert 0.0 < clarity(GOOD, 0.5) < 1.0


def test_a_small_face_may_identify_but_not_train() -> None:
    small = replace(GOOD, width_px=50.0)
    assert clarity(small, 0.0) == 1.0
    assert not fit_to_train(width_px=50, aligned_sharpness=-5.0, outside=0.0)


def test_a_large_sharp_whole_face_is_fit_to_train_and_a_blurred_or_cut_one_is_not() -> None:
    assert fit_to_train(width_px=100, aligned_sharpness=-5.0, outside=0.0)
    assert not fit_to_train(width_px=100, aligned_sharpness=-7.0, outside=0.0)
    assert not fit_to_train(width_px=100, aligned_sharpness=-5.0, outside=0.6)


def test_a_box_within_the_frame_is_not_outside() -> None:
    assert outside_fraction(np.array([0, 0, 10, 10], np.float32), frame_width=10, frame_height=10) == 0.0
    assert outside_fraction(np.array([20, 20, 30, 30], np.float32), frame_width=10, frame_height=10) == 1.0
