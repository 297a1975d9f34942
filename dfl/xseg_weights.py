"""XSeg's weights as DeepFaceLab saves them: every tensor of the network by name, checked, and what its data.dat says.

    XSeg_256.npy     a weight file (dfl.weights) of 222 tensors
    XSeg_data.dat    iteration and options (dfl.training_state); `face_type` is the crop that the network was trained on

All shapes follow from one number, the base: the channels of the first layer, 32 in DeepFaceLab. Layouts are those of
weight files: convolutions (kh, kw, in, out), transposed ones (kh, kw, out, in), dense (in, out). Each block is a
convolution, FRN (weight, bias and tau for each channel, eps one number) and TLU; `out_conv` is a convolution alone.
Source: DeepFaceLab commit 46fc239, core/leras/models/XSeg.py, restated in prose in the format notes.

What the network computes is elsewhere (engine.masks.xseg).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from core.opening import open_regular, path_of
from dfl.byte_source import FileSource
from dfl.errors import FormatError, shown
from dfl.training_state import read_training_state
from dfl.weights import TensorLayout, index_weight_source, read_tensor

WEIGHTS_NAME = "XSeg_256.npy"
DATA_NAME = "XSeg_data.dat"
SIDE_PX = 256
"""Of the picture that the network looks at; DeepFaceLab has no other."""
LARGEST_BASE = 64
"""280 MB of weights. DeepFaceLab's own have 32; what announces more is refused before it is read."""
LEVELS = (2, 2, 2, 3, 3, 3)
"""Blocks of each level on the way down, and again on the way up."""
DENSE_UNITS = 512
"""Between the two dense layers, whatever the base."""
_LEVEL_FACTORS = (1, 2, 4, 8, 8, 8)
"""Channels of each level, in bases."""
_UP_FACTORS = (1, 2, 4, 4, 4, 4)
"""Channels of each level's transposed convolution, in bases."""
_DEEPEST_SIDE_PX = 4
FACE_TYPE_OPTIONS: Mapping[str, str] = MappingProxyType(
    {"h": "half_face", "mf": "midfull_face", "f": "full_face", "wf": "whole_face", "head": "head"}
)
"""The option's values, and the names of dfl.face_tables.FACE_TYPES that they mean."""


@dataclass(frozen=True, eq=False)
class XSegWeights:
    """All tensors of one network, complete and checked."""

    base: int
    """Channels of the first layer."""
    tensors: Mapping[str, NDArray[np.float32]]
    """By name with `:0`, in the layouts of weight files; exactly the keys of `xseg_shapes(base)`, all finite."""


@dataclass(frozen=True)
class XSegTraining:
    """What data.dat says about a network."""

    face_type: str | None
    """A name of dfl.face_tables.FACE_TYPES; None where the options do not say."""
    is_pretrained_only: bool
    """It was saved while it learnt to repeat grey pictures: it finds no faces yet."""


