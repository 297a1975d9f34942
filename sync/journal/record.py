"""Pure: one round as its journal tells it, replayed line by line."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from sync.journal.journal import Entry
from sync.model_files.push import StagedFile
from sync.trainers.proof import is_bad_for_most

Kind = Literal["average", "init", "rollback", "undo", "dry_run"]
"""average: the machines' own mean. init: one machine's weights for all. rollback: a kept average for all. undo: to
every machine what it had before a round that turned out bad."""


@dataclass
class RoundRecord:
    """One round, as its journal tells it. Changed by `apply_entry` alone."""

    number: int
    kind: Kind = "average"
    source: str = ""
    """init: the machine; rollback and undo: the number of the round."""
    machines: tuple[str, ...] = ()
    running: dict[str, bool] = field(default_factory=dict)
    """Machine → whether its trainer ran before the round."""
    stopped: set[str] = field(default_factory=set)
    """Machines whose trainer was stopped, not only asked."""
    paces: dict[str, float] = field(default_factory=dict)
    """Machine → seconds per iteration, measured between the save before the round and the one for it."""
    iterating_since: dict[str, datetime] = field(default_factory=dict)
    """Machine → when its trainer began to iterate again, as far as can be told."""
    bytes_pulled: dict[str, int] = field(default_factory=dict)
    bytes_pushed: dict[str, int] = field(default_factory=dict)
    transfer_s: dict[str, dict[str, float]] = field(default_factory=dict)
    """Machine → pull, push → seconds."""
    touched: set[str] = field(default_factory=set)
    """Machines that something was begun on, so something may have to be put right."""
    iterations: dict[str, int] = field(default_factory=dict)
    """Machine → its own iteration at its snapshot."""
    losses: dict[str, tuple[float, float] | None] = field(default_factory=dict)
    """Machine → median and deviation of its losses at its snapshot."""
    excluded: dict[str, str] = field(default_factory=dict)
    contributors: tuple[str, ...] = ()
    facts: dict[str, Any] = field(default_factory=dict)
    """Of `accepted` and `averaged`: measures, hashes, seconds."""
    staged: dict[str, dict[str, StagedFile]] = field(default_factory=dict)
    sources: dict[str, dict[str, str]] = field(default_factory=dict)
    """Machine → part → the file on this computer that was staged."""
    decided: bool = False
    receivers: tuple[str, ...] = ()
    swapped: set[str] = field(default_factory=set)
    taken_at: dict[str, int] = field(default_factory=dict)
    """Machine → iteration at which its running trainer loaded the weights."""
    resumed: set[str] = field(default_factory=set)
    released: set[str] = field(default_factory=set)
    unfinished: dict[str, str] = field(default_factory=dict)
    """Machine → why it could not be brought to the end of the round when that was tried last."""
    verified: dict[str, str] = field(default_factory=dict)
    doubted: dict[str, str] = field(default_factory=dict)
    ended: Literal["", "aborted", "closed"] = ""
    outcome: str = ""
    reason: str = ""
    times: dict[tuple[str, str], datetime] = field(default_factory=dict)
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
        if not self.decided or self.kind != "average" or not self.resumed <= asked:
            return False
        return is_bad_for_most([self.doubted.get(name, "") for name in asked])

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
        return str(self.facts.get("digest", ""))


def replay(number: int, entries: Iterable[Entry]) -> RoundRecord:
    """Turn the lines of one journal into a record."""
    record = RoundRecord(number)
    for entry in entries:
        apply_entry(record, entry)
    return record


def apply_entry(record: RoundRecord, entry: Entry) -> None:
    """Let one more line of its journal change a record."""
    facts, machine = entry.facts, entry.machine
    record.times[(entry.step, machine)] = entry.at
    match entry.step:
        case "planned":
            record.kind, record.source = facts["kind"], facts.get("source", "")
            record.machines, record.running = tuple(facts["machines"]), dict(facts["running"])
        case "settling" | "staging":
            record.touched.add(machine)
            if facts.get("stops"):
                record.stopped.add(machine)
        case "pulled":
            record.iterations[machine] = facts["iteration"]
            if facts.get("pace_s"):
                record.paces[machine] = facts["pace_s"]
            record.bytes_pulled[machine] = facts["bytes"]
            record.transfer_s.setdefault(machine, {})["pull"] = facts["seconds"]
            record.losses[machine] = tuple(facts["loss"]) if facts["loss"] else None
        case "excluded":
            record.excluded[machine] = facts["reason"]
        case "accepted":
            record.contributors = tuple(facts["contributors"])
            record.facts |= facts
        case "averaged":
            record.facts |= facts
        case "staged":
            record.staged[machine] = {part: StagedFile(*pair) for part, pair in facts["files"].items()}
            record.sources[machine] = dict(facts["sources"])
            record.bytes_pushed[machine] = facts["bytes"]
            record.transfer_s.setdefault(machine, {})["push"] = facts["seconds"]
        case "decided":
            record.decided, record.receivers = True, tuple(facts["receivers"])
        case "swapped":
            record.swapped.add(machine)
            if facts["iteration"] is not None:
                record.taken_at[machine] = facts["iteration"]
        case "resumed":
            record.resumed.add(machine)
            record.unfinished.pop(machine, None)
        case "released":
            record.released.add(machine)
            record.unfinished.pop(machine, None)
        case "unfinished":
            record.unfinished[machine] = facts["reason"]
        case "iterating":
            record.iterating_since[machine] = entry.at - timedelta(seconds=facts["for_s"])
        case "verified":
            record.verified[machine] = facts["reason"]
        case "doubted":
            record.doubted[machine] = facts["reason"]
        case "aborted" | "closed":
            if entry.step == "aborted":
                # A decision whose line got to disk although its writing failed: nobody acted on it.
                record.decided, record.receivers = False, ()
            record.ended, record.outcome, record.reason = entry.step, facts["outcome"], facts["reason"]
