"""XSeg models made here: any base, random weights whose answers vary over a picture, in DeepFaceLab's own files."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dfl.pickles.dumping import dump_for_dfl
from dfl.xseg_weights import DATA_NAME, WEIGHTS_NAME, XSegWeights, xseg_shapes


def made_weights(base: int = 1, seed: int = 0) -> XSegWeights:
    """Return a network whose layers keep the size of what goes through them (He)."""
    source = np.random.default_rng(seed)
    tensors = {}
    for name, shape in xseg_shapes(base).items():
        if len(shape) > 1:
            inputs = int(np.prod(shape[:-1])) if name[:2] != "up" else 9 * shape[3] // 4
            values = source.standard_normal(shape) * np.sqrt(2 / inputs)
        elif name.endswith("frn/weight:0"):
            values = source.uniform(0.8, 1.2, shape)
        elif name.endswith("frn/eps:0"):
            values = np.full(shape, -1e-3)
        elif name.endswith("tlu/tau:0"):
            values = source.uniform(-1.0, -0.5, shape)
        else:
            values = source.uniform(-0.1, 0.1, shape)
        tensors[name] = values.astype(np.float32)
    return XSegWeights(base, MappingProxyType(tensors))


def write_weights(path: Path, tensors: Mapping[str, NDArray[np.generic]]) -> Path:
    """Write a weight file as DeepFaceLab does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(dump_for_dfl(dict(tensors)))
    return path


def write_model(folder: Path, weights: XSegWeights, **options: object) -> Path:
    """Write the files of a model into `folder`, with these options in its data.dat; return the folder."""
    write_weights(folder / WEIGHTS_NAME, weights.tensors)
    state = {"iter": 7, "options": {"face_type": "wf", "batch_size": 4, **options}, "loss_history": [[0.5]] * 7}
    (folder / DATA_NAME).write_bytes(dump_for_dfl({**state, "sample_for_preview": None, "choosed_gpu_indexes": None}))
    return folder


def sharpened(weights: XSegWeights, bias: float, factor: float = 400.0) -> XSegWeights:
    """Return a network whose answers are nearly 0 or 1, its threshold moved to `bias`."""
    tensors = dict(weights.tensors)
    tensors["out_conv/weight:0"] = tensors["out_conv/weight:0"] * np.float32(factor)
    tensors["out_conv/bias:0"] = np.array([bias], np.float32)
    return XSegWeights(weights.base, MappingProxyType(tensors))
