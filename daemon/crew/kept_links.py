"""The workers of one slot, kept between jobs: at most one for all kinds of jobs that need the same.

A worker that has loaded models is not ended because a job comes in between that needs none: it waits, idle, for the
next one that needs them. Idle workers are the first to go when those of the slot together use too much memory.
"""

from __future__ import annotations

from dataclasses import dataclass

from daemon.crew.contract import Crew, Link
from daemon.jobs.kinds.contract import Needs


@dataclass
class KeptLink:
    """A worker and what it has done."""

    link: Link
    jobs_done: int = 0


class KeptLinks:
    """Opens workers, keeps them, ends them. Its methods belong to the thread of the slot; `kill_all` to any."""

    def __init__(self, crew: Crew, slot: int) -> None:
        self._crew = crew
        self._slot = slot
        self._kept: dict[Needs, KeptLink] = {}
        """The one that was used longest ago comes first."""

    def find(self, needs: Needs) -> KeptLink | None:
        """Return the worker that is kept for jobs that need this; it may have died meanwhile."""
        return self._kept.get(needs)

    def use(self, needs: Needs, memory_bytes: int) -> KeptLink:
        """Return the worker for a job: the one that is kept for such jobs, else a new one. Raise as Crew.open_link."""
        kept = self._kept.pop(needs, None) or KeptLink(self._crew.open_link(self._slot, needs, memory_bytes))
        self._kept[needs] = kept
        return kept

    def drop(self, needs: Needs) -> bool:
        """End at once the worker that is kept for such jobs; say whether there was one."""
        kept = self._kept.pop(needs, None)  # one that cannot be ended is not used again either
        if kept is not None:
            kept.link.kill()
        return kept is not None

    def drop_idle_above(self, memory_bytes: int, *, busy: Needs) -> int:
        """End idle workers, those first that were used longest ago, until all together use no more than this or the
        busy one is alone; return how many were ended."""
        dropped = 0
        idle = [needs for needs in self._kept if needs != busy]
        while idle and sum(one.link.resident_bytes() for one in self._kept.values()) > memory_bytes:
            dropped += self.drop(idle.pop(0))
        return dropped

    def drop_all(self) -> int:
        """End all of them at once; return how many there were."""
        return sum(self.drop(needs) for needs in tuple(self._kept))

    def close_all(self) -> int:
        """Let all of them end by themselves; return how many there were."""
        kept, self._kept = tuple(self._kept.values()), {}
        for one in kept:
            one.link.close()
        return len(kept)

    def kill_all(self) -> None:
        """Kill all of them under whatever they do, from any thread; the slot's own thread finds them dead."""
        for one in tuple(self._kept.values()):
            one.link.kill()
