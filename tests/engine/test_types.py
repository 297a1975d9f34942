"""Settings that contradict each other are refused; arrays are checked and closed at birth."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from engine.errors import SettingsError
from engine.types import ExtractSettings, Face, Frame


def test_the_default_crop_is_whole_face() -> None:
    assert ExtractSettings().crop_face_type == "whole_face"
    assert ExtractSettings().crop_margin == 0.40


def test_a_margin_of_deepfacelab_chooses_its_face_type() -> None:
    assert ExtractSettings(margin_factor=0.2109375).crop_face_type == "full_face"
    assert ExtractSettings(margin_factor=0.70).crop_face_type == "head"


def test_a_margin_that_deepfacelab_does_not_know_needs_plain_crop() -> None:
    with pytest.raises(SettingsError) as problem:
        ExtractSettings(margin_factor=0.5)
    assert "plain-crop" in problem.value.hint
    assert ExtractSettings(margin_factor=0.5, plain_crop=True).crop_face_type is None


def test_margin_and_face_type_must_agree() -> None:
    with pytest.raises(SettingsError, match="margin_factor 0.7 is face type head, but face_type is full_face"):
        ExtractSettings(margin_factor=0.70, face_type="full_face")
    assert ExtractSettings(margin_factor=0.70, face_type="head").crop_face_type == "head"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("similarity_threshold", 0.2),
        ("min_confidence", 1.5),
        ("frame_skip", -1),
        ("output_size", 32),
        ("format", "gif"),
    ],
)
def test_a_setting_out_of_range_is_named(key: str, value: object) -> None:
    with pytest.raises(SettingsError, match=key):
        ExtractSettings(**{key: value})  # type: ignore[arg-type]


def test_a_frame_closes_its_pixels_but_not_the_callers_array() -> None:
    pixels = np.zeros((4, 6, 3), np.uint8)
    frame = Frame(0, None, Fraction(1, 25), pixels, "00000000.png")
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0, 0, 0] = 1
    pixels[0, 0, 0] = 1


def test_a_face_with_a_wrong_shape_is_refused_where_it_is_made() -> None:
    with pytest.raises(ValueError, match="landmarks_5 has shape"):
        Face(np.zeros(4), 1.0, np.zeros((68, 2)))
