"""Files moved and removed for good: exactly the file that was read, never over another one, whole at every moment.

A file is known by what it was when it was read: inode, size, time of change, SHA-256. `move` and `remove` act on that
file alone; where another one stands under its name, they raise OtherFileError and leave it. Links are not followed,
and what is no regular file is not opened for reading.

A kill at any step loses nothing. To another filesystem a file is copied under a name that nobody else can have, synced,
read back and compared; then the copy gets its name without replacing anything, then the original goes. Before it
goes, a file is renamed aside, to a hidden name that nobody else can have: only so is it certain that what was compared
is what goes. What a kill leaves aside is put back by the next `move` or `remove` of the same file, or, for all files of
a folder, by `put_back_asides`: the hidden name holds the file's own.

`move` calls `on_place` before it gives a file a new name: who notes it and hands it to the next try as `begun` has the
file found there. No other file in the way is taken for it, whatever it holds: two equal files become two.

A link is moved by `move_link`: it leads where it led, and what it leads to is not touched.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.errors import DfldError
from core.files import numbered, rename_new, shortened, sync_folder
from core.opening import CHUNK_BYTES, RefusedFileError, open_regular

COPY_ENDING = ".part"
ASIDE_ENDING = ".original"
THIS_PROCESS = secrets.token_hex(4)
"""In the hidden names of files that are set aside now: another process's are what a kill left."""
_ASIDE = re.compile(rf"\.(.+)\.[0-9a-f]{{24}}\.([0-9a-f]{{8}})[0-9a-f]{{8}}{re.escape(ASIDE_ENDING)}", re.DOTALL)
ASIDE_ROOM_BYTES = 255 - len(f"..{'0' * 24}.{THIS_PROCESS * 2}{ASIDE_ENDING}")
"""For the file's own name; a longer one is put back shortened where only `put_back_asides` finds it."""
KEPT_ATTRIBUTES = ("user.", "system.posix_acl_")
"""Beginnings of extended attributes that go with a file to another filesystem; the rest is the system's own."""

Names = Callable[[Path], Iterator[Path]]
"""Wanted name → names to try, without an end."""


def _nothing(*_: object) -> None:
    pass


class OtherFileError(DfldError):
    """Under the name stands another file than the one that was read, or the file has changed. It was left alone."""


@dataclass(frozen=True)
class KnownFile:
    """A regular file as it was when it was read."""

    inode: int
    size_bytes: int
    mtime_ns: int
    sha256: str
    """Of all its bytes, in hex; "" where it was not read whole: only the rest is then compared."""

    def fits(self, status: os.stat_result) -> bool:
        """Say whether this is the status of the same file, unchanged; its content is not compared."""
        found = (status.st_ino, status.st_size, status.st_mtime_ns)
        return stat.S_ISREG(status.st_mode) and found == (self.inode, self.size_bytes, self.mtime_ns)


@dataclass(frozen=True)
class _Move:
    """What one move is asked for; see `move`."""

    path: Path
    target: Path
    known: KnownFile
    names: Names
    begun: Path | None
    on_place: Callable[[Path], None]
    on_chunk: Callable[[], None]


def know(path: Path, on_chunk: Callable[[], None] = _nothing) -> KnownFile:
    """Read a file and return what it is. Raise OtherFileError for what is no regular file or changes, or OSError."""
    with _opened(path) as descriptor:
        status = os.fstat(descriptor)
        known = KnownFile(status.st_ino, status.st_size, status.st_mtime_ns, _digest(descriptor, on_chunk))
        _require(known.fits(os.fstat(descriptor)), path, "it changed while it was read")
    return known


def move(
    path: Path,
    target: Path,
    known: KnownFile,
    *,
    names: Names = lambda target: numbered(target),
    begun: Path | None = None,
    on_place: Callable[[Path], None] = _nothing,
    on_chunk: Callable[[], None] = _nothing,
) -> Path:
    """Move the known file to `target`, on this or another filesystem; return where it is.

    Of `names(target)` the first that is free is taken; by default, a name that is taken gets a number: `clip.2.mp4`.
    The folder of `target` must be there. `on_place` is called with each new name before the file gets it, `begun` is
    the last of which an earlier try said so. `on_chunk` is called behind each piece that was read; what it raises ends
    the move, and the file is where it was. Raise FileNotFoundError where the file is gone, OtherFileError where
    another one stands under its name, OSError where it cannot be moved: it is then where it was.
    """
    asked = _Move(path, target, known, names, begun, on_place, on_chunk)
    _put_back_what_a_kill_left(path, known)
    if begun is not None and not os.path.lexists(path) and _holds(begun, known, on_chunk):
        return begun
    with _opened(path) as descriptor:
        _require(known.fits(os.fstat(descriptor)), path, "another file stands under its name")
        try:
            return _move_within(asked, descriptor)
        except OSError as problem:
            if problem.errno != errno.EXDEV:
                raise
        return _move_across(asked, descriptor)


