"""The steps of one round, each on all its machines, each journaled. The order of the steps is `sync.rounds.rounds`'.

Every step writes to the journal before it begins something that would have to be put right, and after it has done
something that need not be done again; so a round can be taken up from its journal at any line.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from core.errors import DfldError
from dfl.model_files import DATA, optimizer_parts, weight_parts
from sync.averaging.average_model import AveragedFile
from sync.errors import ComputerError, RemoteFileMissingError, RoundError, SyncError, TrainerError
from sync.journal.journal import Entry, Journal, Step
from sync.journal.record import RoundRecord, apply_entry
from sync.machines import MachineLink, on_each
from sync.model_files.push import StagedFile, note_given, put_in_place, round_given, stage, state_of_exchange, unstage
from sync.model_files.snapshot import list_model, save_duration_s, take_snapshot
from sync.rounds.feasibility import Prospect
from sync.rounds.settings import SyncSettings
from sync.rounds.store import Store, set_digest
from sync.trainers.contract import Exchange, OnWait, SeenIterating, pause, read_state
from sync.trainers.pace import SavePoint, pace_between
from sync.trainers.proof import LossLevel, is_enough, level_of, why_doubted
from sync.types import Snapshot

T = TypeVar("T")
OnProgress = Callable[[str, str, Mapping[str, Any]], None]
"""Told every line as it is written to the journal: step, machine (or nothing), facts; and `waiting` before each wait
that may be long: `reason`, `limit_s`."""
TRIES = 3
"""For what must not stay undone on a machine because of one lost reply: starting its trainer, changing its files."""


@dataclass(frozen=True)
class RoundTools:
    """What every step works with."""

    settings: SyncSettings
    store: Store
    journal: Journal
    links: Mapping[str, MachineLink]
    stop: threading.Event
    on_progress: OnProgress


@dataclass(frozen=True)
class NewWeights:
    """What is to be pushed."""

    files: Mapping[str, Mapping[str, AveragedFile]]
    """Machine → part → file in that machine's own layout; a machine without any keeps what it has."""
    kept: Mapping[str, AveragedFile]
    """The set that is kept here as the base of the next round; empty where none is."""
    iteration: int
    """Of the most advanced machine behind it."""
    momentum: Mapping[str, AveragedFile]


