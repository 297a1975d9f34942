"""The ledger: one SQLite file that remembers every file, job, cursor and face.

This file opens it and moves transactions; what is stored is `jobs` and `claims`, the tables are `schema`.

One thread owns the one connection that writes (SQLite before 3.51.3 can corrupt a WAL when two connections write
and checkpoint at the same moment), each `write` is one transaction, and it returns after the commit is on the
disk. Readers open their own read-only connection. Whatever may pass (a full disk, another program's lock, a file
that is gone) is a LedgerUnavailableError; the step was rolled back and may be handed in again. `trouble` says so too.
Where the statement itself is wrong, nothing is wrong with the ledger: nobody foresaw that, and it comes through.
"""

from __future__ import annotations

import os
import queue
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TypeVar

from core.boundary import hand_over
from core.files import FILE_MODE, open_new, sync_folder, written_whole
from daemon.errors import LedgerError
from daemon.ledger.schema import migrate

T = TypeVar("T")
Connection = sqlite3.Connection
"""What a step gets; nobody above the ledger imports SQLite."""
Step = Callable[[Connection], T]

BUSY_TIMEOUT_MS = 10_000
"""So long another program's lock is waited for before it counts as trouble."""
LOCKED_TIMEOUT_MS = 100
"""So long each step waits while the lock is known: those behind it must not wait in turn."""
LOCKED_CODES = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL)
"""Primary result codes that say that somebody else has the ledger locked."""
COMPANION_ENDINGS = ("-wal", "-shm")
"""SQLite's files beside the ledger. They stay while it is open; what is committed lies in the first."""
LOG_TIMEOUT_MS = 200
"""So long readers are waited for when the log is emptied: it is tried again, and writers wait meanwhile."""
FULL_CODES = (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN)
"""Primary result codes that may pass by themselves: no space, a disk error, a read-only remount."""
PRIMARY_CODE_MASK = 0xFF


STATEMENT_ERRORS = (
    sqlite3.IntegrityError,
    sqlite3.ProgrammingError,
    sqlite3.InterfaceError,
    sqlite3.DataError,
    sqlite3.NotSupportedError,
)
"""Of one statement and its values: the same step fails again, every other one works."""


class LedgerUnavailableError(LedgerError):
    """The ledger takes nothing now; nothing of the step was kept, and it may succeed later."""

    retryable = True


class LedgerFullError(LedgerUnavailableError):
    """The ledger's disk is full or failing."""


class LedgerLockedError(LedgerUnavailableError):
    """Another program (a backup, a shell) has locked the ledger."""


class LedgerLostError(LedgerUnavailableError):
    """The ledger's file was deleted or replaced: what would be written to the open one is gone with this process."""


