"""What the service and a worker say to each other survives the pipe; what is no message is refused."""

from __future__ import annotations

import io
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.crew import messages as worker_messages
from daemon.crew.messages import (
    Failure,
    Order,
    begin_messages,
    commit_messages,
    commit_of,
    failed_message,
    failure_of,
    order_message,
    order_of,
    progress_message,
    progress_of,
    read_message,
    records_of,
    resume_of_message,
    revised_of,
    write_message,
)
from daemon.errors import WorkerError
from engine.types import Commit, Counts, Cursor, FaceRecord, Progress, Resume

ORDER = Order(
    job=7,
    source="/in/\udcff clip.mp4",
    workspace="/ws",
    role="dst",
    slug="clip",
    person="alice",
    references=("/a.jpg", "/b.jpg"),
    negatives=(),
    backend="dlib",
    model_root="/models",
    model_pack="buffalo_l",
    settings={"output_size": 512, "similarity_threshold": None},
    notes={"consent": "ja, gerne – ü"},
    start_s=1.5,
)


def face(frame: int) -> FaceRecord:
    return FaceRecord(frame, None, 1, (0.1, 1 / 3, 2.5, -7.0), 0.9, None, True, "accepted", f"{frame}.jpg", track=3)


def over_the_pipe(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    stream = io.BytesIO()
    for message in messages:
        write_message(stream, message)
    stream.seek(0)
    found = []
    while (message := read_message(stream)) is not None:
        found.append(message)
    return found


def test_an_order_arrives_as_it_was_sent_whatever_the_file_is_called() -> None:
    assert order_of(over_the_pipe(order_message(ORDER))[0]) == ORDER


def test_a_commit_of_many_faces_arrives_in_several_messages_and_whole() -> None:
    commit = Commit(Cursor(9, 360), tuple(face(number) for number in range(1201)), Counts(9, 9, 0), "carry\nover")
    *parts, last = over_the_pipe(*commit_messages(commit))
    assert len(parts) == 3
    assert commit_of(last, [one for part in parts for one in records_of(part)]) == commit


def test_faces_that_ended_otherwise_arrive_with_their_places() -> None:
    revised = tuple((2 * place, face(place)) for place in range(1201))
    commit = Commit(Cursor(9, 360), (), Counts(9, 9, 0), "carry", revised)
    *parts, last = over_the_pipe(*commit_messages(commit))
    assert len(parts) == 3
    assert commit_of(last, (), [one for part in parts for one in revised_of(part)]) == commit


@pytest.mark.parametrize("resume", [None, Resume(Cursor(9, None), (face(1), face(2)), Counts(9, 9, 0), "carry")])
def test_a_begin_says_where_from(resume: Resume | None) -> None:
    *parts, last = over_the_pipe(*begin_messages(resume))
    assert resume_of_message(last, [one for part in parts for one in records_of(part)]) == resume


def test_progress_and_failure_arrive_as_they_were_sent() -> None:
    progress = Progress(5, None, 3, 2, {"decode": 0.25}, {"decoded": 0.125}, 7)
    failure = Failure("passing", "gpu", "out of memory", "wait")
    told = over_the_pipe(progress_message(progress), failed_message(failure))
    assert progress_of(told[0]) == progress
    assert failure_of(told[1]) == failure


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused_or_the_end(content: bytes) -> None:
    try:
        message = read_message(io.BytesIO(content))
    except WorkerError:
        return
    assert message is None or isinstance(message["type"], str)


@pytest.mark.parametrize("line", [b"nonsense\n", b"[1]\n", b'{"no": "type"}\n', b'{"type": 5}\n', b"\xff\xfe\n"])
def test_a_line_that_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(WorkerError, match="not a message"):
        read_message(io.BytesIO(line))


def test_a_message_without_end_is_refused_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_messages, "MESSAGE_BYTES_MAX", 1000)
    with pytest.raises(WorkerError, match="longer than 1000 bytes"):
        read_message(io.BytesIO(b"x" * 5000))


def test_a_message_cut_off_by_a_death_is_the_end() -> None:
    assert read_message(io.BytesIO(b'{"type": "commit"')) is None
