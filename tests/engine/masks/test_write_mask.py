"""A mask goes into an aligned JPEG and out again, and nothing else of it changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfl.errors import FormatError
from dfl.image import array_of_bytes, fields_of_metadata, read_fields, read_metadata, with_metadata
from dfl.jpeg import with_app15, without_app15
from dfl.pickles.dumping import dump_for_dfl
from dfl.xseg_mask import decode_xseg_mask, encode_xseg_mask
from engine.masks.source import PredictedMask
from engine.masks.write_mask import (
    MASK_KEY,
    NOTE_KEY,
    STORED_SIDE_PX,
    MaskNote,
    mask_picture,
    note_in,
    owner_in,
    picture_shows,
    stored_mask,
    with_mask,
    without_own_mask,
)
from tests.faceset_rig import face_jpeg

HASH = "0123456789abcdef" * 4


def predicted(side: int = 64, threshold: float = 0.5) -> PredictedMask:
    rows, columns = np.mgrid[0:side, 0:side] / side - 0.5
    return PredictedMask((1.5 - 3 * np.hypot(rows, columns)).astype(np.float32), "xseg", HASH, threshold)


def note_of(stored: bytes, **changes: object) -> MaskNote:
    import hashlib

    note = MaskNote("xseg", HASH, 0.5, {"area": 0.97}, hashlib.sha256(stored).hexdigest(), HASH, (HASH,))
    return replace(note, **changes)  # type: ignore[arg-type]


def masked(data: bytes) -> bytes:
    stored = stored_mask(predicted())
    return with_mask(data, read_fields(data), stored, note_of(stored))


def golden_faces(shared: Path) -> list[bytes]:
    found = [path.read_bytes() for path in sorted((shared / "golden" / "dflimg").glob("*.jpg"))]
    assert len(found) == 7
    return found


def same(one: object, other: object) -> bool:
    """Say whether two values of metadata are the same, types of containers and numbers included."""
    if type(one) is not type(other):
        return False
    if isinstance(one, np.ndarray):
        assert isinstance(other, np.ndarray)
        return (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())
    if isinstance(one, dict):
        assert isinstance(other, dict)
        return list(one) == list(other) and all(map(same, one.values(), other.values()))
    if isinstance(one, list | tuple):
        assert isinstance(other, list | tuple)
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def test_nothing_of_deepfacelabs_own_faces_changes_but_the_mask(shared: Path) -> None:
    for data in golden_faces(shared):
        after = masked(data)
        assert without_app15(after) == without_app15(data)  # pixels and all other segments
        before, now = read_fields(data), read_fields(after)
        for key in (MASK_KEY, NOTE_KEY):
            before.pop(key, None)
            now.pop(key)
        assert same(before, now)
        np.testing.assert_array_equal(
            decode_xseg_mask(read_metadata(after).xseg_mask or b""), decode_xseg_mask(stored_mask(predicted()))
        )


def test_a_face_without_its_mask_is_the_file_that_deepfacelab_or_dfld_wrote(shared: Path) -> None:
    faces = [data for data in golden_faces(shared) if read_metadata(data).xseg_mask is None]
    assert len(faces) == 5
    for data in [*faces, face_jpeg(1), face_jpeg(2, with_id=False)]:
        assert without_own_mask(masked(data)) == data
        assert without_own_mask(data) == data


def test_keys_that_nobody_knows_stay(shared: Path) -> None:
    fields = {**read_fields(face_jpeg(1)), "theirs": {"a": [1, (2.5, "x")], "b": np.arange(4, dtype=np.int32)}}
    data = with_app15(face_jpeg(1), dump_for_dfl(fields, protocol=4))
    after = masked(data)
    assert same(read_fields(after)["theirs"], fields["theirs"])
    assert without_own_mask(after) == data


def test_a_mask_is_stored_as_a_hard_one_of_256_px_in_a_small_image_file() -> None:
    for side in (64, 256, 500):
        stored = stored_mask(predicted(side))
        mask = decode_xseg_mask(stored)
        assert mask.shape == (STORED_SIDE_PX, STORED_SIDE_PX)
        assert set(np.unique(mask)) == {0.0, 1.0}
        assert abs(mask.mean() - np.pi / 9) < 0.01
        assert len(stored) < 2000


def test_from_the_threshold_on_a_pixel_belongs_to_the_face() -> None:
    mask = np.full((256, 256), 0.3, np.float32)
    assert decode_xseg_mask(stored_mask(PredictedMask(mask, "xseg", None, 0.3))).all()
    assert not decode_xseg_mask(stored_mask(PredictedMask(mask, "xseg", None, 0.31))).any()


def test_whose_a_mask_is() -> None:
    face = face_jpeg(1)
    assert owner_in(read_fields(face)) == "nobody"
    after = masked(face)
    assert owner_in(read_fields(after)) == "dfld"
    theirs = with_metadata(face, replace(read_metadata(face), xseg_mask=encode_xseg_mask(np.ones((256, 256)))))
    assert owner_in(read_fields(theirs)) == "person"
    # DeepFaceLab's own tools write another mask and keep the key that they do not know.
    over = with_metadata(after, replace(read_metadata(after), xseg_mask=encode_xseg_mask(np.ones((256, 256)))))
    assert note_in(read_fields(over)) is not None
    assert owner_in(read_fields(over)) == "person"
    assert without_own_mask(over) == over


def test_a_note_is_read_as_it_was_written() -> None:
    stored = stored_mask(predicted())
    note = note_of(stored, checks={"area": 1.25, "holes": 0.0}, pictures=(HASH, HASH[::-1]), model_sha="")
    assert note_in(read_fields(with_mask(face_jpeg(1), read_fields(face_jpeg(1)), stored, note))) == note


@given(
    st.dictionaries(
        st.sampled_from(sorted(MaskNote.__dataclass_fields__)),
        st.one_of(
            st.none(), st.integers(), st.text(), st.floats(), st.binary(), st.lists(st.text(), max_size=4),
            st.dictionaries(st.text(), st.integers()),
        ),
    )
)  # fmt: skip
def test_a_note_that_makes_no_sense_counts_as_none_and_its_mask_as_a_persons(changes: dict[str, object]) -> None:
    fields = read_fields(masked(face_jpeg(1)))
    note = fields[NOTE_KEY]
    assert isinstance(note, dict)
    broken = {**fields, NOTE_KEY: {**note, **changes}}
    assert owner_in(broken) == "person" or note_in(broken) is not None


def test_metadata_that_would_not_fit_is_refused_before_anything_is_written() -> None:
    fields = {**fields_of_metadata(read_metadata(face_jpeg(1))), "large": array_of_bytes(bytes(61_000))}
    data = with_app15(face_jpeg(1), dump_for_dfl(fields, protocol=3))
    with pytest.raises(FormatError, match="does not fit in an aligned JPEG"):
        masked(data)


def test_a_picture_of_masks_is_known_by_what_it_shows() -> None:
    found = predicted()
    assert picture_shows(mask_picture(found), found.is_face)
    assert not picture_shows(mask_picture(found), ~found.is_face)
    assert not picture_shows(mask_picture(predicted(32)), found.is_face)
    for damaged in (b"", b"\x89PNG\r\n\x1a\n", mask_picture(found)[:60], face_jpeg(1)):
        assert not picture_shows(damaged, found.is_face)
