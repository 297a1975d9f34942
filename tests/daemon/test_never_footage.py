"""The lists of what is never footage: names made from them never become units, names that only resemble them do."""

from __future__ import annotations

import itertools
import os
import re
import tempfile
from collections.abc import Collection, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from daemon.arrivals.never_footage import (
    NEVER_FOOTAGE,
    PART_STABLE_FOR_S,
    STILL_ENDINGS,
    VIDEO_ENDINGS,
    file_left_alone,
    folder_left_alone,
    is_video_name,
    never_footage_page,
)
from daemon.arrivals.scan import PassedOver, ScanRules, inspect_again, scan, unit_of_path
from daemon.arrivals.settling import GateRules, Unit, judge, observed
from engine.pictures.image_header import IMAGE_SUFFIXES
from tests.clips import make_clip

RULES = ScanRules()
STEM = st.text(st.sampled_from("abcXYZ 09_-é"), min_size=1, max_size=8).map(lambda text: f"c{text}c")
GLOBS = [(one, glob) for one in NEVER_FOOTAGE for names in one.names for glob in names.globs]
FILE_GLOBS = [glob for one, glob in GLOBS if one.files]
FOLDER_GLOBS = [glob for one, glob in GLOBS if one.folders]
CONTENT = os.urandom(600).replace(b"G", b"H")
"""Neither text nor a video."""


@st.composite
def name_of(draw: st.DrawFn, globs: Collection[str]) -> str:
    """A name that one of the globs stands for, in any mix of capitals."""
    glob = draw(st.sampled_from(sorted(globs)))
    pieces = re.split(r"(<word>|<digits>|\[0-9\]|[*?])", glob)
    made = {
        "<word>": st.sampled_from(["mp4", "webm", "1"]),
        "<digits>": st.sampled_from(["1", "07"]),
        "[0-9]": st.sampled_from("0189"),
        "*": STEM,
    }
    name = "".join(draw(made.get(piece, st.just("q" if piece == "?" else piece))) for piece in pieces)
    return "".join(letter.upper() if draw(st.booleans()) else letter for letter in name)


def put(path: Path, content: bytes = CONTENT) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)


def found_in(root: Path) -> tuple[dict[str, Unit], dict[str, PassedOver]]:
    found = list(scan(root, RULES))
    return (
        {one.path: one for one in found if isinstance(one, Unit)},
        {one.path: one for one in found if isinstance(one, PassedOver)},
    )


def example_of(glob: str) -> str:
    for wild, letters in (("<word>", "mp4"), ("<digits>", "12"), ("[0-9]", "7"), ("?", "q"), ("*", "clip")):
        glob = glob.replace(wild, letters)
    return glob


def test_every_entry_of_the_lists_does_its_work(tmp_path: Path) -> None:
    """Each alone in a folder of its own, in capitals, so that no other entry can stand in for it by chance."""
    for number, glob in enumerate(FILE_GLOBS):
        put(tmp_path / f"files {number}" / example_of(glob).upper())
    for number, glob in enumerate(FOLDER_GLOBS):
        put(tmp_path / f"folders {number}" / example_of(glob).upper() / "clip.mp4")
    units, _ = found_in(tmp_path)
    assert set(units) == set()


@given(name_of(FILE_GLOBS), STEM)
@settings(max_examples=100, deadline=None)
def test_a_file_of_a_listed_name_is_never_a_unit_and_is_listed_with_its_reason(name: str, folder: str) -> None:
    with tempfile.TemporaryDirectory() as base:
        root = Path(base)
        put(root / name)
        put(root / folder / name)
        put(root / "clip.mp4")
        units, passed = found_in(root)
        assert set(units) == {"clip.mp4"}
        for path in (name, f"{folder}/{name}"):
            assert passed[path].reason in {one.reason for one in NEVER_FOOTAGE}
            assert passed[path].detail
            event = unit_of_path(root, path, RULES)
            assert event is None or inspect_again(root, {event[0]: event[1]}, RULES)[event[0]] is None


