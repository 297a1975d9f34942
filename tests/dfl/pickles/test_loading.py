"""Untrusted pickles: data comes out, nothing else happens."""

from __future__ import annotations

import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfl.errors import FormatError
from dfl.jpeg import read_app15
from dfl.pickles.loading import PickleLimits, load_closed
from dfl.pickles.numpy_values import NUMBER_TYPES, NUMPY_NAMES

METADATA = {
    "face_type": "whole_face",
    "landmarks": [[1.5, -2.25], [3.0, 4.0]],
    "source_rect": np.array([1, 2, 3, 4]),
    "mat": np.arange(6, dtype=np.float64).reshape(2, 3),
    "mask": np.arange(300, dtype=np.uint8).reshape(-1, 1),
    "iters:0": np.int64(77),
    "nothing": None,
    "yes": True,
    "shape": (256, 256, 3),
    "raw": b"\x00\xff" * 200,
    "big": -(2**70),
}


def load(data: bytes, **limits: int) -> Any:
    return load_closed(data, allowed=NUMPY_NAMES, limits=PickleLimits(**limits))


def assert_same(found: Any, wanted: Any) -> None:
    assert type(found) is type(wanted)
    if isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            assert_same(found[key], value)
    elif isinstance(wanted, np.ndarray):
        assert found.dtype == wanted.dtype
        np.testing.assert_array_equal(found, wanted)
    else:
        assert found == wanted


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_what_python_pickles_is_read_back_with_its_types(protocol: int) -> None:
    assert_same(load(pickle.dumps(METADATA, protocol=protocol)), METADATA)


def test_arrays_of_every_number_type_order_and_shape_are_read() -> None:
    arrays = [
        np.arange(24).astype(kind).reshape(shape, order=order)  # type: ignore[call-overload]
        for kind in sorted(NUMBER_TYPES)
        for shape in ((24,), (2, 3, 4), (24, 1))
        for order in ("C", "F")
    ]
    arrays += [np.zeros((0, 2), np.float32), np.array(5.0), np.arange(3, dtype=">i4")]
    for found, wanted in zip(load(pickle.dumps(arrays, protocol=4)), arrays, strict=True):
        assert_same(found, wanted)
        assert not found.flags.writeable


def test_shared_values_stay_shared() -> None:
    array = np.arange(4.0)
    found = load(pickle.dumps([array, array, "name", "name"], protocol=4))
    assert found[0] is found[1]


