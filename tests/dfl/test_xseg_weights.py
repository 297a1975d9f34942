"""XSeg's weight files are read whole and exactly, or refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from dfl.errors import FormatError
from dfl.pickles.dumping import dump_for_dfl
from dfl.xseg_weights import (
    DATA_NAME,
    FACE_TYPE_OPTIONS,
    LARGEST_BASE,
    WEIGHTS_NAME,
    XSegTraining,
    XSegWeights,
    read_xseg_training,
    read_xseg_weights,
    xseg_shapes,
)
from tests.xseg_rig import made_weights, write_model, write_weights

MUTANTS = int(os.environ.get("DFLD_XSEG_MUTANTS", "100"))


def test_a_network_of_deepfacelab_has_222_tensors_of_17_million_numbers() -> None:
    shapes = xseg_shapes(32)
    assert len(shapes) == 222
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 17_569_317


def test_the_golden_network_is_read_with_every_tensor(shared: Path) -> None:
    weights = read_xseg_weights(shared / "golden" / "numerics" / "XSeg_tiny_base1_256.npy")
    assert weights.base == 1
    assert {name: values.shape for name, values in weights.tensors.items()} == xseg_shapes(1)
    assert all(values.dtype == np.float32 and not values.flags.writeable for values in weights.tensors.values())


def test_the_golden_names_of_another_network_are_those_of_its_base(shared: Path) -> None:
    with np.load(shared / "golden" / "numerics" / "v2" / "w_xseg_b1.npz") as found:
        assert {name: found[name].shape for name in found.files} == xseg_shapes(1)


@pytest.mark.parametrize("base", [1, 3])
@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64])
def test_any_base_and_any_floating_point_is_read_as_deepfacelab_casts_it(
    tmp_path: Path, base: int, kind: type[np.floating]
) -> None:
    made = {name: values.astype(kind) for name, values in made_weights(base).tensors.items()}
    read = read_xseg_weights(write_weights(tmp_path / WEIGHTS_NAME, made))
    assert read.base == base
    for name, values in made.items():
        np.testing.assert_array_equal(read.tensors[name], values.astype(np.float32))


@pytest.mark.parametrize(
    ("name", "values", "said"),
    [
        ("conv01/conv/bias:0", None, "no tensor 'conv01/conv/bias:0', with which an XSeg network begins"),
        ("up3/tlu/tau:0", None, "no tensor 'up3/tlu/tau:0'"),
        ("conv01/conv/bias:0", np.zeros(LARGEST_BASE + 1, np.float32), f"expected 1 to {LARGEST_BASE} channels"),
        ("conv01/conv/bias:0", np.zeros(2, np.float32), "'conv01/conv/weight:0' has shape (3, 3, 3, 1)"),
        ("dense1/weight:0", np.zeros((512, 128), np.float32), "has shape (512, 128), expected (128, 512)"),
        ("out_conv/bias:0", np.zeros(1, np.int64), "type <i8, expected floating point"),
        ("out_conv/bias:0", np.array([np.nan], np.float32), "'out_conv/bias:0' holds numbers that are not finite"),
        ("out_conv/bias:0", np.array([1e300]), "'out_conv/bias:0' holds numbers that are not finite"),
        ("conv61/conv/bias:0", np.zeros(1, np.float32), "too many"),
    ],
)  # fmt: skip
def test_a_network_that_is_not_whole_is_refused_by_the_name_of_the_tensor(
    tmp_path: Path, name: str, values: np.ndarray | None, said: str
) -> None:
    tensors = dict(made_weights().tensors)
    if values is None:
        del tensors[name]
    else:
        tensors[name] = values
    path = write_weights(tmp_path / WEIGHTS_NAME, tensors)
    with pytest.raises(FormatError) as refused:
        read_xseg_weights(path)
    assert str(path) in refused.value.message
    assert said in refused.value.message


@pytest.mark.parametrize("content", [b"", bytes(4096), b"\x93NUMPY\x01\x00", b"PK\x03\x04", b"\x80\x04N."])
def test_another_file_of_that_name_is_refused_by_name(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / WEIGHTS_NAME
    path.write_bytes(content)
    with pytest.raises(FormatError, match="XSeg_256.npy is no XSeg network"):
        read_xseg_weights(path)


def test_weights_that_are_not_there_or_no_file_are_refused_by_name(tmp_path: Path) -> None:
    for path in (tmp_path / "none.npy", tmp_path):
        with pytest.raises(FormatError, match="cannot be read") as refused:
            read_xseg_weights(path)
        assert str(path) in refused.value.message


def test_the_golden_hostile_pickle_is_refused_and_not_run(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "ran"
    monkeypatch.setenv("DFLD_GOLDEN_MARKER", str(marker))
    hostile = sorted((shared / "golden" / "models" / "hostile").glob("*.npy"))
    assert hostile
    for path in hostile:
        with pytest.raises(FormatError):
            read_xseg_weights(path)
    assert not marker.exists()


def test_mutated_files_are_refused_by_name_or_are_networks_still(tmp_path: Path) -> None:
    made = write_weights(tmp_path / "made.npy", made_weights().tensors).read_bytes()
    source = np.random.default_rng(11)
    path = tmp_path / WEIGHTS_NAME
    refused = 0
    for number in range(MUTANTS):
        path.write_bytes(_mutated(made, source, number))
        weights, problem = _read(path)
        if weights is None:
            assert str(path) in problem
            refused += 1
        else:  # numbers alone were changed
            assert {name: values.shape for name, values in weights.tensors.items()} == xseg_shapes(1)
            assert all(np.isfinite(values).all() for values in weights.tensors.values())
    assert refused > MUTANTS // 2


def _read(path: Path) -> tuple[XSegWeights | None, str]:
    try:
        return read_xseg_weights(path), ""
    except FormatError as problem:
        return None, problem.message


def _mutated(data: bytes, source: np.random.Generator, number: int) -> bytes:
    """Return the bytes cut, repeated, left out or overwritten somewhere."""
    at, other = sorted(int(place) for place in source.integers(0, len(data), 2))
    match number % 5:
        case 0:
            return data[:at]
        case 1:
            return data[:at] + data[at : min(other, at + 5000)] + data[at:]
        case 2:
            return data[:at] + data[at + int(source.integers(1, 64)) :]
    changed = bytearray(data)
    places = (
        source.integers(0, len(data), 20)
        if number % 5 == 3
        else int(source.integers(0, len(data))) + source.integers(0, 40, 5)
    )
    for place in places:
        changed[int(place) % len(data)] = int(source.integers(0, 256))
    return bytes(changed)


@pytest.mark.parametrize(
    ("option", "face_type"),
    [("h", "half_face"), ("mf", "midfull_face"), ("f", "full_face"), ("wf", "whole_face"), ("head", "head")],
)
def test_the_face_type_of_a_network_stands_in_its_data_dat(tmp_path: Path, option: str, face_type: str) -> None:
    training = read_xseg_training(write_model(tmp_path, made_weights(), face_type=option) / DATA_NAME)
    assert training.face_type == face_type
    assert not training.is_pretrained_only


def test_a_network_that_was_only_pretrained_says_so(tmp_path: Path) -> None:
    assert read_xseg_training(write_model(tmp_path, made_weights(), pretrain=True) / DATA_NAME).is_pretrained_only


@pytest.mark.parametrize("said", ["wholeface", 3, ["wf"]])
def test_a_face_type_that_deepfacelab_does_not_know_is_refused(tmp_path: Path, said: object) -> None:
    with pytest.raises(FormatError, match="face_type is .*, expected one of h, mf, f, wf, head"):
        read_xseg_training(write_model(tmp_path, made_weights(), face_type=said) / DATA_NAME)


def test_options_without_a_face_type_say_nothing(tmp_path: Path) -> None:
    (tmp_path / DATA_NAME).write_bytes(dump_for_dfl({"iter": 1, "options": {}, "loss_history": [[0.1]]}))
    assert read_xseg_training(tmp_path / DATA_NAME).face_type is None


def test_a_mutated_data_dat_is_refused_by_name_or_says_a_face_type_still(tmp_path: Path) -> None:
    path = write_model(tmp_path, made_weights()) / DATA_NAME
    made = path.read_bytes()
    source = np.random.default_rng(12)
    refused = 0
    for number in range(MUTANTS):
        path.write_bytes(_mutated(made, source, number))
        training, problem = _read_training(path)
        if training is None:
            assert DATA_NAME in problem
            refused += 1
        else:
            assert training.face_type in (None, *FACE_TYPE_OPTIONS.values())
    assert refused > MUTANTS // 2


def _read_training(path: Path) -> tuple[XSegTraining | None, str]:
    try:
        return read_xseg_training(path), ""
    except FormatError as problem:
        return None, problem.message
