"""One round from end to end, journaled; the only seam that daemon/ and the CLI call.

    plan → can it succeed? → settle → pull → accept → average → stage → decide → swap → resume → verify → close

Before the `decided` line is on disk, any failure leaves every machine as it was; after it there is only forward, also
after kill -9 of dfld and on a machine that comes back the next day: until then that machine is fenced, not counted,
and not started by dfld. Whatever ends a round, an exception of any type included, goes through `_until_decided` or
`finish_machines`, and both start every trainer that was stopped. What each step does on a machine is in
`sync.rounds.before_decision` and `sync.rounds.after_decision`, what a journal means in `sync.journal`.

Which kinds of round there are, and what differs between them: `sync.journal.round_kinds`.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from functools import partial

from core.errors import DfldError
from sync.errors import RoundError, SyncError
from sync.failures import failing_alone, words_of
from sync.journal.downtime import foresee
from sync.journal.history import History, history_of
from sync.journal.journal import FileJournal, Journal
from sync.journal.lines import Closed, Line
from sync.journal.record import RoundRecord, replay
from sync.journal.report import report_of
from sync.journal.round_kinds import AVERAGE, DRY_RUN, INIT, ROLLBACK, UNDO, RoundKind
from sync.machines import link_machines
from sync.rounds.after_decision import close_round, finish_machines, give_up, verify_trainers
from sync.rounds.before_decision import (
    collect_prospects,
    decide,
    free_here,
    note_iterations,
    plan_round,
    pull_snapshots,
    settle_trainers,
    stage_weights,
    wait_until_stoppable,
)
from sync.rounds.deploy import join
from sync.rounds.feasibility import HOW_TO_UNDO, check_prospects, leave_out, refuse_hopeless
from sync.rounds.new_weights import (
    MakeWeights,
    averaged_weights,
    earlier_weights,
    kept_weights,
    own_weights,
    weights_of_one,
)
from sync.rounds.round_work import OnProgress, RoundTools, RoundWork, Waiting
from sync.rounds.settings import SyncSettings
from sync.rounds.store import Store
from sync.transports.ssh_transport import connect as connect_machine
from sync.transports.transport import Connect
from sync.types import Forecast, Outcome, Round


class Rounds:
    """The rounds of one model. One thread; connections are kept until `close`."""

    def __init__(
        self,
        settings: SyncSettings,
        *,
        connect: Connect | None = None,
        journal: Journal | None = None,
        stop: threading.Event | None = None,
        on_progress: OnProgress | None = None,
    ) -> None:
        """Nothing is connected or read yet. `journal` may be kept elsewhere, as in the daemon's ledger."""
        self.settings = settings
        self.store = Store(settings.folder)
        self.journal: Journal = journal or FileJournal(self.store.rounds)
        self.stop = stop or threading.Event()
        self._over: dict[int, RoundRecord] = {}
        """Rounds whose journals nobody will add to: read once."""
        connect = connect or partial(connect_machine, stop=self.stop)
        self.links = link_machines(settings.machines, settings.model, settings.trainer, connect, self.stop)
        self._tools = RoundTools(
            settings, self.store, self.journal, self.links, self.stop, on_progress or _ignore_progress
        )

    # What daemon/ and the CLI call. Each first finishes what an earlier dfld left unfinished.

    def average(self) -> Round:
        """Do one round of averaging; its outcome says how it went. Raise only for what is wrong here."""
        with self.store.locked(self.stop):
            self._finish_earlier()
            return self._run(AVERAGE, "", own_weights if self.alone else averaged_weights)

    @property
    def alone(self) -> bool:
        """Whether one machine trains by itself: its saves join the model to deploy, and nothing is pushed."""
        return len(self.links) == 1

    def try_average(self) -> Round:
        """Do what `average` does up to the verdict, on the trainers' last saves; stop nothing, push nothing."""
        with self.store.locked(self.stop):
            return self._try()

    def start_from(self, machine: str) -> Round:
        """Give every machine the weights, and where it fits the optimizer state, of one of them.

        Each keeps its own data.dat, so its trainer must have saved the same model at least once.
        """
        self.settings.check_machine(machine)
        with self.store.locked(self.stop):
            self._finish_earlier()
            return self._run(INIT, machine, weights_of_one)

    def roll_back(self, number: int | None = None) -> Round:
        """Give every machine the kept average of an earlier round.

        By default the last one that led to the present weights and is another than they are: never one that was
        rejected by an earlier rollback.
        """
        with self.store.locked(self.stop):
            bad = self.history().to_undo
            self._finish_earlier()
            history = self.history()
            if number is None and bad and bad.number in history.rejected:
                return self.report(history.rejected[bad.number])  # that was the step back
            earlier = [kept for kept in history.earlier() if kept in self.store.averages()]
            if number is None and not earlier:
                raise RoundError("no average from before the newest is kept", hint="dfld rounds lists what there is")
            kept = self.store.average(number if number is not None else earlier[-1])
            self.store.check_average(kept)
            return self._run(ROLLBACK, str(kept.number), kept_weights)

    def recover(self) -> Mapping[str, str]:
        """Finish what an earlier dfld left, as far as machines can be reached; return machine → why it could not."""
        with self.store.locked(self.stop):
            return self._finish_earlier()

    def records(self) -> list[RoundRecord]:
        """Return what every round did, oldest first."""
        found = []
        for number in self.journal.numbers():
            record = self._over.get(number) or replay(number, self.journal.read(number))
            if record.ended and not record.owing:
                self._over[number] = record
            found.append(record)
        return found

    def record(self, number: int) -> RoundRecord:
        """Return what one round did so far, as a value of its own."""
        return replay(number, self.journal.read(number))

    def history(self) -> History:
        """Return where the machines stand."""
        return history_of(self.records())

    def report(self, number: int) -> Round:
        """Return what a round did, for people and metrics."""
        return report_of(replay(number, self.journal.read(number)), self.settings.model)

    def close(self) -> None:
        """Give all connections back."""
        for link in self.links.values():
            link.transport.close()

    # One round.

    def _run(self, kind: RoundKind, source: str, make: MakeWeights) -> Round:
        history = self.history()
        work = RoundWork(self._tools, RoundRecord(self.journal.begin()))
        least = kind.least_machines(self.settings.quorum)

        def prepare() -> None:
            plan_round(work, kind, source, self.links, history.debts)
            if not self.alone:
                self._check_feasibility(work, history)
                wait_until_stoppable(work, least=least)
                self._check_stop()
                settle_trainers(work)
                work.check_enough(least)
            self._check_stop()
            pull_snapshots(work, with_optimizer=kind.from_machine, settled=not self.alone)
            self._check_stop()
            stage_weights(work, make(work, history), least=kind.least_receivers(self.settings.quorum))
            self._check_stop()

        if self._until_decided(work, prepare):
            self._carry_out(work)
        return report_of(work.record, self.settings.model)

    def _check_feasibility(self, work: RoundWork, history: History) -> None:
        """Before the first trainer is stopped: raise RoundError when the round cannot succeed; leave out who cannot."""
        record = work.record
        refuse_hopeless(record.kind, history, self.settings.gates)
        prospects = collect_prospects(work, with_optimizer=record.kind.from_machine)
        refused = leave_out(record.kind, prospects, source=record.giver)
        work.exclude(refused)
        check_prospects(
            record.kind,
            {name: one for name, one in prospects.items() if name not in refused},
            history,
            source=record.giver,
            quorum=self.settings.quorum,
            free_here=free_here(work),
            others=work.reasons() if work.record.excluded else "",
        )

    def _until_decided(self, work: RoundWork, prepare: Callable[[], None]) -> bool:
        """Do what comes before a decision, and decide; return whether that was done.

        The boundary of a round: whatever is raised, of any type, ends it with its reason, and every trainer that was
        stopped for it is started again before this returns.
        """
        failures: list[DfldError] = []
        try:
            with failing_alone(f"round {work.number} of {self.settings.model.prefix}", failures.append):
                prepare()
                decide(work)
        except BaseException as interrupt:  # a second Ctrl-C: the trainers come first
            give_up(work, "aborted", words_of(interrupt))
            raise
        if failures:
            give_up(work, *self._why_given_up(failures[0]))
        return not failures

    def _why_given_up(self, failure: DfldError) -> tuple[Outcome, str]:
        """Return outcome and reason of a round that ended before its decision."""
        is_held = isinstance(failure, RoundError) and not self.stop.is_set()
        return "held" if is_held else "aborted", failure.message

    def _check_stop(self) -> None:
        """Before the decision a round can still be given up at once. Raise SyncError when dfld is asked to stop."""
        if self.stop.is_set():
            raise SyncError("dfld was asked to stop; the round was given up before its decision")

    def _carry_out(self, work: RoundWork, *, late: bool = False) -> None:
        """Bring a decided round to its end; safe to call again at any point.

        Raise RoundError where that cannot be done on this computer: the trainers run by then.
        """
        finish_machines(work, late=late)
        verify_trainers(work)
        if self.stop.is_set():
            return
        failures: list[DfldError] = []
        with failing_alone(f"the end of round {work.number} of {self.settings.model.prefix}", failures.append):
            self._close(work)
        if work.journal_error:
            failures.append(work.journal_error)
        for failure in failures:
            raise self._not_closed(work, failure) from failure

    def _close(self, work: RoundWork) -> None:
        record = work.record
        if record.is_bad:
            why_not = self._undo(record)
            if why_not and self.stop.is_set():
                return  # broken off; the next start sees to it
            if why_not:
                raise RoundError(f"{record.why_to_undo}: {why_not}", hint=HOW_TO_UNDO)
            close_round(work, "undone", record.doubts)
        else:
            said = join(self.store, record, self.settings.average)
            reached = f"{len(record.swapped)} of {len(record.receivers)} machines have it"
            close_round(work, record.kind.outcome, f"{reached}; {said}" if said else reached)
        self.store.prune(self.settings.keep_rounds, needed={self.history().newest})

    def _not_closed(self, work: RoundWork, failure: DfldError) -> RoundError:
        return RoundError(
            f"round {work.number} is on the machines and they train, but it could not be closed: {failure.message}",
            hint=failure.hint or "the next call goes on with it",
        )

    def _undo(self, record: RoundRecord) -> str:
        """Put back on every machine what it had before the round; resumed where it was begun.

        Return why that could not be done; nothing once the weights from before are the common start again, or a later
        round has replaced those of this one.
        """
        history = self.history()
        for earlier in history.records:
            if earlier.undoes == record.number and earlier.decided:
                if earlier.ended:
                    return ""
                return self._carried_out(RoundWork(self._tools, earlier), late=True)
        if history.newest != record.number:
            return ""  # an operator's start or rollback: what was here before it must not come over it
        work = RoundWork(self._tools, RoundRecord(self.journal.begin()))

        def prepare() -> None:
            plan_round(work, UNDO, str(record.number), sorted(record.swapped), {})
            self._check_feasibility(work, history)
            wait_until_stoppable(work, least=1)
            settle_trainers(work)
            work.check_enough(1)
            note_iterations(work)
            stage_weights(work, earlier_weights(work, record), least=1)

        if not self._until_decided(work, prepare):
            return work.record.reason
        return self._carried_out(work)

    def _carried_out(self, work: RoundWork, *, late: bool = False) -> str:
        """Bring a decided undo to its end; return why it has none yet."""
        self._carry_out(work, late=late)
        return "" if work.record.ended else f"round {work.number}, which undoes it, was broken off"

    def _finish_earlier(self) -> dict[str, str]:
        """Finish rounds that a crash or an absent machine left open; return machine → why it could not be.

        Given-up rounds first, oldest first: an undo that never came to its decision is begun anew by its round. No
        round is in another's way: what goes wrong with one is reported, and the next is finished.
        """
        left: dict[str, str] = {}
        unfinished = [record for record in self.records() if record.owing or not record.ended]
        for record in sorted(unfinished, key=lambda one: (one.decided and not one.ended, one.number)):
            work = RoundWork(self._tools, record)
            failures: list[DfldError] = []
            with failing_alone(f"round {record.number} of {self.settings.model.prefix}", failures.append):
                self._finish_one(work)
            left |= {name: f"round {record.number}: {one.message}" for one in failures for name in record.machines}
            owed = f"it owes round {record.number}"
            left |= {name: work.record.unfinished.get(name, owed) for name in work.record.owing}
        return left

    def _finish_one(self, work: RoundWork) -> None:
        """Finish a round that is over, decided, or neither."""
        if work.record.ended:
            finish_machines(work, late=True)
            if not work.record.owing:
                self.store.forget_outgoing(work.number)
        elif work.record.decided:
            self._carry_out(work, late=True)
        else:
            give_up(work, "aborted", "dfld ended before the decision")

    def _try(self) -> Round:
        history = self.history()
        work = RoundWork(self._tools, RoundRecord(0), journaled=False)
        forecast: Mapping[str, Forecast] = {}
        try:
            plan_round(work, DRY_RUN, "", self.links, history.debts)
            if not self.alone:
                self._check_feasibility(work, history)
            pull_snapshots(work, with_optimizer=False, settled=False)
            (own_weights if self.alone else averaged_weights)(work, history)
            reason = f"{len(work.record.contributors)} machines would be averaged"
            forecast = {} if self.alone else self._foresee(work, history)
        except DfldError as error:
            reason = error.message
        finally:
            self.store.forget_incoming(0)
            self.store.forget_outgoing(0)
        work.note(Closed("dry_run", reason))
        return report_of(work.record, self.settings.model, forecast)

    def _foresee(self, work: RoundWork, history: History) -> dict[str, Forecast]:
        pushed = [one for one in history.records if one.decided and one.kind.averages]
        return foresee(
            work.record,
            loads_in_place={name: link.trainer.mode.loads_in_place for name, link in self.links.items()},
            save_s={name: one.save_took_s for name, one in work.prospects.items()},
            last=pushed[-1] if pushed else None,
        )


def _ignore_progress(_line: Line | Waiting) -> None:
    """An OnProgress for callers who do not want to know."""
