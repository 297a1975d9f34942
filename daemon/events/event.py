"""What happened, as one value: every part of the service reports, `daemon.service` alone decides who is notified.

Each kind of event is a class of its own with its facts as fields, in the files beside this one. The class says how the
kind is called in the log and what hooks call it. One event is one log line with its facts; the same event moves the
metrics and calls the hooks (`daemon.events.notifier`), so no part of ingestion knows a logger, a registry or a hook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import ClassVar, Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class Event:
    """One thing that happened. What a kind adds as fields are its facts; file names among them never become labels."""

    kind: ClassVar[str] = ""
    """Its name in the log: `job.done`, `inbox.suspended` …"""
    hook: ClassVar[str] = ""
    """What a [[hook]] calls it; empty = no hook is called for it."""
    is_logged: ClassVar[bool] = True
    """False = it comes too often, or with too many facts, for a log line: it moves metrics alone."""

    message: str = ""
    """The sentence for people."""
    inbox: str = ""
    job: int | None = None
    level: Level = "info"

    @property
    def facts(self) -> Mapping[str, object]:
        """What this kind adds, by name: the fields of the log line, and the keys of what a hook gets."""
        return {one.name: getattr(self, one.name) for one in fields(self) if one.name not in COMMON}


COMMON = tuple(one.name for one in fields(Event))
"""The fields of every event."""

Notify = Callable[[Event], None]
"""Takes each event: writes it to the log, moves metrics, calls hooks, whatever fits its type."""
