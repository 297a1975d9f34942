"""One consistent copy of a machine's weights, off a machine whose trainer may be saving at any moment.

Not for judging weights (compare) or for stopping trainers (trainer). DeepFaceLab saves one file after the other for
seconds to minutes, each by unlink and rename, data.dat last; so a set is consistent when data.dat is the newest, no
temporary file is about, and nothing changed from before the copy to after it. Where the server can, the set is
hard-linked first: a link keeps a save still while it is pulled, however long that takes. data.dat itself is read in
ranges and never copied: it holds pictures of faces.
"""

from __future__ import annotations

import contextlib
import shutil
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from dfl.model_files import DATA, SUMMARY, optimizer_parts, weight_parts
from dfl.training_state import TrainingState
from dfl.weights import MAX_WEIGHT_FILE_BYTES
from sync.errors import RemoteFileChangedError, RemoteFileMissingError, SnapshotError
from sync.places import RemotePlaces
from sync.trainers.contract import RefusedStates, read_state
from sync.trainers.proof import rows
from sync.transports.transport import OnBytes, Transport, ignore_bytes
from sync.types import FileStat, Snapshot, WeightFile

TEMPORARY_ENDINGS = (".tmp",)
"""DeepFaceLab's `<file>.tmp`; ME-Advanced's `<stem>.tmp` and `<stem>_temp_<time>` are caught by name below."""


@dataclass(frozen=True)
class SnapshotSettings:
    """How patient a snapshot is."""

    tries: int = 40
    wait_s: float = 5.0
    """Between tries; together longer than the longest save."""
    quiet_s: float = 3.0
    """A running trainer's data.dat must have rested so long: times on the machine are whole seconds."""
    disk_reserve_bytes: int = 512 * 2**20
    """Left free on this computer."""


@dataclass(frozen=True)
class ModelListing:
    """The files of one model in a machine's model folder, at one moment."""

    parts: Mapping[str, FileStat]
    """By part: what follows the model's prefix."""
    given_at_s: int
    """When dfld last put weights there; 0 for never."""

    def of(self, parts: tuple[str, ...]) -> dict[str, FileStat | None]:
        """Return what must not change while `parts` are copied."""
        return {part: self.parts.get(part) for part in (*parts, DATA)}


def take_snapshot(
    transport: Transport,
    places: RemotePlaces,
    folder: Path,
    *,
    number: int,
    with_optimizer: bool = False,
    trainer_runs: bool = True,
    settings: SnapshotSettings | None = None,
    stop: threading.Event | None = None,
    on_bytes: OnBytes = ignore_bytes,
    refused: RefusedStates,
) -> Snapshot:
    """Pull one consistent set of weights into `folder` and return it, hashed.

    Tries again while the trainer is saving. Raise SnapshotError when no consistent set was had in all tries, a file
    is missing for good, or there is no room here; FormatError when data.dat is not one. `number` names the folder of
    links on the machine; it is removed again.
    """
    settings = settings or SnapshotSettings()
    stop = stop or threading.Event()
    reason = ""
    for _ in range(settings.tries):
        try:
            attempt = _Attempt(transport, places, settings, stop, trainer_runs, refused)
            return attempt.run(folder, number, with_optimizer, on_bytes)
        except (SnapshotError, RemoteFileMissingError, RemoteFileChangedError) as error:
            reason = error.message
        if not trainer_runs or stop.wait(settings.wait_s):
            break
    raise SnapshotError(f"no consistent set of {places.model.prefix} could be pulled: {reason}")


def list_model(transport: Transport, places: RemotePlaces) -> ModelListing:
    """Return the model's files on the machine, and when dfld last wrote there."""
    prefix = places.model.prefix + "_"
    found = transport.list_files(places.model_dir)
    try:
        given_at_s = transport.stat(places.given).modified_s
    except RemoteFileMissingError:
        given_at_s = 0
    return ModelListing(
        {file.name.removeprefix(prefix): file for file in found if file.name.startswith(prefix)}, given_at_s
    )


def save_duration_s(listing: ModelListing) -> int | None:
    """Return how long the last save took, from summary.txt, which is written first, to data.dat; None where unknown."""
    if SUMMARY not in listing.parts or DATA not in listing.parts:
        return None
    took_s = listing.parts[DATA].modified_s - listing.parts[SUMMARY].modified_s
    return took_s if took_s >= 0 else None


def why_unsettled(listing: ModelListing, parts: tuple[str, ...]) -> str:
    """Return why this is not the set of one finished save; nothing when it is. Pure.

    summary.txt is written first and data.dat last, so every weight file lies between them in time; files that dfld
    itself put in place are as old as its own note of it.
    """
    temporary = sorted(part for part in listing.parts if part.endswith(TEMPORARY_ENDINGS) or "_temp_" in part)
    if temporary:
        return f"a save is under way ({temporary[0]} is there)"
    missing = [part for part in (*parts, DATA) if part not in listing.parts]
    if missing:
        return f"{', '.join(missing)} is not there"
    data_s = listing.parts[DATA].modified_s
    begun_s = listing.parts[SUMMARY].modified_s if SUMMARY in listing.parts else 0
    if begun_s > data_s:
        return f"summary.txt is {begun_s - data_s} s newer than data.dat: a save is under way or was broken off"
    for part in parts:
        modified_s = listing.parts[part].modified_s
        if modified_s > max(data_s, listing.given_at_s):
            return f"{part} is {modified_s - data_s} s newer than data.dat: a save is under way or was broken off"
        if listing.given_at_s < modified_s < begun_s:
            return f"{part} is {begun_s - modified_s} s older than summary.txt: it is not of the last save"
    return ""


