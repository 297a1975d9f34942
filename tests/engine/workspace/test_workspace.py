"""Names, folders and whole-or-nothing writes."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import DiskFullError, OutputError
from engine.workspace.file_names import inbox_layout, output_layout, slug_of
from engine.workspace.output_files import prepare_workspace, write_file


def test_an_output_folder_has_plain_names(tmp_path: Path) -> None:
    layout = output_layout(tmp_path)
    assert layout.face_stem(50, 1) == "00000050_1"
    assert layout.log == tmp_path / "debug" / "extraction_log.json"
    assert layout.frames is None


def test_an_inbox_of_role_dst_puts_frames_where_the_merger_looks(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "dst", "take-1")
    assert layout.frames == tmp_path / "data_dst"
    assert layout.aligned == tmp_path / "data_dst" / "aligned"
    assert layout.face_stem(7, 0) == "take-1-00000007_0"


@given(st.text(max_size=300))
def test_a_slug_is_safe_in_a_file_name_and_holds_no_underscore(name: str) -> None:
    slug = slug_of(name)
    assert slug
    assert "_" not in slug
    assert "/" not in slug
    assert not slug.startswith((".", "-"))
    assert len(f"{slug}-00000000_0_mask.png".encode()) < 255
    assert slug_of(slug) == slug


def test_a_file_appears_whole_and_private(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    write_file(path, b"one")
    write_file(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) & 0o007 == 0
    assert list(tmp_path.iterdir()) == [path]


def test_folders_are_closed_to_others(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "new" / "out")
    prepare_workspace(layout)
    folders = (tmp_path / "new", layout.root, *layout.folders)
    assert all(stat.S_IMODE(folder.stat().st_mode) & 0o007 == 0 for folder in folders)


def test_leftovers_of_a_killed_run_are_cleared_but_nothing_else(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "src", "a")
    prepare_workspace(layout)
    mine = layout.aligned / ".a-00000001_0.jpg.part"
    other = layout.aligned / ".b-00000001_0.jpg.part"
    whole = layout.aligned / "a-00000001_0.jpg"
    for path in (mine, other, whole):
        path.write_bytes(b"x")
    prepare_workspace(layout)
    assert not mine.exists()
    assert other.exists()
    assert whole.exists()


def test_a_file_where_a_folder_should_be_is_told_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot make the folder") as problem:
        prepare_workspace(output_layout(tmp_path / "out"))
    assert "another output folder" in problem.value.hint


def test_a_full_disk_leaves_no_partial_file_and_can_be_tried_again(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("mounting a small file system needs root")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"this machine does not let us mount a small file system: {mounted.stderr.decode().strip()}")
    try:
        write_file(tmp_path / "fits.jpg", b"x" * 1000)
        with pytest.raises(DiskFullError) as problem:
            write_file(tmp_path / "too-large.jpg", b"x" * 200_000)
        assert problem.value.retryable
        assert [path.name for path in tmp_path.iterdir()] == ["fits.jpg"]
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


def test_a_kill_in_the_middle_of_writing_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "face.jpg"
    write_file(path, b"old")
    code = (
        "import os, sys; from pathlib import Path; import engine.workspace.output_files as w; "
        "os.fsync = lambda descriptor: os.kill(os.getpid(), 9); "
        f"w.write_file(Path({str(path)!r}), b'new')"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False)
    assert done.returncode == -9
    assert path.read_bytes() == b"old"


def test_leftovers_of_a_clip_go_and_those_of_a_clip_with_a_longer_name_stay(tmp_path: Path) -> None:
    layout = inbox_layout(tmp_path, "dst", "take")
    prepare_workspace(layout)
    own = [layout.aligned / ".take-00000001_0.jpg.part", layout.masks / ".take-00000001_0_mask.png.part",
           layout.debug / ".take-preview.jpg.part", tmp_path / "data_dst" / ".00000001.png.part"]  # fmt: skip
    others = [layout.aligned / ".take-2-00000001_0.jpg.part", layout.debug / ".take-2-preview.jpg.part"]
    for path in (*own, *others):
        path.write_bytes(b"half")
    prepare_workspace(layout)
    assert not any(path.exists() for path in own)
    assert all(path.exists() for path in others)
