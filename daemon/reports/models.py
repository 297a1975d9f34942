"""A model that is averaged: where it is, its machines, its last round. Times are Unix seconds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class MachineReport:
    """One machine as the last poll saw it."""

    iteration: int | None = None
    saved_s: float | None = None
    """When its trainer last saved."""
    error: str = ""
    """Why it could not be asked."""


@dataclass(frozen=True)
class RoundReport:
    """A round that has ended."""

    round: int
    kind: str
    outcome: str
    reason: str
    ended_s: float | None = None
    contributors: tuple[str, ...] = ()
    downtime_s: float = 0.0
    """How long training stood still for it."""


@dataclass(frozen=True)
class ModelReport:
    """One [[sync]] table at work."""

    name: str
    machines: Mapping[str, MachineReport] = field(default_factory=dict)
    stage: str = ""
    """Name of the stage that the model is in; empty before the first poll."""
    every_iterations: int | None = None
    """A round is due every so many iterations."""
    next: str = ""
    """When the next round comes, in words."""
    doing: str = ""
    """The last step of a round under way; empty between rounds."""
    last: RoundReport | None = None
    owing: Mapping[str, int] = field(default_factory=dict)
    """Machine → the round that it still has to finish."""
