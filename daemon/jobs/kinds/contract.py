"""What a kind of job is: the contract that `daemon.jobs` and `daemon.crew` work by, whatever a job does.

A kind is one file beside this one, with three values that travel between service and worker, each with one codec: the
request (all that a worker needs to know), the commit (a finished piece of the work) and the result. It is known to the
service by a line in `registry`, to the worker by a line in `daemon.worker.registry`. Nothing asks for a kind's name.

A value travels as pieces: JSON objects of bounded size. What they mean is the kind's business alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Literal, Protocol, TypeVar

from core.field_types import require_field_types
from daemon.errors import WorkerError
from daemon.ledger.faces import WrittenFace
from daemon.ledger.jobs import Job

if TYPE_CHECKING:  # a worker imports this file, and has no use for what checks a configuration
    from daemon.config.schema import Config, InboxConfig
    from daemon.events.job_events import JobFacts
    from daemon.ledger.ledger import Connection

Piece = dict[str, Any]
"""A JSON object."""

Q = TypeVar("Q")
S = TypeVar("S")
C = TypeVar("C")
R = TypeVar("R")
V = TypeVar("V")


@dataclass(frozen=True)
class Codec(Generic[V]):
    """One value as pieces, and back."""

    encode: Callable[[V], Iterable[Piece]]
    parse: Callable[[Sequence[Piece]], V]
    """What `decode` does with pieces that are as they have to be."""

    def decode(self, pieces: Sequence[Piece]) -> V:
        """Return the value that came as these pieces. Raise WorkerError where they are no such value."""
        try:
            return self.parse(pieces)
        except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError) as problem:
            found = f"{type(problem).__name__}: {problem}"
            raise WorkerError(
                f"pieces that are not what they have to be ({found}); the worker is replaced"
            ) from problem


@dataclass(frozen=True)
class WorkerCodec(Codec[V]):
    """One value that a worker sends. What the service makes of it, in its ledger too, rests on the type of each field:
    all are checked, at any depth."""

    def decode(self, pieces: Sequence[Piece]) -> V:
        return Codec(self.encode, self._checked).decode(pieces)

    def _checked(self, pieces: Sequence[Piece]) -> V:
        value = self.parse(pieces)
        require_field_types(value)
        return value


@dataclass(frozen=True)
class Codecs(Generic[Q, S, C, R]):
    """How the values of one kind travel."""

    request: Codec[Q]
    resume: Codec[S]
    """What earlier commits left, for a run that goes on after a kill."""
    commit: WorkerCodec[C]
    result: WorkerCodec[R]


@dataclass(frozen=True)
class Needs:
    """What whoever does a job of a kind must have."""

    models: bool
    """It loads models before it begins, which takes its time."""
    gpu: bool
    """A GPU makes it faster."""
    memory_bytes: int | None = None
    """More than that it never uses; None: as much as the configuration allows a worker."""


Outlook = Literal["passing", "file", "setup", "incomplete"]
"""passing: try again later; file: the file cannot be used; setup: nothing of the inbox can work before someone changes
something; incomplete: the file may still be arriving."""
Reason = Literal[
    "disk_error", "gpu", "held", "incomplete", "memory", "model", "no_space", "not_readable", "output", "permission",
    "reference", "settings", "sidecar", "source_unavailable", "too_many_files", "unforeseen", "unfinished", "version",
    "worker_died", "worker_hung", "worker_start", "workspace_taken",
]  # fmt: skip
"""Why a job was not done, in one word: for programs, and for the labels of metrics."""


@dataclass(frozen=True)
class Failure:
    """Why a job could not be done, in terms of what should happen next."""

    outlook: Outlook
    reason: Reason
    message: str
    hint: str = ""


@dataclass(frozen=True)
class EndColumns:
    """What the end of a job writes into its row of the ledger, by the names of the columns. Its state is not among
    them: that follows from the end itself."""

    report: str
    """JSON; its kind says what."""
    frames_total: int | None
    reason: str = ""
    message: str = ""
    hint: str = ""
    verdict: str = ""
    """What a source was found to be, where the kind reads one."""
    missing_s: float | None = None
    missing_share: float | None = None


@dataclass(frozen=True)
class Ending:
    """What a result means for its job, and what is reported of it."""

    completed: bool
    """False: it was stopped from outside, and goes on at its cursor."""
    columns: EndColumns
    facts: JobFacts
    """What its kind says of the result: `results` of the event JobDone."""
    sentence: str = ""
    """What came of it: `12 of 13 faces kept`."""
    source_changed: bool = False
    """What was read is not what was claimed: what was made of it is removed, and it arrives anew."""
    original: Literal["done with", "kept"] = "kept"
    """May `on_done` be applied to what was read?"""
    totals: Mapping[str, float] = field(default_factory=dict)
    """To be added to the counters that outlive the job."""
    stage_seconds: Mapping[str, float] = field(default_factory=dict)
    """Time that each stage took, s; for metrics."""
    lack: str = ""
    """Why the original is kept whatever `on_done` says; "" = there is no such reason."""
    warnings: Sequence[str] = ()


@dataclass(frozen=True)
class Written:
    """What a job left in its workspace."""

    faces: Sequence[WrittenFace] = ()
    frames: int = 0
    """Of a dst clip: so many pictures are in the folder of its frames."""


@dataclass(frozen=True)
class FollowUp:
    """A job that has to be done because another one has ended."""

    kind: str
    subject: Job
    """The job that it is about."""
    request: str = ""
    """JSON of what is asked for; "" = what the configuration says when it is begun."""


class JobKind(Protocol):
    """What the service knows of a kind. Functions of a `connection` run inside one transaction of the ledger."""

    @property
    def name(self) -> str:
        """The word in the ledger; never changed once it was released."""
        ...

    @property
    def unit(self) -> Literal["frames", "faces"]:
        """What its progress counts."""
        ...

    @property
    def done_word(self) -> str:
        """What its file is once it is done: `done`, `verified`."""
        ...

    @property
    def needs(self) -> Needs: ...

    @property
    def reads_original(self) -> bool:
        """It reads the file in the inbox: that has to be there as it was claimed, and something becomes of it."""
        ...

    @property
    def has_faceset_alone(self) -> bool:
        """It changes or moves faces that other jobs made: none of the same side of the workspace runs beside it."""
        ...

    def request(
        self, job: Job, inbox: InboxConfig, config: Config, connection: Connection, *, now_s: float
    ) -> Sequence[Piece] | Failure:
        """Return the request, or why it cannot even be made."""
        ...

    def resume(self, connection: Connection, job: Job) -> Sequence[Piece] | None:
        """Return what earlier commits left, where a run goes on after a kill; None: at the beginning."""
        ...

    def start_over(self, connection: Connection, job: Job, basis: str) -> None:
        """Forget what earlier commits left: something else decides the outcome now (`basis`).

        Raise StaleAttemptError where another attempt than `job.attempt` has begun.
        """
        ...

    def store(self, connection: Connection, job: Job, pieces: Sequence[Piece]) -> Sequence[float]:
        """Store a commit, all of it or nothing; return the similarities of its faces, for metrics."""
        ...

    def ending(self, job: Job, pieces: Sequence[Piece]) -> Ending:
        """Say what a result means. `job` is as the ledger has it now."""
        ...

    def why_not_deleted(self, job: Job) -> str:
        """Return "" where the report of a done job proves that all of its original was read, else why it is kept."""
        ...

    def written(self, connection: Connection, job: Job) -> Written:
        """Return what a done job wrote. While any of it is missing, the original is not deleted."""
        ...

    def end(self, connection: Connection, job: Job, pieces: Sequence[Piece]) -> None:
        """Do what else the end of this job does to the ledger, together with it."""
        ...

    def follow_ups(self, connection: Connection, job: Job, inbox: InboxConfig, config: Config) -> Sequence[FollowUp]:
        """Say what is to be done next, now that this job has ended, together with its end. `job`: as the ledger has it
        then, done or not: others may have waited for its end, however that came."""
        ...
