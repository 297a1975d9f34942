"""The inboxes of a running service: their two threads each, started, stopped and replaced one by one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from daemon.arrivals.scan import inside
from daemon.config.inbox_rules import scan_rules
from daemon.config.schema import Config, InboxConfig, WatchConfig
from daemon.events.event import Notify
from daemon.inboxes.claims import Claimer
from daemon.inboxes.intake import Intake, IntakeStatus
from daemon.inboxes.references import references_of_config, references_of_jobs
from daemon.ledger.claims import Claim
from daemon.ledger.ledger import Ledger

JOIN_S = 3.0
"""A thread that reads a dead network share may not return; it is left behind, it holds nothing."""


@dataclass(frozen=True)
class _Armed:
    inbox: InboxConfig
    watch: WatchConfig
    references: frozenset[Path]
    """Photos that the configuration names, of any inbox: where they lie in this one, they are no footage."""
    intake: Intake
    claimer: Claimer
    stop: threading.Event
    threads: tuple[threading.Thread, threading.Thread]


class Inboxes:
    """Starts and stops what belongs to each inbox. `configure` and `stop` belong to one thread."""

    def __init__(self, ledger: Ledger, notify: Notify, on_claim: Callable[[InboxConfig, bytes, Claim], None]) -> None:
        self._ledger = ledger
        self._notify = notify
        self._on_claim = on_claim
        self._armed: dict[str, _Armed] = {}

    def configure(self, config: Config) -> None:
        """Run exactly the inboxes of `config`; one that did not change goes on undisturbed."""
        wanted = {inbox.name: inbox for inbox in config.inboxes}
        references = references_of_config(config)
        for name, armed in list(self._armed.items()):
            same = wanted.get(name) == armed.inbox and config.watch == armed.watch
            if not same or inside(armed.inbox.path, references) != inside(armed.inbox.path, armed.references):
                self._halt([self._armed.pop(name)])
        for name, inbox in wanted.items():
            if name not in self._armed:
                self._armed[name] = self._arm(inbox, config.watch, references)

    def stop(self) -> None:
        self._halt(list(self._armed.values()))

    def wait_until_inspected(self, limit_s: float) -> list[str]:
        """Wait until every inbox was inspected once; return those that were not within the limit."""
        end = time.monotonic() + limit_s
        return [
            name
            for name, armed in list(self._armed.items())
            if not armed.intake.inspected.wait(max(0.0, end - time.monotonic()))
        ]

    def trouble(self, name: str) -> str:
        """Return "" for an inbox whose folder can be used, else what is wrong with it."""
        armed = self._armed.get(name)
        if armed is None:
            return "not configured"
        status = armed.intake.status
        return "" if status.up else status.trouble or "not looked at yet"

    def statuses(self) -> Mapping[str, IntakeStatus]:
        return {name: armed.intake.status for name, armed in self._armed.items()}

    def settling(self) -> Mapping[str, int]:
        """Return inbox → files that have arrived and have no job yet."""
        return {name: one.intake.status.pending + one.claimer.waiting() for name, one in self._armed.items()}

    def forget(self, name: str, paths: list[bytes]) -> None:
        """These files left the inbox or have to go through the gate again."""
        armed = self._armed.get(name)
        if armed is not None:
            armed.claimer.forget(paths)
            armed.intake.hints.ask_full_scan("job_ended")

    def scan_now(self, name: str | None = None) -> None:
        for inbox, armed in self._armed.items():
            if name in (None, inbox):
                armed.intake.hints.ask_full_scan("asked")

    def dead_threads(self) -> list[str]:
        """Return the names of threads that ended of an error: the service cannot go on as if nothing happened."""
        return [
            thread.name
            for armed in self._armed.values()
            for thread in armed.threads
            if not thread.is_alive() and not armed.stop.is_set()
        ]

    def _arm(self, inbox: InboxConfig, watch: WatchConfig, references: frozenset[Path]) -> _Armed:
        claimer = Claimer(
            inbox,
            scan_rules(inbox, watch),
            self._ledger,
            self._notify,
            on_claim=lambda path, claim: self._on_claim(inbox, path, claim),
        )
        named_before = self._ledger.read(lambda reader: references_of_jobs(reader, inbox.name))
        intake = Intake(inbox, watch, claimer, self._notify, references=references | named_before)
        claimer.check_sooner = intake.hints.add
        stop = threading.Event()
        threads = (
            threading.Thread(target=intake.run, args=(stop,), name=f"inbox-{inbox.name}", daemon=True),
            threading.Thread(target=claimer.run, args=(stop,), name=f"claims-{inbox.name}", daemon=True),
        )
        for thread in threads:
            thread.start()
        return _Armed(inbox, watch, references, intake, claimer, stop, threads)

    @staticmethod
    def _halt(several: list[_Armed]) -> None:
        for armed in several:
            armed.stop.set()
            armed.intake.hints.wake.set()
            armed.claimer.wake()
        for armed in several:
            for thread in armed.threads:
                thread.join(JOIN_S)
