"""What came of an order to the whole service: a scan, a reload, a person to forget."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ScanStarted:
    """These inboxes are scanned now."""

    inboxes: tuple[str, ...]


@dataclass(frozen=True)
class PlannedFile:
    """One file or folder in an inbox, and what becomes of it."""

    inbox: str
    path: str
    outcome: str
    """known, would_settle, waits, passed_over"""
    detail: str
    """A sentence, with the remedy where one is needed."""
    job: int | None = None
    reason: str = ""
    """Of what waits or is passed over: its word, for programs."""


@dataclass(frozen=True)
class Reloaded:
    """The configuration was read again and taken."""

    changes: tuple[str, ...]


@dataclass(frozen=True)
class ForgetReport:
    """What was removed of a person, what is left for the operator to decide about, and what could not be removed."""

    name: str
    removed: tuple[str, ...]
    ledger_rows: int
    left: tuple[str, ...]
    remains: tuple[str, ...]
    """Files that still hold something of the person, each with the reason; none once it is done."""
    paused: bool
    """Whether the inbox is paused now, since its files would be taken again."""
