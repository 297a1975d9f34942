"""File events as hints: every way to arrive gives one, nothing kills the threads, an overflow is heard."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from watchdog.events import FileCreatedEvent

from daemon.arrivals.writers import open_for_writing
from daemon.inboxes.watcher import HINTS_MAX, OVERFLOW_LOGGER, Hints, Watcher
from tests.daemon_rig import wait_until


@pytest.fixture
def hints() -> Hints:
    return Hints()


@pytest.fixture
def overflows() -> list[str]:
    return []


@pytest.fixture
def watcher(tmp_path: Path, hints: Hints, overflows: list[str]) -> Iterator[Watcher]:
    (tmp_path / "inbox").mkdir()
    one = Watcher(tmp_path / "inbox", hints, recursive=True, on_overflow=lambda: overflows.append("!"))
    yield one
    one.stop()


def expect(hints: Hints, path: str) -> None:
    seen: set[str] = set()

    def arrived() -> bool:
        seen.update(hints.take()[0])
        return path in seen

    wait_until(arrived, lambda: f"no hint for {path}, only {seen}", 10)


def test_folders_made_inside_each_other_at_once_leave_the_watch_whole(
    watcher: Watcher, hints: Hints, tmp_path: Path
) -> None:
    for number in range(100):
        (tmp_path / "inbox" / str(number) / "a" / "b" / "c").mkdir(parents=True)
    (tmp_path / "inbox" / "last.mp4").write_bytes(b"x")
    expect(hints, "last.mp4")
    assert watcher.is_healthy()


def test_created_moved_linked_and_renamed_files_are_hints(watcher: Watcher, hints: Hints, tmp_path: Path) -> None:
    inbox = tmp_path / "inbox"
    (inbox / "written.mp4").write_bytes(b"x")
    expect(hints, "written.mp4")
    (tmp_path / "outside.mp4").write_bytes(b"x")
    (inbox / "linked.mp4").hardlink_to(tmp_path / "outside.mp4")
    expect(hints, "linked.mp4")
    (tmp_path / "outside.mp4").rename(inbox / "moved.mp4")
    expect(hints, "moved.mp4")
    (inbox / "moved.mp4").rename(inbox / "renamed.mp4")
    expect(hints, "renamed.mp4")
    os.utime(inbox / "renamed.mp4", (1, 1))
    expect(hints, "renamed.mp4")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "inner.mp4").write_bytes(b"x")
    (tmp_path / "folder").rename(inbox / "folder")
    expect(hints, "folder")


def test_reading_a_file_is_no_hint(watcher: Watcher, hints: Hints, tmp_path: Path) -> None:
    path = tmp_path / "inbox" / "a.mp4"
    path.write_bytes(b"x")
    # Events come in order: once this one is here, all that writing the first gave is here too.
    (tmp_path / "inbox" / "between.mp4").write_bytes(b"x")
    expect(hints, "between.mp4")
    path.read_bytes()
    (tmp_path / "inbox" / "later.mp4").write_bytes(b"x")
    seen: set[str] = set()
    wait_until(lambda: seen.update(hints.take()[0]) or "later.mp4" in seen, "no hint", 10)  # type: ignore[func-returns-value]
    assert "a.mp4" not in seen


def test_an_event_that_cannot_be_handled_asks_for_a_scan_and_kills_nothing(
    watcher: Watcher, hints: Hints, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(_path: str) -> None:
        raise RuntimeError("on purpose")

    monkeypatch.setattr(hints, "add", broken)
    (tmp_path / "inbox" / "a.mp4").write_bytes(b"x")
    wait_until(lambda: hints.take()[1] == "handler_failed", "no scan was asked for", 10)
    assert watcher.is_healthy()
    assert watcher.handler.failures > 0


def test_a_watch_whose_folder_is_deleted_is_not_healthy(watcher: Watcher, tmp_path: Path) -> None:
    assert watcher.is_healthy()
    (tmp_path / "inbox").rmdir()
    wait_until(lambda: not watcher.is_healthy(), "still healthy", 10)


def test_an_overflow_of_another_observer_is_not_ours(watcher: Watcher, overflows: list[str]) -> None:
    logger = logging.getLogger(OVERFLOW_LOGGER)
    reader: Any = watcher._observer._inotify_fd  # type: ignore[attr-defined]
    text = "Inotify queue overflowed; filesystem events were lost"
    logger.warning(text)
    assert overflows == []
    record = logger.makeRecord(logger.name, logging.WARNING, "", 0, text, (), None)
    record.thread = reader.ident
    logger.handle(record)
    assert overflows == ["!"]


def test_very_many_hints_become_one_scan(hints: Hints) -> None:
    for number in range(HINTS_MAX + 5):
        hints.add(str(number))
    assert hints.take() == (frozenset(), "many_events")
    assert hints.take() == (frozenset(), "")


def test_a_folder_that_is_not_there_cannot_be_watched_and_leaves_no_thread(tmp_path: Path, hints: Hints) -> None:
    before = threading.active_count()
    with pytest.raises(OSError, match="No such file"):
        Watcher(tmp_path / "nothing", hints, recursive=True, on_overflow=lambda: None)
    wait_until(lambda: threading.active_count() == before, "a thread is left", 10)


def test_a_dispatched_event_outside_the_folder_is_no_hint(watcher: Watcher, hints: Hints, tmp_path: Path) -> None:
    hints.take()
    watcher.handler.dispatch(FileCreatedEvent(str(tmp_path / "inbox-2" / "a.mp4")))
    assert hints.take()[0] == frozenset()


def test_only_those_who_may_write_count_as_writers(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("read", "written", "appended", "closed")]
    for path in paths:
        path.write_bytes(b"x")
    files = {path.name: (path.stat().st_dev, path.stat().st_ino) for path in paths}
    with paths[0].open("rb"), paths[1].open("r+b"), paths[2].open("ab"):
        assert open_for_writing(set(files.values())) == {files["written"], files["appended"]}
    assert open_for_writing(set(files.values())) == frozenset()