class RoundWork:
    """One round under way. `record` says at any time what its journal says."""

    def __init__(self, tools: RoundTools, record: RoundRecord, *, journaled: bool = True) -> None:
        self.tools = tools
        self.record = record
        self.number = record.number
        self.snapshots: dict[str, Snapshot] = {}
        self.prospects: dict[str, Prospect] = {}
        self._iterating: dict[str, SeenIterating] = {}
        """Machine → the trainer that was seen iterating, for the stop that follows in this round."""
        self.listener_error: Exception | None = None
        self.journal_error: Exception | None = None
        """Why lines are missing from the journal: only ever of a round that is being brought to its end."""
        self._journaled = journaled
        self._ends = bool(record.decided or record.ended)
        """Whether the round is past its decision or given up: then nothing holds it up any more."""
        self._lock = threading.Lock()

    def note(self, step: Step, machine: str = "", **facts: Any) -> None:
        """Write one line to the journal; it is on disk when this returns.

        While the round is brought to its end a line that cannot be written is passed over: trainers come first, and
        whoever takes the round up later finds on the machines what was done.
        """
        entry = Entry(step, machine, facts)
        with self._lock:
            if self._journaled:
                try:
                    self.tools.journal.append(self.number, entry)
                except Exception as error:
                    if not self._ends:
                        raise
                    self.journal_error = error
            apply_entry(self.record, entry)
        self._tell(step, machine, facts)

    def _tell(self, step: str, machine: str, facts: Mapping[str, Any]) -> None:
        try:
            self.tools.on_progress(step, machine, facts)
        except Exception as error:  # who listens (a closed terminal) decides nothing about a round
            self.listener_error = error

    def _waits(self, link: MachineLink) -> OnWait:
        """Return what a trainer is handed to say that it waits."""
        return lambda reason, limit_s: self._tell("waiting", link.name, {"reason": reason, "limit_s": limit_s})

    def each(
        self, names: Iterable[str], work: Callable[[MachineLink], T], *, bulk: bool = False
    ) -> tuple[dict[str, T], dict[str, DfldError]]:
        """Do `work` on each machine; return what each gave, or why it failed: what is raised is its machine's failure.

        Raise ComputerError where it is this computer's and the round can still be given up.
        """

        done, failed = on_each(self.tools.links, names, work, bulk=bulk)
        own = next((error for error in failed.values() if isinstance(error, ComputerError)), None)
        if own and not self._ends:
            raise own
        return done, failed

    def exclude(self, reasons: Mapping[str, DfldError | str]) -> None:
        """Leave machines out of the average, each with its reason."""
        for machine in [name for name in self.tools.links if name in reasons]:  # whoever failed first
            reason = reasons[machine]
            if machine not in self.record.excluded:
                self.note("excluded", machine, reason=reason if isinstance(reason, str) else reason.message)

    # Before the decision.

    def plan(self, kind: str, source: str, names: Iterable[str], debts: Mapping[str, RoundRecord]) -> None:
        """Find out which machines can be reached, and which trainers run. Machines that owe a round stay out."""
        names = list(names)
        running, failed = self.each(
            [name for name in names if name not in debts], lambda link: link.trainer.is_running()
        )
        self.note("planned", kind=kind, source=source, machines=list(running), running=running)
        self.exclude(failed)
        self.exclude({name: f"it still has to finish round {debts[name].number}" for name in names if name in debts})

    def look_ahead(self, *, with_optimizer: bool) -> dict[str, Prospect]:
        """Find out what can be known of every machine without stopping its trainer; one that cannot say stays out."""

        def look_at(link: MachineLink) -> Prospect:
            for left in range(TRIES - 1, -1, -1):
                try:
                    return self._prospect(link, with_optimizer=with_optimizer)
                except RemoteFileMissingError:  # perhaps between unlink and rename of a save
                    if not left or self.tools.stop.wait(self.tools.settings.trainer.poll_s):
                        raise
            raise AssertionError

        self.prospects, failed = self.each(self._taking_part(), look_at)
        self.exclude(failed)
        return self.prospects

    def _prospect(self, link: MachineLink, *, with_optimizer: bool) -> Prospect:
        state = read_state(link.transport, link.places, link.refused)
        if state.iteration == 0:
            raise SyncError(
                f"machine {link.name}: data.dat says iteration 0: DeepFaceLab would begin anew and ignore all weights"
            )
        listing = list_model(link.transport, link.places)
        parts = weight_parts(link.places.model, state.options, listing.parts)
        if with_optimizer:
            parts += optimizer_parts(link.places.model, state.options, listing.parts)
        missing = [part for part in parts if part not in listing.parts]
        if missing:
            raise RemoteFileMissingError(f"{', '.join(missing)} is not there", machine=link.name)
        return Prospect(
            running=self.record.running[link.name],
            iteration=state.iteration,
            options=dict(state.options),
            sizes={part: listing.parts[part].size_bytes for part in parts},
            free_bytes=link.transport.free_bytes(link.places.model_dir),
            saved_s=listing.parts[DATA].modified_s,
            save_took_s=save_duration_s(listing),
        )

    def free_here(self) -> int:
        """Return the bytes that a round may still write on this computer."""
        reserve = self.tools.settings.snapshot.disk_reserve_bytes
        return shutil.disk_usage(self.tools.store.folder).free - reserve

    def wait_until_stoppable(self, *, least: int) -> None:
        """Wait until every trainer may be stopped; one that may not stays out. Nothing has been stopped until here.

        Raise RoundError when fewer than `least` machines are left.
        """
        done, failed = self.each(
            self._to_settle(), lambda link: link.trainer.wait_until_stoppable(on_wait=self._waits(link))
        )
        self._iterating = {name: seen for name, seen in done.items() if seen}
        self.exclude(failed)
        self.check_enough(least)

    def settle(self) -> None:
        """Have every trainer save and free its files; a machine where that fails stays out."""

        def settle_one(link: MachineLink) -> None:
            stops = self.record.running[link.name] and link.trainer.mode.stops_for_round
            self.note("settling", link.name, stops=stops)
            link.trainer.settle(on_wait=self._waits(link), seen=self._iterating.get(link.name))
            self.note("settled", link.name)

        _, failed = self.each(self._to_settle(), settle_one)
        self.exclude(failed)

    def _to_settle(self) -> list[str]:
        """Machines whose trainers must rest: all but one that nobody steers and that only gives its weights away."""
        links = self.tools.links
        gives = self.record.source if self.record.kind == "init" else ""
        return [name for name in self._taking_part() if name != gives or links[name].trainer.mode.is_steered]

    def check_enough(self, least: int) -> None:
        """Raise RoundError, with every reason, when fewer than `least` machines take part."""
        left = self._taking_part()
        if len(left) < least:
            raise RoundError(f"{len(left)} machines take part, {least} are needed ({self.reasons()})")

    def reasons(self) -> str:
        """Why machines are left out, as one text."""
        return (
            "; ".join(f"{machine}: {reason}" for machine, reason in self.record.excluded.items())
            or "no machine answers"
        )

    def pull(self, *, with_optimizer: bool, settled: bool = True) -> None:
        """Take a snapshot of every machine that takes part."""

        def pull_one(link: MachineLink) -> Snapshot:
            keeps_training = self.record.running[link.name] and not (settled and link.trainer.mode.stops_for_round)
            begun_s = time.monotonic()
            snapshot = take_snapshot(
                link.transport,
                link.places,
                self.tools.store.incoming(self.number, link.name),
                number=self.number,
                with_optimizer=with_optimizer,
                trainer_runs=keeps_training,
                settings=self.tools.settings.snapshot,
                stop=self.tools.stop,
                on_bytes=self._heed_stop,
                refused=link.refused,
            )
            level = level_of(snapshot.recent_losses)
            self.note(
                "pulled",
                link.name,
                iteration=snapshot.iteration,
                loss=[level.median, level.deviation] if level else None,
                parts=list(snapshot.files),
                bytes=sum(file.size_bytes for file in snapshot.files.values()),
                seconds=time.monotonic() - begun_s,
                pace_s=self._pace_s(snapshot),
            )
            return snapshot

        self.snapshots, failed = self.each(self._taking_part(), pull_one, bulk=True)
        self.exclude(failed)

    def _pace_s(self, snapshot: Snapshot) -> float | None:
        """Seconds per iteration of a trainer that saved for this round."""
        before = self.prospects.get(snapshot.machine)
        if before is None or not before.running:
            return None
        earlier = SavePoint(before.saved_s, before.iteration)
        return pace_between(earlier, SavePoint(snapshot.saved_s, snapshot.iteration))

    def note_iterations(self) -> None:
        """Note how far every machine is, where no snapshot is taken: what proof counts from."""

        def note_one(link: MachineLink) -> None:
            state = read_state(link.transport, link.places, link.refused)
            self.note("pulled", link.name, iteration=state.iteration, loss=None, parts=[], bytes=0, seconds=0.0)

        _, failed = self.each(self._taking_part(), note_one)
        self.exclude(failed)

    def stage(self, new: NewWeights, *, least: int) -> None:
        """Lay the new files beside the live ones everywhere. Raise RoundError when fewer than `least` machines can."""
        digests = {part: file.sha256 for part, file in new.kept.items()}
        if new.kept:
            kept = {part: file.path for part, file in new.kept.items()}
            self.tools.store.keep_average(self.number, kept, new.iteration)
        self.note("averaged", digest=set_digest(digests) if digests else "", momentum=sorted(new.momentum))

        def stage_one(link: MachineLink) -> None:
            self.note("staging", link.name)
            begun_s = time.monotonic()
            files = {part: file.path for part, file in new.files[link.name].items()}
            staged = {}
            if files:
                staged = stage(link.transport, link.places, self.number, files, on_bytes=self._heed_stop)
            for part, file in staged.items():
                if file.sha256 != new.files[link.name][part].sha256:
                    raise RoundError(f"machine {link.name}: {part} changed on this computer while it was pushed")
            self.note(
                "staged",
                link.name,
                files={part: [file.size_bytes, file.sha256] for part, file in staged.items()},
                sources={part: str(path) for part, path in files.items()},
                bytes=sum(file.size_bytes for file in staged.values()),
                seconds=time.monotonic() - begun_s,
            )

        _, failed = self.each(new.files, stage_one, bulk=True)
        ready = [name for name in new.files if name in self.record.staged]
        if len(ready) < least:
            reasons = "; ".join(error.message for error in failed.values())
            raise RoundError(f"{len(ready)} machines could be sent the new weights, {least} are needed ({reasons})")
        self.each(failed, self._release)

    def _heed_stop(self, _moved_bytes: int) -> None:
        """Break off a transfer before the decision when dfld is told to stop: it may have hours to go."""
        if self.tools.stop.is_set():
            raise RoundError("dfld was told to stop; the transfer was broken off before the decision")

    def decide(self) -> None:
        """Pass the point of no return."""
        self.note("decided", receivers=sorted(self.record.staged))
        self._ends = True

    def give_up(self, outcome: str, reason: str) -> None:
        """End the round before the decision: every trainer that was stopped is started again, nothing is left of it.

        Raise nothing: what cannot be done on a machine is noted, and tried again by the next call.
        """
        self._ends = True
        self.note("aborted", outcome=outcome, reason=reason)
        self.finish_machines()
        if self.journal_error is None:
            self.tools.store.forget_incoming(self.number)
            self.tools.store.forget_outgoing(self.number)

    # After it; safe to repeat.

    def finish_machines(self, *, late: bool = False) -> dict[str, DfldError]:
        """Bring the round to its end on every machine that owes something; return why it could not be, where not.

        `late`: time has passed since the decision, and a trainer may have been started meanwhile.
        """

        def finish_one(link: MachineLink) -> None:
            if self.record.decided and link.name in self.record.receivers:
                self._finish(link, late=late)
            else:
                self._release(link)

        _, failed = self.each(sorted(self.record.owing & self.tools.links.keys()), finish_one)
        for name, error in failed.items():
            self.note("unfinished", name, reason=error.message)
        return failed

    def _finish(self, link: MachineLink, *, late: bool) -> None:
        staged = self.record.staged[link.name]
        if link.name not in self.record.swapped:
            try:
                iteration = self._exchange(link, staged, late=late) if staged else None
            except Exception:
                self._start_on_whole_set(link, staged)
                raise
            self.note("swapped", link.name, iteration=iteration)
        self._start_again(link)
        if staged and round_given(link.transport, link.places) != self.number:
            note_given(link.transport, link.places, self.number, staged)
        unstage(link.transport, link.places, self.number)
        self.note("resumed", link.name)

    def _exchange(self, link: MachineLink, staged: Mapping[str, StagedFile], *, late: bool) -> int | None:
        """Put the staged files in place; return the iteration of a running trainer that took them.

        `late`: the machine's own note may say that it has them already, and its trainer may run again.
        """
        if late:
            if round_given(link.transport, link.places) == self.number:
                return None
            if link.trainer.mode.stops_for_round:
                link.trainer.settle(on_wait=self._waits(link))
        model = self.tools.settings.model
        sources = {part: Path(path) for part, path in self.record.sources[link.name].items()}
        names = tuple(model.file_name(part) for part in staged)

        def rename() -> None:
            put_in_place(link.transport, link.places, self.number, staged, sources)

        iteration = self._tried(lambda: link.trainer.take(Exchange(self.number, names, rename)))
        # Before the trainer starts: from then on its saves make the files others than those that were given.
        with contextlib.suppress(Exception):  # not worth a trainer; noted again once it runs
            note_given(link.transport, link.places, self.number, staged)
        return iteration

    def _start_on_whole_set(self, link: MachineLink, staged: Mapping[str, StagedFile]) -> None:
        """Let a trainer train on whose files could not be exchanged, unless some were: a mixture must not be loaded."""
        if self._tried(lambda: state_of_exchange(link.transport, link.places, self.number, staged)) == "mixed":
            return
        self._start_again(link)

    def _release(self, link: MachineLink) -> None:
        self._start_again(link)
        unstage(link.transport, link.places, self.number)
        self.note("released", link.name)

    def _start_again(self, link: MachineLink) -> None:
        """Let a trainer that ran before the round run again: the one place that does, for every end of a round."""
        if self.record.running.get(link.name):
            self._tried(lambda: link.trainer.resume(on_wait=self._waits(link)))

    def _tried(self, work: Callable[[], T]) -> T:
        """Do what must not fail by one lost reply or one bad answer: a few times, whatever is raised."""
        for _ in range(TRIES - 1):
            try:
                return work()
            except TrainerError:
                raise  # it waited as long as it may, and says what is wrong
            except Exception:
                pause(self.tools.stop, self.tools.settings.trainer.poll_s)
        return work()

    def verify(self) -> None:
        """Wait until every trainer that runs has proved that it trains on from the new weights, or has not in time."""

        def verify_one(link: MachineLink) -> None:
            if not self.record.staged[link.name]:
                self.note("verified", link.name, reason="it keeps its own weights")
                return
            if not self.record.running.get(link.name):
                self.note("verified", link.name, reason="its trainer did not run; its next start reads the new weights")
                return
            since = self.record.taken_at.get(link.name) or self.record.iterations[link.name]
            limit_s = self.tools.settings.trainer.proof_s
            seen = self._see_iterating(link, since, limit_s)
            if self.tools.stop.is_set():
                return
            progress = link.trainer.progress(since)
            if not is_enough(progress):
                late = f"it did not go on training within {limit_s:.0f} s"
                self.note("doubted", link.name, reason=late if seen is None else seen)
                return
            assert progress is not None
            median, deviation = self.record.losses.get(link.name) or (None, None)
            before = LossLevel(median, deviation) if median is not None and deviation is not None else None
            doubt = why_doubted(before, progress.losses)
            if doubt:
                self.note("doubted", link.name, reason=doubt)
            else:
                self.note("verified", link.name, reason=f"it trains on at iteration {progress.iteration}")

        def look_at_released(link: MachineLink) -> None:
            before = self.record.iterations.get(link.name)
            before = self.prospects[link.name].iteration if before is None else before
            self._see_iterating(link, before, self.tools.settings.trainer.proof_s)

        known = self.record.verified.keys() | self.record.doubted.keys()
        # Machines that were stopped and then left out: nothing is proved of them, but how long they stood still is.
        released = self.record.stopped & self.record.released - self.record.iterating_since.keys()
        released &= self.record.iterations.keys() | self.prospects.keys()
        ask = sorted((self.record.resumed - known) | released)
        _, failed = self.each(ask, lambda link: (look_at_released if link.name in released else verify_one)(link))
        for name, error in failed.items():
            if name not in released:
                self.note("doubted", name, reason=error.message)

    def _see_iterating(self, link: MachineLink, since: int, limit_s: float) -> str | None:
        """Wait until a trainer has trained enough beyond `since` to be judged, and note when it began to iterate.

        Return why it will not come where that is certain; None otherwise, also where the limit passed.
        """
        gone = ""

        def is_seen() -> bool:
            nonlocal gone
            progress = link.trainer.progress(since)
            if progress is not None and link.name not in self.record.iterating_since:
                for_s = self._iterating_for_s(link, progress.iteration - since)
                self.note("iterating", link.name, iteration=progress.iteration, for_s=for_s)
            if is_enough(progress):
                return True
            gone = link.trainer.why_gone()
            return bool(gone)

        self._waits(link)(link.trainer.what_proves(), limit_s)
        return gone or None if link.trainer.wait_until(is_seen, limit_s) else None

    def _iterating_for_s(self, link: MachineLink, iterations: int) -> float:
        """For how long a trainer that is seen iterating now has been iterating since it was stopped or asked."""
        times, now = self.record.times, datetime.now(UTC)
        taken = times.get(("swapped", link.name))
        started = times.get(("resumed", link.name)) or times.get(("released", link.name))
        return link.trainer.iterating_for_s(
            iterations,
            taken_ago_s=max(0.0, (now - (taken or now)).total_seconds()),
            started_ago_s=max(0.0, (now - (started or now)).total_seconds()),
            pace_s=self.record.paces.get(link.name),
        )

    def close(self, outcome: str, reason: str) -> None:
        """End a decided round. Machines that still owe it keep what it needs here."""
        self.tools.store.forget_incoming(self.number)
        if not self.record.owing:
            self.tools.store.forget_outgoing(self.number)
        self.note("closed", outcome=outcome, reason=reason)

    def check_taking_part(self, least: int) -> None:
        """Raise RoundError, with every reason, when fewer machines gave a snapshot."""
        if len(self.snapshots) < least:
            raise RoundError(f"{len(self.snapshots)} machines gave a snapshot, {least} are needed ({self.reasons()})")

    def _taking_part(self) -> list[str]:
        return [name for name in self.record.machines if name not in self.record.excluded]
