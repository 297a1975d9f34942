"""Pickles: reading untrusted ones by a closed list, writing ones that DeepFaceLab's Python 3.6 reads.

Everything DeepFaceLab stores beside pixels is a pickle: metadata in JPEGs, faceset.pak's index, data.dat, weights.
Python's unpickler runs what a pickle names, so it is never used here.

Reading: dfl.pickle_machine interprets the bytes, dfl.numpy_pickles holds the names they may use.
Memory and time are bounded by the length of the bytes and by `PickleLimits`; the result is measured as if every
shared object were written out, so that a few bytes cannot name a structure that later code would walk for days.

Writing: numpy's functions are named as numpy 1.19 names them. With numpy 2's own names DeepFaceLab fails with
ModuleNotFoundError, and on a model file hangs for ever at start. Renaming afterwards is no way: the strings are
length-prefixed. The names are interned, so that the memo, hence the file, is byte for byte DeepFaceLab's own.

Not for weight files of gigabytes, which are indexed without being copied.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from dfl.errors import FormatError
from dfl.numpy_pickles import NUMBER_TYPES
from dfl.pickle_machine import (
    NEWEST_PROTOCOL,
    Construct,
    Named,
    PickleLimits,
    interpret,
)

WRITTEN_PROTOCOLS = (3, 4)
"""DeepFaceLab cannot read 5, and 2 spells bytes in a roundabout way."""
DEFAULT_LIMITS = PickleLimits()
_POINTER_BYTES = 8
"""What a place in a list costs at least, in a 64-bit process."""


def load_closed(data: bytes, *, allowed: Mapping[str, Construct], limits: PickleLimits = DEFAULT_LIMITS) -> Any:
    """Given the bytes of one pickle, return what it holds. Raise FormatError for anything off the closed list.

    `allowed` maps "module.name" to a constructor. The result is made of None, bool, int, float, str, bytes, list,
    tuple, dict with string keys, numpy arrays (read-only) and scalars, and what the constructors return of these.
    No byte may follow the pickle's end.
    """
    value = interpret(data, allowed=allowed, limits=limits)
    _Measure(limits).check(value)
    return value


def dump_for_dfl(value: object, *, protocol: int = NEWEST_PROTOCOL) -> bytes:
    """Given data of plain types and numpy numbers, return a pickle that DeepFaceLab (Python 3.6, numpy 1.19) reads.

    Plain types are None, bool, int, float, str, bytes, list, tuple and dict. `protocol` is 3 or 4. Raise FormatError
    for any other type, by name.
    """
    if protocol not in WRITTEN_PROTOCOLS:
        raise FormatError(f"writing a pickle of protocol {protocol}: DeepFaceLab's own have 3 or 4")
    buffer = io.BytesIO()
    DflPickler(buffer, protocol=protocol).dump(value)
    return buffer.getvalue()


_MULTIARRAY = "numpy.core.multiarray"
_WRITTEN_NAMES: tuple[tuple[object, str, str], ...] = (
    (np.empty(0).__reduce__()[0], _MULTIARRAY, "_reconstruct"),
    (np.float64(0).__reduce__()[0], _MULTIARRAY, "scalar"),
    (np.ndarray, "numpy", "ndarray"),
    (np.dtype, "numpy", "dtype"),
)
_WRITTEN_TYPES = (type(None), bool, int, float, str, bytes, tuple, list, dict, type)


class DflPickler(pickle._Pickler):
    """Python's own pickler, closed to the types above and with numpy's old names. Use `dump_for_dfl`.

    The pure-Python pickler, because only there can a global's name be chosen.
    """

    dispatch = {kind: pickle._Pickler.dispatch[kind] for kind in _WRITTEN_TYPES}  # noqa: RUF012
    # What the base class has and its type stub leaves out.
    proto: int
    save: Callable[[object], None]
    write: Callable[[bytes], object]
    memoize: Callable[[object], None]

    def reducer_override(self, obj: object, /) -> Any:
        """Refuse numpy values that hold anything but numbers; leave the rest to the base class."""
        if isinstance(obj, (np.ndarray, np.generic)) and obj.dtype.str[1:] not in NUMBER_TYPES:
            raise FormatError(f"writing a pickle for DeepFaceLab: numpy values of {obj.dtype} cannot be stored")
        return NotImplemented

    def save_global(self, obj: object, name: str | None = None) -> None:
        """Write a name of the closed list as numpy 1.19 spells it; refuse every other one."""
        spelling = next((names for known, *names in _WRITTEN_NAMES if known is obj), None)
        if spelling is None:
            shown = getattr(obj, "__qualname__", name) or type(obj).__name__
            raise FormatError(f"writing a pickle for DeepFaceLab: values of {shown} cannot be stored")
        module, written_name = spelling
        if self.proto >= 4:
            self.save(module)
            self.save(written_name)
            self.write(pickle.STACK_GLOBAL)
        else:
            self.write(pickle.GLOBAL + f"{module}\n{written_name}\n".encode())
        self.memoize(obj)


class _Measure:
    """How large a value is with shared parts counted wherever they are used."""

    def __init__(self, limits: PickleLimits) -> None:
        self.limits = limits
        self.known: dict[int, tuple[int, int]] = {}

    def check(self, value: object) -> None:
        size_bytes, _ = self._of(value, 0)
        if size_bytes > self.limits.expanded_bytes:
            raise FormatError(
                f"pickle holds {size_bytes} bytes with shared parts written out, "
                f"at most {self.limits.expanded_bytes} are read"
            )

    def _of(self, value: Any, depth: int) -> tuple[int, int]:
        """Return (bytes, height) of `value`, which lies `depth` containers deep."""
        kind = type(value)
        if kind in _PLAIN_TYPES:
            return _POINTER_BYTES, 0
        if kind is str or kind is bytes:
            return _POINTER_BYTES + len(value), 0
        if isinstance(value, (np.ndarray, np.generic)):
            return _POINTER_BYTES + value.nbytes, 0
        if kind not in _CONTAINER_TYPES:
            raise FormatError(f"pickle holds a bare {value.name if kind is Named else kind.__name__}, expected data")
        size_bytes, height = self.known.get(id(value)) or self._of_container(value, depth)
        if depth + height > self.limits.depth:
            raise FormatError(f"pickle nests more than {self.limits.depth} containers")
        return size_bytes, height

    def _of_container(self, value: Any, depth: int) -> tuple[int, int]:
        if depth >= self.limits.depth:  # also where a container holds itself
            raise FormatError(f"pickle nests more than {self.limits.depth} containers")
        size_bytes, height = _POINTER_BYTES, 0
        if type(value) is dict:
            size_bytes += sum(_POINTER_BYTES + len(key) for key in value)
            value_parts = value.values()
        else:
            value_parts = value
        for part in value_parts:
            part_bytes, part_height = self._of(part, depth + 1)
            size_bytes += part_bytes
            height = max(height, part_height)
        self.known[id(value)] = size_bytes, height + 1
        return size_bytes, height + 1


_PLAIN_TYPES = frozenset({type(None), bool, int, float})
_CONTAINER_TYPES = frozenset({list, tuple, dict})
