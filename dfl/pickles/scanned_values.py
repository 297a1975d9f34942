"""What the pickle scanner makes of a stream: plain Python values, and places of bytes it did not read.

Arrays stay where they are in the file: an `ArrayValue` says its shape, dtype and the range its bytes lie in. No
class or function that a pickle names is ever looked up. Not for following opcodes (dfl.pickles.machine) or for what
a weight file may hold (dfl.weights).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, field
from functools import partial
from math import prod
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError, shown
from dfl.pickles.machine import Named, Shell
from dfl.pickles.numpy_values import NUMBER_TYPES

Encoding = Literal["raw", "latin1"]
NumberType = np.dtype[np.generic]

ITEM_TYPES = {code: np.dtype(f"<{code}") for code in sorted(NUMBER_TYPES)}
"""Element types a tensor or number may have; objects, text, records and complex numbers are refused."""

MAX_DIMENSIONS = 32
"""numpy 1 refuses more."""

KNOWN_NAMES: tuple[tuple[str, str], ...] = (
    ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.core.numeric", "_frombuffer"),
    ("numpy._core.numeric", "_frombuffer"),
    ("numpy", "ndarray"),
    ("numpy", "dtype"),
    ("_codecs", "encode"),
    ("__builtin__", "bytes"),
)
"""The closed list: module and name. numpy 1 wrote numpy.core, numpy 2 writes numpy._core."""


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


@dataclass(frozen=True, slots=True)
class ArrayValue:
    """A numpy array that was not read."""

    dtype: NumberType
    shape: tuple[int, ...]
    fortran: bool
    payload: ByteRange


@dataclass(frozen=True, slots=True)
class ScalarValue:
    """A numpy number, for example `iters:0`: its value and where its bytes lie."""

    dtype: NumberType
    payload: ByteRange
    value: int | float | bool


@dataclass(frozen=True, eq=False, slots=True)
class FloatRows:
    """A run of equally long lists of floats, in the place of that many items of the list it is found in."""

    rows: NDArray[np.float32] = field(repr=False)
    """(count, columns) float32."""


# Constructors of the closed list: arguments and states of any other form raise FormatError.


def make_dtype(arguments: tuple[object, ...]) -> Shell:
    """`numpy.dtype(code, align, copy)` as pickled; its state brings the byte order."""
    code = arguments[0] if arguments else None
    if not isinstance(code, str) or str(code) not in ITEM_TYPES:
        raise FormatError(f"element type {shown(code)} is none of {', '.join(ITEM_TYPES)}")
    return Shell(_FINISH_DTYPE[str(code)])


def _finish_dtype(code: str, state: object) -> NumberType:
    """Apply the pickled state of a dtype: version 3 or 4, byte order, and nothing else."""
    plain = isinstance(state, tuple) and len(state) in (8, 9) and type(state[0]) is int and state[0] in (3, 4)
    if not isinstance(state, tuple) or not plain or any(part is not None for part in state[2:5]):
        raise FormatError(f"element type {code!r} has fields or a state that is not plain")
    order = state[1]
    if not isinstance(order, str) or order not in ("<", "|") or (order == "|" and ITEM_TYPES[code].itemsize > 1):
        raise FormatError(f"element type {code!r} has byte order {shown(order)}, only little-endian is read")
    return ITEM_TYPES[code]


_FINISH_DTYPE = {code: partial(_finish_dtype, code) for code in ITEM_TYPES}


def make_array(arguments: tuple[object, ...]) -> Shell:
    """`_reconstruct(numpy.ndarray, (0,), b"b")`; its state brings shape, type and bytes."""
    if len(arguments) != 3 or not isinstance(arguments[0], Named) or arguments[0].name != "numpy.ndarray":
        raise FormatError("an array of another kind than numpy.ndarray")
    if type(arguments[1]) is not tuple or arguments[1] != (0,):
        raise FormatError("an array that begins with a shape of its own")
    return Shell(_finish_array)


def _finish_array(state: object) -> ArrayValue:
    if not isinstance(state, tuple) or len(state) != 5 or type(state[0]) is not int or state[0] != 1:
        raise FormatError("an array's state is not (1, shape, dtype, order, bytes)")
    _, shape, dtype, fortran, payload = state
    return checked_array(shape, dtype, fortran, payload)


def make_array_of_buffer(arguments: tuple[object, ...]) -> ArrayValue:
    """`_frombuffer(bytes, dtype, shape, order)`, which protocol 5 has."""
    if len(arguments) != 4:
        raise FormatError("an array of a buffer is made of bytes, element type, shape and order")
    payload, dtype, shape, order = arguments
    if not isinstance(order, str) or order not in ("C", "F"):
        raise FormatError(f"array order {shown(order)}, expected 'C' or 'F'")
    return checked_array(shape, dtype, order == "F", payload)


def refuse_call(arguments: tuple[object, ...]) -> object:
    """`numpy.ndarray`, which is only ever passed on."""
    raise FormatError(f"a call of numpy.ndarray with {len(arguments)} arguments, which no known writer makes")


def number_parts(arguments: tuple[object, ...]) -> tuple[NumberType, ByteRange]:
    """Return type and place of `scalar(dtype, bytes)`."""
    if len(arguments) != 2 or not isinstance(arguments[0], np.dtype):
        raise FormatError("a number without element type")
    if not isinstance(arguments[1], ByteRange):
        raise FormatError("a number's bytes are of another kind")
    return arguments[0], arguments[1]


def checked_array(shape: object, dtype: object, fortran: object, payload: object) -> ArrayValue:
    """Return an array after checking that shape, element type and number of bytes agree."""
    if not isinstance(dtype, np.dtype) or not isinstance(fortran, bool) or not isinstance(payload, ByteRange):
        raise FormatError("an array's element type, order or bytes are of another kind")
    array = ArrayValue(dtype, checked_shape(shape), fortran, payload)
    expected = prod(array.shape) * array.dtype.itemsize
    if payload.encoding == "raw" and payload.length != expected:
        raise FormatError(f"an array of shape {array.shape} has {payload.length} bytes, expected {expected}")
    if payload.encoding == "latin1" and not expected <= payload.length <= 2 * expected:
        raise FormatError(f"an array of shape {array.shape} has {payload.length} bytes of text for {expected} bytes")
    return array


def checked_shape(shape: object) -> tuple[int, ...]:
    """Return `shape` as a tuple of sizes; raise FormatError for anything else."""
    if not isinstance(shape, tuple) or len(shape) > MAX_DIMENSIONS:
        raise FormatError(f"shape {shown(shape)} is not a tuple of at most {MAX_DIMENSIONS} sizes")
    if any(type(size) is not int or size < 0 for size in shape):
        raise FormatError("a shape holds something that is not a size")
    return shape


def decode_number(dtype: NumberType, content: bytes) -> int | float | bool:
    """The Python number in the little-endian bytes of a numpy scalar."""
    if len(content) != dtype.itemsize:
        raise FormatError(f"a {dtype.name} number has {len(content)} bytes, expected {dtype.itemsize}")
    code = {"f2": "<e", "f4": "<f", "f8": "<d", "b1": "<?"}.get(dtype.str[1:])
    if code:
        value: int | float | bool = struct.unpack(code, content)[0]
        return value
    return int.from_bytes(content, "little", signed=dtype.kind == "i")
