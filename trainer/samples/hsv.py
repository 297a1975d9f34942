"""A shift of hue, saturation and value. Source: DeepFaceLab commit 46fc239, core/imagelib (apply_random_hsv_shift)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.samples.geometry import HsvShift

_FULL_TURN_DEG = 360


def shifted_hsv(picture: NDArray[np.float32], shift: HsvShift) -> NDArray[np.float32]:
    """Given a BGR picture of 0..1, return it with its colours moved, 0..1."""
    hue, saturation, value = cv2.split(cv2.cvtColor(picture, cv2.COLOR_BGR2HSV))
    hue = (hue + shift.hue_deg) % _FULL_TURN_DEG
    saturation = np.clip(saturation + shift.saturation, 0, 1)
    value = np.clip(value + shift.value, 0, 1)
    back = cv2.cvtColor(cv2.merge([hue, saturation, value]).astype(np.float32), cv2.COLOR_HSV2BGR)
    return np.clip(back, 0, 1)
