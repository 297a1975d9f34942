"""Model packs made here: real ONNX graphs with the shapes of InsightFace's, a few kilobytes each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

Weights = dict[str, Any]
MakePack = Callable[..., Path]


@pytest.fixture
def make_pack(tmp_path: Path) -> MakePack:
    """Return a function that writes a pack: make_pack(name="made", batch=None, landmarks=None, root=tmp_path)."""

    def make(
        name: str = "made", *, batch: int | None = None, landmarks: str | None = None, root: Path | None = None
    ) -> Path:
        folder = (root or tmp_path) / name
        folder.mkdir(parents=True)
        onnx.save(detector_graph(), str(folder / "det.onnx"))
        onnx.save(recogniser_graph(batch), str(folder / "recogniser.onnx"))
        if landmarks:
            onnx.save(landmarks_graph(landmarks, batch), str(folder / "1k3d68.onnx"))
        return folder

    return make


def detector_graph() -> onnx.ModelProto:
    """A SCRFD without an opinion: nine outputs of three strides; its scores come from the red channel's brightness.

    A cell of the coarsest grid whose mean red is 255 scores sigmoid(5) = 0.993; black scores 0.007.
    """
    nodes, outputs, weights = [], [], {"columns_1": [-1, 1], "columns_4": [-1, 4], "columns_10": [-1, 10]}
    heads = [("score", 1), ("box", 4), ("points", 10)]
    for kind, columns in heads:
        for stride in (8, 16, 32):
            key = f"{kind}_{stride}"
            kernel = np.zeros((2 * columns, 3, stride, stride), dtype=np.float32)
            bias = np.full(2 * columns, -20.0 if kind == "score" else 1.0, dtype=np.float32)
            if kind == "score" and stride == 32:
                kernel[0, 0] = 5.0 / stride**2  # red runs from -1 to 1 after the mean and spread
                bias[0] = 0.0
            weights |= {f"{key}_kernel": kernel, f"{key}_bias": bias}
            nodes += [
                helper.make_node(
                    "Conv", ["input", f"{key}_kernel", f"{key}_bias"], [f"{key}_c"],
                    kernel_shape=[stride, stride], strides=[stride, stride],
                ),
                helper.make_node("Transpose", [f"{key}_c"], [f"{key}_t"], perm=[0, 2, 3, 1]),
                helper.make_node("Reshape", [f"{key}_t", f"columns_{columns}"], [f"{key}_r"]),
                helper.make_node("Sigmoid" if kind == "score" else "Identity", [f"{key}_r"], [key]),
            ]  # fmt: skip
            outputs.append(helper.make_tensor_value_info(key, TensorProto.FLOAT, [None, columns]))
    return _model("detector", nodes, [1, 3, "height", "width"], outputs, weights)


def recogniser_graph(batch: int | None) -> onnx.ModelProto:
    """A recogniser with 16 values: a fixed mix of the three channels' means over a 112 px crop."""
    mix = np.random.default_rng(5).normal(size=(3, 16)).astype(np.float32)
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mix"], ["embedding"]),
    ]
    output = helper.make_tensor_value_info("embedding", TensorProto.FLOAT, [batch, 16])
    return _model("recogniser", nodes, [batch or "batch", 3, 112, 112], [output], {"mix": mix})


def landmarks_graph(kind: str, batch: int | None) -> onnx.ModelProto:
    """A 1k3d68: `ring` puts the 68 points on a circle of half the crop's width whatever it sees; `red` puts all of
    them at x = y = the mean of the (normalised) red channel, so that a test can see what the graph was fed."""
    table = np.zeros((1, 1103, 3), dtype=np.float32)
    if kind == "ring":
        angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        table[0, -68:, 0], table[0, -68:, 1] = 0.5 * np.cos(angles), 0.5 * np.sin(angles)
    first_channel = np.array([[1.0], [0.0], [0.0]], dtype=np.float32) * (kind == "red")
    nodes = [
        helper.make_node("GlobalAveragePool", ["input"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "first_channel"], ["red"]),
        helper.make_node("Add", ["red", "table"], ["fc1"]),
    ]
    output = helper.make_tensor_value_info("fc1", TensorProto.FLOAT, [batch, 3309])
    weights = {"first_channel": first_channel, "table": table.reshape(1, 3309)}
    return _model("landmarks", nodes, [batch or "batch", 3, 192, 192], [output], weights)


def _model(name: str, nodes: list[Any], shape: list[Any], outputs: list[Any], weights: Weights) -> onnx.ModelProto:
    initialisers = [
        numpy_helper.from_array(np.asarray(value, dtype=np.int64 if isinstance(value, list) else np.float32), key)
        for key, value in weights.items()
    ]
    source = helper.make_tensor_value_info("input", TensorProto.FLOAT, shape)
    graph = helper.make_graph(nodes, name, [source], outputs, initialisers)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
