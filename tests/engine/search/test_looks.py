"""Faces near, turned and in the dark: places come back in px of the picture that was handed in."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.faces.boxes import centre
from engine.search.looks import is_dark, look_everywhere, look_near, look_turned, roll_of
from engine.types import Face, Image
from tests.painted import ALICE, SIZE, PaintedBackend, frames, picture


class UprightBackend(PaintedBackend):
    """Finds a disc only where its white mark is above its middle: an upright face."""

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
        upright = []
        for face in super().detect(image, min_confidence=min_confidence, side_px=side_px):
            x1, y1, x2, y2 = (round(float(value)) for value in face.bbox)
            luma = image[max(0, y1) : y2, max(0, x1) : x2].min(axis=2)
            rows, columns = np.nonzero(luma > 200)
            if len(rows) and rows.mean() < 0.4 * (y2 - y1) and abs(columns.mean() / (x2 - x1) - 0.5) < 0.2:
                upright.append(face)
        return upright


def head(x: float, y: float, radius: float, roll_degrees: float) -> Image:
    """A blue face whose white mark shows where its top is."""
    drawn = picture([(ALICE, x, y, radius)])
    angle = np.radians(roll_degrees)
    top = (round(x + 0.55 * radius * np.sin(angle)), round(y - 0.55 * radius * np.cos(angle)))
    cv2.circle(drawn, top, round(radius * 0.3), (255, 255, 255), -1)
    return drawn


def marked(box: Sequence[float], roll_degrees: float) -> Face:
    """A face with the five points of this roll."""
    x1, y1, x2, y2 = box
    shares = np.array([[-0.2, -0.15], [0.2, -0.15], [0.0, 0.05], [-0.15, 0.25], [0.15, 0.25]]) * (x2 - x1)
    angle = np.radians(roll_degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points: NDArray[np.float64] = shares @ turn.T + [(x1 + x2) / 2, (y1 + y2) / 2]
    return Face(np.array(box), 0.9, points)


@pytest.mark.parametrize("roll", [90, 180, 270])
def test_a_head_of_any_quarter_turn_is_found_where_it_is(roll: int) -> None:
    image = head(110, 90, 30, roll)
    backend = UprightBackend()
    assert look_everywhere(backend, image, 0.5) == []
    (face,) = look_turned(backend, image, 0.5, side_px=SIZE[0])
    assert centre(face.bbox) == pytest.approx([110, 90], abs=2)
    assert (roll_of(face) - roll + 180) % 360 - 180 == pytest.approx(0, abs=3)


@pytest.mark.parametrize("roll", [0, 40, 130, 180, -100])
def test_a_rolled_head_is_found_again_near_where_it_was(roll: int) -> None:
    image = head(160, 120, 30, roll)
    known = marked((120, 85, 180, 145), roll)
    face = look_near(UprightBackend(), image, known, np.array([125.0, 88, 185, 148]), 0.5)
    assert face is not None
    assert centre(face.bbox) == pytest.approx([160, 120], abs=4)
    assert face.width_px == pytest.approx(61, abs=6)


def test_a_search_sees_nothing_beyond_its_square() -> None:
    image = head(40, 40, 20, 0)
    assert (
        look_near(PaintedBackend(), image, marked((200, 150, 240, 190), 0), np.array([200.0, 150, 240, 190]), 0.5)
        is None
    )


def test_a_search_at_the_edge_of_the_frame_works() -> None:
    image = head(5, 5, 30, 0)
    face = look_near(PaintedBackend(), image, marked((-25, -25, 35, 35), 0), np.array([-25.0, -25, 35, 35]), 0.5)
    assert face is not None
    assert face.bbox[2:] == pytest.approx([35, 35], abs=3)
    far = np.array([-900.0, -900, -840, -840])
    assert look_near(PaintedBackend(), image, marked((-900, -900, -840, -840), 0), far, 0.5) is None


def test_a_dark_frame_is_looked_at_again_with_its_contrast_stretched() -> None:
    dark = np.asarray(head(110, 90, 30, 0) * 0.12, np.uint8)
    backend = PaintedBackend()
    assert is_dark(dark)
    assert backend.detect(dark) == []
    assert len(look_everywhere(backend, dark, 0.5)) == 1
    looks = backend.whole_looks
    look_everywhere(backend, picture([]), 0.5)
    assert backend.whole_looks == looks + 1, "a bright empty frame is looked at once"


def test_a_frame_of_a_folder_gives_whole_pixels_for_any_region() -> None:
    (decoded,) = frames([picture([])])
    np.testing.assert_array_equal(decoded.to_frame((10, 10, 20, 20)).pixels, decoded.to_frame().pixels)
