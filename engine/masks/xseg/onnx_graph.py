"""XSeg's weights → the same network as an ONNX file. What it computes: engine.masks.xseg.numpy_network. Pure.

input   `pictures`       (n, 3, 256, 256) float32 BGR 0..1
output  `probabilities`  (n, 1, 256, 256) float32 0..1
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dfl.xseg_weights import LEVELS, SIDE_PX, XSegWeights, level_blocks, up_blocks
from engine.masks.xseg.numpy_network import Array, pool_borders, pool_kernel

if TYPE_CHECKING:
    from onnx import NodeProto, TensorProto

OPSET = 18
"""Its ReduceMean takes axes as an input; ONNX Runtime 1.14 and later run it."""
IR_VERSION = 8
"""Of the file format that came with that opset."""
PRODUCER = "dfld"
INPUT, OUTPUT = "pictures", "probabilities"


def onnx_bytes(weights: XSegWeights) -> bytes:
    """Return the ONNX file of a network, weights inside; the same weights give the same bytes."""
    from onnx import TensorProto, helper

    builder = _Builder(weights.tensors)
    output = builder.network()
    builder.add("Sigmoid", [output], OUTPUT)
    count = "pictures_a_run"
    graph = helper.make_graph(
        builder.nodes,
        "XSeg",
        [helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, [count, 3, SIDE_PX, SIDE_PX])],
        [helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, [count, 1, SIDE_PX, SIDE_PX])],
        builder.constants,
    )
    opset = helper.make_opsetid("", OPSET)
    model = helper.make_model(graph, producer_name=PRODUCER, ir_version=IR_VERSION, opset_imports=[opset])
    return bytes(model.SerializeToString(deterministic=True))


class _Builder:
    """Adds nodes and constants; each method takes the name of a value and returns that of the next."""

    def __init__(self, tensors: Mapping[str, Array]) -> None:
        self._tensors = tensors
        self.nodes: list[NodeProto] = []
        self.constants: list[TensorProto] = []

    def network(self) -> str:
        """Add everything up to the logits."""
        value = INPUT
        channels = 3
        skips: list[str] = []
        self.constant("picture_axes", np.array([2, 3], np.int64))
        for level in range(len(LEVELS)):
            for name in level_blocks(level):
                value = self.block(name, self.convolution(f"{name}/conv", value))
            skips.append(value)
            channels = len(self._tensors[f"{level_blocks(level)[-1]}/conv/bias:0"])
            value = self.pool(level, value, channels)
        value = self.dense_layers(value, channels)
        for level in reversed(range(len(LEVELS))):
            up = self.block(f"up{level}", self.transposed_convolution(f"up{level}/conv", value))
            value = self.add("Concat", [up, skips[level]], f"joined{level}", axis=1)
            for name in up_blocks(level):
                value = self.block(name, self.convolution(f"{name}/conv", value))
        return self.convolution("out_conv", value)

    def block(self, name: str, x: str) -> str:
        """FRN and TLU of a convolution's answer. FRN's scale is made first: one pass over the picture less."""
        square = self.add("Mul", [x, x], f"{name}/square")
        mean = self.add("ReduceMean", [square, "picture_axes"], f"{name}/mean_square", keepdims=1)
        eps = self.constant(f"{name}/eps", np.abs(self._tensors[f"{name}/frn/eps:0"]).reshape(1, 1, 1, 1))
        root = self.add("Sqrt", [self.add("Add", [mean, eps], f"{name}/mean_square_eps")], f"{name}/root")
        scale = self.add("Div", [self.per_channel(name, "frn/weight"), root], f"{name}/scale")
        scaled = self.add("Mul", [x, scale], f"{name}/scaled")
        shifted = self.add("Add", [scaled, self.per_channel(name, "frn/bias")], f"{name}/shifted")
        return self.add("Max", [shifted, self.per_channel(name, "tlu/tau")], f"{name}/out")

    def convolution(self, name: str, value: str) -> str:
        return self._convolve("Conv", name, value, pads=[1, 1, 1, 1])

    def transposed_convolution(self, name: str, value: str) -> str:
        """TensorFlow's SAME: twice the side, what lies beyond its last row and column cut off."""
        return self._convolve("ConvTranspose", name, value, pads=[0, 0, 1, 1], strides=[2, 2])

    def _convolve(self, kind: str, name: str, value: str, **options: Sequence[int]) -> str:
        # (kh, kw, in, out) -> (out, in, kh, kw), and of a transposed one (kh, kw, out, in) -> (in, out, kh, kw).
        kernel = self.constant(f"{name}/kernel", self._tensors[f"{name}/weight:0"].transpose(3, 2, 0, 1))
        bias = self.constant(f"{name}/bias", self._tensors[f"{name}/bias:0"])
        return self.add(kind, [value, kernel, bias], f"{name}/convolved", kernel_shape=[3, 3], **options)

    def pool(self, level: int, value: str, channels: int) -> str:
        """A convolution of each channel with the one fixed kernel, stride 2."""
        kernel = np.repeat(pool_kernel(level)[np.newaxis, np.newaxis], channels, axis=0)
        before, behind = pool_borders(level)
        return self.add(
            "Conv",
            [value, self.constant(f"pool{level}/kernel", kernel)],
            f"pooled{level}",
            kernel_shape=list(kernel.shape[2:]),
            group=channels,
            strides=[2, 2],
            pads=[before, before, behind, behind],
        )

    def dense_layers(self, value: str, channels: int) -> str:
        flat = self.add("Flatten", [value], "flat", axis=1)
        for name in ("dense1", "dense2"):
            weight = self.constant(f"{name}/weight", self._tensors[f"{name}/weight:0"])
            bias = self.constant(f"{name}/bias", self._tensors[f"{name}/bias:0"])
            flat = self.add("Gemm", [flat, weight, bias], f"{name}/out")
        shape = self.constant("deepest_shape", np.array([0, channels, 4, 4], np.int64))  # 0: as many as come in
        return self.add("Reshape", [flat, shape], "deepest")

    def per_channel(self, name: str, part: str) -> str:
        return self.constant(f"{name}/{part}", self._tensors[f"{name}/{part}:0"].reshape(1, -1, 1, 1))

    def add(self, kind: str, inputs: Sequence[str], output: str, **options: int | Sequence[int]) -> str:
        from onnx import helper

        node = helper.make_node(kind, list(inputs), [output], name=output)
        node.attribute.extend(helper.make_attribute(name, value) for name, value in options.items())
        self.nodes.append(node)
        return output

    def constant(self, name: str, values: NDArray[np.generic]) -> str:
        from onnx import numpy_helper

        self.constants.append(numpy_helper.from_array(np.ascontiguousarray(values), name))
        return name
