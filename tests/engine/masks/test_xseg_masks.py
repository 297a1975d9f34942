"""XSeg is applied to a face as DeepFaceLab applies it, whatever face types network and face have."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from dfl.errors import FormatError
from dfl.image import AlignedMetadata, read_metadata
from dfl.xseg_weights import DATA_NAME, FACE_TYPE_OPTIONS, WEIGHTS_NAME, XSegWeights, read_xseg_weights
from engine.errors import ModelError, SettingsError
from engine.masks.source import FaceToMask, NoMask, PredictedMask
from engine.masks.xseg.converted import XSegNetwork
from engine.masks.xseg.numpy_network import probabilities
from engine.masks.xseg.xseg_masks import XSegMasks, network_input, open_xseg
from tests.xseg_rig import made_weights, sharpened, write_model

FACES = ("00001_0", "00002_0", "00003_0", "00004_0", "00006_0")


def golden_face(shared: Path, stem: str) -> FaceToMask:
    data = (shared / "golden" / "dflimg" / f"{stem}.jpg").read_bytes()
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return FaceToMask(np.asarray(pixels, np.uint8), read_metadata(data))


@dataclass
class NumpySession:
    """Runs the plain network where ONNX Runtime would be."""

    weights: XSegWeights

    def run(self, _names: object, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        pictures = next(iter(feed.values())).transpose(0, 2, 3, 1)
        return [np.stack([probabilities(self.weights, picture) for picture in pictures])[:, np.newaxis]]


def numpy_masks(weights: XSegWeights, face_type: str, pictures_a_run: int = 1) -> XSegMasks:
    network = XSegNetwork(NumpySession(weights), "a" * 64, was_converted=False)  # type: ignore[arg-type]
    return XSegMasks(network, face_type, pictures_a_run=pictures_a_run)


@pytest.mark.parametrize("stem", FACES)
@pytest.mark.parametrize("case", ["tiny_wf", "sharp_wf", "sharp_f"])
def test_masks_are_those_of_deepfacelabs_own_apply(shared: Path, case: str, stem: str) -> None:
    numerics = shared / "golden" / "numerics"
    described = json.loads((numerics / "v2" / "e_xseg_apply.json").read_text())
    weights = read_xseg_weights(numerics / "XSeg_tiny_base1_256.npy")
    if case.startswith("sharp"):
        weights = sharpened(weights, described["sharp"]["bias_value"])
    face_type = FACE_TYPE_OPTIONS[case.rpartition("_")[2]]
    face = golden_face(shared, stem)
    with np.load(numerics / "v2" / "e_xseg_apply.npz") as golden:
        wanted = np.unpackbits(golden[f"{case}/{stem}"]).reshape(256, 256).astype(bool)
        wanted_input, wanted_soft = golden[f"{case}/{stem}_input"], golden[f"{case}/{stem}_soft"]
    given = network_input(face, face_type)
    assert not isinstance(given, NoMask)
    assert np.abs(given.picture[::8, ::8] - wanted_input).max() <= 3e-4
    soft = probabilities(weights, given.picture)
    soft[soft < 0.1] = 0
    assert np.abs(soft[::8, ::8] - wanted_soft).max() <= (4e-2 if case.startswith("sharp") else 5e-3)
    (found,) = numpy_masks(weights, face_type).masks([face])
    assert isinstance(found, PredictedMask)
    assert found.mask.shape == face.pixels.shape[:2]
    stored = cv2.resize(found.mask, (256, 256), interpolation=cv2.INTER_LANCZOS4) >= found.threshold
    assert (stored != wanted).mean() <= 0.002


def test_a_face_gets_the_same_mask_in_any_company(shared: Path) -> None:
    weights = made_weights(seed=2)
    faces = [golden_face(shared, stem) for stem in FACES]
    alone = [numpy_masks(weights, "whole_face").masks([face])[0] for face in faces]
    together = numpy_masks(weights, "whole_face", pictures_a_run=2).masks(faces)
    for one, other in zip(alone, together, strict=True):
        assert isinstance(one, PredictedMask)
        assert isinstance(other, PredictedMask)
        np.testing.assert_array_equal(one.mask, other.mask)


def test_a_face_that_cannot_be_cut_anew_gets_no_mask_and_the_others_theirs(shared: Path) -> None:
    whole = golden_face(shared, "00001_0")
    without = FaceToMask(whole.pixels, replace(whole.metadata, source_landmarks=None))
    uncut = FaceToMask(whole.pixels, replace(whole.metadata, face_type="mark_only"))
    answers = numpy_masks(made_weights(), "full_face").masks([without, whole, uncut])
    assert isinstance(answers[1], PredictedMask)
    assert [one.reason for one in answers if isinstance(one, NoMask)] == [
        "the face is whole_face without the landmarks of its frame, from which the network's full_face would be cut",
        "the face is no crop (mark_only), so where the face lies is unknown",
    ]


def test_a_face_of_the_networks_type_needs_no_landmarks_of_its_frame(shared: Path) -> None:
    whole = golden_face(shared, "00001_0")
    without = FaceToMask(whole.pixels, replace(whole.metadata, source_landmarks=None))
    (found,) = numpy_masks(made_weights(), "whole_face").masks([without])
    assert isinstance(found, PredictedMask)


def test_a_model_folder_is_opened_with_its_face_type(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", made_weights(), face_type="f")
    masks = open_xseg(model, tmp_path / "kept", device="cpu")
    assert masks.face_type == "full_face"
    assert masks.was_converted
    assert not open_xseg(model, tmp_path / "kept", device="cpu").was_converted
    points = np.random.default_rng(1).uniform(40, 90, (68, 2))
    face = FaceToMask(np.full((128, 128, 3), 90, np.uint8), AlignedMetadata("full_face", points))
    (found,) = masks.masks([face])
    assert isinstance(found, PredictedMask)
    assert (found.source, found.model_sha, found.mask.shape) == ("xseg", masks.model_sha, (128, 128))


def test_a_face_type_that_is_given_stands_above_that_of_data_dat(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", made_weights(), face_type="f")
    assert open_xseg(model, tmp_path / "kept", face_type="head", device="cpu").face_type == "head"


def test_weights_alone_need_a_face_type(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", made_weights())
    (model / DATA_NAME).unlink()
    with pytest.raises(SettingsError, match="the face type of the XSeg network is unknown") as refused:
        open_xseg(model, tmp_path / "kept", device="cpu")
    assert refused.value.hint == "name it with --xseg-face-type"
    assert open_xseg(model, tmp_path / "kept", face_type="whole_face", device="cpu").face_type == "whole_face"


def test_a_folder_without_a_network_and_a_pretrained_one_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=f"holds no XSeg network: there is no {WEIGHTS_NAME}"):
        open_xseg(tmp_path, tmp_path / "kept", device="cpu")
    write_model(tmp_path / "model", made_weights(), pretrain=True)
    with pytest.raises(ModelError, match="has only been pretrained"):
        open_xseg(tmp_path / "model", tmp_path / "kept", device="cpu")


def test_a_data_dat_that_is_none_is_refused_by_name(tmp_path: Path) -> None:
    model = write_model(tmp_path / "model", made_weights())
    (model / DATA_NAME).write_bytes(b"\x80\x04]\x94.")
    with pytest.raises(FormatError, match=DATA_NAME):
        open_xseg(model, tmp_path / "kept", device="cpu")
