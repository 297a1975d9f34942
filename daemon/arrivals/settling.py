"""Which files of an inbox are complete: the one gate for events, rescans and the start of the service. Pure.

A unit is a video file or a folder of images. Observations of it come from `scan`, the clock is handed in. A unit
settles when nothing speaks against it and two observations or more, `stable_for` apart, found the same identity. The
last steps of the gate need more: that no process has it open for writing (`writers`), and that it opens as a video,
which only a worker may try.
"""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass
from typing import Literal

from daemon.arrivals.never_footage import PART_STABLE_FOR_S

Kind = Literal["video", "folder"]

SPARSE_RATIO = 0.98
"""A file whose blocks hold less than this part of its size is still being filled in."""
SPARSE_FREE_BYTES = 4096
"""Filesystems may keep so small a file inside its inode, with no blocks at all."""
BLOCK_BYTES = 512
OBSERVATIONS_MIN = 2

Obstacle = Literal[
    "",
    "not_regular",
    "empty",
    "sparse",
    "still_downloading",
    "no_done_marker",
    "unreadable",
    "changing",
    "may_be_a_part",
    "open_for_writing",
]


@dataclass(frozen=True)
class FileIdentity:
    """What one stat says; a file that is written to, replaced or swapped gets another one."""

    device: int
    inode: int
    size_bytes: int
    mtime_ns: int
    blocks: int
    regular: bool

    @classmethod
    def of(cls, result: os.stat_result) -> FileIdentity:
        return cls(
            result.st_dev,
            result.st_ino,
            result.st_size,
            result.st_mtime_ns,
            result.st_blocks,
            stat.S_ISREG(result.st_mode),
        )

    def is_same_file(self, other: FileIdentity) -> bool:
        """Say whether it is one file, unchanged. Its blocks say nothing: a filesystem allots them when it likes."""
        return (self.device, self.inode, self.size_bytes, self.mtime_ns) == (
            other.device,
            other.inode,
            other.size_bytes,
            other.mtime_ns,
        )


@dataclass(frozen=True)
class Unit:
    """A video, or a folder of images, as one inspection found it."""

    path: str
    """Below the inbox, with `/`."""
    kind: Kind
    members: tuple[tuple[str, FileIdentity], ...]
    """The file itself under the name "", or the images of the folder by name."""
    still_downloading: bool = False
    """The file of a download program lies beside or in it."""
    marked_done: bool = False
    """The marker of `done_marker` lies beside or in it."""
    sidecar: FileIdentity | None = None
    """`<name>.dfld.toml` beside it: its settling is waited for too."""
    unreadable: str = ""
    """Why it could not be inspected; it then has no members, and the others go on without it."""
    may_be_a_part: bool = False
    """Its name is one that yt-dlp gives to what it has not joined yet, and that a person may give as well."""

    @property
    def size_bytes(self) -> int:
        return sum(member.size_bytes for _, member in self.members)

    @property
    def mtime_ns(self) -> int:
        return max(member.mtime_ns for _, member in self.members)

    @property
    def fingerprint(self) -> str:
        """The identity as the ledger keeps it: without the device, whose number a reboot or remount may change."""
        lines = [f"{name}\0{m.inode}\0{m.size_bytes}\0{m.mtime_ns}" for name, m in self.members]
        return hashlib.sha256("\n".join(lines).encode(errors="surrogateescape")).hexdigest()[:32]


@dataclass(frozen=True)
class GateRules:
    """The settings of the gate."""

    stable_for_s: float
    done_marker: str = ""
    """Ending of the marker file; empty = no marker is asked for."""
    sparse_ratio: float = SPARSE_RATIO
    """0 where the filesystem compresses, so that blocks say nothing."""


@dataclass(frozen=True)
class Observation:
    """What the observations so far add up to."""

    unit: Unit
    since_s: float
    """When the present identity was first seen, on the clock of the caller."""
    first_s: float
    """When the path was first seen."""
    observations: int


@dataclass(frozen=True)
class Verdict:
    """May it be taken now? If not, why, and when is the next inspection worth while?"""

    settled: bool
    obstacle: Obstacle
    check_again_s: float


def observed(previous: Observation | None, unit: Unit, now_s: float) -> Observation:
    """Add one observation to what was seen before; a changed identity starts the count again."""
    if previous is None:
        return Observation(unit, now_s, now_s, 1)
    if (previous.unit.members, previous.unit.sidecar) != (unit.members, unit.sidecar):
        return Observation(unit, now_s, previous.first_s, 1)
    return Observation(unit, previous.since_s, previous.first_s, previous.observations + 1)


def judge(observation: Observation, now_s: float, rules: GateRules) -> Verdict:
    """Given the observations so far, say whether the unit is complete as far as they can show."""
    obstacle = obstacle_of(observation.unit, rules)
    due_s = observation.since_s + stable_for_s(observation.unit, rules)
    if obstacle:
        return Verdict(False, obstacle, max(due_s, now_s + max(rules.stable_for_s / 2, 0.05)))
    if observation.observations < OBSERVATIONS_MIN or now_s < due_s:
        return Verdict(False, "may_be_a_part" if observation.unit.may_be_a_part else "changing", max(due_s, now_s))
    return Verdict(True, "", now_s)


def stable_for_s(unit: Unit, rules: GateRules) -> float:
    """Return for how long a unit has to be unchanged, s."""
    return max(rules.stable_for_s, PART_STABLE_FOR_S) if unit.may_be_a_part else rules.stable_for_s


def obstacle_of(unit: Unit, rules: GateRules) -> Obstacle:
    """Say what one observation alone has against a unit; "" for nothing."""
    members = [member for _, member in unit.members]
    if unit.unreadable:
        return "unreadable"
    if not members or any(not member.regular for member in members):
        return "not_regular"
    if any(member.size_bytes == 0 for member in members):
        return "empty"
    if any(_is_sparse(member, rules.sparse_ratio) for member in members):
        return "sparse"
    if unit.still_downloading:
        return "still_downloading"
    if rules.done_marker and not unit.marked_done:
        return "no_done_marker"
    return ""


def _is_sparse(member: FileIdentity, ratio: float) -> bool:
    return member.size_bytes > SPARSE_FREE_BYTES and member.blocks * BLOCK_BYTES < ratio * member.size_bytes
