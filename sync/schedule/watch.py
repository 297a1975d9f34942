"""Is a round due? Observes every machine's data.dat over the kept connections and asks `sync.schedule.stages`.

An observation costs one stat per machine; data.dat is read only when it has changed. Everything is counted in the
machines' own iterations, so their clocks do not matter. Not for doing rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

from core.errors import DfldError
from dfl.model_files import DATA
from dfl.model_options import training_options_text, trains_gan
from sync.journal.downtime import downtime_s
from sync.journal.history import History
from sync.journal.record import RoundRecord
from sync.machines import MachineLink, on_each
from sync.rounds.rounds import Rounds
from sync.schedule.stages import (
    LossHistory,
    StageState,
    StageTable,
    interval_iterations,
    machines_due,
    stage_after,
    target_reached,
)
from sync.trainers.contract import read_state

PATIENCE = 1.25
"""Once the quorum is due, the others are waited for until one machine has trained so many intervals."""
RETRY_SHARE = 0.25
"""After a round that came to nothing, trainers train on for this part of the interval before they are stopped again."""
RETRY_AFTER_S = 600.0
"""The same for a round that never got as far as a snapshot; doubled for each further one, up to the longest."""
LONGEST_RETRY_AFTER_S = 6 * 3600.0
CAME_TO_NOTHING = ("held", "aborted", "undone")


@dataclass(frozen=True, eq=False)
class MachineState:
    """What one machine's data.dat said when it was last read."""

    saved_s: int
    """By the machine's own clock."""
    size_bytes: int
    history: LossHistory
    options: str
    gan: bool
    """Whether it trains a GAN."""
    iteration_s: float | None
    """Seconds per iteration between the last two saves that were seen."""


@dataclass(frozen=True)
class Outlook:
    """Whether a round is due, and why (not)."""

    due: bool
    reason: str
    stage: str
    interval: int
    machines: Mapping[str, MachineState]
    failed: Mapping[str, DfldError]
    owing: tuple[str, ...]
    """Machines that can be reached and still have to finish a round."""
    finished: bool = False
    """The target loss is reached: no more rounds."""


class Watch:
    """Watches the machines of one model. Uses the links of `rounds`, so never while a round runs."""

    def __init__(
        self,
        rounds: Rounds,
        table: StageTable,
        *,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rounds = rounds
        self.table = table
        self._clock = clock
        self._monotonic = monotonic
        self._first_seen: tuple[int, float] = (0, 0.0)
        """The last round that came to nothing, and when this watch saw it first, by a clock that nobody sets."""
        self._states: dict[str, MachineState] = {}

    def observe(self) -> Outlook:
        """Ask every machine once. Machines that cannot be reached are named, and do not count."""
        found, failed = on_each(self.rounds.links, self.rounds.links, self._observe)
        self._states |= found
        history = self.rounds.history()
        owing = tuple(name for name in found if name in history.debts)
        counted = {name: seen for name, seen in found.items() if history.base.get(name, 0) == history.newest}
        stage = self._stage(counted)
        interval = interval_iterations(
            self.table.stages[stage.stage],
            iteration_s=max((seen.iteration_s for seen in counted.values() if seen.iteration_s), default=None),
            downtime_s=self._downtime_s(history),
            gan=any(seen.gan for seen in counted.values()),
            save_period_s=self.rounds.settings.trainer.save_period_s,
        )
        done = {name: seen.history.iteration - history.last_iteration(name) for name, seen in counted.items()}
        finished = target_reached(self.table, {name: seen.history for name, seen in counted.items()})
        due, reason = self._judge(history, done, interval, finished)
        pause = self._why_not_again(history, counted, interval) if due else ""
        due, reason = due and not pause, pause or reason
        return Outlook(due, reason, self.table.stages[stage.stage].name, interval, found, failed, owing, finished)

    def _judge(self, history: History, done: Mapping[str, int], interval: int, finished: bool) -> tuple[bool, str]:
        quorum = self.rounds.settings.quorum
        if history.to_undo:
            return True, history.to_undo.why_to_undo
        if not history.newest and not self.rounds.alone:
            return False, "the machines have no common start yet (dfld sync init)"
        if finished:
            return False, f"the target loss {self.table.target_loss} is reached"
        ready = machines_due(done, interval)
        counts = ", ".join(f"{name} {count}" for name, count in sorted(done.items())) or "no machine"
        progress = f"{counts} of {interval} iterations since the last round"
        if len(ready) < quorum:
            return False, progress
        if len(ready) < len(done) and max(done.values()) < PATIENCE * interval:
            return False, f"{progress}; waiting for the others"
        return True, progress

    def _why_not_again(self, history: History, counted: Mapping[str, MachineState], interval: int) -> str:
        """A round that came to nothing is not tried at every poll: each try stops the trainers."""
        last = history.records[-1] if history.records else None
        if last is None or last.outcome not in CAME_TO_NOTHING or last.ended_at is None:
            return ""
        before = f"round {last.number} was {last.outcome} ({last.reason}); "
        since = [
            seen.history.iteration - last.iterations[name] for name, seen in counted.items() if name in last.iterations
        ]
        if since and max(since) < RETRY_SHARE * interval:
            return f"{before}the next try is {RETRY_SHARE * interval - max(since):.0f} iterations away"
        wait_s = retry_after_s(history.records)
        if self._first_seen[0] != last.number:
            self._first_seen = (last.number, self._monotonic())
        # The wall clock outlives a restart but may be set back, the monotonic one the other way round.
        passed_s = max((self._clock() - last.ended_at).total_seconds(), self._monotonic() - self._first_seen[1])
        if not since and passed_s < wait_s:
            return f"{before}the next try is within {wait_s / 60:.0f} minutes"
        return ""

    def _observe(self, link: MachineLink) -> MachineState:
        stat = link.transport.stat(link.places.live(DATA))
        before = self._states.get(link.name)
        if before and (before.saved_s, before.size_bytes) == (stat.modified_s, stat.size_bytes):
            return before
        state = read_state(link.transport, link.places, link.refused)
        iteration_s = before.iteration_s if before else None
        if before and state.iteration > before.history.iteration and stat.modified_s > before.saved_s:
            iteration_s = (stat.modified_s - before.saved_s) / (state.iteration - before.history.iteration)
        return MachineState(
            stat.modified_s,
            stat.size_bytes,
            LossHistory(state.iteration, state.losses),
            training_options_text(state.options),
            trains_gan(state.options),
            iteration_s,
        )

    def _stage(self, counted: Mapping[str, MachineState]) -> StageState:
        """Move the stage on by the first machine of the configuration that counts; remembered on disk."""
        state = StageState.remembered(self.rounds.store.read_note("stage"))
        if not counted:
            return state
        first = next(iter(counted.values()))
        moved = stage_after(self.table, state, first.history, first.options)
        if moved != state:
            self.rounds.store.write_note("stage", asdict(moved))
        return moved

    def _downtime_s(self, history: History) -> float | None:
        """How long trainers did not train because of the last round that stopped any; None before there was one."""
        for record in reversed(history.records):
            found = downtime_s(record) if record.outcome == "averaged" else 0.0
            if found:
                return found
        return None


def retry_after_s(records: Sequence[RoundRecord]) -> float:
    """Return how long to wait after the rounds in a row, newest last, that came to nothing before any snapshot."""
    fruitless = 0
    for record in reversed(records):
        if record.outcome not in CAME_TO_NOTHING or record.iterations:
            break
        fruitless += 1
    return min(LONGEST_RETRY_AFTER_S, RETRY_AFTER_S * 2.0 ** min(max(0, fruitless - 1), 30))
