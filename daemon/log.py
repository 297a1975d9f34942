"""How log lines look and what stands on each: one event, one line, facts as fields.

    log = logging.getLogger(__name__)
    with log_context(job=12, inbox="alice"):
        log.info("extraction finished", extra=fields(faces=310, seconds=41.2))

    2026-11-21T03:45:35.120Z INFO extraction finished job=12 inbox=alice faces=310 seconds=41.2

Text for people and journald, JSON on request. The context is per thread (a contextvar): a thread that works on a job
enters its own. File names come from strangers: control characters are escaped, so that a name can neither forge a
line nor steer a terminal. Not for what a command prints as its result.
"""

from __future__ import annotations

import copy
import json
import logging
import os
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Literal, TextIO

from core.boundary import log_unforeseen
from core.text import escaped

LogFormat = Literal["auto", "text", "json"]

SYSLOG_PRIORITIES = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Level → priority of sd-daemon(3); anything below INFO is 7, debug."""
LEVELS = ("debug", "info", "warning", "error", "critical")
_NO_FIELDS: Mapping[str, object] = MappingProxyType({})
_context: ContextVar[Mapping[str, object]] = ContextVar("log_context", default=_NO_FIELDS)
_NEEDS_QUOTES = re.compile(r'[\s="]')


def fields(**facts: object) -> dict[str, object]:
    """Return `extra=` for a logging call: these facts stand on its line behind those of the context."""
    return {"fields": facts}


@contextmanager
def log_context(**facts: object) -> Iterator[None]:
    """Put these facts on every line that this thread logs inside the block."""
    token = _context.set({**_context.get(), **facts})
    try:
        yield
    finally:
        _context.reset(token)


def start_logging(stream: TextIO, *, log_format: LogFormat = "auto", level: str = "info") -> None:
    """Send every log line of the process to `stream`, and nothing anywhere else; also what ends a thread.

    auto: text; with journald's priorities in front where systemd says that it reads this very stream.
    """
    handler = LogHandler(stream)
    if log_format == "json":
        handler.setFormatter(JsonFormatter())
    else:
        handler.setFormatter(TextFormatter(for_journal=stream_is_journal(stream, os.environ)))
    root = logging.getLogger()
    for old in list(root.handlers):
        root.removeHandler(old)
    root.addHandler(handler)
    set_level(level)
    threading.excepthook = log_dead_thread
    # Below these, libraries report every job run and every packet.
    for noisy, least in (("apscheduler", logging.WARNING), ("paramiko", logging.WARNING), ("libav", logging.ERROR)):
        logging.getLogger(noisy).setLevel(least)


def log_dead_thread(arguments: threading.ExceptHookArgs) -> None:
    """Log what ended a thread with its traceback, as a boundary would; `threading.excepthook` prints it uncounted."""
    if arguments.exc_value is not None and not isinstance(arguments.exc_value, SystemExit):
        name = arguments.thread.name if arguments.thread is not None else "a thread"
        log_unforeseen("thread", f"thread {name} died", arguments.exc_value)


def set_level(level: str) -> None:
    """Write lines from this level on; debug, info, warning or error."""
    logging.getLogger().setLevel(level.upper())


def stream_is_journal(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Say whether journald reads `stream`: $JOURNAL_STREAM holds its device and inode (systemd.exec(5))."""
    try:
        status = os.fstat(stream.fileno())
    except (OSError, ValueError):
        return False
    return environ.get("JOURNAL_STREAM") == f"{status.st_dev}:{status.st_ino}"


@dataclass
class _Recurring:
    """An error that nobody foresaw, at one place of the code in one unit."""

    last_s: float
    written_s: float
    unwritten: int = 0
    """How often it came since it was written."""


