"""What becomes of an original once its job ended: kept, moved, deleted, or quarantined with its reason.

Only the files that the job read are touched, one by one, each as it was when it was read (core.move_and_delete):
another file under the same name, what came later into a folder of images, hidden entries and subfolders stay, and
with them the folder. Nothing is ever lost: a quarantined file is moved, never deleted, and stays where it is when it
cannot be moved.
A link is moved as a link, and deleted as one; what it leads to is not dfld's.
"""

from __future__ import annotations

import hashlib
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from core.files import FOLDER_MODE, NAME_BYTES_MAX, make_folder, numbered, replace_file, shortened, sync_folder
from core.move_and_delete import (
    ASIDE_ENDING,
    KnownFile,
    OtherFileError,
    move,
    move_link,
    put_back_asides,
    remove,
    remove_link,
)
from daemon.arrivals.never_footage import PARTIAL_SIBLINGS, SIDECAR_ENDING
from daemon.arrivals.settling import Kind
from daemon.ledger.members import Member

REASON_ENDING = ".reason.json"
MARK_LENGTH = 8


def _nothing(*_: object) -> None:
    pass


@dataclass(frozen=True)
class OriginalsResult:
    """What was done with the files of a job."""

    place: Path | None
    """Where the file or the folder is now; None where it was deleted, or nothing of it was there to be moved."""
    done: int
    """Files that were moved, now or by an earlier try, or deleted."""
    left: tuple[str, ...] = ()
    """Why a file was left alone: one sentence for each."""


def companion_paths(path: str, kind: Kind, done_marker: str) -> list[str]:
    """Return, below the inbox, what may go along with an original: its sidecar and its marker."""
    names = [path + SIDECAR_ENDING]
    if done_marker:
        names += [path + done_marker, *([f"{path}/{done_marker}"] if kind == "folder" else [])]
    return names


def move_unit(
    root: Path,
    path: bytes,
    kind: Kind,
    members: Sequence[Member],
    folder: Path,
    *,
    started: Path | None = None,
    on_start: Callable[[Path], None] = _nothing,
    on_chunk: Callable[[], None] = _nothing,
) -> OriginalsResult:
    """Move the files of a job into `folder`, keeping their place below the inbox `root`.

    A name that is taken gets a number. `on_start` is called with the place of the video or of the folder of images
    before it is taken; `started` is what an earlier try reported so: what lies there and has the content of the job's
    files is counted as moved, and what goes along with it follows. `on_chunk` is called behind each piece of a file
    that is read; what it raises ends the work. Raise OSError when a file cannot be moved; it is then where it was.
    """
    wanted = folder / os.fsdecode(path)
    make_folder(wanted.parent)
    goes_on = started is not None and (kind == "video" or started.is_dir())
    target = wanted
    if kind == "folder":
        target = started if started is not None and goes_on else _new_folder(wanted)
        on_start(target)

    def move_one(one: Path, known: KnownFile) -> None:
        nonlocal target
        if kind == "folder":
            place = target / one.name
            _move_file(one, place, known, begun=place if goes_on else None, on_chunk=on_chunk)
        else:
            target = _move_file(one, wanted, known, begun=started, on_place=on_start, on_chunk=on_chunk)

    done, left = _each(root, path, kind, members, move_one)
    if kind == "folder":
        sync_folder(target)
    for one in _companions(members) if done else ():
        ending = os.fsdecode(one.path)[len(os.fsdecode(path)) :]
        beside = target / ending[1:] if ending.startswith("/") else target.with_name(target.name + ending)
        with suppress(FileNotFoundError, OtherFileError):
            _move_file(root / os.fsdecode(one.path), beside, one.known, begun=beside if goes_on else None)
    _remove_if_empty(root, path, kind)
    if not done:
        if kind == "folder":
            with suppress(OSError):
                target.rmdir()
        return OriginalsResult(None, 0, left)
    return OriginalsResult(target, done, left)


def delete_unit(
    root: Path,
    path: bytes,
    kind: Kind,
    members: Sequence[Member],
    *,
    started: bool = False,
    on_start: Callable[[], None] = _nothing,
    on_chunk: Callable[[], None] = _nothing,
) -> OriginalsResult:
    """Delete the files of a job. Raise OSError when one cannot be deleted; it is then still there.

    `on_start` is called before the first goes; `started`: an earlier try did so. What goes along with files that are
    gone follows them only then: a file that somebody took away keeps its sidecar. `on_chunk`: as of `move_unit`.
    """
    on_start()
    done, left = _each(root, path, kind, members, lambda one, known: _remove_file(one, known, on_chunk))
    if done or (started and not left):
        for one in _companions(members):
            with suppress(FileNotFoundError, OtherFileError):
                remove(root / os.fsdecode(one.path), one.known)
    _remove_if_empty(root, path, kind)
    return OriginalsResult(None, done, left)


