"""A new file is read back before it gets its name: what did not reach the disk as it was written is found."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dfl.weights import index_weights
from sync.averaging.tensor_file import TensorFile, TensorWriter, words_sum
from sync.errors import AverageError

PAGE = 4096
VALUES = np.random.default_rng(1).standard_normal(5 * PAGE).astype(np.float32)
"""The new values: 20 pages."""


@pytest.fixture
def template(tmp_path: Path) -> TensorFile:
    path = tmp_path / "alice_SAEHD_encoder.npy"
    path.write_bytes(pickle.dumps({"weight:0": np.zeros_like(VALUES)}, 4))
    return TensorFile(path, index_weights(path))


def write_and_spoil(template: TensorFile, spoil: Callable[[bytearray, int], None]) -> None:
    """Put the new values in place of the template, the disk doing `spoil(content, offset of the values)` to them."""
    with TensorWriter(template, template.path) as writer:
        writer.write("weight:0", 0, VALUES)
        (part,) = template.path.parent.glob(".*.part")
        content = bytearray(part.read_bytes())
        spoil(content, template.layout.by_name["weight:0"].offset)
        part.write_bytes(content)
        writer.verify()
        writer.place()


def lose_a_page(content: bytearray, offset: int) -> None:
    content[offset + PAGE : offset + 2 * PAGE] = bytes(PAGE)


def flip_a_bit(content: bytearray, offset: int) -> None:
    content[offset + 777] ^= 1


def keep_an_old_page(content: bytearray, offset: int) -> None:
    content[offset : offset + PAGE] = content[offset + PAGE : offset + 2 * PAGE]


def cut_off(content: bytearray, offset: int) -> None:
    del content[offset + PAGE :]


def change_the_pickle(content: bytearray, _offset: int) -> None:
    content[-1:] = b"0."


def test_a_file_that_reads_back_as_written_is_put_in_place(template: TensorFile) -> None:
    write_and_spoil(template, lambda _content, _offset: None)
    assert np.array_equal(pickle.loads(template.path.read_bytes())["weight:0"], VALUES)
    assert [path.name for path in template.path.parent.iterdir()] == [template.path.name]


@pytest.mark.parametrize("spoil", [lose_a_page, flip_a_bit, keep_an_old_page, cut_off, change_the_pickle])
def test_a_file_that_reads_back_otherwise_leaves_the_old_one(
    template: TensorFile, spoil: Callable[[bytearray, int], None]
) -> None:
    before = template.path.read_bytes()
    with pytest.raises(AverageError, match="not put in place"):
        write_and_spoil(template, spoil)
    assert template.path.read_bytes() == before
    assert [path.name for path in template.path.parent.iterdir()] == [template.path.name]


@given(content=st.binary(max_size=70), place=st.integers(min_value=0), change=st.integers(1, 255))
def test_the_sum_of_words_is_that_of_the_bytes_and_no_changed_byte_escapes_it(
    content: bytes, place: int, change: int
) -> None:
    words = [int.from_bytes(content[start : start + 8], "little") for start in range(0, len(content), 8)]
    assert words_sum(content) == words_sum(memoryview(content)) == sum(words) % 2**64
    if content:
        changed = bytearray(content)
        changed[place % len(content)] ^= change
        assert words_sum(bytes(changed)) != words_sum(content)
