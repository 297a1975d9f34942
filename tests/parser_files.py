"""ONNX files of face parsers made here, a few kilobytes each: a pixel's class follows from its colour alone.

Red is skin (of the face), blue hair, green glasses (or others), white an ear (or skin of the body); others background.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

COLOURS = {"red": (0, 0, 255), "blue": (255, 0, 0), "green": (0, 255, 0), "white": (255, 255, 255)}
"""BGR."""
CELEBAMASK_CLASSES = {"red": 1, "blue": 17, "green": 6, "white": 7}
SELFIE_CLASSES = {"red": 3, "blue": 1, "green": 5, "white": 2}
MEAN, SPREAD = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])


def parser_model(
    classes: int,
    colour_classes: dict[str, int],
    *,
    channels_last: bool,
    side: int | str,
    batch: int | str = 1,
    mean: Any = 0.0,
    spread: Any = 1.0,
) -> onnx.ModelProto:
    """A 1x1 convolution whose score of a class is how well the colour agrees; undoes `mean` and `spread`."""
    weights = np.zeros((classes, 3), np.float64)
    bias = np.full(classes, -20.0)
    bias[0] = 0.0
    for name, number in colour_classes.items():
        rgb = np.array(COLOURS[name][::-1]) / 255.0
        # 60 · (colour · (2·c − 1) − number of ones + 0.5): above 0 for that colour alone.
        weights[number] = 60.0 * (2 * rgb - 1)
        bias[number] = -60.0 * (rgb.sum() - 0.5)
    bias = bias + weights @ np.broadcast_to(mean, 3)
    weights = weights * np.broadcast_to(spread, 3)
    stored = {"w": weights.reshape(classes, 3, 1, 1).astype(np.float32), "b": bias.astype(np.float32)}
    size = [batch, side, side, 3] if channels_last else [batch, 3, side, side]
    answer = [batch, side, side, classes] if channels_last else [batch, classes, side, side]
    conv = helper.make_node(
        "Conv", ["nchw" if channels_last else "picture", "w", "b"], ["s" if channels_last else "scores"]
    )
    nodes = [conv]
    if channels_last:
        nodes = [
            helper.make_node("Transpose", ["picture"], ["nchw"], perm=[0, 3, 1, 2]),
            conv,
            helper.make_node("Transpose", ["s"], ["scores"], perm=[0, 2, 3, 1]),
        ]
    graph = helper.make_graph(
        nodes,
        "parser",
        [helper.make_tensor_value_info("picture", TensorProto.FLOAT, size)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, answer)],
        [numpy_helper.from_array(value, name) for name, value in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def celebamask_model(side: int | str = 128, batch: int | str = 1) -> onnx.ModelProto:
    return parser_model(19, CELEBAMASK_CLASSES, channels_last=False, side=side, batch=batch, mean=MEAN, spread=SPREAD)


def selfie_model() -> onnx.ModelProto:
    return parser_model(6, SELFIE_CLASSES, channels_last=True, side=256)


def write_model(model: onnx.ModelProto, path: Path) -> Path:
    path.write_bytes(model.SerializeToString())
    return path
