"""What a look can be believed about: upright faces, and faces large enough for a glance. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from engine.faces.boxes import size_of
from engine.types import Face

UPRIGHT_SURE = 0.7
"""Upright faces score higher; upside-down ones reach 0.65 as if they were upright, with their points all wrong."""
GLANCE_DIVISOR = 2
"""A picture that is new all over is glanced at in half the usual size, a quarter of the work: who comes near shows,
and who stays far is found by the next full look and followed back from there."""
GLANCE_SEES_PX = 24
"""Faces of so many px in a glance are found by it."""


def is_unsure(faces: Sequence[Face]) -> bool:
    """Say whether no face is surely an upright one."""
    return not any(face.detection_score >= UPRIGHT_SURE for face in faces)


def glance_sees(face: Face, width: int, height: int, detection_side_px: int) -> bool:
    """Say whether a face of a frame of this size, px, is large enough to show at a glance."""
    return size_of(face.bbox) * detection_side_px / GLANCE_DIVISOR / max(width, height) >= GLANCE_SEES_PX
