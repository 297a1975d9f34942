"""Aligned JPEGs: golden metadata is read with its types, and written as DeepFaceLab writes it."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl.errors import FormatError
from dfl.face_tables import FACE_TYPES, MEAN_FACE_3D
from dfl.geometry import face_mat, transform_points
from dfl.image import (
    AlignedMetadata,
    MaskPolygon,
    encode_aligned_jpeg,
    fields_of_metadata,
    metadata_of_fields,
    read_fields,
    read_metadata,
    with_metadata,
)
from dfl.jpeg import list_segments, with_app15
from dfl.pickles.dumping import dump_for_dfl


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "golden" / "dflimg"


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = json.loads((folder / "expected.json").read_text())
    assert len(found) == 7
    return found


def some_metadata(**changes: Any) -> AlignedMetadata:
    landmarks = np.array(MEAN_FACE_3D)[:, :2] + (128.0, 128.0)
    metadata = AlignedMetadata(
        face_type="whole_face",
        landmarks=landmarks,
        source_filename="00000042.png",
        source_rect=np.array([10, 20, 110, 130]),
        source_landmarks=landmarks + 500,
        image_to_face_mat=np.array([[1.0, 0.0, -500.0], [0.0, 1.0, -500.0]]),
    )
    return replace(metadata, **changes)


def some_pixels(side_px: int = 64) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, (side_px, side_px, 3)).astype(np.uint8)


def check_stored(found: Any, wanted: Any) -> None:
    """Compare a stored value with the golden description of it, type and shape included."""
    if isinstance(wanted, dict) and wanted.get("__ndarray__"):
        assert isinstance(found, np.ndarray)
        assert (str(found.dtype), list(found.shape)) == (wanted["dtype"], wanted["shape"])
        np.testing.assert_array_equal(found, wanted["data"])
    elif isinstance(wanted, dict) and "container" in wanted:
        container = wanted["container"]
        assert isinstance(found, np.ndarray)
        assert (str(found.dtype), list(found.shape)) == (container["dtype"], container["shape"])
        assert hashlib.sha256(found.tobytes()).hexdigest() == wanted["sha256"]
    elif isinstance(wanted, dict):
        assert list(found) == list(wanted)
        for key, value in wanted.items():
            check_stored(found[key], value)
    elif isinstance(wanted, list):
        assert isinstance(found, list)
        assert len(found) == len(wanted)
        for part, wanted_part in zip(found, wanted, strict=True):
            check_stored(part, wanted_part)
    else:
        assert type(found) is type(wanted)
        assert found == wanted


# ---- golden files


def test_every_golden_field_is_read_with_its_type_and_shape(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    for name, wanted in expected.items():
        check_stored(read_fields((folder / name).read_bytes()), wanted["fields"])


def test_golden_metadata_is_typed(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    for name, wanted in expected.items():
        metadata = read_metadata((folder / name).read_bytes())
        assert metadata.face_type == wanted["face_type"]
        assert metadata.landmarks.shape == (68, 2)
        assert bool(metadata.seg_ie_polys) == wanted["has_seg_ie_polys"]
        assert (metadata.xseg_mask is not None) == wanted["has_xseg_mask"]
        assert metadata.source_rect is not None
        assert metadata.source_rect.tolist() == wanted["fields"]["source_rect"]["data"]
        assert metadata.eyebrows_expand_mod == wanted["fields"].get("eyebrows_expand_mod", 1.0)
        assert (metadata.image_to_face_mat is None) == (metadata.face_type == "mark_only")
        assert not metadata.unknown


def test_golden_polygons_keep_their_kind_and_order(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    stored = expected["00002_0.jpg"]["fields"]["seg_ie_polys"]["polys"]
    polygons = read_metadata((folder / "00002_0.jpg").read_bytes()).seg_ie_polys
    assert [polygon.include for polygon in polygons] == [bool(entry["type"]) for entry in stored]
    for polygon, entry in zip(polygons, stored, strict=True):
        assert polygon.points.dtype == np.float32
        np.testing.assert_array_equal(polygon.points, entry["pts"]["data"])


def test_golden_files_are_written_again_byte_for_byte(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    for name in expected:
        data = (folder / name).read_bytes()
        again = with_metadata(data, read_metadata(data))
        if name == "00006_0.jpg":
            # DeepFaceLab's face-set resizer left the landmarks an array; dfld writes the list its extractor writes.
            assert type(read_fields(again)["landmarks"]) is list
            np.testing.assert_array_equal(read_metadata(again).landmarks, read_metadata(data).landmarks)
        else:
            assert again == data, name


def test_golden_landmarks_follow_from_the_matrix(folder: Path, expected: dict[str, dict[str, Any]]) -> None:
    for name, wanted in expected.items():
        metadata = read_metadata((folder / name).read_bytes())
        if metadata.image_to_face_mat is None or metadata.source_landmarks is None:
            continue
        side = wanted["image_shape"][0]
        mat = face_mat(metadata.source_landmarks, side, metadata.face_type)
        np.testing.assert_allclose(
            transform_points(metadata.source_landmarks, mat),
            transform_points(metadata.source_landmarks, metadata.image_to_face_mat),
            rtol=0,
            atol=1.4e-5 * side,
        )


def test_the_hostile_golden_image_is_refused_and_runs_nothing(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marker = tmp_path / "executed"
    monkeypatch.setenv("DFLD_GOLDEN_MARKER", str(marker))
    data = (shared / "golden" / "models" / "hostile" / "hostile_aligned.jpg").read_bytes()
    with pytest.raises(FormatError, match=r"builtins\.eval"):
        read_metadata(data)
    assert not marker.exists()


# ---- writing


def test_an_encoded_face_is_what_deepfacelab_expects() -> None:
    data = encode_aligned_jpeg(some_pixels(), some_metadata(), 95)
    fields = read_fields(data)
    assert list(fields) == [
        "face_type",
        "landmarks",
        "source_filename",
        "source_rect",
        "source_landmarks",
        "image_to_face_mat",
    ]
    assert type(fields["landmarks"]) is list
    assert type(fields["landmarks"][0][0]) is float
    assert isinstance(fields["source_rect"], np.ndarray)
    assert fields["source_rect"].dtype == np.int64
    assert fields["image_to_face_mat"].dtype == np.float64
    assert [s.marker for s in list_segments(data)][:3] == [0xD8, 0xE0, 0xEF]
    assert 0xC0 in {s.marker for s in list_segments(data)}
    assert cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED).shape == (64, 64, 3)


def test_metadata_does_not_change_the_pixels() -> None:
    plain = encode_aligned_jpeg(some_pixels(), some_metadata(), 90)
    more = with_metadata(plain, some_metadata(xseg_mask=b"\x89PNG", eyebrows_expand_mod=1.5))
    first, second = (cv2.imdecode(np.frombuffer(d, np.uint8), cv2.IMREAD_UNCHANGED) for d in (plain, more))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("shape", [(64, 65, 3), (64, 64), (64, 64, 4), (64, 64, 1)])
def test_an_image_that_is_not_square_and_bgr_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(FormatError, match="expected"):
        encode_aligned_jpeg(np.zeros(shape, np.uint8), some_metadata(), 95)


def test_a_mark_only_image_keeps_the_frames_shape() -> None:
    metadata = some_metadata(face_type="mark_only", image_to_face_mat=None)
    data = encode_aligned_jpeg(np.zeros((40, 64, 3), np.uint8), metadata, 95)
    assert "image_to_face_mat" not in read_fields(data)
    assert read_metadata(data).face_type == "mark_only"


def test_metadata_too_long_for_a_segment_is_refused() -> None:
    with pytest.raises(FormatError, match="does not fit"):
        encode_aligned_jpeg(some_pixels(), some_metadata(xseg_mask=bytes(65_000)), 95)


def test_unknown_keys_survive_reading_and_writing() -> None:
    unknown = MappingProxyType({"from_a_fork": {"a": [1, 2.5, "x"]}, "zz": np.arange(3), "unknown": 5})
    data = encode_aligned_jpeg(some_pixels(), some_metadata(unknown=unknown), 95)
    found = read_metadata(with_metadata(data, read_metadata(data))).unknown
    assert found["from_a_fork"] == {"a": [1, 2.5, "x"]}
    np.testing.assert_array_equal(found["zz"], np.arange(3))
    assert found["unknown"] == 5


def test_the_id_of_a_face_is_one_more_plain_text_and_the_rest_of_a_golden_file_stays(
    folder: Path, expected: dict[str, dict[str, Any]]
) -> None:
    for name in expected:
        data = (folder / name).read_bytes()
        marked = with_metadata(data, replace(read_metadata(data), dfld_face_id="0f" * 16))
        before, after = read_fields(with_metadata(data, read_metadata(data))), read_fields(marked)
        assert type(after["dfld_face_id"]) is str
        assert after.pop("dfld_face_id") == "0f" * 16
        assert list(after) == list(before)
        assert dump_for_dfl(after, protocol=3) == dump_for_dfl(before, protocol=3)
        assert read_metadata(marked).dfld_face_id == "0f" * 16
        assert with_metadata(marked, read_metadata(data)) == with_metadata(data, read_metadata(data))


def test_an_id_and_unknown_keys_survive_every_rewriting_of_a_golden_file(
    folder: Path, expected: dict[str, dict[str, Any]]
) -> None:
    """As DeepFaceLab leaves them: its own keys change, the others stay."""
    for name in expected:
        data = (folder / name).read_bytes()
        fields = {**read_fields(data), "dfld_face_id": "0f" * 16, "from_a_fork": [1, 2]}
        foreign = with_app15(data, dump_for_dfl(fields, protocol=3))
        changed = with_metadata(foreign, replace(read_metadata(foreign), seg_ie_polys=(), source_filename="other.png"))
        assert read_fields(changed)["dfld_face_id"] == "0f" * 16
        assert read_fields(changed)["from_a_fork"] == [1, 2]
        assert read_fields(changed)["source_filename"] == "other.png"


@pytest.mark.parametrize("stored", ["", "0F" * 16, "0f" * 15, "0f" * 17, 5, b"0f" * 16, ["0f" * 16]])
def test_what_is_no_id_is_kept_and_taken_for_none(stored: object) -> None:
    fields = {**fields_of_metadata(some_metadata()), "dfld_face_id": stored}
    metadata = metadata_of_fields(fields)
    assert metadata.dfld_face_id is None
    assert fields_of_metadata(metadata)["dfld_face_id"] == stored


finite = st.floats(-1e6, 1e6)


@settings(max_examples=60)
@given(
    st.sampled_from(sorted(FACE_TYPES)),
    st.lists(st.tuples(finite, finite), min_size=68, max_size=68),
    st.none() | st.text(min_size=1, max_size=40),
    st.none() | st.lists(st.integers(-(10**6), 10**6), min_size=4, max_size=4),
    st.floats(0, 4),
    st.lists(st.tuples(st.booleans(), st.integers(1, 9)), max_size=4),
    st.none() | st.binary(min_size=1, max_size=200),
)
def test_any_metadata_survives_the_image(
    face_type: str,
    landmarks: list[tuple[float, float]],
    source_filename: str | None,
    rect: list[int] | None,
    expand: float,
    polygons: list[tuple[bool, int]],
    mask: bytes | None,
) -> None:
    metadata = AlignedMetadata(
        face_type=face_type,
        landmarks=np.array(landmarks),
        source_filename=source_filename,
        source_rect=None if rect is None else np.array(rect),
        eyebrows_expand_mod=expand,
        seg_ie_polys=tuple(
            MaskPolygon(include, np.arange(2 * n, dtype=np.float32).reshape(n, 2)) for include, n in polygons
        ),
        xseg_mask=mask,
    )
    found = read_metadata(encode_aligned_jpeg(np.zeros((16, 16, 3), np.uint8), metadata, 90))
    assert (found.face_type, found.source_filename, found.xseg_mask) == (face_type, source_filename, mask)
    assert found.eyebrows_expand_mod == expand
    np.testing.assert_array_equal(found.landmarks, np.array(landmarks))
    assert (None if found.source_rect is None else found.source_rect.tolist()) == rect
    assert [(p.include, p.points.tolist()) for p in found.seg_ie_polys] == [
        (p.include, p.points.tolist()) for p in metadata.seg_ie_polys
    ]


# ---- what others write


def stored(**changes: Any) -> dict[str, Any]:
    return {**fields_of_metadata(some_metadata()), **changes}


def test_a_missing_face_type_is_full_face_and_upper_case_is_read() -> None:
    fields = stored()
    del fields["face_type"]
    assert metadata_of_fields(fields).face_type == "full_face"
    assert metadata_of_fields(stored(face_type="WHOLE_FACE")).face_type == "whole_face"


def test_lists_are_read_where_arrays_are_written() -> None:
    metadata = metadata_of_fields(stored(source_rect=[1, 2, 3, 4], image_to_face_mat=[[1, 0, 0], [0, 1, 0]]))
    assert metadata.source_rect is not None
    assert metadata.source_rect.dtype == np.int64
    assert metadata.image_to_face_mat is not None
    assert metadata.image_to_face_mat.shape == (2, 3)


def test_the_older_form_of_polygons_is_read() -> None:
    polygons = metadata_of_fields(stored(seg_ie_polys=[(1, [[1, 2], [3, 4], [5, 6]]), [0, []]])).seg_ie_polys
    assert [polygon.include for polygon in polygons] == [True, False]
    assert polygons[0].points.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert polygons[1].points.shape == (0, 2)


def test_arrays_of_metadata_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        some_metadata().landmarks[0, 0] = 1.0


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"face_type": "mve_custom"}, "face type 'mve_custom' is unknown"),
        ({"face_type": 4}, "face_type is 4, expected text"),
        ({"landmarks": None}, "no landmarks"),
        ({"landmarks": [[0.0, 0.0]] * 5}, "landmarks is a list of 5"),
        ({"landmarks": [[0.0, float("nan")]] * 68}, "expected finite numbers"),
        ({"landmarks": [[0.0]] * 67 + [[0.0, 1.0]]}, "expected numbers"),
        ({"landmarks": "many"}, "expected numbers"),
        ({"landmarks": [[1e300, 0.0]] * 68}, "expected finite numbers"),
        ({"source_rect": [1, 2, 3]}, "source_rect is a list of 3"),
        ({"image_to_face_mat": {"a": 1}}, "image_to_face_mat is a dict of 1"),
        ({"source_filename": b"00001.png"}, "source_filename is b'00001.png', expected text"),
        ({"eyebrows_expand_mod": "1"}, "eyebrows_expand_mod"),
        ({"eyebrows_expand_mod": float("inf")}, "eyebrows_expand_mod"),
        ({"seg_ie_polys": "none"}, "seg_ie_polys"),
        ({"seg_ie_polys": {"polys": [{"type": 7, "pts": []}]}}, "type 0 or 1"),
        ({"seg_ie_polys": {"polys": [{"type": 1, "pts": [[1, 2, 3]]}]}}, "seg_ie_polys is a list of 1"),
        ({"xseg_mask": b"bytes"}, "xseg_mask"),
        ({"xseg_mask": np.zeros((4, 4), np.uint8)}, "xseg_mask is an array"),
    ],
    ids=str,
)
def test_a_field_of_the_wrong_form_is_refused_by_name(changes: dict[str, Any], refusal: str) -> None:
    data = with_app15(encode_aligned_jpeg(some_pixels(), some_metadata(), 95), dump_for_dfl(stored(**changes)))
    with pytest.raises(FormatError, match=refusal):
        read_metadata(data)


def test_a_plain_jpeg_is_no_aligned_image() -> None:
    plain = cv2.imencode(".jpg", some_pixels())[1].tobytes()
    with pytest.raises(FormatError, match="no DeepFaceLab metadata"):
        read_metadata(plain)


@pytest.mark.parametrize("payload", [dump_for_dfl({}), dump_for_dfl([1]), b"", b"another program's data"])
def test_a_segment_of_another_program_is_no_metadata(payload: bytes) -> None:
    plain = cv2.imencode(".jpg", some_pixels())[1].tobytes()
    with pytest.raises(FormatError):
        read_metadata(with_app15(plain, payload))


WHOLE = encode_aligned_jpeg(some_pixels(16), some_metadata(), 80)


@settings(max_examples=200)
@given(st.integers(0, len(WHOLE)), st.integers(0, 30), st.binary(max_size=6))
def test_a_damaged_image_is_read_or_refused(position: int, removed: int, added: bytes) -> None:
    try:
        metadata = read_metadata(WHOLE[:position] + added + WHOLE[position + removed :])
    except FormatError:
        return
    assert metadata.landmarks.shape == (68, 2)
