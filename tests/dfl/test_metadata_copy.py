from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl.errors import FormatError
from dfl.image import read_fields
from dfl.metadata_copy import SavedMetadata, read_metadata_copy, write_metadata_copy
from dfl.pickles.dumping import dump_for_dfl
from tests.faceset_rig import face_jpeg

MUTANTS = int(os.environ.get("DFLD_PACK_MUTANTS", "60"))
FIELDS = read_fields(face_jpeg(1))
COPY = write_metadata_copy({f"{number}.jpg": SavedMetadata((64, 64, 3), FIELDS) for number in range(2)})


def assert_same(one: object, other: object) -> None:
    assert type(one) is type(other)
    if isinstance(one, dict) and isinstance(other, dict):
        assert list(one) == list(other)
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        assert one.dtype == other.dtype
        assert np.array_equal(one, other)
    elif isinstance(one, list) and isinstance(other, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            assert_same(a, b)
    else:
        assert one == other


def test_deepfacelabs_copy_holds_what_its_images_hold_and_is_written_as_it_was_read(shared: Path) -> None:
    saved = read_metadata_copy((shared / "golden" / "meta.dat").read_bytes())
    assert len(saved) == 2
    again = read_metadata_copy(write_metadata_copy(saved))
    for name, one in saved.items():
        assert one.shape == (256, 256, 3) == again[name].shape
        assert_same(dict(one.fields), read_fields((shared / "golden" / "dflimg" / name).read_bytes()))
        assert_same(dict(again[name].fields), dict(one.fields))


@pytest.mark.parametrize(
    ("stored", "problem"),
    [
        ([], "expected a dict of images"),
        ({"../a.jpg": ((1, 1, 3), FIELDS)}, "not a plain file name"),
        ({"a.png": ((1, 1, 3), FIELDS)}, "does not end in .jpg"),
        ({"a.jpg": (1, 1, 3)}, "a.jpg is a tuple of 3, expected a shape and a dict"),
        ({"a.jpg": ((1, -1, 3), FIELDS)}, "a.jpg has a shape"),
        ({"a.jpg": ((1, 1 << 40, 3), FIELDS)}, "a.jpg has a shape"),
        ({"a.jpg": ((1, 1, 3), {"landmarks": None})}, "a.jpg: DeepFaceLab metadata has no landmarks"),
    ],
)
def test_what_is_no_copy_is_refused_by_name(stored: object, problem: str) -> None:
    with pytest.raises(FormatError, match=problem):
        read_metadata_copy(dump_for_dfl(stored, protocol=3))


@given(data=st.data())
@settings(max_examples=MUTANTS)
def test_a_mutated_copy_is_read_or_refused(data: st.DataObject) -> None:
    mutated = bytearray(COPY)
    for _ in range(data.draw(st.integers(1, 4))):
        mutated[data.draw(st.integers(0, len(mutated) - 1))] = data.draw(st.integers(0, 255))
    if data.draw(st.booleans()):
        del mutated[data.draw(st.integers(0, len(mutated))) :]
    with suppress(FormatError):
        read_metadata_copy(bytes(mutated))
