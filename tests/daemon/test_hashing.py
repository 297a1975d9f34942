"""The hash of what was looked at: nothing else that has its name by now is ever read."""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import pytest

from core.opening import RefusedFileError
from daemon.arrivals.hashing import (
    ChangedMeanwhileError,
    HashingStoppedError,
    footage_members,
    holds_mark,
    mark_of,
    member_hashes,
    rough_hash,
)
from daemon.arrivals.hashing import content_hash as hash_of_hashes
from daemon.arrivals.scan import ScanRules, inspect_unit
from daemon.arrivals.settling import Unit


def content_hash(root: Path, unit: Unit, stopped: Callable[[], bool], *, within: Sequence[Path]) -> str:
    return hash_of_hashes(unit, member_hashes(root, unit, stopped, within=within))


def unit_of(root: Path, path: str, rules: ScanRules | None = None) -> Unit:
    unit = inspect_unit(root, path, rules or ScanRules(), "folder" if (root / path).is_dir() else "video")
    assert unit is not None
    return unit


def never() -> bool:
    return False


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "inbox"
    (root / "shoot").mkdir(parents=True)
    (root / "clip.mp4").write_bytes(b"footage")
    for number in range(3):
        (root / "shoot" / f"{number}.png").write_bytes(b"picture %d" % number)
    (tmp_path / "secret").write_bytes(b"footage")
    return root


def test_a_video_is_its_bytes_and_a_folder_its_images_and_their_names(root: Path) -> None:
    clip = unit_of(root, "clip.mp4")
    assert content_hash(root, clip, never, within=[root]) == hashlib.sha256(b"footage").hexdigest()
    first = content_hash(root, unit_of(root, "shoot"), never, within=[root])
    (root / "shoot" / "2.png").rename(root / "shoot" / "3.png")
    assert content_hash(root, unit_of(root, "shoot"), never, within=[root]) != first


def test_a_stop_ends_the_hash(root: Path) -> None:
    with pytest.raises(HashingStoppedError):
        content_hash(root, unit_of(root, "clip.mp4"), lambda: True, within=[root])


def become_a_pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def become_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parents[1] / "secret" if path.parent.name == "inbox" else path.parents[2] / "secret")


def become_another_file(path: Path) -> None:
    (path.parent / "new").write_bytes(path.read_bytes())
    (path.parent / "new").replace(path)


def become_longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


@pytest.mark.parametrize("become", [become_a_pipe, become_a_link, become_another_file, become_longer])
@pytest.mark.parametrize("path", ["clip.mp4", "shoot/1.png"])
@pytest.mark.parametrize("rough", [False, True])
def test_what_took_the_place_of_a_file_after_the_look_is_not_read(
    root: Path, become: Callable[[Path], None], path: str, rough: bool
) -> None:
    unit = unit_of(root, path.partition("/")[0])
    become(root / path)
    hashed = rough_hash if rough and unit.kind == "video" else partial(content_hash, stopped=never)
    with pytest.raises((RefusedFileError, ChangedMeanwhileError)):
        hashed(root, unit, within=[root])


def test_a_folder_that_became_a_link_to_another_is_not_read(root: Path, tmp_path: Path) -> None:
    unit = unit_of(root, "shoot")
    shutil.move(root / "shoot", tmp_path / "away")
    (root / "shoot").symlink_to(tmp_path / "away")
    with pytest.raises(RefusedFileError, match="outside the folders"):
        content_hash(root, unit, never, within=[root])


def test_a_link_is_hashed_where_it_may_lead(root: Path, tmp_path: Path) -> None:
    (root / "link.mp4").symlink_to(tmp_path / "secret")
    rules = ScanRules(link_targets=(tmp_path,))
    unit = unit_of(root, "link.mp4", rules)
    assert content_hash(root, unit, never, within=[root, tmp_path]) == hashlib.sha256(b"footage").hexdigest()
    with pytest.raises(RefusedFileError, match="outside the folders"):
        content_hash(root, unit, never, within=[root])


def test_a_longer_copy_holds_the_mark_of_its_part_and_another_file_does_not(tmp_path: Path) -> None:
    recording = os.urandom(5000)
    files = {
        "part": recording[:3000],
        "whole": b"a head that was written anew" + recording[28:],  # as when a recording ends
        "shorter": recording[:2500],
        "other": os.urandom(5000),
        "hole": recording[:1000] + bytes(4000),
    }
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    mark = mark_of(tmp_path, unit_of(tmp_path, "part"), within=[tmp_path])
    held = [name for name in files if holds_mark(tmp_path, unit_of(tmp_path, name), mark, within=[tmp_path])]
    assert held == ["part", "whole"]
    assert mark_of(tmp_path, unit_of(tmp_path, "hole"), within=[tmp_path]) == ""


def test_of_images_with_one_stem_the_one_that_is_a_frame_counts_as_read(root: Path) -> None:
    (root / "shoot" / "1.jpg").write_bytes(b"the same frame")
    unit = unit_of(root, "shoot")
    members = footage_members(unit, member_hashes(root, unit, never, within=[root]))
    assert [one.path for one in members] == [b"shoot/0.png", b"shoot/1.jpg", b"shoot/2.png"]
    assert len(unit.members) == 4  # a change of any of them is a change of the folder
