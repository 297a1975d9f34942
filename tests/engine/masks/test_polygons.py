"""A person's polygons as a mask."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dfl.errors import FormatError
from dfl.image import MaskPolygon
from engine.masks.polygons import PolygonMasks, draw_polygons, excluded_by
from engine.masks.source import FaceToMask, NoMask, PredictedMask
from tests.landmarked_faces import an_aligned_face


def square(left: float, top: float, right: float, bottom: float, *, include: bool = True) -> MaskPolygon:
    points = np.array([[left, top], [right, top], [right, bottom], [left, bottom]], np.float32)
    return MaskPolygon(include, points)


def with_polygons(*polygons: MaskPolygon) -> FaceToMask:
    face = an_aligned_face(side_px=64)
    return replace(face, metadata=replace(face.metadata, seg_ie_polys=polygons))


def test_what_excludes_wins_over_what_includes_whatever_their_order() -> None:
    face = with_polygons(square(20, 20, 30, 30, include=False), square(10, 10, 40, 40))
    (found,) = PolygonMasks().masks([face])
    assert isinstance(found, PredictedMask)
    expected = np.zeros((64, 64), np.bool_)
    expected[10:41, 10:41] = True
    expected[20:31, 20:31] = False
    np.testing.assert_array_equal(found.is_face, expected)


def test_points_are_truncated_to_whole_pixels_towards_zero() -> None:
    drawn = draw_polygons(np.zeros((16, 16), np.float32), [square(-0.9, 2.9, 4.9, 5.2)])
    assert np.argwhere(drawn)[[0, -1]].tolist() == [[2, 0], [5, 4]]


def test_a_face_without_a_polygon_that_includes_has_no_mask_and_the_reason_says_so() -> None:
    none, only, empty = PolygonMasks().masks(
        [
            with_polygons(),
            with_polygons(square(1, 1, 9, 9, include=False)),
            with_polygons(MaskPolygon(True, np.zeros((0, 2), np.float32))),
        ]
    )
    assert none == NoMask("polygons", "the face has none")
    assert only == empty == NoMask("polygons", "they only exclude")


def test_what_polygons_exclude_is_known_on_its_own() -> None:
    face = with_polygons(square(10, 10, 40, 40), square(20, 20, 30, 30, include=False))
    assert excluded_by(face).sum() == 11 * 11


def test_a_polygon_that_reaches_nowhere_near_the_picture_is_refused() -> None:
    with pytest.raises(FormatError, match="point of a polygon"):
        PolygonMasks().masks([with_polygons(square(0, 0, 1e6, 10))])
