from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from engine.faces.warps import box_warp, cut, fit_warp, five_of_68, map_back, roll_deg

angles = st.floats(-179.0, 179.0)
scales = st.floats(0.05, 20.0)
places = st.floats(-500.0, 500.0)
FIVE = np.array([[30.0, 40.0], [70.0, 40.0], [50.0, 60.0], [35.0, 80.0], [65.0, 80.0]])


def turned(points: np.ndarray, angle: float, scale: float, x: float, y: float) -> np.ndarray:  # type: ignore[type-arg]
    a = np.radians(angle)
    return scale * points @ np.array([[np.cos(a), np.sin(a)], [-np.sin(a), np.cos(a)]]) + [x, y]


@given(angles, scales, places, places)
def test_a_fitted_warp_undoes_any_turn_scale_and_shift(angle: float, scale: float, x: float, y: float) -> None:
    moved = turned(FIVE, angle, scale, x, y)
    warp = fit_warp(moved, FIVE)
    np.testing.assert_allclose(moved @ warp[:, :2].T + warp[:, 2], FIVE, atol=1e-6)
    np.testing.assert_allclose(map_back(FIVE, warp), moved, atol=1e-6 * max(1.0, scale * 100))


@given(st.lists(st.floats(-20, 20), min_size=10, max_size=10))
def test_no_nearby_warp_fits_better_than_the_fitted_one(noise: list[float]) -> None:
    source = FIVE + np.array(noise).reshape(5, 2)
    warp = fit_warp(source, FIVE)

    def error(a: float, b: float, x: float, y: float) -> float:
        moved = source @ np.array([[a, -b], [b, a]]).T + [x, y]
        return float(((moved - FIVE) ** 2).sum())

    best = np.array([warp[0, 0], warp[1, 0], warp[0, 2], warp[1, 2]])
    for step in np.concatenate([np.eye(4), -np.eye(4)]) * [1e-3, 1e-3, 1e-1, 1e-1]:
        assert error(*best) <= error(*(best + step)) + 1e-9


def test_a_fit_never_mirrors() -> None:
    mirrored = FIVE * [-1, 1]
    assert np.linalg.det(fit_warp(mirrored, FIVE)[:, :2]) >= 0


def test_points_that_coincide_give_a_shift() -> None:
    warp = fit_warp(np.tile([3.0, 4.0], (5, 1)), FIVE)
    np.testing.assert_allclose(warp[:, :2], np.eye(2))
    assert np.isfinite(warp).all()


@given(angles, st.floats(1.0, 400.0), places, places)
def test_a_box_warp_puts_the_boxs_centre_in_the_middle_and_its_eye_line_level(
    angle: float, side: float, x: float, y: float
) -> None:
    warp = box_warp((x, y), side, 200, rolled_deg=angle)
    np.testing.assert_allclose(map_back(np.array([[100.0, 100.0]]), warp), [[x, y]], atol=1e-6)
    along = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) * side / 2
    np.testing.assert_allclose(warp[:, :2] @ along, [100.0, 0.0], atol=1e-6)


def test_a_crop_outside_the_picture_is_black() -> None:
    image = np.full((10, 10, 3), 255, dtype=np.uint8)
    assert cut(image, box_warp((500.0, 500.0), 20, 16), 16).max() == 0
    assert cut(image, box_warp((4.5, 4.5), 4, 16), 16)[8, 8].min() == 255


@given(angles)
def test_roll_is_the_clockwise_angle_of_the_eye_line(angle: float) -> None:
    assert abs(roll_deg(turned(FIVE, angle, 1.0, 0.0, 0.0)) - angle) < 1e-6


def test_the_five_of_68_are_eye_centres_nose_tip_and_mouth_corners() -> None:
    points = np.zeros((68, 2))
    points[36:42] = [[0, 0], [2, -1], [4, -1], [6, 0], [4, 1], [2, 1]]
    points[42:48] = points[36:42] + np.array([10, 0])
    points[30], points[48], points[54] = [8, 5], [4, 9], [12, 9]
    np.testing.assert_allclose(five_of_68(points), [[3, 0], [13, 0], [8, 5], [4, 9], [12, 9]])
