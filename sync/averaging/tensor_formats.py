"""Other files of tensors than DeepFaceLab's: which format a file is, and where tensors lie in .npy and .safetensors.

A file is known by its first bytes, never by its name: DeepFaceLab's own weight files are called .npy and are none.
True .npy and .safetensors store plain bytes at fixed places and so go through the same fused pass. Formats that
are archives are sync.averaging.npz_files and sync.averaging.torch_files. Nothing here runs what a file says: object
arrays are refused.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Literal

import numpy as np

from dfl.byte_source import FileSource, read_exactly
from dfl.errors import FormatError
from dfl.pickles.scanned_values import ITEM_TYPES, checked_shape
from dfl.weights import TensorLayout, TensorSpan, checked_layout, index_weights

TensorFormat = Literal["dfl", "npy", "npz", "torch", "safetensors"]

MAX_HEADER_BYTES = 100_000_000
"""The limit that safetensors itself sets."""
NPY_NAME = "array"
"""What the one tensor of a .npy file is called in messages."""

SAFETENSORS_TYPES = {
    "F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "bfloat16", "I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "|i1",
    "U64": "<u8", "U32": "<u4", "U16": "<u2", "U8": "|u1", "BOOL": "|b1",
}  # fmt: skip

_LEGACY_TORCH = b"\x80\x02\x8a\x0al\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19."
"""The magic number that torch.save wrote, as a pickle of its own, before it wrote zip files."""


def detect_format(path: Path) -> TensorFormat:
    """Say what `path` is by its first bytes; raise FormatError for none of the known formats."""
    with FileSource(path) as source:
        start = source.read_at(0, 64)
    if start.startswith(b"\x93NUMPY"):
        return "npy"
    if start.startswith(_LEGACY_TORCH):
        return "torch"
    if start.startswith(b"\x80"):
        return "dfl"
    if start.startswith(b"PK"):
        return "torch" if path.suffix in (".pt", ".pth") or b"/data.pkl" in start else "npz"
    if len(start) > 8 and start[8:9] == b"{":
        return "safetensors"
    raise FormatError(
        f"{path.name} is no file of tensors: it begins with {start[:8]!r}",
        hint="known are DeepFaceLab weights, .npy, .npz, .pt/.pth and .safetensors",
    )


def index_tensors(path: Path, form: TensorFormat) -> TensorLayout:
    """Find the tensors of a file that stores them as plain bytes: dfl, npy or safetensors."""
    if form == "dfl":
        return index_weights(path)
    return index_npy(path) if form == "npy" else index_safetensors(path)


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Name the file in a FormatError of what does not know it."""
    try:
        yield
    except FormatError as error:
        raise FormatError(f"{name}: {error.message}", hint=error.hint) from error


def index_npy(path: Path) -> TensorLayout:
    """Find the one array of a true .npy file; raise FormatError for Python objects or a wrong length."""
    with path.open("rb") as file:
        shape, fortran, dtype = read_npy_header(file, path.name)
        offset = file.tell()
    size = path.stat().st_size
    span = TensorSpan(NPY_NAME, shape, dtype.str, fortran, offset, size - offset)
    if span.count * span.item_bytes != size - offset:
        raise FormatError(f"{path.name} has {size - offset} bytes for an array of shape {shape} and type {dtype}")
    with _naming(path.name):
        return checked_layout(TensorLayout(size, "npy", (span,)))


def read_npy_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    """Read shape, Fortran order and type; raise FormatError for element types that are no little-endian numbers."""
    readers = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    try:
        version = np.lib.format.read_magic(file)
        if version not in readers:
            raise FormatError(f"{name} is .npy of version {version}, known are 1.0 and 2.0")
        shape, fortran, dtype = readers[version](file)
    except (ValueError, SyntaxError) as error:
        raise FormatError(f"{name} has a broken .npy header: {error}") from error
    if dtype.str[1:] not in ITEM_TYPES or dtype.str[0] == ">":
        raise FormatError(
            f"{name} holds elements of type {dtype}, expected little-endian numbers", hint=_objects(dtype)
        )
    with _naming(name):
        return checked_shape(shape), fortran, dtype


def _objects(dtype: np.dtype[np.generic]) -> str:
    return "arrays of Python objects are pickles; they are never loaded" if dtype.hasobject else ""


def index_safetensors(path: Path) -> TensorLayout:
    """Find the tensors of a .safetensors file: 8 bytes length, a JSON header, and their bytes without holes."""
    with FileSource(path) as source:
        with _naming(path.name):
            length = int.from_bytes(read_exactly(source, 0, 8), "little")
        if length > min(MAX_HEADER_BYTES, source.size - 8):
            raise FormatError(f"{path.name} has a header of {length} bytes, the file has {source.size}")
        try:
            header = json.loads(read_exactly(source, 8, length), object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise FormatError(f"{path.name} has a header that is no JSON of unique names: {error}") from error
        if not isinstance(header, dict):
            raise FormatError(f"{path.name} has a header that is no JSON object")
        header.pop("__metadata__", None)
        tensors = [_safetensor(path.name, name, facts, 8 + length) for name, facts in header.items()]
        size = source.size
    position = 8 + length
    for tensor in sorted(tensors, key=lambda t: (t.offset, t.stored_bytes)):
        if tensor.offset != position:
            raise FormatError(f"{path.name}: tensor {tensor.name!r} begins at {tensor.offset}, expected {position}")
        position += tensor.stored_bytes
    if position != size:
        raise FormatError(f"{path.name} has {size} bytes, its tensors end at {position}")
    with _naming(path.name):
        return checked_layout(TensorLayout(size, "safetensors", tuple(tensors)))


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name comes twice")
    return made


def _safetensor(file: str, name: str, facts: object, start: int) -> TensorSpan:
    if (
        not isinstance(facts, dict)
        or facts.get("dtype") not in SAFETENSORS_TYPES
        or not isinstance(facts.get("shape"), list)
    ):
        raise FormatError(f"{file}: tensor {name!r} has no known type and shape: {str(facts)[:200]}")
    offsets = facts.get("data_offsets")
    if (
        not isinstance(offsets, list)
        or len(offsets) != 2
        or any(type(place) is not int or place < 0 for place in offsets)
    ):
        raise FormatError(f"{file}: tensor {name!r} has no two offsets")
    with _naming(file):
        shape = checked_shape(tuple(facts["shape"]))
    span = TensorSpan(
        name, shape, SAFETENSORS_TYPES[facts["dtype"]], False, start + offsets[0], offsets[1] - offsets[0]
    )
    if span.count * span.item_bytes != span.stored_bytes:
        raise FormatError(f"{file}: tensor {name!r} of shape {shape} has {span.stored_bytes} bytes")
    return span
