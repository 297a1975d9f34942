"""Face parsers of both families, on networks whose classes follow from colours: order of channels, places."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from dfl.image import AlignedMetadata, read_metadata
from engine.errors import ModelError, SettingsError
from engine.masks.checks import check_mask
from engine.masks.parser import open_parser
from engine.masks.source import FaceToMask, PredictedMask
from tests.landmarked_faces import an_aligned_face
from tests.parser_files import CELEBAMASK_CLASSES, COLOURS, celebamask_model, parser_model, selfie_model, write_model

BLACK = (0, 0, 0)


def painted(face: FaceToMask, **patches: tuple[slice, slice]) -> FaceToMask:
    pixels = np.zeros((face.side_px, face.side_px, 3), np.uint8)
    for colour, place in patches.items():
        pixels[place] = COLOURS[colour]
    return FaceToMask(pixels, face.metadata)


def mask_of(path: Path, face: FaceToMask, *include: str) -> PredictedMask:
    (found,) = open_parser(path, include=include).masks([face])
    return found


def covered(found: PredictedMask, place: tuple[slice, slice]) -> float:
    return float(found.is_face[place].mean())


LEFT, RIGHT = (slice(80, 180), slice(40, 100)), (slice(80, 180), slice(150, 210))
TOP = (slice(10, 60), slice(60, 200))


@pytest.fixture(params=["celebamask", "celebamask any size", "selfie"])
def parser_file(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    model = {
        "celebamask": celebamask_model,
        "celebamask any size": lambda: celebamask_model("side", "batch"),
        "selfie": selfie_model,
    }[request.param]()
    return write_model(model, tmp_path / "parser.onnx")


def test_red_is_skin_and_lies_in_the_mask_where_it_lies_in_the_face(parser_file: Path) -> None:
    face = painted(an_aligned_face(yaw_degrees=10), red=LEFT, blue=RIGHT)
    found = mask_of(parser_file, face)
    expected = np.zeros((256, 256), np.bool_)
    expected[LEFT] = True
    # Along its edge a patch is blurred by being scaled to the crop and back; eyes and lips are filled in by 6 classes.
    wrong = found.is_face != expected
    wrong[60:200, 20:240] &= _far_from_edges(LEFT)[60:200, 20:240]
    assert not wrong[LEFT].any()
    assert not found.is_face[:60].any()
    assert (found.source, found.mask.dtype) == ("parser", np.float32)
    assert found.model_sha is not None
    assert len(found.model_sha) == 64


def _far_from_edges(place: tuple[slice, slice]) -> NDArray[np.bool_]:
    near = np.zeros((256, 256), np.bool_)
    near[place[0].start - 4 : place[0].stop + 4, place[1].start - 4 : place[1].stop + 4] = True
    near[place[0].start + 4 : place[0].stop - 4, place[1].start + 4 : place[1].stop - 4] = False
    return ~near


@pytest.mark.parametrize("face_type", ["half_face", "full_face", "whole_face", "head"])
def test_a_whole_face_of_skin_is_a_whole_mask_in_every_crop(parser_file: Path, face_type: str) -> None:
    face = painted(an_aligned_face(face_type), red=(slice(None), slice(None)))
    assert mask_of(parser_file, face).is_face[4:-4, 4:-4].all()


def test_hair_is_in_the_mask_only_where_it_is_asked_for_and_is_marked_off(parser_file: Path) -> None:
    face = painted(an_aligned_face(), red=LEFT, blue=TOP)
    assert covered(mask_of(parser_file, face), TOP) == 0.0
    found = mask_of(parser_file, face, "hair")
    assert covered(found, TOP) > 0.9
    assert found.without_hair is not None
    assert not found.without_hair[TOP].any()
    assert found.without_hair[LEFT].mean() > 0.9


def test_glasses_count_where_they_are_asked_for(parser_file: Path) -> None:
    face = an_aligned_face()
    x, y = face.metadata.landmarks[36:42].mean(axis=0).astype(int)
    eye = (slice(y - 8, y + 8), slice(x - 10, x + 10))
    cup = (slice(200, 240), slice(100, 150))
    face = painted(face, green=eye)
    assert covered(mask_of(parser_file, face, "glasses"), eye) > 0.9
    held = painted(face, green=cup)
    by_family = covered(mask_of(parser_file, held, "glasses"), cup)
    assert by_family == (0.0 if "Transpose" in _operators(parser_file) else pytest.approx(1.0, abs=0.2))


def _operators(path: Path) -> set[str]:
    return {node.op_type for node in onnx.load_model(str(path)).graph.node}


def test_six_classes_fill_eyes_and_mouth_unless_a_hand_lies_there(tmp_path: Path) -> None:
    path = write_model(selfie_model(), tmp_path / "selfie.onnx")
    face = an_aligned_face()
    x, y = face.metadata.landmarks[36:42].mean(axis=0).astype(int)
    assert mask_of(path, painted(face)).is_face[y, x]
    hand = (slice(y - 20, y + 20), slice(x - 25, x + 25))
    assert not mask_of(path, painted(face, white=hand)).is_face[y, x]


def test_a_face_larger_than_the_network_is_averaged_before_it_is_cut_out(tmp_path: Path) -> None:
    path = write_model(celebamask_model(64), tmp_path / "small.onnx")
    face = an_aligned_face(side_px=1024)
    pixels = np.zeros((1024, 1024, 3), np.uint8)
    pixels[::2] = COLOURS["red"]  # every other line: half red on average, all or nothing where lines are skipped
    found = open_parser(path).masks([FaceToMask(pixels, face.metadata)])[0]
    inside = found.mask[100:900, 100:900]
    assert 0.1 < inside.min() <= inside.max() < 0.9


def test_a_face_gets_the_same_mask_in_any_company(parser_file: Path) -> None:
    parser = open_parser(parser_file)
    one, other = painted(an_aligned_face(), red=LEFT), painted(an_aligned_face(yaw_degrees=-30), red=RIGHT)
    together = parser.masks([one, other])
    np.testing.assert_array_equal(together[0].mask, parser.masks([one])[0].mask)
    np.testing.assert_array_equal(together[1].mask, parser.masks([other])[0].mask)


def test_what_a_family_cannot_tell_apart_is_refused_with_what_it_can(tmp_path: Path) -> None:
    path = write_model(selfie_model(), tmp_path / "selfie.onnx")
    with pytest.raises(SettingsError, match="'ears'") as refused:
        open_parser(path, include=("ears",))
    assert "glasses, hair" in refused.value.hint


@pytest.mark.parametrize(
    ("model", "why"),
    [
        (lambda: parser_model(18, {"red": 1}, channels_last=False, side=64), "no face parser of a known family"),
        (lambda: celebamask_model(64, 4), "takes 4 pictures a run"),
        (lambda: celebamask_model(4096), "4096 px"),
    ],
)  # fmt: skip
def test_a_graph_of_no_family_is_refused_by_its_shapes(model: object, why: str, tmp_path: Path) -> None:
    assert callable(model)
    path = write_model(model(), tmp_path / "odd.onnx")
    with pytest.raises(ModelError, match=why) as refused:
        open_parser(path)
    assert "odd.onnx" in refused.value.message


def test_a_network_that_answers_with_a_smaller_picture_is_refused_since_its_classes_are_others(tmp_path: Path) -> None:
    model = celebamask_model(64)
    node = model.graph.node[0]
    node.attribute.append(onnx.helper.make_attribute("strides", [4, 4]))
    for dim in model.graph.output[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = 16
    path = write_model(model, tmp_path / "segformer.onnx")
    with pytest.raises(ModelError, match="number their classes otherwise"):
        open_parser(path)


def test_a_network_that_answers_one_face_with_no_numbers_is_named(tmp_path: Path) -> None:
    """It answers the grey picture on which it was tried out."""
    huge = parser_model(19, CELEBAMASK_CLASSES, channels_last=False, side=64, spread=3e36)
    opened = open_parser(write_model(huge, tmp_path / "huge.onnx"))
    with pytest.raises(ModelError, match=r"huge\.onnx cannot be loaded or run: .* no finite numbers"):
        opened.masks([painted(an_aligned_face(), red=LEFT)])


if "DFLD_PARSE_ONNX" in os.environ:  # nothing reachable has weights of a face parser: whoever has some names the file

    def test_the_parser_of_the_environment_agrees_with_the_hull_of_real_faces(shared: Path) -> None:
        parser = open_parser(Path(os.environ["DFLD_PARSE_ONNX"]))
        overlaps = []
        for path in sorted((shared / "golden" / "dflimg").glob("*.jpg")):
            data = path.read_bytes()
            metadata: AlignedMetadata = read_metadata(data)
            pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
            found = parser.masks([FaceToMask(np.asarray(pixels, np.uint8), metadata)])[0]
            checks = check_mask(found.is_face, metadata.landmarks)
            overlaps.append(next(check.measured for check in checks if check.name == "overlap"))
        assert np.median(overlaps) >= 0.75
