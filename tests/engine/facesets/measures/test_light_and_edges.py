from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.facesets.measures.frame_edges import part_outside, reach_of_crop
from engine.facesets.measures.light import LUMA_DCT_COUNT, luma_dct, measure_light

SIDE, UNIT = 256, 120.0
DISC = cv2.circle(np.zeros((SIDE, SIDE), np.uint8), (128, 140), 60, 1, -1) > 0
ACROSS, DOWN = np.meshgrid(np.arange(SIDE, dtype=np.float64), np.arange(SIDE, dtype=np.float64))


def levels(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("light", [1.0, 0.4])
def test_light_from_a_side_is_the_slope_over_half_a_face_in_parts_of_the_mean(light: float) -> None:
    luma = levels((100 + (ACROSS - 128) / 60 * 25 - (DOWN - 140) / 60 * 10) * light)
    found = measure_light(luma, DISC, UNIT)
    assert (found.x, found.y) == (pytest.approx(0.25, abs=0.01), pytest.approx(-0.10, abs=0.01))
    assert found.mean == pytest.approx(100 * light, abs=0.5)


def test_what_lies_outside_the_hull_is_no_light_on_the_face() -> None:
    rng = np.random.default_rng(0)
    luma = levels(np.where(DISC, 90.0, rng.uniform(0, 255, (SIDE, SIDE))))
    found = measure_light(luma, DISC, UNIT)
    assert (found.x, found.y, found.mean, found.std) == (0, 0, 90, 0)


def test_a_hull_outside_the_picture_has_no_light() -> None:
    assert np.isnan(measure_light(levels(ACROSS), np.zeros((SIDE, SIDE), bool), UNIT).mean)


def test_distances_of_coarse_content_are_those_of_the_small_pictures_without_detail() -> None:
    rng = np.random.default_rng(1)
    smooth = [cv2.GaussianBlur(rng.uniform(0, 255, (SIDE, SIDE)), (0, 0), 25) for _ in range(2)]
    one, other = (levels((each - each.min()) / np.ptp(each) * 255) for each in smooth)
    small = [cv2.resize(each, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float64) for each in (one, other)]
    unit = [(each - each.mean()) / np.linalg.norm(each - each.mean()) for each in small]
    assert luma_dct(one).shape == (LUMA_DCT_COUNT,)
    apart = np.linalg.norm(luma_dct(one) - luma_dct(other))
    assert apart == pytest.approx(np.linalg.norm(unit[0] - unit[1]), abs=0.02)


def test_coarse_content_changes_with_neither_light_nor_contrast_and_a_blank_picture_has_none() -> None:
    smooth = cv2.GaussianBlur(np.random.default_rng(2).uniform(0, 255, (SIDE, SIDE)), (0, 0), 12)
    luma = (smooth - smooth.min()) / np.ptp(smooth) * 200
    assert np.linalg.norm(luma_dct(levels(luma / 3 + 40)) - luma_dct(levels(luma))) < 0.02
    assert not luma_dct(np.full((SIDE, SIDE), 77, np.uint8)).any()


FRAME_W, FRAME_H = 640, 360


def crop(
    left: float, top: float, side_px: float, turn_degrees: float, *, light: float = 120.0
) -> tuple[NDArray[np.uint8], NDArray[np.float64]]:
    """A crop of a bright frame, with the black that lies around it, and its matrix."""
    back = cv2.getRotationMatrix2D((0, 0), -turn_degrees, side_px / SIDE)
    back[:, 2] = (left, top)
    mat = np.asarray(cv2.invertAffineTransform(back), np.float64)
    frame = np.full((FRAME_H, FRAME_W), light, np.float32)
    return levels(cv2.warpAffine(frame, mat, (SIDE, SIDE), flags=cv2.INTER_LINEAR).astype(np.float64)), mat


def outside_of(crops: list[tuple[NDArray[np.uint8], NDArray[np.float64]]]) -> NDArray[np.float32]:
    reach = np.array([reach_of_crop(luma, mat, SIDE) for luma, mat in crops]).max(axis=0)
    mats = np.array([mat for _, mat in crops])
    return part_outside(mats, np.full(len(crops), SIDE, np.int32), np.tile(reach, (len(crops), 1)))


@pytest.mark.parametrize(
    "place", [(-60, 20, 240, 0), (500, 100, 300, 0), (300, 250, 200, 10), (-50, -50, 300, 20), (200, 60, 200, 30)]
)
def test_what_a_crop_shows_beyond_the_frame_is_counted(place: tuple[float, float, float, float]) -> None:
    luma, mat = crop(*place)
    assert outside_of([(luma, mat)])[0] == pytest.approx(float((luma == 0).mean()), abs=0.02)


def test_a_dark_scene_is_not_taken_for_the_end_of_the_frame_where_another_face_shows_more_of_it() -> None:
    half_dark, mat = crop(300, 60, 200, 0)
    half_dark[:, 128:] = 0
    assert outside_of([(half_dark, mat), crop(420, 140, 240, 0)])[0] == pytest.approx(0, abs=0.01)


def test_a_crop_without_a_matrix_or_without_any_light_is_cut_off_nowhere_it_could_not_be_seen() -> None:
    nowhere = np.full((1, 2, 3), np.nan)
    assert part_outside(nowhere, np.array([SIDE], np.int32), np.zeros((1, 2)))[0] == 0
    luma, mat = crop(100, 100, 100, 0, light=0)
    assert reach_of_crop(luma, mat, SIDE) == (0, 0)
