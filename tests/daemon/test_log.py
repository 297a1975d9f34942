"""One event, one line, facts as fields; nothing in a file name breaks that."""

from __future__ import annotations

import io
import json
import logging
import os
import threading
from collections.abc import Callable, Iterator

import pytest

from core.boundary import boundary
from core.text import escaped
from daemon.log import LineCounter, LogHandler, TextFormatter, fields, log_context, start_logging, stream_is_journal

log = logging.getLogger("daemon.story")


@pytest.fixture(autouse=True)
def root_logger() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, hook = list(root.handlers), root.level, threading.excepthook
    yield
    root.handlers, root.level = handlers, level
    threading.excepthook = hook


def test_a_line_holds_time_level_message_and_fields_of_the_context() -> None:
    stream = io.StringIO()
    start_logging(stream)
    with log_context(job=12, inbox="alice"):
        log.info("extraction finished", extra=fields(faces=310, seconds=41.25, person="Ann B"))
    log.info("idle")
    first, second = stream.getvalue().splitlines()
    assert first.endswith(' INFO extraction finished job=12 inbox=alice faces=310 seconds=41.25 person="Ann B"')
    assert second.endswith("INFO idle")


def test_tables_and_numbers_stand_on_a_line_as_a_person_reads_them() -> None:
    stream = io.StringIO()
    start_logging(stream)
    log.info("done", extra=fields(stage_seconds={"decode": 1.5, "scout": 0.1 + 0.2}, share=1 / 3, several=["a", 1 / 3]))
    (line,) = stream.getvalue().splitlines()
    assert line.endswith("done stage_seconds=decode:1.5,scout:0.3 share=0.333333 several=a,0.333333")


def test_a_hostile_file_name_cannot_forge_a_line_or_steer_a_terminal() -> None:
    stream = io.StringIO()
    start_logging(stream)
    name = "clip\n2026-01-01 ERROR gone\x1b[2J\u202e\u2028\udcff.mp4"
    log.info("found %s", name, extra=fields(file=name))
    (line,) = stream.getvalue().splitlines()
    assert line.isprintable()
    assert "\\x0a" in line
    assert "\\x1b" in line


def test_json_lines_can_be_read_back() -> None:
    stream = io.StringIO()
    start_logging(stream, log_format="json")
    with log_context(job=3):
        try:
            raise OSError("no space\nleft")
        except OSError:
            log.exception("writing failed", extra=fields(level="odd", file="a\nb"))
    line = json.loads(stream.getvalue())
    assert stream.getvalue().count("\n") == 1
    assert (line["message"], line["level"], line["job"], line["file"]) == ("writing failed", "error", 3, "a\nb")
    assert line["level_"] == "odd"
    assert "no space" in line["exception"]


def test_journald_gets_a_priority_on_every_line(monkeypatch: pytest.MonkeyPatch) -> None:
    read_end, write_end = os.pipe()
    status = os.fstat(write_end)
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino}")
    with os.fdopen(write_end, "w") as stream:
        start_logging(stream, level="debug")
        log.debug("looking")
        log.warning("slow")
        try:
            raise OSError("broken")
        except OSError:
            log.exception("failed")
    with os.fdopen(read_end) as lines:
        text = lines.read().splitlines()
    assert text[:2] == ["<7>looking", "<4>slow"]
    assert all(line.startswith("<3>") for line in text[2:])
    assert len(text) > 3


def test_another_stream_than_the_journals_gets_no_priorities() -> None:
    read_end, write_end = os.pipe()
    with os.fdopen(write_end, "w") as stream, os.fdopen(read_end):
        assert not stream_is_journal(stream, {"JOURNAL_STREAM": "1:2"})
        assert not stream_is_journal(stream, {})
    assert not stream_is_journal(io.StringIO(), {"JOURNAL_STREAM": "1:2"})


def test_levels_and_boundaries_are_counted() -> None:
    levels: list[str] = []
    boundaries: list[str] = []
    counter = LineCounter(levels.append, boundaries.append)
    logging.getLogger().addHandler(counter)
    log.error("one")
    log.warning("two")
    with boundary("request", "GET /metrics"):
        raise ValueError
    assert levels == ["error", "warning", "error"]
    assert boundaries == ["request"]


@pytest.fixture
def loop_log() -> Iterator[tuple[io.StringIO, Callable[[float], None]]]:
    """What is written of the errors of a loop, and how to let it meet one at a time."""
    stream, now = io.StringIO(), [0.0]
    handler = LogHandler(stream, monotonic=lambda: now[0])
    handler.setFormatter(TextFormatter(for_journal=False))
    root = logging.getLogger()
    root.addHandler(handler)

    def fail_at(time_s: float, unit: str = "the watchdog") -> None:
        now[0] = time_s
        with boundary("job" if unit.startswith("job") else "thread", unit):
            raise ValueError(f"at {time_s}")

    yield stream, fail_at
    root.removeHandler(handler)


def test_an_error_that_a_loop_meets_each_second_has_one_traceback_and_then_a_line_a_minute(
    loop_log: tuple[io.StringIO, Callable[[float], None]],
) -> None:
    stream, fail_at = loop_log
    counted: list[str] = []
    logging.getLogger().addHandler(LineCounter(lambda _level: None, counted.append))
    for second in range(180):
        fail_at(second)
    text = stream.getvalue()
    assert text.count("Traceback") == 1
    lines = [line for line in text.splitlines() if "nobody foresaw" in line]
    assert [line.rpartition(" times=")[2] for line in lines[1:]] == ["60", "60"]
    assert len(counted) == 180, "the metric counts each"


def test_an_error_that_comes_back_after_a_long_time_or_in_another_unit_has_its_traceback(
    loop_log: tuple[io.StringIO, Callable[[float], None]],
) -> None:
    stream, fail_at = loop_log
    fail_at(0)
    fail_at(1, "the heartbeat")
    fail_at(LogHandler.SAME_TROUBLE_S + 1)
    assert stream.getvalue().count("Traceback") == 3


def test_every_job_that_fails_has_its_traceback(loop_log: tuple[io.StringIO, Callable[[float], None]]) -> None:
    stream, fail_at = loop_log
    for number in (1, 2, 2):
        fail_at(0, f"job {number}")
    assert stream.getvalue().count("Traceback") == 3


def test_places_of_errors_are_kept_in_bounds(
    loop_log: tuple[io.StringIO, Callable[[float], None]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stream, fail_at = loop_log
    monkeypatch.setattr(LogHandler, "KNOWN_MAX", 2)
    for number in (1, 2, 3, 1):
        fail_at(0, f"loop {number}")
    assert stream.getvalue().count("Traceback") == 4, "forgotten with the others"


def test_plain_text_is_left_alone() -> None:
    assert escaped("Ärger – 日本.mp4") == "Ärger – 日本.mp4"


def test_what_ends_a_thread_is_logged_with_its_traceback_and_counted() -> None:
    stream, counted = io.StringIO(), []
    start_logging(stream)
    logging.getLogger().addHandler(LineCounter(lambda _level: None, counted.append))

    def fails() -> None:
        raise MemoryError("on purpose")

    thread = threading.Thread(target=fails, name="inbox-alice")
    thread.start()
    thread.join()
    assert counted == ["thread"]
    assert "thread inbox-alice died: an error that nobody foresaw: MemoryError: on purpose" in stream.getvalue()
    assert "Traceback (most recent call last)" in stream.getvalue()
