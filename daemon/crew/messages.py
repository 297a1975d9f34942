"""What the service and a worker say to each other: JSON objects, one a line, of limited length.

Nothing in a message means something on one side of the pipe alone (no file descriptors, no pickles), so a worker
could as well sit at the other end of a connection.

    service → worker                          worker → service
    order    one video to extract             ready      up, and waiting
    begin    from the start, or from here     readable   the file opens
    records  faces of earlier commits         opened     models are loaded; `basis` = what makes its faces
    ack      the commit is stored             progress   how far it is
    stop     end the piece in hand            records    faces of the commit that follows
                                              revised    faces of earlier commits that ended otherwise
                                              commit     a finished piece
                                              done       the report
                                              failed     why not

    order → readable → opened → begin (records…) → progress… (records… revised… commit → ack)… → done | failed
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import IO, Any, Literal

from daemon.errors import WorkerError
from daemon.ledger.faces import face_record
from engine.types import Commit, Counts, Cursor, ExtractSettings, FaceRecord, Progress, Resume

MESSAGE_BYTES_MAX = 64 << 20
"""The largest message is a commit's carried state; anything longer is no message of ours."""
RECORDS_A_MESSAGE = 500

Message = dict[str, Any]
Revised = tuple[int, FaceRecord]
"""Place among all faces of the clip, and what became of that face in the end."""


@dataclass(frozen=True)
class Order:
    """Everything a worker needs to know to extract one clip."""

    job: int
    source: str
    workspace: str
    role: Literal["src", "dst"]
    slug: str
    person: str
    references: tuple[str, ...]
    negatives: tuple[str, ...]
    backend: str
    model_root: str
    model_pack: str
    settings: Mapping[str, Any]
    """Fields of engine.types.ExtractSettings."""
    other_age: tuple[str, ...] = ()
    allow_mixed: bool = False
    largest_face: bool = False
    source_within: tuple[str, ...] = ()
    """Folders that the source, or what it links to, must lie in."""
    references_within: tuple[str, ...] | None = None
    """Where the references must lie, when a sidecar chose them; None: the configuration did."""
    references_outside: tuple[str, ...] = ()
    """Where they must not lie, then."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Written into the extraction log."""
    start_s: float | None = None
    """Only frames from this time on."""
    end_s: float | None = None
    """Only frames before this time."""
    take_incomplete: bool = False
    """Work on a file whose header promises more than is there: waiting for the rest is over."""
    discard: str = ""
    """Name of an order to discard manual changes, carried out once; "" = they stay."""
    basis: str = ""
    """What made the faces of the commits before; "" where there are none."""

    def extract_settings(self) -> ExtractSettings:
        return ExtractSettings(**self.settings)


@dataclass(frozen=True)
class Failure:
    """Why a worker could not do an order, in terms of what should happen next."""

    outlook: Literal["passing", "file", "setup", "incomplete"]
    """passing: try again later; file: the file cannot be used; setup: nothing of the inbox can work before someone
    changes something; incomplete: the file may still be arriving."""
    reason: str
    """From the fixed list of `daemon.worker.failures`."""
    message: str
    hint: str = ""


def message_bytes(message: Message) -> bytes:
    """Return one message as it travels."""
    return json.dumps(message, separators=(",", ":")).encode("ascii") + b"\n"


def write_message(stream: IO[bytes], message: Message) -> None:
    """Write one message and flush. Raise OSError when the other side is gone."""
    stream.write(message_bytes(message))
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """Read one message; None at the end. Raise WorkerError for anything that is not one."""
    line = stream.readline(MESSAGE_BYTES_MAX + 1)
    if not line:
        return None
    if len(line) > MESSAGE_BYTES_MAX:
        raise WorkerError(f"a message is longer than {MESSAGE_BYTES_MAX} bytes; the worker is replaced")
    if not line.endswith(b"\n"):
        return None  # cut off by a death in mid-sentence
    try:
        message = json.loads(line)
    except ValueError as problem:
        raise WorkerError(f"not a message: {line[:80]!r}; the worker is replaced") from problem
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise WorkerError(f"not a message: {line[:80]!r}; the worker is replaced")
    return message


def order_message(order: Order) -> Message:
    return {"type": "order", **asdict(order)}


def order_of(message: Message) -> Order:
    values = {one.name: message[one.name] for one in fields(Order)}
    for group in ("references", "negatives", "other_age", "source_within", "references_outside"):
        values[group] = tuple(values[group])
    if values["references_within"] is not None:
        values["references_within"] = tuple(values["references_within"])
    return Order(**values)


def records_messages(records: Sequence[FaceRecord]) -> Iterator[Message]:
    """Yield the faces in messages of bounded size."""
    for start in range(0, len(records), RECORDS_A_MESSAGE):
        yield {"type": "records", "records": [asdict(one) for one in records[start : start + RECORDS_A_MESSAGE]]}


def records_of(message: Message) -> list[FaceRecord]:
    return [face_record(values) for values in message["records"]]


def begin_messages(resume: Resume | None) -> Iterator[Message]:
    """Yield the faces of earlier commits, then the word to begin."""
    if resume is None:
        yield {"type": "begin", "resume": None}
        return
    yield from records_messages(resume.records)
    state = {"cursor": asdict(resume.cursor), "counts": asdict(resume.counts), "carry": resume.carry}
    yield {"type": "begin", "resume": state}


def resume_of_message(message: Message, records: Sequence[FaceRecord]) -> Resume | None:
    state = message["resume"]
    if state is None:
        return None
    return Resume(Cursor(**state["cursor"]), tuple(records), Counts(**state["counts"]), state["carry"])


def revised_messages(revised: Sequence[Revised]) -> Iterator[Message]:
    """Yield the faces that ended otherwise, each with its place, in messages of bounded size."""
    for start in range(0, len(revised), RECORDS_A_MESSAGE):
        part = revised[start : start + RECORDS_A_MESSAGE]
        yield {"type": "revised", "faces": [[place, asdict(one)] for place, one in part]}


def revised_of(message: Message) -> list[Revised]:
    return [(int(place), face_record(values)) for place, values in message["faces"]]


def commit_messages(commit: Commit) -> Iterator[Message]:
    yield from records_messages(commit.records)
    yield from revised_messages(commit.revised)
    yield {
        "type": "commit",
        "cursor": asdict(commit.cursor),
        "counts": asdict(commit.counts),
        "carry": commit.carry,
    }


def commit_of(message: Message, records: Sequence[FaceRecord], revised: Sequence[Revised] = ()) -> Commit:
    cursor, counts = Cursor(**message["cursor"]), Counts(**message["counts"])
    return Commit(cursor, tuple(records), counts, message["carry"], tuple(revised))


def progress_message(progress: Progress) -> Message:
    return {"type": "progress", **asdict(progress)}


def progress_of(message: Message) -> Progress:
    return Progress(**{one.name: message[one.name] for one in fields(Progress)})


def failed_message(failure: Failure) -> Message:
    return {"type": "failed", **asdict(failure)}


def failure_of(message: Message) -> Failure:
    return Failure(**{one.name: message[one.name] for one in fields(Failure)})
