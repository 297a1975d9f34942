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

Beyond `read_message` a message is one of the types of this file. What comes over the pipe and is none of them is a
WorkerError: the worker is replaced. A service reads with `MessageReader`, which limits what one commit says.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from typing import IO, NoReturn, TypeGuard, TypeVar, get_args

from core.field_types import WHOLE_NUMBER_LIMIT
from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import Failure, Outlook, Piece, Reason
from engine.types import Progress

VERSION = 2
"""Of this list. 1 was a dfld whose messages had no version, and knew no kind of job but extraction."""
MESSAGE_BYTES_MAX = 64 << 20
"""The largest message is a commit's carried state; anything longer is no message of ours."""

PIECES_BYTES_MAX = 2 * MESSAGE_BYTES_MAX
"""What the pieces of one commit or result may come to: the largest carried state, and as much again for records. Those
of a window are some hundred bytes each, and a hundred thousand of them are less. What goes to a worker has no such
limit: where to begin says everything that earlier commits left."""

OUTLOOKS: tuple[Outlook, ...] = get_args(Outlook)
REASONS: tuple[Reason, ...] = get_args(Reason)


class OtherVersionError(WorkerError):
    """A message of another version: the program was replaced while the service runs. No job is to blame."""

    def __init__(self, found: object) -> None:
        super().__init__(
            f"a message of version {found!r}, expected {VERSION}: dfld was replaced while the service runs; the worker"
            " is replaced, and jobs wait until you restart the service",
            hint="restart the service; it then tries the job again",
        )


@dataclass(frozen=True)
class Task:
    """Which job a message is about, and which attempt at it."""

    job: int
    attempt: int


@dataclass(frozen=True)
class AboutTask:
    """Every message about a job."""

    task: Task


@dataclass(frozen=True)
class PieceSent(AboutTask):
    """`piece`: a part of what the next order, begin, commit or done says."""

    value: Piece


@dataclass(frozen=True)
class Order(AboutTask):
    """`order`: a job to do."""

    kind: str


@dataclass(frozen=True)
class Begin(AboutTask):
    """`begin`: from the start, or where the pieces before it say."""

    resumes: bool


@dataclass(frozen=True)
class Ack(AboutTask):
    """`ack`: the commit is stored."""


@dataclass(frozen=True)
class Refuse(AboutTask):
    """`refuse`: nothing more of this attempt is wanted."""


@dataclass(frozen=True)
class Stop(AboutTask):
    """`stop`: end at the next commit."""


@dataclass(frozen=True)
class Ready:
    """`ready`: the worker is up, and waiting."""

    pid: int


@dataclass(frozen=True)
class Readable(AboutTask):
    """`readable`: what the job works on opens."""


@dataclass(frozen=True)
class Opened(AboutTask):
    """`opened`: models are loaded."""

    basis: str
    """What decides the outcome."""


@dataclass(frozen=True)
class ProgressMade(AboutTask):
    """`progress`: how far the job is."""

    progress: Progress


@dataclass(frozen=True)
class CommitMade(AboutTask):
    """`commit`: the pieces before it are a finished piece of the work."""


@dataclass(frozen=True)
class JobDone(AboutTask):
    """`done`: the pieces before it are the result."""


@dataclass(frozen=True)
class JobFailed(AboutTask):
    """`failed`: why the job was not done."""

    failure: Failure


ToWorker = PieceSent | Order | Begin | Ack | Refuse | Stop
FromWorker = PieceSent | Ready | Readable | Opened | ProgressMade | CommitMade | JobDone | JobFailed
Message = ToWorker | FromWorker
M = TypeVar("M", bound=Message)


def message_bytes(message: Message) -> bytes:
    """Return one message as it travels."""
    values: dict[str, object] = {"version": VERSION, "type": _NAMES[type(message)]}
    if isinstance(message, AboutTask):
        values |= asdict(message.task)
    if isinstance(message, ProgressMade):
        values |= asdict(message.progress)
    elif isinstance(message, JobFailed):
        values |= asdict(message.failure)
    else:
        values |= {one.name: getattr(message, one.name) for one in fields(message) if one.name != "task"}
    return json.dumps(values, separators=(",", ":")).encode("ascii") + b"\n"


def write_message(stream: IO[bytes], message: Message) -> None:
    """Write one message and flush. Raise OSError when the other side is gone."""
    stream.write(message_bytes(message))
    stream.flush()


def read_message(stream: IO[bytes]) -> Message | None:
    """Read one message; None at the end.

    Raise WorkerError for anything that is not one, OtherVersionError where it is of another version.
    """
    line = _read_line(stream)
    return _message(line) if line else None


