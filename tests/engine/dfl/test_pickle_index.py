"""Hostile pickles: nothing is executed, everything unknown is refused by name."""

from __future__ import annotations

import collections
import contextlib
import datetime
import os
import pickle
import struct
import subprocess
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.dfl.byte_source import BufferSource, PlacedError
from engine.dfl.errors import FormatError
from engine.dfl.pickle_index import ScanLimits, scan_pickle
from engine.dfl.training_state import read_training_state
from engine.dfl.weights import index_weight_source, index_weights


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
