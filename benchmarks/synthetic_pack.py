"""A model pack with the shapes of buffalo_l and random weights, for measuring speed where the real one may not be had.

usage: python benchmarks/synthetic_pack.py FOLDER      writes FOLDER/synthetic/*.onnx and prints what each costs

The convolutions are those of SCRFD-10G, of an iResNet-50 and of a ResNet-50, with as many multiplications; their random
answers count for next to nothing. What decides are a few filters beside them: the detector finds red discs, of three
sizes, the 68-point model answers a mean face. So a clip with red discs in it (`disc_clip`) goes through every stage.
Always the same. Says nothing about real faces.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT)]

from dfl.face_tables import MEAN_FACE_3D  # noqa: E402

NAME = "synthetic"
RED_BGR = (40, 40, 255)
NOISE_SHARE = 1e-3
"""What the random networks add to the answers that count: enough that no optimiser can leave them out."""
DISC_RADIUS_CELLS = 1.5
"""Radius of the disc that a stride's filter waits for, in its cells."""
BOX_CELLS = 2.1
"""From a box's middle to its sides, in cells: so wide that boxes of cells that touch, at corners too, are one face."""
DISC_RADIUS_SHARE = DISC_RADIUS_CELLS * 32 / 640
"""Radius of the discs in clips, of the picture's width: what the coarsest stride waits for."""
Floats = NDArray[np.float32]


