"""What becomes of an original once its job ended: kept, moved, deleted, or quarantined with its reason.

Nothing is ever lost: a quarantined file is moved, never deleted, and stays where it is when it cannot be moved. A
move to another filesystem is copied, synced and compared before the first copy goes. A link is moved as a link;
what it points to is not dfld's.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from daemon.inboxes.settling import PARTIAL_SIBLINGS, SIDECAR_ENDING
from engine.workspace.private_files import NAME_BYTES_MAX, make_folder, replace_file, sync_folder, temporary_name

REASON_ENDING = ".reason.json"
MARK_LENGTH = 8
COPY_BYTES = 4 << 20


def companions(path: Path, done_marker: str) -> list[Path]:
    """Return what goes along with an original: its sidecar and its marker."""
    endings = [SIDECAR_ENDING, *([done_marker] if done_marker else [])]
    beside = [path.with_name(path.name + ending) for ending in endings]
    return [one for one in beside if os.path.exists(one)]  # noqa: PTH110 -- Path.exists raises for a name too long


def move_to(path: Path, folder: Path, *, below: Path) -> Path:
    """Move a file or folder of images into `folder`, keeping its place below the inbox; return where it is.

    A name that is taken gets a number. Raise OSError when it cannot be moved; it is then still where it was.
    """
    target = _free_name(folder / path.relative_to(below))
    make_folder(target.parent)
    if path.is_symlink():
        target.symlink_to(path.parent / path.readlink())  # an absolute link stays as it is
        path.unlink()
        return target
    try:
        path.rename(target)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        _move_across(path, target)
    return target


def delete(path: Path) -> None:
    """Delete an original; a folder of images goes with everything in it."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def write_reason(path: Path, reason: Mapping[str, Any]) -> Path:
    """Write the reason beside a quarantined file; return where."""
    target = reason_path(path)
    replace_file(target, json.dumps(reason, indent=2).encode() + b"\n")
    return target


def reason_path(path: Path) -> Path:
    """Return where the reason of a quarantined file stands: behind its name, shortened where that would not fit."""
    name = path.name
    room = NAME_BYTES_MAX - len(REASON_ENDING)
    if len(os.fsencode(name)) > room:
        mark = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:MARK_LENGTH]  # tells names of one beginning apart
        name = _shortened(name, room - len(mark)) + mark
    return path.with_name(name + REASON_ENDING)


def _free_name(path: Path) -> Path:
    candidate, number = path, 2
    while any(os.path.lexists(one) for one in (candidate, reason_path(candidate), *_partial_siblings(candidate))):
        ending = f".{number}{path.suffix}"
        candidate = path.with_name(_shortened(path.stem, NAME_BYTES_MAX - len(os.fsencode(ending))) + ending)
        number += 1
    return candidate


def _partial_siblings(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in PARTIAL_SIBLINGS]


def _shortened(name: str, room_bytes: int) -> str:
    """Return as much of the beginning of `name` as fits, without cutting a character in two."""
    while len(os.fsencode(name)) > room_bytes:
        name = name[:-1]
    return name


def _move_across(path: Path, target: Path) -> None:
    """Copy to another filesystem under a temporary name, sync, compare sizes, rename, then remove the source."""
    temporary = temporary_name(target)
    try:
        if path.is_dir():
            shutil.copytree(path, temporary, copy_function=_copy_synced)
        else:
            _copy_synced(path, temporary)
        # Names are on disk only once their folder is: a power cut must not find the source gone and no copy.
        for folder in (temporary, *temporary.rglob("*")):
            if folder.is_dir():
                sync_folder(folder)
        temporary.rename(target)
        sync_folder(target.parent)
    except BaseException:
        delete(temporary)
        raise
    delete(path)


def _copy_synced(source: str | Path, target: str | Path) -> None:
    with open(source, "rb") as read, open(target, "wb") as written:  # noqa: PTH123 -- copytree hands in text
        shutil.copyfileobj(read, written, COPY_BYTES)
        written.flush()
        os.fsync(written.fileno())
        if written.tell() != os.fstat(read.fileno()).st_size:
            raise OSError(errno.EIO, "the copy has another size than the original", str(source))
    shutil.copystat(source, target)


def put_back(place: Path, wanted: Path) -> Path:
    """Move a quarantined original back to where it was taken from; its reason goes. Raise OSError when it cannot be."""
    target = _free_name(wanted)
    make_folder(target.parent)
    try:
        place.rename(target)
    except OSError as problem:
        if problem.errno != errno.EXDEV:
            raise
        _move_across(place, target)
    reason_path(place).unlink(missing_ok=True)
    return target
