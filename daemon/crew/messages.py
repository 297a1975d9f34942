"""What the service and a worker say to each other: JSON objects, one a line, of limited length.

Nothing in a message means something on one side alone (no file descriptors, no pickles), so a worker may sit at the
other end of a connection. Each message says which version of this list it is of; those about a job carry its number and
its attempt, and what is said of an attempt that another one has followed is refused.

    service → worker                          worker → service
    order    a job to do: kind, request       ready      up, and waiting
    begin    from the start, or from here     readable   what it works on opens
    ack      the commit is stored             opened     models are loaded; `basis` = what decides the outcome
    refuse   the attempt is over              progress   how far it is
    stop     end the piece in hand            commit     a finished piece
                                              done       the result
                                              failed     why not
    piece    a part of what the next order, begin, commit or done says

    order → readable → opened → begin → progress… (commit → ack)… → done | failed
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from typing import IO, Any

from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import Failure, Piece
from engine.types import Progress

VERSION = 2
"""Of this list. 1 was a dfld whose messages had no version, and knew no kind of job but extraction."""
MESSAGE_BYTES_MAX = 64 << 20
"""The largest message is a commit's carried state; anything longer is no message of ours."""

Message = dict[str, Any]


@dataclass(frozen=True)
class Task:
    """Which job a message is about, and which attempt at it."""

    job: int
    attempt: int


def message_bytes(message: Message) -> bytes:
    """Return one message as it travels."""
    return json.dumps({"version": VERSION, **message}, separators=(",", ":")).encode("ascii") + b"\n"


def write_message(stream: IO[bytes], message: Message) -> None:
    """Write one message and flush. Raise OSError when the other side is gone."""
    stream.write(message_bytes(message))
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """Read one message; None at the end. Raise WorkerError for anything that is not one, or is of another version."""
    line = stream.readline(MESSAGE_BYTES_MAX + 1)
    if not line:
        return None
    if len(line) > MESSAGE_BYTES_MAX:
        raise WorkerError(f"a message is longer than {MESSAGE_BYTES_MAX} bytes; the worker is replaced")
    if not line.endswith(b"\n"):
        return None  # cut off by a death in mid-sentence
    try:
        message = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise WorkerError(f"not a message: {line[:80]!r}; the worker is replaced") from problem
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise WorkerError(f"not a message: {line[:80]!r}; the worker is replaced")
    if message.get("version") != VERSION:
        found = message.get("version")
        raise WorkerError(f"a message of version {found!r}, expected {VERSION}; the worker is replaced")
    return message


def about(task: Task, message_type: str, /, **values: object) -> Message:
    """Return a message about a job."""
    return {"type": message_type, **asdict(task), **values}


def in_pieces(task: Task, pieces: Iterable[Piece], closing: Message) -> Iterator[Message]:
    """Yield a value piece by piece, and the message that says what it was."""
    for piece in pieces:
        yield about(task, "piece", value=piece)
    yield closing


def is_about(message: Message, task: Task) -> bool:
    """Say whether a message is about this attempt at this job."""
    return (message.get("job"), message.get("attempt")) == (task.job, task.attempt)


def task_of(message: Message) -> Task:
    return Task(int(message["job"]), int(message["attempt"]))


def progress_message(task: Task, progress: Progress) -> Message:
    return about(task, "progress", **asdict(progress))


def progress_of(message: Message) -> Progress:
    return Progress(**{one.name: message[one.name] for one in fields(Progress)})


def failed_message(task: Task, failure: Failure) -> Message:
    return about(task, "failed", **asdict(failure))


def failure_of(message: Message) -> Failure:
    return Failure(**{one.name: message[one.name] for one in fields(Failure)})
