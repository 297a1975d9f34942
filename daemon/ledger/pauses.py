"""What an operator paused, kept over restarts. Functions of a connection."""

from __future__ import annotations

import sqlite3


def pauses(connection: sqlite3.Connection) -> dict[str, str]:
    """Return scope → mode of what an operator paused; the scope `*` is everything."""
    return {row[0]: row[1] for row in connection.execute("SELECT scope, mode FROM pauses")}


def set_pause(connection: sqlite3.Connection, scope: str, mode: str | None, now_s: float) -> None:
    """Pause or drain a scope; None lifts it."""
    if mode is None:
        connection.execute("DELETE FROM pauses WHERE scope = ?", (scope,))
    else:
        connection.execute(
            "INSERT OR REPLACE INTO pauses (scope, mode, since_s) VALUES (?, ?, ?)", (scope, mode, now_s)
        )
