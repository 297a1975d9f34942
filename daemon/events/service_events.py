"""Events of the service itself: its life, its ledger, its configuration, its clock, its worker processes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from daemon.events.event import Event, Level


@dataclass(frozen=True, kw_only=True)
class ServiceStarted(Event):
    kind: ClassVar[str] = "service.started"
    pid: int
    port: int | None
    """Of /metrics; None where there is none."""


@dataclass(frozen=True, kw_only=True)
class ServiceResumed(Event):
    """Jobs that an earlier service left go on."""

    kind: ClassVar[str] = "service.resumed"


@dataclass(frozen=True, kw_only=True)
class ServiceStopping(Event):
    kind: ClassVar[str] = "service.stopping"


@dataclass(frozen=True, kw_only=True)
class ServiceStopped(Event):
    kind: ClassVar[str] = "service.stopped"


@dataclass(frozen=True, kw_only=True)
class LedgerWaits(Event):
    """The ledger takes nothing; everything that writes to it waits."""

    kind: ClassVar[str] = "ledger.waits"
    level: Level = "error"


@dataclass(frozen=True, kw_only=True)
class LedgerWorks(Event):
    """The ledger can be written again."""

    kind: ClassVar[str] = "ledger.works"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class LedgerFailed(Event):
    """What should have been written to the ledger was not, for a reason that does not pass."""

    kind: ClassVar[str] = "ledger.failed"
    level: Level = "error"


@dataclass(frozen=True, kw_only=True)
class ConfigReloaded(Event):
    """A new configuration was taken, or refused."""

    kind: ClassVar[str] = "config.reloaded"
    result: Literal["applied", "refused"]


@dataclass(frozen=True, kw_only=True)
class ConfigWarning(Event):
    kind: ClassVar[str] = "config.warning"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class ClockJumped(Event):
    """The machine slept, or its time was set."""

    kind: ClassVar[str] = "clock.jumped"
    level: Level = "warning"
    seconds: float


@dataclass(frozen=True, kw_only=True)
class ScheduleTrouble(Event):
    """A recurring job failed, was missed, or still runs when its next turn comes."""

    kind: ClassVar[str] = "schedule.trouble"
    level: Level = "error"
    schedule: str
    """Name of the recurring job."""


@dataclass(frozen=True, kw_only=True)
class WorkerReplaced(Event):
    """A worker was killed; the next job gets a new one."""

    kind: ClassVar[str] = "worker.replaced"
    reason: str
    """recycled, crashed, no_progress, memory, gpu, stopped"""


@dataclass(frozen=True, kw_only=True)
class WorkerEnded(Event):
    """A worker ended in order."""

    kind: ClassVar[str] = "worker.ended"
    level: Level = "debug"
    reason: str


@dataclass(frozen=True, kw_only=True)
class PersonForgotten(Event):
    """Nothing of a forgotten person is left in the ledger's files."""

    kind: ClassVar[str] = "forget.done"
    name: str
