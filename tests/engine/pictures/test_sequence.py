"""Names of frames: numbers count as numbers, and what is missing or there twice is said."""

from __future__ import annotations

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.pictures.sequence import is_frame_name, natural_key, sequence_names

NAMES = st.text(st.sampled_from("ab019 _-.é"), min_size=1, max_size=12)
PIECES = st.lists(
    st.one_of(st.sampled_from(["shot", "_", "-", " ", ".", "v", "é"]), st.integers(0, 10**12)), min_size=1
)


def padded(name: str, width: int = 40) -> str:
    return re.sub("[0-9]+", lambda run: run[0].lstrip("0").zfill(width), name)


def joined(pieces: list[str | int]) -> str:
    return "".join(map(str, pieces)) + ".png"


@given(st.lists(NAMES, max_size=20))
def test_the_order_is_that_of_the_plain_names_once_their_numbers_are_padded(names: list[str]) -> None:
    assert sorted(names, key=natural_key) == sorted(names, key=lambda name: (padded(name), name))


@given(st.lists(PIECES, max_size=20))
def test_the_order_of_padded_names_is_deepfacelabs_own(several: list[list[str | int]]) -> None:
    names = sorted({padded(joined(pieces)) for pieces in several})
    assert sorted(names, key=natural_key) == names


@given(NAMES, NAMES)
def test_the_order_is_total_and_tells_different_names_apart(one: str, other: str) -> None:
    assert (natural_key(one) == natural_key(other)) == (one == other)


@given(st.sets(st.integers(0, 10**15), max_size=40), st.sampled_from(["{}.png", "shot_{}_v2.png", "a{}b.JPG"]))
def test_frames_come_in_the_order_of_their_numbers_however_they_are_listed(numbers: set[int], form: str) -> None:
    names = [form.format(number) for number in sorted(numbers)]
    assert sequence_names(random.Random(1).sample(names, len(names))).names == tuple(names)


@pytest.mark.parametrize(
    "names",
    [
        ("a.png", "b.png", "c.png"),
        ("take1_9.png", "take1_10.png", "take2_1.png", "take10_1.png"),
        ("frame.png", "frame2.png", "frame10.png"),
        ("B.png", "a.png"),  # capitals first, as they always came
        ("a-.png", "a1.png"),
        ("01.png", "1.png", "2.png"),
    ],
)
def test_names_without_numbers_and_with_several_keep_their_order(names: tuple[str, ...]) -> None:
    assert sequence_names(reversed(names)).names == names


def test_hidden_names_and_other_files_are_no_frames() -> None:
    names = ["._1.png", ".hidden.png", "1.png", "2.txt", "png", ".png", "3.PNG", "4.png.part"]
    assert sequence_names(names).names == ("1.png", "3.PNG")
    assert not any(map(is_frame_name, ("._1.png", "png", ".png", "1.png.xmp")))


def test_images_of_one_stem_are_one_frame_and_the_others_are_named() -> None:
    sequence = sequence_names(["1.png", "1.jpg", "2.png"])
    assert sequence.names == ("1.jpg", "2.png")
    assert sequence.notes() == ("images left out, because another one has their name: 1.png (1.jpg is taken)",)


def test_two_names_of_one_number_are_both_taken_and_named() -> None:
    sequence = sequence_names(["1.png", "01.png", "2.png", "3.png"])
    assert sequence.names == ("01.png", "1.png", "2.png", "3.png")
    assert sequence.notes() == ("frames of one number, all are taken: 01.png and 1.png",)


def test_gaps_are_named_with_how_many_frames_are_missing() -> None:
    names = [f"shot_{number}_v2.png" for number in range(1, 60) if number not in (12, 40, 41, 42)]
    (note,) = sequence_names(names).notes()
    assert note == "4 frames are missing by number, the others follow each other without them: 12, 40 to 42"


@given(st.sets(st.integers(0, 300), min_size=2))
def test_what_is_missing_and_what_is_there_make_up_the_range(numbers: set[int]) -> None:
    notes = sequence_names(f"{number}.png" for number in numbers).notes()
    missing = set(range(min(numbers), max(numbers) + 1)) - numbers
    if notes:
        counted = int(notes[0].partition(" ")[0])
        step = min(after - before for before, after in zip(sorted(numbers), sorted(numbers)[1:], strict=False))
        assert counted == len({number for number in missing if (number - min(numbers)) % step == 0})
    elif missing and len(numbers) >= 150:
        pytest.fail("half of all numbers are there, and none of the others is named")


@pytest.mark.parametrize(
    "names",
    [
        [f"{number:05d}.png" for number in range(0, 500, 5)],  # every fifth frame
        ["IMG_20240101_093011.jpg", "IMG_20240101_150200.jpg", "IMG_20240304_081500.jpg"],  # dates
        ["a.png", "b.png"],
        ["only1.png"],
        ["take1_1.png", "take1_2.png", "take9_1.png", "take9_2.png"],  # takes may be chosen
    ],
)
def test_what_is_no_gap_is_not_called_one(names: list[str]) -> None:
    assert sequence_names(names).notes() == ()


def test_a_long_list_of_gaps_is_counted_instead_of_listed() -> None:
    (note,) = sequence_names(f"{number}.png" for number in range(100) if number % 4).notes()
    assert note.endswith("and 19 more")