class MessageReader:
    """Reads what one worker says, and holds it to the limit of its pieces."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream
        self._pieces_bytes = 0
        """Of the pieces since the last message that says what they were."""

    def read(self) -> Message | None:
        """Read one message; None at the end. Raise as `read_message` does, and WorkerError for too many pieces."""
        line = _read_line(self._stream)
        message = _message(line) if line else None
        if isinstance(message, PieceSent):
            self._pieces_bytes += len(line)
            if self._pieces_bytes > PIECES_BYTES_MAX:
                raise WorkerError(
                    f"the pieces of a commit or result are longer than {PIECES_BYTES_MAX} bytes; the worker is replaced"
                )
        elif isinstance(message, CommitMade | JobDone | JobFailed):
            self._pieces_bytes = 0
        return message


def _read_line(stream: IO[bytes]) -> bytes:
    """Return the next line; empty at the end, and where a death cut it off in mid-sentence."""
    line = stream.readline(MESSAGE_BYTES_MAX + 1)
    if len(line) > MESSAGE_BYTES_MAX:
        raise WorkerError(f"a message is longer than {MESSAGE_BYTES_MAX} bytes; the worker is replaced")
    return line if line.endswith(b"\n") else b""


def _message(line: bytes) -> Message:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as problem:
        raise WorkerError(f"not a message: {line[:80]!r}; the worker is replaced") from problem
    if not isinstance(values, dict) or not isinstance(values.get("type"), str):
        raise WorkerError(f"not a message: {line[:80]!r}; the worker is replaced")
    if values.get("version") != VERSION:
        raise OtherVersionError(values.get("version"))
    if values["type"] not in _DECODERS:
        raise WorkerError(f"not a message: it is of type {values['type'][:80]!r}; the worker is replaced")
    return _DECODERS[values["type"]](_Values(values["type"], values))


def in_pieces(task: Task, pieces: Iterable[Piece], closing: M) -> Iterator[PieceSent | M]:
    """Yield a value piece by piece, and the message that says what it was."""
    for piece in pieces:
        yield PieceSent(task, piece)
    yield closing


class _Values:
    """The values of one message, each asked for with its type. Raise WorkerError where one is missing or another."""

    def __init__(self, message_type: str, values: Mapping[str, object]) -> None:
        self._type = message_type
        self._values = values

    @property
    def task(self) -> Task:
        return Task(self.whole("job"), self.whole("attempt"))

    def text(self, name: str) -> str:
        found = self._values.get(name)
        return found if isinstance(found, str) else self._refuse(name)

    def whole(self, name: str) -> int:
        found = self._values.get(name)
        return found if _is_whole(found) else self._refuse(name)

    def whole_or_none(self, name: str) -> int | None:
        return None if name in self._values and self._values[name] is None else self.whole(name)

    def flag(self, name: str) -> bool:
        found = self._values.get(name)
        return found if isinstance(found, bool) else self._refuse(name)

    def numbers(self, name: str) -> dict[str, float]:
        found = self._values.get(name)
        if not isinstance(found, dict) or not all(_is_number(one) for one in found.values()):
            self._refuse(name)
        return found

    def piece(self, name: str) -> Piece:
        found = self._values.get(name)
        return found if isinstance(found, dict) else self._refuse(name)

    def outlook(self, name: str) -> Outlook:
        found = self._values.get(name)
        return next((one for one in OUTLOOKS if one == found), None) or self._refuse(name)

    def reason(self, name: str) -> Reason:
        found = self._values.get(name)
        return next((one for one in REASONS if one == found), None) or self._refuse(name)

    def _refuse(self, name: str) -> NoReturn:
        found = repr(self._values.get(name))[:80]
        raise WorkerError(f"a message of type {self._type!r} has {name} = {found}; the worker is replaced")


def _is_whole(value: object) -> TypeGuard[int]:
    """Say whether this is a whole number that a ledger can hold."""
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) < WHOLE_NUMBER_LIMIT


def _is_number(value: object) -> bool:
    """Say whether this is a number that a metric can be raised by: one that is infinite stays so for ever."""
    return _is_whole(value) or (isinstance(value, float) and math.isfinite(value))


def _progress(said: _Values) -> Progress:
    return Progress(
        frames_done=said.whole("frames_done"),
        frames_total=said.whole_or_none("frames_total"),
        faces_kept=said.whole("faces_kept"),
        faces_rejected=said.whole("faces_rejected"),
        stage_seconds=said.numbers("stage_seconds"),
        queue_seconds=said.numbers("queue_seconds"),
        faces_undecided=said.whole("faces_undecided"),
    )


def _failure(said: _Values) -> Failure:
    return Failure(said.outlook("outlook"), said.reason("reason"), said.text("message"), said.text("hint"))


_NAMES: Mapping[type[Message], str] = {
    PieceSent: "piece",
    Order: "order",
    Begin: "begin",
    Ack: "ack",
    Refuse: "refuse",
    Stop: "stop",
    Ready: "ready",
    Readable: "readable",
    Opened: "opened",
    ProgressMade: "progress",
    CommitMade: "commit",
    JobDone: "done",
    JobFailed: "failed",
}
_DECODERS: Mapping[str, Callable[[_Values], Message]] = {
    "piece": lambda said: PieceSent(said.task, said.piece("value")),
    "order": lambda said: Order(said.task, said.text("kind")),
    "begin": lambda said: Begin(said.task, said.flag("resumes")),
    "ack": lambda said: Ack(said.task),
    "refuse": lambda said: Refuse(said.task),
    "stop": lambda said: Stop(said.task),
    "ready": lambda said: Ready(said.whole("pid")),
    "readable": lambda said: Readable(said.task),
    "opened": lambda said: Opened(said.task, said.text("basis")),
    "progress": lambda said: ProgressMade(said.task, _progress(said)),
    "commit": lambda said: CommitMade(said.task),
    "done": lambda said: JobDone(said.task),
    "failed": lambda said: JobFailed(said.task, _failure(said)),
}
