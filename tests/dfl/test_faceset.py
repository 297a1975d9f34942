"""faceset.pak: the golden one is read whole, and one written here has its layout."""

from __future__ import annotations

import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl.errors import FormatError
from dfl.face_tables import FACE_TYPES, MEAN_FACE_3D
from dfl.faceset import describe_image, pack_faceset, read_faceset
from dfl.image import AlignedMetadata, MaskPolygon, encode_aligned_jpeg
from dfl.pickles.dumping import dump_for_dfl


@pytest.fixture(scope="module")
def expected(shared: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((shared / "golden" / "faceset.expected.json").read_text())
    assert len(found["samples"]) == 5
    return found


def a_jpeg(seed: int = 0, **changes: Any) -> bytes:
    landmarks = np.array(MEAN_FACE_3D)[:, :2] + 128 + seed
    metadata = AlignedMetadata("whole_face", landmarks, f"{seed:08d}.png", **changes)
    return encode_aligned_jpeg(np.full((16, 16, 3), seed, np.uint8), metadata, 90)


PAIRS = [("b.jpg", a_jpeg(2)), ("a.jpg", a_jpeg(1, xseg_mask=b"\x89PNG mask", eyebrows_expand_mod=1.25))]
PACKED = pack_faceset(PAIRS)


def test_the_golden_set_is_read_image_by_image(shared: Path, expected: dict[str, Any]) -> None:
    data = (shared / "golden" / "faceset.pak").read_bytes()
    images = read_faceset(memoryview(data))
    for image, wanted in zip(images, expected["samples"], strict=True):
        config = wanted["config"]
        jpeg = data[image.start : image.end]
        assert (image.filename, image.size_bytes) == (config["filename"], wanted["raw_len"])
        assert hashlib.sha256(jpeg).hexdigest() == wanted["raw_sha256"]
        assert FACE_TYPES[image.metadata.face_type].enum == config["face_type"]
        assert list(image.shape) == config["shape"]["__tuple__"]
        assert image.metadata.source_filename == config["source_filename"]
        assert image.metadata.eyebrows_expand_mod == config["eyebrows_expand_mod"]
        assert image.person_name is None
        alone = describe_image(image.filename, jpeg).metadata
        np.testing.assert_array_equal(image.metadata.landmarks, alone.landmarks)
        assert image.metadata.xseg_mask == alone.xseg_mask
        assert [p.points.tolist() for p in image.metadata.seg_ie_polys] == [
            p.points.tolist() for p in alone.seg_ie_polys
        ]


def test_the_golden_images_are_packed_into_the_golden_layout(shared: Path, expected: dict[str, Any]) -> None:
    names = [wanted["original"] for wanted in expected["samples"]]
    pairs = [(Path(name).name, (shared / "golden" / name).read_bytes()) for name in names]
    golden, mine = (shared / "golden" / "faceset.pak").read_bytes(), pack_faceset(reversed(pairs))
    index_bytes = int.from_bytes(mine[8:16], "little")
    offsets = np.frombuffer(mine, "<u8", 6, 16 + index_bytes).tolist()
    assert int.from_bytes(mine[:8], "little") == expected["version"]
    assert offsets[:-1] == expected["offset_table"][:-1]
    assert offsets[-1] == len(mine)  # absolute, as in the golden file
    first = 16 + index_bytes + 6 * 8
    assert mine[first:] == golden[expected["data_start"] :]


def test_the_index_holds_the_golden_keys_types_and_order(shared: Path, expected: dict[str, Any]) -> None:
    index = pickle.loads(PACKED[16 : 16 + int.from_bytes(PACKED[8:16], "little")])
    for entry in index:
        assert list(entry) == list(expected["samples"][0]["config"])
        assert type(entry["shape"]) is tuple
        assert type(entry["landmarks"]) is list
    assert index[0]["xseg_mask_compressed"].dtype == np.uint8
    assert index[0]["seg_ie_polys"] == {"polys": []}


def test_images_are_sorted_by_name_and_unchanged() -> None:
    images = read_faceset(PACKED)
    assert [image.filename for image in images] == ["a.jpg", "b.jpg"]
    assert {image.filename: PACKED[image.start : image.end] for image in images} == dict(PAIRS)


def test_index_fields_survive_packing() -> None:
    polygon = MaskPolygon(include=False, points=np.array([[1, 2], [3, 4], [5, 6]], np.float32))
    metadata = read_faceset(pack_faceset([("a.jpg", a_jpeg(7, seg_ie_polys=(polygon,), xseg_mask=b"m"))]))[0].metadata
    assert metadata.xseg_mask == b"m"
    assert metadata.source_filename == "00000007.png"
    assert [(p.include, p.points.tolist()) for p in metadata.seg_ie_polys] == [(False, [[1, 2], [3, 4], [5, 6]])]


def test_an_empty_set_is_a_set() -> None:
    assert read_faceset(pack_faceset([])) == ()


def test_a_last_offset_relative_to_the_images_is_read() -> None:
    index_bytes = int.from_bytes(PACKED[8:16], "little")
    last = 16 + index_bytes + 2 * 8
    relative = len(PACKED) - (last + 8)
    changed = PACKED[:last] + relative.to_bytes(8, "little") + PACKED[last + 8 :]
    assert [i.start for i in read_faceset(changed)] == [i.start for i in read_faceset(PACKED)]


def packed_with(index: bytes, offsets: list[int], images: bytes = b"") -> bytes:
    table = np.array(offsets, "<u8").tobytes()
    return (1).to_bytes(8, "little") + len(index).to_bytes(8, "little") + index + table + images


def an_entry(**changes: Any) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "filename": "a.jpg",
        "face_type": 4,
        "shape": (16, 16, 3),
        "landmarks": (np.array(MEAN_FACE_3D)[:, :2]).tolist(),
    }
    return {**entry, **changes}


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"filename": "../../etc/cron.d/x.jpg"}, "not a plain file name"),
        ({"filename": "..\\x.jpg"}, "not a plain file name"),
        ({"filename": "a.png"}, "does not end in .jpg"),
        ({"filename": 7}, "name is 7"),
        ({"person_name": ".."}, "person name"),
        ({"shape": (16, 16)}, "shape"),
        ({"shape": (-1, 16, 3)}, "shape"),
        ({"face_type": 5}, "face type 5"),
        ({"landmarks": []}, "landmarks"),
    ],
    ids=str,
)
def test_an_entry_of_the_wrong_form_is_refused(changes: dict[str, Any], refusal: str) -> None:
    index = dump_for_dfl([an_entry(**changes)])
    data = packed_with(index, [0, 16 + len(index) + 16])
    with pytest.raises(FormatError, match=refusal):
        read_faceset(data)


