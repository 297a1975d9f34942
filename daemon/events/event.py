"""What happened, as one value: every part of the service tells, `daemon.service` alone decides who is notified.

One event is one log line with its facts as fields, and the same event moves the metrics and triggers the hooks; so
no part of ingestion knows a logger, a registry or a hook.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

Level = Literal["debug", "info", "warning", "error"]


@dataclass(frozen=True)
class Event:
    """One thing that happened."""

    kind: str
    """From the fixed lists of the part that tells it: `job.done`, `inbox.suspended` …"""
    message: str
    """The sentence for people."""
    level: Level = "info"
    inbox: str = ""
    job: int | None = None
    facts: Mapping[str, object] = field(default_factory=dict)
    """Everything else; file names may stand here, and never become labels."""


Tell = Callable[[Event], None]