class Ledger:
    """The open ledger. `write` and `read` may be called from any thread."""

    def __init__(self, path: Path) -> None:
        """Open or make the ledger at `path`. Raise LedgerError when it is newer, damaged or cannot be opened."""
        self.path = path
        self._steps: queue.SimpleQueue[Callable[[sqlite3.Connection], None] | None] = queue.SimpleQueue()
        """Each hands its own result over; None ends the writer thread."""
        self._closed = threading.Event()
        self.trouble = ""
        """Why nothing can be written now, as a sentence; set by the writer thread alone."""
        self._identities: dict[Path, tuple[int, int]] = {}
        """The files that are open, by device and inode; the writer thread alone changes it."""
        opened: Future[sqlite3.Connection] = Future()
        self._writer = threading.Thread(target=self._run, args=(opened,), name="ledger", daemon=True)
        self._writer.start()
        opened.result()

    def write(self, step: Step[T], timeout_s: float | None = None) -> T:
        """Run `step` in a transaction of its own and return its result once it is committed.

        Raise LedgerUnavailableError while it cannot be written (a full disk, a lock, a file that is gone), LedgerError
        for any other failure of the ledger or when no answer came within `timeout_s`; what `step` itself raises comes
        through, and its changes are rolled back. So does SQLite's own error where a statement of `step` is wrong.
        """
        if self._closed.is_set():
            raise LedgerError(f"{self.path}: the ledger is closed")
        done = self._hand_in(step)
        try:
            return done.result(timeout_s)
        except TimeoutError as problem:
            raise LedgerError(f"{self.path}: the ledger did not answer within {timeout_s} s") from problem

    def _hand_in(self, step: Step[T]) -> Future[T]:
        done: Future[T] = Future()
        self._steps.put(lambda connection: hand_over(partial(self._transact, connection, step), done))
        return done

    def read(self, step: Step[T]) -> T:
        """Run `step` on a read-only connection of the calling thread; it sees the last committed state.

        Raise as `write` does.
        """
        self._require_same_files()
        try:
            with closing(sqlite3.connect(f"{self.path.as_uri()}?mode=ro", uri=True, isolation_level=None)) as reader:
                reader.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
                reader.row_factory = sqlite3.Row
                reader.execute("BEGIN")
                return step(reader)
        except sqlite3.Error as problem:
            if _is_of_statement(problem):
                raise
            raise _translated(self.path, problem) from problem

    def shrink(self) -> None:
        """Write out the log and give free pages back, so that deleted rows are in no file any more.

        Another program that reads keeps the log: then it holds them until that program lets go.
        """
        self._outside_a_transaction("VACUUM")
        self.empty_log()

    def empty_log(self) -> None:
        """Write out the log and cut it to nothing, unless another program reads; the ledger is held up for a moment."""
        self._outside_a_transaction(f"PRAGMA busy_timeout = {LOG_TIMEOUT_MS}")
        try:
            self._outside_a_transaction("PRAGMA wal_checkpoint(TRUNCATE)")
        finally:
            self._outside_a_transaction(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")

    def _outside_a_transaction(self, statement: str) -> None:
        def step(writer: sqlite3.Connection) -> None:
            writer.execute("COMMIT")  # the one that `write` began
            writer.execute(statement).fetchall()
            writer.execute("BEGIN IMMEDIATE")

        self.write(step)

    def answers(self, timeout_s: float) -> bool:
        """Say whether the writer thread takes a step within `timeout_s`; the truth behind health and watchdog.

        A thread that cannot write for a reason outside it answers, and brings `trouble` up to date.
        """
        if self._closed.is_set() or not self._writer.is_alive():
            return False
        done = self._hand_in(lambda connection: connection.execute("SELECT 1").fetchone() is not None)
        try:
            done.result(timeout_s)
        except LedgerUnavailableError:
            return True
        except (TimeoutError, LedgerError):
            return False
        return True

    def close(self) -> None:
        """Finish the steps handed in so far, then close the file."""
        if not self._closed.is_set():
            self._closed.set()
            self._steps.put(None)
        self._writer.join()

    def _open(self) -> sqlite3.Connection:
        connection = _open(self.path)
        self._note_files()
        return connection

    def _run(self, opened: Future[sqlite3.Connection]) -> None:
        hand_over(self._open, opened)  # to the thread that waits in `__init__`
        if opened.exception() is not None:
            return
        with closing(opened.result()) as connection:
            while (work := self._steps.get()) is not None:
                work(connection)

    def _transact(self, connection: sqlite3.Connection, step: Step[T]) -> T:
        try:
            self._require_same_files()
            connection.execute("BEGIN IMMEDIATE")
            result = step(connection)
            connection.execute("COMMIT")
        except sqlite3.Error as problem:
            self._roll_back(connection)
            if _is_of_statement(problem):
                raise
            translated = _translated(self.path, problem)
            self._note_trouble(connection, translated)
            raise translated from problem
        except LedgerLostError as problem:
            self._note_trouble(connection, problem)
            raise
        except BaseException:
            self._roll_back(connection)
            raise
        if self.trouble:
            self._note_trouble(connection, None)
        self._note_files()
        return result

    def _note_trouble(self, connection: sqlite3.Connection, problem: LedgerError | None) -> None:
        self.trouble = "" if problem is None else problem.message
        locked = isinstance(problem, LedgerLockedError)
        connection.execute(f"PRAGMA busy_timeout = {LOCKED_TIMEOUT_MS if locked else BUSY_TIMEOUT_MS}")

    def _note_files(self) -> None:
        """Remember which files are open; SQLite makes those beside the ledger with its first step."""
        for path in self._files():
            if path not in self._identities and (identity := _identity(path)) is not None:
                self._identities[path] = identity

    def _require_same_files(self) -> None:
        """Raise LedgerLostError when a file of the ledger is not the one that is open. Any thread."""
        for path, identity in list(self._identities.items()):
            if (now := _identity(path)) != identity:
                found = "was deleted" if now is None else "was replaced by another file"
                raise LedgerLostError(
                    f"{path}: the ledger {found} while dfld runs; nothing more is written, since it would be lost",
                    hint="put the very file back, and work goes on; if it is gone for good, stop dfld, put a backup in "
                    "its place, and start dfld",
                )

    def _files(self) -> list[Path]:
        return [self.path, *(self.path.with_name(self.path.name + ending) for ending in COMPANION_ENDINGS)]

    @staticmethod
    def _roll_back(connection: sqlite3.Connection) -> None:
        if connection.in_transaction:  # SQLite rolls back by itself on some disk errors
            connection.execute("ROLLBACK")


def _open(path: Path) -> sqlite3.Connection:
    try:
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, FILE_MODE))
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    except (OSError, sqlite3.Error) as problem:
        raise LedgerError(
            f"cannot open the ledger {path}: {problem}", hint="state_dir must be writable for the user that runs dfld"
        ) from problem
    try:
        connection.row_factory = sqlite3.Row
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")  # NORMAL can lose the last commits on power loss
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA secure_delete = ON")  # what is forgotten is overwritten
        migrate(connection, lambda version: _back_up(connection, path, version))
        # What was deleted before a kill may stand in the log still; where a reader holds it, the next start does it.
        connection.execute(f"PRAGMA busy_timeout = {LOG_TIMEOUT_MS}")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        connection.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
    except sqlite3.Error as problem:
        connection.close()
        translated = _translated(path, problem)
        if isinstance(translated, LedgerLockedError):
            raise translated from problem
        raise LedgerError(
            f"the ledger {path} cannot be used: {problem}",
            hint=f"look at {path.parent} for a copy named {path.name}.schema*; without one, move the file aside: "
            "finished files are then taken again",
        ) from problem
    except BaseException:
        connection.close()
        raise
    return connection


