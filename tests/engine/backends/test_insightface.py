"""The insightface backend on packs made here, so that it is tested where no real pack is."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import onnx
import pytest

from engine.backends.insightface import InsightFaceBackend
from engine.errors import ModelError
from engine.models.arcface import arcface_points
from engine.types import Face

MakePack = Callable[..., Path]


def open_made(folder: Path, **options: object) -> InsightFaceBackend:
    options = {"device": "cpu", **options}
    return InsightFaceBackend(model_root=folder.parent, model_pack=folder.name, **options)  # type: ignore[arg-type]


def a_face(x: float, y: float, size: float, roll_deg: float = 0.0) -> Face:
    """A face whose five points are ArcFace's, turned and scaled about (x, y)."""
    angle = np.radians(roll_deg)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    five = (arcface_points(112) - 56.0) * (size / 112) @ turn.T + [x, y]
    half = size / 2
    return Face(np.array([x - half, y - half, x + half, y + half]), 0.9, five)


def test_a_pack_with_its_own_names_and_embedding_size_works(make_pack: MakePack) -> None:
    info = open_made(make_pack()).info
    assert info.embedding_size == 16
    assert info.device == "CPUExecutionProvider"
    assert [(model.task, model.name) for model in info.models] == [
        ("detection", "det.onnx"),
        ("landmarks_68", "shape_predictor_68_face_landmarks.dat"),
        ("recognition", "recogniser.onnx"),
    ]
    assert info.recognition_model.startswith("recogniser-")
    assert info.models[0].licence == "not stated; check with who made the pack"


def test_a_recogniser_nobody_calibrated_gets_the_default_threshold_and_a_warning(make_pack: MakePack) -> None:
    info = open_made(make_pack()).info
    assert info.default_threshold == 0.40
    assert any("recogniser.onnx is not a known one" in warning for warning in info.warnings)


def test_a_recogniser_of_buffalo_l_has_its_known_threshold_and_no_warning(make_pack: MakePack) -> None:
    folder = make_pack("buffalo_l")
    (folder / "recogniser.onnx").rename(folder / "w600k_r50.onnx")
    info = open_made(folder).info
    assert info.default_threshold == 0.40
    assert info.warnings == ()
    assert {model.licence for model in info.models if model.task != "landmarks_68"} == {"non-commercial research only"}


@pytest.mark.parametrize("batch", [None, 1, 3])
def test_batches_equal_single_runs_whatever_batch_the_graph_was_exported_with(
    make_pack: MakePack, batch: int | None
) -> None:
    backend = open_made(make_pack(batch=batch))
    crops = [np.full((112, 112, 3), (7 * i, 255 - 9 * i, 40), dtype=np.uint8) for i in range(7)]
    together = backend.embed(crops)
    assert together.shape == (7, 16)
    np.testing.assert_allclose(together, np.concatenate([backend.embed([crop]) for crop in crops]), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)
    assert np.abs(together[0] - together[6]).max() > 0.1


def test_the_recogniser_reads_rgb_from_minus_one_to_one(make_pack: MakePack) -> None:
    backend = open_made(make_pack())
    mix = np.random.default_rng(5).normal(size=(3, 16))
    expected = ((np.array([200.0, 100.0, 50.0]) - 127.5) / 127.5) @ mix
    found = backend.embed([np.full((112, 112, 3), (50, 100, 200), dtype=np.uint8)])[0]
    np.testing.assert_allclose(found, expected / np.linalg.norm(expected), atol=1e-4)


def test_the_recognition_crop_puts_the_five_points_where_arcface_wants_them(make_pack: MakePack) -> None:
    backend = open_made(make_pack())
    face = a_face(300, 200, 80, roll_deg=8)
    assert face.landmarks_5 is not None
    image = np.zeros((400, 600, 3), dtype=np.uint8)
    for x, y in face.landmarks_5:
        cv2.circle(image, (round(float(x)), round(float(y))), 2, (255, 255, 255), -1)
    crop = backend.recognition_crop(image, face)
    for x, y in arcface_points(112):
        around = crop[round(y) - 3 : round(y) + 4, round(x) - 3 : round(x) + 4, 0]
        assert around.max() > 150


def test_the_detector_finds_what_its_graph_sees_and_says_where_in_the_picture(make_pack: MakePack) -> None:
    backend = open_made(make_pack())
    image = np.zeros((400, 512, 3), dtype=np.uint8)
    image[128:256, 256:384, 2] = 255  # one 32 px cell of the 4:1 scaled canvas, red
    faces = backend.detect(image, min_confidence=0.9, side_px=128)
    assert len(faces) == 1
    # Grid cell (2, 1) of stride 32; the graph answers 1 for each side: 32 px round (64, 32), and 4 times that here.
    np.testing.assert_allclose(faces[0].bbox, [128, 0, 384, 256], atol=2)
    assert faces[0].detection_score > 0.9
    assert backend.detect(np.zeros_like(image), side_px=128) == []


