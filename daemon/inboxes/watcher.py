"""watchdog events of one inbox: hints about where to scan sooner, never the truth.

Each inbox has an observer of its own, so that one that is dropped and made anew touches no other. Everything that
can mean that something changed is a hint (created, closed, moved to, attributes, modified): a file moved in is only
`created`, a rename inside is only `moved`, rsync's last touch is only `attrib`. The lists of watchdog's event
filters have gaps, so none is used.
"""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Callable
from pathlib import Path

from watchdog.events import (
    FileClosedNoWriteEvent,
    FileOpenedEvent,
    FileSystemEvent,
    FileSystemEventHandler,
)
from watchdog.observers.inotify import InotifyObserver

from core.boundary import boundary

OWN_READS = (FileOpenedEvent, FileClosedNoWriteEvent)
"""Reading changes nothing, and dfld's own reading would wake it again."""
OVERFLOW_LOGGER = "watchdog.observers.inotify_c"
OVERFLOW_TEXT = "queue overflowed"
"""watchdog 7.1 reports an overflow of the kernel's queue to this logger alone."""
EMITTER_LOGGER = "watchdog.observers.inotify"
EMITTER_STOPPED_TEXT = "queue_events() called when the thread is inactive"
"""What an emitter logs as an error each time that it is stopped."""
WATCHED_TWICE_TEXT = "Callback with id"
"""What watchdog warns of where folders are made inside each other faster than it notices the first: it watches the
inner one twice, to the same effect."""
HINTS_MAX = 10_000
"""More hints than this between two inspections, and a full scan is cheaper."""


class Hints:
    """Paths to inspect, gathered between two inspections. Any thread may add; the inbox's thread takes."""

    def __init__(self) -> None:
        self.wake = threading.Event()
        self._lock = threading.Lock()
        self._paths: set[str] = set()
        self._full: str = ""

    def add(self, path: str) -> None:
        with self._lock:
            if not self._full:
                self._paths.add(path)
                if len(self._paths) > HINTS_MAX:
                    self._paths.clear()
                    self._full = "many_events"
        self.wake.set()

    def ask_full_scan(self, trigger: str) -> None:
        """Ask for a scan of the whole inbox; `trigger` is one of the fixed words of the metrics."""
        with self._lock:
            self._full = self._full or trigger
            self._paths.clear()
        self.wake.set()

    def take(self) -> tuple[frozenset[str], str]:
        """Return the paths to inspect and what triggers a full scan ("" = nothing does), and forget both."""
        with self._lock:
            taken = frozenset(self._paths), self._full
            self._paths.clear()
            self._full = ""
        return taken


class Watcher:
    """The armed watch on one folder. Made and stopped by the inbox's thread."""

    def __init__(self, root: Path, hints: Hints, *, recursive: bool, on_overflow: Callable[[], None]) -> None:
        """Arm the watch. Raise OSError when the folder cannot be watched (gone, or no watches left)."""
        self.handler = _HintHandler(root, hints)
        self._observer = InotifyObserver()
        self._observer.schedule(self.handler, str(root), recursive=recursive)
        self._overflow = _OverflowListener(getattr(self._observer, "_inotify_fd", None), on_overflow)
        logging.getLogger(OVERFLOW_LOGGER).addHandler(self._overflow)
        logging.getLogger(EMITTER_LOGGER).addFilter(_is_worth_a_line)
        # Where warnings are errors, this one would end the thread that reads events.
        warnings.filterwarnings("ignore", WATCHED_TWICE_TEXT, RuntimeWarning, r"watchdog\.")
        try:
            self._observer.start()
        except OSError:
            self.stop()
            raise

    def is_healthy(self) -> bool:
        """Say whether every thread behind the events lives; watchdog itself never says."""
        emitters = list(self._observer.emitters)
        reader = getattr(self._observer, "_inotify_fd", None)
        return (
            self._observer.is_alive()
            and bool(emitters)
            and all(emitter.is_alive() for emitter in emitters)
            and (reader is None or reader.is_alive())
        )

    def stop(self) -> None:
        logging.getLogger(OVERFLOW_LOGGER).removeHandler(self._overflow)
        self._observer.stop()
        if self._observer.ident is not None:
            self._observer.join()
        else:
            reader = getattr(self._observer, "_inotify_fd", None)
            if reader is not None:
                reader.stop()
                reader.join()


class _HintHandler(FileSystemEventHandler):
    """Turns events into hints. Runs in the observer's thread, which dies of anything that is raised here."""

    def __init__(self, root: Path, hints: Hints) -> None:
        self._prefix = f"{root}/"
        self._hints = hints
        self.failures = 0

    def dispatch(self, event: FileSystemEvent) -> None:
        with boundary("thread", "the watch on an inbox", self._failed, folder=self._prefix):
            if isinstance(event, OWN_READS):
                return
            for path in (event.src_path, event.dest_path):
                text = path.decode(errors="surrogateescape") if isinstance(path, bytes) else path
                if text.startswith(self._prefix):
                    self._hints.add(text.removeprefix(self._prefix))

    def _failed(self, _error: Exception) -> None:
        """A scan makes up for the hint that was lost."""
        self.failures += 1
        self._hints.ask_full_scan("handler_failed")


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    return EMITTER_STOPPED_TEXT not in record.getMessage()


class _OverflowListener(logging.Handler):
    """Notices when watchdog logs that the kernel dropped events of this observer."""

    def __init__(self, reader: threading.Thread | None, on_overflow: Callable[[], None]) -> None:
        super().__init__(logging.WARNING)
        self._reader = reader
        self._on_overflow = on_overflow

    def emit(self, record: logging.LogRecord) -> None:
        mine = self._reader is None or record.thread == self._reader.ident
        if mine and OVERFLOW_TEXT in record.getMessage():
            self._on_overflow()
