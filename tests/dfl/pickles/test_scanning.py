"""Hostile pickles: nothing is executed, everything unknown is refused by name."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import pickle
import struct
import subprocess
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl.byte_source import BufferSource, PlacedError
from dfl.errors import FormatError
from dfl.pickles.scanning import ScanLimits, scan_pickle
from dfl.training_state import read_training_state
from dfl.weights import index_weight_source, index_weights


class Runs:
    """Pickles as a call of whatever it is given."""

    def __init__(self, function: object, *arguments: object) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[object, tuple[object, ...]]:
        return self.call


def attacks(marker: Path) -> dict[str, bytes]:
    """Pickles that would create `marker` or eat the machine if someone unpickled them."""
    array = np.ones(4, np.float32)
    calls = {
        "os.system": Runs(os.system, f"touch {marker}"),
        "subprocess": Runs(subprocess.call, ["touch", str(marker)]),
        "eval": Runs(eval, f"open({str(marker)!r}, 'w')"),
        "open": Runs(open, str(marker), "w"),
        "getattr": Runs(getattr, "os", "system"),
    }
    made = {
        f"{name} {protocol}": pickle.dumps({"a:0": array, "x": call}, protocol)
        for name, call in calls.items()
        for protocol in (2, 3, 4, 5)
    }
    made["class instance"] = pickle.dumps({"a:0": datetime.datetime(2020, 1, 1)}, 4)
    made["ordered dict"] = pickle.dumps(collections.OrderedDict(a=array), 4)
    made["set"] = pickle.dumps({"a:0": {1, 2}}, 4)
    made["masked array"] = pickle.dumps({"a:0": np.ma.masked_array([1.0])}, 4)
    made["record array"] = pickle.dumps({"a:0": np.rec.array([(1,)])}, 4)
    made["protocol 0"] = pickle.dumps({"a:0": array}, 0)
    made["protocol 1"] = pickle.dumps({"a:0": array}, 1)
    made["protocol 6"] = b"\x80\x06}."
    made["persistent id"] = b"\x80\x02X\x01\x00\x00\x00aQ."
    made["extension registry"] = b"\x80\x02\x82\x01."
    made["instance opcode"] = b"\x80\x02(ios\nsystem\n."
    made["object opcode"] = b"\x80\x02(cos\nsystem\no."
    made["new object"] = b"\x80\x02cnumpy\nndarray\n)\x81."
    made["out of band buffer"] = b"\x80\x05\x97."
    made["numpy's own file reader"] = b"\x80\x02cnumpy\nload\nX\x01\x00\x00\x00a\x85R."
    made["numpy object path"] = b"\x80\x04\x8c\x05numpy\x8c\x13ndarray.__reduce__\x93."
    made["dtype called on itself"] = b"\x80\x02cnumpy\ndtype\ncnumpy\ndtype\n\x85R."
    made["array of another class"] = (
        b"\x80\x02cnumpy.core.multiarray\n_reconstruct\ncnumpy\ndtype\nK\x00\x85C\x01b\x87R."
    )
    made["text of 4 GiB"] = b"\x80\x02X\xff\xff\xff\xff."
    made["bytes of 2^63"] = b"\x80\x04\x8e" + struct.pack("<Q", 2**63) + b"."
    made["frame of 2^63"] = b"\x80\x04\x95" + struct.pack("<Q", 2**63) + b"."
    made["integer of 255 bytes"] = b"\x80\x02\x8a\xff" + bytes(255) + b"."
    made["memo that is not there"] = b"\x80\x02h\x07."
    made["empty stack"] = b"\x80\x02\x85."
    made["mark as value"] = b"\x80\x02(\x85."
    made["mark remembered"] = b"\x80\x02(q\x00."
    made["no end"] = b"\x80\x02}"
    made["two values"] = b"\x80\x02NN."
    made["build of a text"] = b"\x80\x02X\x01\x00\x00\x00aNb."
    made["append to a dict"] = b"\x80\x02}Na."
    made["set item of a list"] = b"\x80\x02]NNs."
    made["odd number of items"] = b"\x80\x02}(Nu."
    made["key twice"] = b"\x80\x02}(X\x01\x00\x00\x00aNX\x01\x00\x00\x00aNu."
    made["tuple as key"] = b"\x80\x02}()Nu."
    made["text that is no text"] = b"\x80\x02X\x02\x00\x00\x00\xff\xfe."
    made["global without end"] = b"\x80\x02c" + b"a" * 100_000
    return made


ATTACKS = sorted(attacks(Path("marker")))


@pytest.mark.parametrize("name", ATTACKS)
def test_a_hostile_pickle_is_refused_and_nothing_is_run(name: str, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    with pytest.raises(FormatError):
        index_weight_source(BufferSource(attacks(marker)[name]))
    assert list(tmp_path.iterdir()) == []


def test_the_golden_attacks_are_refused_by_name_and_leave_no_marker(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "marker"
    monkeypatch.setenv("DFLD_GOLDEN_MARKER", str(marker))
    hostile = shared / "golden/models/hostile"
    with pytest.raises(FormatError, match="builtins.eval"):
        index_weights(hostile / "alice_SAEHD_encoder.npy")
    with pytest.raises(FormatError, match=r"posix\.system"):
        read_training_state(hostile / "alice_SAEHD_data.dat")
    assert not marker.exists()


def test_the_name_that_was_asked_for_is_told() -> None:
    with pytest.raises(FormatError, match=r"byte \d+: asks for 'posix\.system'"):
        scan_pickle(BufferSource(pickle.dumps(Runs(os.system, "true"), 2)))


def test_a_stream_that_never_ends_is_stopped_by_its_number_of_opcodes() -> None:
    with pytest.raises(FormatError, match="more than 1000 opcodes"):
        scan_pickle(BufferSource(b"\x80\x02N" + b"q\x00" * 2000), limits=ScanLimits(opcodes=1000))


def test_a_stream_that_fills_the_stack_is_stopped() -> None:
    with pytest.raises(FormatError, match="more than 100 values"):
        scan_pickle(BufferSource(b"\x80\x02" + b"N" * 200), limits=ScanLimits(stack=100))


def test_a_list_that_holds_itself_does_no_harm() -> None:
    value = scan_pickle(BufferSource(b"\x80\x02]q\x00h\x00a.")).value
    assert value[0] is value


@settings(deadline=None, max_examples=300)
@given(st.binary(max_size=300))
def test_random_bytes_are_refused_or_read_but_never_break_the_scanner(noise: bytes) -> None:
    with contextlib.suppress(PlacedError):
        scan_pickle(BufferSource(b"\x80\x04" + noise))


@settings(deadline=None, max_examples=300)
@given(st.data())
def test_a_damaged_weight_file_is_refused_or_has_tensors_inside_the_file(data: st.DataObject) -> None:
    whole = bytearray(pickle.dumps({"a:0": np.ones(9, np.float32), "b:0": np.ones((2, 2)), "n": np.int64(3)}, 4))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        layout = index_weight_source(BufferSource(bytes(whole)))
    except FormatError:
        return
    for tensor in layout.tensors:
        assert 0 <= tensor.offset <= tensor.offset + tensor.stored_bytes <= len(whole)


# Bombs: whatever the opcodes, memory stays within the limit.

ARRAY = (
    b"\x8c\x15numpy.core.multiarray\x8c\x0c_reconstruct\x93q\x00\x8c\x05numpy\x8c\x07ndarray\x93K\x00\x85C\x01b\x87q\x01"
    b"\x8c\x05numpy\x8c\x05dtype\x93\x8c\x02f4K\x00K\x01\x87Rq\x03(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tbq\x04"
    b"\x8c\x15numpy.core.multiarray\x8c\x06scalar\x93q\x02"
)
"""Remembers: 0 the maker of arrays, 1 its arguments, 2 the maker of numbers, 4 an element type."""
BOMBS = {
    "dicts": b"}",
    "lists": b"]",
    "lists in tuples": b"]\x85",
    "tuples of three": b"h\x00h\x00h\x00\x87",
    "numbers": b"J\x01\x02\x03\x04",
    "small numbers": b"M\x01\x02",
    "large numbers": b"\x8a\x10" + b"\x77" * 16,
    "fractions": b"G" + bytes(8),
    "texts": b"\x8c\x01a",
    "empty texts": b"\x8c\x00",
    "long texts": b"X\x00\x10\x00\x00" + "\U0001f600".encode() + b"a" * 4092,
    "texts of two bytes a character": b"X\x00\x10\x00\x00" + "é".encode() * 2047 + "中".encode()[:3][:2] + b"",
    "places of bytes": b"C\x01a",
    "arrays": b"h\x00h\x01R",
    "numpy numbers": b"h\x02h\x04C\x04aaaa\x86R",
    "loss rows": (b"]\x94(G" + bytes(8) + b"e") * 2 + b"N",
    "wide loss rows": (b"]\x94(" + (b"G" + bytes(8)) * 16 + b"e") * 40 + b"N",
    "lists of marks": b"](e",
    "keys": b"}\x8c\x01aNs",
    "marks": b"(",
    "nothing": b"N",
    "recalls": b"h\x00",
}


@pytest.mark.parametrize("remembered", [b"", b"\x94"], ids=["", "remembered"])
@pytest.mark.parametrize("name", BOMBS)
def test_a_bomb_of_any_opcode_needs_no_more_memory_than_it_may(name: str, remembered: bytes) -> None:
    piece = BOMBS[name] if name == "marks" else BOMBS[name] + remembered
    source = BufferSource(b"\x80\x04" + ARRAY + piece * (200_000 // len(piece)) + b".")
    limits = ScanLimits(stack=10**8, memo=10**8, objects_bytes=2**20, rows_bytes=2**18)
    tracemalloc.start()
    try:
        with pytest.raises(FormatError):
            scan_pickle(source, limits=limits)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < limits.objects_bytes + limits.rows_bytes + 2**18


def test_a_stream_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(FormatError, match="more than 0 s"):
        scan_pickle(BufferSource(b"\x80\x02N" + b"q\x00" * 9000), limits=ScanLimits(cpu_s=0.0))


def test_keys_that_python_would_put_in_one_place_are_refused() -> None:
    same = b"".join(b"\x8a\x10" + (number * (2**61 - 1)).to_bytes(16, "little") + b"N" for number in range(1, 9))
    with pytest.raises(FormatError, match="too large a number"):
        scan_pickle(BufferSource(b"\x80\x02}(" + same + b"u."))


NESTED = b"]" + b"\x85" * 100_000
TWICE = b"]" + b"".join(b"q\x05h\x05\x86" for _ in range(60))


@pytest.mark.parametrize("monster", [NESTED, TWICE], ids=["nested", "doubled sixty times"])
@pytest.mark.parametrize(
    ("before", "after"),
    [
        (b"cnumpy\ndtype\n", b"\x85R"),
        (b"cnumpy\ndtype\n(", b"NNtR"),
        (b"", b"\x8c\x01a\x93"),
        (b"\x8c\x01a", b"\x93"),
        (b"", b"R"),
        (b"}", b"Ns"),
        (b"cnumpy.core.numeric\n_frombuffer\n(C\x00cnumpy\ndtype\n\x8c\x02f4K\x00K\x01\x87R)", b"tR"),
        (b"cnumpy.core.multiarray\nscalar\n", b"\x85R"),
        (b"cnumpy.core.multiarray\nscalar\nNNN\x87R", b""),
        (b"cnumpy.core.multiarray\n_reconstruct\n", b"\x85R"),
        (b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85C\x01b\x87R(K\x01", b"NNNtb"),
    ],
)
def test_a_monster_in_any_place_is_refused_in_a_short_sentence(monster: bytes, before: bytes, after: bytes) -> None:
    with pytest.raises(FormatError) as caught:
        scan_pickle(BufferSource(b"\x80\x04" + before + monster + after + b"."))
    assert len(caught.value.message) < 300