@dataclass(frozen=True)
class _Attempt:
    transport: Transport
    places: RemotePlaces
    settings: SnapshotSettings
    stop: threading.Event
    trainer_runs: bool
    refused: RefusedStates

    def run(self, folder: Path, number: int, with_optimizer: bool, on_bytes: OnBytes) -> Snapshot:
        listing = list_model(self.transport, self.places)
        state = read_state(self.transport, self.places, self.refused)
        if state.iteration == 0:
            raise SnapshotError("data.dat says iteration 0: DeepFaceLab would begin anew and ignore all weights")
        parts = weight_parts(self.places.model, state.options, listing.parts)
        if with_optimizer:
            parts += optimizer_parts(self.places.model, state.options, listing.parts)
        self._check_settled(listing, parts)
        self._check_sizes(listing, parts, folder)
        with self._held_still(listing, parts, number) as held:
            files = {part: self._pull(part, held[part], listing.parts[part], folder, on_bytes) for part in parts}
            if held[DATA] == self.places.live(DATA):
                self._check_unchanged(listing, parts)
        made = _snapshot(self.transport.machine.name, self.places, state, files)
        return replace(made, saved_s=listing.parts[DATA].modified_s)

    def _check_settled(self, listing: ModelListing, parts: tuple[str, ...]) -> None:
        reason = why_unsettled(listing, parts)
        if reason:
            raise SnapshotError(reason)
        self.transport.make_folder(self.places.own)
        rested_s = self.transport.clock_s(self.places.own) - listing.parts[DATA].modified_s
        # A negative rest: the times were set by another clock. Then only seeing no change for a while will do.
        if self.trainer_runs and not rested_s >= self.settings.quiet_s:
            self.stop.wait(self.settings.quiet_s)
            self._check_unchanged(listing, parts)

    def _check_unchanged(self, listing: ModelListing, parts: tuple[str, ...]) -> None:
        now = list_model(self.transport, self.places)
        reason = why_unsettled(now, parts)
        if reason:
            raise SnapshotError(reason)
        if now.of(parts) != listing.of(parts):
            raise SnapshotError("files changed while they were copied: the trainer saved meanwhile")

    def _check_sizes(self, listing: ModelListing, parts: tuple[str, ...], folder: Path) -> None:
        sizes = [listing.parts[part].size_bytes for part in parts]
        if max(sizes, default=0) > MAX_WEIGHT_FILE_BYTES:
            raise SnapshotError(f"a weight file of {max(sizes)} bytes is larger than any model")
        folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(folder).free
        if free < sum(sizes) + self.settings.disk_reserve_bytes:
            raise SnapshotError(
                f"{folder} has {free} bytes free, {sum(sizes)} are to be pulled and "
                f"{self.settings.disk_reserve_bytes} must stay free",
                hint="free space on this computer",
            )

    @contextlib.contextmanager
    def _held_still(self, listing: ModelListing, parts: tuple[str, ...], number: int) -> Iterator[dict[str, str]]:
        """Yield where to read each part: hard links that nobody replaces, or the live files where there are none."""
        live = {part: self.places.live(part) for part in (*parts, DATA)}
        if not self.trainer_runs:
            yield live
            return
        folder = self.places.snapshot(number)
        links = {part: f"{folder}/{self.places.model.file_name(part)}" for part in live}
        self.transport.make_folder(folder)
        try:
            for link in links.values():
                self.transport.remove(link)  # left by a dfld that was killed
            linked = all(self.transport.hard_link(live[part], links[part]) for part in live)
            if linked:
                self._check_unchanged(listing, parts)
            yield links if linked else live
        finally:
            for link in links.values():
                self.transport.remove(link)
            self.transport.remove_folder(folder)

    def _pull(self, part: str, source: str, stat: FileStat, folder: Path, on_bytes: OnBytes) -> WeightFile:
        path = folder / self.places.model.file_name(part)
        digest = self.transport.pull(source, path, on_bytes=on_bytes)
        size = path.stat().st_size
        if size != stat.size_bytes:
            raise SnapshotError(f"{part} has {size} bytes, {stat.size_bytes} were listed: it was replaced")
        return WeightFile(part, path, size, stat.modified_s, digest)


def _snapshot(machine: str, places: RemotePlaces, state: TrainingState, files: Mapping[str, WeightFile]) -> Snapshot:
    made = Snapshot(machine, places.model, state.iteration, datetime.now(UTC), files)
    return replace(made, options=dict(state.options), recent_losses=rows(state.losses))
