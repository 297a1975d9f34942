"""The tables of the ledger and how an older ledger becomes a newer one.

`user_version` says which migrations a file has been through. Migrations only go forward, one transaction each,
after a copy of the file was made; a ledger from a newer dfld is refused. Paths are BLOBs: a file name is bytes,
and a name that is not UTF-8 must survive. Times are Unix seconds. What the rows mean is `daemon.ledger.jobs`.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from pathlib import Path

from daemon.errors import ExitCode, LedgerError
from engine.face_id import box_of, face_id

MIGRATIONS: tuple[str, ...] = (
    """
    CREATE TABLE jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        inbox TEXT NOT NULL,
        path BLOB NOT NULL,                  -- below the inbox
        kind TEXT NOT NULL CHECK (kind IN ('video', 'folder')),
        sha256 TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        identity TEXT NOT NULL,              -- inode, size, mtime when it was claimed
        workspace TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('src', 'dst')),
        slug TEXT NOT NULL,
        sidecar TEXT NOT NULL,               -- JSON
        priority INTEGER NOT NULL,
        rank REAL NOT NULL,                  -- smallest goes first; see daemon.ledger.jobs.rank
        state TEXT NOT NULL CHECK (state IN
            ('queued', 'running', 'waiting', 'done', 'failed', 'quarantined', 'cancelled', 'gone', 'skipped')),
        reason TEXT NOT NULL DEFAULT '',
        message TEXT NOT NULL DEFAULT '',
        hint TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 0, -- failures that may pass
        deaths INTEGER NOT NULL DEFAULT 0,   -- workers this file killed without a commit in between
        death_frame INTEGER,
        not_before_s REAL NOT NULL DEFAULT 0,
        arrived_s REAL NOT NULL,
        started_s REAL,
        finished_s REAL,
        basis TEXT NOT NULL DEFAULT '',      -- which identity and settings made the faces
        next_frame INTEGER NOT NULL DEFAULT 0,
        last_pts INTEGER,
        counts TEXT NOT NULL DEFAULT '{}',   -- JSON of engine.types.Counts
        carry TEXT NOT NULL DEFAULT '',
        frames_total INTEGER,
        report TEXT NOT NULL DEFAULT '',     -- JSON, once done
        original TEXT NOT NULL DEFAULT 'in_inbox' CHECK (original IN
            ('in_inbox', 'to_finish', 'kept', 'moved', 'deleted', 'to_quarantine', 'quarantined', 'marked')),
        original_path BLOB,                  -- where it went
        UNIQUE (inbox, sha256),
        UNIQUE (workspace, role, slug)
    ) STRICT;
    CREATE INDEX jobs_waiting_by_rank ON jobs (rank, id) WHERE state IN ('queued', 'waiting');
    CREATE INDEX jobs_by_state ON jobs (state, inbox);
    CREATE INDEX jobs_to_tidy ON jobs (original) WHERE original IN ('to_finish', 'to_quarantine');

    CREATE TABLE faces (
        job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        place INTEGER NOT NULL,              -- order within the job
        frame INTEGER NOT NULL,
        kept INTEGER NOT NULL,
        reason TEXT NOT NULL,
        file TEXT,
        record TEXT NOT NULL,                -- JSON of engine.face_record.FaceRecord
        PRIMARY KEY (job, place)
    ) STRICT, WITHOUT ROWID;
    CREATE UNIQUE INDEX faces_are_written_once ON faces (job, file) WHERE file IS NOT NULL;

    CREATE TABLE files (
        inbox TEXT NOT NULL,
        path BLOB NOT NULL,
        identity TEXT NOT NULL,
        sha256 TEXT NOT NULL,
        outcome TEXT NOT NULL CHECK (outcome IN ('taken', 'duplicate')),
        job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        seen_s REAL NOT NULL,
        PRIMARY KEY (inbox, path)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX files_by_job ON files (job);

    CREATE TABLE pauses (
        scope TEXT PRIMARY KEY,              -- an inbox's name, or '*'
        mode TEXT NOT NULL CHECK (mode IN ('pause', 'drain')),
        since_s REAL NOT NULL
    ) STRICT;

    CREATE TABLE totals (
        inbox TEXT NOT NULL,
        name TEXT NOT NULL,
        value REAL NOT NULL,
        PRIMARY KEY (inbox, name)
    ) STRICT, WITHOUT ROWID;                 -- counters that outlive restarts and forgotten jobs
    """,
    """
    ALTER TABLE jobs ADD COLUMN verdict TEXT NOT NULL DEFAULT '';    -- engine.footage.verdict; '' = not read to its end
    ALTER TABLE jobs ADD COLUMN missing_s REAL;                      -- of lost footage; NULL = cannot be said
    ALTER TABLE jobs ADD COLUMN missing_share REAL;
    ALTER TABLE jobs ADD COLUMN mark TEXT NOT NULL DEFAULT '';       -- by which a whole copy of a part is recognised
    CREATE TABLE members (
        job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        path BLOB NOT NULL,                  -- below the inbox
        role TEXT NOT NULL CHECK (role IN ('footage', 'companion')),
        inode TEXT NOT NULL,                 -- may be larger than an INTEGER
        size_bytes INTEGER NOT NULL,
        mtime_ns INTEGER NOT NULL,
        sha256 TEXT NOT NULL,                -- '' = not read whole
        PRIMARY KEY (job, path)
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE parts (
        inbox TEXT NOT NULL,
        sha256 TEXT NOT NULL,                -- of a part whose whole copy took its place
        job INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
        PRIMARY KEY (inbox, sha256)
    ) STRICT, WITHOUT ROWID;
    """,
    """
    ALTER TABLE jobs ADD COLUMN discard TEXT NOT NULL DEFAULT '';    -- order to discard manual changes with this redo
    """,
    """
    ALTER TABLE faces ADD COLUMN face_id TEXT NOT NULL DEFAULT '';   -- engine.face_id; '' = its source has no hash
    UPDATE faces SET face_id = face_id_of((SELECT sha256 FROM jobs WHERE id = job), frame, record);
    """,
    """
    CREATE TABLE new_jobs (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        kind TEXT NOT NULL,                  -- of job: daemon.jobs.kinds
        subject INTEGER REFERENCES jobs (id) ON DELETE CASCADE,  -- the job it is about; NULL: it is about its own file
        request TEXT NOT NULL DEFAULT '',    -- JSON of what was asked for; its kind says what
        attempt INTEGER NOT NULL DEFAULT 0,  -- how often it was started: only the latest start may change it
        inbox TEXT NOT NULL,
        path BLOB NOT NULL,                  -- below the inbox
        source_kind TEXT NOT NULL CHECK (source_kind IN ('video', 'folder')),
        sha256 TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        file_state TEXT NOT NULL,            -- inode, size, mtime when it was claimed
        workspace TEXT NOT NULL,
        role TEXT NOT NULL CHECK (role IN ('src', 'dst')),
        slug TEXT NOT NULL,
        sidecar TEXT NOT NULL,               -- JSON
        priority INTEGER NOT NULL,
        rank REAL NOT NULL,                  -- smallest goes first; see daemon.ledger.claims.rank
        state TEXT NOT NULL CHECK (state IN
            ('queued', 'running', 'waiting', 'done', 'failed', 'quarantined', 'cancelled', 'gone', 'skipped')),
        reason TEXT NOT NULL DEFAULT '',
        message TEXT NOT NULL DEFAULT '',
        hint TEXT NOT NULL DEFAULT '',
        attempts INTEGER NOT NULL DEFAULT 0, -- failures that may pass
        deaths INTEGER NOT NULL DEFAULT 0,   -- workers this job killed without a commit in between
        death_frame INTEGER,
        not_before_s REAL NOT NULL DEFAULT 0,
        arrived_s REAL NOT NULL,
        started_s REAL,
        finished_s REAL,
        basis TEXT NOT NULL DEFAULT '',      -- what decides the outcome: commits of another one do not hold
        next_frame INTEGER NOT NULL DEFAULT 0,  -- the cursor: units that are done
        last_pts INTEGER,
        counts TEXT NOT NULL DEFAULT '{}',   -- JSON of engine.types.Counts
        carry TEXT NOT NULL DEFAULT '',
        frames_total INTEGER,
        report TEXT NOT NULL DEFAULT '',     -- JSON, once done
        original TEXT NOT NULL DEFAULT 'in_inbox' CHECK (original IN
            ('in_inbox', 'to_finish', 'kept', 'moved', 'deleted', 'to_quarantine', 'quarantined', 'marked')),
        original_path BLOB,                  -- where it went
        verdict TEXT NOT NULL DEFAULT '',    -- engine.footage.verdict; '' = not read to its end
        missing_s REAL,                      -- of lost footage; NULL = cannot be said
        missing_share REAL,
        mark TEXT NOT NULL DEFAULT '',       -- by which a whole copy of a part is recognised
        discard TEXT NOT NULL DEFAULT '',    -- order to discard manual changes with this redo
        UNIQUE (kind, subject)
    ) STRICT;
    INSERT INTO new_jobs (id, kind, inbox, path, source_kind, sha256, size_bytes, file_state, workspace, role, slug,
        sidecar, priority, rank, state, reason, message, hint, attempts, deaths, death_frame, not_before_s, arrived_s,
        started_s, finished_s, basis, next_frame, last_pts, counts, carry, frames_total, report, original,
        original_path, verdict, missing_s, missing_share, mark, discard)
    SELECT id, 'extract', inbox, path, kind, sha256, size_bytes, identity, workspace, role, slug,
        sidecar, priority, rank, state, reason, message, hint, attempts, deaths, death_frame, not_before_s, arrived_s,
        started_s, finished_s, basis, next_frame, last_pts, counts, carry, frames_total, report, original,
        original_path, verdict, missing_s, missing_share, mark, discard FROM jobs;
    DELETE FROM sqlite_sequence WHERE name = 'new_jobs';
    INSERT INTO sqlite_sequence (name, seq) SELECT 'new_jobs', seq FROM sqlite_sequence WHERE name = 'jobs';
    DROP TABLE jobs;
    ALTER TABLE new_jobs RENAME TO jobs;
    CREATE UNIQUE INDEX jobs_are_one_a_content ON jobs (inbox, sha256) WHERE subject IS NULL;
    CREATE UNIQUE INDEX jobs_are_one_a_slug ON jobs (workspace, role, slug) WHERE subject IS NULL;
    CREATE INDEX jobs_waiting_by_rank ON jobs (rank, id) WHERE state IN ('queued', 'waiting');
    CREATE INDEX jobs_by_state ON jobs (state, inbox);
    CREATE INDEX jobs_to_tidy ON jobs (original) WHERE original IN ('to_finish', 'to_quarantine');
    CREATE INDEX jobs_by_subject ON jobs (subject);
    ALTER TABLE files RENAME COLUMN identity TO file_state;
    ALTER TABLE faces ADD COLUMN pixels_sha256 TEXT NOT NULL DEFAULT '';   -- of the decoded picture; '' = not read back
    """,
)
"""Statement scripts; entry N brings a ledger from version N to N + 1. Never edit one that was released. They may call
`face_id_of(sha256, frame, record)`."""

VERSION = len(MIGRATIONS)


def migrate(connection: sqlite3.Connection, backup: Callable[[int], Path | None]) -> None:
    """Bring the ledger to `VERSION`. `backup` is called with the old version before the first change.

    Raise LedgerError for a ledger of a newer dfld; it is left untouched.
    """
    found = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if found > VERSION:
        error = LedgerError(
            f"the ledger has schema {found}, this dfld knows schemas up to {VERSION}; nothing was changed",
            hint="install the newer dfld again, or restore the copy that it made before its first change",
        )
        error.exit_code = ExitCode.CONFIGURATION
        raise error
    if 0 < found < VERSION:
        backup(found)
    foreign_keys = bool(connection.execute("PRAGMA foreign_keys").fetchone()[0])
    connection.execute("PRAGMA foreign_keys = OFF")  # a table that is made anew must not take its dependants with it
    for version in range(found, VERSION):
        _apply(connection, version)
    if (broken := connection.execute("PRAGMA foreign_key_check").fetchone()) is not None:
        raise LedgerError(f"a row of table {broken[0]} in the ledger names a job that is not there")
    connection.execute(f"PRAGMA foreign_keys = {'ON' if foreign_keys else 'OFF'}")


def _apply(connection: sqlite3.Connection, version: int) -> None:
    try:
        connection.create_function("face_id_of", 3, _face_id_of, deterministic=True)
        connection.executescript(f"BEGIN IMMEDIATE; {MIGRATIONS[version]}; PRAGMA user_version = {version + 1}; COMMIT")
    except sqlite3.Error as problem:
        if connection.in_transaction:
            connection.rollback()
        raise LedgerError(
            f"cannot bring the ledger from schema {version} to {version + 1}: {problem}; it is left at {version}"
        ) from problem


def _face_id_of(sha256: str, frame: int, record: str) -> str:
    """Return the id of a face that an older dfld recorded; "" where its source or place is unknown."""
    try:
        return face_id(sha256, frame, box_of(json.loads(record)["bbox"]))
    except (ValueError, TypeError, KeyError, OverflowError):
        return ""
