"""Which filesystem a path lies on, from /proc/self/mountinfo.

Network filesystems send no file events and break SQLite's locks; inboxes there are polled, state there is warned
about. The table of mounts is read anew each time: mounts come and go.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

MOUNTINFO = Path("/proc/self/mountinfo")
NETWORK_FILESYSTEMS = re.compile(r"nfs\d*|cifs|smb3|smbfs|9p|fuse\..+|fuse|ceph|glusterfs|virtiofs|afs|davfs|lustre")
"""Types for which inotify does not see what other machines write."""
LOCAL_FUSE = ("fuse.fuseblk", "fuse.ntfs-3g", "fuse.exfat", "fuse.lxcfs", "fuse.gvfsd-fuse", "fuse.portal")
_OCTAL = re.compile(r"\\([0-7]{3})")


@dataclass(frozen=True)
class Mount:
    """One line of mountinfo."""

    point: Path
    filesystem: str
    source: str


def parse_mountinfo(text: str) -> list[Mount]:
    """Return the mounts in the order of the file; a later one hides an earlier one at the same point."""
    mounts = []
    for line in text.splitlines():
        before, separator, after = line.partition(" - ")
        fields, tail = before.split(" "), after.split(" ")
        if separator and len(fields) > 4 and len(tail) > 1:
            mounts.append(Mount(Path(_unescape(fields[4])), tail[0], _unescape(tail[1])))
    return mounts


def mount_of(path: Path, mounts: list[Mount]) -> Mount | None:
    """Return the mount that `path` lies on: the last of those with the longest point above it."""
    above = [mount for mount in mounts if path.is_relative_to(mount.point)]
    longest = max((len(mount.point.parts) for mount in above), default=0)
    return next((mount for mount in reversed(above) if len(mount.point.parts) == longest), None)


def network_filesystem(path: Path) -> str | None:
    """Return the type of the network filesystem that `path` lies on; None when it is local or not known.

    The path need not exist: its nearest parent decides. Symbolic links are followed.
    """
    try:
        mounts = parse_mountinfo(MOUNTINFO.read_text(encoding="utf-8", errors="surrogateescape"))
        real = Path(os.path.realpath(path))
    except (OSError, ValueError):
        return None
    mount = mount_of(real, mounts)
    if mount is None or mount.filesystem in LOCAL_FUSE or not NETWORK_FILESYSTEMS.fullmatch(mount.filesystem):
        return None
    return mount.filesystem


def _unescape(text: str) -> str:
    return _OCTAL.sub(lambda match: chr(int(match[1], 8)), text)
