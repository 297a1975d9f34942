"""What the pickle scanner makes of a stream: plain Python values, and places of bytes it did not read.

Arrays stay where they are in the file: an `ArrayValue` says its shape, dtype and the range its bytes lie in. No
class or function that a pickle names is ever looked up; the names numpy uses are compared as text with the closed
list below. Not for following opcodes (dfl.pickles.scanning) or for what a weight file may hold (weights).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError

Encoding = Literal["raw", "latin1"]

ITEM_TYPES = {
    code: np.dtype(f"<{code}") for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1")
}
"""Element types a tensor or number may have; objects, text, records and complex numbers are refused."""

MAX_DIMENSIONS = 32
"""numpy 1 refuses more."""
SHOWN_CHARACTERS = 80

# The closed list: (module, name) -> what it stands for. numpy 1 wrote numpy.core, numpy 2 writes numpy._core.
KNOWN_GLOBALS: dict[tuple[str, str], str] = {
    ("numpy.core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy._core.multiarray", "_reconstruct"): "reconstruct",
    ("numpy.core.multiarray", "scalar"): "scalar",
    ("numpy._core.multiarray", "scalar"): "scalar",
    ("numpy.core.numeric", "_frombuffer"): "frombuffer",
    ("numpy._core.numeric", "_frombuffer"): "frombuffer",
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
}


@dataclass(frozen=True, slots=True)
class GlobalName:
    """One of KNOWN_GLOBALS, by what it stands for."""

    role: str


class Text(str):
    """A text that remembers where its UTF-8 bytes lie: protocol 2 stores an array's bytes as text."""

    __slots__ = ("length", "offset")

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class ByteRange:
    """Bytes [offset, offset + length) of the file; `latin1`: they are UTF-8 of text whose characters are the bytes."""

    offset: int
    length: int
    encoding: Encoding = "raw"


@dataclass(frozen=True, slots=True)
class LongText:
    """A text too long to be a name: where its UTF-8 bytes lie."""

    offset: int
    length: int


@dataclass(slots=True)
class DtypeDraft:
    """An element type while its state has not come yet; `complete` once the byte order is known."""

    code: str
    complete: bool = False

    def resolve(self) -> np.dtype[Any]:
        """The little-endian dtype; raise FormatError for a draft without byte order."""
        if not self.complete:
            raise FormatError(f"element type {self.code!r} has no byte order")
        return ITEM_TYPES[self.code]


@dataclass(slots=True)
class ArrayValue:
    """A numpy array that was not read: filled in by BUILD, complete once `payload` is set."""

    dtype: np.dtype[Any] | None = None
    shape: tuple[int, ...] = ()
    fortran: bool = False
    payload: ByteRange | None = None


@dataclass(frozen=True, slots=True)
class ScalarValue:
    """A numpy number, for example `iters:0`: its value and where its bytes lie."""

    dtype: np.dtype[Any]
    payload: ByteRange
    value: int | float | bool


@dataclass(frozen=True, eq=False, slots=True)
class FloatRows:
    """A run of equally long lists of floats, standing for that many items of the list it is found in."""

    rows: NDArray[np.float32] = field(repr=False)
    """(count, columns) float32."""


def shown(value: Any) -> str:
    """Return a value of a pickle for a message: what is short as it stands, all else as its type alone.

    A list that holds itself, or one list a million times over, would take for ever to print.
    """
    if isinstance(value, str):
        return repr(str(value)[:SHOWN_CHARACTERS])
    return repr(value) if value is None or isinstance(value, bool | int | float) else f"of type {type(value).__name__}"


def make_dtype(arguments: tuple[Any, ...]) -> DtypeDraft:
    """`numpy.dtype(code, align, copy)` as pickled; raise FormatError for an element type outside the list."""
    code = arguments[0] if arguments else None
    if not isinstance(code, str) or str(code) not in ITEM_TYPES:
        raise FormatError(f"element type {shown(code)} is none of {', '.join(ITEM_TYPES)}")
    return DtypeDraft(str(code))


def build_dtype(draft: DtypeDraft, state: Any) -> None:
    """Apply the pickled state of a dtype: version 3 or 4, byte order, and nothing else."""
    plain = isinstance(state, tuple) and len(state) in (8, 9) and state[0] in (3, 4)
    if not plain or any(part is not None for part in state[2:5]):
        raise FormatError(f"element type {draft.code!r} has fields or a state that is not plain")
    if state[1] not in ("<", "|") or (state[1] == "|" and ITEM_TYPES[draft.code].itemsize > 1):
        raise FormatError(f"element type {draft.code!r} has byte order {shown(state[1])}, only little-endian is read")
    draft.complete = True


def build_array(array: ArrayValue, state: Any) -> None:
    """Apply the pickled state (1, shape, dtype, fortran, bytes) of an array."""
    if array.payload is not None or not isinstance(state, tuple) or len(state) != 5 or state[0] != 1:
        raise FormatError("an array's state is not (1, shape, dtype, order, bytes)")
    _, shape, dtype, fortran, payload = state
    fill_array(array, shape, dtype, fortran, payload)


def fill_array(array: ArrayValue, shape: Any, dtype: Any, fortran: Any, payload: Any) -> None:
    """Complete an array after checking that shape, element type and number of bytes agree."""
    if not isinstance(dtype, DtypeDraft) or not isinstance(fortran, bool) or not isinstance(payload, ByteRange):
        raise FormatError("an array's element type, order or bytes are of another kind")
    array.dtype = dtype.resolve()
    array.shape = checked_shape(shape)
    array.fortran = fortran
    expected = count_items(array.shape) * array.dtype.itemsize
    if payload.encoding == "raw" and payload.length != expected:
        raise FormatError(f"an array of shape {array.shape} has {payload.length} bytes, expected {expected}")
    if payload.encoding == "latin1" and not expected <= payload.length <= 2 * expected:
        raise FormatError(f"an array of shape {array.shape} has {payload.length} bytes of text for {expected} bytes")
    array.payload = payload


def checked_shape(shape: Any) -> tuple[int, ...]:
    """Return `shape` as a tuple of sizes; raise FormatError for anything else."""
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise FormatError(f"shape {shown(shape)} is not a tuple of at most {MAX_DIMENSIONS} sizes")
    if any(type(size) is not int or size < 0 for size in shape):
        raise FormatError("a shape holds something that is not a size")
    return shape


def count_items(shape: tuple[int, ...]) -> int:
    """How many elements an array of `shape` has; Python integers, so nothing overflows."""
    count = 1
    for size in shape:
        count *= size
    return count


def decode_number(dtype: np.dtype[Any], content: bytes) -> int | float | bool:
    """The Python number in the little-endian bytes of a numpy scalar."""
    if len(content) != dtype.itemsize:
        raise FormatError(f"a {dtype.name} number has {len(content)} bytes, expected {dtype.itemsize}")
    code = {"f2": "<e", "f4": "<f", "f8": "<d", "b1": "<?"}.get(dtype.str[1:])
    if code:
        value: int | float | bool = struct.unpack(code, content)[0]
        return value
    return int.from_bytes(content, "little", signed=dtype.kind == "i")
