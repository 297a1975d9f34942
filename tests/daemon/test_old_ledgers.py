"""A ledger of an older dfld opens with everything that stands in it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from daemon.ledger import jobs as table
from daemon.ledger import schema
from daemon.ledger.ledger import Ledger

JOB = (
    "INSERT INTO jobs (id, inbox, path, kind, sha256, size_bytes, identity, workspace, role, slug, sidecar, priority,"
    " rank, state, arrived_s, next_frame, carry)"
    " VALUES (?, 'alice', ?, 'folder', ?, 5, 'i1', '/ws', 'src', ?, '', 5, 1.5, ?, 2.5, 64, 'carry')"
)
NEW_JOB = (
    "INSERT INTO jobs (kind, inbox, path, source_kind, sha256, size_bytes, file_state, workspace, role, slug, sidecar,"
    " priority, rank, state, arrived_s)"
    " VALUES ('extract', 'alice', x'01', 'video', 'c4', 5, 'i', '/ws', 'src', 'clip-4', '', 5, 1, 'queued', 1)"
    " RETURNING id"
)


def old_ledger(path: Path, version: int) -> None:
    """Make a ledger as the dfld of that schema left it: two jobs of three, faces, files, members, parts."""
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for one in range(version):
            schema._apply(old, one)
        for number, state in ((1, "done"), (2, "running"), (3, "queued")):
            old.execute(JOB, (number, b"clip\xff%d" % number, f"c{number}", f"clip-{number}", state))
        old.execute("DELETE FROM jobs WHERE id = 3")
        old.execute(
            "INSERT INTO faces (job, place, frame, kept, reason, file, record) VALUES (1, 0, 3, 1, 'a', 'f', '{}')"
        )
        old.execute("INSERT INTO files VALUES ('alice', x'ff', 'i1', 'c1', 'taken', 1, 3.5)")
        if version > 1:
            old.execute("INSERT INTO members VALUES (2, x'ff', 'footage', '7', 5, 6, 'c2')")
            old.execute("INSERT INTO parts VALUES ('alice', 'c0', 1)")


@pytest.mark.parametrize("version", range(1, schema.VERSION))
def test_an_older_ledger_opens_with_every_row(tmp_path: Path, version: int) -> None:
    path = tmp_path / "ledger.db"
    old_ledger(path, version)
    ledger = Ledger(path)
    try:
        jobs = ledger.read(lambda reader: list(table.jobs(reader)))
        assert [(one.id, one.kind, one.source_kind, one.file_state, one.state) for one in jobs] == [
            (1, "extract", "folder", "i1", "done"),
            (2, "extract", "folder", "i1", "running"),
        ]
        assert [(one.path, one.next_frame, one.carry, one.rank, one.attempt) for one in jobs] == [
            (b"clip\xff1", 64, "carry", 1.5, 0),
            (b"clip\xff2", 64, "carry", 1.5, 0),
        ]

        def count(name: str) -> int:
            return int(ledger.read(lambda reader: reader.execute(f"SELECT count(*) FROM {name}").fetchone()[0]))

        assert (count("faces"), count("files")) == (1, 1)
        assert (count("members"), count("parts")) == ((1, 1) if version > 1 else (0, 0))
        assert ledger.write(table.interrupted_to_queue) == 1
        assert ledger.read(lambda reader: reader.execute("PRAGMA foreign_key_check").fetchall()) == []
        ledger.write(lambda writer: writer.execute("DELETE FROM jobs WHERE id = 1"))
        assert (count("faces"), count("files"), count("parts")) == (0, 0, 0), "what belongs to a job goes with it"
        made = ledger.write(lambda writer: writer.execute(NEW_JOB).fetchone()[0])
        assert made == 4, "the number of a job is never used again"
    finally:
        ledger.close()
    assert path.with_name(f"ledger.db.schema{version}").exists(), "a copy was made before"
