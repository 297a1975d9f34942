"""What a walk over an inbox finds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import get_args

import pytest

from daemon.arrivals import first_bytes
from daemon.arrivals.first_bytes import Contents
from daemon.arrivals.scan import (
    PassedOver,
    PassReason,
    ScanRules,
    inspect_again,
    inspect_unit,
    scan,
    unit_of_path,
)
from daemon.arrivals.settling import GateRules, Obstacle, Unit, obstacle_of
from daemon.inboxes.references import scan_beside_references
from daemon.inboxes.sentences import OBSTACLES, PASSED_OVER, why_passed_over

RULES = ScanRules()


def put(path: Path, content: bytes = b"x") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def units(root: Path, rules: ScanRules = RULES) -> dict[str, Unit]:
    return {one.path: one for one in scan(root, rules) if isinstance(one, Unit)}


def reasons(root: Path, rules: ScanRules = RULES) -> dict[str, str]:
    return {one.path: one.reason for one in scan(root, rules) if isinstance(one, PassedOver)}


def test_videos_and_folders_of_images_are_found_at_any_depth(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "deep" / "er" / "b.mov")
    put(tmp_path / "shots" / "1.png")
    put(tmp_path / "shots" / "2.png")
    found = units(tmp_path)
    assert {path: unit.kind for path, unit in found.items()} == {
        "a.mp4": "video",
        "deep/er/b.mov": "video",
        "shots": "folder",
    }
    assert [name for name, _ in found["shots"].members] == ["1.png", "2.png"]


def test_images_beside_a_video_are_posters_and_an_image_alone_in_the_inbox_is_no_footage(tmp_path: Path) -> None:
    put(tmp_path / "film" / "film.mkv")
    put(tmp_path / "film" / "poster.jpg")
    put(tmp_path / "alone.jpg")
    assert set(units(tmp_path)) == {"film/film.mkv"}
    assert reasons(tmp_path) == {"film": "images_beside_videos", "alone.jpg": "image_outside_a_folder"}


def test_every_reason_and_every_obstacle_has_a_sentence() -> None:
    assert set(PASSED_OVER) == {word for part in get_args(PassReason) for word in get_args(part)}
    assert set(OBSTACLES) == set(get_args(Obstacle))
    assert why_passed_over(PassedOver(".x", "hidden", "hidden")).count("hidden") == 1


def test_own_folders_and_hidden_ones_are_not_looked_into(tmp_path: Path) -> None:
    put(tmp_path / ".quarantine" / "bad.mp4")
    put(tmp_path / "done" / "old.mp4")
    rules = ScanRules(excluded=frozenset({str(tmp_path / "done")}))
    assert units(tmp_path, rules) == {}


def test_a_link_to_a_video_is_taken_only_where_links_may_lead(tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    put(tmp_path / "elsewhere" / "clip.mp4", b"123")
    put(inbox / "real.mp4", b"1234")
    (inbox / "inside.mp4").symlink_to(inbox / "real.mp4")
    (inbox / "clip.mp4").symlink_to(tmp_path / "elsewhere" / "clip.mp4")
    (inbox / "loop").symlink_to(inbox)
    (inbox / "broken.mp4").symlink_to(tmp_path / "nothing")
    passed_over = {"loop": "link_to_a_folder", "broken.mp4": "broken_link"}
    assert set(units(inbox)) == {"real.mp4", "inside.mp4"}
    assert reasons(inbox) == {**passed_over, "clip.mp4": "link_leads_outside"}
    assert inspect_unit(inbox, "clip.mp4", RULES, "video") is None
    rules = ScanRules(link_targets=(tmp_path / "elsewhere",))
    assert units(inbox, rules)["clip.mp4"].size_bytes == 3
    assert inspect_unit(inbox, "clip.mp4", rules, "video") == units(inbox, rules)["clip.mp4"]
    assert reasons(inbox, rules) == passed_over


def test_links_and_pipes_among_images_are_no_images(tmp_path: Path) -> None:
    put(tmp_path / "shoot" / "1.png")
    put(tmp_path / "secret.png")
    (tmp_path / "shoot" / "2.png").symlink_to(tmp_path / "secret.png")
    os.mkfifo(tmp_path / "shoot" / "3.png")
    assert [name for name, _ in units(tmp_path)["shoot"].members] == ["1.png"]


def test_a_pipe_is_no_footage(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    assert units(tmp_path) == {}


def test_companions_are_seen_with_their_video(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.mp4.aria2")
    put(tmp_path / "b.mp4")
    put(tmp_path / "b.mp4.dfld.toml")
    put(tmp_path / "b.mp4.done")
    found = units(tmp_path, ScanRules(done_marker=".done"))
    assert set(found) == {"a.mp4", "b.mp4"}
    assert found["a.mp4"].still_downloading
    assert found["b.mp4"].sidecar is not None
    assert found["b.mp4"].marked_done


def test_a_folder_into_which_a_picture_is_still_copied_says_so(tmp_path: Path) -> None:
    put(tmp_path / "shots" / "1.png")
    put(tmp_path / "shots" / ".2.png.Ab12Cd")
    assert units(tmp_path)["shots"].still_downloading


def test_a_look_at_one_unit_equals_what_the_scan_saw(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    put(tmp_path / "a.mp4.dfld.toml")
    put(tmp_path / "shots" / "1.png")
    put(tmp_path / "shots.done")
    rules = ScanRules(done_marker=".done")
    for path, unit in units(tmp_path, rules).items():
        assert inspect_unit(tmp_path, path, rules, unit.kind) == unit
    assert inspect_unit(tmp_path, "gone.mp4", rules, "video") is None


def test_a_name_that_is_not_utf_8_is_found(tmp_path: Path) -> None:
    (Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe.mp4"))).write_bytes(b"x")
    assert [os.fsencode(path) for path in units(tmp_path)] == [b"\xff\xfe.mp4"]
    assert len(next(iter(units(tmp_path).values())).fingerprint) == 32


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("a.mp4", ("a.mp4", "video")),
        ("shots/1.png", ("shots", "folder")),
        ("1.png", None),
        ("a.mp4.part", None),
        (".hidden/a.mp4", None),
    ],
)
def test_an_event_leads_to_the_unit_that_it_concerns(tmp_path: Path, path: str, expected: object) -> None:
    assert unit_of_path(tmp_path, path, RULES) == expected


def test_a_name_as_long_as_names_may_be_is_looked_at_like_any_other(tmp_path: Path) -> None:
    name = "x" * 251 + ".mp4"  # with any ending behind it, no name any more
    put(tmp_path / name)
    rules = ScanRules(done_marker=".done")
    assert inspect_unit(tmp_path, name, rules, "video") == units(tmp_path, rules)[name]


def test_a_unit_that_cannot_be_looked_at_says_why_and_the_others_are_found(tmp_path: Path) -> None:
    put(tmp_path / "a.mp4")
    (tmp_path / "round.mp4").symlink_to("round.mp4")  # a loop: stat fails, whoever asks
    found = units(tmp_path)
    assert set(found) == {"a.mp4", "round.mp4"}
    assert "symbolic links" in found["round.mp4"].unreadable
    assert obstacle_of(found["round.mp4"], GateRules(1.0)) == "unreadable"
    assert inspect_unit(tmp_path, "round.mp4", RULES, "video") == found["round.mp4"]


def test_the_first_bytes_of_a_file_are_read_once_as_long_as_it_stays_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    real = first_bytes.read_head

    def counted(path: Path) -> bytes | None:
        read.append(path.name)
        return real(path)

    monkeypatch.setattr(first_bytes, "read_head", counted)
    names = [f"{number} without an ending" for number in range(50)]
    for name in names:
        put(tmp_path / name, b"\x01\x02" + name.encode())
    put(tmp_path / "notes.txt")
    put(tmp_path / "clip.mp4")
    contents = Contents()
    for _ in range(3):
        scan_beside_references(tmp_path, RULES, contents=contents)
        inspect_again(tmp_path, {names[0]: "video"}, RULES, contents=contents)
    assert sorted(read) == sorted([*names, "notes.txt"])
    read.clear()
    put(tmp_path / names[3], b"\x01 another")
    scan_beside_references(tmp_path, RULES, contents=contents)
    assert read == [names[3]]
    for name in names:
        (tmp_path / name).unlink()
    scan_beside_references(tmp_path, RULES, contents=contents)
    scan_beside_references(tmp_path, RULES, contents=contents)
    assert len(contents) == 1


def test_a_look_at_many_units_lists_each_folder_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for folder in ("a", "b"):
        for number in range(20):
            put(tmp_path / folder / f"{number}", b"\x01\x02")
    found = units(tmp_path)
    assert len(found) == 40
    listed: list[str] = []
    real = os.scandir

    def counted(path: os.PathLike[str]) -> object:
        listed.append(Path(path).name)
        return real(path)

    monkeypatch.setattr(os, "scandir", counted)
    asked = {path: unit.kind for path, unit in found.items()} | {"a/gone": "video", "c/gone": "video"}
    assert inspect_again(tmp_path, asked, RULES) == {**found, "a/gone": None, "c/gone": None}
    assert sorted(listed) == ["a", "b", "c"]
