"""Whether a look can be trusted: upright faces, and faces large enough for a look at a small picture. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from engine.faces.boxes import size_of
from engine.types import Face

UPRIGHT_SURE = 0.7
"""Upright faces score higher; upside-down ones reach 0.65 as if they were upright, with their points all wrong."""
SMALL_DIVISOR = 2
"""A picture that is new all over is looked at in half the usual size, a quarter of the work: who comes near shows,
and who stays far is found by the next full look and followed back from there."""
SMALL_SHOWS_PX = 24
"""Faces of so many px in a small picture are found in it."""


def is_unsure(faces: Sequence[Face]) -> bool:
    """Say whether no face is surely an upright one."""
    return not any(face.detection_score >= UPRIGHT_SURE for face in faces)


def shows_in_small(face: Face, width: int, height: int, detection_side_px: int) -> bool:
    """Say whether a face of a frame of this size, px, is large enough to be found in small."""
    return size_of(face.bbox) * detection_side_px / SMALL_DIVISOR / max(width, height) >= SMALL_SHOWS_PX
