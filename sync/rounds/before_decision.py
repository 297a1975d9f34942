"""The steps of a round up to its decision, each on all its machines: a failure leaves every machine as it was."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable, Mapping

from dfl.model_files import DATA, optimizer_parts, weight_parts
from sync.errors import RemoteFileMissingError, RoundError, SyncError
from sync.journal.lines import Averaged, Decided, Planned, Pulled, Settled, Settling, Staged, Staging
from sync.journal.record import RoundRecord
from sync.journal.round_kinds import RoundKind
from sync.machines import MachineLink
from sync.model_files.push import stage
from sync.model_files.snapshot import list_model, save_duration_s, take_snapshot
from sync.rounds.after_decision import release
from sync.rounds.feasibility import Prospect
from sync.rounds.round_work import TRIES, NewWeights, RoundWork
from sync.rounds.store import set_digest
from sync.trainers.contract import read_state
from sync.trainers.pace import SavePoint, pace_between
from sync.trainers.proof import level_of
from sync.types import Snapshot


def plan_round(
    work: RoundWork, kind: RoundKind, source: str, names: Iterable[str], debts: Mapping[str, RoundRecord]
) -> None:
    """Find out which machines can be reached, and which trainers run. Machines that owe a round stay out."""
    names = list(names)
    running, failed = work.each([name for name in names if name not in debts], lambda link: link.trainer.is_running())
    work.note(Planned(kind, source, tuple(running), running))
    work.exclude(failed)
    work.exclude({name: f"it still has to finish round {debts[name].number}" for name in names if name in debts})


def collect_prospects(work: RoundWork, *, with_optimizer: bool) -> dict[str, Prospect]:
    """Find out what can be known of every machine without stopping its trainer; one that cannot say stays out."""

    def prospect_of(link: MachineLink) -> Prospect:
        for left in range(TRIES - 1, -1, -1):
            try:
                return _prospect(work, link, with_optimizer=with_optimizer)
            except RemoteFileMissingError:  # perhaps between unlink and rename of a save
                if not left or work.tools.stop.wait(work.tools.settings.trainer.poll_s):
                    raise
        raise AssertionError

    work.prospects, failed = work.each(work.taking_part(), prospect_of)
    work.exclude(failed)
    return work.prospects


def _prospect(work: RoundWork, link: MachineLink, *, with_optimizer: bool) -> Prospect:
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
        running=work.record.running[link.name],
        iteration=state.iteration,
        options=dict(state.options),
        sizes={part: listing.parts[part].size_bytes for part in parts},
        free_bytes=link.transport.free_bytes(link.places.model_dir),
        saved_s=listing.parts[DATA].modified_s,
        save_took_s=save_duration_s(listing),
    )


def free_here(work: RoundWork) -> int:
    """Return the bytes that a round may still write on this computer."""
    reserve = work.tools.settings.snapshot.disk_reserve_bytes
    return shutil.disk_usage(work.tools.store.folder).free - reserve


def wait_until_stoppable(work: RoundWork, *, least: int) -> None:
    """Wait until every trainer may be stopped; one that may not stays out. Nothing has been stopped until here.

    Raise RoundError when fewer than `least` machines are left.
    """
    done, failed = work.each(
        _to_settle(work), lambda link: link.trainer.wait_until_stoppable(on_wait=work.on_wait(link))
    )
    work.iterating = {name: seen for name, seen in done.items() if seen}
    work.exclude(failed)
    work.check_enough(least)


def settle_trainers(work: RoundWork) -> None:
    """Have every trainer save and free its files; a machine where that fails stays out."""

    def settle_one(link: MachineLink) -> None:
        stops = work.record.running[link.name] and link.trainer.mode.stops_for_round
        work.note(Settling(link.name, stops))
        link.trainer.settle(on_wait=work.on_wait(link), seen=work.iterating.get(link.name))
        work.note(Settled(link.name))

    _, failed = work.each(_to_settle(work), settle_one)
    work.exclude(failed)


def _to_settle(work: RoundWork) -> list[str]:
    """Machines whose trainers must rest: all but one that nobody steers and that only gives its weights away."""
    links = work.tools.links
    return [name for name in work.taking_part() if name != work.record.giver or links[name].trainer.mode.is_steered]


def pull_snapshots(work: RoundWork, *, with_optimizer: bool, settled: bool = True) -> None:
    """Take a snapshot of every machine that takes part."""

    def pull_one(link: MachineLink) -> Snapshot:
        keeps_training = work.record.running[link.name] and not (settled and link.trainer.mode.stops_for_round)
        begun_s = time.monotonic()
        snapshot = take_snapshot(
            link.transport,
            link.places,
            work.tools.store.incoming(work.number, link.name),
            number=work.number,
            with_optimizer=with_optimizer,
            trainer_runs=keeps_training,
            settings=work.tools.settings.snapshot,
            stop=work.tools.stop,
            on_bytes=lambda _moved: _check_stop(work),
            refused=link.refused,
        )
        seconds = time.monotonic() - begun_s
        size_bytes = sum(file.size_bytes for file in snapshot.files.values())
        loss, pace_s = level_of(snapshot.recent_losses), _pace_s(work, snapshot)
        work.note(Pulled(link.name, snapshot.iteration, loss, tuple(snapshot.files), size_bytes, seconds, pace_s))
        return snapshot

    work.snapshots, failed = work.each(work.taking_part(), pull_one, bulk=True)
    work.exclude(failed)


def _pace_s(work: RoundWork, snapshot: Snapshot) -> float | None:
    """Seconds per iteration of a trainer that saved for this round."""
    before = work.prospects.get(snapshot.machine)
    if before is None or not before.running:
        return None
    earlier = SavePoint(before.saved_s, before.iteration)
    return pace_between(earlier, SavePoint(snapshot.saved_s, snapshot.iteration))


def note_iterations(work: RoundWork) -> None:
    """Note how far every machine is, where no snapshot is taken: what proof counts from."""

    def note_one(link: MachineLink) -> None:
        state = read_state(link.transport, link.places, link.refused)
        work.note(Pulled(link.name, state.iteration))

    _, failed = work.each(work.taking_part(), note_one)
    work.exclude(failed)


def stage_weights(work: RoundWork, new: NewWeights, *, least: int) -> None:
    """Lay the new files beside the live ones everywhere. Raise RoundError when fewer than `least` machines can."""
    digests = {part: file.sha256 for part, file in new.kept.items()}
    if new.kept:
        kept = {part: file.path for part, file in new.kept.items()}
        work.tools.store.keep_average(work.number, kept, digests, new.iteration)
    work.note(Averaged(set_digest(digests) if digests else "", tuple(sorted(new.momentum))))

    def stage_one(link: MachineLink) -> None:
        work.note(Staging(link.name))
        begun_s = time.monotonic()
        files = {part: file.path for part, file in new.files[link.name].items()}
        staged = {}
        if files:
            staged = stage(link.transport, link.places, work.number, files, on_bytes=lambda _moved: _check_stop(work))
        for part, file in staged.items():
            if file.sha256 != new.files[link.name][part].sha256:
                raise RoundError(f"machine {link.name}: {part} changed on this computer while it was pushed")
        size_bytes = sum(file.size_bytes for file in staged.values())
        sources = {part: str(path) for part, path in files.items()}
        work.note(Staged(link.name, staged, sources, size_bytes, time.monotonic() - begun_s))

    _, failed = work.each(new.files, stage_one, bulk=True)
    ready = [name for name in new.files if name in work.record.staged]
    if len(ready) < least:
        reasons = "; ".join(error.message for error in failed.values())
        raise RoundError(f"{len(ready)} machines could be sent the new weights, {least} are needed ({reasons})")
    work.each(failed, lambda link: release(work, link))


def _check_stop(work: RoundWork) -> None:
    """Break off a transfer before the decision when dfld is asked to stop: it may have hours to go."""
    if work.tools.stop.is_set():
        raise RoundError("dfld was asked to stop; the transfer was broken off before the decision")


def decide(work: RoundWork) -> None:
    """Pass the point of no return."""
    work.note(Decided(tuple(sorted(work.record.staged))))
    work.must_end = True
