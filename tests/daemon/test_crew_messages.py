"""What the service and a worker say to each other survives the pipe; what is no message is refused."""

from __future__ import annotations

import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.crew import messages as crew_messages
from daemon.crew.messages import (
    VERSION,
    Task,
    about,
    failed_message,
    failure_of,
    in_pieces,
    is_about,
    progress_message,
    progress_of,
    read_message,
    task_of,
    write_message,
)
from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import Codec, Failure
from daemon.jobs.kinds.extract import EXTRACT_CODECS, ExtractRequest
from engine.face_record import FaceRecord
from engine.types import Commit, Counts, Cursor, Progress, Resume

TASK = Task(7, 3)
REQUEST = ExtractRequest(
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


def travelled(codec: Codec[Any], value: Any) -> tuple[Any, int]:
    """Return a value as it arrives, and the number of its pieces."""
    *parts, closing = over_the_pipe(*in_pieces(TASK, codec.encode(value), about(TASK, "order")))
    assert closing["type"] == "order"
    assert all(is_about(one, TASK) for one in (*parts, closing))
    return codec.decode([one["value"] for one in parts]), len(parts)


def test_a_request_arrives_as_it_was_sent_whatever_the_file_is_called() -> None:
    assert travelled(EXTRACT_CODECS.request, REQUEST) == (REQUEST, 1)


def test_a_commit_of_many_faces_arrives_in_several_pieces_and_whole() -> None:
    commit = Commit(Cursor(9, 360), tuple(face(number) for number in range(1201)), Counts(9, 9, 0), "carry\nover")
    assert travelled(EXTRACT_CODECS.commit, commit) == (commit, 4)


def test_faces_that_ended_otherwise_arrive_with_their_places() -> None:
    revised = tuple((2 * place, face(place)) for place in range(1201))
    commit = Commit(Cursor(9, 360), (), Counts(9, 9, 0), "carry", revised)
    assert travelled(EXTRACT_CODECS.commit, commit) == (commit, 4)


def test_what_earlier_commits_left_says_where_from() -> None:
    resume = Resume(Cursor(9, None), (face(1), face(2)), Counts(9, 9, 0), "carry")
    assert travelled(EXTRACT_CODECS.resume, resume) == (resume, 2)


def test_progress_and_failure_arrive_as_they_were_sent() -> None:
    progress = Progress(5, None, 3, 2, {"decode": 0.25}, {"decoded": 0.125}, 7)
    failure = Failure("passing", "gpu", "out of memory", "wait")
    told = over_the_pipe(progress_message(TASK, progress), failed_message(TASK, failure))
    assert progress_of(told[0]) == progress
    assert failure_of(told[1]) == failure
    assert [task_of(one) for one in told] == [TASK, TASK]


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused_or_the_end(content: bytes) -> None:
    try:
        message = read_message(io.BytesIO(content))
    except WorkerError:
        return
    assert message is None or isinstance(message["type"], str)


@pytest.mark.parametrize(
    "line", [b"nonsense\n", b"[1]\n", b'{"no": "type"}\n', b'{"type": 5}\n', b"\xff\xfe\n", b"[" * 100_000 + b"\n"]
)
def test_a_line_that_is_no_message_is_refused(line: bytes) -> None:
    with pytest.raises(WorkerError, match="not a message"):
        read_message(io.BytesIO(line))


@pytest.mark.parametrize("version", [None, VERSION - 1, VERSION + 1, str(VERSION)])
def test_a_message_of_another_version_is_refused(version: object) -> None:
    line = json.dumps({"type": "ready", "version": version}).encode() + b"\n"
    with pytest.raises(WorkerError, match=f"expected {VERSION}"):
        read_message(io.BytesIO(line))


def test_a_message_without_end_is_refused_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(crew_messages, "MESSAGE_BYTES_MAX", 1000)
    with pytest.raises(WorkerError, match="longer than 1000 bytes"):
        read_message(io.BytesIO(b"x" * 5000))


def test_a_message_cut_off_by_a_death_is_the_end() -> None:
    assert read_message(io.BytesIO(b'{"type": "commit"')) is None
