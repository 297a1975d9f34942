"""Events of a model that is averaged: its rounds, its machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from daemon.events.event import Event, Level


@dataclass(frozen=True, kw_only=True)
class RoundDone(Event):
    """A round ended with a new average on every machine."""

    kind: ClassVar[str] = "round.ok"
    hook: ClassVar[str] = "round.ok"
    model: str
    round: int
    outcome: str
    contributors: Sequence[str]
    receivers: Sequence[str]
    excluded: Mapping[str, str]
    """Machine → why it was left out."""
    fenced: Mapping[str, str]
    seconds: float


@dataclass(frozen=True, kw_only=True)
class RoundFailed(RoundDone):
    """A round ended without a new average."""

    kind: ClassVar[str] = "round.failed"
    hook: ClassVar[str] = "round.failed"
    level: Level = "error"


@dataclass(frozen=True, kw_only=True)
class ModelEvent(Event):
    """What happens to a model beside the end of a round."""

    model: str


@dataclass(frozen=True, kw_only=True)
class RoundNotDone(ModelEvent):
    """An error that nobody foresaw ended a round; the next poll comes."""

    kind: ClassVar[str] = "round.failed"
    hook: ClassVar[str] = "round.failed"
    level: Level = "error"


@dataclass(frozen=True, kw_only=True)
class PollFailed(ModelEvent):
    kind: ClassVar[str] = "round.poll_failed"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class RoundAbandoned(ModelEvent):
    """The service stopped before a round had ended."""

    kind: ClassVar[str] = "round.abandoned"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class RoundWaits(ModelEvent):
    """No round can begin: something of an earlier one is open."""

    kind: ClassVar[str] = "round.waits"
    level: Level = "warning"


@dataclass(frozen=True, kw_only=True)
class RoundRecovered(ModelEvent):
    """A round that an earlier dfld left open was brought to its end."""

    kind: ClassVar[str] = "round.recovered"
    round: int


@dataclass(frozen=True, kw_only=True)
class RoundDecided(ModelEvent):
    kind: ClassVar[str] = "round.decided"


@dataclass(frozen=True, kw_only=True)
class MachineExcluded(ModelEvent):
    """A machine is left out of a round."""

    kind: ClassVar[str] = "round.excluded"
    level: Level = "warning"
    machine: str


@dataclass(frozen=True, kw_only=True)
class MachineDoubted(ModelEvent):
    """What a machine says of itself does not agree; a person has to look."""

    kind: ClassVar[str] = "round.doubted"
    level: Level = "warning"
    machine: str


@dataclass(frozen=True, kw_only=True)
class MachineDown(ModelEvent):
    kind: ClassVar[str] = "machine.down"
    level: Level = "warning"
    machine: str


@dataclass(frozen=True, kw_only=True)
class MachineUp(ModelEvent):
    kind: ClassVar[str] = "machine.up"
    machine: str