@given(name_of(FOLDER_GLOBS), STEM)
@settings(max_examples=80, deadline=None)
def test_nothing_below_a_folder_of_a_listed_name_is_a_unit(name: str, folder: str) -> None:
    with tempfile.TemporaryDirectory() as base:
        root = Path(base)
        put(root / folder / name / "deep" / "clip.mp4")
        put(root / folder / name / "shots" / "1.png")
        put(root / folder / "clip.mp4")
        units, passed = found_in(root)
        assert set(units) == {f"{folder}/clip.mp4"}
        whole = f"{folder}/{name}"
        assert any(path == whole or whole.startswith(f"{path}/") for path in passed)
        for path in (f"{whole}/deep/clip.mp4", f"{whole}/shots/1.png"):
            assert unit_of_path(root, path, RULES) is None


@given(name_of([glob for glob in FILE_GLOBS if not glob.startswith(".")]), st.sampled_from(sorted(VIDEO_ENDINGS)))
@settings(max_examples=80, deadline=None)
def test_a_clip_whose_name_merely_holds_such_a_word_is_taken(name: str, ending: str) -> None:
    word = re.sub(r"[^A-Za-zé0-9 ]", " ", name).strip() or "x"
    for clip in (f"{word}{ending}", f"my {word} clip{ending.upper()}", f"{word.replace(' ', '_')}x{ending}"):
        assert file_left_alone(clip) is None, clip
        assert is_video_name(clip)


@given(name_of(FOLDER_GLOBS))
@settings(max_examples=80, deadline=None)
def test_a_folder_whose_name_merely_holds_such_a_word_is_looked_into(name: str) -> None:
    word = re.sub(r"[^A-Za-zé0-9 ]", " ", name).strip() or "x"
    assert folder_left_alone(f"my {word} shoot") is None


@pytest.mark.parametrize(
    "name",
    ["GX010001.MP4", "f137.mp4", "temperature.mp4", "incomplete cut.mov", "party.mov", "part one.mov", "temp.tmp.mkv",
     "A001.F100.take 2.mov", "lens.f28.mp4", "recycle.mp4", "download.mp4", "clip.part1.mp4", "no ending", "x.dat",
     "shot.f123.mov", "photo.f137.jpg", "scene.temp.mp4", "clip.f137.mp4", "x.part-frag1.mp4", "x.octransferid.mov",
     "x.sb-12345678-ab.mp4"],
)  # fmt: skip
def test_names_of_footage_are_not_left_alone(name: str) -> None:
    assert file_left_alone(name) is None


def test_no_name_is_video_still_and_left_alone_at_once() -> None:
    assert not VIDEO_ENDINGS & STILL_ENDINGS
    assert IMAGE_SUFFIXES <= STILL_ENDINGS
    assert [ending for ending in VIDEO_ENDINGS | STILL_ENDINGS if file_left_alone(f"clip{ending}")] == []


def test_every_list_and_every_name_stands_in_the_docs() -> None:
    page = never_footage_page()
    for one, glob in GLOBS:
        assert f"`{one.reason}`" in page
        assert f"`{glob}`".replace("\r", "\\r") in page
    assert all(f"`{ending}`" in page for ending in VIDEO_ENDINGS | STILL_ENDINGS)


def test_no_name_stands_in_two_lists_for_the_same_kind() -> None:
    for kind in ("files", "folders"):
        names = [glob for one, glob in GLOBS if getattr(one, kind)]
        assert [glob for glob, group in itertools.groupby(sorted(names)) if len(list(group)) > 1] == []


def test_no_name_with_the_ending_of_footage_is_left_alone_for_what_stands_in_its_middle() -> None:
    """A person gives footage any stem; a glob that leaves the ending open has to begin with what no person writes."""
    for one, glob in GLOBS:
        if one.files and not glob.startswith((".", "~")):
            tail = re.split(r"[*?]|\[0-9\]|<[a-z]+>", glob)[-1]
            opened = re.fullmatch(r".*(\*|\.<word>)", glob) is not None
            assert not opened, glob
            assert f".{tail.rpartition('.')[2]}" not in VIDEO_ENDINGS | STILL_ENDINGS, glob


# -- what yt-dlp has not joined yet, or what a person called so


