"""Pure: what a round's record says, as the value that people and metrics are given."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime

from dfl.model_files import ModelName
from sync.journal.downtime import downtime_s, lost_iterations, standstills
from sync.journal.record import RoundRecord
from sync.types import Forecast, Outcome, Round

PHASES = {
    "gather": ("planned", "pulled"),
    "average": ("pulled", "averaged"),
    "stage": ("averaged", "staged"),
    "swap": ("decided", "resumed"),
    "verify": ("resumed", "verified"),
}
"""Phase → the steps between whose last lines it lies."""


def report_of(record: RoundRecord, model: ModelName, forecast: Mapping[str, Forecast] | None = None) -> Round:
    """Return what a round did. A round without an end is reported as far as it got."""
    pauses = standstills(record)
    started = record.started_at or datetime.now(UTC)
    outcome: Outcome = record.outcome or (record.kind.outcome if record.decided else "aborted")
    reason = record.reason or ("not verified yet" if record.decided else "not decided yet")
    if record.is_bad and not record.ended:
        outcome, reason = "not_undone", record.why_to_undo
    return Round(
        number=record.number,
        model=model,
        outcome=outcome,
        reason=reason,
        started_at=started,
        ended_at=record.ended_at or max(record.times.values(), default=started),
        contributors=record.contributors,
        receivers=tuple(name for name in record.receivers if name in record.swapped),
        excluded=record.excluded,
        fenced={name: _owed(record, name) for name in sorted(record.owing) if record.decided or record.ended},
        iterations=record.iterations,
        divergences=record.accepted.measures if record.accepted else {},
        seconds=_seconds(record),
        bytes_pulled={name: one.size_bytes for name, one in record.pulled.items()},
        bytes_pushed={name: one.size_bytes for name, one in record.staged.items()},
        paused_s={name: one.seconds for name, one in pauses.items()},
        not_seen=tuple(name for name, one in pauses.items() if not one.seen and name in record.stopped),
        downtime_s=downtime_s(record),
        lost_iterations=lost_iterations(record),
        forecast=forecast or {},
        transfer_s=record.transfer_s,
        spread_rel=record.spread_rel,
        warnings=record.accepted.warnings if record.accepted else (),
        doubted=record.doubted,
    )


def _owed(record: RoundRecord, machine: str) -> str:
    """What a round still owes to a machine, and why."""
    decided = record.decided and machine in record.receivers
    owed = f"it still has to be given round {record.number}" if decided else f"round {record.number} is not over on it"
    reason = record.unfinished.get(machine, "")
    return f"{owed} ({reason})" if reason else owed


def what_became(before: RoundRecord, after: RoundRecord) -> str:
    """Given a round as it was left and as it is after a recovery, say in one sentence what was done."""
    if before.ended:
        left = f"had not reached {', '.join(sorted(before.owing))}"
    else:
        left = f"was left {'after' if before.decided else 'before'} its decision by a dfld that ended"
    done = sorted((after.resumed | after.released) - (before.resumed | before.released))
    parts = [f"round {before.number} {left}"]
    if after.decided:
        parts.append(f"its weights are now on: {', '.join(done)}" if done else "no machine that owes it answers")
    else:
        parts.append("it is given up" + (f", as before it are: {', '.join(done)}" if done else ""))
    started = [name for name in done if after.running.get(name) and name in after.stopped]
    if started:
        parts.append(f"started again: {', '.join(started)}")
    if after.owing:
        parts.append(f"still to be finished on: {', '.join(sorted(after.owing))}")
    return "; ".join(parts)


def _seconds(record: RoundRecord) -> dict[str, float]:
    last: dict[str, datetime] = {}
    for (step, _machine), at in record.times.items():
        last[step] = max(at, last.get(step, at))
    return {
        phase: (last[end] - last[begin]).total_seconds()
        for phase, (begin, end) in PHASES.items()
        if begin in last and end in last
    }
