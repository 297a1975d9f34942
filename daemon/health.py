"""How the service is: alive, ready, stuck, and what it works on; for probes, systemd, metrics and people."""

from __future__ import annotations

from collections.abc import Sequence

from daemon.inboxes.inbox_threads import Inboxes
from daemon.jobs.dispatch import Slot
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.running_job import Running
from daemon.ledger.ledger import Ledger
from daemon.metrics.http import Check
from daemon.metrics.registry import Metrics

LEDGER_ANSWER_S = 15.0
"""A ledger that takes longer than SQLite's own patience is stuck."""


class Health:
    """Looks at the parts of a service; any thread may ask."""

    def __init__(self, ledger: Ledger, queue: JobQueue, inboxes: Inboxes, slots: Sequence[Slot]) -> None:
        """`slots` is the service's own list, which changes with a reload."""
        self._ledger = ledger
        self._queue = queue
        self._inboxes = inboxes
        self._slots = slots

    def running(self) -> list[Running]:
        """Return the running jobs."""
        return [running for slot in list(self._slots) if (running := slot.runner.running) is not None]

    def dead_threads(self) -> list[str]:
        """Return the names of threads that ended of an error: the service cannot go on as if nothing happened."""
        slots = [one for one in list(self._slots) if not one.thread.is_alive() and not one.retired.is_set()]
        return self._inboxes.dead_threads() + [one.thread.name for one in slots]

    def turns(self) -> bool:
        """Say whether the work goes on: what feeds systemd's watchdog."""
        stuck = any(slot.is_stuck() for slot in list(self._slots))
        return not stuck and not self.dead_threads() and self._ledger.answers(LEDGER_ANSWER_S)

    def live(self) -> list[Check]:
        """Do the loops turn? If not, only a restart helps."""
        stuck = any(slot.is_stuck() for slot in list(self._slots))
        dead = self.dead_threads()
        return [
            Check("ledger", self._ledger.answers(LEDGER_ANSWER_S), "the ledger's thread does not answer"),
            Check("threads", not dead, f"died: {', '.join(dead)}"),
            Check("runners", not stuck, "a thread that runs jobs hangs"),
        ]

    def ready(self) -> list[Check]:
        """Can it do its work? One inbox that is away does not stop the others, so it alone is no reason for "no"."""
        statuses = self._inboxes.statuses()
        down = [f"{name}: {one.trouble or 'starting'}" for name, one in statuses.items() if not one.up]
        full = [f"{name}: {hold.message}" for name, hold in self._queue.holds().items() if hold.kind == "disk"]
        answers = self._ledger.answers(LEDGER_ANSWER_S)
        trouble = self._ledger.trouble or ("" if answers else "the ledger's thread does not answer")
        return [
            Check("running", not self._queue.stopping.is_set(), "it is draining"),
            Check("ledger", not trouble, trouble),
            Check("inboxes", not statuses or len(down) < len(statuses), "; ".join(down)),
            Check("disk", not full or len(full) < len(statuses), "; ".join(full)),
        ]

    def status_line(self) -> str:
        """Return the work in hand in one line, for systemctl status."""
        running = self.running()
        if not running:
            settling = sum(self._inboxes.settling().values())
            return f"{settling} files settling" if settling else "idle"
        parts = []
        for one in running:
            share = f" {100 * one.frames_done // one.frames_total} %" if one.frames_total else ""
            undecided = f" and {one.faces_undecided} undecided" if one.faces_undecided else ""
            held = " (held)" if one.held else ""
            parts.append(f"{one.inbox}: {one.path}{share}, {one.faces_kept} faces{undecided}{held}")
        return "; ".join(parts)

    def move_gauges(self, metrics: Metrics) -> None:
        """Set the gauges that say how things are now."""
        for name, status in self._inboxes.statuses().items():
            metrics.set("dfld_inbox_up", float(status.up), inbox=name)
            for mode in ("events", "poll"):
                if status.mode == mode:
                    metrics.set("dfld_inbox_watch_mode", 1.0, inbox=name, mode=mode)
                else:
                    metrics.forget("dfld_inbox_watch_mode", inbox=name, mode=mode)
        kinds = {hold.kind for hold in self._queue.holds().values()}
        for reason in ("operator", "drain", "disk"):
            metrics.set("dfld_paused", float(reason in kinds), reason=reason)
        for one in self.running():
            if one.moved_s is not None:
                metrics.set("dfld_last_frame_timestamp_seconds", one.moved_s, inbox=one.inbox)
        metrics.set("dfld_ready", float(all(check.ok for check in self.ready())))