def xseg_shapes(base: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every tensor of a network of this base, 222 names. Pure."""
    return dict(_shapes(base))


def level_blocks(level: int) -> tuple[str, ...]:
    """Return the names of a level's blocks on the way down, in their order: `conv31`, `conv32`, `conv33`. Pure."""
    return tuple(f"conv{level}{number}" for number in range(1, LEVELS[level] + 1))


def up_blocks(level: int) -> tuple[str, ...]:
    """Return the names of a level's blocks on the way up, in their order: `uconv33`, `uconv32`, `uconv31`. Pure."""
    return tuple(f"uconv{level}{number}" for number in range(LEVELS[level], 0, -1))


def read_xseg_weights(path: Path) -> XSegWeights:
    """Read the weight file at `path`; raise FormatError, naming it, unless it is a whole XSeg network.

    Nothing of it is executed. Exactly the names and shapes of one base up to LARGEST_BASE, floating point, finite.
    """
    try:
        with (
            open_regular(path, within=None, follow_links=True, max_bytes=_most_bytes()) as file,
            FileSource(Path(path_of(file))) as source,
        ):
            layout = index_weight_source(source)
            base = _checked_base(layout)
            tensors = {span.name: _numbers(span.name, read_tensor(source, span)) for span in layout.tensors}
    except OSError as problem:
        raise FormatError(f"{path} cannot be read: {problem.strerror or problem}", hint=_HINT) from problem
    except FormatError as problem:
        raise FormatError(f"{path} is no XSeg network: {problem.message}", hint=problem.hint or _HINT) from problem
    return XSegWeights(base, MappingProxyType(tensors))


_HINT = f"name the folder in which DeepFaceLab trained XSeg; it holds {WEIGHTS_NAME} and {DATA_NAME}"


def read_xseg_training(path: Path) -> XSegTraining:
    """Read the data.dat at `path`; raise FormatError, naming it, where it is none or its face type is unknown."""
    options = read_training_state(path).options
    said = options.get("face_type")
    if said is not None and (not isinstance(said, str) or said not in FACE_TYPE_OPTIONS):
        known = ", ".join(FACE_TYPE_OPTIONS)
        raise FormatError(f"{path}: face_type is {shown(said)}, expected one of {known}")
    return XSegTraining(
        face_type=None if said is None else FACE_TYPE_OPTIONS[said],
        is_pretrained_only=options.get("pretrain") is True,
    )


def _shapes(base: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    here = 3
    for level, factor in enumerate(_LEVEL_FACTORS):
        for name in level_blocks(level):
            yield from _block(name, (3, 3, here, factor * base), factor * base)
            here = factor * base
    flat = _DEEPEST_SIDE_PX**2 * here
    for name, (given, made) in (("dense1", (flat, DENSE_UNITS)), ("dense2", (DENSE_UNITS, flat))):
        yield f"{name}/weight:0", (given, made)
        yield f"{name}/bias:0", (made,)
    for level in reversed(range(len(_LEVEL_FACTORS))):
        up, skip = _UP_FACTORS[level] * base, _LEVEL_FACTORS[level] * base
        yield from _block(f"up{level}", (3, 3, up, here), up)
        here = up + skip
        for name in up_blocks(level):
            yield from _block(name, (3, 3, here, skip), skip)
            here = skip
    yield "out_conv/weight:0", (3, 3, here, 1)
    yield "out_conv/bias:0", (1,)


def _block(name: str, kernel: tuple[int, ...], channels: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    yield f"{name}/conv/weight:0", kernel
    yield f"{name}/conv/bias:0", (channels,)
    yield f"{name}/frn/weight:0", (channels,)
    yield f"{name}/frn/bias:0", (channels,)
    yield f"{name}/frn/eps:0", (1,)
    yield f"{name}/tlu/tau:0", (channels,)


def _most_bytes() -> int:
    """Of a file: twice the numbers of the largest network, for writers that store 8 bytes a number."""
    return 2 * 4 * sum(int(np.prod(shape)) for _, shape in _shapes(LARGEST_BASE)) + (1 << 20)


def _checked_base(layout: TensorLayout) -> int:
    """Return the base of a file's network. Raise FormatError, naming the first tensor that does not fit."""
    first = layout.by_name.get("conv01/conv/bias:0")
    if first is None:
        raise FormatError("it has no tensor 'conv01/conv/bias:0', with which an XSeg network begins")
    if len(first.shape) != 1 or not 1 <= first.shape[0] <= LARGEST_BASE:
        raise FormatError(f"tensor 'conv01/conv/bias:0' has shape {first.shape}, expected 1 to {LARGEST_BASE} channels")
    base = first.shape[0]
    wanted = xseg_shapes(base)
    for name, shape in wanted.items():
        found = layout.by_name.get(name)
        if found is None:
            raise FormatError(f"it has no tensor {name!r}")
        if found.shape != shape:
            raise FormatError(f"tensor {name!r} has shape {found.shape}, expected {shape} for base {base}")
        if not found.averaged:
            raise FormatError(f"tensor {name!r} holds numbers of type {found.dtype}, expected floating point")
    for name in layout.by_name:
        if name not in wanted:
            raise FormatError(f"it has a tensor {shown(name)} too many, which no XSeg network has")
    return base


def _numbers(name: str, values: NDArray[np.generic]) -> NDArray[np.float32]:
    """Return a tensor as read-only float32, as DeepFaceLab casts it when it loads."""
    with np.errstate(over="ignore"):
        numbers = np.ascontiguousarray(values, dtype=np.float32)
    if not np.isfinite(numbers).all():
        raise FormatError(f"tensor {name!r} holds numbers that are not finite")
    numbers.flags.writeable = False
    return numbers