def test_a_sound_entry_is_read() -> None:
    index = dump_for_dfl([an_entry()])
    assert read_faceset(packed_with(index, [0, 16 + len(index) + 16]))[0].filename == "a.jpg"


@pytest.mark.parametrize(
    ("data", "refusal"),
    [
        (b"", "header alone"),
        ((2).to_bytes(8, "little") + PACKED[8:], "version 2"),
        (PACKED[:-1], "says that it ends"),
        (PACKED + b"x", "says that it ends"),
        (PACKED[:8] + (2**63).to_bytes(8, "little") + PACKED[16:], "announces an index"),
        (packed_with(dump_for_dfl({"a": 1}), [0]), "no list of dicts"),
        (packed_with(dump_for_dfl([an_entry()] * 99), [0]), "table of offsets"),
        (packed_with(b"\x80\x04cos\nsystem\n.", [0]), "'os.system', which is not on the closed list"),
    ],
)
def test_a_broken_set_is_refused(data: bytes, refusal: str) -> None:
    with pytest.raises(FormatError, match=refusal):
        read_faceset(data)


def test_a_small_index_cannot_hold_an_endless_entry() -> None:
    doubled: list[Any] = [0]
    for _ in range(9):
        doubled = [doubled] * 16
    index = dump_for_dfl([an_entry(person_name=doubled)])
    with pytest.raises(FormatError, match="shared parts written out"):
        read_faceset(packed_with(index, [0, 16 + len(index) + 16]))


def test_offsets_out_of_order_are_refused() -> None:
    index = dump_for_dfl([an_entry(), an_entry(filename="b.jpg")])
    end = 16 + len(index) + 3 * 8 + 4
    for second in (2**62, 5):
        with pytest.raises(FormatError, match="not in order"):
            read_faceset(packed_with(index, [0, second, end], b"abcd"))
    assert len(read_faceset(packed_with(index, [0, 4, end], b"abcd"))) == 2


@settings(max_examples=150)
@given(st.integers(0, len(PACKED)), st.integers(0, 30), st.binary(max_size=8))
def test_a_damaged_set_is_read_or_refused(position: int, removed: int, added: bytes) -> None:
    data = PACKED[:position] + added + PACKED[position + removed :]
    try:
        images = read_faceset(data)
    except FormatError:
        return
    assert all(0 <= image.start <= image.end <= len(data) for image in images)
