"""Originals are moved, never lost."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from daemon.jobs import originals
from daemon.jobs.originals import REASON_ENDING, companions, delete, move_to, put_back, write_reason


@pytest.fixture
def inbox(tmp_path: Path) -> Path:
    (tmp_path / "inbox" / "sub").mkdir(parents=True)
    return tmp_path / "inbox"


def clip(inbox: Path, name: str = "clip.mp4", content: bytes = b"video") -> Path:
    path = inbox / "sub" / name
    path.write_bytes(content)
    return path


def test_a_file_keeps_its_place_below_the_inbox_and_never_overwrites_another(inbox: Path, tmp_path: Path) -> None:
    first = move_to(clip(inbox, content=b"first"), tmp_path / "done", below=inbox)
    second = move_to(clip(inbox, content=b"second"), tmp_path / "done", below=inbox)
    assert (first, second) == (tmp_path / "done" / "sub" / "clip.mp4", tmp_path / "done" / "sub" / "clip.2.mp4")
    assert (first.read_bytes(), second.read_bytes()) == (b"first", b"second")


def test_to_another_filesystem_it_is_copied_whole_before_it_goes(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.rename

    def crossing(self: Path, target: Path) -> Path:
        if self.parent != Path(target).parent:
            raise OSError(errno.EXDEV, "another filesystem")
        return real(self, target)

    monkeypatch.setattr(Path, "rename", crossing)
    source = clip(inbox, content=b"x" * 10_000_000)
    target = move_to(source, tmp_path / "done", below=inbox)
    assert target.stat().st_size == 10_000_000
    assert not source.exists()
    (inbox / "shots").mkdir()
    (inbox / "shots" / "1.png").write_bytes(b"1")
    assert (move_to(inbox / "shots", tmp_path / "done", below=inbox) / "1.png").read_bytes() == b"1"
    assert sorted(path.name for path in (tmp_path / "done").iterdir()) == ["shots", "sub"]


def test_the_copy_has_its_name_on_disk_before_the_original_goes(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def far(self: Path, target: Path) -> Path:
        if self.parent != Path(target).parent:
            raise OSError(errno.EXDEV, "another filesystem")
        return real_rename(self, target)

    def watched(folder: Path) -> None:
        real_sync(folder)
        synced.append((folder, (tmp_path / "done" / "shots" / "1.png").exists(), (inbox / "shots" / "1.png").exists()))

    real_rename, real_sync = Path.rename, originals.sync_folder
    synced: list[tuple[Path, bool, bool]] = []
    monkeypatch.setattr(Path, "rename", far)
    monkeypatch.setattr(originals, "sync_folder", watched)
    (inbox / "shots").mkdir()
    (inbox / "shots" / "1.png").write_bytes(b"1")
    move_to(inbox / "shots", tmp_path / "done", below=inbox)
    assert synced[-1] == (tmp_path / "done", True, True)
    assert len(synced) == 2, "the copied folder itself, then the one that it stands in"
    assert not (inbox / "shots").exists()


def test_a_copy_that_fails_leaves_the_original_and_no_half(
    inbox: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    def far(*_: object) -> None:
        raise OSError(errno.EXDEV, "another filesystem")

    monkeypatch.setattr(Path, "rename", far)
    monkeypatch.setattr("shutil.copyfileobj", full)
    source = clip(inbox)
    with pytest.raises(OSError, match="no space"):
        move_to(source, tmp_path / "done", below=inbox)
    assert source.read_bytes() == b"video"
    assert list((tmp_path / "done" / "sub").iterdir()) == []


def test_a_link_is_moved_as_a_link_and_deleted_as_a_link(inbox: Path, tmp_path: Path) -> None:
    target = tmp_path / "film.mp4"
    target.write_bytes(b"film")
    (inbox / "sub" / "link.mp4").symlink_to("../../film.mp4")
    moved = move_to(inbox / "sub" / "link.mp4", tmp_path / "done", below=inbox)
    assert moved.is_symlink()
    assert moved.read_bytes() == b"film"
    delete(moved)
    assert target.exists()


def test_a_reason_lies_beside_its_file_and_goes_when_the_file_is_put_back(inbox: Path, tmp_path: Path) -> None:
    place = move_to(clip(inbox), tmp_path / "bad", below=inbox)
    reason = write_reason(place, {"reason": "not_readable"})
    assert json.loads(reason.read_text()) == {"reason": "not_readable"}
    assert reason.name == f"clip.mp4{REASON_ENDING}"
    assert put_back(place, inbox / "sub" / "clip.mp4").read_bytes() == b"video"
    assert not reason.exists()


def test_sidecar_and_marker_belong_to_their_file(inbox: Path) -> None:
    path = clip(inbox)
    assert companions(path, ".done") == []
    clip(inbox, "clip.mp4.dfld.toml")
    clip(inbox, "clip.mp4.done")
    assert [one.name for one in companions(path, ".done")] == ["clip.mp4.dfld.toml", "clip.mp4.done"]
    assert [one.name for one in companions(path, "")] == ["clip.mp4.dfld.toml"]
