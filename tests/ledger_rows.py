"""Rows of a ledger as a test needs them, whatever events would have led there."""

from __future__ import annotations

from daemon.ledger.ledger import Ledger


def set_row(ledger: Ledger, job_id: int, **values: object) -> None:
    """Set columns of one job, its state too."""
    columns = ", ".join(f"{name} = ?" for name in values)
    ledger.write(lambda writer: writer.execute(f"UPDATE jobs SET {columns} WHERE id = ?", (*values.values(), job_id)))