def remove(path: Path, known: KnownFile, *, on_chunk: Callable[[], None] = _nothing) -> None:
    """Delete the known file. Raise as `move` does."""
    _put_back_what_a_kill_left(path, known)
    with _opened(path) as descriptor:
        _require_content(path, known, descriptor, on_chunk)
        _rename_aside(path, known, descriptor).unlink()
        sync_folder(path.parent)


def move_link(
    path: Path,
    target: Path,
    *,
    names: Names = lambda target: numbered(target),
    on_place: Callable[[Path], None] = _nothing,
) -> Path:
    """Move a symbolic link, on this or another filesystem; return where it is. It leads to the same file as before.

    `names` and `on_place` are those of `move`. The new link is on the disk before the old one goes: a kill leaves one
    or both. Raise FileNotFoundError where the link is gone, or OSError where it cannot be moved.
    """
    status, leads_to = os.lstat(path), path.parent / path.readlink()  # an absolute link stays as it is
    for place in names(target):
        if os.path.lexists(place):
            continue
        on_place(place)
        try:
            place.symlink_to(leads_to)
        except FileExistsError:
            continue
        sync_folder(place.parent)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.lstat(path), status):  # what stands under its name by now may be another, and stays
                remove_link(path)
        return place
    raise AssertionError("names never end")


def remove_link(path: Path) -> None:
    """Delete a symbolic link for good, not what it leads to. Raise OSError."""
    path.unlink()
    sync_folder(path.parent)


def put_back_asides(folder: Path, name: str = "") -> list[Path]:
    """Give the files of a folder (or that of one name) that another process left aside their names; return where."""
    with os.scandir(folder) as entries:
        asides = [(one.name, found) for one in entries if (found := _ASIDE.fullmatch(one.name)) and one.is_file()]
    ours = [(aside, found) for aside, found in asides if found[2] != THIS_PROCESS]
    fitting = [one for one in ours if not name or one[1][1] == shortened(name, ASIDE_ROOM_BYTES)]
    return [_put_back(folder / aside, folder / (name or found[1])) for aside, found in fitting]


def _move_within(asked: _Move, descriptor: int) -> Path:
    path, known, begun, status = asked.path, asked.known, asked.begun, os.fstat(descriptor)
    if asked.target.parent.stat().st_dev != status.st_dev:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path), None, str(asked.target))
    _require_content(path, known, descriptor, asked.on_chunk)
    if begun is not None and status.st_nlink > 1 and _is_same_file(begun, descriptor):
        _rename_aside(path, known, descriptor).unlink()  # a rename by a link was killed half-way: two names
        return begun
    for place in _free_places(asked):
        aside = _rename_aside(path, known, descriptor)
        try:
            rename_new(aside, place)
        except FileExistsError:
            _put_back_if_there(aside, path)
            continue
        except BaseException:
            _put_back_if_there(aside, path)
            raise
        sync_folder(place.parent)
        sync_folder(path.parent)
        return place
    raise AssertionError("names never end")


def _put_back_if_there(aside: Path, path: Path) -> None:
    with suppress(FileNotFoundError):  # it has its new name already
        _put_back(aside, path)


def _free_places(asked: _Move) -> Iterator[Path]:
    """Yield names that are free, each reported before it is taken; one that is taken is not reported."""
    for place in asked.names(asked.target):
        if not os.path.lexists(place):
            asked.on_place(place)
            yield place


def _move_across(asked: _Move, descriptor: int) -> Path:
    """Copy, sync, read back, compare; give the copy its name; remove the original."""
    path, known, place, inode = asked.path, asked.known, asked.begun, None
    for leftover in _hidden_names(asked.target.parent, _key(path, known), COPY_ENDING):
        leftover.unlink()
    if not (place and known.sha256 and not _is_same_file(place, descriptor) and _holds(place, known, asked.on_chunk)):
        copy = asked.target.with_name(f".{_key(path, known)}.{secrets.token_hex(4)}{COPY_ENDING}")
        try:
            inode = _copy(path, copy, known, descriptor, asked.on_chunk)
            for place in _free_places(asked):
                with suppress(FileExistsError):
                    rename_new(copy, place)
                    break
        except BaseException:
            copy.unlink(missing_ok=True)
            raise
    assert place is not None
    sync_folder(place.parent)
    if not known.fits(os.fstat(descriptor)):
        with suppress(FileNotFoundError):
            if os.lstat(place).st_ino == inode:  # the copy that was just made, and nothing else
                place.unlink()
        _require(False, path, "it changed while it was copied")
    with suppress(FileNotFoundError, OtherFileError):  # the copy is that of the file which was read; what stands
        _rename_aside(path, known, descriptor).unlink()  # under its name by now is another one, and stays
        sync_folder(path.parent)
    return place