class GraphMaker:
    """Collects nodes and weights of one graph; counts multiplications where sides are known."""

    def __init__(self, seed: int) -> None:
        self._source = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.weights: list[Any] = []

    def constant(self, value: Any) -> str:
        name = f"w{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def add(self, operator: str, *inputs: str, **attributes: Any) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def conv(self, value: str, channels: tuple[int, int], side: int, *, stride: int = 1, gain: float = 1.0) -> str:
        """A convolution with bias whose answers are as large as its inputs (He), times `gain`."""
        inputs, outputs = channels
        spread = gain * np.sqrt(2 / (inputs * side * side))
        kernel = self._source.standard_normal((outputs, inputs, side, side), dtype=np.float32) * np.float32(spread)
        pads = [side // 2] * 4
        bias = self.constant(np.zeros(outputs, np.float32))
        return self.add(
            "Conv", value, self.constant(kernel), bias, kernel_shape=[side, side], strides=[stride] * 2, pads=pads
        )

    def relu(self, value: str) -> str:
        return self.add("Relu", value)

    def dense(self, value: str, inputs: int, outputs: int) -> str:
        matrix = self._source.standard_normal((inputs, outputs), dtype=np.float32) / np.float32(np.sqrt(inputs))
        return self.add("MatMul", value, self.constant(matrix))

    def block(self, value: str, channels: tuple[int, int], *, stride: int) -> str:
        """Two 3 x 3 convolutions and a way past them."""
        inputs, outputs = channels
        inner = self.relu(self.conv(value, channels, 3, stride=stride))
        inner = self.conv(inner, (outputs, outputs), 3, gain=0.2)
        past = value if inputs == outputs and stride == 1 else self.conv(value, channels, 1, stride=stride)
        return self.relu(self.add("Add", inner, past))

    def bottleneck(self, value: str, channels: tuple[int, int], *, stride: int) -> str:
        """1 x 1, 3 x 3 and 1 x 1 convolutions, narrow between, and a way past them."""
        inputs, outputs = channels
        narrow = outputs // 4
        inner = self.relu(self.conv(value, (inputs, narrow), 1))
        inner = self.relu(self.conv(inner, (narrow, narrow), 3, stride=stride))
        inner = self.conv(inner, (narrow, outputs), 1, gain=0.2)
        past = value if inputs == outputs and stride == 1 else self.conv(value, channels, 1, stride=stride)
        return self.relu(self.add("Add", inner, past))

    def model(self, shape: list[Any], outputs: dict[str, list[Any]]) -> Any:
        """Close the graph; `outputs` names values and their shapes."""
        source = helper.make_tensor_value_info("input.1", TensorProto.FLOAT, shape)
        answers = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in outputs.items()]
        graph = helper.make_graph(self.nodes, NAME, [source], answers, self.weights)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def detector() -> Any:
    """SCRFD-10G: four stages, a pyramid there and back, three convolutions of 80 channels a stride, nine outputs."""
    make = GraphMaker(seed=1)
    value = make.relu(make.conv("input.1", (3, 28), 3, stride=2))
    value = make.relu(make.conv(value, (28, 28), 3))
    value = make.relu(make.conv(value, (28, 56), 3))
    value = make.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2])
    levels, inputs = [], 56
    for stage, (blocks, outputs) in enumerate(((3, 56), (4, 88), (2, 88), (3, 224))):
        for number in range(blocks):
            value = make.block(value, (inputs, outputs), stride=2 if stage and not number else 1)
            inputs = outputs
        levels.append((value, outputs))
    sides = [make.conv(level, (channels, 56), 1) for level, channels in levels[1:]]
    twice = make.constant(np.array([1, 1, 2, 2], np.float32))
    for low in (1, 0):
        grown = make.add("Resize", sides[low + 1], "", twice, mode="nearest")
        sides[low] = make.add("Add", sides[low], grown)
    sides = [make.conv(side, (56, 56), 3) for side in sides]
    for high in (1, 2):
        sides[high] = make.add("Add", sides[high], make.conv(sides[high - 1], (56, 56), 3, stride=2))
    sides = [sides[0], *(make.conv(side, (56, 56), 3) for side in sides[1:])]
    answers: dict[str, dict[int, str]] = {"score": {}, "box": {}, "points": {}}
    for side, stride in zip(sides, (8, 16, 32), strict=True):
        for number in range(3):
            side = make.relu(make.conv(side, (80 if number else 56, 80), 3))
        for kind, columns in (("score", 1), ("box", 4), ("points", 10)):
            random = make.conv(side, (80, 2 * columns), 3, gain=NOISE_SHARE)
            kernel, bias = _disc_filter(stride) if kind == "score" else _fixed(columns, stride)
            wide = kernel.shape[2]
            known = make.add(
                "Conv", "input.1", make.constant(kernel), make.constant(bias), kernel_shape=[wide, wide],
                strides=[stride] * 2, pads=[(wide - stride) // 2] * 4,
            )  # fmt: skip
            both = make.add("Add", known, random)
            rows = make.add("Transpose", both, perm=[2, 3, 0, 1])
            rows = make.add("Reshape", rows, make.constant(np.array([-1, columns], np.int64)))
            answers[kind][stride] = make.add("Sigmoid", rows) if kind == "score" else rows
    outputs = {name: [None, columns] for kind, columns in (("score", 1), ("box", 4), ("points", 10))
               for name in answers[kind].values()}  # fmt: skip
    return make.model([1, 3, "height", "width"], outputs)


def recogniser() -> Any:
    """An iResNet-50 at 112 px with 512 values."""
    make = GraphMaker(seed=2)
    value, inputs = make.relu(make.conv("input.1", (3, 64), 3)), 64
    for blocks, outputs in ((3, 64), (4, 128), (14, 256), (3, 512)):
        for number in range(blocks):
            value = make.block(value, (inputs, outputs), stride=1 if number else 2)
            inputs = outputs
    last = make.dense(make.add("Flatten", value), 512 * 7 * 7, 512)
    return make.model(["batch", 3, 112, 112], {last: ["batch", 512]})


def landmarks() -> Any:
    """A ResNet-50 at 192 px with 1103 points of three coordinates, the last 68 a mean face."""
    make = GraphMaker(seed=3)
    value = make.relu(make.conv("input.1", (3, 64), 7, stride=2))
    value, inputs = make.add("MaxPool", value, kernel_shape=[2, 2], strides=[2, 2]), 64
    for stage, (blocks, outputs) in enumerate(((3, 256), (4, 512), (6, 1024), (3, 2048))):
        for number in range(blocks):
            value = make.bottleneck(value, (inputs, outputs), stride=2 if stage and not number else 1)
            inputs = outputs
    pooled = make.add("Flatten", make.add("GlobalAveragePool", value))
    random = make.add("Mul", make.dense(pooled, 2048, 3309), make.constant(np.float32(NOISE_SHARE)))
    table = np.zeros((1103, 3), np.float32)
    face = np.array(MEAN_FACE_3D, np.float32)[:, :2]
    middle, reach = (face.max(axis=0) + face.min(axis=0)) / 2, np.ptp(face, axis=0).max() / 2
    table[-68:, :2] = (face - middle) / reach * (2 / 3) * 0.9  # the crop is 1.5 faces wide
    last = make.add("Add", random, make.constant(table.reshape(1, -1)))
    return make.model(["batch", 3, 192, 192], {last: ["batch", 3309]})


def _disc_filter(stride: int) -> tuple[Floats, Floats]:
    """Kernel and bias whose answer is above 0 where a red disc of DISC_RADIUS_CELLS is in the cell, on gray."""
    wide = 5 * stride
    across = (np.arange(wide) - (wide - 1) / 2) / stride
    radius = np.hypot(across, across[:, None])
    inside, ring = radius <= DISC_RADIUS_CELLS, (radius > DISC_RADIUS_CELLS) & (radius <= 1.6 * DISC_RADIUS_CELLS)
    shape = inside / inside.sum() - ring / ring.sum()
    kernel = np.zeros((2, 3, wide, wide), np.float32)
    kernel[0] = shape * np.array([1.0, -0.5, -0.5])[:, None, None] * 10.0  # red less green and blue: up to 1.7
    return kernel, np.array([-6.5, -20.0], np.float32)


def _fixed(columns: int, stride: int) -> tuple[Floats, Floats]:
    """Kernel and bias that answer a box round the cell, or five points as a face has them, in cells."""
    points = np.array([[-0.4, -0.35], [0.4, -0.35], [0, 0.1], [-0.3, 0.5], [0.3, 0.5]]) * BOX_CELLS
    one = np.full(4, BOX_CELLS) if columns == 4 else points.reshape(-1)
    return np.zeros((2 * columns, 3, stride, stride), np.float32), np.tile(one, 2).astype(np.float32)


def write_pack(root: Path) -> Path:
    """Write the pack and return its folder, ROOT/NAME."""
    folder = root / NAME
    folder.mkdir(parents=True)
    for name, make in (("detector", detector), ("recogniser", recogniser), ("landmarks", landmarks)):
        onnx.save(make(), str(folder / f"{name}.onnx"))
    return folder


def disc_clip(count: int, *, width: int = 1920, height: int = 1080) -> Iterator[NDArray[np.uint8]]:
    """Yield the pictures of a camera that pans over a gray wall; a red disc stays, another comes and goes."""
    import cv2

    source = np.random.default_rng(0)
    blocks = source.integers(60, 200, (height // 40 + 10, width // 40 + 20)).astype(np.uint8)
    wall = cv2.cvtColor(cv2.resize(blocks, None, fx=40, fy=40, interpolation=cv2.INTER_CUBIC), cv2.COLOR_GRAY2BGR)
    for number in range(count):
        phase = 2 * np.pi * number / 250
        left, top = round(300 + 200 * np.sin(phase)), round(150 + 100 * np.cos(phase))
        picture = np.ascontiguousarray(wall[top : top + height, left : left + width])
        places = [(0.3 + 0.1 * np.sin(2 * phase), 0.45 + 0.1 * np.cos(3 * phase))]
        if number % 200 >= 100:
            places.append((0.7 + 0.1 * np.cos(2 * phase), 0.55))
        for x, y in places:
            cv2.circle(picture, (round(x * width), round(y * height)), round(DISC_RADIUS_SHARE * width), RED_BGR, -1)
        yield picture


def reference_photo() -> NDArray[np.uint8]:
    """A photograph of a disc."""
    (picture,) = disc_clip(1, width=640, height=360)
    return picture


def main() -> int:
    folder = write_pack(Path(sys.argv[1]))
    for path in sorted(folder.glob("*.onnx")):
        print(f"{path.name:<16} {path.stat().st_size / 1e6:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
