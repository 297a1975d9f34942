"""One round from end to end, journaled; the only seam that daemon/ and the CLI call.

    plan → can it succeed? → settle → pull → accept → average → stage → decide → swap → resume → verify → close

Before the `decided` line is on disk, any failure leaves every machine as it was; after it there is only forward, also
after kill -9 of dfld and on a machine that comes back the next day: until then that machine is fenced, not counted,
and not started by dfld. Whatever ends a round, an exception of any type included, goes through `_until_decided` or
`RoundWork.finish_machines`, and both start every trainer that was stopped. What each step does on a machine is in
`sync.rounds.round_work`, what a journal means in `sync.journal.history`.

Kinds of round: the machines' average; `init`, one machine's weights for all, which gives them the common start that
averages need; `rollback`, a kept average for all; `undo`, made by a round itself when most trainers got worse.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

from core.errors import DfldError
from dfl.model_files import is_optimizer
from sync.averaging.average_model import AveragedFile, ModelAverage, ModelPlan, average_model
from sync.errors import DisagreementError, RoundError, SyncError
from sync.journal.downtime import foresee
from sync.journal.history import Standing, stand
from sync.journal.journal import FileJournal, Journal
from sync.journal.record import Kind, RoundRecord, replay
from sync.journal.report import OUTCOMES, told
from sync.machines import link_machines, words_of
from sync.rounds.candidates import Candidates, check_candidates, sort_out
from sync.rounds.deploy import join
from sync.rounds.feasibility import HOW_TO_UNDO, check_prospects, leave_out, refuse_hopeless
from sync.rounds.round_work import NewWeights, OnProgress, RoundTools, RoundWork
from sync.rounds.settings import SyncSettings
from sync.rounds.store import Store, sha256_of
from sync.transports.ssh_transport import connect as connect_machine
from sync.transports.transport import Connect
from sync.types import Forecast, Round

MakeWeights = Callable[[RoundWork, Standing], NewWeights]


class Rounds:
    """The rounds of one model. One thread; connections are kept until `close`."""

    def __init__(
        self,
        settings: SyncSettings,
        *,
        connect: Connect = connect_machine,
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
        self.links = link_machines(settings.machines, settings.model, settings.trainer, connect, self.stop)
        self._tools = RoundTools(settings, self.store, self.journal, self.links, self.stop, on_progress or _tell_nobody)

    # What daemon/ and the CLI call. Each first finishes what an earlier dfld left unfinished.

    def average(self) -> Round:
        """Do one round of averaging; its outcome says how it went. Raise only for what is wrong here."""
        with self.store.locked():
            self._finish_earlier()
            return self._run("average", "", self._own_weights if self.alone else self._averaged_weights)

    @property
    def alone(self) -> bool:
        """Whether one machine trains by itself: its saves join the model to deploy, and nothing is pushed."""
        return len(self.links) == 1

    def try_average(self) -> Round:
        """Do what `average` does up to the verdict, on the trainers' last saves; stop nothing, push nothing."""
        with self.store.locked():
            return self._try()

    def start_from(self, machine: str) -> Round:
        """Give every machine the weights, and where it fits the optimizer state, of one of them.

        Each keeps its own data.dat, so its trainer must have saved the same model at least once.
        """
        self.settings.check_machine(machine)
        with self.store.locked():
            self._finish_earlier()
            return self._run("init", machine, self._weights_of_one)

    def roll_back(self, number: int | None = None) -> Round:
        """Give every machine the kept average of an earlier round.

        By default the last one that led to the present weights and is another than they are: never one that was
        rejected by an earlier rollback.
        """
        with self.store.locked():
            bad = self.standing().to_undo
            self._finish_earlier()
            standing = self.standing()
            if number is None and bad and bad.number in standing.rejected:
                return self.told(standing.rejected[bad.number])  # that was the step back
            earlier = [kept for kept in standing.earlier() if kept in self.store.averages()]
            if number is None and not earlier:
                raise RoundError("no average from before the newest is kept", hint="dfld rounds lists what there is")
            kept = self.store.average(number if number is not None else earlier[-1])
            self.store.check_average(kept)
            return self._run("rollback", str(kept.number), self._kept_weights)

    def recover(self) -> Mapping[str, str]:
        """Finish what an earlier dfld left, as far as machines can be reached; return machine → why it could not."""
        with self.store.locked():
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

    def standing(self) -> Standing:
        """Return where the machines stand."""
        return stand(self.records())

    def told(self, number: int) -> Round:
        """Return what a round did, for people and metrics."""
        return told(replay(number, self.journal.read(number)), self.settings.model)

    def close(self) -> None:
        """Give all connections back."""
        for link in self.links.values():
            link.transport.close()

    # One round.

    def _run(self, kind: Kind, source: str, make: MakeWeights) -> Round:
        standing = self.standing()
        work = RoundWork(self._tools, RoundRecord(self.journal.begin()))
        least = self.settings.quorum if kind == "average" else 1

        def prepare() -> None:
            work.plan(kind, source, self.links, standing.debts)
            if not self.alone:
                self._see_that_it_can_succeed(work, standing)
                work.wait_until_stoppable(least=2 if kind == "init" else least)
                self._heed_stop()
                work.settle()
                work.check_enough(2 if kind == "init" else least)
            self._heed_stop()
            work.pull(with_optimizer=kind == "init", settled=not self.alone)
            self._heed_stop()
            work.stage(make(work, standing), least=least)
            self._heed_stop()

        if self._until_decided(work, prepare):
            self._carry_out(work)
        return told(work.record, self.settings.model)

    def _see_that_it_can_succeed(self, work: RoundWork, standing: Standing) -> None:
        """Before the first trainer is stopped: raise RoundError when the round cannot succeed; leave out who cannot."""
        record = work.record
        kind = "average" if record.kind == "dry_run" else record.kind
        source = record.source if kind == "init" else ""
        refuse_hopeless(kind, standing, self.settings.gates)
        prospects = work.look_ahead(with_optimizer=kind == "init")
        refused = leave_out(kind, prospects, source=source)
        work.exclude(refused)
        check_prospects(
            kind,
            {name: one for name, one in prospects.items() if name not in refused},
            standing,
            source=source,
            quorum=self.settings.quorum,
            free_here=work.free_here(),
            others=work.reasons() if record.excluded else "",
        )

    def _until_decided(self, work: RoundWork, prepare: Callable[[], None]) -> bool:
        """Do what comes before a decision, and decide; return whether that was done.

        The boundary of a round: whatever is raised, of any type, ends it with its reason, and every trainer that was
        stopped for it is started again before this returns.
        """
        try:
            prepare()
            work.decide()
        except BaseException as error:
            work.give_up(*self._why_given_up(error))
            if not isinstance(error, Exception):
                raise  # a second interrupt: the trainers come first
            return False
        return True

    def _why_given_up(self, error: BaseException) -> tuple[str, str]:
        """Return outcome and reason of a round that ended before its decision."""
        if isinstance(error, RoundError) and not self.stop.is_set():
            return "held", error.message
        return "aborted", words_of(error)

    def _heed_stop(self) -> None:
        """Before the decision a round can still be given up at once. Raise SyncError when dfld is told to stop."""
        if self.stop.is_set():
            raise SyncError("dfld was told to stop; the round was given up before its decision")

    def _carry_out(self, work: RoundWork, *, late: bool = False) -> None:
        """Bring a decided round to its end; safe to call again at any point.

        Raise RoundError where that cannot be done on this computer: the trainers run by then.
        """
        work.finish_machines(late=late)
        work.verify()
        if self.stop.is_set():
            return
        try:
            self._close(work)
        except Exception as error:
            raise self._not_closed(work, error) from error
        if work.journal_error:
            raise self._not_closed(work, work.journal_error)

    def _close(self, work: RoundWork) -> None:
        record = work.record
        if record.is_bad:
            why_not = self._undo(record)
            if why_not and self.stop.is_set():
                return  # broken off; the next start sees to it
            if why_not:
                raise RoundError(f"{record.why_to_undo}: {why_not}", hint=HOW_TO_UNDO)
            work.close("undone", record.doubts)
        else:
            said = join(self.store, record, self.settings.average)
            reached = f"{len(record.swapped)} of {len(record.receivers)} machines have it"
            work.close(OUTCOMES[record.kind], f"{reached}; {said}" if said else reached)
        self.store.prune(self.settings.keep_rounds, needed={self.standing().newest})

    def _not_closed(self, work: RoundWork, error: Exception) -> RoundError:
        why = words_of(error)
        return RoundError(
            f"round {work.number} is on the machines and they train, but it could not be closed: {why}",
            hint=getattr(error, "hint", "") or "the next call goes on with it",
        )

    def _undo(self, record: RoundRecord) -> str:
        """Put back on every machine what it had before the round; taken up again where it was begun.

        Return why that could not be done; nothing once the weights from before are the common start again, or a later
        round has replaced those of this one.
        """
        standing = self.standing()
        for earlier in standing.records:
            if earlier.kind == "undo" and earlier.source == str(record.number) and earlier.decided:
                if earlier.ended:
                    return ""
                return self._carried_out(RoundWork(self._tools, earlier), late=True)
        if standing.newest != record.number:
            return ""  # an operator's start or rollback: what was here before it must not come over it
        work = RoundWork(self._tools, RoundRecord(self.journal.begin()))

        def prepare() -> None:
            work.plan("undo", str(record.number), sorted(record.swapped), {})
            self._see_that_it_can_succeed(work, standing)
            work.wait_until_stoppable(least=1)
            work.settle()
            work.check_enough(1)
            work.note_iterations()
            work.stage(self._earlier_weights(work, record), least=1)

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
        round is in another's way: what goes wrong with one is told, and the next is finished.
        """
        left: dict[str, str] = {}
        unfinished = [record for record in self.records() if record.owing or not record.ended]
        for record in sorted(unfinished, key=lambda one: (one.decided and not one.ended, one.number)):
            work = RoundWork(self._tools, record)
            try:
                if record.ended:
                    work.finish_machines(late=True)
                    if not record.owing:
                        self.store.forget_outgoing(record.number)
                elif record.decided:
                    self._carry_out(work, late=True)
                else:
                    work.give_up("aborted", "dfld ended before the decision")
            except Exception as error:
                left |= dict.fromkeys(record.machines, f"round {record.number}: {words_of(error)}")
            left |= {name: record.unfinished.get(name, f"it owes round {record.number}") for name in record.owing}
        return left

    def _try(self) -> Round:
        standing = self.standing()
        work = RoundWork(self._tools, RoundRecord(0), journaled=False)
        forecast: Mapping[str, Forecast] = {}
        try:
            work.plan("dry_run", "", self.links, standing.debts)
            if not self.alone:
                self._see_that_it_can_succeed(work, standing)
            work.pull(with_optimizer=False, settled=False)
            (self._own_weights if self.alone else self._averaged_weights)(work, standing)
            reason = f"{len(work.record.contributors)} machines would be averaged"
            forecast = {} if self.alone else self._foresee(work, standing)
        except DfldError as error:
            reason = error.message
        finally:
            self.store.forget_incoming(0)
            self.store.forget_outgoing(0)
        work.note("closed", outcome="dry_run", reason=reason)
        return told(work.record, self.settings.model, forecast)

    def _foresee(self, work: RoundWork, standing: Standing) -> dict[str, Forecast]:
        pushed = [one for one in standing.records if one.decided and one.kind == "average"]
        return foresee(
            work.record,
            loads_in_place={name: link.trainer.mode.loads_in_place for name, link in self.links.items()},
            save_s={name: one.save_took_s for name, one in work.prospects.items()},
            last=pushed[-1] if pushed else None,
        )

    # Where new weights come from.

    def _averaged_weights(self, work: RoundWork, standing: Standing) -> NewWeights:
        work.check_taking_part(self.settings.quorum)
        chosen = sort_out(work.snapshots, standing, self.settings.gates)
        work.exclude(chosen.refused)
        check_candidates(chosen, quorum=self.settings.quorum)
        average = self._average(work, chosen, standing)
        verdict = average.verdict
        work.exclude(verdict.refused)
        work.note(
            "accepted",
            contributors=list(verdict.accepted),
            spread_rel=verdict.divergence.spread_rel,
            shrink=verdict.divergence.shrink,
            shares=dict(average.shares),
            work=dict(chosen.work),
            measures={name: one.measures() for name, one in verdict.every_machine.machines.items()},
            warnings=[*chosen.warnings, *verdict.warnings],
        )
        if verdict.held:
            raise RoundError(verdict.held)
        iteration = max(work.snapshots[name].iteration for name in verdict.accepted)
        kept = average.files[verdict.accepted[0]]
        return NewWeights(average.files, kept, iteration, average.momentum)

    def _own_weights(self, work: RoundWork, standing: Standing) -> NewWeights:
        """The save of the only machine: checked, kept, and left on the machine as it is."""
        work.check_taking_part(1)
        (name,) = work.snapshots
        snapshot = work.snapshots[name]
        plan = ModelPlan(
            {name: paths_of(work, name)}, self.store.outgoing(work.number), gates=self.settings.gates, quorum=1
        )
        average = average_model(plan, stop=self.stop)
        if average.verdict.held:
            raise RoundError(average.verdict.held)
        done = snapshot.iteration - standing.last_iteration(name)
        work.note("accepted", contributors=[name], work={name: done}, measures={}, warnings=[])
        return NewWeights({name: {}}, average.files[name], snapshot.iteration, {})

    def _average(self, work: RoundWork, chosen: Candidates, standing: Standing) -> ModelAverage:
        files = {name: paths_of(work, name) for name in chosen.fitting}
        # Without the kept average (a lost disk) the machines still agree by its hash; only drift is not known then.
        known = standing.newest in self.store.averages()
        base = self.store.average(standing.newest).files if known else {}
        folder = self.store.outgoing(work.number)
        plan = ModelPlan(
            machines={name: files[name] for name in chosen.candidates},
            folder=folder,
            receivers=files,
            base=base if files[chosen.candidates[0]].keys() <= base.keys() else None,
            momentum=self.store.momentum_files(),
            own_shares={machine.name: machine.share for machine in self.settings.machines},
            iterations=chosen.work,
            settings=self.settings.average,
            gates=self.settings.gates,
            quorum=self.settings.quorum,
            usual_spreads=standing.usual_spreads,
        )
        return average_model(plan, stop=self.stop)

    def _weights_of_one(self, work: RoundWork, _standing: Standing) -> NewWeights:
        source = work.record.source
        if source not in work.snapshots:
            raise RoundError(f"the weights of {source} cannot be had: {work.record.excluded.get(source, '')}")
        files = work.snapshots[source].files
        new = self._spread(work, {part: file.path for part, file in files.items()}, work.snapshots[source].iteration)
        kept = {part: AveragedFile(file.path, file.sha256) for part, file in files.items() if not is_optimizer(part)}
        return NewWeights({**new.files, source: {}}, kept, new.iteration, {})

    def _kept_weights(self, work: RoundWork, _standing: Standing) -> NewWeights:
        kept = self.store.average(int(work.record.source))
        return self._spread(work, kept.files, kept.iteration)

    def _spread(self, work: RoundWork, source: Mapping[str, Path], iteration: int) -> NewWeights:
        """Write one set in the layout of every machine; a machine whose network is another stays out."""
        made: dict[str, Mapping[str, AveragedFile]] = {}
        for name in work.snapshots:
            if name == work.record.source:
                continue
            try:
                made[name] = self._in_layout_of(work, name, source)
            except DfldError as error:
                work.exclude({name: error})
        if not made:
            raise RoundError("no other machine can be given these weights")
        kept = {part: AveragedFile(path, sha256_of(path)) for part, path in source.items() if not is_optimizer(part)}
        return NewWeights(made, kept, iteration, {})

    def _in_layout_of(self, work: RoundWork, name: str, source: Mapping[str, Path]) -> dict[str, AveragedFile]:
        own = paths_of(work, name)
        weights = {part for part in source if not is_optimizer(part)}
        if weights != {part for part in own if not is_optimizer(part)}:
            raise DisagreementError(f"machine {name} has other weight files: {', '.join(sorted(own))}")
        folder = self.store.outgoing(work.number, name)
        made: dict[str, AveragedFile] = {}
        for part in sorted(source.keys() & own.keys()):
            plan = ModelPlan({"source": {part: source[part]}}, folder, {name: {part: own[part]}}, quorum=1)
            try:
                made[part] = average_model(plan, stop=self.stop).files[name][part]
            except DisagreementError:
                if not is_optimizer(part):  # optimizer state of another kind stays what it is there
                    raise
        return made

    def _earlier_weights(self, work: RoundWork, record: RoundRecord) -> NewWeights:
        """What each machine gave to the round, from its snapshot on this computer."""
        made = {}
        for name in sorted(work.record.touched - work.record.excluded.keys()):
            folder = self.store.incoming(record.number, name)
            parts = {part: folder / self.settings.model.file_name(part) for part in record.staged[name]}
            made[name] = {part: AveragedFile(path, sha256_of(path)) for part, path in parts.items()}
        return NewWeights(made, {}, 0, {})


def paths_of(work: RoundWork, name: str) -> dict[str, Path]:
    """Return a machine's snapshot as part → file on this computer."""
    return {part: file.path for part, file in work.snapshots[name].files.items()}


def _tell_nobody(_step: str, _machine: str, _facts: Mapping[str, object]) -> None:
    """An OnProgress for callers who do not want to know."""
