"""`dump_for_dfl`: pickles that DeepFaceLab's Python 3.6 and numpy 1.19 read.

numpy's functions are named as numpy 1.19 names them. With numpy 2's own names DeepFaceLab fails with
ModuleNotFoundError, and on a model file hangs for ever at start. Renaming afterwards is no way: the strings are
length-prefixed. The names are interned, so that the memo, hence the file, is byte for byte DeepFaceLab's own.

Not for weight files, whose values are written over a copy of the file (dfl.weights).
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from typing import Any, cast

import numpy as np

from dfl.errors import FormatError, shown
from dfl.pickles.numpy_values import NUMBER_TYPES

WRITTEN_PROTOCOLS = (3, 4)
"""DeepFaceLab cannot read 5, and 2 spells bytes in a roundabout way."""


def dump_for_dfl(value: object, *, protocol: int = WRITTEN_PROTOCOLS[-1]) -> bytes:
    """Given data of plain types and numpy numbers, return a pickle that DeepFaceLab (Python 3.6, numpy 1.19) reads.

    Plain types are None, bool, int, float, str, bytes, list, tuple and dict. `protocol` is 3 or 4. Raise FormatError
    for any other type, by name, and for a text that is not UTF-8: dfl.pickles.loading refuses it.
    """
    if protocol not in WRITTEN_PROTOCOLS:
        raise FormatError(f"writing a pickle of protocol {protocol}: DeepFaceLab's own have 3 or 4")
    buffer = io.BytesIO()
    DflPickler(buffer, protocol=protocol).dump(value)
    return buffer.getvalue()


def is_utf_8(text: str) -> bool:
    """Say whether a text can be written as UTF-8: the name of a file may be any bytes."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


_MULTIARRAY = "numpy.core.multiarray"
_WRITTEN_NAMES: tuple[tuple[object, str, str], ...] = (
    (np.empty(0).__reduce__()[0], _MULTIARRAY, "_reconstruct"),
    (np.float64(0).__reduce__()[0], _MULTIARRAY, "scalar"),
    (np.ndarray, "numpy", "ndarray"),
    (np.dtype, "numpy", "dtype"),
)
_WRITTEN_TYPES = (type(None), bool, int, float, str, bytes, tuple, list, dict, type)


def _save_text(pickler: object, text: str) -> None:
    """Write a text. Python's own pickler also writes one that is not UTF-8, in a way that nobody else reads."""
    if not is_utf_8(text):
        raise FormatError(f"writing a pickle for DeepFaceLab: the text {shown(text)} is not UTF-8")
    cast(Callable[[object, str], None], pickle._Pickler.dispatch[str])(pickler, text)


_GROUP = 1000
_LAST_SHORT_PLACE = 255
"""Of the memo: later places are written with four bytes."""


class DflPickler(pickle._Pickler):
    """Python's own pickler, closed to the types above and with numpy's old names. Use `dump_for_dfl`.

    The pure-Python pickler, because only there can a global's name be chosen.
    """

    dispatch = {kind: pickle._Pickler.dispatch[kind] for kind in _WRITTEN_TYPES} | {str: _save_text}
    # What the base class has and its type stub leaves out.
    proto: int
    save: Callable[[object], None]
    write: Callable[[bytes], object]
    memoize: Callable[[object], None]
    memo: dict[int, tuple[int, object]]

    def reducer_override(self, obj: object, /) -> Any:
        """Refuse numpy values that hold anything but numbers; leave the rest to the base class."""
        if isinstance(obj, (np.ndarray, np.generic)) and obj.dtype.str[1:] not in NUMBER_TYPES:
            raise FormatError(f"writing a pickle for DeepFaceLab: numpy values of {obj.dtype} cannot be stored")
        return NotImplemented

    def _batch_appends(self, items: list[object]) -> None:
        """Append a list's items in groups of 1000, as Python's C pickler does; its last group may be of one, too."""
        if len(items) < 2:
            for item in items:
                self.save(item)
                self.write(pickle.APPEND)
            return
        for start in range(0, len(items), _GROUP):
            group = items[start : start + _GROUP]
            self.write(pickle.MARK)
            if not self._save_rows(group):
                for item in group:
                    self.save(item)
            self.write(pickle.APPENDS)

    def _save_rows(self, group: list[object]) -> bool:
        """Write rows of losses as one table (dfl.pickles.loss_rows), which is faster; False, unwritten, for others."""
        first = group[0]
        columns = len(first) if type(first) is list else 0
        if self.proto != 3 or columns < 2 or len(self.memo) <= _LAST_SHORT_PLACE:
            return False
        rows = [row for row in group if type(row) is list and len(row) == columns and set(map(type, row)) == {float}]
        places = dict.fromkeys(map(id, rows))
        if len(places) < len(group) or any(place in self.memo for place in places):
            return False
        table = np.zeros(len(rows), _row_type(columns))
        table["begin"], table["mark"] = pickle.EMPTY_LIST + pickle.LONG_BINPUT, pickle.MARK
        table["end"] = pickle.APPENDS
        table["place"] = len(self.memo) + np.arange(len(rows))
        table["numbers"]["code"], table["numbers"]["value"] = pickle.BINFLOAT, rows
        self.write(table.tobytes())
        for row in rows:
            self.memo[id(row)] = len(self.memo), row
        return True

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


def _row_type(columns: int) -> np.dtype[np.void]:
    """How the bytes of one row of `columns` floats lie."""
    number = np.dtype([("code", "V1"), ("value", ">f8")])
    parts = [("begin", "V2"), ("place", "<u4"), ("mark", "V1"), ("numbers", number, (columns,)), ("end", "V1")]
    return np.dtype(parts)
