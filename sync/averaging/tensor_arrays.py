"""Averaging tensors that have no fixed place in a file: members of archives (.npz, PyTorch).

The same rules and measures as the fused pass, one tensor at a time and that in chunks; what a chunk is read from and
written to is the caller's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from sync.averaging.average import AverageSettings, TensorGram, combine, gram_of_rows
from sync.errors import DisagreementError

CHUNK_ITEMS = 65536


class ChunkAverager:
    """One tensor of several files, chunk by chunk: each chunk's average, and the sums over all chunks."""

    def __init__(self, files: int, machine_weights: Sequence[float], settings: AverageSettings) -> None:
        self.machine_weights = machine_weights
        self.settings = settings
        self.gram = np.zeros((files + 1, files + 1))
        self.nonfinite = np.zeros(files, np.int64)
        self._average = np.empty(CHUNK_ITEMS, np.float64)

    def add(self, chunks: Sequence[NDArray[np.generic]]) -> NDArray[np.float64]:
        """Take the same items of every file, each (items,) of floats, at most CHUNK_ITEMS; return their average.

        The result is valid until the next call.
        """
        with np.errstate(all="ignore"):
            values = np.stack(chunks).astype(np.float64)
            finite = np.isfinite(values)
            self.nonfinite += np.count_nonzero(~finite, axis=1)
            reference = np.where(finite[0], values[0], 0.0)
            self.gram += gram_of_rows(np.vstack([reference, values - reference]))
            part = self._average[: values.shape[1]]
            combine(values, self.machine_weights, self.settings, part)
        return part

    def measured(self, name: str) -> TensorGram:
        """Return what all chunks of the tensor said about each other."""
        return TensorGram("", name, self.gram, self.nonfinite)


def average_arrays(
    name: str, arrays: Mapping[str, NDArray[np.generic]], machine_weights: Sequence[float], settings: AverageSettings
) -> tuple[NDArray[np.generic], TensorGram]:
    """Average float arrays of one shape and type; return the result in that type, and the inner products.

    `arrays`: file → array. Raise DisagreementError where shapes or types differ.
    """
    check_equal(name, {file: (array.shape, array.dtype) for file, array in arrays.items()})
    first = next(iter(arrays.values()))
    flat = [array.reshape(-1) for array in arrays.values()]
    out = np.empty(first.size, first.dtype)
    averager = ChunkAverager(len(flat), machine_weights, settings)
    with np.errstate(all="ignore"):
        for start in range(0, first.size, CHUNK_ITEMS):
            out[start : start + CHUNK_ITEMS] = averager.add([array[start : start + CHUNK_ITEMS] for array in flat])
    return out.reshape(first.shape), averager.measured(name)


def check_equal(name: str, kinds: Mapping[str, tuple[tuple[int, ...], np.dtype[np.generic]]]) -> None:
    """Raise DisagreementError unless a tensor has one shape and type in all files; `kinds`: file → both."""
    first_file, (shape, dtype) = next(iter(kinds.items()))
    for file, (found_shape, found_dtype) in kinds.items():
        if (found_shape, found_dtype) != (shape, dtype):
            raise DisagreementError(
                f"{file}: {name} has shape {found_shape} and type {found_dtype}, in {first_file} it is "
                f"{shape} and {dtype}"
            )
