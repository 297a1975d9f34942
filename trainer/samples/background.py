"""Another picture behind the face: what lies round a face then says nothing about whose it is.

Not of DeepFaceLab's SAEHD. The picture is another face of the same side, turned far from upright, mirrored at random
and enlarged, so that it is no face in its usual place. It replaces what the mask leaves out, softly at the edge.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from trainer.randomness import derived_seed

_CHANCE = 0.5
_LEAST_TURN_DEG = 60.0
"""Nearer to upright, the face in the background would be one more to look at."""
_LEAST_SCALE, _LARGEST_SCALE = 1.5, 2.5
"""A square turned by 45 degrees still covers the output from a scale of sqrt(2) on."""
_EDGE_PART = 32
"""The edge of the face is blurred over this part of the side."""


@dataclass(frozen=True, eq=False)
class Background:
    """What comes behind a face."""

    pixels: NDArray[np.uint8]
    """(S, S, 3) BGR."""
    mat: NDArray[np.float64]
    """(2, 3): px of `pixels` -> px of the output."""


def wants_background(seed: int) -> bool:
    """Say whether the sample of this seed gets another background, where backgrounds are asked for."""
    return bool(_draws(seed).random_sample() < _CHANCE)


def make_background(pixels: NDArray[np.uint8], side_px: int, seed: int) -> Background:
    """Draw how a picture lies behind the sample of this seed."""
    draws = _draws(seed)
    draws.random_sample()  # whether there is one
    source_px = pixels.shape[0]
    turn_deg = draws.uniform(_LEAST_TURN_DEG, 360.0 - _LEAST_TURN_DEG)
    scale = draws.uniform(_LEAST_SCALE, _LARGEST_SCALE) * side_px / source_px
    mat = np.asarray(cv2.getRotationMatrix2D((source_px / 2, source_px / 2), turn_deg, scale), np.float64)
    mat[:, 2] += (side_px - source_px) / 2
    if draws.random_sample() < _CHANCE:
        mat[0] = -mat[0]
        mat[0, 2] += side_px - 1
    return Background(pixels, mat)


def behind_face(
    picture: NDArray[np.float32], face_mask: NDArray[np.float32], background: Background
) -> NDArray[np.float32]:
    """Given the crop of a face and its (R, R) mask, both of 0..1, return the face before the background, 0..1."""
    side = picture.shape[0]
    size = (side, side)
    behind = cv2.warpAffine(
        background.pixels, background.mat, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    edge_px = side // _EDGE_PART | 1
    kept = np.asarray(cv2.GaussianBlur(face_mask, (edge_px, edge_px), 0), np.float32)[..., None]
    mixed: NDArray[np.float32] = picture * kept + behind.astype(np.float32) * (np.float32(1 / 255) * (1 - kept))
    return mixed


def _draws(seed: int) -> np.random.RandomState:
    return np.random.RandomState(derived_seed("background", seed))
