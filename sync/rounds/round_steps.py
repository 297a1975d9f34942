"""The steps of one round, each on all its machines, each journaled. The order of the steps is `sync.rounds.rounds`'.

Every step writes to the journal before it begins something that would have to be put right, and after it has done
something that need not be done again; so a round can be taken up from its journal at any line.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import DfldError
from sync.averaging.average_model import AveragedFile
from sync.errors import RoundError, TrainerError
from sync.rounds.journal import Entry, Journal, Step
from sync.rounds.push import StagedFile, note_given, put_in_place, stage, unstage
from sync.rounds.round_settings import SyncSettings
from sync.rounds.snapshot import take_snapshot
from sync.rounds.standing import RoundRecord, apply_entry
from sync.rounds.store import Store, set_digest
from sync.trainers.proof import LossLevel, is_enough, level_of, why_doubted
from sync.trainers.trainer_contract import Exchange, read_state
from sync.transports.machines import MachineLink, on_each
from sync.types import Snapshot

OnProgress = Callable[[Step, str, Mapping[str, Any]], None]
"""Told every line as it is written to the journal: step, machine (or nothing), facts."""


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
        self._journaled = journaled
        self._lock = threading.Lock()

    def note(self, step: Step, machine: str = "", **facts: Any) -> None:
        """Write one line to the journal; it is on disk when this returns."""
        entry = Entry(step, machine, facts)
        with self._lock:
            if self._journaled:
                self.tools.journal.append(self.number, entry)
            apply_entry(self.record, entry)
        self.tools.on_progress(step, machine, facts)

    def exclude(self, reasons: Mapping[str, DfldError | str]) -> None:
        """Leave machines out of the average, each with its reason."""
        for machine, reason in reasons.items():
            if machine not in self.record.excluded:
                self.note("excluded", machine, reason=reason if isinstance(reason, str) else reason.message)

    # Before the decision.

    def plan(self, kind: str, source: str, names: Iterable[str], debts: Mapping[str, RoundRecord]) -> None:
        """Find out which machines can be reached, and which trainers run. Machines that owe a round stay out."""
        names = list(names)
        running, failed = on_each(
            self.tools.links, [name for name in names if name not in debts], lambda link: link.trainer.is_running()
        )
        self.note("planned", kind=kind, source=source, machines=list(running), running=running)
        self.exclude(failed)
        self.exclude({name: f"it still has to finish round {debts[name].number}" for name in names if name in debts})

    def settle(self) -> None:
        """Have every trainer save and free its files; a machine where that fails stays out."""

        def settle_one(link: MachineLink) -> None:
            if self.record.running[link.name] and link.machine.control == "none":
                raise TrainerError(
                    f'machine {link.name}: its trainer runs and dfld may not stop it (control = "none")',
                    hint="stop the trainer, run the round, start it again",
                )
            stops = self.record.running[link.name] and link.machine.control == "command"
            self.note("settling", link.name, stops=stops)
            link.trainer.settle()

        _, failed = on_each(self.tools.links, self._taking_part(), settle_one)
        self.exclude(failed)

    def pull(self, *, with_optimizer: bool, settled: bool = True) -> None:
        """Take a snapshot of every machine that takes part."""

        def pull_one(link: MachineLink) -> Snapshot:
            keeps_training = self.record.running[link.name] and (not settled or link.machine.control != "command")
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
            )
            return snapshot

        self.snapshots, failed = on_each(self.tools.links, self._taking_part(), pull_one, bulk=True)
        self.exclude(failed)

    def note_iterations(self) -> None:
        """Note how far every machine is, where no snapshot is taken: what proof counts from."""

        def note_one(link: MachineLink) -> None:
            state = read_state(link.transport, link.places)
            self.note("pulled", link.name, iteration=state.iteration, loss=None, parts=[], bytes=0, seconds=0.0)

        _, failed = on_each(self.tools.links, self._taking_part(), note_one)
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

        _, failed = on_each(self.tools.links, new.files, stage_one, bulk=True)
        ready = [name for name in new.files if name in self.record.staged]
        if len(ready) < least:
            reasons = "; ".join(error.message for error in failed.values())
            raise RoundError(f"{len(ready)} machines could be sent the new weights, {least} are needed ({reasons})")
        on_each(self.tools.links, failed, self._release)

    def _heed_stop(self, _moved_bytes: int) -> None:
        """Break off a transfer before the decision when dfld is told to stop: it may have hours to go."""
        if self.tools.stop.is_set():
            raise RoundError("dfld was told to stop; the transfer was broken off before the decision")

    def decide(self) -> None:
        """Pass the point of no return."""
        self.note("decided", receivers=sorted(self.record.staged))

    def give_up(self, outcome: str, reason: str, *, late: bool = False) -> None:
        """End the round before the decision: every machine gets back what was taken from it."""
        self.note("aborted", outcome=outcome, reason=reason)
        self.tools.store.forget_incoming(self.number)
        self.tools.store.forget_outgoing(self.number)
        self.finish_machines(late=late)

    # After it; safe to repeat.

    def finish_machines(self, *, late: bool = False) -> dict[str, DfldError]:
        """Bring the round to its end on every machine that owes something; return why it could not be, where not.

        `late`: time has passed since the decision, and a trainer may have been started meanwhile.
        """

        def finish_one(link: MachineLink) -> None:
            if self.record.decided and link.name in self.record.receivers:
                self._finish(link, late=late)
            else:
                self._release(link, late=late)

        _, failed = on_each(self.tools.links, sorted(self.record.owing & self.tools.links.keys()), finish_one)
        return failed

    def _finish(self, link: MachineLink, *, late: bool) -> None:
        staged = self.record.staged[link.name]
        if link.name not in self.record.swapped:
            if late and link.machine.control == "command":
                link.trainer.settle()
            iteration = self._take(link, staged) if staged else None
            self.note("swapped", link.name, iteration=iteration)
        if self.record.running.get(link.name) and not link.trainer.is_running():
            link.trainer.resume()
        self.note("resumed", link.name)

    def _take(self, link: MachineLink, staged: Mapping[str, StagedFile]) -> int | None:
        model = self.tools.settings.model
        sources = {part: Path(path) for part, path in self.record.sources[link.name].items()}
        names = tuple(model.file_name(part) for part in staged)

        def rename() -> None:
            put_in_place(link.transport, link.places, self.number, staged, sources)

        iteration = link.trainer.take(Exchange(self.number, names, rename))
        note_given(link.transport, link.places, self.number, staged)
        unstage(link.transport, link.places, self.number)
        return iteration

    def _release(self, link: MachineLink, *, late: bool = False) -> None:
        unstage(link.transport, link.places, self.number)
        was_running = self.record.running.get(link.name, False)
        if late and was_running and link.machine.control == "command" and link.name not in self.record.iterations:
            # dfld died between the request to stop and its end: a trainer that still runs may be about to end.
            link.trainer.settle()
        if was_running and not link.trainer.is_running():
            link.trainer.resume()
        self.note("released", link.name)

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
            seen = link.trainer.wait_until(lambda: is_enough(link.trainer.progress(since)), limit_s)
            if self.tools.stop.is_set():
                return
            progress = link.trainer.progress(since)
            if not seen or progress is None:
                self.note("doubted", link.name, reason=f"it did not go on training within {limit_s:.0f} s")
                return
            median, deviation = self.record.losses.get(link.name) or (None, None)
            before = LossLevel(median, deviation) if median is not None and deviation is not None else None
            doubt = why_doubted(before, progress.losses)
            if doubt:
                self.note("doubted", link.name, reason=doubt)
            else:
                self.note("verified", link.name, reason=f"it trains on at iteration {progress.iteration}")

        known = self.record.verified.keys() | self.record.doubted.keys()
        _, failed = on_each(self.tools.links, sorted(self.record.resumed - known), verify_one)
        for name, error in failed.items():
            self.note("doubted", name, reason=error.message)

    def close(self, outcome: str, reason: str) -> None:
        """End a decided round. Machines that still owe it keep what it needs here."""
        self.tools.store.forget_incoming(self.number)
        if not self.record.owing:
            self.tools.store.forget_outgoing(self.number)
        self.note("closed", outcome=outcome, reason=reason)

    def check_taking_part(self, least: int) -> None:
        """Raise RoundError, with every reason, when fewer machines gave a snapshot."""
        if len(self.snapshots) < least:
            reasons = "; ".join(f"{machine}: {reason}" for machine, reason in self.record.excluded.items())
            raise RoundError(f"{len(self.snapshots)} machines gave a snapshot, {least} are needed ({reasons})")

    def _taking_part(self) -> list[str]:
        return [name for name in self.record.machines if name not in self.record.excluded]
