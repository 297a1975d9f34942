"""Events of a job, and of its original."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Protocol

from daemon.events.event import Event, Level


@dataclass(frozen=True, kw_only=True)
class JobStarted(Event):
    kind: ClassVar[str] = "job.started"
    file: str
    cursor: int
    """The frame that it begins or goes on at."""
    waited_s: float
    """Since it was queued: for a job that reads a file, since that arrived."""
    is_arrival: bool
    """It reads a file that arrived."""


@dataclass(frozen=True, kw_only=True)
class JobCommitted(Event):
    """A finished piece of a job is stored."""

    kind: ClassVar[str] = "job.committed"
    is_logged: ClassVar[bool] = False
    level: Level = "debug"
    similarities: Sequence[float]
    """Of its faces to the reference."""
    stage_seconds: Mapping[str, float]
    """Stage of the pipeline → time in it since the piece before."""
    queue_seconds: Mapping[str, float]
    """Queue between stages → its fill, 0 to 1, times seconds, since the piece before."""


class JobFacts(Protocol):
    """What a kind says of a result: a value of its own for each kind."""

    def by_name(self) -> Mapping[str, object]:
        """Return it by the names that the log and hooks have for it."""
        ...


@dataclass(frozen=True, kw_only=True)
class JobDone(Event):
    kind: ClassVar[str] = "job.done"
    hook: ClassVar[str] = "job.done"
    seconds: float
    results: JobFacts

    @property
    def facts(self) -> Mapping[str, object]:
        return {**self.results.by_name(), "seconds": self.seconds}


@dataclass(frozen=True, kw_only=True)
class JobWarning(Event):
    kind: ClassVar[str] = "job.warning"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class JobHeld(Event):
    """A finished piece cannot be stored now; the worker waits."""

    kind: ClassVar[str] = "job.held"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class JobWaits(Event):
    """A failure that may pass: the job is tried again later."""

    kind: ClassVar[str] = "job.waits"
    level: Level = "warning"
    reason: str
    attempt: int


@dataclass(frozen=True, kw_only=True)
class JobResumed(Event):
    """The worker died; the job goes on at its cursor."""

    kind: ClassVar[str] = "job.resumed"
    level: Level = "warning"
    reason: str
    deaths: int
    frame: int


@dataclass(frozen=True, kw_only=True)
class JobInterrupted(Event):
    """The job was stopped from outside, at its cursor."""

    kind: ClassVar[str] = "job.interrupted"
    reason: str


@dataclass(frozen=True, kw_only=True)
class JobCancelled(Event):
    kind: ClassVar[str] = "job.cancelled"


@dataclass(frozen=True, kw_only=True)
class JobRedone(Event):
    """A done job is done once more, as asked for."""

    kind: ClassVar[str] = "job.redone"


@dataclass(frozen=True, kw_only=True)
class JobFollows(Event):
    """A job is queued because another one has ended."""

    kind: ClassVar[str] = "job.follows"


@dataclass(frozen=True, kw_only=True)
class JobGone(Event):
    """The source left the inbox, or changed, before the job was done."""

    kind: ClassVar[str] = "job.gone"
    level: Level = "warning"
    reason: str


@dataclass(frozen=True, kw_only=True)
class JobFailed(Event):
    """The job cannot be done as things are set up."""

    kind: ClassVar[str] = "job.failed"
    hook: ClassVar[str] = "job.failed"
    level: Level = "error"
    reason: str
    hint: str
    file: str


@dataclass(frozen=True, kw_only=True)
class JobQuarantined(Event):
    """The source cannot be used."""

    kind: ClassVar[str] = "job.quarantined"
    hook: ClassVar[str] = "quarantine"
    level: Level = "error"
    reason: str
    hint: str
    file: str


@dataclass(frozen=True, kw_only=True)
class OriginalWaits(Event):
    """An original cannot be moved or deleted now; it is tried again."""

    kind: ClassVar[str] = "original.waits"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class OriginalKept(Event):
    """An original stays where it is, although the configuration would have it moved or deleted."""

    kind: ClassVar[str] = "original.kept"
    level: Level = "warning"
    verdict: str | None = None
    """What it lacks, where that is the reason."""


@dataclass(frozen=True, kw_only=True)
class OriginalSettled(Event):
    """What the configuration asks for was done with an original."""

    kind: ClassVar[str] = "original.settled"
    level: Level = "debug"
