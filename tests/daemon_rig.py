"""A daemon for tests: its folders, its configuration, and a service in this process or in one that may be killed."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from daemon.config.load import read_config
from daemon.config.schema import Config
from daemon.service import Ready, run_service

ROOT = Path(__file__).parents[1]
FAKE_WORKER = (sys.executable, str(ROOT / "tests" / "fake_worker.py"))
"""Videos that are a line of JSON."""
READING_WORKER = (sys.executable, str(ROOT / "tests" / "reading_worker.py"))
"""Real videos, opened and decoded as by the real worker; no faces are looked for."""
WRITING_WORKER = (sys.executable, str(ROOT / "tests" / "writing_worker.py"))
"""Real videos; a face for every frame, written as the real worker writes them."""
PICTURE_WORKER = (sys.executable, str(ROOT / "tests" / "picture_worker.py"))
"""Pretended videos; faces are real aligned JPEGs, and the real worker reads them back."""
DEADLINE_S = 30.0

WATCH = {"stable_for": "200ms", "rescan_every": "2s", "unreadable_grace": "1s"}
DISK = {"reserve": "0B", "reserve_percent": 0, "resume_margin": "0B"}
RETRY = {"first_delay": "200ms", "max_delay": "1s"}


def is_dead(stat: Path) -> bool:
    """Gone, or a zombie that nobody has collected yet."""
    try:
        return stat.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def wait_until(condition: Callable[[], Any], what: str | Callable[[], str], deadline_s: float = DEADLINE_S) -> Any:
    """Wait until `condition()` is true and return what it returned; fail with `what` after the deadline."""
    end = time.monotonic() + deadline_s
    while True:
        found = condition()
        if found:
            return found
        if time.monotonic() > end:
            raise AssertionError(f"after {deadline_s:.0f} s: {what() if callable(what) else what}")
        time.sleep(0.02)


class Rig:
    """Folders and configuration of one daemon below `base`."""

    def __init__(self, base: Path, *, inboxes: tuple[str, ...] = ("alice",)) -> None:
        self.base = base
        self.tables: dict[str, dict[str, Any]] = {
            "service": {"state_dir": str(base / "state")},
            "http": {"listen": ""},
            "watch": dict(WATCH),
            "disk": dict(DISK),
            "retry": dict(RETRY),
            "limits": {},
        }
        (base / "reference.jpg").write_bytes(b"face")
        self.inboxes: dict[str, dict[str, Any]] = {}
        for name in inboxes:
            self.add_inbox(name)

    def add_inbox(self, name: str, **keys: Any) -> Path:
        """Add an inbox; return its folder."""
        (self.base / name).mkdir(exist_ok=True)
        self.inboxes[name] = {
            "name": name,
            "path": str(self.base / name),
            "references": [str(self.base / "reference.jpg")],
            "workspace": str(self.base / f"{name}-workspace"),
            "backend": "dlib",
            **keys,
        }
        return self.base / name

    @property
    def inbox(self) -> Path:
        return Path(next(iter(self.inboxes.values()))["path"])

    @property
    def workspace(self) -> Path:
        return Path(next(iter(self.inboxes.values()))["workspace"])

    @property
    def config_path(self) -> Path:
        path = self.base / "config.toml"
        lines = [line for name, keys in self.tables.items() for line in (f"[{name}]", *_lines(keys))]
        lines += [line for keys in self.inboxes.values() for line in ("[[inbox]]", *_lines(keys))]
        path.write_text("\n".join(lines) + "\n")
        return path

    @property
    def config(self) -> Config:
        return read_config(self.config_path).config

    def jobs(self) -> list[dict[str, Any]]:
        """Return the rows of the ledger, as another program would read them."""
        path = self.base / "state" / "ledger.db"
        if not path.exists():
            return []
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
            reader.row_factory = sqlite3.Row
            try:
                return [dict(row) for row in reader.execute("SELECT * FROM jobs ORDER BY id")]
            except sqlite3.OperationalError:
                return []  # the tables are not made yet

    def count(self, query: str) -> int:
        """Return the number that a query of the ledger gives."""
        path = self.base / "state" / "ledger.db"
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as reader:
            return int(reader.execute(query).fetchone()[0])

    def states(self) -> list[str]:
        return [job["state"] for job in self.jobs()]

    def wait_for_states(self, *expected: str, deadline_s: float = DEADLINE_S) -> list[dict[str, Any]]:
        """Wait until the jobs are in exactly these states, in order of their numbers; return them."""
        wait_until(
            lambda: self.states() == list(expected),
            lambda: f"jobs are not {expected}: {[(job['path'], job['state'], job['message']) for job in self.jobs()]}",
            deadline_s,
        )
        return self.jobs()

    def faces(self) -> dict[str, bytes]:
        """Return every file that is not a log or preview in the workspaces: path → content."""
        return {
            str(path.relative_to(self.base)): path.read_bytes()
            for inbox in self.inboxes.values()
            for path in sorted(Path(inbox["workspace"]).rglob("*"))
            if path.is_file() and path.parent.name != "debug"
        }


class InProcess:
    """A service in a thread of this process: `with InProcess(rig) as service: …`"""

    def __init__(self, rig: Rig, worker_command: tuple[str, ...] = FAKE_WORKER) -> None:
        self.rig = rig
        self.ready: Ready | None = None
        self._worker_command = worker_command
        self._stop = threading.Event()
        self._is_ready = threading.Event()
        self._failure = ""
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> InProcess:
        self._thread.start()
        wait_until(lambda: self._is_ready.is_set() or self._failure, "the service is not ready")
        assert not self._failure, self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive(), "the service did not stop"
        assert not self._failure, self._failure

    def _run(self) -> None:
        try:
            run_service(
                self.rig.config,
                config_path=self.rig.base / "config.toml",
                stop=self._stop,
                on_ready=self._on_ready,
                worker_command=self._worker_command,
            )
        except BaseException:
            self._failure = traceback.format_exc()

    def _on_ready(self, ready: Ready) -> None:
        self.ready = ready
        self._is_ready.set()


class Killable:
    """A service in a process of its own, with the pretended engine unless told otherwise."""

    def __init__(self, rig: Rig, *, real: bool = False, environment: Mapping[str, str] | None = None) -> None:
        command = ["-m", "daemon", "run", "--config"] if real else [str(ROOT / "tests" / "fake_service.py")]
        self.log = rig.base / "service.log"
        with self.log.open("ab") as log:
            self._log_start = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, *command, str(rig.config_path)],
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
            )

    def wait_until_it_runs(self) -> None:
        """Wait for a log line of this life. Before it, a SIGTERM ends the process as it ends any program."""
        wait_until(
            lambda: b"dfld runs with" in self.log.read_bytes()[self._log_start :],
            lambda: f"not started: {self.said()[-2000:]}",
        )

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def terminate(self, deadline_s: float = 30.0) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(deadline_s)

    def workers(self) -> list[int]:
        """Return the process ids of its workers."""
        children = Path(f"/proc/{self.process.pid}/task")
        found = set()
        for task in children.iterdir():
            with contextlib.suppress(FileNotFoundError):  # a thread that has ended since
                found |= {int(pid) for pid in (task / "children").read_text().split()}
        return sorted(found)

    def said(self) -> str:
        return self.log.read_text()

    def __enter__(self) -> Killable:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()


def _lines(keys: Mapping[str, Any]) -> list[str]:
    return [f"{key} = {_toml(value)}" for key, value in keys.items()]


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(_lines(value)) + " }"
    return repr(value) if isinstance(value, int | float) else '"' + str(value).replace("\\", "\\\\") + '"'