class LogHandler(logging.StreamHandler[TextIO]):
    """Writes every record to a stream. A loop or a server that meets the same error again and again, each second
    perhaps, does not fill the disk with it: its traceback is written once, then one line a minute says how often."""

    RECURRING = ("thread", "request")
    """Boundaries whose unit is tried for ever. A job or a round ends, and each is written whole."""
    SAME_TROUBLE_S = 3600.0
    """An error that did not come for so long is written whole again."""
    LINE_EVERY_S = 60.0
    KNOWN_MAX = 1000
    """So many places of the code never recur at once; beyond that all are forgotten."""

    def __init__(self, stream: TextIO, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        super().__init__(stream)
        self._monotonic = monotonic
        self._known: dict[tuple[object, ...], _Recurring] = {}
        """Used under the handler's own lock, which whoever logs holds."""

    def emit(self, record: logging.LogRecord) -> None:
        boundary = getattr(record, "fields", _NO_FIELDS).get("boundary")
        shown = self._shortened(record) if boundary in self.RECURRING and record.exc_info else record
        if shown is not None:
            super().emit(shown)

    def _shortened(self, record: logging.LogRecord) -> logging.LogRecord | None:
        """Return what is written of an error that may recur; None where it is counted alone."""
        key, now_s = _place_of(record), self._monotonic()
        known = self._known.get(key)
        if known is None or now_s - known.last_s > self.SAME_TROUBLE_S:
            if len(self._known) >= self.KNOWN_MAX:
                self._known.clear()
            self._known[key] = _Recurring(now_s, now_s)
            return record
        known.last_s = now_s
        known.unwritten += 1
        if now_s - known.written_s < self.LINE_EVERY_S:
            return None
        shown = copy.copy(record)
        shown.exc_info = shown.exc_text = None
        shown.__dict__["fields"] = {**record.__dict__["fields"], "times": known.unwritten}
        known.written_s, known.unwritten = now_s, 0
        return shown


def _place_of(record: logging.LogRecord) -> tuple[object, ...]:
    """Return the unit, type and line of code of the error that a record is about."""
    kind, _, trace = record.exc_info or (None, None, None)
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = (trace.tb_frame.f_code.co_filename, trace.tb_lineno) if trace is not None else ()
    return getattr(record, "unit", ""), kind, *where


class TextFormatter(logging.Formatter):
    """One line a record: time, level, message, key=value. Tracebacks follow on lines of their own."""

    def __init__(self, *, for_journal: bool) -> None:
        super().__init__()
        self._for_journal = for_journal

    def format(self, record: logging.LogRecord) -> str:
        parts = [escaped(record.getMessage())]
        parts += [f"{key}={_value_text(value)}" for key, value in record_fields(record).items()]
        lines = [" ".join(parts), *(escaped(line) for line in _traceback_lines(record))]
        if self._for_journal:
            priority = next((number for least, number in SYSLOG_PRIORITIES if record.levelno >= least), 7)
            return "\n".join(f"<{priority}>{line}" for line in lines)
        lines[0] = f"{_time_text(record)} {record.levelname} {lines[0]}"
        return "\n".join(lines)


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, message, logger, the fields, and exception where there is one."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": _time_text(record),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            "logger": record.name,
        }
        for key, value in record_fields(record).items():
            line[f"{key}_" if key in line else key] = value
        trace = _traceback_lines(record)
        if trace:
            line["exception"] = "\n".join(trace)
        return json.dumps(line, default=str)


class LineCounter(logging.Handler):
    """Counts log lines: the source of dfld_log_messages_total and of dfld_unforeseen_errors_total."""

    def __init__(self, on_level: Callable[[str], None], on_boundary: Callable[[str], None]) -> None:
        """`on_level` gets the level of every line, `on_boundary` the boundary of each that `core.boundary` wrote."""
        super().__init__()
        self._on_level = on_level
        self._on_boundary = on_boundary

    def emit(self, record: logging.LogRecord) -> None:
        name = record.levelname.lower()
        self._on_level(name if name in LEVELS else "info")
        boundary = getattr(record, "fields", _NO_FIELDS).get("boundary")
        if boundary is not None:
            self._on_boundary(str(boundary))


def record_fields(record: logging.LogRecord) -> dict[str, object]:
    """Return the facts on a record: those of the thread's context, then its own; None is left out."""
    own = getattr(record, "fields", _NO_FIELDS)
    return {key: value for key, value in {**_context.get(), **own}.items() if value is not None}


def _traceback_lines(record: logging.LogRecord) -> list[str]:
    if not record.exc_info or record.exc_info[0] is None:
        return []
    return "".join(traceback.format_exception(*record.exc_info)).rstrip("\n").split("\n")


def _time_text(record: logging.LogRecord) -> str:
    moment = datetime.fromtimestamp(record.created, UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{int(record.msecs):03d}Z"


def _flat(value: object) -> str:
    """Return a value as text: a table as `decode:1.5,scout:0.2`, numbers with six digits."""
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, Mapping):
        return ",".join(f"{key}:{_flat(part)}" for key, part in value.items())
    if isinstance(value, (list, tuple)):
        return ",".join(map(_flat, value))
    return str(value)


def _value_text(value: object) -> str:
    text = escaped(_flat(value))
    if text and not _NEEDS_QUOTES.search(text):
        return text
    quoted = text.replace('"', '\\"')
    return f'"{quoted}"'
