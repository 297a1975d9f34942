"""One inbox from arrival to claim: scan, settle, hash, claim. Two threads an inbox, so none waits for another's disk.

The scanning thread owns what is pending and the watch; the claiming thread hashes what settled and claims it in the
ledger. Every path that is handled stands in `_known` with its identity, as in the ledger; a scan that finds
another identity there starts at the beginning.
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from core.boundary import boundary
from daemon.arrivals.first_bytes import Contents
from daemon.arrivals.mounts import network_filesystem
from daemon.arrivals.never_footage import SIDECAR_ENDING
from daemon.arrivals.roots import Root, Trouble, inspect_root, trouble_with
from daemon.arrivals.scan import PassedOver, inside, inspect_again, scan, unit_of_path
from daemon.arrivals.settling import GateRules, Kind, Observation, Unit, judge, observed
from daemon.arrivals.writers import open_for_writing
from daemon.config.inbox_rules import gate_rules, scan_rules
from daemon.config.schema import InboxConfig, WatchConfig
from daemon.events.event import Level, Notify
from daemon.events.inbox_events import (
    FilePassedOver,
    FileUnreadable,
    FolderNotRead,
    InboxHinted,
    InboxNotWatched,
    InboxOverflow,
    InboxReadOnly,
    InboxRearmed,
    InboxScanned,
    InboxSuspended,
    InboxUp,
    OriginalPutBack,
)
from daemon.inboxes.claims import Claimer
from daemon.inboxes.references import references_of_sidecar, scan_beside_references
from daemon.inboxes.watcher import Hints, Watcher
from daemon.jobs.originals import put_back_all_asides

ROOT_CHECK_S = 5.0
"""The folder's identity and the watch's threads are checked this often: trouble is seen well within 30 s."""
POLL_S = 15.0
"""Between two scans where events do not come: network filesystems."""
WRITER_CHECK_S = 1.0
"""Between two checks of what only an open writer holds back."""
HINT_PAUSE_S = 0.2
"""Events come in bursts; so long they are gathered before the next inspection."""

Clock = Callable[[], float]


@dataclass(frozen=True)
class IntakeStatus:
    """What the scanning thread last knew; replaced whole, so any thread may read it."""

    up: bool = False
    trouble: Trouble = ""
    read_only: bool = False
    mode: str = ""
    """events or poll."""
    pending: int = 0
    """Units that have not settled yet."""
    waiting_for: tuple[tuple[str, str], ...] = ()
    """(path, obstacle) of the first few of them."""
    last_scan_s: float | None = None
    """When the last full scan ended, Unix seconds."""
    scan_seconds: float = 0.0


class Intake:
    """The scanning thread of one inbox."""

    def __init__(
        self,
        inbox: InboxConfig,
        watch: WatchConfig,
        claimer: Claimer,
        notify: Notify,
        *,
        references: frozenset[Path] = frozenset(),
        monotonic: Clock = time.monotonic,
        wall: Clock = time.time,
    ) -> None:
        """`references`: photos that inboxes and earlier sidecars name; those that lie in this one are no footage."""
        self.inbox = inbox
        self.hints = Hints()
        self.status = IntakeStatus()
        self.inspected = threading.Event()
        """Set once the folder was inspected: it is watched and was scanned, or its trouble is known."""
        self._watch = watch
        self._claimer = claimer
        self._notify = notify
        self._monotonic = monotonic
        self._wall = wall
        self._rules = scan_rules(inbox, watch, references)
        self._contents = Contents()
        self._sidecars: dict[Path, tuple[int, int, int]] = {}
        """Sidecars that were read, as they were then."""
        self._not_read: frozenset[str] = frozenset()
        """Folders of pictures that dfld does not read, already reported."""
        self._pending: dict[str, Observation] = {}
        self._due: dict[str, float] = {}
        self._links_reported: set[str] = set()
        self._armed: Root | None = None
        self._last_trouble: Trouble = ""
        self._watcher: Watcher | None = None
        self._next_root_check = self._next_scan = 0.0

    def run(self, stop: threading.Event) -> None:
        """Work until `stop` is set and `hints.wake` was set after it."""
        try:
            while not stop.is_set():
                with boundary("thread", f"inbox {self.inbox.name}", lambda _error: stop.wait(ROOT_CHECK_S)):
                    self._turn(stop)
        finally:
            self._disarm()

    def _turn(self, stop: threading.Event) -> None:
        """Do what is due, then wait for what is due next or for a hint."""
        pause_s = ROOT_CHECK_S
        with boundary("thread", f"inbox {self.inbox.name}", self._begin_anew):
            self._step()
            pause_s = self._pause()
        self.inspected.set()
        self.hints.wake.wait(pause_s)
        if self.hints.wake.is_set() and not stop.is_set():
            stop.wait(HINT_PAUSE_S)
        self.hints.wake.clear()

    def _begin_anew(self, error: Exception) -> None:
        """After an error that nobody foresaw: what is known of files that settle is given up, the folder armed anew."""
        self._suspend("restarting", f"looking through {self.inbox.path} failed ({error!r}); it begins anew")
        self._next_root_check = self._monotonic() + ROOT_CHECK_S

    def _step(self) -> None:
        if self._monotonic() >= self._next_root_check and not self._check_root():
            return
        if self._armed is None or not self.status.up:
            return
        paths, trigger = self.hints.take()
        if paths:
            self._notify(InboxHinted(inbox=self.inbox.name, files=len(paths)))
        if not trigger and self._monotonic() >= self._next_scan:
            trigger = "schedule"
        try:
            if trigger:
                self._scan_all(trigger)
            else:
                self._inspect_hinted(paths)
            self._settle()
        except OSError:  # the folder itself went away under the walk; its check says how
            self._next_root_check = 0.0
        self._publish()

    # -- the folder itself

    def _check_root(self) -> bool:
        """Inspect the folder; suspend or arm. Return whether it can be used."""
        self._next_root_check = self._monotonic() + ROOT_CHECK_S
        now = inspect_root(self.inbox.path)
        trouble = trouble_with(self._armed, now, require_mount=self.inbox.require_mount)
        if self._armed is not None and not trouble and self._watcher is not None and not self._watcher.is_healthy():
            self._report_restart("watch_died", "the watch on the folder died; it is armed again")
            self._rearm(self._armed)
        if trouble:
            self._suspend(trouble)
            if trouble == "replaced":  # flagged now, taken as it is with the next check
                self._armed, self._next_root_check = None, self._monotonic() + min(ROOT_CHECK_S, 1.0)
            return False
        assert isinstance(now, Root), "no trouble means a root"
        if self._watcher is None and not self.status.up:
            self._rearm(now)
            message = f"inbox {self.inbox.name}: {self.inbox.path} is watched ({self.status.mode})"
            self._notify(InboxUp(message, self.inbox.name, after=self._last_trouble or None))
        if now.read_only != self.status.read_only:
            state = "read-only: originals stay in it" if now.read_only else "writable again"
            level: Level = "warning" if now.read_only else "info"
            message = f"inbox {self.inbox.name}: {self.inbox.path} is {state}"
            self._notify(InboxReadOnly(message, self.inbox.name, level=level))
        self.status = replace(self.status, up=True, trouble="", read_only=now.read_only)
        return True

    def _suspend(self, trouble: Trouble, why: str = "") -> None:
        self._disarm()
        self._pending.clear()
        self._due.clear()
        if trouble != self._last_trouble or self.status.up:
            why = why or f"{self.inbox.path} is {trouble}; it is suspended until it is back"
            message = f"inbox {self.inbox.name}: {why}"
            self._notify(InboxSuspended(message, self.inbox.name, reason=trouble))
        self._last_trouble = trouble
        self.status = replace(self.status, up=False, trouble=trouble, pending=0, waiting_for=())

    def _rearm(self, root: Root) -> None:
        """Watch the folder as it is now, and scan it in full: events before this moment were lost."""
        self._disarm()
        self._armed = root
        back = put_back_all_asides((self.inbox.path, self.inbox.quarantine_folder))
        for path in back:  # before the first scan, which would not find them
            message = f"{path} was set aside when dfld was killed; it has its name again"
            self._notify(OriginalPutBack(message, self.inbox.name))
        mode = watch_mode(self.inbox, self._watch)
        if mode == "events":
            try:
                self._watcher = Watcher(
                    self.inbox.path, self.hints, recursive=self.inbox.recursive, on_overflow=self._overflowed
                )
            except OSError as problem:
                mode = "poll"
                message = (
                    f"inbox {self.inbox.name}: {self.inbox.path} cannot be watched ({problem}); it is scanned every "
                    f"{POLL_S:.0f} s instead. Raising fs.inotify.max_user_watches may help"
                )
                self._notify(InboxNotWatched(message, self.inbox.name))
        self.status = replace(self.status, mode=mode)
        self.hints.ask_full_scan("start" if not self._last_trouble else "recovered")

    def _disarm(self) -> None:
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def _overflowed(self) -> None:
        message = f"inbox {self.inbox.name}: the kernel dropped file events; the folder is scanned instead"
        self._notify(InboxOverflow(message, self.inbox.name))
        self.hints.ask_full_scan("overflow")

    def _report_restart(self, reason: str, message: str) -> None:
        text = f"inbox {self.inbox.name}: {message}"
        self._notify(InboxRearmed(text, self.inbox.name, reason=reason))

    # -- scanning

    def _scan_all(self, trigger: str) -> None:
        begun = self._monotonic()
        everything, self._rules = scan_beside_references(
            self.inbox.path, self._rules, read=self._read_sidecar, contents=self._contents
        )
        found = {unit.path: unit for unit in everything if isinstance(unit, Unit)}
        for unit in found.values():
            self._see(unit)
        passed_over = [one for one in everything if isinstance(one, PassedOver)]
        self._report_links({one.path for one in passed_over if one.reason == "link_leads_outside"})
        self._report_not_read(passed_over)
        if self._still_same_root():
            for path in [path for path in self._pending if path not in found]:
                self._drop(path)
            self._claimer.forget_gone(found.keys(), self.inbox.path)
        seconds = self._monotonic() - begun
        every = POLL_S if self.status.mode == "poll" else self._watch.rescan_every_s
        self._next_scan = self._monotonic() + min(every, self._watch.rescan_every_s)
        self.status = replace(self.status, last_scan_s=self._wall(), scan_seconds=seconds)
        message = f"inbox {self.inbox.name}: scanned, {len(found)} files, {len(self._pending)} settling"
        self._notify(InboxScanned(message, self.inbox.name, trigger=trigger, seconds=seconds, files=len(found)))

    def _report_links(self, links: set[str]) -> None:
        """Say once of each link that it is passed over: who put it there waits for its faces."""
        for path in sorted(links - self._links_reported):
            message = (
                f"{self.inbox.path / path} is a link that leads out of the inbox, and is passed over; "
                "name the folder that it leads to in link_targets of the inbox to have such links followed"
            )
            self._notify(FilePassedOver(message, self.inbox.name, file=path))
        self._links_reported = links

    def _still_same_root(self) -> bool:
        """Without this, the empty folder below an unmounted share would look as if everything had been deleted."""
        now = inspect_root(self.inbox.path)
        return not trouble_with(self._armed, now, require_mount=self.inbox.require_mount)

    def _inspect_hinted(self, paths: Iterable[str]) -> None:
        units: dict[str, Kind] = {}
        for path in paths:
            if path.endswith(SIDECAR_ENDING):
                self._reserve(inside(self.inbox.path, self._read_sidecar(self.inbox.path / path, self.inbox.path)))
        for path in paths:
            if _is_folder(self.inbox.path / path):
                if self.inbox.recursive and unit_of_path(self.inbox.path, f"{path}/x", self._rules):
                    for unit in self._units_below(path):
                        self._see(unit)
            elif found := unit_of_path(self.inbox.path, path, self._rules):
                units[found[0]] = found[1]
        self._inspect_again(units)

    def _units_below(self, path: str) -> Iterable[Unit]:
        found = scan(self.inbox.path, self._rules, below=path, contents=self._contents)
        try:
            return [unit for unit in found if isinstance(unit, Unit)]
        except OSError:
            return []  # moved on meanwhile, and its new place has a hint of its own; or closed to us

    def _inspect_again(self, units: Mapping[str, Kind]) -> None:
        found = inspect_again(self.inbox.path, units, self._rules, contents=self._contents)
        for path, unit in found.items():
            if unit is None:
                self._drop(path)
            else:
                self._see(unit)

    def _read_sidecar(self, path: Path, root: Path) -> frozenset[Path]:
        """Return the reference photos that a sidecar names; nothing when it was read before as it is."""
        try:
            result = path.lstat()
        except OSError:
            return frozenset()
        identity = result.st_ino, result.st_size, result.st_mtime_ns
        if self._sidecars.get(path) == identity or not stat.S_ISREG(result.st_mode):
            return frozenset()
        self._sidecars[path] = identity
        return references_of_sidecar(path, root)

    def _reserve(self, references: frozenset[str]) -> None:
        """Take these photos for no footage from now on; what of them was settling is dropped."""
        if references <= self._rules.references:
            return
        self._rules = replace(self._rules, references=self._rules.references | references)
        pending = {path: observation.unit.kind for path, observation in self._pending.items()}
        found = inspect_again(self.inbox.path, pending, self._rules, contents=self._contents)
        for path in [path for path, unit in found.items() if unit is None]:
            self._drop(path)

    def _report_not_read(self, passed_over: Iterable[PassedOver]) -> None:
        """Report once each folder whose pictures dfld does not read: nothing else would say why it stays."""
        folders = {one.path: one.detail for one in passed_over if one.reason == "pictures_not_read"}
        for path in sorted(folders.keys() - self._not_read):
            message = (
                f"{self.inbox.path / path}: none of its pictures is of a kind that dfld reads ({folders[path]}); "
                "the folder stays where it is"
            )
            self._notify(FolderNotRead(message, self.inbox.name, file=path))
        self._not_read = frozenset(folders)

    def _see(self, unit: Unit) -> None:
        """Add one observation of a unit, unless it was handled as it is or is being claimed."""
        if self._claimer.has(unit):
            self._drop(unit.path)
            return
        before = self._pending.get(unit.path)
        if unit.unreadable and (before is None or before.unit.unreadable != unit.unreadable):
            message = f"{self.inbox.path / unit.path} cannot be looked at: {unit.unreadable}; others go on without it"
            self._notify(FileUnreadable(message, self.inbox.name, file=unit.path))
        observation = observed(before, unit, self._monotonic())
        self._pending[unit.path] = observation
        self._due[unit.path] = judge(observation, self._monotonic(), self._gate()).check_again_s

    def _drop(self, path: str) -> None:
        self._pending.pop(path, None)
        self._due.pop(path, None)

    # -- settling

    def _settle(self) -> None:
        """Inspect again what is due and hand on what passes the gate."""
        now = self._monotonic()
        self._inspect_again({path: self._pending[path].unit.kind for path, due in self._due.items() if due <= now})
        gate = self._gate()
        settled = [one for one in self._pending.values() if judge(one, self._monotonic(), gate).settled]
        files = {(m.device, m.inode) for one in settled for _, m in one.unit.members}
        held = open_for_writing(files)
        ready = []
        for one in settled:
            if any((m.device, m.inode) in held for _, m in one.unit.members):
                self._due[one.unit.path] = self._monotonic() + min(WRITER_CHECK_S, max(gate.stable_for_s, 0.05))
            else:
                ready.append(one)
                self._drop(one.unit.path)
        seconds_ago = self._monotonic()
        self._claimer.take([(one.unit, self._wall() - (seconds_ago - one.first_s)) for one in ready])

    def _gate(self) -> GateRules:
        return gate_rules(self._watch, "" if self._armed is None else self._armed.filesystem)

    def _pause(self) -> float:
        now = self._monotonic()
        times = [self._next_root_check]
        if self._armed is not None and self.status.up:
            times += [self._next_scan, *self._due.values()]
        return max(0.0, min(times) - now)

    def _publish(self) -> None:
        gate, now = self._gate(), self._monotonic()
        first = list(self._pending.values())[:20]
        waiting = tuple((one.unit.path, judge(one, now, gate).obstacle or "open_for_writing") for one in first)
        self.status = replace(self.status, pending=len(self._pending), waiting_for=waiting)


def watch_mode(inbox: InboxConfig, watch: WatchConfig) -> str:
    """Return events or poll: what was asked for, else what the filesystem can do."""
    asked = inbox.mode or watch.mode
    if asked != "auto":
        return asked
    return "poll" if network_filesystem(inbox.path) else "events"


def _is_folder(path: Path) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)  # noqa: PTH112, PTH114 -- these never raise
