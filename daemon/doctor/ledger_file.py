"""dfld doctor: the ledger. Is it whole, of a schema that this dfld knows, and what SQLite writes it?"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from daemon.doctor.diagnosis import Diagnosis, ok, problem, warning
from daemon.ledger.schema import VERSION
from daemon.state_folder import LEDGER_NAME

SUBJECT = "ledger"
WAL_RESET_FIXED = (3, 51, 3)
"""Until then two connections that write and checkpoint at once can damage a WAL; 3.52.0 was withdrawn."""
WITHDRAWN = (3, 52)


def judge_sqlite(version: tuple[int, ...]) -> Diagnosis:
    """Given SQLite's version, say whether it has the WAL-reset bug. Pure."""
    text = ".".join(map(str, version))
    if version >= WAL_RESET_FIXED and version[:2] != WITHDRAWN:
        return ok("SQLite", f"version {text}")
    return warning(
        "SQLite",
        f"version {text} has the WAL-reset bug (fixed in 3.51.3); dfld writes from one connection alone, which does "
        "not meet it",
        "let no other program write to the ledger while dfld runs",
    )


def examine_ledger(state_dir: Path) -> Iterator[Diagnosis]:
    """Read the ledger beside a running daemon or without one; look at its schema and at every page."""
    path = state_dir / LEDGER_NAME
    if not path.exists():
        yield ok(SUBJECT, f"{path} will be made at the first start")
        return
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=5)) as reader:
            schema = int(reader.execute("PRAGMA user_version").fetchone()[0])
            damage = [str(row[0]) for row in reader.execute("PRAGMA quick_check(5)") if row[0] != "ok"]
    except sqlite3.DatabaseError as error:
        yield problem(
            SUBJECT,
            f"{path} cannot be read: {error}",
            f"stop dfld and put back a backup, or a copy named {path.name}.schema*; without one move it aside: "
            "finished files are then taken again",
        )
        return
    if damage:
        yield problem(SUBJECT, f"{path} is damaged: {damage[0]}", "stop dfld and put back a backup")
    elif schema > VERSION:
        yield problem(
            SUBJECT,
            f"{path} has schema {schema}, this dfld knows schemas up to {VERSION}",
            "install the newer dfld again",
        )
    else:
        yield ok(SUBJECT, f"{path} is whole (schema {schema})")
