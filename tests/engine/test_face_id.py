"""Ids follow from source, frame and box alone, by the recipe that stands in docs and other programs."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.face_id import box_of, face_id, is_sha256, track_id

SOURCE = hashlib.sha256(b"a clip").hexdigest()
EDGES = st.integers(-(2**31) + 1, 2**31 - 1)


def test_the_recipe_is_the_one_that_is_written_down() -> None:
    assert face_id(SOURCE, 7, (-1, 20, 300, 400)) == "38883079d27a2e6eb8c88c367d0b43ef"
    assert track_id(SOURCE, 7, (-1, 20, 300, 400)) == "7f88818df711591d6fbf4a4a847fffe4"


@given(frame=st.integers(0, 2**64 - 1), box=st.tuples(EDGES, EDGES, EDGES, EDGES))
def test_bytes_are_source_frame_and_edges_one_after_the_other(frame: int, box: tuple[int, int, int, int]) -> None:
    written = bytes.fromhex(SOURCE) + frame.to_bytes(8, "big")
    written += b"".join(edge.to_bytes(4, "big", signed=True) for edge in box)
    for recipe, made in ((b"dfld-face-1", face_id), (b"dfld-track-1", track_id)):
        assert made(SOURCE, frame, box) == hashlib.sha256(recipe + written).hexdigest()[:32]


def test_a_box_far_outside_any_picture_has_an_id_too() -> None:
    assert face_id(SOURCE, 0, (-(10**12), 0, 10**12, 1)) == face_id(SOURCE, 0, (-(2**31) + 1, 0, 2**31 - 1, 1))


@given(edges=st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=4))
def test_a_box_is_rounded_as_the_metadata_of_an_image_rounds_it(edges: list[float]) -> None:
    assert list(box_of(edges)) == np.rint(np.array(edges)).astype(np.int64).tolist()


@pytest.mark.parametrize("text", ["", "a" * 63, "A" * 64, "g" * 64, "a" * 64 + "-of-head-and-tail"])
def test_what_is_no_sha256_gives_no_id(text: str) -> None:
    assert not is_sha256(text)
    with pytest.raises(ValueError, match="no SHA-256"):
        face_id(text, 0, (0, 0, 1, 1))
