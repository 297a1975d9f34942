"""Detectors for several pictures a run: equal to one by one, or not used. The graphs are real; no GPU is needed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import helper

from engine.backends.catalog import open_backend
from engine.models.accelerators import CPU_PROVIDER, CUDA_PROVIDER
from engine.models.detector_session import (
    DIFFERENCE_MAX,
    BatchSession,
    _open,
    _probes,
    _run,
    open_checked,
    row_order,
    split_answers,
)
from tests.engine.conftest import MakePack


def plain_session(path: Path) -> Any:
    return onnxruntime.InferenceSession(str(path), providers=[CPU_PROVIDER])


def mini_detector(shared: Path) -> Path:
    return next((shared / "models" / "insightface_mini").glob("scrfd*.onnx"))


def test_a_real_detector_that_was_exported_for_one_picture_answers_two_at_once_exactly(shared: Path) -> None:
    path = mini_detector(shared)
    checked = open_checked(path, plain_session(path), [CPU_PROVIDER])
    assert checked.order == "cells", "the rows of the pictures lie side by side in each cell"
    assert "single precision in batches" in checked.report


def test_cutting_its_rows_into_equal_parts_would_mix_the_pictures(shared: Path) -> None:
    path = mini_detector(shared)
    plain, batched = plain_session(path), _open(path, [CPU_PROVIDER], half=False)
    probes = _probes(plain)
    together = _run(batched, np.concatenate(probes))
    mixed = split_answers(together, 2, "pictures")
    right = split_answers(together, 2, "cells")
    alone = [_run(plain, probe) for probe in probes]
    assert max(float(np.abs(a - b).max()) for a, b in zip(alone[0], mixed[0], strict=True)) > 0.5
    assert max(float(np.abs(a - b).max()) for a, b in zip(alone[0], right[0], strict=True)) < 1e-4


def test_half_precision_is_compared_with_the_files_own_answers(shared: Path) -> None:
    path = mini_detector(shared)
    plain, half = plain_session(path), _open(path, [CPU_PROVIDER], half=True)
    probes = _probes(plain)
    order, difference = row_order([_run(plain, one) for one in probes], _run(half, np.concatenate(probes)))
    assert order == "cells"
    assert 1e-5 < difference < DIFFERENCE_MAX, "it is another precision, and near enough"


def test_where_the_session_runs_on_the_device_half_precision_in_batches_is_taken_and_bound(shared: Path) -> None:
    """The code that a GPU runs, but for the device's name."""
    path = mini_detector(shared)
    plain = plain_session(path)
    checked = open_checked(path, plain, [CPU_PROVIDER], device="cpu")
    assert checked.order == "cells"
    assert checked.report.startswith("half precision in batches, largest difference")
    assert checked.report.endswith("I/O binding")
    session = BatchSession(checked)
    probes = _probes(plain)
    name = plain.get_inputs()[0].name
    alone = [_run(plain, probe) for probe in probes]
    for _ in range(2):  # the second time the buffers are there
        session.prepare(np.concatenate(probes))
        for wanted in alone:
            answers = session.run(None, {name: probes[0]})
            assert max(float(np.abs(a - b).max()) for a, b in zip(wanted, answers, strict=True)) < DIFFERENCE_MAX


def test_a_graph_whose_pictures_leak_into_each_other_runs_them_one_by_one(make_pack: MakePack) -> None:
    path = make_pack() / "det.onnx"
    model = onnx.load(str(path))
    # A whole batch normalised by its common mean: alone, a picture gets another answer.
    first = next(node for node in model.graph.node if "input" in node.input)
    model.graph.node.insert(0, helper.make_node("Sub", ["input", "common"], ["unmixed"]))
    model.graph.node.insert(0, helper.make_node("ReduceMean", ["input"], ["common"], axes=[0], keepdims=1))
    for node in model.graph.node[2:]:
        node.input[:] = ["unmixed" if name == "input" else name for name in node.input]
    assert first.input[0] == "unmixed"
    onnx.save(model, str(path))
    plain = plain_session(path)
    checked = open_checked(path, plain, [CPU_PROVIDER])
    assert checked.order is None
    assert checked.session is plain
    assert "one picture a run; single precision in batches differs by" in checked.report


def test_a_graph_that_cannot_take_two_pictures_runs_them_one_by_one(make_pack: MakePack) -> None:
    path = make_pack() / "det.onnx"
    model = onnx.load(str(path))
    model.graph.node.insert(0, helper.make_node("Reshape", ["input", "one"], ["single"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([1, 3, 96, 128]), "one"))
    for node in model.graph.node[1:]:
        node.input[:] = ["single" if name == "input" else name for name in node.input]
    onnx.save(model, str(path))
    checked = open_checked(path, plain_session(path), [CPU_PROVIDER])
    assert checked.order is None
    assert "failed" in checked.report


def test_a_gpu_that_fails_in_half_precision_and_in_batches_still_runs_the_files_own_graph(make_pack: MakePack) -> None:
    """What is said to be CUDA here is not there, so that every attempt to open a graph anew fails."""

    class Pretended:
        def __init__(self, session: Any) -> None:
            self._session = session

        def get_providers(self) -> list[str]:
            return [CUDA_PROVIDER, CPU_PROVIDER]

        def __getattr__(self, name: str) -> Any:
            return getattr(self._session, name)

    path = make_pack() / "det.onnx"
    plain = Pretended(plain_session(path))
    path.unlink()
    checked = open_checked(path, plain, [CPU_PROVIDER])
    assert checked.session is plain
    assert "half precision in batches failed" in checked.report
    assert "single precision in batches failed" in checked.report


@pytest.mark.parametrize("side", [None, 320])
def test_faces_found_in_a_batch_are_those_found_one_by_one(shared: Path, side: int | None) -> None:
    backend = open_backend("insightface", model_root=shared / "models", model_pack="insightface_mini", device="cpu")
    assert "in batches" in backend.info.versions["detector run"]
    photos = shared / "media" / "photos"
    names = ("obama/ref_1.jpg", "others/no_face_landscape.jpg", "biden/ref_1.jpg", "others/obama_left_biden_right.jpg")
    pictures = [np.asarray(cv2.imread(str(photos / name)), np.uint8) for name in names]
    pictures = [np.asarray(cv2.resize(picture, (640, 480)), np.uint8) for picture in pictures]
    pictures.append(pictures[0][:, :300])
    together = backend.detect_each(pictures, side_px=side)
    alone = [backend.detect(picture, side_px=side) for picture in pictures]
    assert [len(faces) for faces in together] == [len(faces) for faces in alone]
    assert len({len(faces) for faces in alone}) > 1, "pictures with different faces, so that a mix-up would show"
    for wanted, faces in zip(alone, together, strict=True):
        for one, other in zip(wanted, faces, strict=True):
            np.testing.assert_allclose(one.bbox, other.bbox, atol=1e-2)
            assert one.detection_score == pytest.approx(other.detection_score, abs=1e-4)
            assert one.landmarks_5 is not None
            assert other.landmarks_5 is not None
            np.testing.assert_allclose(one.landmarks_5, other.landmarks_5, atol=1e-2)