def _copy(path: Path, copy: Path, known: KnownFile, descriptor: int, on_chunk: Callable[[], None]) -> int:
    """Return the inode of the copy."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    written = os.open(copy, flags, 0o600)
    try:
        digest = hashlib.sha256()
        os.lseek(descriptor, 0, os.SEEK_SET)
        while chunk := os.read(descriptor, CHUNK_BYTES):
            digest.update(chunk)
            left = memoryview(chunk)
            while left:
                left = left[os.write(written, left) :]
            on_chunk()
        _require(known.sha256 in ("", digest.hexdigest()), path, "its content is another one than was read")
        status = os.fstat(descriptor)
        _keep_owner_and_attributes(descriptor, written, status)
        os.fchmod(written, stat.S_IMODE(status.st_mode))
        os.utime(written, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(written)
        os.posix_fadvise(written, 0, 0, os.POSIX_FADV_DONTNEED)  # so that reading back reads the disk
        if _digest(written, on_chunk) != digest.hexdigest():
            raise OSError(errno.EIO, "the copy reads back as something else", str(copy))
        return os.fstat(written).st_ino
    finally:
        os.close(written)


def _keep_owner_and_attributes(source: int, written: int, status: os.stat_result) -> None:
    """Give the copy what dfld may give and its filesystem can hold."""
    with suppress(OSError):
        os.fchown(written, status.st_uid, status.st_gid)
    with suppress(OSError):
        for name in os.listxattr(source):
            if name.startswith(KEPT_ATTRIBUTES):
                os.setxattr(written, name, os.getxattr(source, name))


def _holds(place: Path, known: KnownFile, on_chunk: Callable[[], None]) -> bool:
    """Say whether a regular file of this content stands there; not of this time, which some filesystems round."""
    try:
        found = know(place, on_chunk)
    except (OSError, OtherFileError):
        return False
    return found.size_bytes == known.size_bytes and known.sha256 in ("", found.sha256)


def _hidden_names(folder: Path, key: str, ending: str) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [one.name for one in entries if one.name.startswith(".") and one.name.endswith(ending)]
    return [folder / name for name in names if f".{key}." in name]


def _rename_aside(path: Path, known: KnownFile, descriptor: int) -> Path:
    """Take the file that is open away from its name; what else stands there by now is put back."""
    token = THIS_PROCESS + secrets.token_hex(4)
    aside = path.with_name(f".{shortened(path.name, ASIDE_ROOM_BYTES)}.{_key(path, known)}.{token}{ASIDE_ENDING}")
    path.rename(aside)
    if not (_is_same_file(aside, descriptor) and known.fits(os.fstat(descriptor))):
        _put_back(aside, path)
        _require(False, path, "it was replaced or changed before it could go")
    return aside


def _put_back_what_a_kill_left(path: Path, known: KnownFile) -> None:
    for aside in _hidden_names(path.parent, _key(path, known), ASIDE_ENDING):
        _put_back(aside, path)


def _put_back(place: Path, path: Path) -> Path:
    """Rename back; where the name is taken by now, to one beside it that a person sees. Return where it is."""
    for candidate in numbered(path):
        try:
            rename_new(place, candidate)
        except FileExistsError:
            continue
        return candidate
    raise AssertionError("names never end")


def _require_content(path: Path, known: KnownFile, descriptor: int, on_chunk: Callable[[], None]) -> None:
    _require(known.fits(os.fstat(descriptor)), path, "another file stands under its name")
    same = not known.sha256 or known.sha256 == _digest(descriptor, on_chunk)
    _require(same, path, "its content is another one than was read")


def _require(condition: bool, path: Path, why_not: str) -> None:
    if not condition:
        raise OtherFileError(f"{path} is not the file that was read: {why_not}; it was left alone")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a regular file, following no link. Raise OtherFileError for anything else."""
    try:
        file = open_regular(path, within=None)
    except RefusedFileError as problem:
        raise OtherFileError(f"{path} {problem.strerror}; it was left alone") from problem
    with file:
        yield file.fileno()


def _digest(descriptor: int, on_chunk: Callable[[], None]) -> str:
    digest = hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    while chunk := os.read(descriptor, CHUNK_BYTES):
        digest.update(chunk)
        on_chunk()
    return digest.hexdigest()


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        there, opened = os.lstat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)


def _key(path: Path, known: KnownFile) -> str:
    """Return what distinguishes this file's copies from those of any other file under the same name."""
    return hashlib.sha256(f"{known}\0".encode() + os.fsencode(path)).hexdigest()[:24]
