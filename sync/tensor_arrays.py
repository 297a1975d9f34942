"""Averaging arrays that are in memory: for archives (.npz, PyTorch), whose tensors have no fixed place in a file.

The same rules and measures as the fused pass, one tensor at a time; memory is the number of files times the
largest tensor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sync.average import AverageSettings, TensorGram, combine, gram_of_rows
from sync.errors import DisagreementError

CHUNK_ITEMS = 65536


def average_arrays(
    name: str, arrays: Mapping[str, NDArray[Any]], shares: Sequence[float], settings: AverageSettings
) -> tuple[NDArray[Any], TensorGram]:
    """Average float arrays of one shape and type; return the result in that type, and the inner products.

    `arrays`: file → array. Raise DisagreementError where shapes or types differ.
    """
    first_name, first = next(iter(arrays.items()))
    for file, array in arrays.items():
        if (array.shape, array.dtype) != (first.shape, first.dtype):
            raise DisagreementError(
                f"{file}: {name} has shape {array.shape} and type {array.dtype}, in {first_name} it is "
                f"{first.shape} and {first.dtype}"
            )
    flat = [array.reshape(-1) for array in arrays.values()]
    out = np.empty(first.size, first.dtype)
    gram = np.zeros((len(flat) + 1, len(flat) + 1))
    nonfinite = np.zeros(len(flat), np.int64)
    average = np.empty(CHUNK_ITEMS, np.float64)
    with np.errstate(all="ignore"):
        for start in range(0, first.size, CHUNK_ITEMS):
            values = np.stack([array[start : start + CHUNK_ITEMS] for array in flat]).astype(np.float64)
            finite = np.isfinite(values)
            nonfinite += np.count_nonzero(~finite, axis=1)
            reference = np.where(finite[0], values[0], 0.0)
            gram += gram_of_rows(np.vstack([reference, values - reference]))
            part = average[: values.shape[1]]
            combine(values, shares, settings, part)
            out[start : start + CHUNK_ITEMS] = part
    return out.reshape(first.shape), TensorGram("", name, gram, nonfinite)
