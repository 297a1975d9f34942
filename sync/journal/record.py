"""Pure: one round as its journal says, replayed line by line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Literal, TypeVar

from sync.journal.journal import Entry
from sync.journal.lines import (
    Aborted,
    Accepted,
    Averaged,
    Closed,
    Decided,
    Doubted,
    Excluded,
    Iterating,
    Planned,
    Pulled,
    Released,
    Resumed,
    Settling,
    Staged,
    Staging,
    Swapped,
    Unfinished,
    Verified,
)
from sync.journal.round_kinds import AVERAGE, RoundKind
from sync.trainers.proof import LossLevel, is_bad_for_most
from sync.types import Outcome

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class RoundRecord:
    """One round, as far as its journal says. `with_entry` makes the record after one more line."""

    number: int
    kind: RoundKind = AVERAGE
    source: str = ""
    """The machine or the number of the round that the kind names; else empty."""
    machines: tuple[str, ...] = ()
    running: Mapping[str, bool] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → whether its trainer ran before the round."""
    stopped: frozenset[str] = frozenset()
    """Machines whose trainer was stopped, not only asked."""
    touched: frozenset[str] = frozenset()
    """Machines that something was begun on, so something may have to be put right."""
    pulled: Mapping[str, Pulled] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → what was pulled off it."""
    excluded: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    accepted: Accepted | None = None
    averaged: Averaged | None = None
    staged: Mapping[str, Staged] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → what lies on it, beside the live files."""
    decided: bool = False
    receivers: tuple[str, ...] = ()
    swapped: frozenset[str] = frozenset()
    taken_at: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → iteration at which its running trainer loaded the weights."""
    resumed: frozenset[str] = frozenset()
    released: frozenset[str] = frozenset()
    unfinished: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → why it could not be brought to the end of the round when that was tried last."""
    iterating_since: Mapping[str, datetime] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → when its trainer began to iterate again, as far as is known."""
    verified: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    doubted: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    ended: Literal["", "aborted", "closed"] = ""
    outcome: Outcome | Literal[""] = ""
    reason: str = ""
    times: Mapping[tuple[str, str], datetime] = field(default_factory=lambda: MappingProxyType({}))
    """(step, machine) → when the journal's last such line was written."""

    @property
    def owing(self) -> set[str]:
        """Machines on which this round is not finished: to be swapped and resumed, or to be released."""
        receivers = set(self.receivers) if self.decided else set()
        return (receivers - self.resumed) | (self.touched - receivers - self.released)

    @property
    def is_bad(self) -> bool:
        """Whether most of the trainers that took the round's average got worse by it."""
        asked = self.verified.keys() | self.doubted.keys()
        if not self.decided or not self.kind.averages or not self.resumed <= asked:
            return False
        return is_bad_for_most([self.doubted.get(name, "") for name in asked])

    @property
    def giver(self) -> str:
        """The machine whose weights all others are given; empty where no single one gives them."""
        return self.source if self.kind.from_machine else ""

    @property
    def goes_back_to(self) -> int | None:
        """The round whose kept average is given to all."""
        return int(self.source) if self.kind.from_round else None

    @property
    def undoes(self) -> int | None:
        """The round that this one takes back."""
        return int(self.source) if self.kind.undoes_round else None

    @property
    def doubts(self) -> str:
        """Machine and reason of each doubt, as one text."""
        return "; ".join(f"{name}: {reason}" for name, reason in self.doubted.items())

    @property
    def why_to_undo(self) -> str:
        """Of a bad round that is not undone: what is wrong, as one sentence."""
        return f"round {self.number} made most trainers worse and is not undone yet ({self.doubts})"

    @property
    def started_at(self) -> datetime | None:
        return self.times.get(("planned", ""))

    @property
    def ended_at(self) -> datetime | None:
        return self.times.get((self.ended, ""))

    @property
    def digest(self) -> str:
        """sha256 of the set of weights that the round gave out; empty where it gave none."""
        return self.averaged.digest if self.averaged else ""

    @property
    def iterations(self) -> Mapping[str, int]:
        """Machine → its own iteration at its snapshot."""
        return {name: one.iteration for name, one in self.pulled.items()}

    @property
    def losses(self) -> Mapping[str, LossLevel]:
        """Machine → where its losses stood at its snapshot."""
        return {name: one.loss for name, one in self.pulled.items() if one.loss}

    @property
    def paces(self) -> Mapping[str, float]:
        """Machine → seconds per iteration, measured between the save before the round and the one for it."""
        return {name: one.pace_s for name, one in self.pulled.items() if one.pace_s}

    @property
    def transfer_s(self) -> Mapping[str, Mapping[str, float]]:
        """Machine → pull, push → seconds."""
        moved = (("pull", self.pulled), ("push", self.staged))
        names = [name for _, lines in moved for name in lines]
        return {
            name: {way: lines[name].seconds for way, lines in moved if name in lines} for name in dict.fromkeys(names)
        }

    @property
    def contributors(self) -> tuple[str, ...]:
        return self.accepted.contributors if self.accepted else ()

    @property
    def spread_rel(self) -> float | None:
        """How far the contributors were apart; None where nothing was measured."""
        return self.accepted.spread_rel if self.accepted else None


