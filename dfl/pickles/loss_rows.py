"""The rows of a pickled loss history, read as a table instead of opcode by opcode.

data.dat keeps one list of floats per iteration, for ever: a million rows are ten million opcodes. Every row has
the same bytes apart from its memo number and its floats,

    ]  put  (  G <8 bytes big-endian>  …  e        put: q n | r nnnn | MEMOIZE

so a run of rows is one table with a fixed stride. A row that stands in the history twice is named by its memo number
the second time, so a run remembers which numbers its rows have. A help for dfl.pickles.scanning; what the rows mean is
training_state's.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dfl.byte_source import ByteCursor
from dfl.pickles.scanned_values import FloatRows

MAX_ROW_COLUMNS = 16
"""Losses per iteration; DeepFaceLab writes 1 or 2."""
FLOAT_BYTES = 9
"""BINFLOAT and its 8 bytes."""
_PUT_BYTES = {0x71: 2, 0x72: 5, 0x94: 1}
"""BINPUT, LONG_BINPUT, MEMOIZE with their arguments."""


@dataclass(frozen=True)
class RowRun:
    """Rows that were taken off the stream, and their memo numbers."""

    value: FloatRows
    first_key: int
    """Memo number of the first row; the others follow one by one."""


class RowMemo:
    """The rows of all runs by memo number, without an entry for each of a million rows."""

    def __init__(self) -> None:
        self._first_keys: list[int] = []
        self._runs: list[FloatRows] = []

    def remember(self, run: RowRun) -> None:
        """Keep a run. Picklers number upwards; a stream that does not cannot name these rows again."""
        if not self._first_keys or run.first_key > self._first_keys[-1]:
            self._first_keys.append(run.first_key)
            self._runs.append(run.value)

    def recall(self, key: int) -> FloatRows:
        """Return the row with this number as a run of one; raise KeyError where there is none."""
        place = bisect_right(self._first_keys, key) - 1
        if place < 0 or key - self._first_keys[place] >= len(self._runs[place].rows):
            raise KeyError(key)
        index = key - self._first_keys[place]
        return FloatRows(self._runs[place].rows[index : index + 1])


def take_rows(cursor: ByteCursor, next_key: int) -> RowRun | None:
    """Take the run of at least two rows whose EMPTY_LIST opcode was just taken; None, and nothing taken, if none.

    `next_key`: the number that the next MEMOIZE gives.
    """
    put = _PUT_BYTES.get(cursor.peek(1)[0] if cursor.peek(1) else 0)
    if put is None or cursor.peek(put + 2)[put:] != b"(G":
        return None
    floats_at = put + 1
    head = cursor.peek(floats_at + FLOAT_BYTES * (MAX_ROW_COLUMNS + 1))
    columns = 0
    while head[floats_at + FLOAT_BYTES * columns :][:1] == b"G":
        columns += 1
    if columns > MAX_ROW_COLUMNS:
        return None
    stride = 1 + floats_at + FLOAT_BYTES * columns + 1
    opening = cursor.at - 1
    count = (len(cursor.buffer) - opening) // stride
    table = np.frombuffer(cursor.buffer, np.uint8, count * stride, opening).reshape(count, stride)
    fits = (table[:, 0] == 0x5D) & (table[:, 1] == cursor.buffer[cursor.at]) & (table[:, floats_at] == 0x28)
    fits &= (table[:, 1 + floats_at : -1 : FLOAT_BYTES] == 0x47).all(axis=1) & (table[:, -1] == 0x65)
    keys = _memo_keys(table, put, next_key)
    fits &= keys == keys[:1] + np.arange(count)
    run = count if fits.all() else int(fits.argmin())
    if run < 2:
        return None
    cells = [table[:run, 2 + floats_at + FLOAT_BYTES * column :][:, :8] for column in range(columns)]
    with np.errstate(over="ignore", invalid="ignore"):
        rows = np.stack(cells, axis=1).view(">f8")[:, :, 0].astype(np.float32)
    cursor.take(run * stride - 1)
    return RowRun(FloatRows(rows), int(keys[0]))


def _memo_keys(table: NDArray[np.uint8], put: int, next_key: int) -> NDArray[np.int64]:
    """(rows,) the memo number that each row is given; `put`: bytes of the opcode that gives it."""
    if put == 1:
        return next_key + np.arange(len(table))
    arguments = np.ascontiguousarray(table[:, 2 : 1 + put])
    return arguments.view(f"<u{put - 1}")[:, 0].astype(np.int64)
