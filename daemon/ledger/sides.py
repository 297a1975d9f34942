"""A side of a workspace, data_src or data_dst: the clips whose faces lie there. Functions of a connection."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator

from daemon.ledger import jobs as table
from daemon.ledger.jobs import OF_ITS_FILE, Job
from daemon.ledger.transitions import UNFINISHED, State, sql_list


def is_busy(connection: sqlite3.Connection, workspace: str, role: str, kind_about: str) -> bool:
    """Say whether clips of a side wait or run, or jobs of this kind about them."""
    row = connection.execute(
        f"SELECT 1 FROM jobs WHERE workspace = ? AND role = ? AND state IN {sql_list(*UNFINISHED)}"
        f" AND ({OF_ITS_FILE} OR kind = ?) LIMIT 1",
        (workspace, role, kind_about),
    ).fetchone()
    return row is not None


def done_clips(connection: sqlite3.Connection, workspace: str, role: str, inbox: str) -> Iterator[Job]:
    """Yield the clips of an inbox that are done on a side, the one that was claimed first first."""
    rows = connection.execute(
        f"SELECT id FROM jobs WHERE workspace = ? AND role = ? AND inbox = ? AND state = '{State.DONE}'"
        f" AND {OF_ITS_FILE} ORDER BY id",
        (workspace, role, inbox),
    ).fetchall()
    return (table.fetched(connection, row[0]) for row in rows)
