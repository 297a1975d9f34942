"""Rounds with machines that are not as they should be: left out with their reason, or given what heals them."""

from __future__ import annotations

import os
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from sync.rounds.rounds import Rounds
from tests.sync.fleet import Fleet, as_value, begun, make_fleet, mean_of, weights_value
from tests.sync.training import MODEL, TrainingMachine


def break_weights(one: TrainingMachine, how: str, shared: Path | None = None) -> None:
    path = one.folder / MODEL.file_name("encoder.npy")
    content = path.read_bytes()
    tensors = pickle.loads(content)
    key = next(iter(tensors))
    match how:
        case "truncated":
            path.write_bytes(content[: len(content) * 2 // 3])
        case "zero-filled":
            path.write_bytes(bytes(len(content)))
        case "empty":
            path.write_bytes(b"")
        case "hostile":
            path.write_bytes(pickle.dumps(Bomb(str(one.folder / "marker")), 4))
        case "NaN":
            tensors[key][...] = np.nan
            path.write_bytes(pickle.dumps(tensors, 4))
        case "shape":
            tensors[key] = np.zeros((3, 3), np.float32)
            path.write_bytes(pickle.dumps(tensors, 4))
        case "key":
            tensors["other:0"] = tensors.pop(key)
            path.write_bytes(pickle.dumps(tensors, 4))
        case "garbage":
            for name, value in tensors.items():
                tensors[name] = (100 * np.random.default_rng(1).normal(size=value.shape)).astype(np.float32)
            path.write_bytes(pickle.dumps(tensors, 4))
        case "option":
            state = one.state()
            state["options"]["archi"] = "df-udt"
            (one.folder / MODEL.file_name("data.dat")).write_bytes(pickle.dumps(state, 3))
    # As a whole save leaves it: no weight file is younger than data.dat.
    saved = (one.folder / MODEL.file_name("data.dat")).stat()
    os.utime(path, ns=(saved.st_mtime_ns, saved.st_mtime_ns))


class Bomb:
    def __init__(self, marker: str) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str, str]]:
        return open, (self.marker, "w")


@pytest.mark.parametrize(
    ("how", "words"),
    [
        ("truncated", "encoder.npy is no usable weight file"),
        ("zero-filled", "encoder.npy is no usable weight file"),
        ("empty", "encoder.npy is no usable weight file"),
        ("hostile", "encoder.npy is no usable weight file"),
        ("NaN", "NaN"),
        ("shape", "encoder.npy has 2 tensors"),
        ("key", "encoder.npy has 2 tensors"),
        ("garbage", "drifted"),
        ("option", "archi is"),
    ],
)
def test_one_bad_machine_of_three_is_left_out_with_its_reason(fleet: Fleet, how: str, words: str) -> None:
    rounds = begun(fleet)
    expected = as_value(mean_of([fleet["gpu1"], fleet["gpu3"]]))
    break_weights(fleet["gpu2"], how)

    done = rounds.average()

    assert done.outcome == "averaged", done.reason
    assert words in done.excluded["gpu2"]
    assert done.contributors == ("gpu1", "gpu3")
    assert weights_value(fleet["gpu1"]) == weights_value(fleet["gpu3"]) == expected
    assert not (fleet["gpu2"].folder / "marker").exists()


def test_a_machine_with_nan_is_healed_by_the_average(fleet: Fleet) -> None:
    rounds = begun(fleet)
    break_weights(fleet["gpu2"], "NaN")
    rounds.average()
    assert weights_value(fleet["gpu2"]) == weights_value(fleet["gpu1"])


def test_with_too_few_good_machines_the_round_is_held_and_nothing_changes(fleet: Fleet) -> None:
    rounds = begun(fleet)
    break_weights(fleet["gpu2"], "NaN")
    break_weights(fleet["gpu3"], "truncated")
    before = [(one.folder / MODEL.file_name("encoder.npy")).read_bytes() for one in fleet.machines]

    done = rounds.average()

    assert done.outcome == "held"
    assert "quorum is 2" in done.reason
    assert before == [(one.folder / MODEL.file_name("encoder.npy")).read_bytes() for one in fleet.machines]


def test_a_temporary_file_of_a_broken_save_keeps_a_machine_out(fleet: Fleet) -> None:
    rounds = begun(fleet)
    (fleet["gpu2"].folder / MODEL.file_name("inter.npy.tmp")).write_bytes(b"half")
    done = rounds.average()
    assert "a save is under way" in done.excluded["gpu2"]
    assert done.contributors == ("gpu1", "gpu3")


def test_one_of_five_stale_is_left_out(quick_folder: Path) -> None:
    fleet = make_fleet(quick_folder, ("gpu1", "gpu2", "gpu3", "gpu4", "gpu5"))
    settings = fleet.settings(gates=replace(fleet.settings().gates, least_work=0.25))
    rounds = Rounds(settings)
    rounds.start_from("gpu1")
    fleet.train_by_hand(["gpu1", "gpu2", "gpu3", "gpu4"])
    done = rounds.average()
    assert done.outcome == "averaged", done.reason
    assert "0 iterations since" in done.excluded["gpu5"]
    assert len(set(fleet.sets().values())) == 1, "it is given the average all the same"


def test_a_model_that_is_absent_on_a_machine_is_told(fleet: Fleet) -> None:
    rounds = begun(fleet)
    shutil.rmtree(fleet["gpu2"].folder)
    fleet["gpu2"].folder.mkdir()
    assert "data.dat" in rounds.average().excluded["gpu2"]


def test_another_network_is_not_given_the_start(fleet: Fleet) -> None:
    break_weights(fleet["gpu3"], "shape")
    before = fleet.sets()["gpu3"]
    done = Rounds(fleet.settings()).start_from("gpu1")
    assert done.outcome == "initialised"
    assert done.receivers == ("gpu1", "gpu2")
    assert fleet.sets()["gpu3"] == before
