"""The contract of sources of masks, over those that need no weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dfl.errors import FormatError
from dfl.hull import hull_mask
from engine.masks.hull import HullMasks
from engine.masks.source import FaceToMask, PredictedMask
from tests.landmarked_faces import an_aligned_face


def test_the_hull_is_the_one_that_deepfacelab_draws_with_the_face_s_own_eyebrows() -> None:
    face = an_aligned_face(yaw_degrees=20)
    lifted = replace(face, metadata=replace(face.metadata, eyebrows_expand_mod=3.0))
    plain, higher = HullMasks().masks([face, lifted])
    for found, mod in ((plain, 1.0), (higher, 3.0)):
        drawn = hull_mask(256, 256, face.metadata.landmarks, eyebrows_expand_mod=mod)
        np.testing.assert_array_equal(found.is_face, drawn == 255)
    assert np.count_nonzero(higher.is_face) > np.count_nonzero(plain.is_face)
    assert (plain.source, plain.model_sha, plain.threshold) == ("hull", None, 0.5)


def test_a_face_whose_landmarks_lie_nowhere_near_it_is_refused_by_the_hull() -> None:
    face = an_aligned_face()
    far = replace(face, metadata=replace(face.metadata, landmarks=face.metadata.landmarks + 1e6))
    with pytest.raises(FormatError, match="px from the image"):
        HullMasks().masks([far])


def test_a_face_that_is_not_square_or_not_in_colour_is_none() -> None:
    metadata = an_aligned_face().metadata
    for shape in ((64, 65, 3), (64, 64), (64, 64, 4)):
        with pytest.raises(ValueError, match="face pixels ha(s|ve) shape"):
            FaceToMask(np.zeros(shape, np.uint8), metadata)


def test_a_predicted_mask_cannot_be_changed_and_parts_at_its_threshold() -> None:
    values = np.array([[0.0, 0.4], [0.5, 1.0]], np.float32)
    found = PredictedMask(values, "parser", "ab", threshold=0.5)
    assert found.is_face.tolist() == [[False, False], [True, True]]
    with pytest.raises(ValueError, match="read-only"):
        found.mask[0, 0] = 1.0
