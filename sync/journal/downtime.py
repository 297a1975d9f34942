"""Pure: how long a round kept trainers from training, and what the next one will cost.

A machine does not train from the request to stop (or to save) until its trainer was seen iterating on what it was
given, or on what it had; loading is part of it. A cooperating trainer trains on between its save and the new weights,
but what it learns then is thrown away with the weights it replaces: that time counts too. The round's downtime runs
from the first request until the last trainer iterates again.

A trainer under commands is seen only at its first save, up to 25 minutes after it began to iterate. When it began is
reckoned back from there: by the iterations in that save and the machine's own pace, else by the trainer's save period.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sync.journal.record import RoundRecord
from sync.types import Forecast


@dataclass(frozen=True)
class Standstill:
    """Why and how long one machine did not train."""

    begun: datetime
    over: datetime
    seen: bool
    """Whether it was seen iterating again; else `over` is when it last answered."""

    @property
    def seconds(self) -> float:
        return max(0.0, (self.over - self.begun).total_seconds())


def standstills(record: RoundRecord) -> dict[str, Standstill]:
    """Return machine → how long its trainer did not train because of the round."""
    found = {}
    for name, running in record.running.items():
        begun = record.times.get(("settling", name))
        if begun is None or not running:
            continue
        seen = record.iterating_since.get(name)
        over = seen or _over(record, name, stopped=name in record.stopped)
        if over:
            found[name] = Standstill(begun, max(begun, over), seen is not None)
    return found


def downtime_s(record: RoundRecord) -> float:
    """Return seconds from the first request to stop until the last trainer iterates again; 0 where none was asked."""
    found = standstills(record).values()
    if not found:
        return 0.0
    return (max(one.over for one in found) - min(one.begun for one in found)).total_seconds()


def lost_iterations(record: RoundRecord) -> dict[str, int]:
    """Return machine → iterations that it trained between its save and the new weights, which replaced them."""
    lost = {name: at - record.iterations[name] for name, at in record.taken_at.items() if name in record.iterations}
    return {name: count for name, count in lost.items() if count > 0}


def _over(record: RoundRecord, name: str, *, stopped: bool) -> datetime | None:
    """Return until when a machine that was not seen iterating certainly did not train."""
    if not stopped:
        # It took the new weights, or was asked to save and trained on with what it had.
        return record.times.get(("swapped", name)) or record.times.get(("settled", name))
    for step in ("doubted", "resumed", "released", "swapped"):
        at = record.times.get((step, name))
        if at is not None:
            return at
    return None


# What the next round will cost.


def foresee(
    dry: RoundRecord,
    *,
    loads_in_place: Mapping[str, bool],
    save_s: Mapping[str, float | None],
    last: RoundRecord | None,
) -> dict[str, Forecast]:
    """Say for every machine of a dry run how long a round would keep its trainer from training.

    All wait for the slowest pull, the average and the slowest push; then a trainer under commands has to load. The dry
    run has measured pull and average. `save_s`: machine → its last save; `last`: the last round that was pushed, which
    measured pushes and loading. `loads_in_place`: machine → whether its trainer takes new weights without a start.
    """
    accepted, pulled = dry.times.get(("accepted", "")), [dry.times.get(("pulled", name)) for name in dry.iterations]
    ends = [at for at in pulled if at is not None]
    average_s = (accepted - max(ends)).total_seconds() if accepted and ends else 0.0
    pull_s = {name: taken.get("pull", 0.0) for name, taken in dry.transfer_s.items()}
    push_s = {
        name: last.transfer_s[name]["push"] for name in pull_s if last and "push" in last.transfer_s.get(name, {})
    }
    moved_s = max(pull_s.values(), default=0.0) + average_s + max((pull_s | push_s).values(), default=0.0)
    found = {}
    for name, running in dry.running.items():
        if name not in dry.iterations or not running:
            continue
        load_s = 0.0 if loads_in_place[name] else measured_load_s(last, name)
        parts = {"save": save_s.get(name), "transfer and average": moved_s, "load": load_s}
        known = {part: value for part, value in parts.items() if value is not None}
        seconds = sum(known.values())
        pace_s = last.paces.get(name) if last else None
        found[name] = Forecast(
            seconds,
            known,
            tuple(part for part in parts if part not in known),
            round(seconds / pace_s) if pace_s else None,
        )
    return found


def measured_load_s(record: RoundRecord | None, machine: str) -> float | None:
    """Return how long a machine's trainer took from its start to its first iteration; None where not seen."""
    if record is None or machine not in record.stopped:
        return None
    begun, seen = record.times.get(("swapped", machine)), record.iterating_since.get(machine)
    return max(0.0, (seen - begun).total_seconds()) if begun and seen else None
