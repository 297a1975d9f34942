"""What a machine's data.dat says about its training: iteration, options, losses. Read only, never written.

The format (DFL `models/ModelBase.py`): a pickle, in the interpreter's default protocol, of the dict

    iter                 int; 0 (or no data.dat) makes DeepFaceLab ignore all weights and begin anew
    options              dict of the answers given when the model was made; values may be numpy numbers
    loss_history         one list of floats per iteration since iteration 0, [src, dst]; grows for ever
    sample_for_preview   pictures of that machine's faces
    choosed_gpu_indexes  None

The pictures are jumped over: not read, not kept. dfld never copies data.dat to another machine and never writes
one, since iteration and loss history belong to the machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dfl.byte_source import ByteSource, FileSource
from dfl.errors import FormatError, shown
from dfl.pickles.loss_rows import MAX_ROW_COLUMNS
from dfl.pickles.scanned_values import FloatRows, ScalarValue, Text
from dfl.pickles.scanning import ScanLimits, scan_pickle

MAX_TRAINING_STATE_BYTES = 2**30
"""Ten million iterations are about 230 MB."""
MAX_OPTIONS = 1000
"""DeepFaceLab has about 40, its forks fewer than 100."""
LOSS_TAIL_ROWS = 2_000_000
"""Rows of the loss history that are kept: 16 MB, more than any model is trained for."""
MAX_OPTION_ITEMS = 1000
"""Of a list among the options: DeepFaceLab has none. One list can stand there a thousand times for two bytes each."""
LEAST_OBJECTS_BYTES = 32 * 2**20
OBJECTS_BYTES_A_BYTE = 12
MOST_OBJECTS_BYTES = 128 * 2**20
"""Memory for what is not a loss row: by the size of the file, within these. DeepFaceLab's own files need less than
1 MB whatever their size; a fork whose loss history holds numpy numbers (a dozen opcodes and 800 bytes a number,
and no fast path) is read up to about 20 000 iterations."""

OptionValue = None | bool | int | float | str | tuple["OptionValue", ...]


@dataclass(frozen=True, eq=False)
class TrainingState:
    """What data.dat says, without its pictures."""

    iteration: int
    """Iterations trained."""
    options: Mapping[str, OptionValue]
    """As DeepFaceLab stores them, numpy numbers as Python's; a value of another kind is its type's name in <>."""
    losses: NDArray[np.float32]
    """(rows, columns) float32: the last rows of the loss history, oldest first; columns src and dst."""
    losses_recorded: int
    """How many rows the whole history has; row `losses_recorded - 1` belongs to the last iteration."""


def read_training_state(path: Path) -> TrainingState:
    """Read the data.dat at `path`; raise FormatError, naming it, when it is not one."""
    with FileSource(path) as source:
        try:
            return read_training_state_source(source)
        except FormatError as error:
            hint = "a crash while saving leaves such a file: restore it from the model's autobackups"
            raise FormatError(f"{path.name} is no usable data.dat: {error.message}", hint=hint) from error


def read_training_state_source(source: ByteSource) -> TrainingState:
    """Read a data.dat by its opcodes, executing nothing; raise FormatError for anything that does not belong there.

    Through a source on another machine, only ranges around the pictures travel, never a picture as a whole.
    """
    if not 0 < source.size <= MAX_TRAINING_STATE_BYTES:
        raise FormatError(f"it has {source.size} bytes, expected 1 to {MAX_TRAINING_STATE_BYTES}")
    scanned = scan_pickle(source, limits=limits_of(source.size))
    if scanned.end != source.size:
        raise FormatError(f"byte {scanned.end}: {source.size - scanned.end} bytes follow the end of the pickle")
    content = scanned.value
    if not isinstance(content, dict):
        raise FormatError(f"its first object is a {type(content).__name__}, expected a dict")
    losses, recorded = _losses(content.get("loss_history", []))
    return TrainingState(_iteration(content.get("iter")), _options(content.get("options")), losses, recorded)


def limits_of(size_bytes: int) -> ScanLimits:
    """Return what reading a data.dat of this size may cost: far below what a daemon has, whatever its opcodes. Pure."""
    objects_bytes = min(MOST_OBJECTS_BYTES, LEAST_OBJECTS_BYTES + OBJECTS_BYTES_A_BYTE * size_bytes)
    return ScanLimits(
        opcodes=20_000_000, stack=8_000_000, memo=8_000_000, objects_bytes=objects_bytes, rows_bytes=128 * 2**20
    )


def _iteration(value: object) -> int:
    plain = value.value if isinstance(value, ScalarValue) else value
    if type(plain) is not int or plain < 0:
        raise FormatError(f"iter is {shown(plain)}, expected a number of iterations")
    return plain


def _options(value: object) -> dict[str, OptionValue]:
    if not isinstance(value, dict) or len(value) > MAX_OPTIONS:
        raise FormatError(f"options is a {type(value).__name__}, expected a dict of at most {MAX_OPTIONS} answers")
    if not all(isinstance(key, str) for key in value):
        raise FormatError("an option has a name that is no text")
    return {str(key): _plain(item) for key, item in value.items()}


def _plain(value: object) -> OptionValue:
    if isinstance(value, ScalarValue):
        return value.value
    if isinstance(value, Text):
        return str(value)
    if value is None or isinstance(value, bool | int | float):
        return value
    if (
        isinstance(value, list | tuple)
        and len(value) <= MAX_OPTION_ITEMS
        and all(isinstance(item, bool | int | float | Text) for item in value)
    ):
        return tuple(_plain(item) for item in value)
    return f"<{type(value).__name__}>"


def _losses(history: object) -> tuple[NDArray[np.float32], int]:
    """The last rows of equal width, and how many rows there are in all."""
    if not isinstance(history, list):
        raise FormatError(f"loss_history is a {type(history).__name__}, expected a list")
    recorded = sum(len(item.rows) if isinstance(item, FloatRows) else 1 for item in history)
    if not history:
        return np.empty((0, 2), np.float32), 0
    tail: list[NDArray[np.float32]] = []
    kept = 0
    for item in reversed(history):  # from the end, so that memory is bounded by the rows that are kept
        run = item.rows if isinstance(item, FloatRows) else _single_row(item)
        if kept >= LOSS_TAIL_ROWS or (tail and run.shape[1] != tail[0].shape[1]):
            break
        tail.append(run)
        kept += len(run)
    losses = np.concatenate(tail[::-1])[-LOSS_TAIL_ROWS:]
    losses.flags.writeable = False
    return losses, recorded


def _single_row(item: object) -> NDArray[np.float32]:
    values = item if isinstance(item, list | tuple) else [item]
    if len(values) > MAX_ROW_COLUMNS:
        raise FormatError(f"a row of loss_history has more than {MAX_ROW_COLUMNS} numbers")
    numbers = [part.value if isinstance(part, ScalarValue) else part for part in values]
    if not numbers or not all(isinstance(number, int | float) for number in numbers):
        raise FormatError("a row of loss_history holds something that is not a number")
    with np.errstate(over="ignore"):
        return np.array([numbers], np.float64).astype(np.float32)
