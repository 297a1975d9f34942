"""The ledger as a file: durable, one writer, migrated with a copy first, refused when newer."""

from __future__ import annotations

import sqlite3
import stat
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from daemon.errors import ExitCode, LedgerError
from daemon.ledger import schema as ledger_schema
from daemon.ledger.ledger import Ledger, LedgerFullError, LedgerLockedError, LedgerLostError


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    one = Ledger(tmp_path / "ledger.db")
    yield one
    one.close()


def pause(writer: sqlite3.Connection, scope: str) -> None:
    writer.execute("INSERT INTO pauses VALUES (?, 'pause', 0)", (scope,))


def scopes(reader: sqlite3.Connection) -> list[str]:
    return [row[0] for row in reader.execute("SELECT scope FROM pauses")]


def test_what_is_written_is_read(ledger: Ledger) -> None:
    ledger.write(lambda writer: pause(writer, "alice"))
    assert ledger.read(scopes) == ["alice"]


def test_a_step_that_fails_leaves_nothing_behind(ledger: Ledger) -> None:
    def step(writer: sqlite3.Connection) -> None:
        pause(writer, "alice")
        raise KeyError("on purpose")

    with pytest.raises(KeyError, match="on purpose"):
        ledger.write(step)
    assert ledger.read(scopes) == []
    ledger.write(lambda writer: pause(writer, "bob"))
    assert ledger.read(scopes) == ["bob"]


def test_readers_cannot_write(ledger: Ledger) -> None:
    with pytest.raises(LedgerError):
        ledger.read(lambda reader: pause(reader, "alice"))


def test_it_is_private_and_set_up_for_power_loss(ledger: Ledger) -> None:
    assert stat.S_IMODE(ledger.path.stat().st_mode) == 0o640
    settings = ledger.write(
        lambda writer: [writer.execute(f"PRAGMA {name}").fetchone()[0] for name in
                        ("journal_mode", "synchronous", "foreign_keys", "secure_delete")]
    )  # fmt: skip
    assert settings == ["wal", 2, 1, 1]


def test_every_table_is_strict(ledger: Ledger) -> None:
    with pytest.raises(sqlite3.IntegrityError, match="cannot store TEXT value in REAL column"):
        ledger.write(lambda writer: writer.execute("INSERT INTO pauses VALUES ('a', 'pause', 'soon')"))


@pytest.mark.parametrize(
    "statement",
    [
        "INSERT INTO pauses VALUES ('a', 'stop', 0)",
        "INSERT INTO pauses VALUES (?, 'pause', 0)",
        "UPDATE pauses SET nothing = 0",
    ],
)
def test_a_statement_that_is_wrong_is_no_trouble_of_the_ledger(ledger: Ledger, statement: str) -> None:
    for step in (ledger.write, ledger.read):
        with pytest.raises(sqlite3.Error) as info:
            step(lambda connection: connection.execute(statement))
        assert type(info.value).__module__ == "sqlite3", "it comes through as it is"
        if "CHECK" in str(info.value):
            break  # who only reads is told that first
    assert ledger.trouble == ""
    ledger.write(lambda writer: pause(writer, "bob"))
    assert ledger.read(scopes) == ["bob"]


def test_a_ledger_of_a_newer_dfld_is_refused_untouched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    with sqlite3.connect(path) as newer:
        newer.execute("CREATE TABLE future (x)")
        newer.execute(f"PRAGMA user_version = {ledger_schema.VERSION + 1}")
    newer.close()
    with pytest.raises(LedgerError, match=f"schema {ledger_schema.VERSION + 1}.*up to {ledger_schema.VERSION}") as info:
        Ledger(path)
    assert info.value.exit_code == ExitCode.CONFIGURATION
    with sqlite3.connect(path) as same:
        assert same.execute("SELECT name FROM sqlite_master").fetchall() == [("future",)]
    same.close()


def test_a_migration_copies_the_old_ledger_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = Ledger(tmp_path / "ledger.db")
    old.write(lambda writer: pause(writer, "alice"))
    old.close()
    version = ledger_schema.VERSION
    monkeypatch.setattr(ledger_schema, "MIGRATIONS", (*ledger_schema.MIGRATIONS, "CREATE TABLE more (x TEXT) STRICT"))
    monkeypatch.setattr(ledger_schema, "VERSION", version + 1)
    new = Ledger(tmp_path / "ledger.db")
    assert new.read(scopes) == ["alice"]
    assert new.read(lambda reader: reader.execute("SELECT count(*) FROM more").fetchone()[0]) == 0
    new.close()
    with sqlite3.connect(tmp_path / f"ledger.db.schema{version}") as copy:
        assert scopes(copy) == ["alice"]
        assert copy.execute("PRAGMA user_version").fetchone() == (version,)
    copy.close()