def test_a_pickle_that_would_run_code_is_refused_by_name_and_runs_nothing(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "executed"
    monkeypatch.setenv("DFLD_GOLDEN_MARKER", str(marker))
    payload = read_app15((shared / "golden" / "models" / "hostile" / "hostile_aligned.jpg").read_bytes())
    assert payload is not None
    with pytest.raises(FormatError, match=r"'builtins\.eval', which is not on the closed list; nothing of it was run"):
        load(payload)
    assert not marker.exists()
    pickle.loads(payload)  # the attack is real: Python's own reader runs it
    assert marker.exists()


@pytest.mark.parametrize(
    "name",
    [
        "os.system",
        "builtins.eval",
        "numpy.load",
        "numpy.ndarray.tofile",
        "numpy.core.multiarray.fromfile",
        "_codecs.decode",
    ],
)
@pytest.mark.parametrize("stacked", [False, True])
def test_any_name_off_the_list_is_refused(name: str, stacked: bool) -> None:
    module, attribute = name.rsplit(".", 1)
    if stacked:
        asks = b"\x80\x04" + b"".join(b"\x8c" + bytes([len(t)]) + t.encode() for t in (module, attribute)) + b"\x93."
    else:
        asks = b"\x80\x03c" + f"{module}\n{attribute}\n.".encode()
    with pytest.raises(FormatError, match="not on the closed list"):
        load(asks)


class _Reduces:
    """Pickles as whatever call it is given."""

    def __init__(self, *reduced: Any) -> None:
        self.reduced = reduced

    def __reduce__(self) -> Any:
        return self.reduced


RECONSTRUCT = np.empty(0).__reduce__()[0]


def _an_array_of(state: Any) -> _Reduces:
    return _Reduces(RECONSTRUCT, (np.ndarray, (0,), b"b"), state)


FLOAT64_STATE = (3, "<", None, None, None, -1, -1, 0)


@pytest.mark.parametrize(
    ("value", "refusal"),
    [
        (np.array([{}], dtype=object), "a number type"),
        (np.array(["text"]), "a number type"),
        (np.zeros(1, dtype=[("a", "f4")]), "a number type"),
        (np.array(["2020-01-01"], dtype="M8[D]"), "a number type"),
        (_Reduces(np.dtype, ("f8", False, True), (3, "<", None, ("a",), {"a": 1}, 8, 8, 0)), "number type's state"),
        (_Reduces(np.dtype, ("V999999999", False, True), FLOAT64_STATE), "a number type"),
        (_Reduces(np.ndarray, ((2**40,),)), "an array"),
        (_Reduces(RECONSTRUCT, (np.ndarray, (2**40,), b"b")), "an array"),
        (_Reduces(RECONSTRUCT, (np.dtype, (0,), b"b")), "an array"),
        (
            _Reduces(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (2**40,), np.dtype("f8"), False, b"12345678")),
            "comes with 8",
        ),
        (_an_array_of((1, (0, 2**62), np.dtype("f8"), False, b"")), "comes with 0"),
        (_an_array_of((1, (-1,), np.dtype("f8"), False, b"12345678")), "shape"),
        (_an_array_of((1, (1,), "f8", False, b"12345678")), "content"),
        (_an_array_of("state"), "array's state"),
        (_Reduces(RECONSTRUCT, (np.ndarray, (0,), b"b")), "bare Shell"),
        (_Reduces(RECONSTRUCT, (np.ndarray, (0,), np.arange(3.0))), "an array is made of"),
        (_Reduces(RECONSTRUCT, (np.ndarray, (np.arange(3.0),), b"b")), "an array is made of"),
        (_an_array_of((np.arange(3.0), (1,), np.dtype("f8"), False, b"12345678")), "array's state"),
        (_an_array_of((1, (1,), np.dtype("f8"), np.arange(3.0), b"12345678")), "content"),
        (_Reduces(np.dtype, ("f8", False, True), (np.arange(8),) * 8), "number type's state"),
        (_Reduces(np.dtype, ("f8", False, True), (3, "<", *[np.arange(8)] * 6)), "number type's state"),
        (np.ndarray, "bare numpy.ndarray"),
        ({1: "a key that is a number"}, "a key of type int"),
        ({("a",) * 3: "a key that is a tuple"}, "a key of type tuple"),
        ({"a", "b"}, "EMPTY_SET"),
        (2**300, "an integer of"),
        (bytearray(b"1"), "not on the closed list"),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
def test_values_deepfacelab_never_stores_are_refused(value: Any, refusal: str) -> None:
    with pytest.raises(FormatError, match=refusal):
        load(pickle.dumps([value], protocol=4))


def test_protocol_5_is_refused_with_the_way_out() -> None:
    with pytest.raises(FormatError, match="protocol 5") as refused:
        load(pickle.dumps([1], protocol=5))
    assert "protocol 4" in refused.value.hint


def test_a_text_pickle_is_refused() -> None:
    with pytest.raises(FormatError, match="byte 0x80"):
        load(pickle.dumps([1], protocol=0))


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", "byte 0x80"),
        (b"\x80\x04", "without its STOP"),
        (b"\x80\x04.", "never made"),
        (b"\x80\x04K\x01K\x02.", "left over"),
        (b"\x80\x04(K\x01.", "left over"),
        (b"\x80\x04K\x01.more", "4 bytes follow"),
        (b"\x80\x04B\xff\xff\xff\x7fabc.", "announced"),
        (b"\x80\x04\x8e\xff\xff\xff\xff\xff\xff\xff\xffabc.", "announced"),
        (b"\x80\x04\x95\xff\xff\xff\xff\xff\xff\xff\x7fN.", "frame"),
        (b"\x80\x04h\x05.", "never remembered"),
        (b"\x80\x04]e.", "mark"),
        (b"\x80\x04a.", "never made"),
        (b"\x80\x04NNa.", "a list is filled"),
        (b"\x80\x04}(Nu.", "no value"),
        (b"\x80\x04N\x86.", "a tuple of 2"),
        (b"\x80\x04NNb.", "a Shell is filled"),
        (b"\x80\x04N)R.", "something is called"),
        (b"\x80\x04X\x01\x00\x00\x00\xff.", "UTF-8"),
        (b"\x80\x04c" + b"a" * 500 + b"\n.", "a name is longer"),
        (b"\x80\x04\x82\x01.", "EXT1"),
        (b"\x80\x04Pid\n.", "PERSID"),
        (b"\x80\x04\x06.", "0x06"),
    ],
)
def test_broken_pickles_are_refused_with_what_is_wrong(data: bytes, refusal: str) -> None:
    with pytest.raises(FormatError, match=refusal):
        load(data)


