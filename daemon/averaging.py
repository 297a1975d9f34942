"""The job of one model: is a round due? Do it, and report what came of it.

One `Averaging` for the service. Each model is polled by the scheduler over kept connections; a due round runs in a
thread of its own, and while it runs the model is not polled. What a round does is `sync.rounds.rounds`; here it becomes
events and metrics. A round that a killed dfld left unfinished is finished at the first poll.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from types import MappingProxyType

from core.errors import DfldError
from daemon.config.schema import Config
from daemon.config.sync_tables import SyncConfig
from daemon.events.event import Notify
from daemon.events.round_events import (
    MachineDoubted,
    MachineDown,
    MachineExcluded,
    MachineUp,
    PollFailed,
    RoundAbandoned,
    RoundDecided,
    RoundDone,
    RoundFailed,
    RoundNotDone,
    RoundRecovered,
    RoundWaits,
)
from daemon.machines import round_settings_of, stage_table_of
from daemon.metrics.registry import LabelValues, Metrics, Reading
from daemon.reports.models import MachineReport, ModelReport, RoundReport
from daemon.scheduler import Scheduler
from sync.errors import HostKeyError, RoundError
from sync.failures import failing_alone
from sync.journal.downtime import downtime_s
from sync.journal.lines import Decided, Doubted, Excluded, Line
from sync.journal.record import RoundRecord
from sync.journal.report import what_became
from sync.rounds.round_work import Waiting
from sync.rounds.rounds import Rounds
from sync.schedule.watch import Outlook, Watch
from sync.types import Round

STOP_POLL_S = 0.1
SUCCESSES = ("averaged", "initialised", "rolled_back")


class Averaging:
    """All models of the configuration. `configure` and `stop` from one thread; polls come from the scheduler's."""

    def __init__(self, notify: Notify, metrics: Metrics, scheduler: Scheduler) -> None:
        self._notify = notify
        self._metrics = metrics
        self._scheduler = scheduler
        self._models: dict[str, _Model] = {}
        self._tables: dict[str, tuple[SyncConfig, object]] = {}

    def configure(self, config: Config) -> None:
        """Take the models of a configuration: new ones are polled at once, gone and changed ones end their round."""
        wanted = {f"{sync.name} {sync.model_class}": sync for sync in config.syncs}
        for key in list(self._models):
            if key not in wanted or self._tables[key] != (wanted[key], config.machines):
                self._scheduler.forget(f"poll {key}")
                self._models.pop(key).ask_to_stop()  # not waited for: a reload must not take a minute
        for key, sync in wanted.items():
            if key in self._models:
                continue
            model = _Model(config, sync, self._notify, self._metrics)
            self._models[key], self._tables[key] = model, (sync, config.machines)
            self._metrics.set("dfld_round_quorum", float(sync.quorum), model=sync.name)
            self._scheduler.every(sync.poll_every_s, f"poll {key}", model.poll, at_once=True)

    def ask_to_stop(self) -> None:
        """Have every round end where it can be resumed: given up before its decision, else brought forward."""
        for model in self._models.values():
            model.ask_to_stop()

    def stop(self, ends_at_s: float, *, at_once: Callable[[], bool] = lambda: False) -> None:
        """Wait for rounds to end until `ends_at_s` on the monotonic clock, or until `at_once()`.

        A round that has not ended by then is abandoned as a crash would abandon it: its journal says where it was, and
        the next start takes it up there.
        """
        self.ask_to_stop()
        for model in self._models.values():
            model.stop(ends_at_s, at_once)

    def statuses(self) -> tuple[ModelReport, ...]:
        """Return where each model is, for `dfld status`; asks no machine."""
        return tuple(model.status() for model in self._models.values())

    def reading(self) -> Reading:
        """Return the numbers that outlive restarts, from the journals."""
        totals: Counter[LabelValues] = Counter()
        last: dict[LabelValues, float] = {}
        contributors: dict[LabelValues, float] = {}
        for model in self._models.values():
            past = model.past
            for outcome, count in past.outcomes.items():
                totals[model.name, outcome] += count
            if past.averaged_s is not None:
                last[model.name,] = past.averaged_s
                contributors[model.name,] = past.contributors
        return {
            "dfld_rounds_total": dict(totals),
            "dfld_round_last_success_timestamp_seconds": last,
            "dfld_round_contributors": contributors,
        }


@dataclass(frozen=True)
class _Past:
    """What the journals of a model say, as other threads may read it: `Rounds` itself is for one thread at a time."""

    outcomes: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    averaged_s: float | None = None
    """When the last round that averaged ended."""
    contributors: int = 0
    """Machines in that round."""
    last: RoundReport | None = None
    """The last round that ended."""
    owing: Mapping[str, int] = field(default_factory=lambda: MappingProxyType({}))
    """Machine → the round that it still has to finish."""


