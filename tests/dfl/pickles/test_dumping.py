"""What is pickled for DeepFaceLab, its Python 3.6 with numpy 1.19 reads: judged by the names the opcodes ask for."""

from __future__ import annotations

import io
import os
import pickle
import pickletools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfl.errors import FormatError
from dfl.jpeg import read_app15
from dfl.pickles.dumping import dump_for_dfl
from dfl.pickles.loading import load_closed
from dfl.pickles.numpy_values import NUMPY_NAMES

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


def load(data: bytes) -> Any:
    return load_closed(data, allowed=NUMPY_NAMES)


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


def names_in(data: bytes) -> set[str]:
    """Every "module name" a pickle asks for, by its opcodes alone."""
    names, texts = set(), []
    memo: list[str] = []
    for opcode, argument, _ in pickletools.genops(data):
        if opcode.name == "GLOBAL":
            names.add(argument)
        elif "UNICODE" in opcode.name:
            texts.append(argument)
        elif opcode.name == "MEMOIZE":
            memo.append(texts[-1] if texts else "")
        elif opcode.name in ("BINGET", "LONG_BINGET"):
            texts.append(memo[argument] if argument < len(memo) else "")
        elif opcode.name == "STACK_GLOBAL":
            names.add(f"{texts[-2]} {texts[-1]}")
    return names


NAMES_OF_NUMPY_1_19 = {
    "numpy.core.multiarray _reconstruct",
    "numpy.core.multiarray scalar",
    "numpy ndarray",
    "numpy dtype",
}


@pytest.mark.parametrize("protocol", [3, 4])
def test_numpy_is_named_as_numpy_1_19_names_it(protocol: int) -> None:
    data = dump_for_dfl(METADATA, protocol=protocol)
    assert names_in(data) == NAMES_OF_NUMPY_1_19
    assert max(opcode.proto for opcode, _, _ in pickletools.genops(data)) <= protocol
    assert b"numpy._core" not in data


@pytest.mark.parametrize("protocol", [3, 4])
def test_what_is_written_is_read_back(protocol: int) -> None:
    assert_same(load(dump_for_dfl(METADATA, protocol=protocol)), METADATA)


class _OldNames(pickle.Unpickler):
    """Python's own reader, with numpy 1's module where numpy 2 may no longer have it."""

    def find_class(self, module: str, name: str) -> Any:
        assert module in ("numpy", "numpy.core.multiarray", "_codecs"), module
        return super().find_class(module.replace("numpy.core", "numpy._core"), name)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**100), 2**100)
        | st.floats(allow_nan=False)
        | st.text(max_size=20)
        | st.binary(max_size=300),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
        max_leaves=20,
    ),
    st.sampled_from([3, 4]),
)
def test_any_plain_data_survives_both_readers(value: Any, protocol: int) -> None:
    data = dump_for_dfl(value, protocol=protocol)
    assert _OldNames(io.BytesIO(data)).load() == value
    assert load(data) == value


@pytest.mark.parametrize("value", [Path("x"), {1, 2}, os.environ, len, int, np.array([None]), np.str_("x"), 1j])
def test_what_deepfacelab_could_not_read_is_not_written(value: Any) -> None:
    with pytest.raises(FormatError, match="cannot be stored"):
        dump_for_dfl([value])


@pytest.mark.parametrize("protocol", [3, 4])
def test_a_text_that_the_reader_would_refuse_is_not_written(protocol: int) -> None:
    with pytest.raises(FormatError, match="not UTF-8"):
        dump_for_dfl({"name": os.fsdecode(b"\xff.jpg")}, protocol=protocol)


@pytest.mark.parametrize("protocol", [2, 5])
def test_other_protocols_are_not_written(protocol: int) -> None:
    with pytest.raises(FormatError, match=f"protocol {protocol}"):
        dump_for_dfl([1], protocol=protocol)


def test_golden_metadata_is_written_again_byte_for_byte(shared: Path) -> None:
    for path in sorted((shared / "golden" / "dflimg").glob("*.jpg")):
        payload = read_app15(path.read_bytes())
        assert payload is not None
        assert dump_for_dfl(load(payload), protocol=3) == payload, path.name


def test_a_data_dat_of_deepfacelab_is_read_and_written_again_byte_for_byte(shared: Path) -> None:
    """Arrays out of its worker processes have number types of their own, which the file spells one by one."""
    for machine in ("machine_a", "machine_b", "machine_c"):
        content = (shared / "golden/models" / machine / "alice_SAEHD_data.dat").read_bytes()
        assert dump_for_dfl(load(content), protocol=3) == content


@pytest.mark.parametrize("count", [0, 1, 2, 300, 999, 1000, 1001, 2001, 2500])
def test_a_list_of_rows_is_written_as_pythons_own_c_pickler_writes_it(count: int) -> None:
    before = [[number] for number in range(260)]
    rows: list[object] = [[number / 3, -float(number)] for number in range(count)]
    shared = [*rows, *rows[:3], [1.0, 2], [1.0], [], [float("nan"), float("inf")], 3.0, *([[0.5, 0.5]] * 2)]
    for value in (rows, shared, {"before": before, "rows": rows}, {"before": before, "rows": shared}):
        assert dump_for_dfl(value, protocol=3) == pickle.dumps(value, 3)


def test_arrays_share_their_number_type_in_a_file_exactly_as_they_did() -> None:
    own = np.ndarray(2, np.dtype("<f4", copy=True), b"12345678")
    for arrays in ([own, own.copy(), np.zeros(3, np.float32)], [np.ones(3), np.zeros(2)]):
        content = dump_for_dfl({str(number): array for number, array in enumerate(arrays)})
        assert dump_for_dfl(load(content)) == content
