"""Counters in the ledger that outlive restarts and forgotten jobs. Functions of a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping


def add_totals(connection: sqlite3.Connection, inbox: str, amounts: Mapping[str, float]) -> None:
    """Add to counters that outlive restarts."""
    connection.executemany(
        "INSERT INTO totals (inbox, name, value) VALUES (?, ?, ?)"
        " ON CONFLICT (inbox, name) DO UPDATE SET value = value + excluded.value",
        [(inbox, name, amount) for name, amount in amounts.items() if amount],
    )


def totals(connection: sqlite3.Connection) -> dict[tuple[str, str], float]:
    return {(row[0], row[1]): row[2] for row in connection.execute("SELECT inbox, name, value FROM totals")}