def _identity(path: Path) -> tuple[int, int] | None:
    """Return device and inode of the file that has this name now; None when none has."""
    try:
        status = os.stat(path)  # noqa: PTH116 -- called before every step
    except OSError:
        return None
    return status.st_dev, status.st_ino


def _back_up(connection: sqlite3.Connection, path: Path, version: int) -> Path:
    """Copy the ledger beside itself, whole and synced, before its schema changes."""
    target = path.with_name(f"{path.name}.schema{version}")
    with written_whole(target) as temporary:
        os.close(open_new(temporary))
        with closing(sqlite3.connect(temporary)) as copy:
            connection.backup(copy)
    sync_folder(target.parent)
    return target


def _is_of_statement(problem: sqlite3.Error) -> bool:
    """Say whether a statement or its values are wrong, a column that is not there included; then the ledger is well."""
    return isinstance(problem, STATEMENT_ERRORS) or (
        isinstance(problem, sqlite3.OperationalError) and problem.sqlite_errorcode == sqlite3.SQLITE_ERROR
    )


def _translated(path: Path, problem: sqlite3.Error) -> LedgerError:
    code = getattr(problem, "sqlite_errorcode", None)
    if code is not None and code & PRIMARY_CODE_MASK in LOCKED_CODES:
        return LedgerLockedError(
            f"{path}: the ledger is locked by another program ({problem}); work waits until it lets go",
            hint="a backup or an SQLite shell may hold it: `fuser` names the program",
        )
    if code is not None and code & PRIMARY_CODE_MASK in FULL_CODES:
        return LedgerFullError(
            f"{path}: the ledger cannot be written: {problem}; work waits until it can",
            hint=f"free space on the disk of {path.parent}",
        )
    return LedgerError(f"{path}: the ledger failed: {problem}")
