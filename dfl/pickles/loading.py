"""`load_closed`: what an untrusted pickle holds, read by a closed list of names.

Everything DeepFaceLab stores beside pixels is a pickle: metadata in JPEGs, faceset.pak's index, data.dat, weights.
Python's unpickler runs what a pickle names, so it is never used here: dfl.pickles.machine interprets the bytes,
dfl.pickles.numpy_values holds the names they may use.

Memory and time are bounded by the length of the bytes and by `PickleLimits`; the result is measured as if every
shared object were written out, so that a few bytes cannot name a structure that later code would walk for days.

Not for weight files of gigabytes, which are indexed without being copied (dfl.pickles.scanning).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from dfl.byte_source import BufferSource, PlacedError
from dfl.errors import FormatError
from dfl.pickles.machine import Construct, MachineLimits, Named, PickleMachine

PROTOCOLS = range(2, 5)
"""DeepFaceLab writes 3 and 4, and cannot read 5; 2 is what older third-party tools write."""
_POINTER_BYTES = 8
"""What a place in a list costs at least, in a 64-bit process."""


@dataclass(frozen=True)
class PickleLimits:
    """How much one pickle may ask for; each larger than any of DeepFaceLab's own files of the kind needs."""

    size_bytes: int = 1 << 20
    """Length of the pickle. Metadata fits in a JPEG segment of 64 KiB."""
    opcodes: int = 200_000
    depth: int = 16
    """Containers inside containers. DeepFaceLab's nest up to 6."""
    expanded_bytes: int = 16 << 20
    """Size of the result with every shared object counted wherever it is used."""


DEFAULT_LIMITS = PickleLimits()


def load_closed(data: bytes, *, allowed: Mapping[str, Construct], limits: PickleLimits = DEFAULT_LIMITS) -> object:
    """Given the bytes of one pickle, return what it holds. Raise FormatError for anything off the closed list.

    `allowed` maps "module.name" to a constructor. The result is made of None, bool, int, float, str, bytes, list,
    tuple, dict with string keys, numpy arrays (read-only) and scalars, and what the constructors return of these.
    No byte may follow the pickle's end.
    """
    if len(data) > limits.size_bytes:
        raise FormatError(f"pickle of {len(data)} bytes, at most {limits.size_bytes} are read")
    machine = _Loader(data, allowed, limits)
    try:
        value = machine.run()
        if machine.cursor.left:
            raise machine.cursor.fault(f"{machine.cursor.left} bytes follow its end")
    except PlacedError as error:
        hint = ""
        if machine.protocol > PROTOCOLS[-1]:
            hint = "DeepFaceLab's Python cannot read protocol 5 either; write the file again with protocol 4"
        raise FormatError(f"pickle refused at {error.message}; nothing of it was run", hint=hint) from error
    _Measure(limits).check(value)
    return value


class _Loader(PickleMachine):
    """Makes real values. Keys of dicts are texts: hashing a nested tuple may take for ever."""

    def __init__(self, data: bytes, allowed: Mapping[str, Construct], limits: PickleLimits) -> None:
        super().__init__(BufferSource(data), 0, PROTOCOLS, MachineLimits(opcodes=limits.opcodes))
        self._allowed = allowed

    def text(self, length: int) -> str:
        try:
            return self.cursor.take(length).decode("utf-8")
        except UnicodeDecodeError as failure:
            raise self.cursor.fault("a text is not UTF-8") from failure

    def payload(self, length: int) -> bytes:
        return self.cursor.take(length)

    def named(self, module: str, name: str) -> Named | None:
        full = f"{module}.{name}"
        construct = self._allowed.get(full)
        return None if construct is None else Named(full, construct)

    def check_key(self, key: object, target: dict[object, object]) -> None:  # noqa: ARG002 -- the last of equal ones wins
        if type(key) is not str:
            raise self.cursor.fault(f"a dict has a key of type {type(key).__name__}, DeepFaceLab's are text")


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

    def _of(self, value: object, depth: int) -> tuple[int, int]:
        """Return (bytes, height) of `value`, which lies `depth` containers deep."""
        if type(value) in _PLAIN_TYPES:
            return _POINTER_BYTES, 0
        if isinstance(value, (str, bytes)):
            return _POINTER_BYTES + len(value), 0
        if isinstance(value, (np.ndarray, np.generic)):
            return _POINTER_BYTES + value.nbytes, 0
        if not isinstance(value, (list, tuple, dict)):
            found = value.name if isinstance(value, Named) else type(value).__name__
            raise FormatError(f"pickle holds a bare {found}, expected data")
        size_bytes, height = self.known.get(id(value)) or self._of_container(value, depth)
        if depth + height > self.limits.depth:
            raise FormatError(f"pickle nests more than {self.limits.depth} containers")
        return size_bytes, height

    def _of_container(self, value: _Container, depth: int) -> tuple[int, int]:
        if depth >= self.limits.depth:  # also where a container holds itself
            raise FormatError(f"pickle nests more than {self.limits.depth} containers")
        size_bytes, height = _POINTER_BYTES, 0
        parts: Iterable[object] = value
        if isinstance(value, dict):
            size_bytes += sum(_POINTER_BYTES + len(key) for key in value)
            parts = value.values()
        for part in parts:
            if type(part) in _PLAIN_TYPES:  # most are; a call for each would take as long as making them
                size_bytes += _POINTER_BYTES
                continue
            part_bytes, part_height = self._of(part, depth + 1)
            size_bytes += part_bytes
            height = max(height, part_height)
        self.known[id(value)] = size_bytes, height + 1
        return size_bytes, height + 1


_PLAIN_TYPES = frozenset({type(None), bool, int, float})
_Container = list[object] | tuple[object, ...] | dict[str, object]
