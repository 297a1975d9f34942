"""A face that is cut anew keeps its id, and takes its masks and polygons along."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from types import MappingProxyType

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.geometry import face_mat, transform_points, warp_face
from dfl.hull import hull_mask
from dfl.image import AlignedMetadata, MaskPolygon, encode_aligned_jpeg, read_metadata
from dfl.xseg_mask import decode_xseg_mask, encode_xseg_mask
from engine.refining.agreement import Judgement
from engine.refining.realign import NOTE_KEY, crop_of, landmarks_before, quality_of, realigned
from engine.workspace.align import encode_mask
from tests.landmarked_faces import landmarks_in_frame

SIDE = 256
FACE_ID = "5" * 32
JUDGED = Judgement(True, "agrees_with_neighbours", 0.03, 0.04, 0.01, 0.1, 0.05)
RIGHT = landmarks_in_frame(scale=1.2)
SHIFTED = landmarks_in_frame(scale=1.2, roll_degrees=4.0) + np.array([9.0, -6.0])
DISC_MIDDLE, DISC_RADIUS = (330.0, 250.0), 40.0


def frame() -> NDArray[np.uint8]:
    blocks = np.random.default_rng(3).integers(30, 220, (24, 32, 3)).astype(np.uint8)
    pixels = np.asarray(cv2.resize(blocks, (640, 480), interpolation=cv2.INTER_CUBIC), np.uint8)
    cv2.circle(pixels, (330, 250), 40, (255, 255, 255), -1)
    return pixels


def disc_in(mat: NDArray[np.float64], side: int, size: int) -> NDArray[np.float32]:
    """The disc of the frame as a mask of `size` px of a crop of `side` px."""
    scale = float(np.hypot(mat[0, 0], mat[1, 0])) * size / side
    (middle,) = transform_points([DISC_MIDDLE], mat) * size / side
    y, x = np.mgrid[:size, :size]
    return (np.hypot(x - middle[0], y - middle[1]) <= DISC_RADIUS * scale).astype(np.float32)


def metadata_at(landmarks: NDArray[np.float64], **more: object) -> AlignedMetadata:
    mat = face_mat(landmarks, SIDE, "whole_face")
    metadata = AlignedMetadata(
        face_type="whole_face",
        landmarks=transform_points(landmarks, mat),
        source_filename="00000007.png",
        source_rect=np.array([200, 120, 440, 360]),
        source_landmarks=landmarks,
        image_to_face_mat=mat,
        dfld_face_id=FACE_ID,
    )
    return replace(metadata, **more)  # type: ignore[arg-type]


def jpeg_of(metadata: AlignedMetadata, quality: int = 95) -> bytes:
    assert metadata.image_to_face_mat is not None
    return encode_aligned_jpeg(warp_face(frame(), metadata.image_to_face_mat, SIDE), metadata, quality)


def agreement(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    both, either = np.minimum(one, other).sum(), np.maximum(one, other).sum()
    return float(both / either)


def test_a_face_is_cut_as_an_extraction_with_these_landmarks_would_cut_it() -> None:
    old = metadata_at(SHIFTED, unknown=MappingProxyType({"theirs": [1, 2]}))
    made = realigned(jpeg_of(old), None, frame(), RIGHT, JUDGED)
    new, fresh = read_metadata(made.picture), metadata_at(RIGHT)
    assert made.mask is None
    assert new.dfld_face_id == FACE_ID
    assert new.source_filename == old.source_filename
    np.testing.assert_array_equal(new.source_landmarks, RIGHT)
    np.testing.assert_allclose(new.landmarks, fresh.landmarks)
    np.testing.assert_allclose(new.image_to_face_mat, fresh.image_to_face_mat)
    np.testing.assert_array_equal(new.source_rect, old.source_rect)
    assert new.unknown["theirs"] == [1, 2]
    pixels = [cv2.imdecode(np.frombuffer(one, np.uint8), cv2.IMREAD_COLOR) for one in (made.picture, jpeg_of(fresh))]
    np.testing.assert_array_equal(*pixels)


def test_the_landmarks_of_the_extraction_are_kept_through_every_refining() -> None:
    first = realigned(jpeg_of(metadata_at(SHIFTED)), None, frame(), RIGHT, JUDGED).picture
    second = realigned(first, None, frame(), RIGHT + 1.0, JUDGED).picture
    for data in (first, second):
        note = read_metadata(data).unknown[NOTE_KEY]
        assert isinstance(note, dict)
        np.testing.assert_array_equal(note["source_landmarks"], SHIFTED)


@pytest.mark.parametrize("size", [256, 128])
def test_the_stored_mask_lies_on_the_same_part_of_the_frame_afterwards(size: int) -> None:
    old, new = metadata_at(SHIFTED), metadata_at(RIGHT)
    assert old.image_to_face_mat is not None
    assert new.image_to_face_mat is not None
    stored = encode_xseg_mask(disc_in(old.image_to_face_mat, SIDE, size))
    made = realigned(jpeg_of(replace(old, xseg_mask=stored)), None, frame(), RIGHT, JUDGED)
    found = decode_xseg_mask(read_metadata(made.picture).xseg_mask or b"")
    assert set(np.unique(found)) == {0.0, 1.0}
    assert found.shape == (size, size)
    there = disc_in(new.image_to_face_mat, SIDE, size)
    assert agreement(found, there) > 0.97
    assert agreement(disc_in(old.image_to_face_mat, SIDE, size), there) < 0.9


def test_a_mask_that_reaches_the_edge_reaches_it_afterwards() -> None:
    stored = encode_xseg_mask(np.ones((256, 256), np.float32))
    made = realigned(jpeg_of(metadata_at(SHIFTED, xseg_mask=stored)), None, frame(), RIGHT, JUDGED)
    assert (decode_xseg_mask(read_metadata(made.picture).xseg_mask or b"") == 1.0).all()


def test_polygons_lie_on_the_same_part_of_the_frame_afterwards() -> None:
    old = metadata_at(SHIFTED)
    assert old.image_to_face_mat is not None
    corners = np.array([[300.0, 200.0], [360.0, 210.0], [340.0, 280.0]])
    drawn = MaskPolygon(False, transform_points(corners, old.image_to_face_mat).astype(np.float32))
    empty = MaskPolygon(True, np.zeros((0, 2), np.float32))
    made = realigned(jpeg_of(replace(old, seg_ie_polys=(drawn, empty))), None, frame(), RIGHT, JUDGED)
    new = read_metadata(made.picture)
    assert [(one.include, len(one.points)) for one in new.seg_ie_polys] == [(False, 3), (True, 0)]
    assert new.image_to_face_mat is not None
    there = transform_points(corners, new.image_to_face_mat)
    np.testing.assert_allclose(new.seg_ie_polys[0].points, there, atol=1e-3)


def test_the_hull_beside_a_face_is_drawn_anew_and_any_other_picture_is_moved() -> None:
    old, new = metadata_at(SHIFTED), metadata_at(RIGHT)
    assert old.image_to_face_mat is not None
    assert new.image_to_face_mat is not None
    hull = encode_mask(hull_mask(SIDE, SIDE, old.landmarks))
    made = realigned(jpeg_of(old), hull, frame(), RIGHT, JUDGED)
    assert made.mask == encode_mask(hull_mask(SIDE, SIDE, new.landmarks))
    disc = encode_mask((disc_in(old.image_to_face_mat, SIDE, SIDE) * 255).astype(np.uint8))
    moved = realigned(jpeg_of(old), disc, frame(), RIGHT, JUDGED).mask
    pixels = cv2.imdecode(np.frombuffer(moved or b"", np.uint8), cv2.IMREAD_GRAYSCALE)
    assert pixels is not None
    assert agreement(pixels.astype(np.float32) / 255, disc_in(new.image_to_face_mat, SIDE, SIDE)) > 0.97


def test_the_hashes_that_dfld_noted_of_its_mask_follow_the_mask() -> None:
    old = metadata_at(SHIFTED)
    assert old.image_to_face_mat is not None
    stored = encode_xseg_mask(disc_in(old.image_to_face_mat, SIDE, 256))
    picture = encode_mask((disc_in(old.image_to_face_mat, SIDE, SIDE) * 255).astype(np.uint8))
    hashes = [hashlib.sha256(one).hexdigest() for one in (stored, picture)]
    note = {"source": "xseg", "mask_sha256": hashes[0], "pictures": [hashes[1], "0" * 64]}
    data = jpeg_of(replace(old, xseg_mask=stored, unknown=MappingProxyType({"dfld_mask": note})))
    made = realigned(data, picture, frame(), RIGHT, JUDGED)
    new = read_metadata(made.picture)
    assert new.unknown["dfld_mask"] == {
        "source": "xseg",
        "mask_sha256": hashlib.sha256(new.xseg_mask or b"").hexdigest(),
        "pictures": [hashlib.sha256(made.mask or b"").hexdigest(), "0" * 64],
    }


@pytest.mark.parametrize("quality", [30, 75, 90, 95, 100])
def test_the_quality_of_a_jpeg_is_read_from_its_tables(quality: int) -> None:
    assert quality_of(jpeg_of(metadata_at(RIGHT), quality)) == quality


def test_the_part_of_the_frame_that_is_named_is_enough() -> None:
    data = jpeg_of(metadata_at(SHIFTED))
    _, (left, top, right, bottom) = crop_of(read_metadata(data), RIGHT, SIDE)
    part = np.zeros_like(frame())
    box = (slice(max(0, top), bottom), slice(max(0, left), right))
    part[box] = frame()[box]
    assert realigned(data, None, part, RIGHT, JUDGED) == realigned(data, None, frame(), RIGHT, JUDGED)


@pytest.mark.parametrize("mask", [b"", b"\x89PNG\r\n\x1a\n" + b"\0" * 40, b"GIF89a" + b"\0" * 40])
def test_a_mask_that_is_no_picture_keeps_the_face_as_it_is(mask: bytes) -> None:
    with pytest.raises(FormatError, match="mask beside the face"):
        realigned(jpeg_of(metadata_at(SHIFTED)), mask, frame(), RIGHT, JUDGED)


@pytest.mark.parametrize("note", [7, {}, {"source_landmarks": "x"}, {"source_landmarks": np.full((68, 2), 1e300)}])
def test_what_no_refining_noted_is_not_taken_for_earlier_landmarks(note: object) -> None:
    metadata = metadata_at(SHIFTED, unknown=MappingProxyType({NOTE_KEY: note}))
    np.testing.assert_array_equal(landmarks_before(metadata), SHIFTED)
