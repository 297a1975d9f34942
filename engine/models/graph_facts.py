"""What an ONNX file says of itself, read before anything runs it: shapes, operators, where its weights lie.

A file from outside is data here, never a program: a closed list of operators, weights in the file itself, no
functions and no graphs within graphs. Not for InsightFace's packs, which insightface reads.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from core.opening import RefusedFileError, read_regular
from engine.errors import ModelError

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, ValueInfoProto

MAX_BYTES = 256 << 20
"""The largest face parser of the kinds that are read has 82 MB."""
MAX_NODES = 5000
"""BiSeNet with ResNet-34 has some 300."""
OPERATORS = frozenset(
    [
        "Add",
        "ArgMax",
        "AveragePool",
        "BatchNormalization",
        "Cast",
        "Ceil",
        "Clip",
        "Concat",
        "Constant",
        "Conv",
        "ConvTranspose",
        "DepthToSpace",
        "DequantizeLinear",
        "Div",
        "Dropout",
        "Equal",
        "Exp",
        "Flatten",
        "Floor",
        "Gather",
        "Gemm",
        "GlobalAveragePool",
        "GlobalMaxPool",
        "HardSigmoid",
        "HardSwish",
        "Identity",
        "LeakyRelu",
        "MatMul",
        "Max",
        "MaxPool",
        "Min",
        "Mul",
        "Neg",
        "PRelu",
        "Pad",
        "Pow",
        "QuantizeLinear",
        "ReduceMax",
        "ReduceMean",
        "ReduceSum",
        "Relu",
        "Reshape",
        "Resize",
        "Shape",
        "Sigmoid",
        "Slice",
        "Softmax",
        "SpaceToDepth",
        "Split",
        "Sqrt",
        "Squeeze",
        "Sub",
        "Sum",
        "Tanh",
        "Transpose",
        "Unsqueeze",
        "Upsample",
    ]
)
"""What networks of convolutions are made of. Left out: what loops, branches, draws at random, or makes an array of any
size out of a number."""
_DOMAINS = ("", "ai.onnx")
HINT = "bring a file that was exported from the original network, with its weights inside"


@dataclass(frozen=True)
class Port:
    """An input or output of a graph."""

    name: str
    is_float: bool
    """Whether its values are float32."""
    shape: tuple[int | None, ...]
    """None where any size goes."""


@dataclass(frozen=True)
class GraphFacts:
    """What an ONNX file says of itself."""

    sha256: str
    """Of the whole file, hex."""
    size_bytes: int
    inputs: tuple[Port, ...]
    """Those that are fed; weights are none of them."""
    outputs: tuple[Port, ...]


def read_graph(path: Path) -> tuple[bytes, GraphFacts]:
    """Given an ONNX file from outside, return its bytes and what they say, without running any of it.

    Raise ModelError, naming the file, for one that is none, is too large, or holds what is not on the closed list.
    """
    try:
        content = read_regular(path, within=None, follow_links=True, max_bytes=MAX_BYTES)
    except RefusedFileError as problem:
        raise ModelError(f"model file {path} {problem.strerror}", hint=HINT) from problem
    except OSError as problem:
        raise ModelError(f"model file {path} cannot be read: {problem.strerror}") from problem
    graph = _parsed(path, content).graph
    weights = {tensor.name for tensor in graph.initializer}
    facts = GraphFacts(
        sha256=hashlib.sha256(content).hexdigest(),
        size_bytes=len(content),
        inputs=tuple(_port(value) for value in graph.input if value.name not in weights),
        outputs=tuple(_port(value) for value in graph.output),
    )
    return content, facts


def _parsed(path: Path, content: bytes) -> ModelProto:
    import onnx
    from google.protobuf.message import DecodeError

    try:
        model = onnx.load_model_from_string(content)
        _require_names(model.graph)
    except (DecodeError, ValueError) as problem:
        raise ModelError(f"model file {path} is not a readable ONNX file: {problem}", hint=HINT) from problem
    refused = _refusal(model)
    if refused:
        raise ModelError(f"model file {path} is refused: {refused}", hint=HINT)
    return model


def _require_names(graph: GraphProto) -> None:
    """Raise ValueError where a name is no text: protobuf hands it out as bytes, and ONNX Runtime prints a complaint."""
    names: list[object] = [graph.name, *(tensor.name for tensor in graph.initializer)]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [text for attribute in node.attribute for text in (attribute.name, attribute.t.name)]
    for value in (*graph.input, *graph.output, *graph.value_info):
        names += [value.name, *(dim.dim_param for dim in value.type.tensor_type.shape.dim)]
    if any(not isinstance(name, str) for name in names):
        raise ValueError("a name in it is no text")


def _refusal(model: ModelProto) -> str:
    """Say why a model is not run; "" for one that may be."""
    graph: GraphProto = model.graph
    if not graph.input or not graph.output:
        return "it has no graph with inputs and outputs"
    if model.functions or any(one.domain not in _DOMAINS for one in model.opset_import):
        return "it brings operators of its own"
    if len(graph.node) > MAX_NODES:
        return f"it has {len(graph.node)} nodes, at most {MAX_NODES} are run"
    if graph.sparse_initializer or any(tensor.data_location for tensor in graph.initializer):
        return "weights lie outside of it, or are packed in a way that is not read"
    for node in graph.node:
        if node.op_type not in OPERATORS or node.domain not in _DOMAINS:
            return f"it uses the operator {node.op_type!r:.80}, which is not on the list"
        if any(one.HasField("g") or one.graphs or one.t.data_location for one in node.attribute):
            return f"a node {node.op_type} holds a graph, or weights that lie outside"
    return ""


def _port(value: ValueInfoProto) -> Port:
    from onnx import TensorProto

    tensor = value.type.tensor_type
    dims = (dim.dim_value if dim.HasField("dim_value") and dim.dim_value > 0 else None for dim in tensor.shape.dim)
    return Port(value.name, tensor.elem_type == TensorProto.FLOAT, tuple(dims))
