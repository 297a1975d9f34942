"""The contract of engine.backends.backend, held by every backend on a photograph of six people."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args, get_type_hints

import cv2
import insightface
import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.commands.options import BACKENDS as offered
from daemon.config.schema import InboxConfig
from engine.backends import backend as backend_module
from engine.backends.backend import Backend
from engine.backends.catalog import BACKENDS, open_backend
from engine.faces.warps import five_of_68
from engine.identity.same_person import similarity_to
from engine.types import Face

GROUP_PHOTO = Path(insightface.__file__).parent / "data" / "images" / "t1.jpg"


@pytest.fixture(scope="module", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param != "insightface":
        return open_backend(request.param)
    shared = request.getfixturevalue("shared")
    return open_backend("insightface", model_root=shared / "models", model_pack="insightface_mini", device="cpu")


@pytest.fixture(scope="module")
def group() -> NDArray[np.uint8]:
    image = cv2.imread(str(GROUP_PHOTO))
    assert image is not None
    image.flags.writeable = False
    return np.asarray(image, dtype=np.uint8)


@pytest.fixture(scope="module")
def faces(backend: Backend, group: NDArray[np.uint8]) -> list[Face]:
    return backend.detect(group)


def test_every_backend_is_in_catalog_command_line_and_configuration() -> None:
    folder = Path(backend_module.__file__).parent
    catalog = (folder / "catalog.py").read_text()
    classes = {
        name
        for path in folder.glob("*.py")
        for name, body in re.findall(r"^class (\w+)\b(.*?)(?=^\S|\Z)", path.read_text(), re.M | re.S)
        if "def detect_each(" in body and path.stem != "backend"
    }
    assert classes
    assert {name for name in classes if name not in catalog} == set()
    assert BACKENDS == offered == get_args(get_type_hints(InboxConfig)["backend"])


def eye_distance(points: NDArray[np.float32]) -> float:
    five = five_of_68(points)
    return float(np.linalg.norm(five[1] - five[0]))


def test_it_says_what_it_is_made_of(backend: Backend) -> None:
    info = backend.info
    assert info.name in BACKENDS
    assert {model.task for model in info.models} == {"detection", "landmarks_68", "recognition"}
    for model in info.models:
        assert model.name
        assert model.licence
        assert len(model.sha256) == 64 or "dlib frontal HOG" in model.name
    assert 0.3 <= info.default_threshold <= 0.95
    assert info.device
    assert "opencv" in info.versions


def test_several_people_of_the_group_are_found_largest_first(faces: list[Face]) -> None:
    assert 3 <= len(faces) <= 6
    areas = [face.width_px * face.height_px for face in faces]
    assert areas == sorted(areas, reverse=True)


def test_scores_lie_between_the_confidence_asked_for_and_one(backend: Backend, group: NDArray[np.uint8]) -> None:
    for least in (0.0, 0.5, 0.8):
        scores = [face.detection_score for face in backend.detect(group, min_confidence=least)]
        assert all(least <= score <= 1.0 for score in scores)


def test_asking_for_more_confidence_only_takes_faces_away(backend: Backend, group: NDArray[np.uint8]) -> None:
    counts = [len(backend.detect(group, min_confidence=least)) for least in (0.3, 0.5, 0.7, 0.9, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_the_five_points_lie_in_the_face_in_their_order(faces: list[Face]) -> None:
    for face in faces:
        five = face.landmarks_5
        assert five is not None
        assert five[0, 0] < five[1, 0]
        assert five[3, 0] < five[4, 0]
        assert five[:2, 1].max() < five[2, 1] < five[3:, 1].min()
        x1, y1, x2, y2 = face.bbox
        assert ((five >= [x1, y1]) & (five <= [x2, y2])).all()


@pytest.mark.parametrize("shape", [(64, 64, 3), (1, 1, 3), (3, 700, 3), (900, 2, 3)])
def test_a_picture_without_a_face_gives_no_face(backend: Backend, shape: tuple[int, int, int]) -> None:
    assert backend.detect(np.full(shape, 90, dtype=np.uint8)) == []


def test_no_faces_give_empty_arrays_of_the_right_shape(backend: Backend, group: NDArray[np.uint8]) -> None:
    assert backend.landmarks_68(group, []).shape == (0, 68, 2)
    assert backend.embed([]).shape == (0, backend.info.embedding_size)


def test_68_points_agree_with_the_five(backend: Backend, group: NDArray[np.uint8], faces: list[Face]) -> None:
    points = backend.landmarks_68(group, faces)
    assert points.shape == (len(faces), 68, 2)
    assert points.dtype == np.float32
    for face, marked in zip(faces, points, strict=True):
        assert face.landmarks_5 is not None
        error = np.linalg.norm(five_of_68(marked) - face.landmarks_5, axis=1).mean()
        assert error < 0.15 * eye_distance(marked)


def test_68_points_move_with_the_picture(backend: Backend, group: NDArray[np.uint8], faces: list[Face]) -> None:
    right, down = 37, 21
    moved = np.ascontiguousarray(cv2.copyMakeBorder(group, down, 0, right, 0, cv2.BORDER_CONSTANT), dtype=np.uint8)
    shift = np.array([right, down], dtype=np.float32)
    shifted = [Face(face.bbox + np.tile(shift, 2), face.detection_score, _five(face) + shift) for face in faces]
    before, after = backend.landmarks_68(group, faces), backend.landmarks_68(moved, shifted)
    assert np.abs(after - before - shift).max() < 1.0


@pytest.mark.parametrize("turn", [25, 90, 180, 250])
def test_68_points_turn_with_a_rolled_head(
    backend: Backend, group: NDArray[np.uint8], faces: list[Face], turn: int
) -> None:
    height, width = group.shape[:2]
    side = int(np.hypot(height, width)) + 1
    warp = cv2.getRotationMatrix2D((width / 2, height / 2), turn, 1.0)
    warp[:, 2] += [(side - width) / 2, (side - height) / 2]
    turned = np.asarray(cv2.warpAffine(group, warp, (side, side)), dtype=np.uint8)
    for face, upright in zip(faces, backend.landmarks_68(group, faces), strict=True):
        five = _five(face) @ warp[:, :2].T + warp[:, 2]
        centre = five.mean(axis=0)
        half = face.height_px / 2
        rolled = Face(np.concatenate([centre - half, centre + half]), face.detection_score, five)
        expected = upright @ warp[:, :2].T + warp[:, 2]
        error = np.linalg.norm(backend.landmarks_68(turned, [rolled])[0] - expected, axis=1).mean()
        assert error < 0.08 * eye_distance(upright)


def test_detecting_in_several_images_equals_one_by_one(backend: Backend, group: NDArray[np.uint8]) -> None:
    half = np.ascontiguousarray(group[:, : group.shape[1] // 2])
    images = [group, half, np.ascontiguousarray(group[:, ::-1]), half]
    together = backend.detect_each(images)
    for image, faces in zip(images, together, strict=True):
        for one, other in zip(backend.detect(image), faces, strict=True):
            np.testing.assert_allclose(one.bbox, other.bbox, atol=0.05)
            assert one.detection_score == pytest.approx(other.detection_score, abs=1e-3)
    assert backend.detect_each([]) == []


def test_a_batch_of_crops_equals_its_crops_one_by_one(
    backend: Backend, group: NDArray[np.uint8], faces: list[Face]
) -> None:
    crops = [backend.recognition_crop(group, face) for face in faces]
    assert len({crop.shape for crop in crops}) == 1
    together = backend.embed(crops)
    one_by_one = np.concatenate([backend.embed([crop]) for crop in crops])
    assert together.shape == (len(faces), backend.info.embedding_size)
    assert together.dtype == np.float32
    np.testing.assert_allclose(together, one_by_one, atol=1e-4)
    if backend.info.metric == "cosine":
        np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


def test_the_same_call_gives_the_same_answer(backend: Backend, group: NDArray[np.uint8], faces: list[Face]) -> None:
    again = backend.detect(group)
    assert len(again) == len(faces)
    for first, second in zip(faces, again, strict=True):
        np.testing.assert_array_equal(first.bbox, second.bbox)
        np.testing.assert_array_equal(_five(first), _five(second))


def test_a_cut_out_round_a_known_face_can_be_searched_at_a_smaller_size(
    backend: Backend, group: NDArray[np.uint8], faces: list[Face]
) -> None:
    x, y = faces[0].bbox[:2] - faces[0].height_px * 0.4
    side = faces[0].height_px * 1.8
    left, top = max(0, round(float(x))), max(0, round(float(y)))
    piece = np.ascontiguousarray(group[top : top + round(side), left : left + round(side)])
    (found,) = backend.detect(piece, side_px=256)
    offset = np.array([left, top]) + _five(found).mean(axis=0) - _five(faces[0]).mean(axis=0)
    assert np.linalg.norm(offset) < 0.1 * faces[0].width_px


def test_people_are_told_apart_and_recognised_again_in_a_smaller_copy(
    backend: Backend, group: NDArray[np.uint8], faces: list[Face]
) -> None:
    info = backend.info
    small = np.asarray(cv2.resize(group, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    copies = [Face(face.bbox * 0.7, face.detection_score, _five(face) * 0.7) for face in faces]
    big = backend.embed([backend.recognition_crop(group, face) for face in faces])
    little = backend.embed([backend.recognition_crop(small, face) for face in copies])
    for index, copy in enumerate(little):
        similarities = similarity_to(big, copy, info.metric)
        assert similarities[index] > info.default_threshold + 0.1
        assert similarities[index] > np.delete(similarities, index).max() + 0.2


def test_a_face_cut_by_the_edge_can_still_be_marked_and_embedded(
    backend: Backend, group: NDArray[np.uint8], faces: list[Face]
) -> None:
    half = np.ascontiguousarray(group[:, : round(float(_five(faces[0])[2, 0]))])
    assert np.isfinite(backend.landmarks_68(half, faces[:1])).all()
    assert np.isfinite(backend.embed([backend.recognition_crop(half, faces[0])])).all()


def _five(face: Face) -> NDArray[np.float32]:
    assert face.landmarks_5 is not None
    return face.landmarks_5