PARTS = ["clip.f137.mp4", "clip.f251.webm", "clip.f140-drc.mp4", "CLIP.F399.MP4", "clip.fhls-1080.mp4", "clip.temp.mkv"]


@pytest.mark.parametrize("name", PARTS)
def test_what_may_be_a_part_of_a_download_waits_longer_and_is_then_taken(tmp_path: Path, name: str) -> None:
    put(tmp_path / "day" / name)
    units, _ = found_in(tmp_path)
    unit = units[f"day/{name}"]
    rules = GateRules(stable_for_s=10)
    early = judge(observed(observed(None, unit, 0), unit, 11), PART_STABLE_FOR_S - 1, rules)
    assert (early.settled, early.obstacle, early.check_again_s) == (False, "may_be_a_part", PART_STABLE_FOR_S)
    assert judge(observed(observed(None, unit, 0), unit, 11), PART_STABLE_FOR_S, rules).settled


@pytest.mark.parametrize("name", PARTS)
def test_a_part_beside_the_file_that_it_was_joined_to_is_left_alone(tmp_path: Path, name: str) -> None:
    joined = f"{name[:4]}.mkv"
    put(tmp_path / name)
    put(tmp_path / joined)
    units, passed = found_in(tmp_path)
    assert set(units) == {joined}
    assert passed[name] == PassedOver(name, "still_arriving", f"yt-dlp: a part of {joined}")
    assert inspect_again(tmp_path, {name: "video"}, RULES)[name] is None


@pytest.mark.parametrize(
    "name", ["shot.f123.mov", "clip.f137.jpg", "f137.mp4", "clip.f1370.mp4", "a.temperature.mp4", "temp.mp4"]
)
def test_other_names_wait_no_longer_than_all_do(tmp_path: Path, name: str) -> None:
    put(tmp_path / "day" / name)
    assert [unit.may_be_a_part for unit in found_in(tmp_path)[0].values()] == [False]


def test_a_series_is_no_download_whatever_its_numbers(tmp_path: Path) -> None:
    numbers = range(130, 141)
    for number in numbers:
        put(tmp_path / "clips" / f"take.f{number}.mov")
        put(tmp_path / "shots" / f"take.f{number}.png")
    put(tmp_path / "clips" / "take.mov")
    units, passed = found_in(tmp_path)
    assert set(units) == {"shots", "clips/take.mov", *(f"clips/take.f{number}.mov" for number in numbers)}
    assert not any(unit.may_be_a_part for unit in units.values())
    assert len(units["shots"].members) == len(numbers)
    assert passed == {}


# -- content decides where a name says nothing, or lies


@pytest.mark.parametrize("name", ["clip.mp4.txt", "clip.json", "clip.log", "no ending", "clip.weird", "clip.dat"])
def test_a_video_is_taken_under_a_name_that_lies_or_says_nothing(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / "real.mp4", frames=3)
    (tmp_path / "inbox").mkdir()
    (tmp_path / "real.mp4").rename(tmp_path / "inbox" / name)
    units, _ = found_in(tmp_path / "inbox")
    assert set(units) == {name}
    assert unit_of_path(tmp_path / "inbox", name, RULES) in (None, (name, "video"))


@pytest.mark.parametrize("name", ["clip.LRV", "clip.m4a", "clip.mp4.part", "clip.sub", "._clip.mp4"])
def test_a_proxy_and_what_is_still_arriving_are_left_alone_whatever_they_hold(tmp_path: Path, name: str) -> None:
    make_clip(tmp_path / "real.mp4", frames=3)
    (tmp_path / "inbox").mkdir()
    (tmp_path / "real.mp4").rename(tmp_path / "inbox" / name)
    assert found_in(tmp_path / "inbox")[0] == {}


def test_text_under_a_name_that_says_nothing_is_no_footage(tmp_path: Path) -> None:
    put(tmp_path / "README", b"GGGG hello\n" * 100)
    put(tmp_path / "strange.abc", CONTENT)
    units, passed = found_in(tmp_path)
    assert set(units) == {"strange.abc"}  # only a worker can tell, and a quarantine says so
    assert passed["README"].reason == "text"


