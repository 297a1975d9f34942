"""The lines of a round's journal as values, and how each stands in JSON. Pure.

In the file a line is `{"step": …, "machine": …, "at": …, "facts": {…}}`; `facts` holds what the class of the step says
below, under the same names. Lines of an older dfld may lack facts that came later; those have a default here. Lines of
a newer one may hold more, and steps that are not known here: they are passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields
from types import MappingProxyType
from typing import ClassVar, Self, get_args

from sync.journal.facts import Facts, Json, a_flag, a_number, a_text, a_whole_number, one_of, some_numbers, typed
from sync.journal.round_kinds import ROUND_KINDS, RoundKind
from sync.model_files.push import StagedFile
from sync.trainers.proof import LossLevel
from sync.types import Outcome


def _staged_file(value: object, name: str) -> StagedFile:
    size, digest = typed(list, value, name)
    return StagedFile(a_whole_number(size, name), a_text(digest, name))


_EMPTY: Mapping[str, float] = MappingProxyType({})


class _Frozen:
    """Tables of a line cannot be changed either."""

    __dataclass_fields__: ClassVar[dict[str, Field[object]]]

    def __post_init__(self) -> None:
        for one in fields(self):
            value = getattr(self, one.name)
            if isinstance(value, dict):
                inner = {key: MappingProxyType(part) if isinstance(part, dict) else part for key, part in value.items()}
                object.__setattr__(self, one.name, MappingProxyType(inner))


@dataclass(frozen=True)
class RoundLine(_Frozen):
    """A line about the whole round."""

    step: ClassVar[str]
    machine: ClassVar[str] = ""

    def facts(self) -> Json:
        """Return the facts as plain JSON values."""
        return {}

    @classmethod
    def read(cls, _machine: str, _facts: Facts) -> Self:
        """Make the line of what stands in the file. Raise ValueError where that is no such line."""
        return cls()


@dataclass(frozen=True)
class MachineLine(_Frozen):
    """A line about one machine."""

    step: ClassVar[str]
    machine: str

    def facts(self) -> Json:
        """Return the facts as plain JSON values."""
        return {}

    @classmethod
    def read(cls, machine: str, _facts: Facts) -> Self:
        """Make the line of what stands in the file. Raise ValueError where that is no such line."""
        return cls(machine)


@dataclass(frozen=True)
class _MachineReason(MachineLine):
    reason: str

    def facts(self) -> Json:
        return {"reason": self.reason}

    @classmethod
    def read(cls, machine: str, facts: Facts) -> Self:
        return cls(machine, facts.text("reason"))


@dataclass(frozen=True)
class _End(RoundLine):
    outcome: Outcome
    reason: str

    def facts(self) -> Json:
        return {"outcome": self.outcome, "reason": self.reason}

    @classmethod
    def read(cls, _machine: str, facts: Facts) -> Self:
        return cls(one_of(get_args(Outcome), facts.text("outcome")), facts.text("reason"))


@dataclass(frozen=True)
class Planned(RoundLine):
    """What kind of round, which machines, which trainers run."""

    step = "planned"
    kind: RoundKind
    source: str
    """The machine or the number of the round that the kind names; else empty."""
    machines: tuple[str, ...]
    running: Mapping[str, bool]
    """Machine → whether its trainer ran before the round."""

    def facts(self) -> Json:
        running = dict(self.running)
        return {"kind": self.kind.name, "source": self.source, "machines": list(self.machines), "running": running}

    @classmethod
    def read(cls, _machine: str, facts: Facts) -> Self:
        kind = ROUND_KINDS[one_of(tuple(ROUND_KINDS), facts.text("kind"))]
        source = facts.optional(facts.text, "source") or ""
        if kind.names_round:
            int(source)
        return cls(kind, source, facts.texts("machines"), facts.table("running", a_flag))


@dataclass(frozen=True)
class Settling(MachineLine):
    """A machine's trainer is about to be stopped or asked to save."""

    step = "settling"
    stops: bool = False
    """Whether it is stopped."""

    def facts(self) -> Json:
        return {"stops": self.stops}

    @classmethod
    def read(cls, machine: str, facts: Facts) -> Self:
        return cls(machine, facts.optional(facts.flag, "stops") or False)


