"""Face masks: for now the hull of the 68 landmarks, as DeepFaceLab draws it. XSeg and BiSeNet will stand here too."""

from __future__ import annotations

from dfl.hull import hull_mask
from engine.types import AlignedFace, Image


def face_hull_mask(face: AlignedFace) -> Image:
    """Return the hull mask of an aligned face: (S, S) uint8, 255 inside the face, 0 outside."""
    height, width = face.pixels.shape[:2]
    return hull_mask(height, width, face.landmarks_aligned_px)
