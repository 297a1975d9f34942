"""`load_closed`: what an untrusted pickle holds, read by a closed list of names.

Everything DeepFaceLab stores beside pixels is a pickle: metadata in JPEGs, faceset.pak's index, data.dat, weights.
Python's unpickler runs what a pickle names, so it is never used here: dfl.pickles.machine interprets the bytes,
dfl.pickles.numpy_values holds the names they may use.

Memory and time are bounded by the length of the bytes and by `PickleLimits`; the result is measured as if every
shared object were written out, so that a few bytes cannot name a structure that later code would walk for days.

Not for weight files of gigabytes, which are indexed without being copied (dfl.pickles.scanning).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from dfl.errors import FormatError
from dfl.pickles.machine import Construct, Named, PickleLimits, interpret

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
