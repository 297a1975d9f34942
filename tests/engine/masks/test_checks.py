"""Each check of a mask, alone: a mask that only it refuses, and what it says."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.masks.checks import CheckName, check_mask, failed
from engine.masks.hull import HullMasks
from engine.masks.source import FaceToMask
from tests.landmarked_faces import an_aligned_face

Mask = NDArray[np.bool_]
FACE_TYPES = ("half_face", "midfull_face", "full_face", "whole_face", "head")


def hull_of(face: FaceToMask) -> Mask:
    (found,) = HullMasks().masks([face])
    return found.is_face


def measured(mask: Mask, face: FaceToMask, name: CheckName, excluded: Mask | None = None) -> float:
    checks = check_mask(mask, face.metadata.landmarks, excluded=excluded)
    return next(check.measured for check in checks if check.name == name)


def first_failed(mask: Mask, face: FaceToMask) -> str | None:
    problem = failed(check_mask(mask, face.metadata.landmarks))
    return problem.name if problem else None


def disc(mask: Mask, x: float, y: float, radius: float, *, value: bool) -> Mask:
    drawn = mask.astype(np.uint8)
    cv2.circle(drawn, (round(x), round(y)), round(radius), (int(value),), cv2.FILLED)
    return drawn > 0


@pytest.mark.parametrize("face_type", FACE_TYPES)
@pytest.mark.parametrize("yaw", [0, 35])
def test_the_hull_itself_passes_every_check_in_every_crop(face_type: str, yaw: float) -> None:
    face = an_aligned_face(face_type, yaw_degrees=yaw)
    checks = check_mask(hull_of(face), face.metadata.landmarks)
    assert [check.sentence for check in checks if not check.passed] == []
    assert len({check.name for check in checks}) == 10


@pytest.mark.parametrize("face_type", FACE_TYPES)
def test_an_empty_and_a_full_mask_fail_in_every_crop(face_type: str) -> None:
    face = an_aligned_face(face_type)
    assert first_failed(np.zeros((256, 256), np.bool_), face) == "area"
    assert first_failed(np.ones((256, 256), np.bool_), face) in ("area", "outside", "filled")


def test_a_mask_on_the_forehead_and_chin_alike_passes() -> None:
    face = an_aligned_face()
    points = face.metadata.landmarks
    up = points[17:27].mean(axis=0) - points[33]
    drawn = hull_of(face).astype(np.uint8)
    cv2.fillConvexPoly(
        drawn, cv2.convexHull(np.concatenate([points[17:27], points[17:27] + 0.9 * up]).astype(int)), (1,)
    )
    assert first_failed(drawn > 0, face) is None


@pytest.mark.parametrize(("rows", "columns"), [(0.4, 0.0), (-0.4, 0.0), (0.0, 0.4), (0.0, -0.4)])
def test_a_hull_that_slid_by_four_tenths_of_its_width_fails(rows: float, columns: float) -> None:
    for face_type in FACE_TYPES:
        face = an_aligned_face(face_type)
        width = np.ptp(face.metadata.landmarks[:27, 0])
        moved = cv2.warpAffine(
            hull_of(face).astype(np.uint8), np.array([[1, 0, columns * width], [0, 1, rows * width]]), (256, 256)
        )
        assert first_failed(moved > 0, face) is not None, face_type


def test_spots_far_from_the_face_are_parts_and_lie_outside() -> None:
    face = an_aligned_face()
    spotted = hull_of(face)
    for x in range(8, 250, 20):
        spotted = disc(spotted, x, 250, 3, value=True)
    assert measured(spotted, face, "parts") == 14
    assert measured(spotted, face, "outside") > 0.01
    assert first_failed(spotted, face) == "parts"


def test_holes_inside_are_measured_and_a_notch_from_outside_is_none() -> None:
    face = an_aligned_face()
    nose = face.metadata.landmarks[30]
    hole = disc(hull_of(face), *nose, 20, value=False)
    assert measured(hole, face, "holes") == pytest.approx(np.pi * 20**2 / hull_of(face).sum(), rel=0.05)
    assert first_failed(hole, face) == "holes"
    notch = hull_of(face).copy()
    notch[round(nose[1]) - 4 : round(nose[1]) + 4, round(nose[0]) :] = False
    assert measured(notch, face, "holes") < 0.001


def test_many_small_holes_fail_although_their_area_is_small() -> None:
    face = an_aligned_face()
    pierced = hull_of(face)
    centre = face.metadata.landmarks[30]
    for number in range(8):
        pierced = disc(pierced, centre[0] - 40 + 11 * number, centre[1] + 4, 3, value=False)
    assert measured(pierced, face, "holes") < 0.05
    assert first_failed(pierced, face) == "hole_count"


def test_an_eye_that_is_not_covered_fails_unless_a_person_excluded_it() -> None:
    face = an_aligned_face()
    x, y = face.metadata.landmarks[36:42].mean(axis=0)
    without = disc(hull_of(face), x, y, 7, value=False)
    assert first_failed(without, face) == "centres"
    hand = disc(np.zeros((256, 256), np.bool_), x, y, 9, value=True)
    assert measured(without, face, "centres", hand) == 0.0


def test_a_mask_of_another_size_is_judged_alike() -> None:
    small, large = an_aligned_face(side_px=256), an_aligned_face(side_px=640)
    for name in ("area", "overlap", "outside"):
        assert measured(hull_of(small), small, name) == pytest.approx(measured(hull_of(large), large, name), abs=0.02)


def test_a_face_outside_of_the_picture_leaves_nothing_to_judge() -> None:
    face = an_aligned_face()
    away = replace(face, metadata=replace(face.metadata, landmarks=face.metadata.landmarks + 5000.0))
    (only,) = check_mask(np.ones((256, 256), np.bool_), away.metadata.landmarks)
    assert not only.passed
    assert only.sentence == "0 px of the hull in the picture, expected 1 or more"


def test_a_sentence_says_what_was_measured_and_what_is_expected() -> None:
    face = an_aligned_face()
    mask = cv2.erode(hull_of(face).astype(np.uint8), np.ones((61, 61), np.uint8)) > 0
    (area, *_) = check_mask(mask, face.metadata.landmarks)
    assert area.sentence == f"area {area.measured:.2f} of the hull, expected 0.45 to 1.8"
