"""ONNX files from outside are read by a closed list before anything runs them."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from engine.errors import EngineError, ModelError
from engine.masks.parser import open_parser
from engine.models.graph_facts import Port, read_graph
from tests.parser_files import celebamask_model, write_model


def test_a_graph_says_what_it_takes_and_answers(tmp_path: Path) -> None:
    path = write_model(celebamask_model("side", 1), tmp_path / "parser.onnx")
    content, facts = read_graph(path)
    assert content == path.read_bytes()
    assert facts.size_bytes == len(content)
    assert facts.inputs == (Port("picture", True, (1, 3, None, None)),)
    assert facts.outputs == (Port("scores", True, (1, 19, None, None)),)


def _loop(model: onnx.ModelProto) -> None:
    model.graph.node.append(helper.make_node("Loop", [], ["x"]))


def _nested(model: onnx.ModelProto) -> None:
    model.graph.node[0].attribute.append(helper.make_attribute("body", model.graph))


def _outside(model: onnx.ModelProto) -> None:
    model.graph.initializer[0].data_location = TensorProto.EXTERNAL


def _domain(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.example", 1))


def _many(model: onnx.ModelProto) -> None:
    model.graph.node.extend([helper.make_node("Identity", ["a"], ["b"])] * 5001)


def _no_output(model: onnx.ModelProto) -> None:
    del model.graph.output[:]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (_loop, "'Loop'"), (_nested, "holds a graph"), (_outside, "lie outside"), (_domain, "operators of its own"),
        (_many, "nodes"), (_no_output, "inputs and outputs"),
    ],
)  # fmt: skip
def test_what_is_not_on_the_closed_list_is_refused_by_name(
    change: Callable[[onnx.ModelProto], None], why: str, tmp_path: Path
) -> None:
    model = celebamask_model()
    change(model)
    with pytest.raises(ModelError, match=why) as refused:
        read_graph(write_model(model, tmp_path / "odd.onnx"))
    assert "odd.onnx" in refused.value.message


def test_what_is_no_file_or_no_onnx_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.onnx").write_bytes(b"\xff" * 40)
    for name in ("text.onnx", "none.onnx", "."):
        with pytest.raises(ModelError, match=str(tmp_path)):
            read_graph(tmp_path / name)


def test_a_name_that_is_no_text_is_refused_before_onnx_runtime_prints_about_it(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.onnx").write_bytes(celebamask_model().SerializeToString().replace(b"picture", b"pi\xe3ture"))
    with pytest.raises(ModelError, match="a name in it is no text"):
        open_parser(tmp_path / "odd.onnx")
    assert capfd.readouterr().out == ""


def test_a_mutated_file_is_opened_or_refused_by_name(tmp_path: Path) -> None:
    content, path, chance = celebamask_model(64).SerializeToString(), tmp_path / "mutated.onnx", random.Random(3)
    reasons = []
    for _ in range(100):
        changed = bytearray(content)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.randrange(256)
        path.write_bytes(bytes(changed[: chance.choice([len(changed), chance.randrange(len(changed))])]))
        try:
            open_parser(path)
        except EngineError as problem:
            reasons.append(problem.message)
    assert len(reasons) > 50
    assert [reason for reason in reasons if "mutated.onnx" not in reason] == []
