"""Files and folders of a person's face: private, whole, and never written through a link."""

from __future__ import annotations

import hashlib
import os
import stat
from pathlib import Path

import pytest

from core.files import (
    FILE_MODE,
    FOLDER_MODE,
    make_folder,
    open_new,
    put_folder_in_place,
    put_in_place,
    replace_file,
    temporary_name,
    written_whole,
)
from core.opening import RefusedFileError, sha256_of
from tests.core.steps import at_step


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


STEPS = ("open", "fsync", "replace", "rename", "unlink")


class _DiskError(OSError):
    pass


def fail() -> None:
    raise _DiskError


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_disk_that_fails_at_any_step_leaves_the_old_file_or_the_whole_new_one(
    tmp_path: Path, old: bytes | None
) -> None:
    target = tmp_path / "face.jpg"
    for step in range(1, 50):
        target.unlink(missing_ok=True)
        if old is not None:
            target.write_bytes(old)
        undo = at_step(step, fail, STEPS)
        try:
            replace_file(target, b"new")
            ended = True
        except _DiskError:
            ended = False
        finally:
            undo()
        assert (target.read_bytes() if target.exists() else None) in ((b"new",) if ended else (old, b"new"))
        if ended:
            break
    assert step > 3
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_program_that_writes_a_file_itself_leaves_nothing_half_written(tmp_path: Path) -> None:
    target = tmp_path / "ledger.db"
    with written_whole(target) as temporary:
        os.close(open_new(temporary))
        temporary.write_bytes(b"copy")
        assert not target.exists()
    assert (target.read_bytes(), mode(target)) == (b"copy", FILE_MODE)

    def write_half() -> None:
        with written_whole(target) as temporary:
            temporary.write_bytes(b"half")
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        write_half()
    assert target.read_bytes() == b"copy"
    assert [path.name for path in tmp_path.iterdir()] == [target.name]


def test_a_group_is_on_the_disk_before_the_first_of_it_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("fsync", "replace"):
        real = getattr(os, name)
        monkeypatch.setattr(os, name, lambda *given, name=name, real=real: (calls.append(name), real(*given))[1])
    files = {tmp_path / f"{part}.new": tmp_path / part for part in ("encoder.npy", "decoder.npy")}
    for beside, part in files.items():
        beside.write_bytes(part.name.encode())
    put_in_place(files)
    assert calls == ["fsync", "fsync", "replace", "replace", "fsync"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["decoder.npy", "encoder.npy"]


def test_a_folder_gets_its_name_only_where_nothing_is_replaced(tmp_path: Path) -> None:
    beside, target = tmp_path / "7.new", tmp_path / "7"
    beside.mkdir()
    (beside / "part").write_bytes(b"x")
    target.mkdir()
    (target / "other").write_bytes(b"y")
    with pytest.raises(OSError, match="not empty"):
        put_folder_in_place(beside, target)
    (target / "other").unlink()
    put_folder_in_place(beside, target)
    assert [path.name for path in target.iterdir()] == ["part"]


def test_the_hash_of_a_file_is_that_of_a_regular_file_alone(tmp_path: Path) -> None:
    file, link, pipe = tmp_path / "file", tmp_path / "link", tmp_path / "pipe"
    file.write_bytes(b"abc")
    link.symlink_to(file)
    os.mkfifo(pipe)
    assert (
        sha256_of(file, follow_links=False) == hashlib.sha256(b"abc").hexdigest() == sha256_of(link, follow_links=True)
    )
    for refused in (link, pipe):
        with pytest.raises(RefusedFileError):
            sha256_of(refused, follow_links=False)
