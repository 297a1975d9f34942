from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.image import AlignedMetadata, MaskPolygon, encode_aligned_jpeg, read_metadata
from dfl.xseg_mask import encode_xseg_mask
from engine.facesets.measures.face_luma import face_luma
from engine.facesets.measures.face_measures import SINGLE, measure_face
from tests.landmarked_faces import an_aligned_face


def textured(side: int, seed: int = 0) -> NDArray[np.uint8]:
    """A picture of coarse and fine structure, the same at every size."""
    rng = np.random.default_rng(seed)
    layers = [
        cv2.resize(rng.normal(0, sigma, (size, size)), (side, side), interpolation=cv2.INTER_CUBIC)
        for size, sigma in ((8, 30), (32, 15), (128, 10))
    ]
    grey = np.clip(np.sum(layers, axis=0) + 120, 0, 255).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def a_face(
    face_type: str = "whole_face", side: int = 512, **turned: float
) -> tuple[NDArray[np.uint8], AlignedMetadata]:
    return textured(side), an_aligned_face(face_type, side_px=side, **turned).metadata


def row_of(pixels: NDArray[np.uint8], metadata: AlignedMetadata, quality: int = 95) -> NDArray[np.void]:
    return measure_face(encode_aligned_jpeg(pixels, metadata, quality)).row


def test_a_row_holds_a_number_of_everything_but_the_mask_that_is_not_there() -> None:
    row = row_of(*a_face(yaw_degrees=20, roll_degrees=30))
    assert {name for name in SINGLE if np.isnan(row[name])} == {"mask_over_hull"}
    assert row["roll"] == pytest.approx(30, abs=3)
    assert (row["size"], bool(row["has_polygons"])) == (512, False)
    assert 0.2 < row["hull_area"] < 0.5


@pytest.mark.parametrize("side", [256, 512, 768, 1024])
def test_the_size_of_the_picture_changes_little(side: int) -> None:
    row, usual = row_of(*a_face(side=side)), row_of(*a_face())
    assert row["nf"] == pytest.approx(usual["nf"], abs=0.35)
    for name, step in (("light_x", 0.02), ("light_y", 0.02), ("mouth_open", 0.01), ("yaw", 1.0), ("hull_area", 0.01)):
        assert row[name] == pytest.approx(usual[name], abs=step), name
    assert np.linalg.norm(row["luma_dct"] - usual["luma_dct"]) < 0.1


@pytest.mark.parametrize(
    ("face_type", "side", "measured_px"),
    [("whole_face", 512, 256), ("whole_face", 256, 256), ("whole_face", 128, 128),
     ("full_face", 512, 192), ("head", 512, 358),
     ("head", 768, 384), ("half_face", 512, 128), ("whole_face", 1024, 256)],
)  # fmt: skip
def test_faces_of_all_types_are_measured_at_one_size_or_at_their_own_where_that_is_smaller(
    face_type: str, side: int, measured_px: int
) -> None:
    pixels, metadata = a_face(face_type, side)
    face = face_luma(encode_aligned_jpeg(pixels, metadata, 95), metadata)
    assert face.luma.shape[0] == pytest.approx(measured_px, abs=2)
    assert face.unit_px <= 132


def test_a_jpeg_decoded_at_half_its_size_is_as_sharp_as_the_whole_one_halved() -> None:
    whole = textured(512)
    halved = cv2.resize(whole, (256, 256), interpolation=cv2.INTER_AREA)
    _, metadata = a_face()
    _, half_metadata = a_face(side=256)
    assert row_of(whole, metadata)["nf"] == pytest.approx(row_of(halved, half_metadata)["nf"], abs=0.2)


@pytest.mark.parametrize(("upper", "part"), [(256, 1.0), (0, 0.0), (150, None)])
def test_a_stored_mask_is_compared_with_the_hull(upper: int, part: float | None) -> None:
    pixels, metadata = a_face()
    mask = np.zeros((256, 256))
    mask[:upper] = 1
    row = row_of(pixels, replace(metadata, xseg_mask=encode_xseg_mask(mask)))
    assert row["mask_over_hull"] == part if part is not None else 0.1 < row["mask_over_hull"] < 0.9


