"""Which files a job was made of, as they were when they were read: the only ones that `on_done` may touch.

Functions of a connection; nothing here looks at the disk.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from core.move_and_delete import KnownFile


@dataclass(frozen=True)
class Member:
    """One file of an arrival."""

    path: bytes
    """Below the inbox."""
    role: Literal["footage", "companion"]
    """A companion goes along with its footage: the sidecar, the done marker."""
    known: KnownFile
    """Of a link: the file that it led to."""


def remember(connection: sqlite3.Connection, job_id: int, members: Sequence[Member]) -> None:
    """Keep these as the files of a job, in place of any that were kept before."""
    forget(connection, job_id)
    rows = [
        (job_id, one.path, one.role, str(one.known.inode), one.known.size_bytes, one.known.mtime_ns, one.known.sha256)
        for one in members
    ]
    connection.executemany(
        "INSERT INTO members (job, path, role, inode, size_bytes, mtime_ns, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)", rows
    )


def members_of(connection: sqlite3.Connection, job_id: int) -> list[Member]:
    """Return the files of a job in the order of their names; none for a job of a ledger that did not keep them."""
    rows = connection.execute(
        "SELECT path, role, inode, size_bytes, mtime_ns, sha256 FROM members WHERE job = ? ORDER BY path", (job_id,)
    )
    return [Member(row[0], row[1], KnownFile(int(row[2]), row[3], row[4], row[5])) for row in rows]


def forget(connection: sqlite3.Connection, job_id: int) -> None:
    connection.execute("DELETE FROM members WHERE job = ?", (job_id,))