def test_68_points_of_the_pack_are_mapped_back_through_the_upright_crop(make_pack: MakePack) -> None:
    backend = open_made(make_pack(landmarks="ring"))
    assert [model.name for model in backend.info.models if model.task == "landmarks_68"] == ["1k3d68.onnx"]
    image = np.zeros((400, 600, 3), dtype=np.uint8)
    faces = [a_face(300, 200, 100), a_face(120, 90, 60, roll_deg=90)]
    points = backend.landmarks_68(image, faces)
    assert points.shape == (2, 68, 2)
    # The crop is 1.5 faces wide: a circle of half its half-width has a radius of 0.375 faces.
    np.testing.assert_allclose(np.linalg.norm(points[0] - [300, 200], axis=1), 37.5, atol=1e-3)
    np.testing.assert_allclose(points[0, 0], [337.5, 200], atol=0.3)
    # Rolled by 90° clockwise, the crop's right is the picture's down (ArcFace's own eyes are tilted by 0.3°).
    np.testing.assert_allclose(points[1, 0], [120, 90 + 22.5], atol=0.3)


@pytest.mark.parametrize("batch", [None, 1, 4])
def test_the_68_point_model_is_fed_rgb_with_insightfaces_mean_and_spread(
    make_pack: MakePack, batch: int | None
) -> None:
    backend = open_made(make_pack(landmarks="red", batch=batch))
    image = np.full((600, 600, 3), (10, 20, 200), dtype=np.uint8)
    faces = [a_face(300, 300, 64), a_face(280, 310, 128)]
    points = backend.landmarks_68(image, faces)
    red = (200 - 127.5) / 128
    for face, marked in zip(faces, points, strict=True):
        x1, y1, x2, y2 = face.bbox
        reach = 1.5 * (x2 - x1) / 2
        across = np.array([(x1 + x2) / 2, (y1 + y2) / 2]) + red * reach
        np.testing.assert_allclose(marked, np.tile(across, (68, 1)), atol=0.01 * (x2 - x1))


def test_a_gpu_that_is_not_there_is_refused_when_asked_for(make_pack: MakePack) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        assert open_made(make_pack(), device="cuda").info.device == "CUDAExecutionProvider"
        return
    with pytest.raises(ModelError, match="the GPU was asked for") as caught:
        open_made(make_pack(), device="cuda")
    assert "make install-gpu" in caught.value.hint


@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, b"not a model", None])
def test_a_damaged_model_file_is_named(make_pack: MakePack, content: bytes | None) -> None:
    folder = make_pack()
    path = folder / "recogniser.onnx"
    path.write_bytes(path.read_bytes()[:300] if content is None else content)
    with pytest.raises(ModelError, match="recogniser.onnx") as caught:
        open_made(folder)
    assert caught.value.hint


def test_a_graph_that_cannot_run_is_named(make_pack: MakePack) -> None:
    folder = make_pack()
    model = onnx.load(str(folder / "recogniser.onnx"))
    model.graph.node[0].op_type = "NoSuchOperator"
    onnx.save(model, str(folder / "recogniser.onnx"))
    with pytest.raises(ModelError, match=r"recogniser\.onnx cannot be loaded"):
        open_made(folder)


def test_a_detector_with_outputs_that_are_not_scrfds_is_named(make_pack: MakePack) -> None:
    folder = make_pack()
    model = onnx.load(str(folder / "det.onnx"))
    del model.graph.output[7:]
    onnx.save(model, str(folder / "det.onnx"))
    with pytest.raises(ModelError, match=r"det\.onnx cannot be loaded or run"):
        open_made(folder)


def test_a_recogniser_whose_answer_is_no_list_of_values_is_named(make_pack: MakePack) -> None:
    folder = make_pack()
    model = onnx.load(str(folder / "recogniser.onnx"))
    del model.graph.node[1:]
    model.graph.output[0].CopyFrom(onnx.helper.make_tensor_value_info("pooled", 1, None))
    onnx.save(model, str(folder / "recogniser.onnx"))
    with pytest.raises(ModelError, match=r"shape \(1, 3, 1, 1\), expected \(batch, size\)"):
        open_made(folder)


def test_nothing_is_printed_while_loading_and_running(make_pack: MakePack, capfd: pytest.CaptureFixture[str]) -> None:
    backend = open_made(make_pack(landmarks="ring"))
    image = np.zeros((64, 64, 3), dtype=np.uint8)
    backend.detect(image)
    backend.landmarks_68(image, [a_face(30, 30, 20)])
    assert capfd.readouterr() == ("", "")
