"""What no sample can be made like is refused, with what was expected."""

from __future__ import annotations

import pytest

from trainer.errors import SettingsError
from trainer.samples.settings import SampleSettings


def test_a_size_out_of_bounds_a_face_type_without_a_crop_and_too_much_hsv_are_refused() -> None:
    with pytest.raises(SettingsError, match="64 to 640"):
        SampleSettings(32, "whole_face")
    with pytest.raises(SettingsError, match="mark_only.*half_face, midfull_face"):
        SampleSettings(64, "mark_only")
    with pytest.raises(SettingsError, match=r"0\.3"):
        SampleSettings(64, "whole_face", hsv_power=0.5)
