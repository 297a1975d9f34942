"""The folder of an inbox as a place: is it still the one that is watched?

After a lazy unmount, a rename or a remount watchdog reports nothing at all and every thread stays alive. Only the
folder's own identity (device, inode) shows it; it is asked every few seconds.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from daemon.arrivals.mounts import MOUNTINFO, mount_of, parse_mountinfo

Trouble = Literal["", "missing", "unmounted", "replaced", "not_mounted", "unreadable", "restarting"]
"""Why an inbox cannot be used; restarting: its own thread failed, and begins anew."""

COMPRESSING_FILESYSTEMS = ("btrfs", "zfs", "bcachefs", "f2fs", "squashfs", "erofs")
"""On these a complete file may take fewer blocks than its size."""


@dataclass(frozen=True)
class Root:
    """What one inspection of an inbox's folder found."""

    device: int
    inode: int
    mount_point: str
    """Where the filesystem that it lies on is mounted."""
    read_only: bool
    filesystem: str


def inspect_root(path: Path) -> Root | Trouble:
    """Inspect the folder; say what is wrong when it cannot be used."""
    try:
        result = path.stat()
        if not stat.S_ISDIR(result.st_mode):
            return "missing"
        with os.scandir(path):
            pass
        read_only = bool(os.statvfs(path).f_flag & os.ST_RDONLY) or not os.access(path, os.W_OK)
    except (FileNotFoundError, NotADirectoryError):
        return "missing"
    except OSError:
        return "unreadable"
    mount_point, filesystem = _mount(path)
    return Root(result.st_dev, result.st_ino, mount_point, read_only, filesystem)


def trouble_with(armed: Root | None, now: Root | Trouble, *, require_mount: bool) -> Trouble:
    """Given the folder as it was armed (None = never) and as it is, say what is wrong. Pure."""
    if not isinstance(now, Root):
        return now
    if require_mount and now.mount_point == "/":
        return "not_mounted"
    if armed is None:
        return ""
    if len(now.mount_point) < len(armed.mount_point) and armed.mount_point.startswith(now.mount_point):
        return "unmounted"
    if (armed.device, armed.inode) != (now.device, now.inode):
        return "replaced"
    return ""


def _mount(path: Path) -> tuple[str, str]:
    try:
        mounts = parse_mountinfo(MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"))
    except OSError:
        return "/", ""
    mount = mount_of(Path(os.path.realpath(path)), mounts)
    return (str(mount.point), mount.filesystem) if mount else ("/", "")
