"""Bound runs answer as plain ones, to the last bit. The graphs are real; on a GPU only `device` differs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper

from engine.models.accelerators import (
    CPU_PROVIDER,
    CUDA_PROVIDER,
    available_providers,
    choose_providers,
    provider_options,
    runs_on,
)
from engine.models.bound_session import BoundSession
from tests.engine.conftest import MakePack

Floats = NDArray[np.float32]
DEVICES = ("cpu", "cuda") if CUDA_PROVIDER in available_providers() else ("cpu",)


def open_graph(model: Path | bytes, providers: Sequence[str] = (CPU_PROVIDER,)) -> Any:
    return onnxruntime.InferenceSession(
        model if isinstance(model, bytes) else str(model),
        providers=list(providers),
        provider_options=provider_options(providers),
    )


def free_detector(path: Path, providers: Sequence[str] = (CPU_PROVIDER,)) -> Any:
    """The detector with its batch axis freed, as it is run."""
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "pictures"
    for output in model.graph.output:
        output.type.tensor_type.ClearField("shape")
    return open_graph(model.SerializeToString(), providers)


def pictures(number: int, height: int, width: int, seed: int = 0) -> Floats:
    return np.random.default_rng(seed).uniform(-1, 1, (number, 3, height, width)).astype(np.float32)


def same(one: list[Any], other: list[Any]) -> bool:
    return len(one) == len(other) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(one, other, strict=True)
    )


SHAPES = [(1, 64, 96), (1, 96, 64), (4, 64, 96), (1, 64, 96), (2, 64, 96), (7, 32, 32), (4, 64, 96), (1, 128, 128)]
"""One after the other: new ones, one that comes back, batches that grow and shrink."""


def check_shapes(session: Any, device: str) -> None:
    bound = BoundSession(session, device)
    for seed, shape in enumerate(SHAPES):
        feed = {"input": pictures(*shape, seed=seed)}
        name = session.get_inputs()[0].name
        assert same(bound.run(None, {name: feed["input"]}), session.run(None, {name: feed["input"]})), shape
    assert bound.problem == ""
    assert bound.report == "I/O binding"


@pytest.mark.parametrize("device", DEVICES)
def test_a_detector_answers_as_without_binding_whatever_shapes_come(make_pack: MakePack, device: str) -> None:
    session = free_detector(make_pack() / "det.onnx", choose_providers(device, available_providers()))
    assert runs_on(session, device)
    check_shapes(session, device)


def test_a_real_detector_answers_as_without_binding_whatever_shapes_come(shared: Path) -> None:
    check_shapes(free_detector(next((shared / "models" / "insightface_mini").glob("scrfd*.onnx"))), "cpu")


def test_a_real_recogniser_answers_as_without_binding(shared: Path) -> None:
    session = open_graph(shared / "models" / "insightface_mini" / "mobilefacenet.onnx")
    bound = BoundSession(session, "cpu")
    name = session.get_inputs()[0].name
    for seed in range(3):
        feed = {name: pictures(1, 112, 112, seed)}
        assert same(bound.run(None, feed), session.run(None, feed))
    assert bound.problem == ""


def test_no_answer_is_overwritten_by_a_later_run(make_pack: MakePack) -> None:
    session = free_detector(make_pack() / "det.onnx")
    bound = BoundSession(session, "cpu")
    feeds = [{"input": pictures(2, 64, 64, seed)} for seed in range(5)]
    answers = [bound.run(None, feed) for feed in feeds]
    for feed, answer in zip(feeds, answers, strict=True):
        assert same(answer, session.run(None, feed))
    for answer in answers[0]:
        answer[:] = 7.0
    assert same(bound.run(None, feeds[0]), session.run(None, feeds[0])), "writing into an answer changes no later one"


def test_an_answer_that_is_the_graphs_own_input_is_still_a_copy() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n"])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "same", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    bound = BoundSession(open_graph(model.SerializeToString()), "cpu")
    first = np.arange(4, dtype=np.float32)
    answer = bound.run(None, {"x": first})[0]
    first[:] = 9.0
    bound.run(None, {"x": first})
    assert answer.tolist() == [0.0, 1.0, 2.0, 3.0]
    assert bound.problem == ""


def test_what_is_fed_is_not_written_to_and_need_not_be_contiguous(make_pack: MakePack) -> None:
    session = free_detector(make_pack() / "det.onnx")
    bound = BoundSession(session, "cpu")
    wide = pictures(1, 64, 128)
    before = wide.copy()
    part = wide[:, :, :, ::2]
    assert same(bound.run(None, {"input": part}), session.run(None, {"input": np.ascontiguousarray(part)}))
    assert np.array_equal(wide, before)


def test_outputs_come_in_the_order_in_which_they_are_asked_for(make_pack: MakePack) -> None:
    session = free_detector(make_pack() / "det.onnx")
    bound = BoundSession(session, "cpu")
    feed = {"input": pictures(1, 64, 64)}
    names = ["box_16", "score_8"]
    assert same(bound.run(names, feed), session.run(names, feed))


def test_the_buffers_of_no_more_shapes_are_kept_than_stated_and_the_oldest_go_first(make_pack: MakePack) -> None:
    bound = BoundSession(free_detector(make_pack() / "det.onnx"), "cpu", kept_shapes=3)
    for width in (32, 64, 96, 32, 128):
        bound.run(None, {"input": pictures(1, 32, width)})
    assert [key[0][1][3] for key in bound.kept] == [96, 32, 128], "64 was not used for longest"


def test_the_kept_buffers_take_no_more_bytes_than_stated(make_pack: MakePack) -> None:
    picture_bytes = 3 * 64 * 64 * 4
    session = free_detector(make_pack() / "det.onnx")
    bound = BoundSession(session, "cpu", kept_bytes=3 * picture_bytes)
    for number in (1, 2):
        bound.run(None, {"input": pictures(number, 64, 64)})
    assert [key[0][1][0] for key in bound.kept] == [1, 2]
    feed = {"input": pictures(9, 64, 64)}
    assert same(bound.run(None, feed), session.run(None, feed)), "one that is larger than the limit still runs"
    assert [key[0][1][0] for key in bound.kept] == [9], "but alone"
    bound.run(None, {"input": pictures(1, 64, 64)})
    assert [key[0][1][0] for key in bound.kept] == [1]


def test_where_the_device_cannot_be_bound_to_the_session_runs_as_before_and_says_so(make_pack: MakePack) -> None:
    session = free_detector(make_pack() / "det.onnx")
    bound = BoundSession(session, "cann")  # which neither package of ONNX Runtime for this platform has
    feed = {"input": pictures(2, 64, 64)}
    assert same(bound.run(None, feed), session.run(None, feed))
    assert bound.problem
    assert bound.report == f"no I/O binding ({bound.problem})"
    first = bound.problem
    assert same(bound.run(None, feed), session.run(None, feed))
    assert bound.problem == first, "it is found out once"
    assert bound.kept == ()


def test_a_graph_whose_answers_shape_depends_on_the_values_falls_back() -> None:
    """Its second answer does not fit into the buffer that the first one made."""
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n"])
    out = helper.make_tensor_value_info("y", TensorProto.INT64, None)
    graph = helper.make_graph([helper.make_node("NonZero", ["x"], ["y"])], "where", [value], [out])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    session = open_graph(model.SerializeToString())
    bound = BoundSession(session, "cpu")
    for values in ([1, 0, 0, 1], [1, 1, 1, 1], [0, 0, 1, 0]):
        feed = {"x": np.array(values, np.float32)}
        assert same(bound.run(None, feed), session.run(None, feed))
    assert bound.problem


def test_what_is_wrong_with_the_picture_is_told_as_without_binding_and_blames_no_binding(make_pack: MakePack) -> None:
    session = free_detector(make_pack() / "det.onnx")
    bound = BoundSession(session, "cpu")
    wrong = {"input": np.zeros((1, 5, 64, 64), np.float32)}
    with pytest.raises(Exception) as plainly:  # whatever it is, it is the same
        session.run(None, wrong)
    with pytest.raises(type(plainly.value)):
        bound.run(None, wrong)
    assert bound.problem == ""
    feed = {"input": pictures(1, 64, 64)}
    assert same(bound.run(None, feed), session.run(None, feed))
    assert bound.problem == ""


def test_everything_else_is_the_sessions_own(make_pack: MakePack) -> None:
    session = free_detector(make_pack() / "det.onnx")
    bound = BoundSession(session, "cpu")
    assert bound.get_providers() == session.get_providers()
    assert bound.get_inputs()[0].name == "input"