def test_a_mask_that_cannot_be_decoded_is_none() -> None:
    pixels, metadata = a_face()
    assert np.isnan(row_of(pixels, replace(metadata, xseg_mask=b"no picture"))["mask_over_hull"])


def test_polygons_are_noted() -> None:
    pixels, metadata = a_face()
    polygon = MaskPolygon(True, np.array([[1, 1], [9, 1], [5, 9]], np.float32))
    assert row_of(pixels, replace(metadata, seg_ie_polys=(polygon,)))["has_polygons"]


@pytest.mark.parametrize("mat", [None, np.zeros((2, 3))])
def test_a_face_that_does_not_say_where_its_crop_lay_has_no_upscale_and_is_not_cut_off(
    mat: NDArray[np.float64] | None,
) -> None:
    pixels, metadata = a_face()
    row = row_of(pixels, replace(metadata, image_to_face_mat=mat))
    assert np.isnan(row["upscale"])
    assert np.isnan(row["mat"]).all()
    assert np.isfinite(row["roll"])


@pytest.mark.parametrize(
    ("filename", "source", "frame"),
    [("take-1-00000012.png", "take-1", 12), ("00001.png", "", 1), ("00000012.jpg", "", 12),
     ("C:\\clips\\00007.png", "", 7), ("portrait.jpg", "portrait", -1), (None, "", -1), ("take_3.png", "take", 3),
     ("9" * 40 + ".png", "9" * 40, -1), ("x\n" * 9000 + "7.png", "\n" + "x\n" * 99, 7)],
)  # fmt: skip
def test_clip_and_frame_follow_from_the_name_of_the_frame(filename: str | None, source: str, frame: int) -> None:
    pixels, metadata = a_face()
    found = measure_face(encode_aligned_jpeg(pixels, replace(metadata, source_filename=filename), 95))
    assert (found.source, found.row["frame"]) == (source, frame)


def test_what_is_no_face_is_refused_by_name() -> None:
    pixels, metadata = a_face("whole_face", 64)
    with pytest.raises(FormatError, match="metadata"):
        measure_face(cv2.imencode(".jpg", pixels)[1].tobytes())
    with pytest.raises(FormatError, match="square"):
        measure_face(encode_aligned_jpeg(pixels[:32], replace(metadata, face_type="mark_only"), 95))
    with pytest.raises(FormatError, match="32 to 4096"):
        measure_face(encode_aligned_jpeg(pixels[:16, :16], metadata, 95))


def test_landmarks_that_span_far_more_than_the_picture_are_refused() -> None:
    pixels, metadata = a_face("whole_face", 64)
    for times in (10.0, 100.0, 10_000.0):
        with pytest.raises(FormatError, match="it shows no face"):
            measure_face(encode_aligned_jpeg(pixels, replace(metadata, landmarks=metadata.landmarks * times), 95))


def test_damaged_files_end_in_numbers_or_a_refusal() -> None:
    pixels, metadata = a_face("whole_face", 128)
    data = encode_aligned_jpeg(pixels, metadata, 90)
    rng = np.random.default_rng(11)
    for _ in range(150):
        broken = bytearray(data)
        for place in rng.integers(2, len(data), 3):
            broken[place] = rng.integers(256)
        with suppress(FormatError):
            assert measure_face(bytes(broken)).row["size"] > 0


def test_the_same_bytes_give_the_same_row() -> None:
    pixels, metadata = a_face()
    data = encode_aligned_jpeg(pixels, metadata, 90)
    assert measure_face(data).row.tobytes() == measure_face(data).row.tobytes()
    assert read_metadata(data).dfld_face_id is None
    assert measure_face(data).face_id is None