def replay(number: int, entries: Iterable[Entry]) -> RoundRecord:
    """Turn the lines of one journal into a record."""
    record = RoundRecord(number)
    for entry in entries:
        record = with_entry(record, entry)
    return record


def _with(table: Mapping[K, V], key: K, value: V) -> Mapping[K, V]:
    return MappingProxyType({**table, key: value})


def _without(table: Mapping[str, V], key: str) -> Mapping[str, V]:
    return MappingProxyType({name: value for name, value in table.items() if name != key})


def with_entry(record: RoundRecord, entry: Entry) -> RoundRecord:
    """Return the record after one more line of its journal."""
    record = replace(record, times=_with(record.times, (entry.line.step, entry.line.machine), entry.at))
    match entry.line:
        case Planned() as line:
            record = replace(record, kind=line.kind, source=line.source)
            return replace(record, machines=line.machines, running=line.running)
        case Settling() | Staging() as line:
            stopped = {line.machine} if isinstance(line, Settling) and line.stops else set()
            return replace(record, touched=record.touched | {line.machine}, stopped=record.stopped | stopped)
        case Pulled() as line:
            return replace(record, pulled=_with(record.pulled, line.machine, line))
        case Excluded() as line:
            return replace(record, excluded=_with(record.excluded, line.machine, line.reason))
        case Accepted() as line:
            return replace(record, accepted=line)
        case Averaged() as line:
            return replace(record, averaged=line)
        case Staged() as line:
            return replace(record, staged=_with(record.staged, line.machine, line))
        case Decided() as line:
            return replace(record, decided=True, receivers=line.receivers)
        case Swapped() as line:
            at = line.iteration
            taken = record.taken_at if at is None else _with(record.taken_at, line.machine, at)
            return replace(record, swapped=record.swapped | {line.machine}, taken_at=taken)
        case Resumed() | Released() as line:
            record = replace(record, unfinished=_without(record.unfinished, line.machine))
            if isinstance(line, Resumed):
                return replace(record, resumed=record.resumed | {line.machine})
            return replace(record, released=record.released | {line.machine})
        case Unfinished() as line:
            return replace(record, unfinished=_with(record.unfinished, line.machine, line.reason))
        case Iterating() as line:
            since = entry.at - timedelta(seconds=line.for_s)
            return replace(record, iterating_since=_with(record.iterating_since, line.machine, since))
        case Verified() as line:
            return replace(record, verified=_with(record.verified, line.machine, line.reason))
        case Doubted() as line:
            return replace(record, doubted=_with(record.doubted, line.machine, line.reason))
        case Aborted() as line:
            # A decision whose line got to disk although its writing failed: nobody acted on it.
            record = replace(record, decided=False, receivers=())
            return replace(record, ended="aborted", outcome=line.outcome, reason=line.reason)
        case Closed() as line:
            return replace(record, ended="closed", outcome=line.outcome, reason=line.reason)
    return record