@dataclass(frozen=True)
class Settled(MachineLine):
    """A machine's trainer has ended, or saved."""

    step = "settled"


@dataclass(frozen=True)
class Pulled(MachineLine):
    """A machine's snapshot is here; or, where none is taken, how far the machine is."""

    step = "pulled"
    iteration: int
    loss: LossLevel | None = None
    parts: tuple[str, ...] = ()
    size_bytes: int = 0
    seconds: float = 0.0
    pace_s: float | None = None
    """Seconds per iteration between the save before the round and the one for it."""

    def facts(self) -> Json:
        return {
            "iteration": self.iteration,
            "loss": [self.loss.median, self.loss.deviation] if self.loss else None,
            "parts": list(self.parts),
            "bytes": self.size_bytes,
            "seconds": self.seconds,
            "pace_s": self.pace_s,
        }

    @classmethod
    def read(cls, machine: str, facts: Facts) -> Self:
        median, deviation = facts.optional(facts.numbers, "loss") or (None, None)
        return cls(
            machine,
            facts.whole("iteration"),
            None if median is None or deviation is None else LossLevel(median, deviation),
            facts.optional(facts.texts, "parts") or (),
            facts.whole("bytes"),
            facts.number("seconds"),
            facts.optional(facts.number, "pace_s"),
        )


@dataclass(frozen=True)
class Excluded(_MachineReason):
    """A machine is left out of the average."""

    step = "excluded"


@dataclass(frozen=True)
class Accepted(RoundLine):
    """Whose weights are averaged, and how far apart the machines are."""

    step = "accepted"
    contributors: tuple[str, ...]
    work: Mapping[str, int]
    """Machine → iterations since it was given weights."""
    measures: Mapping[str, Mapping[str, float]]
    """Machine → name of the measure → value."""
    warnings: tuple[str, ...] = ()
    spread_rel: float | None = None
    """None where one machine trains alone."""
    shrink: float | None = None
    weights: Mapping[str, float] = field(default_factory=lambda: _EMPTY)
    """Machine → its part in the average; `shares` in the file."""

    def facts(self) -> Json:
        compared = {"spread_rel": self.spread_rel, "shrink": self.shrink, "shares": dict(self.weights)}
        return {
            "contributors": list(self.contributors),
            **(compared if self.spread_rel is not None else {}),
            "work": dict(self.work),
            "measures": {name: dict(one) for name, one in self.measures.items()},
            "warnings": list(self.warnings),
        }

    @classmethod
    def read(cls, _machine: str, facts: Facts) -> Self:
        return cls(
            contributors=facts.texts("contributors"),
            work=facts.table("work", a_whole_number) if facts.has("work") else MappingProxyType({}),
            measures=facts.table("measures", some_numbers) if facts.has("measures") else MappingProxyType({}),
            warnings=facts.optional(facts.texts, "warnings") or (),
            spread_rel=facts.optional(facts.number, "spread_rel"),
            shrink=facts.optional(facts.number, "shrink"),
            weights=facts.table("shares", a_number) if facts.has("shares") else _EMPTY,
        )


@dataclass(frozen=True)
class Averaged(RoundLine):
    """The new weights are here."""

    step = "averaged"
    digest: str
    """sha256 of the set; empty where none is given out."""
    momentum: tuple[str, ...] = ()
    """Parts of which the outer step has a new memory."""

    def facts(self) -> Json:
        return {"digest": self.digest, "momentum": list(self.momentum)}

    @classmethod
    def read(cls, _machine: str, facts: Facts) -> Self:
        return cls(facts.optional(facts.text, "digest") or "", facts.optional(facts.texts, "momentum") or ())