def _past_of(records: Sequence[RoundRecord]) -> _Past:
    """Return what rounds, oldest first, came to. Pure; nothing of a record, which may still change, is in it."""
    ended = [record for record in records if record.ended_at]
    averaged = [record for record in ended if record.outcome == "averaged"]
    newest = averaged[-1] if averaged else None
    return _Past(
        outcomes=MappingProxyType(Counter(record.outcome for record in records if record.outcome)),
        averaged_s=newest.ended_at.timestamp() if newest and newest.ended_at else None,
        contributors=len(newest.contributors) if newest else 0,
        last=_round_report(ended[-1]) if ended else None,
        owing=MappingProxyType({name: record.number for record in records for name in sorted(record.owing)}),
    )


def _round_report(record: RoundRecord) -> RoundReport:
    return RoundReport(
        round=record.number,
        kind=record.kind.name,
        outcome=record.outcome,
        reason=record.reason,
        ended_s=record.ended_at.timestamp() if record.ended_at else None,
        contributors=tuple(record.contributors),
        downtime_s=downtime_s(record),
    )


class _Model:
    """One model: its rounds, its watch, and the thread of a round under way."""

    def __init__(self, config: Config, sync: SyncConfig, notify: Notify, metrics: Metrics) -> None:
        self.name = sync.name
        self._notify = notify
        self._metrics = metrics
        self._stop = threading.Event()
        self.rounds = Rounds(round_settings_of(config, sync), stop=self._stop, on_progress=self._progress)
        self._watch = Watch(self.rounds, stage_table_of(sync))
        self._thread: threading.Thread | None = None
        self._polling = threading.Lock()
        self._unfinished = True
        """Whether an earlier dfld may have left a round open: until the first recovery."""
        self._down: set[str] = set()
        self._outlook: Outlook | None = None
        """Of the last poll. Written by the poll's thread, read by others as a whole."""
        self.past = _Past()
        """At the end of the last poll or round. Written by whoever works with `rounds`, read by others as a whole."""
        with suppress(DfldError, OSError):  # the first poll says what is wrong with them
            self._publish()
        self._doing = ""
        """The last line of the round under way; empty between rounds."""

    def poll(self) -> None:
        """Observe every machine once and start what is due, without waiting for it. Called by the scheduler."""
        if self._stop.is_set() or (self._thread and self._thread.is_alive()) or not self._polling.acquire(False):
            return
        try:
            if self._unfinished:
                self._start(self._recover)
                return
            self._outlook = outlook = self._watch.observe()
            self._publish()
            self._report_outlook(outlook)
            if outlook.owing:
                self._start(self._recover)
            elif outlook.due:
                self._start(self._average)
        except DfldError as error:
            self._metrics.add("dfld_round_polls_failed_total", model=self.name)
            self._notify(PollFailed(f"model {self.name}: {error.message}", model=self.name))
        finally:
            self._polling.release()

    def status(self) -> ModelReport:
        """Return where the model is, see `Averaging.statuses`."""
        outlook, past = self._outlook, self.past
        return ModelReport(
            name=self.name,
            machines={name: _machine_report(name, outlook) for name in self.rounds.links},
            stage=outlook.stage if outlook else "",
            every_iterations=outlook.interval if outlook else None,
            next=outlook.reason if outlook else "not observed yet",
            doing=self._doing,
            last=past.last,
            owing=dict(past.owing),
        )

    def _publish(self) -> None:
        self.past = _past_of(self.rounds.records())

    def ask_to_stop(self) -> None:
        self._stop.set()

    def stop(self, ends_at_s: float, at_once: Callable[[], bool]) -> None:
        """Wait for the round under way, see `Averaging.stop`; give connections back."""
        self._stop.set()
        thread = self._thread
        if thread is None or not thread.is_alive():
            self.rounds.close()
            return
        while thread.is_alive() and time.monotonic() < ends_at_s and not at_once():
            thread.join(STOP_POLL_S)
        if thread.is_alive():
            message = f"model {self.name}: its round has not ended in time; the next start takes it up from its journal"
            self._notify(RoundAbandoned(message, model=self.name))

    def _start(self, work: Callable[[], None]) -> None:
        self._thread = threading.Thread(target=self._guarded, args=(work,), name=f"round-{self.name}", daemon=True)
        self._thread.start()

    def _guarded(self, work: Callable[[], None]) -> None:
        """Do a round; whatever goes wrong is reported, and the service goes on."""
        try:
            with failing_alone(f"a round of model {self.name}", self._report_failure):
                try:
                    work()
                finally:
                    self._publish()
        finally:
            self._doing = ""
            if self._stop.is_set():
                self.rounds.close()

    def _report_failure(self, failure: DfldError) -> None:
        if isinstance(failure, RoundError):
            self._notify(RoundWaits(f"model {self.name}: {failure.message}", model=self.name))
            return
        why = f"a round could not be done: {failure.message}"
        self._notify(RoundNotDone(f"model {self.name}: {why}", model=self.name))

    def _recover(self) -> None:
        before = [record for record in self.rounds.records() if record.owing or not record.ended]
        left = self.rounds.recover()
        self._publish()
        self._unfinished = False
        for record in before:
            became = what_became(record, self.rounds.record(record.number))
            self._notify(RoundRecovered(f"model {self.name}: {became}", model=self.name, round=record.number))
        for machine, reason in left.items():
            message = f"model {self.name}: {machine} still owes a round: {reason}"
            self._notify(RoundWaits(message, model=self.name))

    def _average(self) -> None:
        done = self.rounds.average()
        self._publish()  # who is notified asks for it at once
        self._report_round(done)

    def _report_round(self, done: Round) -> None:
        good = done.outcome in SUCCESSES
        seconds = (done.ended_at - done.started_at).total_seconds()
        kind = RoundDone if good else RoundFailed
        self._notify(
            kind(
                f"model {self.name}: round {done.number} {done.outcome.replace('_', ' ')}: {done.reason}",
                model=self.name,
                round=done.number,
                outcome=done.outcome,
                contributors=done.contributors,
                receivers=done.receivers,
                excluded=done.excluded,
                fenced=done.fenced,
                seconds=seconds,
            )
        )
        self._measure(done, seconds)

    def _measure(self, done: Round, seconds: float) -> None:
        metrics = self._metrics
        metrics.observe("dfld_round_duration_seconds", seconds, model=self.name)
        for machine, measures in done.divergences.items():
            if "drift_rel" in measures:
                metrics.set("dfld_machine_drift_ratio", measures["drift_rel"], model=self.name, machine=machine)
        if done.spread_rel is not None:
            metrics.set("dfld_round_spread_ratio", done.spread_rel, model=self.name)
        for machine, paused_s in done.paused_s.items():
            metrics.add("dfld_trainer_paused_seconds_total", paused_s, machine=machine)
        for direction, moved in (("pull", done.bytes_pulled), ("push", done.bytes_pushed)):
            for machine, count in moved.items():
                metrics.add("dfld_transfer_bytes_total", count, machine=machine, direction=direction)
                took_s = done.transfer_s.get(machine, {}).get(direction, 0.0)
                metrics.add("dfld_transfer_seconds_total", took_s, machine=machine, direction=direction)

    def _report_outlook(self, outlook: Outlook) -> None:
        for machine, seen in outlook.machines.items():
            self._metrics.set("dfld_machine_up", 1.0, machine=machine)
            self._metrics.add("dfld_machine_connections_total", machine=machine, result="ok")
            for metric, value in (
                ("dfld_machine_iterations", float(seen.history.iteration)),
                ("dfld_machine_saved_timestamp_seconds", float(seen.saved_s)),
            ):
                self._metrics.set(metric, value, model=self.name, machine=machine)
        for machine, error in outlook.failed.items():
            result = "host_key" if isinstance(error, HostKeyError) else "failed"
            self._metrics.set("dfld_machine_up", 0.0, machine=machine)
            self._metrics.add("dfld_machine_connections_total", machine=machine, result=result)
            if machine not in self._down:
                self._notify(MachineDown(f"model {self.name}: {error.message}", model=self.name, machine=machine))
        for machine in self._down & outlook.machines.keys():
            message = f"model {self.name}: machine {machine} answers again"
            self._notify(MachineUp(message, model=self.name, machine=machine))
        self._down = set(outlook.failed)

    def _progress(self, line: Line | Waiting) -> None:
        machine = line.machine
        match line:
            case Waiting():
                self._doing = f"{machine}: waiting: {line.reason}"
                return
            case Excluded():
                message = f"model {self.name}: {machine} excluded: {line.reason}"
                self._notify(MachineExcluded(message, model=self.name, machine=machine))
            case Doubted():
                message = f"model {self.name}: {machine} doubted: {line.reason}"
                self._notify(MachineDoubted(message, model=self.name, machine=machine))
            case Decided():
                self._notify(RoundDecided(f"model {self.name}: new weights are decided", model=self.name))
        self._doing = f"{machine}: {line.step}" if machine else line.step


def _machine_report(name: str, outlook: Outlook | None) -> MachineReport:
    seen = outlook.machines.get(name) if outlook else None
    error = outlook.failed.get(name) if outlook else None
    return MachineReport(
        iteration=seen.history.iteration if seen else None,
        saved_s=seen.saved_s if seen else None,
        error=error.message if error else "",
    )
