"""The mask that DeepFaceLab draws from the 68 landmarks: always there, blind to hands, hair and glasses."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dfl.hull import FACE, hull_mask
from engine.masks.source import FaceToMask, PredictedMask


class HullMasks:
    """The source `hull`; see engine.masks.source.MaskSource."""

    name = "hull"
    model_sha = None

    def masks(self, faces: Sequence[FaceToMask]) -> Sequence[PredictedMask]:
        """Return the hull of each face: 1 inside, 0 outside, no half tones."""
        return [self._hull(face) for face in faces]

    def _hull(self, face: FaceToMask) -> PredictedMask:
        expand = face.metadata.eyebrows_expand_mod
        drawn = hull_mask(face.side_px, face.side_px, face.metadata.landmarks, eyebrows_expand_mod=expand)
        return PredictedMask((drawn == FACE).astype(np.float32), self.name, self.model_sha)
