"""DeepFaceLab's weight files: where each tensor lies, and writing new values into the same layout.

The format (DFL `core/leras/layers/Saveable.py`; the name `.npy` misleads): one pickle, protocol 4, of a dict
{key: value}; key = variable name such as `down1/downs_0/conv1/weight:0`, value = C-ordered float32 numpy array.
`iters:0` of optimizer files is a numpy int64 number. The fork ME-Advanced writes an int N and then N pickles, each
a dict with one tensor; both are read here, and each file keeps the form it has.

`index_weights` finds every tensor by following opcodes, executing nothing and reading no payload. New values are
written by copying the template's other bytes and overwriting the payload ranges: the result has the machine's own
pickle protocol, module names and memo order, so numpy 1.19 on Python 3.6 reads what it could read before. numpy 2
re-pickling would write `numpy._core`, which DeepFaceLab cannot import: it then hangs at start for ever.

Not for deciding which files may be averaged (sync.averaging.compare) or for arithmetic (sync.averaging.average).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.opening import CHUNK_BYTES
from dfl.byte_source import ByteSource, FileSource, read_exactly
from dfl.errors import FormatError
from dfl.pickles.scanned_values import ArrayValue, Encoding, ScalarValue
from dfl.pickles.scanning import scan_pickle

MAX_TENSORS = 100_000
"""A 640 px SAEHD optimizer file has a few hundred."""
MAX_WEIGHT_FILE_BYTES = 64 * 2**30
"""The largest known models stay below 4 GiB."""

LayoutForm = Literal["dict", "stream", "npy", "npz", "safetensors"]


@dataclass(frozen=True)
class TensorSpan:
    """One tensor of a file: what it is and where its bytes lie."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    """numpy's name with byte order, `<f4`; `bfloat16` for the one type numpy lacks."""
    fortran: bool
    """Whether the elements are stored in Fortran order."""
    offset: int
    stored_bytes: int
    """Bytes in the file; more than the values' own where they are stored as text."""
    encoding: Encoding = "raw"

    @property
    def count(self) -> int:
        """How many elements."""
        return prod(self.shape)

    @property
    def item_bytes(self) -> int:
        """Bytes of one element."""
        return 2 if self.dtype == "bfloat16" else np.dtype(self.dtype).itemsize

    @property
    def averaged(self) -> bool:
        """Whether an average is taken: floating point only. Counters and flags stay the machine's own."""
        return self.dtype == "bfloat16" or np.dtype(self.dtype).kind == "f"


@dataclass(frozen=True)
class TensorLayout:
    """Where the tensors of one file lie, in the file's own order."""

    size: int
    """Bytes of the whole file."""
    form: LayoutForm
    tensors: tuple[TensorSpan, ...]

    @cached_property
    def by_name(self) -> dict[str, TensorSpan]:
        """The same tensors by name: files of different writers agree in names, never in offsets."""
        return {tensor.name: tensor for tensor in self.tensors}

    def gaps(self) -> Iterator[tuple[int, int]]:
        """The ranges (offset, length) that hold no averaged values: opcodes, names, counters. In file order."""
        position = 0
        for tensor in sorted((t for t in self.tensors if t.averaged), key=lambda t: t.offset):
            if tensor.offset > position:
                yield position, tensor.offset - position
            position = tensor.offset + tensor.stored_bytes
        if position < self.size:
            yield position, self.size - position


def index_weights(path: Path) -> TensorLayout:
    """Find the tensors of the weight file at `path`; raise FormatError, naming it, for anything else in it."""
    with FileSource(path) as source:
        try:
            return index_weight_source(source)
        except FormatError as error:
            raise FormatError(f"{path.name} is no usable weight file: {error.message}", hint=_hint(source)) from error


def index_weight_source(source: ByteSource) -> TensorLayout:
    """Find the tensors of a weight file by its pickle opcodes, executing nothing and reading no payload.

    Raise FormatError for a file that is empty, cut off, zero-filled, of another format, with tensors of text or
    objects, with two tensors sharing bytes, or with any opcode or global name that numpy's arrays do not need.
    """
    if not 0 < source.size <= MAX_WEIGHT_FILE_BYTES:
        raise FormatError(f"it has {source.size} bytes, expected 1 to {MAX_WEIGHT_FILE_BYTES}")
    first = scan_pickle(source)
    spans: list[TensorSpan] = []
    form: LayoutForm = "dict"
    end = first.end
    if isinstance(first.value, dict):
        spans.extend(_spans(first.value))
    elif type(first.value) is int and 0 < first.value <= MAX_TENSORS:
        form = "stream"
        for _ in range(first.value):
            part = scan_pickle(source, end)
            if not isinstance(part.value, dict) or len(part.value) != 1:
                raise FormatError(f"byte {end}: a part of the stream is not a dict of one tensor")
            spans.extend(_spans(part.value))
            end = part.end
    else:
        raise FormatError(f"its first object is a {type(first.value).__name__}, expected a dict of tensors or a count")
    if end != source.size:
        raise FormatError(f"byte {end}: {source.size - end} bytes follow the end of the pickle")
    return checked_layout(TensorLayout(source.size, form, tuple(spans)))