def test_a_migration_that_fails_leaves_the_ledger_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Ledger(tmp_path / "ledger.db").close()
    version = ledger_schema.VERSION
    bad = "CREATE TABLE more (x TEXT) STRICT; INSERT INTO nowhere VALUES (1)"
    monkeypatch.setattr(ledger_schema, "MIGRATIONS", (*ledger_schema.MIGRATIONS, bad))
    monkeypatch.setattr(ledger_schema, "VERSION", version + 1)
    with pytest.raises(LedgerError, match=f"from schema {version} to {version + 1}"):
        Ledger(tmp_path / "ledger.db")
    monkeypatch.undo()
    Ledger(tmp_path / "ledger.db").close()


def test_a_file_that_is_no_ledger_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database, and long enough to be taken for one" * 100)
    with pytest.raises(LedgerError, match="cannot be used: file is not a database"):
        Ledger(tmp_path / "ledger.db")


def test_a_full_database_is_told_as_retryable_and_takes_writes_again_later(ledger: Ledger) -> None:
    pages = ledger.write(lambda writer: writer.execute("PRAGMA page_count").fetchone()[0])
    ledger.write(lambda writer: writer.execute(f"PRAGMA max_page_count = {pages}").fetchone())
    long = "x" * 100_000
    with pytest.raises(LedgerFullError) as info:
        ledger.write(lambda writer: pause(writer, long))
    assert info.value.retryable
    assert "the ledger cannot be written" in ledger.trouble
    ledger.write(lambda writer: writer.execute("PRAGMA max_page_count = 1000000").fetchone())
    ledger.write(lambda writer: pause(writer, long))
    assert ledger.read(scopes) == [long]
    assert ledger.trouble == ""


@pytest.mark.parametrize("lock", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_a_ledger_that_another_program_has_locked_says_so_answers_and_goes_on_after_it(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, lock: str
) -> None:
    monkeypatch.setattr("daemon.ledger.ledger.BUSY_TIMEOUT_MS", 50)
    ledger.write(lambda writer: writer.execute("PRAGMA busy_timeout = 50"))
    with closing(sqlite3.connect(ledger.path, isolation_level=None)) as other:
        other.execute(lock)
        for _ in range(3):
            with pytest.raises(LedgerLockedError, match="locked by another program") as info:
                ledger.write(lambda writer: pause(writer, "alice"))
            assert info.value.retryable
            assert ledger.answers(5), "its thread is well"
            assert "locked by another program" in ledger.trouble
        assert ledger.read(scopes) == [], "a writer's lock keeps no reader out"
        other.execute("ROLLBACK")
    ledger.write(lambda writer: pause(writer, "alice"))
    assert ledger.trouble == ""
    assert ledger.read(scopes) == ["alice"]


def test_a_lock_that_is_over_within_moments_is_no_trouble(ledger: Ledger) -> None:
    with closing(sqlite3.connect(ledger.path, isolation_level=None, check_same_thread=False)) as other:
        other.execute("BEGIN IMMEDIATE")
        threading.Timer(0.2, lambda: other.execute("ROLLBACK")).start()
        ledger.write(lambda writer: pause(writer, "alice"))
    assert ledger.trouble == ""


@pytest.mark.parametrize("ending", ["", "-wal", "-shm"])
@pytest.mark.parametrize("replaced", [False, True])
def test_a_file_of_the_ledger_that_is_deleted_or_replaced_takes_nothing_more_until_it_is_back(
    ledger: Ledger, tmp_path: Path, ending: str, replaced: bool
) -> None:
    ledger.write(lambda writer: pause(writer, "alice"))
    path = tmp_path / f"ledger.db{ending}"
    path.rename(tmp_path / "aside")
    if replaced:
        path.write_bytes((tmp_path / "aside").read_bytes())
    message = "was replaced by another file" if replaced else "was deleted"
    for use in (lambda: ledger.write(lambda writer: pause(writer, "bob")), lambda: ledger.read(scopes)):
        with pytest.raises(LedgerLostError, match=message) as info:
            use()
        assert "put the very file back" in info.value.hint
    assert ledger.answers(5)
    assert message in ledger.trouble
    (tmp_path / "aside").replace(path)
    assert ledger.answers(5)
    assert ledger.trouble == ""
    assert ledger.read(scopes) == ["alice"]


def test_a_closed_ledger_says_so(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    assert ledger.answers(5)
    ledger.close()
    ledger.close()
    assert not ledger.answers(5)
    with pytest.raises(LedgerError, match="closed"):
        ledger.write(scopes)