def test_a_file_named_like_a_clip_with_another_ending_goes_with_it(tmp_path: Path) -> None:
    for name in ("talk.mp4", "talk.abc", "talk.en.abc", "talk.mp4.abc", "talks.abc"):
        put(tmp_path / "day" / name)
    units, passed = found_in(tmp_path)
    assert set(units) == {"day/talk.mp4", "day/talks.abc"}
    assert passed["day/talk.en.abc"] == PassedOver("day/talk.en.abc", "companion", "named like talk")
    assert passed["day/talk.mp4.abc"].detail == "named like talk.mp4"


@pytest.mark.parametrize(
    "other",
    ["metadata.json", "Thumbs.db", ".DS_Store", "desktop.ini", "render.log", "list.txt", "README", "scene.abc",
     "._1.png", "0001.exr", "0001.png.xmp", "archive.zip"],
)  # fmt: skip
def test_a_folder_of_images_is_one_unit_whatever_lies_in_it_that_is_no_video(tmp_path: Path, other: str) -> None:
    for number in range(3):
        put(tmp_path / "shots" / f"{number}.png")
    put(tmp_path / "shots" / other)
    units, _ = found_in(tmp_path)
    assert {path: unit.kind for path, unit in units.items()} == {"shots": "folder"}
    assert [name for name, _ in units["shots"].members] == ["0.png", "1.png", "2.png"]
    assert not units["shots"].still_downloading


def test_a_video_among_images_counts_also_under_a_name_that_lies(tmp_path: Path) -> None:
    put(tmp_path / "shots" / "1.png")
    make_clip(tmp_path / "real.mp4", frames=3)
    (tmp_path / "real.mp4").rename(tmp_path / "shots" / "film.txt")
    units, passed = found_in(tmp_path)
    assert set(units) == {"shots/film.txt"}
    assert passed["shots"].reason == "images_beside_videos"


def test_a_folder_of_pictures_that_are_not_read_is_one_line(tmp_path: Path) -> None:
    for number in range(50):
        put(tmp_path / "render" / f"{number:04d}.exr")
    put(tmp_path / "render" / "0000.dpx")
    units, passed = found_in(tmp_path)
    assert units == {}
    assert [one.reason for one in passed.values()] == ["pictures_not_read"]
    assert passed["render"].detail.startswith("1 .dpx, 50 .exr; dfld reads ")


def test_a_pipe_under_a_name_whose_content_decides_blocks_nothing(tmp_path: Path) -> None:
    put(tmp_path / "shots" / "1.png")
    os.mkfifo(tmp_path / "shots" / "pipe.txt")
    os.mkfifo(tmp_path / "shots" / "pipe")
    assert set(found_in(tmp_path)[0]) == {"shots"}


TREES = st.lists(
    st.tuples(
        st.sampled_from(["", "shots/", "day/", "day/shots/", "@eaDir/", "day/#recycle/"]),
        st.one_of(
            name_of(FILE_GLOBS),
            st.sampled_from(
                [
                    *("1.png", "2.PNG", "clip.mp4", "clip.abc", "README", "talk.mov", "0001.exr", "0002.exr", "x"),
                    *("talk.f137.mp4", "talk.temp.mp4", "talk.f136.mp4", "talk.f138.mp4", "talk.f251.webm"),
                ]
            ),
        ),
    ),
    max_size=12,
)


@given(TREES)
@settings(max_examples=80, deadline=None)
def test_events_and_looks_at_one_unit_come_to_what_the_scan_says(tree: list[tuple[str, str]]) -> None:
    with tempfile.TemporaryDirectory() as base:
        root = Path(base)
        for folder, name in tree:
            put(root / (folder + name), b"plain text" if name == "README" else CONTENT)
        units, _ = found_in(root)
        seen = set(by_events(root, {folder + name for folder, name in tree}))
        assert seen == set(units.values())
        for unit in units.values():
            assert inspect_again(root, {unit.path: unit.kind}, RULES)[unit.path] == unit


def by_events(root: Path, paths: set[str]) -> Iterator[Unit]:
    for path in paths:
        event = unit_of_path(root, path, RULES)
        unit = inspect_again(root, {event[0]: event[1]}, RULES)[event[0]] if event is not None else None
        if unit is not None:
            yield unit
