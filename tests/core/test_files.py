"""Files and folders of a person's face: private, whole, and never written through a link."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from core.files import FILE_MODE, FOLDER_MODE, make_folder, replace_file, temporary_name


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_every_folder_that_was_missing_is_private_and_one_that_was_there_is_left(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    make_folder(tmp_path / "a" / "b" / "c")
    make_folder(tmp_path / "a" / "b" / "c")
    made = [mode(tmp_path / name) for name in ("a", "a/b", "a/b/c")]
    assert made == [FOLDER_MODE] * 3
    assert mode(tmp_path) == 0o755


def test_a_link_under_the_temporary_name_is_not_written_through(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"mine")
    target = tmp_path / "face.jpg"
    temporary_name(target).symlink_to(victim)
    replace_file(target, b"face")
    assert victim.read_bytes() == b"mine"
    assert not target.is_symlink()
    assert (target.read_bytes(), mode(target)) == (b"face", FILE_MODE)


def test_a_leftover_that_others_could_read_does_not_lend_its_mode(tmp_path: Path) -> None:
    target = tmp_path / "face.jpg"
    temporary_name(target).write_bytes(b"left by a killed run, and much longer")
    temporary_name(target).chmod(0o666)
    replace_file(target, b"face")
    assert (target.read_bytes(), mode(target)) == (b"face", FILE_MODE)


def test_what_its_check_refuses_is_not_put_in_place(tmp_path: Path) -> None:
    target = tmp_path / "identity.npz"
    target.write_bytes(b"old")

    def refuse(_path: Path) -> None:
        raise ValueError("damaged")

    with pytest.raises(ValueError, match="damaged"):
        replace_file(target, b"new", check=refuse)
    assert os.listdir(tmp_path) == ["identity.npz"]  # noqa: PTH208
    assert target.read_bytes() == b"old"


def test_a_name_as_long_as_names_may_be_can_be_written(tmp_path: Path) -> None:
    target = tmp_path / ("ü" * 127)
    replace_file(target, b"x")
    assert [path.name for path in tmp_path.iterdir()] == [target.name]