@dataclass(frozen=True)
class Staging(MachineLine):
    """A machine is about to be sent files."""

    step = "staging"


@dataclass(frozen=True)
class Staged(MachineLine):
    """All files lie on a machine, beside the live ones."""

    step = "staged"
    files: Mapping[str, StagedFile]
    """By part."""
    sources: Mapping[str, str]
    """Part → the file on this computer."""
    size_bytes: int = 0
    seconds: float = 0.0

    def facts(self) -> Json:
        return {
            "files": {part: [file.size_bytes, file.sha256] for part, file in self.files.items()},
            "sources": dict(self.sources),
            "bytes": self.size_bytes,
            "seconds": self.seconds,
        }

    @classmethod
    def read(cls, machine: str, facts: Facts) -> Self:
        return cls(
            machine,
            facts.table("files", _staged_file),
            facts.table("sources", a_text),
            facts.whole("bytes"),
            facts.number("seconds"),
        )


@dataclass(frozen=True)
class Decided(RoundLine):
    """From here on forward only."""

    step = "decided"
    receivers: tuple[str, ...]

    def facts(self) -> Json:
        return {"receivers": list(self.receivers)}

    @classmethod
    def read(cls, _machine: str, facts: Facts) -> Self:
        return cls(facts.texts("receivers"))


@dataclass(frozen=True)
class Swapped(MachineLine):
    """A machine has the new weights in place."""

    step = "swapped"
    iteration: int | None = None
    """Of a running trainer that took them."""

    def facts(self) -> Json:
        return {"iteration": self.iteration}

    @classmethod
    def read(cls, machine: str, facts: Facts) -> Self:
        return cls(machine, facts.optional(facts.whole, "iteration"))


@dataclass(frozen=True)
class Resumed(MachineLine):
    """A machine's trainer runs again."""

    step = "resumed"


@dataclass(frozen=True)
class Released(MachineLine):
    """A machine has nothing left of a round that was given up."""

    step = "released"


@dataclass(frozen=True)
class Unfinished(_MachineReason):
    """A machine could not be brought to the end of the round; tried again later."""

    step = "unfinished"


@dataclass(frozen=True)
class Iterating(MachineLine):
    """A machine's trainer was seen iterating again."""

    step = "iterating"
    iteration: int
    for_s: float
    """How long it had been."""

    def facts(self) -> Json:
        return {"iteration": self.iteration, "for_s": self.for_s}

    @classmethod
    def read(cls, machine: str, facts: Facts) -> Self:
        return cls(machine, facts.optional(facts.whole, "iteration") or 0, facts.number("for_s"))


@dataclass(frozen=True)
class Verified(_MachineReason):
    """A machine's trainer proved that it took the weights, or why that is not known."""

    step = "verified"


@dataclass(frozen=True)
class Doubted(_MachineReason):
    """A machine's trainer did not take the weights, or got worse."""

    step = "doubted"


@dataclass(frozen=True)
class Aborted(_End):
    """Given up before the decision."""

    step = "aborted"


@dataclass(frozen=True)
class Closed(_End):
    """Finished."""

    step = "closed"


@dataclass(frozen=True)
class UnknownLine(MachineLine):
    """A line of a newer dfld, whose step means nothing here."""

    step = "unknown"


Line = RoundLine | MachineLine
LINES: Mapping[str, type[Line]] = MappingProxyType(
    {
        kind.step: kind
        for kind in (
            *(Planned, Settling, Settled, Pulled, Excluded, Accepted, Averaged, Staging, Staged, Decided, Swapped),
            *(Resumed, Released, Unfinished, Iterating, Verified, Doubted, Aborted, Closed),
        )
    }
)
"""Step → the class of its lines, in the order of a round."""


def line_of(step: str, machine: str, facts: Json) -> Line:
    """Make the line of what stands in the file. Raise ValueError where that is no such line."""
    return LINES.get(step, UnknownLine).read(machine, Facts(facts))