def put_back(place: Path, wanted: Path, on_chunk: Callable[[], None] = _nothing) -> Path:
    """Move a quarantined original back to where it was taken from; its reason goes. Raise OSError when it cannot be.

    What a kill left aside of an earlier try comes first.
    """
    make_folder(wanted.parent)
    put_back_asides(place.parent, place.name)
    status = os.lstat(place)
    if stat.S_ISDIR(status.st_mode):
        make_folder(wanted)
        put_back_asides(place)
        target = wanted
        for one in sorted(place.iterdir()):
            found = os.lstat(one)
            if stat.S_ISREG(found.st_mode):
                move(one, wanted / one.name, _as_it_is(found), names=_free_names, on_chunk=on_chunk)
        with suppress(OSError):  # what is no regular file stays, and the folder with it
            place.rmdir()
    elif stat.S_ISLNK(status.st_mode):
        target = move_link(place, wanted, names=_free_names)
    else:
        target = move(place, wanted, _as_it_is(status), names=_free_names, on_chunk=on_chunk)
    reason_path(place).unlink(missing_ok=True)
    return target


def put_back_all_asides(folders: Iterable[Path]) -> list[Path]:
    """Give every file in or below these folders that a killed process left aside its name back; return where they are.

    Links to folders are not followed; what cannot be listed or renamed is passed over.
    """
    found: set[Path] = set()
    for top in folders:
        for folder, _, names in os.walk(top):
            if any(name.endswith(ASIDE_ENDING) for name in names):
                with suppress(OSError):
                    found.update(put_back_asides(Path(folder)))
    return sorted(found)


def write_reason(path: Path, reason: Mapping[str, object]) -> Path:
    """Write the reason beside a quarantined file; return where."""
    target = reason_path(path)
    replace_file(target, json.dumps(reason, indent=2).encode() + b"\n")
    return target


def reason_path(path: Path) -> Path:
    """Return where the reason of a quarantined file stands: behind its name, shortened where that would not fit."""
    name = path.name
    room = NAME_BYTES_MAX - len(REASON_ENDING)
    if len(os.fsencode(name)) > room:
        mark = "~" + hashlib.sha256(os.fsencode(name)).hexdigest()[:MARK_LENGTH]  # distinguishes names of one beginning
        name = shortened(name, room - len(mark)) + mark
    return path.with_name(name + REASON_ENDING)


def _each(
    root: Path, path: bytes, kind: Kind, members: Sequence[Member], act: Callable[[Path, KnownFile], None]
) -> tuple[int, tuple[str, ...]]:
    """Do it to each file of the footage that is there as it was read; count them, and say why others were left."""
    done, left = 0, []
    if kind == "folder" and (root / os.fsdecode(path)).is_symlink():
        return 0, (f"{root / os.fsdecode(path)} is a link by now; it was left alone",)
    for one in members:
        if one.role == "footage":
            try:
                act(root / os.fsdecode(one.path), one.known)
                done += 1
            except FileNotFoundError:
                continue  # an earlier try came so far, or somebody took it away
            except OtherFileError as problem:
                left.append(problem.message)
    return done, tuple(left)


def _companions(members: Sequence[Member]) -> Iterator[Member]:
    return (one for one in members if one.role == "companion")


def _move_file(
    path: Path,
    target: Path,
    known: KnownFile,
    *,
    begun: Path | None = None,
    on_place: Callable[[Path], None] = _nothing,
    on_chunk: Callable[[], None] = _nothing,
) -> Path:
    if begun is not None and begun.is_symlink() and _leads_to(begun, known):
        if path.is_symlink() and _leads_to(path, known):  # the second link was made, the first did not go any more
            remove_link(path)
        return begun
    if path.is_symlink():
        _require_link(path, known)
        return move_link(path, target, names=_free_names, on_place=on_place)
    return move(path, target, known, names=_free_names, begun=begun, on_place=on_place, on_chunk=on_chunk)


def _remove_file(path: Path, known: KnownFile, on_chunk: Callable[[], None]) -> None:
    if path.is_symlink():
        _require_link(path, known)
        remove_link(path)
    else:
        remove(path, known, on_chunk=on_chunk)


def _as_it_is(status: os.stat_result) -> KnownFile:
    """Return what is known of a file that was only listed: a quarantined one, whose content is nobody's to judge."""
    return KnownFile(status.st_ino, status.st_size, status.st_mtime_ns, "")


def _leads_to(path: Path, known: KnownFile) -> bool:
    try:
        return known.fits(path.stat())
    except OSError:
        return False


def _require_link(path: Path, known: KnownFile) -> None:
    """Raise OtherFileError where the link leads to another file than the one that was read."""
    if not _leads_to(path, known):
        raise OtherFileError(f"{path} leads to another file than the one that was read; it was left alone")


def _remove_if_empty(root: Path, path: bytes, kind: Kind) -> None:
    if kind == "folder":
        with suppress(OSError):  # what was not read lies in it, and stays
            (root / os.fsdecode(path)).rmdir()


def _new_folder(wanted: Path) -> Path:
    for target in _free_names(wanted):
        try:
            target.mkdir(mode=FOLDER_MODE)
        except FileExistsError:
            continue
        return target
    raise AssertionError("names never end")


def _free_names(wanted: Path) -> Iterator[Path]:
    """Yield names whose reason and whose partial siblings are no other file's."""
    for one in numbered(wanted):
        if not any(os.path.lexists(beside) for beside in (reason_path(one), *_partial_siblings(one))):
            yield one


def _partial_siblings(path: Path) -> list[Path]:
    return [path.with_name(path.name + ending) for ending in PARTIAL_SIBLINGS]
