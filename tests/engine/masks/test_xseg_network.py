"""XSeg in numpy and as ONNX compute what DeepFaceLab does; a network is converted once and kept with care."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import onnx
import pytest

from dfl.errors import FormatError
from dfl.xseg_weights import WEIGHTS_NAME, XSegWeights, read_xseg_weights
from engine.errors import InputUnavailableError, ModelError
from engine.masks.xseg import converted
from engine.masks.xseg.converted import open_network, self_check_picture
from engine.masks.xseg.numpy_network import probabilities
from engine.masks.xseg.onnx_graph import onnx_bytes
from tests.xseg_rig import made_weights, sharpened, write_weights

CPU = ("CPUExecutionProvider",)


@pytest.fixture
def weights_file(tmp_path: Path) -> Path:
    path = write_weights(tmp_path / "model" / WEIGHTS_NAME, made_weights().tensors)
    os.utime(path, ns=(10**18, 10**18))
    return path


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    return tmp_path / "models" / "xseg"


def golden_case(shared: Path) -> tuple[Path, np.ndarray, np.ndarray]:
    numerics = shared / "golden" / "numerics"
    with np.load(numerics / "XSeg_tiny_io.npz") as found:
        picture = found["image_u8"].astype(np.float32) / np.float32(255)
        logits = found["logits_f16"][..., 0].astype(np.float32)
    return numerics / "XSeg_tiny_base1_256.npy", picture, 1 / (1 + np.exp(-logits))


def test_numpy_answers_as_deepfacelab_does(shared: Path) -> None:
    path, picture, golden = golden_case(shared)
    found = probabilities(read_xseg_weights(path), picture)
    assert np.abs(found - golden).max() <= 2e-4
    np.testing.assert_array_equal(found >= 0.5, golden >= 0.5)


def test_onnx_answers_as_deepfacelab_does(shared: Path, kept: Path) -> None:
    path, picture, golden = golden_case(shared)
    (found,) = open_network(path, kept, CPU).probabilities(picture[np.newaxis])
    assert np.abs(found - golden).max() <= 2e-4
    np.testing.assert_array_equal(found >= 0.5, golden >= 0.5)


def test_numpy_agrees_with_deepfacelab_run_in_double_precision(shared: Path) -> None:
    """On the well-conditioned network, for both samples; every eighth pixel is stored."""
    folder = shared / "golden" / "numerics" / "v2"
    with np.load(folder / "w_xseg_b1.npz") as found:
        weights = XSegWeights(1, {name: found[name].astype(np.float32) for name in found.files})
    with np.load(folder / "d_xseg.npz") as step, np.load(folder / "d_xseg_f64.npz") as exact:
        pictures, expected = step["image_u8"], exact["pred"][..., 0]
    for picture, wanted in zip(pictures, expected, strict=True):
        answer = probabilities(weights, picture.astype(np.float32) / np.float32(255))[::8, ::8]
        assert np.abs(answer - wanted).max() <= 5e-5


@pytest.mark.parametrize("base", [1, 4])
def test_numpy_and_onnx_agree_on_any_base_and_any_number_of_pictures(kept: Path, tmp_path: Path, base: int) -> None:
    weights = made_weights(base, seed=base)
    network = open_network(write_weights(tmp_path / WEIGHTS_NAME, weights.tensors), kept, CPU)
    pictures = np.stack([self_check_picture(), self_check_picture()[::-1]])
    for picture, found in zip(pictures, network.probabilities(pictures), strict=True):
        wanted = probabilities(weights, picture)
        assert wanted.std() > 0.05  # an answer that varies over the picture
        assert np.abs(found - wanted).max() < 1e-4


def test_the_graph_is_valid_onnx_and_the_same_for_the_same_weights() -> None:
    content = onnx_bytes(made_weights())
    onnx.checker.check_model(content, full_check=True)
    assert onnx_bytes(made_weights()) == content


def test_a_network_is_converted_once_and_hashed_once(
    weights_file: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = open_network(weights_file, kept, CPU)
    hashed = []
    whole = converted.sha256_of
    monkeypatch.setattr(converted, "sha256_of", lambda path, **how: hashed.append(path) or whole(path, **how))
    again = open_network(weights_file, kept, CPU)
    assert (first.was_converted, again.was_converted) == (True, False)
    assert first.weights_sha256 == again.weights_sha256
    assert weights_file not in hashed
    picture = self_check_picture()[np.newaxis]
    np.testing.assert_array_equal(first.probabilities(picture), again.probabilities(picture))


def test_what_is_kept_is_private(weights_file: Path, kept: Path) -> None:
    open_network(weights_file, kept, CPU)
    assert {oct(path.stat().st_mode & 0o007) for path in kept.iterdir()} == {"0o0"}


def test_a_kept_file_that_is_damaged_is_made_again(weights_file: Path, kept: Path) -> None:
    open_network(weights_file, kept, CPU)
    (onnx_file,) = kept.glob("*.onnx")
    whole = onnx_file.read_bytes()
    for damaged in (whole[:-1000], bytes(len(whole)), whole[:300] + b"\xff" + whole[301:]):
        onnx_file.write_bytes(damaged)
        assert open_network(weights_file, kept, CPU).was_converted
        assert onnx_file.read_bytes() == whole


@pytest.mark.parametrize("note", [b"", b"[]", b'{"sha256": 3}', b"[" * 100_000, b"\xff"])
def test_notes_that_make_no_sense_count_as_none(weights_file: Path, kept: Path, note: bytes) -> None:
    open_network(weights_file, kept, CPU)
    for path in kept.glob("*.json"):
        path.write_bytes(note)
    assert open_network(weights_file, kept, CPU).was_converted


def test_a_weight_file_that_changed_is_converted_and_the_file_of_the_old_one_goes(
    weights_file: Path, kept: Path
) -> None:
    old = open_network(weights_file, kept, CPU).weights_sha256
    write_weights(weights_file, made_weights(seed=5).tensors)
    new = open_network(weights_file, kept, CPU)
    assert new.was_converted
    assert new.weights_sha256 != old
    assert {path.name.split("-")[0] for path in kept.glob("*.onnx")} == {new.weights_sha256}


def test_the_file_of_another_model_stays_as_long_as_its_weights_do(weights_file: Path, kept: Path) -> None:
    other = write_weights(weights_file.parent.parent / "other" / WEIGHTS_NAME, made_weights(seed=6).tensors)
    os.utime(other, ns=(10**18, 10**18))
    hashes = {open_network(path, kept, CPU).weights_sha256 for path in (weights_file, other)}
    assert {path.name.split("-")[0] for path in kept.glob("*.onnx")} == hashes
    other.unlink()
    write_weights(weights_file, made_weights(seed=7).tensors)
    third = open_network(weights_file, kept, CPU).weights_sha256
    assert {path.name.split("-")[0] for path in kept.glob("*.onnx")} == {third}


def test_a_graph_that_computes_something_else_is_not_kept(
    weights_file: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(converted, "onnx_bytes", lambda weights: onnx_bytes(sharpened(weights, 0.3, 1.5)))
    with pytest.raises(ModelError, match="differs from the network by .*, expected less than 0.001; it is not used"):
        open_network(weights_file, kept, CPU)
    assert not list(kept.glob("*.onnx")) + list(kept.glob(".*.part"))


def test_weights_that_a_trainer_replaces_meanwhile_are_not_mixed(
    weights_file: Path, kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read_and_replace(path: Path) -> XSegWeights:
        write_weights(path, made_weights(seed=8).tensors)
        return read_xseg_weights(path)

    monkeypatch.setattr(converted, "read_xseg_weights", read_and_replace)
    with pytest.raises(InputUnavailableError, match="changed while they were read"):
        open_network(weights_file, kept, CPU)
    assert not list(kept.glob("*.onnx"))


def test_what_is_no_network_is_refused_by_name_and_leaves_nothing(weights_file: Path, kept: Path) -> None:
    weights_file.write_bytes(b"no weights")
    with pytest.raises(FormatError, match="XSeg_256.npy is no XSeg network"):
        open_network(weights_file, kept, CPU)
    assert not list(kept.glob("*.onnx"))


def test_the_note_says_how_well_the_self_check_went(weights_file: Path, kept: Path) -> None:
    network = open_network(weights_file, kept, CPU)
    note = json.loads((kept / f"{network.weights_sha256}-{converted.CONVERTER_VERSION}.json").read_text())
    assert note["base"] == 1
    assert 0 <= note["self_check"] < 1e-4
