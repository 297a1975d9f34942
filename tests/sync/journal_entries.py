"""Entries of a journal, as they stand in its file."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from sync.journal.journal import Entry
from sync.journal.lines import line_of


def entry(step: str, machine: str = "", facts: Mapping[str, object] | None = None, at: datetime | None = None) -> Entry:
    """Return the entry that a line of the file is read as."""
    return Entry(line_of(step, machine, facts or {}), at or datetime.now(UTC))
