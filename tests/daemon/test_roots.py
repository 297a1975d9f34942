"""Is an inbox's folder still the one that is watched?"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from daemon.arrivals.roots import Root, Trouble, inspect_root, trouble_with

ARMED = Root(device=5, inode=2, mount_point="/mnt/share", read_only=False, filesystem="ext4")


@pytest.mark.parametrize(
    ("now", "trouble"),
    [
        (ARMED, ""),
        (replace(ARMED, read_only=True), ""),
        (replace(ARMED, inode=3), "replaced"),
        (replace(ARMED, device=6), "replaced"),
        (replace(ARMED, device=1, mount_point="/"), "unmounted"),
        ("missing", "missing"),
        ("unreadable", "unreadable"),
    ],
)
def test_what_happened_to_the_folder_is_named(now: Root | Trouble, trouble: str) -> None:
    assert trouble_with(ARMED, now, require_mount=False) == trouble


def test_a_folder_that_must_be_mounted_is_not_taken_before_it_is() -> None:
    bare = replace(ARMED, mount_point="/")
    assert trouble_with(None, bare, require_mount=True) == "not_mounted"
    assert trouble_with(None, ARMED, require_mount=True) == ""
    assert trouble_with(None, bare, require_mount=False) == ""


def test_a_real_folder_is_looked_at(tmp_path: Path) -> None:
    root = inspect_root(tmp_path)
    assert isinstance(root, Root)
    assert (root.inode, root.read_only) == (tmp_path.stat().st_ino, False)
    assert tmp_path.is_relative_to(root.mount_point)
    (tmp_path / "file").write_bytes(b"")
    assert inspect_root(tmp_path / "file") == "missing"
    assert inspect_root(tmp_path / "nothing") == "missing"
