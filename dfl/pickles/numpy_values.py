"""Numpy values out of untrusted pickles: the closed list of what DeepFaceLab's pickles name, with our constructors.

Arrays are made from a closed table of number types; numpy's `_reconstruct`, `__setstate__` and dtype parser never
see foreign bytes. Numpy 2 writes `numpy._core.multiarray` where numpy 1 wrote `numpy.core.multiarray`; both are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError, shown
from dfl.pickles.machine import Construct, Named, Shell

NUMBER_TYPES = frozenset({"b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"})
"""What arrays may hold. No objects, structures, strings or dates: DeepFaceLab stores none."""
_MOST_DIMENSIONS = 8
_MOST_EMPTY_ELEMENTS = 1 << 20
"""An array with a 0 in its shape may still announce other lengths; their product stays below this."""
_DTYPE_STATE_VERSION, _ARRAY_STATE_VERSION = 3, 1
_SHOWN_PARTS = 4
_DTYPE_STATE_TAIL = (None, None, None, -1, -1, 0)
"""No subarray, names, fields, size, alignment or flags: a plain number type."""


def _refuse(what: str, found: object) -> FormatError:
    forms = ", ".join(map(shown, found[:_SHOWN_PARTS])) if type(found) is tuple else shown(found)
    return FormatError(f"{what} is made of ({forms})")


def _is(value: object, wanted: object) -> bool:
    """Compare by type first: a foreign value may be an array, whose == is no yes or no."""
    return type(value) is type(wanted) and value == wanted


def _is_count(value: object) -> bool:
    return type(value) is int and value >= 0


def _make_dtype(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 3 or type(arguments[0]) is not str or arguments[0] not in NUMBER_TYPES:
        raise _refuse("a number type", arguments)
    kind = arguments[0]

    def finish(state: object) -> object:
        if type(state) is not tuple or len(state) != 8 or not _is(state[0], _DTYPE_STATE_VERSION):
            raise _refuse("a number type's state", state)
        order = state[1]
        if type(order) is not str or order not in ("<", ">", "|") or (order == "|") != kind.endswith("1"):
            raise _refuse("a byte order", state)
        if not all(map(_is, state[2:], _DTYPE_STATE_TAIL)):
            raise _refuse("a number type's state", state)
        # A copy, so that exactly those arrays share a type that shared it in the file, and are written as they were.
        return np.dtype(order + kind, copy=True)

    return Shell(finish)


def _make_array(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 3 or type(arguments[0]) is not Named or arguments[0].name != "numpy.ndarray":
        raise _refuse("an array", arguments)
    shape = arguments[1]
    if type(shape) is not tuple or len(shape) != 1 or not _is(shape[0], 0) or not _is(arguments[2], b"b"):
        raise _refuse("an array", arguments[1:])
    return Shell(_finish_array)


def _finish_array(state: object) -> object:
    if type(state) is not tuple or len(state) != 5 or not _is(state[0], _ARRAY_STATE_VERSION):
        raise _refuse("an array's state", state)
    _, shape, dtype, column_order, raw = state
    if type(shape) is not tuple or len(shape) > _MOST_DIMENSIONS or not all(map(_is_count, shape)):
        raise _refuse("an array's shape", shape)
    if not isinstance(dtype, np.dtype) or type(raw) is not bytes or type(column_order) is not bool:
        raise _refuse("an array's content", (dtype, type(raw).__name__))
    if prod(shape) * dtype.itemsize != len(raw) or (not raw and prod(filter(None, shape)) > _MOST_EMPTY_ELEMENTS):
        raise FormatError(f"an array of shape {shape} and type {dtype} comes with {len(raw)} bytes")
    array: NDArray[np.generic] = np.ndarray(
        shape, dtype, _clean(raw, dtype), order="F" if column_order is True else "C"
    )
    array.flags.writeable = False
    return array


def _make_scalar(arguments: tuple[object, ...]) -> object:
    dtype, raw = arguments if len(arguments) == 2 else (None, None)
    if not isinstance(dtype, np.dtype) or type(raw) is not bytes:
        raise _refuse("a number", arguments)
    if len(raw) != dtype.itemsize:
        raise _refuse("a number", arguments)
    return np.frombuffer(_clean(raw, dtype), dtype)[0]


def _clean(raw: bytes, dtype: np.dtype[np.generic]) -> bytes:
    """Return the bytes with every true bool as 1: numpy's own code misbehaves on others."""
    return (np.frombuffer(raw, np.uint8) != 0).tobytes() if dtype.kind == "b" else raw


def _make_bytes(arguments: tuple[object, ...]) -> object:
    """Bytes as Python 3 writes them at protocol 2: a text of the first 256 characters."""
    if len(arguments) != 2 or type(arguments[0]) is not str or not _is(arguments[1], "latin1"):
        raise _refuse("a byte string", arguments)
    try:
        return arguments[0].encode("latin-1")
    except UnicodeEncodeError as failure:
        raise _refuse("a byte string", arguments[0]) from failure


def _not_callable(arguments: tuple[object, ...]) -> object:
    raise _refuse("an array", arguments)


NUMPY_NAMES: Mapping[str, Construct] = MappingProxyType(
    {
        "numpy.core.multiarray._reconstruct": _make_array,
        "numpy._core.multiarray._reconstruct": _make_array,
        "numpy.core.multiarray.scalar": _make_scalar,
        "numpy._core.multiarray.scalar": _make_scalar,
        "numpy.ndarray": _not_callable,
        "numpy.dtype": _make_dtype,
        "_codecs.encode": _make_bytes,
    }
)
"""The closed list for `load_closed`: everything DeepFaceLab's pickles name, but for the enums of faceset.pak."""
