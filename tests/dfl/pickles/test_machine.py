"""The one interpreter: what it knows, and that both who drive it follow a pickle in the same way."""

from __future__ import annotations

import pickle
import pickletools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl.byte_source import BufferSource
from dfl.errors import FormatError
from dfl.pickles.loading import load_closed
from dfl.pickles.machine import _OPCODES
from dfl.pickles.numpy_values import NUMPY_NAMES
from dfl.pickles.scanned_values import ArrayValue, ByteRange, FloatRows, ScalarValue
from dfl.pickles.scanning import scan_pickle

FLOATS = st.floats(width=32, allow_nan=False)
DATA = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | FLOATS | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=6)
        | st.dictionaries(st.text(max_size=5), inner, max_size=6)
        | st.lists(st.lists(FLOATS, min_size=2, max_size=2), min_size=2, max_size=6)
    ),
    max_leaves=20,
)


def both(data: bytes) -> tuple[object, object]:
    return load_closed(data, allowed=NUMPY_NAMES), scan_pickle(BufferSource(data)).value


def written_out(scanned: object) -> object:
    """What was scanned, with rows that stand there as a table as the lists that they are."""
    if isinstance(scanned, dict):
        return {key: written_out(value) for key, value in scanned.items()}
    if isinstance(scanned, list):
        parts = [part.rows.tolist() if isinstance(part, FloatRows) else [written_out(part)] for part in scanned]
        return [item for part in parts for item in part]
    return scanned


def test_the_table_names_opcodes_that_there_are() -> None:
    assert set(_OPCODES) <= {opcode.name for opcode in pickletools.opcodes}


@settings(deadline=None)
@given(DATA, st.integers(2, 4))
def test_both_readers_find_what_python_wrote(value: object, protocol: int) -> None:
    loaded, scanned = both(pickle.dumps([value, "end", value], protocol))
    assert loaded == [value, "end", value]
    assert written_out(scanned) == [value, "end", value]


@pytest.mark.parametrize("protocol", [2, 3, 4])
@pytest.mark.parametrize("kind", ["<f4", "<f8", "<i8", "|u1"])
def test_an_array_that_is_loaded_lies_where_the_scan_says(kind: str, protocol: int) -> None:
    array = np.arange(6).astype(kind).reshape(2, 3)
    data = pickle.dumps({"a": array, "n": array[1, 2]}, protocol)
    loaded, scanned = both(data)
    assert isinstance(loaded, dict)
    assert isinstance(scanned, dict)
    place, number = scanned["a"], scanned["n"]
    assert isinstance(place, ArrayValue)
    assert isinstance(number, ScalarValue)
    stored = data[place.payload.offset : place.payload.offset + place.payload.length]
    if place.payload.encoding == "latin1":
        stored = stored.decode("utf-8").encode("latin-1")
    assert stored == loaded["a"].tobytes() == array.tobytes()
    assert number.value == loaded["n"] == 5


@pytest.mark.parametrize("data", [b"\x80\x04(h\x00.", b"\x80\x04N(\x86.", b"\x80\x04](NNa.", b"\x80\x04N(\x94."])
def test_nothing_below_a_mark_is_used(data: bytes) -> None:
    for read in (lambda: load_closed(data, allowed={}), lambda: scan_pickle(BufferSource(data))):
        with pytest.raises(FormatError):
            read()


def test_a_remembered_value_has_the_number_that_python_gives_it() -> None:
    mixed = b"\x80\x04]q\x07K\x05\x94ah\x01\x86."  # BINPUT 7, then MEMOIZE: number 1
    assert pickle.loads(mixed) == ([5], 5)
    assert both(mixed) == (([5], 5), ([5], 5))


def test_bytes_are_passed_over_by_the_scan_alone() -> None:
    loaded, scanned = both(pickle.dumps([b"x" * 1000], 4))
    assert loaded == [b"x" * 1000]
    assert isinstance(scanned, list)
    assert isinstance(scanned[0], ByteRange)
