"""A save of a model is one generation: all files or none, whatever moment the program is killed at.

    alice_SAEHD_generations/.saving/            all files are written here, synced and read back
    alice_SAEHD_generations/000017.switching/   the rename to this name decides: from now on the new files count
    alice_SAEHD_encoder.npy, …                  each gets the new file by one rename; data.dat is the last
    alice_SAEHD_generations/000017/             the switch is complete

Before the decision the model's folder is as it was; after it, `recover` completes the switch before anybody reads the
model. A file that is neither the one before the save nor the new one was written by another program since: nothing is
changed then. The files of a generation and those of the model are the same bytes on the disk (hard links) where the
filesystem can; DeepFaceLab replaces a file by renaming, and never writes into one. Its summary.txt, which it does
write into, is a copy. The digests of a generation say whether another program did so all the same.

Not for backups, which are DeepFaceLab's own form (trainer.model_folder.backups).
"""

from __future__ import annotations

import errno
import json
import re
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.files import (
    copy_new,
    link_or_copy_new,
    make_folder,
    put_folder_in_place,
    rename_over,
    replace_file,
    sync_file,
    sync_folder,
    temporary_name,
)
from core.opening import read_regular, sha256_of
from dfl.model_files import SUMMARY, ModelName
from trainer.errors import ModelFolderError, SaveError

SAVING, SWITCHING, DROPPING, LIST = ".saving", ".switching", ".dropping", "files.json"
MAX_LIST_BYTES = 1 << 20
_COMPLETE = re.compile(r"\d{6,}")
_DECIDED = re.compile(r"(\d{6,})\.switching")


@dataclass(frozen=True)
class FileToSave:
    """One file of a model and how it comes to be."""

    name: str
    write: Callable[[Path], None]
    """Writes a new file of that name, not synced."""
    check: Callable[[Path], None] = lambda _: None
    """Reads it back; raises SaveError where it is not what was written."""


@dataclass(frozen=True)
class Generation:
    """A save that is complete."""

    number: int
    """Counted up by every save; the iteration may fall."""
    folder: Path


@dataclass(frozen=True)
class _List:
    """What is kept of a save beside its files."""

    digests: Mapping[str, str]
    """File name → SHA-256, in the order in which they take their places."""
    before: Mapping[str, list[int] | None]
    """File name → size and time of the model's file before the save; None where there was none."""


def generations_folder(folder: Path, model: ModelName) -> Path:
    """Return where the generations of a model lie."""
    return folder / model.file_name("generations")


def generations(folder: Path, model: ModelName) -> tuple[Generation, ...]:
    """Return the generations of a model that are complete, oldest first."""
    found = [one for one in _names(generations_folder(folder, model)) if _COMPLETE.fullmatch(one)]
    return tuple(Generation(int(one), generations_folder(folder, model) / one) for one in sorted(found, key=int))


def require_intact(generation: Generation) -> tuple[str, ...]:
    """Return the names of a generation's files; raise ModelFolderError where one is not as it was saved."""
    listed = _read_list(generation.folder)
    for name, digest in listed.digests.items():
        path = generation.folder / name
        try:
            intact = sha256_of(path, follow_links=False) == digest
        except OSError as problem:
            raise ModelFolderError(f"{path} cannot be read: {problem.strerror}") from problem
        if not intact:
            raise ModelFolderError(f"{path} is not as it was saved", hint="take another generation, or a backup")
    return tuple(listed.digests)


def save_generation(folder: Path, model: ModelName, files: Sequence[FileToSave], *, keep: int) -> Generation:
    """Save the files, the last one last, and keep this many generations, this one among them.

    Raise SaveError, with the model as it was, where the disk refuses or a file reads back as something else. Raised
    after the decision, a SaveError says so: the new generation counts, and `recover` completes it. Raise as `recover`.
    """
    recover(folder, model)
    try:
        saving = _write_all(folder, model, files)
        try:
            number = _next_number(folder, model)
            decided = saving.with_name(f"{number:06d}{SWITCHING}")
            put_folder_in_place(saving, decided)
        except BaseException:
            _remove_undecided(folder, model)
            raise
    except OSError as problem:
        raise SaveError(f"{model.prefix} is not saved: {problem.strerror}", hint=_remedy(problem, folder)) from problem
    try:
        complete = _switch(folder, decided, tuple(one.name for one in files))
    except OSError as problem:
        raise SaveError(
            f"{model.prefix} is saved as generation {number}, but not all files have their names yet: "
            f"{problem.strerror}",
            hint=_remedy(problem, folder),
        ) from problem
    with suppress(OSError):  # more space than there need be is used until the next save
        _drop_all_but(folder, model, keep)
    return Generation(number, complete)


