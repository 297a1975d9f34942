"""Files of a faceset replaced together: of each group every file is the old one or every file the new one, in the end.

    .dfld/replacing/<n>              the new bytes, synced
    .dfld/replacing/replacing.json   which file each is for, what that was, and what is to be added to which records

Once replacing.json has its name, the replacement happens, if need be by whoever holds the faceset next (`recover`,
which engine.facesets.changing.sole_user calls): a kill before leaves all old, a kill after ends in all new. A file that
somebody else changed meanwhile stays as they left it, and so does all of its group.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from core.files import put_in_place, replace_file, sync_folder
from core.opening import read_regular, sha256_of
from engine.errors import OutputError
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.state_folder import PRIVATE_FILE, PRIVATE_FOLDER, make_state_folder
from engine.workspace.output_files import as_output_error

FOLDER, JOURNAL = "replacing", "replacing.json"
JOURNAL_BYTES_MAX = 64 << 20
GROUPS_MAX = 1000
"""Of one call: bounds what a kill leaves to be finished, and the space that new files take beside the old."""


@dataclass(frozen=True)
class NewFile:
    """A file that is to get other bytes."""

    path: Path
    content: bytes
    old_sha256: str
    """Of the bytes that it has."""


@dataclass(frozen=True)
class Group:
    """Files that change together, as a face and its mask do."""

    files: tuple[NewFile, ...]
    records: Mapping[Path, bytes]
    """Lines, each with its end, to add to a file beside the faces before these are replaced: what a manifest says of
    the new bytes. After a kill they may stand there twice."""


def replace_files(folder: FacesetFolder, groups: Sequence[Group]) -> tuple[bool, ...]:
    """Replace the files of each group; say of each whether it was done: False where somebody changed a file meanwhile.

    Who calls holds the faceset. Raise OutputError, with nothing changed, when the disk refuses before anything is
    decided; later what is left to do is done by the next `recover`.
    """
    if not groups:
        return ()
    if len(groups) > GROUPS_MAX:
        raise ValueError(f"{len(groups)} groups at once, at most {GROUPS_MAX}")
    staging = folder.state / FOLDER
    with as_output_error("write in", staging):
        make_state_folder(folder)
        _clear(staging)
        staging.mkdir(mode=PRIVATE_FOLDER)
        values = [_staged(folder, staging, number, group) for number, group in enumerate(groups)]
        sync_folder(staging)
        content = json.dumps(values, separators=(",", ":")).encode()
        replace_file(staging / JOURNAL, content, check=lambda temporary: temporary.chmod(PRIVATE_FILE))
        sync_folder(staging)
        sync_folder(staging.parent)
    return _finish(folder, values)


def recover(folder: FacesetFolder) -> int:
    """Finish what a kill left of a replacement; return how many groups were done now. Raise OutputError."""
    staging = folder.state / FOLDER
    if not os.path.lexists(staging):
        return 0
    with as_output_error("read", staging):
        try:
            values = _values_in(read_regular(staging / JOURNAL, within=None, max_bytes=JOURNAL_BYTES_MAX))
        except FileNotFoundError:  # nothing was decided
            _clear(staging)
            return 0
    return sum(_finish(folder, values))


def _staged(folder: FacesetFolder, staging: Path, number: int, group: Group) -> dict[str, object]:
    files = []
    for place, file in enumerate(group.files):
        name = f"{number}-{place}"
        mode = stat.S_IMODE(file.path.stat().st_mode)
        replace_file(staging / name, file.content, check=partial(Path.chmod, mode=mode))
        new_sha256 = hashlib.sha256(file.content).hexdigest()
        where = str(file.path.relative_to(folder.parent))
        files.append({"path": where, "new": name, "old_sha256": file.old_sha256, "new_sha256": new_sha256})
    records = {str(path.relative_to(folder.parent)): lines.decode("ascii") for path, lines in group.records.items()}
    return {"files": files, "records": records}


def _finish(folder: FacesetFolder, groups: Sequence[Mapping[str, object]]) -> tuple[bool, ...]:
    staging = folder.state / FOLDER
    done = []
    with as_output_error("replace files in", folder.parent):
        for group in groups:
            files = [(folder.parent / one["path"], staging / one["new"], one) for one in _files_of(group)]
            is_free = all(
                not os.path.lexists(new) or _hash(path) in (one["old_sha256"], one["new_sha256"])
                for path, new, one in files
            )
            done.append(is_free)
            if is_free:
                _add_records(folder, group)
                put_in_place({new: path for path, new, _ in files if os.path.lexists(new)})
        _clear(staging)
    return tuple(done)


def _add_records(folder: FacesetFolder, group: Mapping[str, object]) -> None:
    records = group["records"]
    assert isinstance(records, dict)
    for name, lines in records.items():
        path = folder.parent / _inside(name)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:  # somebody took it away: then nobody asks it
            continue
        with open(descriptor, "r+b", buffering=0) as file:  # noqa: PTH123
            size = os.fstat(file.fileno()).st_size
            data = lines.encode("ascii")
            if size and os.pread(file.fileno(), 1, size - 1) != b"\n":
                data = b"\n" + data
            if file.write(data) != len(data):
                raise OutputError(f"cannot write {path}: the disk took a part of a line")
            os.fsync(file.fileno())


def _files_of(group: Mapping[str, object]) -> list[dict[str, str]]:
    files = group["files"]
    assert isinstance(files, list)
    return files


def _values_in(data: bytes) -> list[dict[str, object]]:
    """Return what a journal says. Raise OutputError for one that dfld did not write: it is never half written."""
    try:
        values = json.loads(data)
        if not isinstance(values, list):
            raise TypeError("no list of groups")
        for group in values:
            for file in group["files"]:
                _inside(file["path"])
                if PurePosixPath(file["new"]).name != file["new"] or not file["old_sha256"] or not file["new_sha256"]:
                    raise ValueError(file["new"])
            for name, lines in group["records"].items():
                _inside(name)
                lines.encode("ascii")
    except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as problem:
        raise OutputError(
            f"{JOURNAL} in a {FOLDER}/ folder makes no sense: {problem!r}",
            hint="it is not from dfld; remove the folder, and the faces stay as they are",
        ) from problem
    return values


def _inside(name: str) -> PurePosixPath:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\0" in name or not path.parts:
        raise ValueError(f"{name!r} is no path below the faceset's folder")
    return path


def _hash(path: Path) -> str:
    try:
        return sha256_of(path, follow_links=False)
    except FileNotFoundError:
        return ""


def _clear(staging: Path) -> None:
    """Remove the folder of new files; the journal first, since without it nothing of them counts."""
    if os.path.lexists(staging):
        (staging / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(staging)