def test_a_far_memo_index_costs_nothing() -> None:
    assert load(b"\x80\x04Nr\xff\xff\xff\xffj\xff\xff\xff\xff\x86.") == (None, None)


def test_a_few_bytes_cannot_name_an_endless_structure() -> None:
    doubled: list[Any] = ["x" * 100]
    for _ in range(12):
        doubled = [doubled] * 10
    data = pickle.dumps(doubled, protocol=4)
    assert len(data) < 1000
    with pytest.raises(FormatError, match="bytes with shared parts written out"):
        load(data)


@pytest.mark.parametrize("function", [np.dtype, RECONSTRUCT, np.float64(0).__reduce__()[0]])
def test_a_refusal_does_not_write_out_what_it_refuses(function: Any) -> None:
    doubled: list[Any] = ["x"]
    for _ in range(100):
        doubled = [doubled, doubled]  # 2**100 parts: printing them would never end
    with pytest.raises(FormatError, match="is made of"):
        load(pickle.dumps(_Reduces(function, (doubled, doubled, doubled)), protocol=4))


def test_bools_are_zero_or_one_whatever_the_bytes() -> None:
    data = pickle.dumps([np.array([True, False]), np.True_], protocol=4)
    changed = data.replace(b"\x01\x00", b"\x07\x00", 1).replace(b"C\x01\x01", b"C\x01\x07")
    assert changed != data
    array, scalar = load(changed)
    assert array.view(np.uint8).tolist() == [1, 0]
    assert scalar.view(np.uint8) == 1


def test_a_list_inside_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(FormatError, match="nests more than"):
        load(pickle.dumps(endless, protocol=4))


def test_a_shared_list_counts_at_its_deepest_place() -> None:
    shallow: Any = [1]
    for _ in range(9):
        shallow = [shallow]
    deep: Any = shallow
    for _ in range(9):
        deep = [deep]
    assert load(pickle.dumps([shallow], protocol=4)) == [shallow]
    with pytest.raises(FormatError, match="nests more than 16"):
        load(pickle.dumps([shallow, deep], protocol=4))


def test_too_many_bytes_or_opcodes_are_refused() -> None:
    data = pickle.dumps(list(range(100)), protocol=4)
    with pytest.raises(FormatError, match="at most 50 are read"):
        load(data, size_bytes=50)
    with pytest.raises(FormatError, match="more than 20 opcodes"):
        load(data, opcodes=20)


def assert_read_or_refused(data: bytes) -> None:
    """Any exception but FormatError fails the test; a refusal is one short sentence, whatever the bytes."""
    message = ""
    try:
        load(data)
    except FormatError as refused:
        message = refused.message
    assert len(message) < 500


VALID = [pickle.dumps(METADATA, protocol=protocol) for protocol in (2, 3, 4)]


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.binary(max_size=300))
def test_random_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    for start in (b"", b"\x80\x03", b"\x80\x04"):
        assert_read_or_refused(start + data)


OPCODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@settings(max_examples=400)
@given(st.lists(st.one_of(st.sampled_from(OPCODES), st.binary(min_size=1, max_size=4)), max_size=60))
def test_random_rows_of_opcodes_are_read_or_refused(parts: list[bytes]) -> None:
    assert_read_or_refused(b"\x80\x04cnumpy\nndarray\n" + b"".join(parts) + b".")


@settings(max_examples=400)
@given(st.sampled_from(VALID), st.data())
def test_changed_cut_or_joined_pickles_are_read_or_refused(valid: bytes, data: st.DataObject) -> None:
    position = data.draw(st.integers(2, len(valid)))
    removed = data.draw(st.integers(0, 20))
    changed = valid[:position] + data.draw(st.binary(max_size=8)) + valid[position + removed :]
    assert_read_or_refused(changed)
