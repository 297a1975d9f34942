"""What dfld keeps on this computer for one model: journals, pulled sets, files to push, the last averages.

    <folder>/rounds/000123/journal.jsonl       what round 123 did
    <folder>/incoming/000123/<machine>/        its snapshots, until it is over: what an undo puts back
    <folder>/outgoing/000123/                  what it pushes, until every machine has it
    <folder>/averages/000123/ + manifest.json  the last K averages, with hashes
    <folder>/momentum/, <folder>/deploy/000123 the outer step's memory; the exponential average to use
    <folder>/after/000123/                     both as round 123 left them (links): what a rollback to it restores
    <folder>/lock                              one dfld at a time

Not for deciding anything. Sets appear whole: written beside, synced, renamed.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from core.files import put_folder_in_place, put_in_place, replace_file, sync_file, sync_folder
from core.opening import sha256_of
from sync.errors import RoundError

MANIFEST = "manifest.json"
LOCK_WAIT_S = 2.0
"""A child that a killed dfld had just forked holds the lock until it has become its own program."""
LOCK_POLL_S = 0.02


@dataclass(frozen=True)
class KeptAverage:
    """One average on this computer."""

    number: int
    files: Mapping[str, Path]
    """By part."""
    sha256: Mapping[str, str]
    """By part."""
    iteration: int
    """The highest iteration among its machines."""


@dataclass(frozen=True)
class KeptSet:
    """A set of weights on this computer."""

    number: int
    """Of the last round that is in it."""
    files: Mapping[str, Path]
    """By part."""


class Store:
    """The folders of one model; see the module."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def rounds(self) -> Path:
        return self.folder / "rounds"

    def incoming(self, number: int, machine: str) -> Path:
        return self.folder / "incoming" / f"{number:06d}" / machine

    def outgoing(self, number: int, machine: str = "") -> Path:
        """Make and return the folder for what a round pushes, for all or for one machine."""
        folder = self.folder / "outgoing" / f"{number:06d}" / machine
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def scratch(self, name: str) -> Path:
        """Make and return an empty folder for files that are not finished."""
        folder = self.folder / "scratch" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        return folder

    def forget_scratch(self, name: str) -> None:
        shutil.rmtree(self.folder / "scratch" / name, ignore_errors=True)

    @contextlib.contextmanager
    def locked(self, stop: threading.Event) -> Iterator[None]:
        """Hold the model for this process. A stop ends the wait. Raise RoundError when another dfld holds it."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / "lock").open("w") as file:
            ends_at = time.monotonic() + LOCK_WAIT_S
            while not _try_lock(file.fileno()):
                if time.monotonic() > ends_at or stop.wait(LOCK_POLL_S):
                    raise RoundError(f"another dfld is at work on {self.folder}", hint="wait for its round to end")
            yield

    def keep_average(
        self, number: int, files: Mapping[str, Path], sha256: Mapping[str, str], iteration: int
    ) -> KeptAverage:
        """Keep a set as the average of round `number`; the files stay where they are too (same disk: links).

        `sha256`: of every file, by part, as they were written.
        """
        kept = self.folder / "averages" / f"{number:06d}"
        if not kept.exists():
            beside = kept.with_name(kept.name + ".new")
            shutil.rmtree(beside, ignore_errors=True)
            beside.mkdir(parents=True)
            for part, path in files.items():
                _link_or_copy(path, beside / part)
            manifest = {"iteration": iteration, "sha256": {part: sha256[part] for part in files}}
            replace_file(beside / MANIFEST, json.dumps(manifest, indent=1).encode())
            put_folder_in_place(beside, kept)
        return self.average(number)

    def averages(self) -> list[int]:
        """Return the numbers of the kept averages, oldest first."""
        return _numbers_in(self.folder / "averages")

    def average(self, number: int) -> KeptAverage:
        """Return a kept average. Raise RoundError when it is not kept (any more)."""
        kept = self.folder / "averages" / f"{number:06d}"
        try:
            manifest = json.loads((kept / MANIFEST).read_text(encoding="utf-8"))
            digests = dict(manifest["sha256"])
            iteration = int(manifest["iteration"])
        except (OSError, ValueError, KeyError) as error:
            have = ", ".join(map(str, self.averages())) or "none"
            raise RoundError(f"the average of round {number} is not kept here; kept are: {have}") from error
        return KeptAverage(number, {part: kept / part for part in digests}, digests, iteration)

    def check_average(self, kept: KeptAverage) -> None:
        """Raise RoundError unless every file still has the hash it was kept with."""
        for part, path in kept.files.items():
            if not path.is_file() or sha256_of(path, follow_links=True) != kept.sha256[part]:
                raise RoundError(f"{part} of the kept average {kept.number} is damaged: its hash is another one")

    def prune(self, keep: int, needed: set[int]) -> None:
        """Remove all but the newest `keep` averages, with what is kept of their rounds; those in `needed` stay."""
        for number in self.averages()[:-keep]:
            if number not in needed:
                shutil.rmtree(self.folder / "averages" / f"{number:06d}")
        for number in set(_numbers_in(self.folder / "after")) - set(self.averages()):
            shutil.rmtree(self.folder / "after" / f"{number:06d}")

    def forget_incoming(self, number: int) -> None:
        shutil.rmtree(self.folder / "incoming" / f"{number:06d}", ignore_errors=True)

    def forget_outgoing(self, number: int) -> None:
        shutil.rmtree(self.folder / "outgoing" / f"{number:06d}", ignore_errors=True)

    def read_note(self, name: str) -> Mapping[str, object]:
        """Return a small remembered value by its fields; none where there is none, or it cannot be read."""
        try:
            found = json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def write_note(self, name: str, value: Mapping[str, object]) -> None:
        """Remember a small value."""
        self.folder.mkdir(parents=True, exist_ok=True)
        replace_file(self.folder / f"{name}.json", json.dumps(value).encode())
        sync_folder(self.folder)

    def momentum_files(self) -> dict[str, Path] | None:
        """Return the outer step's memory by part; None before the first outer step."""
        return _files_of(self.folder / "momentum")

    def keep_momentum(self, number: int, parts: Sequence[str]) -> None:
        """Take over the outer step's memory from what a round wrote; nothing where it took no such step."""
        made = {part: self.outgoing(number) / f"momentum_{part}" for part in parts}
        if made and all(path.exists() for path in made.values()):
            self._replace_set(self.folder / "momentum", made)

    def deployed(self) -> KeptSet | None:
        """Return the exponential average of rounds; None before there is one."""
        numbers = _numbers_in(self.folder / "deploy")
        return KeptSet(numbers[-1], _files_of(self.folder / "deploy" / f"{numbers[-1]:06d}") or {}) if numbers else None

    def keep_deployed(self, number: int, files: Mapping[str, Path]) -> None:
        """Take over a new exponential average, which round `number` has joined; the one before goes.

        The files stay where they are too (same disk: links).
        """
        folder = self.folder / "deploy"
        _make_set(folder / f"{number:06d}", files)
        for earlier in _numbers_in(folder):
            if earlier != number:
                shutil.rmtree(folder / f"{earlier:06d}")

    def keep_state(self, number: int) -> None:
        """Keep the outer step's memory and the exponential average, as they are now, as those after round `number`."""
        kept = self.folder / "after" / f"{number:06d}"
        if kept.exists():
            return
        beside = kept.with_name(kept.name + ".new")
        shutil.rmtree(beside, ignore_errors=True)
        deployed = self.deployed()
        for name, files in (("deploy", deployed.files if deployed else {}), ("momentum", self.momentum_files() or {})):
            _make_set(beside / name, files)
        put_folder_in_place(beside, kept)

    def restore_state(self, source: int, number: int) -> bool:
        """Make both what they were after round `source`, the exponential average now as that of round `number`.

        False, and nothing is changed, where that is not kept (any more). Safe to call again.
        """
        kept = self.folder / "after" / f"{source:06d}"
        deployed = _files_of(kept / "deploy")
        if deployed is None:
            return False
        self._replace_set(self.folder / "momentum", _files_of(kept / "momentum") or {})
        self.keep_deployed(number, deployed)
        return True

    def forget_momentum(self) -> None:
        """Let the outer step begin anew."""
        self._replace_set(self.folder / "momentum", {})

    def _replace_set(self, folder: Path, files: Mapping[str, Path]) -> None:
        """Make `folder` hold exactly `files` (by part), in one step as far as a reader can see one file."""
        folder.mkdir(parents=True, exist_ok=True)
        for part, path in files.items():
            beside = folder / f"{part}.new"
            beside.unlink(missing_ok=True)
            _link_or_copy(path, beside)
        put_in_place({folder / f"{part}.new": folder / part for part in files})
        for path in folder.iterdir():
            if path.name not in files:
                path.unlink()
        sync_folder(folder)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def set_digest(digests: Mapping[str, str]) -> str:
    """Return one sha256 for a set of files, from theirs."""
    return hashlib.sha256(json.dumps(sorted(digests.items())).encode()).hexdigest()


def _numbers_in(folder: Path) -> list[int]:
    return sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal()) if folder.is_dir() else []


def _files_of(folder: Path) -> dict[str, Path] | None:
    found = {path.name: path for path in folder.iterdir() if not path.name.endswith(".new")} if folder.is_dir() else {}
    return found or None


def _make_set(folder: Path, files: Mapping[str, Path]) -> None:
    """Make a folder that holds exactly `files` (by part); it appears whole. What had its name goes."""
    beside = folder.with_name(folder.name + ".new")
    for old in (beside, folder):
        shutil.rmtree(old, ignore_errors=True)
    beside.mkdir(parents=True)
    for part, path in files.items():
        _link_or_copy(path, beside / part)
    put_folder_in_place(beside, folder)


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
        sync_file(target)
