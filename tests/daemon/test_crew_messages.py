"""What the service and a worker say to each other survives the pipe; what is no message is refused."""

from __future__ import annotations

import io
import json
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from daemon.crew import messages as crew_messages
from daemon.crew.messages import (
    VERSION,
    AboutTask,
    Ack,
    Begin,
    CommitMade,
    JobDone,
    JobFailed,
    Message,
    MessageReader,
    Opened,
    Order,
    PieceSent,
    ProgressMade,
    Readable,
    Ready,
    Refuse,
    Stop,
    Task,
    in_pieces,
    message_bytes,
    read_message,
    write_message,
)
from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import Codec, Failure
from daemon.jobs.kinds.extract import EXTRACT_CODECS, ExtractRequest
from engine.face_record import FaceRecord
from engine.types import Commit, Counts, Cursor, ExtractSettings, Progress, Resume

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
    settings=ExtractSettings(output_size=256, face_type="head"),
    notes={"consent": "ja, gerne – ü"},
    start_s=1.5,
)


def face(frame: int) -> FaceRecord:
    return FaceRecord(frame, None, 1, (0.1, 1 / 3, 2.5, -7.0), 0.9, None, True, "accepted", f"{frame}.jpg", track=3)


def over_the_pipe(*messages: Message) -> list[Message]:
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
    *parts, closing = over_the_pipe(*in_pieces(TASK, codec.encode(value), Order(TASK, "extract")))
    assert closing == Order(TASK, "extract")
    assert all(isinstance(one, PieceSent) and one.task == TASK for one in parts)
    return codec.decode([one.value for one in parts if isinstance(one, PieceSent)]), len(parts)


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


PROGRESS = Progress(5, None, 3, 2, {"decode": 0.25}, {"decoded": 0.125}, 7)
FAILURE = Failure("passing", "gpu", "out of memory", "wait")
MESSAGES: tuple[Message, ...] = (
    PieceSent(TASK, {"a": [1, None]}),
    Order(TASK, "verify"),
    Begin(TASK, resumes=True),
    Ack(TASK),
    Refuse(TASK),
    Stop(TASK),
    Ready(17),
    Readable(TASK),
    Opened(TASK, "b" * 64),
    ProgressMade(TASK, PROGRESS),
    CommitMade(TASK),
    JobDone(TASK),
    JobFailed(TASK, FAILURE),
)


def test_every_message_arrives_as_it_was_sent() -> None:
    assert over_the_pipe(*MESSAGES) == list(MESSAGES)
    assert {type(one) for one in MESSAGES} == set(get_args(Message))


@pytest.mark.parametrize("message", MESSAGES, ids=lambda one: type(one).__name__)
def test_a_message_with_a_value_missing_or_of_another_type_is_a_worker_error(message: Message) -> None:
    whole = json.loads(message_bytes(message))
    for name in sorted(set(whole) - {"version", "type"}):
        lacking = {one: value for one, value in whole.items() if one != name}
        for values in (lacking, {**whole, name: [1]}, {**whole, name: 1.5}):
            with pytest.raises(WorkerError, match=f"has {name} = .*the worker is replaced"):
                read_message(io.BytesIO(json.dumps(values).encode() + b"\n"))


@pytest.mark.parametrize("seconds", [float("inf"), float("nan"), 10**400])
def test_a_number_that_no_metric_can_be_raised_by_is_a_worker_error(seconds: float) -> None:
    values = {**json.loads(message_bytes(ProgressMade(TASK, PROGRESS))), "stage_seconds": {"decode": seconds}}
    with pytest.raises(WorkerError, match=r"has stage_seconds = .*the worker is replaced"):
        read_message(io.BytesIO(json.dumps(values).encode() + b"\n"))


def test_a_whole_number_that_no_ledger_holds_is_a_worker_error() -> None:
    values = {**json.loads(message_bytes(ProgressMade(TASK, PROGRESS))), "frames_done": 2**63}
    with pytest.raises(WorkerError, match=r"has frames_done = 9223372036854775808"):
        read_message(io.BytesIO(json.dumps(values).encode() + b"\n"))


@pytest.mark.parametrize("pieces", [[], [{}], [{"cursor": 5}], [{"cursor": {"no": 1}, "records": [{}]}]])
def test_pieces_that_are_no_such_value_are_a_worker_error(pieces: list[dict[str, Any]]) -> None:
    for codec in (EXTRACT_CODECS.request, EXTRACT_CODECS.resume, EXTRACT_CODECS.commit, EXTRACT_CODECS.result):
        with pytest.raises(WorkerError, match="the worker is replaced"):
            codec.decode(pieces)


@given(st.binary(max_size=200))
def test_bytes_that_are_no_message_are_refused_or_the_end(content: bytes) -> None:
    try:
        message = read_message(io.BytesIO(content))
    except WorkerError:
        return
    assert message is None or isinstance(message, Ready | AboutTask)


@pytest.mark.parametrize(
    "line",
    [
        b"nonsense\n",
        b"[1]\n",
        b'{"no": "type"}\n',
        b'{"type": 5}\n',
        b'{"type": "dance", "version": 2}\n',
        b"\xff\xfe\n",
        b"[" * 100_000 + b"\n",
    ],
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


def test_pieces_that_never_become_a_commit_are_refused_at_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    line = message_bytes(PieceSent(TASK, {"a": "x" * 100}))
    monkeypatch.setattr(crew_messages, "PIECES_BYTES_MAX", 2 * len(line))
    progress, commit = message_bytes(ProgressMade(TASK, PROGRESS)), message_bytes(CommitMade(TASK))
    reader = MessageReader(io.BytesIO((line * 2 + commit) * 3 + line + progress + line + progress + line))
    for _ in range(13):
        assert reader.read() is not None, "each commit has the limit to itself"
    with pytest.raises(WorkerError, match=r"pieces .* longer than \d+ bytes; the worker is replaced"):
        reader.read()


def test_a_message_cut_off_by_a_death_is_the_end() -> None:
    assert read_message(io.BytesIO(b'{"type": "commit"')) is None