def recover(folder: Path, model: ModelName) -> bool:
    """Complete or clear away what a kill left of a save; return whether the model's files changed by it.

    Raise ModelFolderError, with nothing changed, where another program wrote the model since, or the save's own files
    are not whole; SaveError where the disk refuses.
    """
    beside = generations_folder(folder, model)
    decided = [one for one in _names(beside) if _DECIDED.fullmatch(one)]
    try:
        for name in sorted(decided):
            _complete(folder, model, beside / name)
        _remove_undecided(folder, model)
    except OSError as problem:
        raise SaveError(
            f"the last save of {model.prefix} cannot be completed: {problem.strerror}", hint=_remedy(problem, folder)
        ) from problem
    return bool(decided)


def _write_all(folder: Path, model: ModelName, files: Sequence[FileToSave]) -> Path:
    saving = generations_folder(folder, model) / SAVING
    make_folder(saving)
    try:
        digests = {}
        for file in files:
            path = saving / file.name
            file.write(path)
            sync_file(path)
            file.check(path)
            digests[file.name] = sha256_of(path, follow_links=False)
        before = {file.name: _size_and_time(folder / file.name) for file in files}
        listed = {"files": digests, "before": before}
        replace_file(saving / LIST, json.dumps(listed, indent=1).encode())
        for file in files:  # all that needs space is on the disk before the decision
            _stage(saving / file.name, folder / file.name)
    except BaseException:
        _remove_undecided(folder, model)
        raise
    return saving


def _stage(saved: Path, target: Path) -> None:
    staged = temporary_name(target)
    if target.name.endswith(SUMMARY):
        copy_new(saved, staged)
    else:
        link_or_copy_new(saved, staged)


def _switch(folder: Path, decided: Path, names: Sequence[str]) -> Path:
    for name in names:
        target = folder / name
        if not temporary_name(target).exists():
            _stage(decided / name, target)
        rename_over(temporary_name(target), target)
    sync_folder(folder)
    complete = decided.with_name(decided.name.removesuffix(SWITCHING))
    put_folder_in_place(decided, complete)
    return complete


def _complete(folder: Path, model: ModelName, decided: Path) -> None:
    listed = _read_list(decided)
    require_intact(Generation(0, decided))
    for name in listed.digests:
        now = _size_and_time(folder / name)
        if now not in (listed.before.get(name), _size_and_time(decided / name)):
            raise ModelFolderError(
                f"{name} was changed by another program after a save of {model.prefix} was cut short; "
                "nothing was changed",
                hint=f"keep that program's model by removing {decided}, or the saved one by copying it from there",
            )
    _remove_staged(folder, model)
    _switch(folder, decided, tuple(listed.digests))


def _read_list(saved: Path) -> _List:
    path = saved / LIST
    try:
        content = json.loads(read_regular(path, within=None, max_bytes=MAX_LIST_BYTES))
        digests, before = content["files"], content["before"]
        names = [*digests, *before]
        if any(Path(name).name != name for name in names) or not all(isinstance(one, str) for one in digests.values()):
            raise ValueError("a name leads elsewhere, or a digest is no text")
        return _List(digests, before)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
        raise ModelFolderError(f"{path} does not say which files were saved", hint="take a backup") from problem


def _size_and_time(path: Path) -> list[int] | None:
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    return [status.st_size, status.st_mtime_ns]


def _next_number(folder: Path, model: ModelName) -> int:
    numbers = [int(one[0]) for name in _names(generations_folder(folder, model)) if (one := re.match(r"\d{6,}", name))]
    return max(numbers, default=0) + 1


def _drop_all_but(folder: Path, model: ModelName, keep: int) -> None:
    for one in generations(folder, model)[: -max(1, keep)]:
        dropping = one.folder.with_name(f"{DROPPING}{one.folder.name}")
        rename_over(one.folder, dropping)  # so that a kill leaves no half of a generation under its name
        shutil.rmtree(dropping)


def _remove_undecided(folder: Path, model: ModelName) -> None:
    beside = generations_folder(folder, model)
    for name in _names(beside):
        if name == SAVING or name.startswith(DROPPING):
            shutil.rmtree(beside / name)
    _remove_staged(folder, model)


def _remove_staged(folder: Path, model: ModelName) -> None:
    ending = temporary_name(folder / "x").name.removeprefix(".x")
    for name in _names(folder):
        if name.startswith(f".{model.prefix}_") and name.endswith(ending):
            (folder / name).unlink()


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def _remedy(problem: OSError, folder: Path) -> str:
    if problem.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"make space on the disk of {folder}; the model that was saved before is whole"
    return ""
