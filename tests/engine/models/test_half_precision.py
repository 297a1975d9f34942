"""Half precision is taken where it says what the file's own graph says.

The graphs are real. The CPU runs them with weights in half precision; what flows between nodes it keeps in single.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper

from engine.backends.insightface import InsightFaceBackend
from engine.models.bound_session import BoundSession
from engine.models.half_precision import (
    COSINE_MIN,
    LANDMARK_MOVE_MAX_PX,
    PROBES,
    SIMILARITY_CHANGE_MAX,
    judge_embeddings,
    judge_landmarks,
    probe_crops,
)
from engine.types import Face
from tests.engine.conftest import MakePack

Embeddings = NDArray[np.float32]


def open_made(folder: Path, *, tuned_device: str) -> InsightFaceBackend:
    return InsightFaceBackend(model_root=folder.parent, model_pack=folder.name, device="cpu", tuned_device=tuned_device)


def unit(rows: Any) -> Embeddings:
    rows = np.asarray(rows, np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)


def exceed_half(path: Path, factor: Any) -> None:
    """Let a graph multiply its answer by `factor` and divide it again: half precision ends at 65504."""
    model = onnx.load(str(path))
    last = model.graph.node[-1]
    wanted = last.output[0]
    last.output[0] = "small"
    for name, value in (("up", factor), ("down", 1 / np.asarray(factor))):
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(value, np.float32), name))
    model.graph.node.append(helper.make_node("Mul", ["small", "up"], ["large"]))
    model.graph.node.append(helper.make_node("Mul", ["large", "down"], [wanted]))
    onnx.save(model, str(path))


def photographed_faces(shared: Path, backend: InsightFaceBackend) -> list[Any]:
    crops = []
    for path in sorted((shared / "media" / "photos").rglob("*.jpg")):
        image = np.asarray(cv2.imread(str(path)), np.uint8)
        crops += [backend.recognition_crop(image, face) for face in backend.detect(image)[:3]]
    return crops


def test_similarities_of_photographed_faces_are_those_of_the_files_own_graph(shared: Path) -> None:
    folder = shared / "models" / "insightface_mini"
    single, half = (open_made(folder, tuned_device=device) for device in ("cuda", "cpu"))
    assert half.info.versions["recogniser run"].startswith("half precision, similarities")
    assert half.info.versions["recogniser run"].endswith("I/O binding")
    assert half.info.versions["detector run"].startswith("half precision in batches")
    assert half.info.warnings == single.info.warnings
    crops = photographed_faces(shared, single)
    assert len(crops) > 10
    one, other = single.embed(crops), half.embed(crops)
    assert np.abs(one - other).max() > 1e-5, "it is another precision"
    similarities = one @ one.T
    assert np.abs(other @ other.T - similarities).max() <= SIMILARITY_CHANGE_MAX
    assert np.abs(other @ one.T - similarities).max() <= SIMILARITY_CHANGE_MAX, "an identity of either serves both"
    assert float(np.sum(one * other, axis=1).min()) >= COSINE_MIN


def test_the_probes_are_moved_as_much_as_photographed_faces(shared: Path) -> None:
    """Else they would let pass what moves faces."""
    folder = shared / "models" / "insightface_mini"
    single, half = (open_made(folder, tuned_device=device) for device in ("cuda", "cpu"))
    changes = []
    for crops in (photographed_faces(shared, single), probe_crops(112)):
        one, other = single.embed(crops), half.embed(crops)
        changes.append(float(np.abs(other @ one.T - one @ one.T).max()))
    faces, probes = changes
    assert probes > faces / 2


def test_faces_found_in_half_precision_are_those_found_in_single(shared: Path) -> None:
    folder = shared / "models" / "insightface_mini"
    single, half = (open_made(folder, tuned_device=device) for device in ("cuda", "cpu"))
    image = np.asarray(cv2.imread(str(shared / "media" / "photos" / "others" / "obama_left_biden_right.jpg")), np.uint8)
    wanted, found = single.detect(image), half.detect(image)
    assert len(found) == len(wanted) >= 2
    for one, other in zip(wanted, found, strict=True):
        np.testing.assert_allclose(one.bbox, other.bbox, atol=0.02 * one.width_px)
        assert one.detection_score == pytest.approx(other.detection_score, abs=0.01)


def test_the_same_code_leaves_a_session_alone_that_does_not_run_on_the_device(make_pack: MakePack) -> None:
    backend = open_made(make_pack(landmarks="ring"), tuned_device="cuda")
    assert backend.info.versions["recogniser run"] == "the file's own graph"
    assert backend.info.versions["landmarks run"] == "the file's own graph"
    assert backend.info.versions["detector run"].startswith("single precision in batches")
    assert "binding" not in backend.info.versions["detector run"]


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_graphs_that_half_precision_suits_run_in_it_whatever_batch_they_were_exported_with(
    make_pack: MakePack, batch: int | None
) -> None:
    folder = make_pack(landmarks="red", batch=batch)
    single, half = (open_made(folder, tuned_device=device) for device in ("cuda", "cpu"))
    versions = half.info.versions
    assert versions["recogniser run"].startswith("half precision, similarities")
    assert versions["landmarks run"].startswith("half precision, points differ by up to")
    assert all(versions[f"{run} run"].endswith("I/O binding") for run in ("detector", "recogniser", "landmarks"))
    crops = [np.full((112, 112, 3), (7 * i, 255 - 9 * i, 40), dtype=np.uint8) for i in range(7)]
    assert float(np.sum(single.embed(crops) * half.embed(crops), axis=1).min()) >= COSINE_MIN
    image = np.full((400, 400, 3), (10, 20, 200), dtype=np.uint8)
    faces = [Face(np.array([100, 100, 100 + side, 100 + side]), 1.0) for side in (64, 100, 128, 150)]
    for face, one, other in zip(faces, single.landmarks_68(image, faces), half.landmarks_68(image, faces), strict=True):
        assert np.linalg.norm(one - other, axis=1).max() <= LANDMARK_MOVE_MAX_PX * face.width_px / 128


def test_a_recogniser_that_half_precision_changes_runs_in_single_and_the_log_says_so(make_pack: MakePack) -> None:
    folder = make_pack()
    exceed_half(folder / "recogniser.onnx", [1e6, *[1.0] * 15])
    single, backend = (open_made(folder, tuned_device=device) for device in ("cuda", "cpu"))
    run = backend.info.versions["recogniser run"]
    assert run.startswith("single precision, similarities to the file's own graph's differ by up to")
    assert "I/O binding; half precision refused: similarities" in run
    crops = probe_crops(112)
    assert np.array_equal(backend.embed(crops), single.embed(crops)), "bound, it answers to the last bit as before"


def test_a_68_point_model_that_half_precision_moves_runs_in_single(make_pack: MakePack) -> None:
    folder = make_pack(landmarks="red")
    exceed_half(folder / "1k3d68.onnx", 1e6)
    run = open_made(folder, tuned_device="cpu").info.versions["landmarks run"]
    assert run.startswith("single precision, points differ by up to 0 px")
    assert "I/O binding; half precision refused: points differ" in run


def test_a_graph_that_cannot_be_opened_in_half_precision_runs_in_single(
    make_pack: MakePack, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_source: Any) -> Any:
        raise ValueError("no converter knows this graph")

    monkeypatch.setattr("engine.models.half_precision.half_graph", broken)
    run = open_made(make_pack(), tuned_device="cpu").info.versions["recogniser run"]
    assert run.startswith("single precision")
    assert run.endswith("I/O binding; half precision failed: ValueError")


def test_answers_that_are_not_numbers_or_of_another_shape_do_not_hold() -> None:
    rows = unit(np.eye(4, 8))
    assert judge_embeddings(rows, rows).holds
    broken = rows.copy()
    broken[2, 3] = np.nan
    assert not judge_embeddings(rows, broken).holds
    assert not judge_embeddings(rows, rows[:, :7]).holds
    points = np.zeros((2, 68, 2))
    assert judge_landmarks(points, points).holds
    assert not judge_landmarks(points, np.full_like(points, np.nan)).holds
    assert not judge_landmarks(points, points[:1]).holds


def test_the_bars_are_where_they_are_said_to_be() -> None:
    rows = unit(np.eye(4, 8))
    for change, holds in ((0.8 * SIMILARITY_CHANGE_MAX, True), (1.2 * SIMILARITY_CHANGE_MAX, False)):
        moved = rows.copy()
        moved[0, 1] = change  # so near to unit length that its similarity to the second row is the change
        assert judge_embeddings(rows, unit(moved)).holds is holds
    points = np.zeros((2, 68, 2))
    for move, holds in ((0.9 * LANDMARK_MOVE_MAX_PX, True), (1.1 * LANDMARK_MOVE_MAX_PX, False)):
        moved_points = points.copy()
        moved_points[1, 5] = [0.6 * move, 0.8 * move]
        assert judge_landmarks(points, moved_points).holds is holds


def test_no_similarity_can_change_by_more_than_the_cosines_bar_allows() -> None:
    """Cauchy and Schwarz: |a.c - b.c| <= |a - b| = sqrt(2 - 2 cos), which is what the documentation states."""
    assert np.sqrt(2 - 2 * COSINE_MIN) <= 0.032


def test_the_probes_are_always_the_same_and_differ_from_each_other() -> None:
    probes = probe_crops(112)
    assert len(probes) == PROBES
    assert all(np.array_equal(one, other) for one, other in zip(probes, probe_crops(112), strict=True))
    assert min(np.abs(probes[0].astype(int) - other).mean() for other in probes[1:]) > 20


def test_binding_that_is_given_up_while_running_is_among_the_warnings_once(make_pack: MakePack) -> None:
    backend = open_made(make_pack(), tuned_device="cpu")
    before = backend.info.warnings
    crops = probe_crops(112)[:3]
    wanted = backend.embed(crops)
    bound = backend._recogniser.session
    # A device that no package of ONNX Runtime for this platform has: from the next new shape on binding fails.
    backend._recogniser.session = BoundSession(bound._session, "cann")
    assert np.array_equal(backend.embed(crops), wanted)
    backend.embed(crops[:1])
    (warning,) = set(backend.info.warnings) - set(before)
    assert warning.startswith("I/O binding was given up")
    assert len(backend.info.warnings) == len(before) + 1
