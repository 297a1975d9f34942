"""Pure: what the journals of all rounds say about where the machines are.

The history of a machine is which average it trains on from (its base), and whether it still owes something: a round
that was decided while the machine was away must be finished on it before anything else happens to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sync.journal.record import RoundRecord


@dataclass(frozen=True)
class History:
    """Where the machines of one model stand."""

    records: Sequence[RoundRecord]
    base: Mapping[str, int]
    """Machine → number of the round whose weights it trains on from; absent when it was never given any."""
    newest: int
    """Number of the round whose weights are the current common start; 0 when there is none."""
    debts: Mapping[str, RoundRecord]
    """Machine → the round that must be finished on it first."""
    lineage: tuple[int, ...] = ()
    """The decided rounds that led to the present weights, oldest first. A rollback takes those after its source out."""
    rejected: Mapping[int, int] = field(default_factory=dict)
    """Decided round that is not of the lineage → the rollback or undo that took it out."""

    def record(self, number: int) -> RoundRecord | None:
        """Return a round by its number."""
        return next((record for record in self.records if record.number == number), None)

    def digest_of(self, machine: str) -> str:
        """sha256 of the set that the machine was given last; empty when it never was."""
        found = self.record(self.base.get(machine, 0))
        return found.digest if found else ""

    @property
    def to_undo(self) -> RoundRecord | None:
        """The round whose weights are the common start although most trainers got worse by them: they go first."""
        found = self.record(self.newest)
        return found if found and found.is_bad and not found.ended else None

    @property
    def newest_digest(self) -> str:
        found = self.record(self.newest)
        return found.digest if found else ""

    def last_iteration(self, machine: str) -> int:
        """The machine's own iteration when it was last given weights; 0 when it never was."""
        found = self.record(self.base.get(machine, 0))
        return found.iterations.get(machine, 0) if found else 0

    def earlier(self) -> list[int]:
        """Rounds of the lineage that gave out other weights than the newest, oldest first."""
        found = [(number, self.record(number)) for number in self.lineage]
        return [number for number, record in found if record and record.digest != self.newest_digest]

    @property
    def start_iteration(self) -> int:
        """Iteration of the model that all machines were given at first: the age of the common start."""
        starts = [record for record in self.records if record.giver and record.number in self.lineage]
        return starts[-1].iterations.get(starts[-1].giver, 0) if starts else 0

    @property
    def usual_spreads(self) -> list[float]:
        """spread_rel of the last rounds that went well and were not rejected later, oldest first."""
        return [
            record.spread_rel
            for record in self.records
            if record.outcome == "averaged" and record.spread_rel is not None and record.number not in self.rejected
        ][-20:]


def history_of(records: Sequence[RoundRecord]) -> History:
    """Return where machines stand after these rounds, oldest first."""
    base: dict[str, int] = {}
    before: dict[int, dict[str, int]] = {}
    newest, newest_before = 0, {0: 0}
    debts: dict[str, RoundRecord] = {}
    lines: dict[int, tuple[int, ...]] = {0: ()}
    rejected: dict[int, int] = {}
    for record in records:
        for machine in record.owing:
            debts[machine] = record
        if not record.decided:
            continue
        undone = record.undoes
        if undone is not None:
            for machine in record.swapped:
                base[machine] = before.get(undone, {}).get(machine, 0)
            newest = newest_before.get(undone, 0)
            lines[record.number] = lines.get(newest, ())
            rejected[undone] = record.number
            continue
        line = lines.get(newest, ())
        follows = line if record.goes_back_to is None else lines.get(record.goes_back_to, ())
        lines[record.number] = (*follows, record.number)
        rejected |= {number: record.number for number in line if number not in follows}
        rejected = {number: by for number, by in rejected.items() if number not in follows}
        before[record.number] = dict(base)
        newest_before[record.number] = newest
        newest = record.number
        for machine in record.swapped:
            base[machine] = record.number
    known = {machine: number for machine, number in base.items() if number}
    return History(records, known, newest, debts, lines.get(newest, ()), rejected)