def checked_layout(layout: TensorLayout) -> TensorLayout:
    """Return `layout` after checking that names are unique and that no averaged tensor shares bytes with another.

    Counters and flags may share: Python keeps one object for each single byte, and pickles it once.
    """
    if not 0 < len(layout.tensors) <= MAX_TENSORS:
        raise FormatError(f"it holds {len(layout.tensors)} tensors, expected 1 to {MAX_TENSORS}")
    if len(layout.by_name) != len(layout.tensors):
        raise FormatError("a tensor name comes twice")
    end_of_any = end_of_averaged = 0
    for tensor in sorted(layout.tensors, key=lambda t: t.offset):
        if tensor.stored_bytes == 0:
            continue
        if tensor.offset < (end_of_any if tensor.averaged else end_of_averaged):
            raise FormatError(f"tensor {tensor.name!r} shares bytes of the file with another")
        end_of_any = max(end_of_any, tensor.offset + tensor.stored_bytes)
        if tensor.averaged:
            end_of_averaged = end_of_any
    if end_of_any > layout.size:
        raise FormatError(f"a tensor ends at byte {end_of_any}, the file has {layout.size}")
    return layout


def _spans(tensors: dict[object, object]) -> Iterator[TensorSpan]:
    for name, value in tensors.items():
        if not isinstance(name, str):
            raise FormatError(f"a tensor is named {name!r}, expected a text")
        if isinstance(value, ArrayValue):
            shape, dtype, payload, fortran = value.shape, value.dtype, value.payload, value.fortran
        elif isinstance(value, ScalarValue):
            shape, dtype, payload, fortran = (), value.dtype, value.payload, False
        else:
            raise FormatError(f"tensor {name!r} is a {type(value).__name__}, expected a numpy array")
        yield TensorSpan(str(name), shape, dtype.str, fortran, payload.offset, payload.length, payload.encoding)


def _hint(source: ByteSource) -> str:
    """What the first bytes say about a file that is no weight file."""
    start = source.read_at(0, 8)
    if not start.strip(b"\0"):
        return "the file is empty or zero-filled, as after a crash: restore it from the model's autobackups"
    if start.startswith(b"\x93NUMPY"):
        return "this is a true .npy file; DeepFaceLab's weight files only have that name"
    if start.startswith(b"PK"):
        return "this is a zip archive (PyTorch or .npz), not a DeepFaceLab weight file"
    return ""


# -- writing


def write_gaps(template: ByteSource, layout: TensorLayout, descriptor: int) -> None:
    """Copy to the open file everything of `template` that is not an averaged value, each byte to its own place."""
    os.ftruncate(descriptor, layout.size)
    for offset, length in layout.gaps():
        for start in range(offset, offset + length, CHUNK_BYTES):
            size = min(CHUNK_BYTES, offset + length - start)
            os.pwrite(descriptor, read_exactly(template, start, size), start)


def layout_digest(source: ByteSource, layout: TensorLayout) -> str:
    """sha256 of a layout: all bytes that are not averaged values, and where those lie.

    Two machines with equal digests can be given the same averaged file; after writing, an equal digest proves
    that nothing but values was changed.
    """
    digest = hashlib.sha256(f"{layout.size} {layout.form}".encode())
    for offset, length in layout.gaps():
        digest.update(f" {offset} {length} ".encode())
        for start in range(offset, offset + length, CHUNK_BYTES):
            digest.update(read_exactly(source, start, min(CHUNK_BYTES, offset + length - start)))
    return digest.hexdigest()


def read_tensor(source: ByteSource, tensor: TensorSpan) -> NDArray[np.generic]:
    """Read one whole tensor into memory, as numpy would give it; for tests, small tensors and old momentum."""
    content = read_exactly(source, tensor.offset, tensor.stored_bytes)
    if tensor.encoding == "latin1":
        content = content.decode("utf-8").encode("latin-1")
    if tensor.dtype == "bfloat16":
        flat = (np.frombuffer(content, "<u2").astype(np.uint32) << 16).view(np.float32)
    else:
        flat = np.frombuffer(content, tensor.dtype)
    return flat.reshape(tensor.shape, order="F" if tensor.fortran else "C")
