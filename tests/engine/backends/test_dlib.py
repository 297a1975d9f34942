from __future__ import annotations

from pathlib import Path

import cv2
import insightface
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.backends.dlib import DlibBackend, confidence_of, score_of
from engine.faces.warps import five_of_68, roll_deg

GROUP_PHOTO = Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"


@pytest.fixture(scope="module")
def backend() -> DlibBackend:
    return DlibBackend()


@pytest.fixture(scope="module")
def group() -> NDArray[np.uint8]:
    return np.asarray(cv2.imread(str(GROUP_PHOTO)), dtype=np.uint8)


def test_dlibs_own_threshold_is_a_confidence_of_one_half() -> None:
    assert confidence_of(np.array([0.0]))[0] == 0.5
    assert confidence_of(np.array([1.0]))[0] == pytest.approx(0.8808, abs=1e-4)


def test_confidences_and_scores_are_each_others_inverse() -> None:
    for confidence in (0.05, 0.3, 0.5, 0.9, 0.999):
        assert confidence_of(np.array([score_of(confidence)]))[0] == pytest.approx(confidence)
    assert score_of(0.0) == -np.inf
    assert score_of(1.0) == np.inf


@pytest.mark.parametrize("roll", [-35, 35])
def test_a_rolled_head_is_marked_along_its_own_eye_line(
    backend: DlibBackend, group: NDArray[np.uint8], roll: int
) -> None:
    upright = backend.detect(group)
    height, width = group.shape[:2]
    warp = cv2.getRotationMatrix2D((width / 2, height / 2), -roll, 1.0)  # OpenCV turns anticlockwise
    turned = np.asarray(cv2.warpAffine(group, warp, (width, height)), dtype=np.uint8)
    centres = np.array([(face.bbox[:2] + face.bbox[2:]) / 2 for face in upright]) @ warp[:, :2].T + warp[:, 2]
    compared = 0
    for face, points in zip(faces := backend.detect(turned), backend.landmarks_68(turned, faces), strict=True):
        nearest = int(np.linalg.norm(centres - (face.bbox[:2] + face.bbox[2:]) / 2, axis=1).argmin())
        before = upright[nearest].landmarks_5
        assert before is not None
        expected = before @ warp[:, :2].T + warp[:, 2]
        error = np.linalg.norm(five_of_68(points) - expected, axis=1).mean()
        assert error < 0.2 * np.linalg.norm(before[1] - before[0])
        assert abs(roll_deg(five_of_68(points)) - roll_deg(expected)) < 12
        compared += 1
    assert compared >= 2


def test_small_pictures_are_enlarged_so_that_small_faces_are_found(
    backend: DlibBackend, group: NDArray[np.uint8]
) -> None:
    half = np.asarray(cv2.resize(group, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    assert len(backend.detect(half)) == len(backend.detect(group))
    assert len(backend.detect(half, side_px=640)) < len(backend.detect(group))
