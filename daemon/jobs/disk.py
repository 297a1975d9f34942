"""The disk reserve: work pauses before a filesystem is full, and goes on by itself once there is room again.

Fails closed: a filesystem that cannot be asked counts as full. Hysteresis keeps a disk at the edge from starting
and stopping work every second.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from daemon.config.schema import DiskConfig


@dataclass(frozen=True)
class Space:
    """What a filesystem has."""

    device: int
    free_bytes: int
    """Free for this user."""
    total_bytes: int


@dataclass(frozen=True)
class Room:
    """May the filesystem of a target be written to?"""

    ok: bool
    free_bytes: int
    reserve_bytes: int
    why_not: str = ""


def reserve_of(space: Space, settings: DiskConfig) -> int:
    """Return the bytes that stay free: the larger of the absolute and the relative reserve."""
    return max(settings.reserve_bytes, int(space.total_bytes * settings.reserve_percent / 100))


def has_room(space: Space, settings: DiskConfig, *, had_room: bool) -> bool:
    """Given what is free and how it was before, say whether work may go on: pure hysteresis."""
    reserve = reserve_of(space, settings)
    return space.free_bytes >= (reserve if had_room else reserve + settings.resume_margin_bytes)


def ask_space(path: Path) -> Space:
    """Ask the filesystem of `path`, or of its nearest parent that exists. Raise OSError when it does not answer."""
    while True:
        try:
            space = os.statvfs(path)
            return Space(path.stat().st_dev, space.f_bavail * space.f_frsize, space.f_blocks * space.f_frsize)
        except FileNotFoundError:
            if path == path.parent:
                raise
            path = path.parent


class DiskGuard:
    """Remembers which filesystems ran low. Any thread may ask."""

    def __init__(self, settings: DiskConfig, ask: Callable[[Path], Space] = ask_space) -> None:
        self.settings = settings
        self._ask = ask
        self._lock = threading.Lock()
        self._had_room: dict[int, bool] = {}

    def room(self, target: Path) -> Room:
        try:
            space = self._ask(target)
        except OSError as problem:
            return Room(False, 0, 0, f"the filesystem of {target} does not answer: {problem.strerror}")
        with self._lock:
            ok = has_room(space, self.settings, had_room=self._had_room.get(space.device, True))
            self._had_room[space.device] = ok
        reserve = reserve_of(space, self.settings)
        if ok:
            return Room(True, space.free_bytes, reserve)
        needed = reserve + self.settings.resume_margin_bytes
        why_not = f"{target}: {gib(space.free_bytes)} free, work goes on from {gib(needed)}"
        if needed > space.total_bytes:
            why_not += f", which is more than the filesystem has ({gib(space.total_bytes)}); lower [disk] reserve"
        return Room(False, space.free_bytes, reserve, why_not)


def gib(count: int) -> str:
    """Return a number of bytes as people read it: `3.2 GiB`."""
    return f"{count / 2**30:.1f} GiB"
