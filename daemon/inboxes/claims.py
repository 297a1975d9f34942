"""From settled to claimed: hash what came through the gate, and find or make its job in the ledger.

One thread an inbox. Small files are hashed in batches and claimed in one transaction, since each commit waits for
the disk; a large one goes alone. A file that changed while it was hashed goes back to the gate. A ledger that
cannot be written is waited for: nothing is dropped.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.boundary import boundary, log_unforeseen
from core.errors import DfldError
from core.move_and_delete import OtherFileError, know
from daemon.arrivals.hashing import (
    ChangedMeanwhileError,
    HashingStoppedError,
    content_hash,
    footage_members,
    holds_mark,
    mark_of,
    member_hashes,
    rough_hash,
)
from daemon.arrivals.never_footage import SIDECAR_ENDING
from daemon.arrivals.scan import ScanRules, inspect_unit
from daemon.arrivals.settling import Unit
from daemon.config.load import read_sidecar
from daemon.config.schema import InboxConfig, SidecarConfig
from daemon.errors import ConfigError
from daemon.events.event import Notify
from daemon.events.inbox_events import FileUnreadable
from daemon.events.job_events import OriginalWaits
from daemon.jobs.kinds.registry import OF_ARRIVALS
from daemon.jobs.originals import companion_paths, move_unit, write_reason
from daemon.ledger.claims import Arrival, Claim, claim, forget_files, known_files, parts
from daemon.ledger.jobs import OF_ITS_FILE, job_of_content
from daemon.ledger.ledger import Connection, Ledger, LedgerUnavailableError
from daemon.ledger.members import Member
from daemon.worker.trial import does_not_open
from engine.workspace.file_names import SLUG_LENGTH_MAX, inbox_layout, slug_of

BATCH_FILES = 256
BATCH_BYTES = 256 << 20
"""A batch is hashed in a second or so; a stop never waits longer."""
TRIED_FIRST_BYTES = 1 << 30
"""A larger file is hashed only if it opens: reading it all takes longer than a trial by a child process."""
COMPANION_BYTES_MAX = 1 << 20
"""A sidecar is a few lines, a marker is empty; what is larger is neither, and stays where it is."""
LEDGER_RETRY_S = 2.0
FAILED_PAUSE_S = 2.0
"""Between a turn that failed as a whole, of an error that nobody foresaw, and the next one."""
SLUGS_MAX = 99
SLUG_ENDING_LENGTH = 13
"""Room for `-2`, or for a hyphen and twelve digits of the hash, within the length of a slug."""


@dataclass(frozen=True)
class _Settled:
    unit: Unit
    arrived_s: float
    """When it was first seen, Unix seconds."""


class Claimer:
    """The claiming thread of one inbox. `has`, `take` and `forget_gone` are called by the scanning thread."""

    def __init__(
        self,
        inbox: InboxConfig,
        rules: ScanRules,
        ledger: Ledger,
        notify: Notify,
        *,
        on_claim: Callable[[bytes, Claim], None],
        wall: Callable[[], float] = time.time,
    ) -> None:
        self.inbox = inbox
        self._rules = rules
        self._ledger = ledger
        self._notify = notify
        self._on_claim = on_claim
        self._wall = wall
        self._lock = threading.Lock()
        again = "duplicate" if inbox.on_duplicate == "quarantine" and os.access(inbox.path, os.W_OK) else ""
        self._known: dict[bytes, str] = ledger.read(lambda reader: known_files(reader, inbox.name, without=again))
        """Path to file state of what is done with; what a stop or a kill kept from the quarantine was not."""
        self._in_hand: dict[bytes, str] = {}
        self._queue: list[_Settled] = []
        self._wake = threading.Event()
        self._unknown_slugs: frozenset[str] | None = None
        self.check_sooner: Callable[[str], None] = _ignore
        """Set by the owner: called with a path that must go through the gate again."""

    def has(self, unit: Unit) -> bool:
        """Say whether this unit, as it is, is done with or is being claimed."""
        path = os.fsencode(unit.path)
        with self._lock:
            return unit.fingerprint in (self._known.get(path), self._in_hand.get(path))

    def take(self, settled: Sequence[tuple[Unit, float]]) -> None:
        """Hash and claim these units (with when they were first seen), oldest first."""
        ordered = sorted(settled, key=lambda one: (one[1], one[0].mtime_ns))
        with self._lock:
            for unit, arrived_s in ordered:
                self._in_hand[os.fsencode(unit.path)] = unit.fingerprint
                self._queue.append(_Settled(unit, arrived_s))
        if settled:
            self._wake.set()

    def forget_gone(self, found: Collection[str], root: Path) -> None:
        """Forget files that a full scan did not find and that are truly gone: their names may arrive anew."""
        there = {os.fsencode(path) for path in found}
        with self._lock:
            missing = [path for path in self._known if path not in there]
        gone = [path for path in missing if not os.path.lexists(root / os.fsdecode(path))]
        if gone:
            try:
                self._ledger.write(lambda writer: forget_files(writer, self.inbox.name, gone))
            except LedgerUnavailableError:
                return  # the next scan finds them gone again
            self.forget(gone)

    def forget(self, paths: Collection[bytes]) -> None:
        """Forget files that were moved, deleted or have to go through the gate again. Any thread."""
        with self._lock:
            for path in paths:
                self._known.pop(path, None)

    def waiting(self) -> int:
        """Return how many settled units are not claimed yet."""
        with self._lock:
            return len(self._in_hand)

    def wake(self) -> None:
        self._wake.set()

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set and `wake` was called after it."""
        unit = f"claiming files of inbox {self.inbox.name}"

        def failed(error: Exception) -> None:
            if isinstance(error, DfldError):  # foreseen elsewhere, not here
                log_unforeseen("thread", unit, error)
            stop.wait(FAILED_PAUSE_S)

        while not stop.is_set():
            with boundary("thread", unit, failed):
                self._turn(unit, stop)

    def _turn(self, unit: str, stop: threading.Event) -> None:
        """Claim the next batch; where there is none, wait for one."""
        batch = self._next_batch()
        if not batch:
            self._wake.wait()
            self._wake.clear()
            return
        with boundary("thread", unit, partial(self._not_claimed, batch)):
            try:
                arrivals = self._arrivals(batch, stop)
            except HashingStoppedError:
                return
            except LedgerUnavailableError:  # the service says why
                with self._lock:
                    self._queue[:0] = batch
                stop.wait(LEDGER_RETRY_S)
                return
            self._claim(arrivals, stop)

    def _arrivals(self, batch: Sequence[_Settled], stop: threading.Event) -> list[tuple[_Settled, Arrival]]:
        """Hash a batch; what fails of an error that nobody foresaw is left to the next scan, and the others go on."""
        found = []
        for one in batch:
            with boundary(
                "thread",
                f"hashing a file of inbox {self.inbox.name}",
                partial(self._not_claimed, [one]),
                passing=(HashingStoppedError, LedgerUnavailableError),
                file=one.unit.path,
            ):
                arrival = self._arrival(one, stop)
                if arrival is not None:
                    found.append((one, arrival))
        return found

    def _not_claimed(self, batch: Sequence[_Settled], error: Exception) -> None:
        for one in batch:  # first all: who has let go of none is never claimed
            self._let_go(one.unit, check_sooner=False)
        for one in batch:
            message = f"{self.inbox.path / one.unit.path} was not claimed ({error!r}); the next scan tries it again"
            self._notify(FileUnreadable(message, self.inbox.name, file=one.unit.path, reason="failed"))

    def _next_batch(self) -> list[_Settled]:
        with self._lock:
            count = size = 0
            for one in self._queue[:BATCH_FILES]:
                size += one.unit.size_bytes
                if count and size > BATCH_BYTES:
                    break
                count += 1
            batch, self._queue = self._queue[:count], self._queue[count:]
        return batch

    def _arrival(self, one: _Settled, stop: threading.Event) -> Arrival | None:
        """Hash a unit; None when it changed or vanished meanwhile, and goes through the gate again."""
        unit, root = one.unit, self.inbox.path
        try:
            hashes = self._hashes(unit, stop)
            sha256 = content_hash(unit, hashes)
            mark = mark_of(root, unit, within=self.inbox.footage_folders)
            supersedes = self._part_of(unit)
            members = self._members(unit, hashes)
            now = inspect_unit(root, unit.path, self._rules, unit.kind)
        except ChangedMeanwhileError:
            self._let_go(unit, check_sooner=True)
            return None
        except OSError as problem:
            self._let_go(unit, check_sooner=isinstance(problem, FileNotFoundError))
            if not isinstance(problem, FileNotFoundError):
                message = f"{root / unit.path} cannot be read: {problem.strerror}; it is tried again with the next scan"
                self._notify(FileUnreadable(message, self.inbox.name, file=unit.path))
            return None
        if now is None or now.members != unit.members:
            self._let_go(unit, check_sooner=True)
            return None
        sidecar, overrides = self._sidecar(unit)
        priority = self.inbox.priority if sidecar is None or sidecar.priority is None else sidecar.priority
        return Arrival(
            kind=OF_ARRIVALS.name,
            inbox=self.inbox.name,
            path=os.fsencode(unit.path),
            source_kind=unit.kind,
            file_state=unit.fingerprint,
            sha256=sha256,
            size_bytes=unit.size_bytes,
            arrived_s=one.arrived_s,
            workspace=str(self.inbox.workspace),
            role=self.inbox.role,
            slugs=self._slugs(unit),
            priority=priority,
            sidecar=overrides,
            skip=sidecar is not None and sidecar.skip,
            members=members,
            mark=mark,
            supersedes=supersedes,
        )

    def _hashes(self, unit: Unit, stop: threading.Event) -> tuple[str, ...]:
        """Hash all of a unit, or, where a large one does not open, a little: its job then ends as one of no video."""
        root, within = self.inbox.path, self.inbox.footage_folders
        large = unit.kind == "video" and unit.size_bytes >= TRIED_FIRST_BYTES
        if large and does_not_open(root / unit.path, stop.is_set, within=within):
            return (rough_hash(root, unit, within=within),)
        return member_hashes(root, unit, stop.is_set, within=within)

    def _part_of(self, unit: Unit) -> int | None:
        """Return the job of a source that lacks footage and of which this unit is a longer copy."""
        if unit.kind != "video":
            return None
        found = self._ledger.read(lambda reader: parts(reader, self.inbox.name, unit.size_bytes))
        root, within = self.inbox.path, self.inbox.footage_folders
        return next((job for job, mark in found if holds_mark(root, unit, mark, within=within)), None)

    def _members(self, unit: Unit, hashes: Sequence[str]) -> tuple[Member, ...]:
        """Return the files of a unit as they were read, with its sidecar and marker as they are."""
        members = footage_members(unit, hashes)
        for path in companion_paths(unit.path, unit.kind, self._rules.done_marker):
            with suppress(OSError, OtherFileError):
                if os.lstat(self.inbox.path / path).st_size <= COMPANION_BYTES_MAX:
                    members.append(Member(os.fsencode(path), "companion", know(self.inbox.path / path)))
        return tuple(members)

    def _sidecar(self, unit: Unit) -> tuple[SidecarConfig | None, str]:
        """Read the sidecar; return it and what the job keeps of it as JSON. A wrong one fails the job, later."""
        if unit.sidecar is None:
            return None, ""
        try:
            sidecar = read_sidecar(self.inbox.path / (unit.path + SIDECAR_ENDING), within=[self.inbox.path])
        except ConfigError as problem:
            wrong = "; ".join(map(str, problem.problems))
            return None, json.dumps({"problem": f"its sidecar cannot be used: {wrong}"})
        kept: dict[str, object] = {
            "references": [str(path) for path in sidecar.references],
            "start_s": sidecar.start_s,
            "end_s": sidecar.end_s,
        }
        return sidecar, json.dumps({key: value for key, value in kept.items() if value})

    def _slugs(self, unit: Unit) -> list[str]:
        """Return names for the clip, best first, leaving out those that faces of unknown origin use already."""
        name = unit.path.rpartition("/")[2]
        whole = slug_of(name.rpartition(".")[0] if unit.kind == "video" and "." in name else name)
        stem = slug_of(whole[: SLUG_LENGTH_MAX - SLUG_ENDING_LENGTH])
        names = [stem, *(f"{stem}-{number}" for number in range(2, SLUGS_MAX))]
        unknown = self._slugs_of_unknown_origin()
        if stem.casefold() not in unknown and not _is_there(self._log_of(stem)):
            return names
        known = self._ledger.read(lambda reader: _slugs_in(reader, str(self.inbox.workspace), self.inbox.role))
        return [name for name in names if self._is_free(name, known, unknown)] or names[-1:]

    def _is_free(self, slug: str, known: set[str], unknown: frozenset[str]) -> bool:
        return slug.casefold() not in unknown and (slug in known or not _is_there(self._log_of(slug)))

    def _slugs_of_unknown_origin(self) -> frozenset[str]:
        """Return the slugs, in small letters, that stand in the workspace's logs and not in the ledger; read once.

        A log that comes later under exactly such a name is seen by `_slugs`; Windows and macOS do not know capitals.
        """
        if self._unknown_slugs is None:
            known = self._ledger.read(lambda reader: _slugs_in(reader, str(self.inbox.workspace), self.inbox.role))
            folder, ending = self._log_of("x").parent, self._log_of("x").name.removeprefix("x")
            try:
                found = {name.removesuffix(ending) for name in os.listdir(folder) if name.endswith(ending)}  # noqa: PTH208
            except OSError:  # not made yet
                found = set()
            self._unknown_slugs = frozenset(slug.casefold() for slug in found - known)
        return self._unknown_slugs

    def _log_of(self, slug: str) -> Path:
        return inbox_layout(self.inbox.workspace, self.inbox.role, slug).log

    def _claim(self, arrivals: Sequence[tuple[_Settled, Arrival]], stop: threading.Event) -> None:
        """Claim a batch in one transaction; while the ledger cannot be written, wait with it."""
        while arrivals and not stop.is_set():
            try:
                claims = self._claim_all(arrivals)
            except LedgerUnavailableError:
                stop.wait(LEDGER_RETRY_S)
                continue
            with self._lock:
                for one, arrival in arrivals:
                    self._known[arrival.path] = arrival.file_state
                    self._in_hand.pop(os.fsencode(one.unit.path), None)
            for (_, arrival), made in zip(arrivals, claims, strict=True):
                self._on_claim(arrival.path, made)
                if made.outcome == "duplicate" and self.inbox.on_duplicate == "quarantine":
                    self._quarantine(arrival, made, stop)
            return

    def _quarantine(self, arrival: Arrival, made: Claim, stop: threading.Event) -> None:
        """Move a file whose content was done before to the quarantine, with the earlier job in its reason."""
        path = self.inbox.path / os.fsdecode(arrival.path)
        reason = {"file": str(path), "inbox": self.inbox.name, "job": made.job.id, "sha256": arrival.sha256}

        def go_on() -> None:
            if stop.is_set():
                raise HashingStoppedError

        try:
            moved = move_unit(
                self.inbox.path,
                arrival.path,
                arrival.source_kind,
                arrival.members,
                self.inbox.quarantine_folder,
                on_chunk=go_on,
            )
            if moved.place is None:
                return  # another file has its name by now, and is an arrival of its own
            write_reason(moved.place, reason | {"reason": "duplicate", "message": made.message})
            self._ledger.write(lambda writer: forget_files(writer, self.inbox.name, [arrival.path]))
        except HashingStoppedError:
            return  # the next start finds it
        except (OSError, LedgerUnavailableError) as problem:
            message = f"{path}: {made.message}; it stays where it is: {problem}"
            self._notify(OriginalWaits(message, self.inbox.name, made.job.id))
        else:
            self.forget([arrival.path])

    def _claim_all(self, arrivals: Sequence[tuple[_Settled, Arrival]]) -> list[Claim]:
        now_s, policy = self._wall(), self.inbox.on_duplicate
        there = {arrival.sha256: self._earlier_is_there(arrival) for _, arrival in arrivals}
        return self._ledger.write(
            lambda writer: [
                claim(writer, arrival, now_s=now_s, on_duplicate=policy, earlier_is_there=there[arrival.sha256])
                for _, arrival in arrivals
            ]
        )

    def _earlier_is_there(self, arrival: Arrival) -> bool:
        """Say whether the file that this content was claimed from before is in place still, under another name."""
        job = self._ledger.read(lambda reader: job_of_content(reader, self.inbox.name, arrival.sha256))
        return job is None or job.path == arrival.path or _is_there(self.inbox.path / os.fsdecode(job.path))

    def _let_go(self, unit: Unit, *, check_sooner: bool) -> None:
        with self._lock:
            self._in_hand.pop(os.fsencode(unit.path), None)
        if check_sooner:
            self.check_sooner(unit.path)


def _is_there(path: Path) -> bool:
    return os.path.exists(path)  # noqa: PTH110 -- Path.exists raises where a folder is closed to us


def _ignore(_path: str) -> None:
    pass


def _slugs_in(reader: Connection, workspace: str, role: str) -> set[str]:
    rows = reader.execute(
        f"SELECT slug FROM jobs WHERE workspace = ? AND role = ? AND {OF_ITS_FILE}", (workspace, role)
    )
    return {row[0] for row in rows}
