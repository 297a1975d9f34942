"""Files moved and removed for good: exactly the file that was read, never over another one, whole at every moment.

A file is known by what it was when it was read: inode, size, time of change, SHA-256. `move` and `remove` act on that
file alone; where another one stands under its name, they raise OtherFileError and leave it. Links are not followed,
and what is no regular file is not opened for reading.

A kill at any step loses nothing. To another filesystem a file is copied under a name that nobody else can have, synced,
read back and compared; then the copy gets its name without replacing anything, then the original goes. Before it
goes, a file is renamed aside, to a hidden name that nobody else can have: only so is it certain that what was compared
is what goes. What a kill leaves aside is put back by the next `move` or `remove` of the same file.
"""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from core.errors import DfldError
from core.opening import CHUNK_BYTES, RefusedFileError, open_regular

COPY_ENDING = ".part"
ASIDE_ENDING = ".original"
NAME_BYTES_MAX = 255
"""Of a file name, on every usual Linux filesystem (NAME_MAX)."""
RENAME_NOREPLACE = 1
AT_FDCWD = -100
"""Both from <linux/fs.h> and <fcntl.h>, for renameat2(2)."""
_CANNOT_BE_ASKED = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EPERM, errno.EMLINK})
"""How filesystems say that they have no rename without replacing (NFS), or no hard links (FAT)."""


Names = Callable[[Path], Iterator[Path]]
"""Wanted name → names to try, without an end."""


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
        """Say whether a look at a file found this one; its content is not part of the answer."""
        found = (status.st_ino, status.st_size, status.st_mtime_ns)
        return stat.S_ISREG(status.st_mode) and found == (self.inode, self.size_bytes, self.mtime_ns)

    def holds(self, sha256: str) -> bool:
        """Say whether this is the hash of its content, as far as that is known."""
        return self.sha256 in ("", sha256)


def know(path: Path) -> KnownFile:
    """Read a file and return what it is. Raise OtherFileError for what is no regular file or changes, or OSError."""
    with _opened(path) as descriptor:
        status = os.fstat(descriptor)
        known = KnownFile(status.st_ino, status.st_size, status.st_mtime_ns, _digest(descriptor))
        _require(known.fits(os.fstat(descriptor)), path, "it changed while it was read")
    return known


def move(path: Path, target: Path, known: KnownFile, *, names: Names | None = None) -> Path:
    """Move the known file to `target`, on this or another filesystem; return where it is.

    Of `names(target)` the first that is free is taken; without it, a name that is taken gets a number: `clip.2.mp4`.
    The folder of `target` must be there. Raise FileNotFoundError
    where the file is gone, OtherFileError where another one stands under its name, OSError where it cannot be moved: it
    is then where it was.
    """
    _put_back_what_a_kill_left(path, known)
    with _opened(path) as descriptor:
        _require(known.fits(os.fstat(descriptor)), path, "another file stands under its name")
        try:
            return _move_within(path, target, known, descriptor, names or numbered)
        except OSError as problem:
            if problem.errno != errno.EXDEV:
                raise
        return _move_across(path, target, known, descriptor, names or numbered)


def remove(path: Path, known: KnownFile) -> None:
    """Delete the known file. Raise as `move` does."""
    _put_back_what_a_kill_left(path, known)
    with _opened(path) as descriptor:
        _require_content(path, known, descriptor)
        _rename_aside(path, known, descriptor).unlink()
        sync_folder(path.parent)


def rename_new(path: Path, target: Path) -> None:
    """Rename within a filesystem, replacing nothing. Raise FileExistsError where `target` is taken, or OSError."""
    if _rename_without_replacing(path, target):
        return
    try:
        os.link(path, target, follow_symlinks=False)
    except OSError as problem:
        if problem.errno not in _CANNOT_BE_ASKED:
            raise
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600))
        try:
            path.rename(target)  # over the empty file just made, which no other program had
        except BaseException:
            target.unlink()
            raise
    else:
        path.unlink()


def numbered(path: Path) -> Iterator[Path]:
    """Yield `path`, then `path` with 2, 3, … before its suffix, each short enough for a file name."""
    yield path
    number = 2
    while True:
        ending = f".{number}{path.suffix}"
        yield path.with_name(shortened(path.stem, NAME_BYTES_MAX - len(os.fsencode(ending))) + ending)
        number += 1


def shortened(name: str, room_bytes: int) -> str:
    """Return as much of the beginning of `name` as fits, without cutting a character in two."""
    while len(os.fsencode(name)) > room_bytes:
        name = name[:-1]
    return name


def sync_folder(folder: Path) -> None:
    """Make the names in `folder` survive a power loss. Raise OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _move_within(path: Path, target: Path, known: KnownFile, descriptor: int, names: Names) -> Path:
    if target.parent.stat().st_dev != os.fstat(descriptor).st_dev:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV), str(path), None, str(target))
    _require_content(path, known, descriptor)
    aside = _rename_aside(path, known, descriptor)
    try:
        for candidate in names(target):
            try:
                rename_new(aside, candidate)
            except FileExistsError:
                if not _is_same_file(candidate, descriptor):
                    continue
                aside.unlink()  # `candidate` is its second name: a rename by a link was killed half-way
            sync_folder(candidate.parent)
            sync_folder(path.parent)
            return candidate
        raise AssertionError("names never end")
    except OSError:
        with suppress(FileNotFoundError):  # it has its new name already
            _put_back(aside, path)
        raise


def _move_across(path: Path, target: Path, known: KnownFile, descriptor: int, names: Names) -> Path:
    """Copy, sync, read back, compare; give the copy its name; remove the original."""
    for leftover in _hidden_names(target.parent, _key(path, known), COPY_ENDING):
        leftover.unlink()
    copy = target.with_name(f".{_key(path, known)}.{secrets.token_hex(4)}{COPY_ENDING}")
    try:
        _copy(path, copy, known, descriptor)
        place = _name_copy(copy, names(target), known)
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    if not known.fits(os.fstat(descriptor)):
        place.unlink()
        _require(False, path, "it changed while it was copied")
    with suppress(FileNotFoundError, OtherFileError):  # the copy is that of the file which was read; what stands
        _rename_aside(path, known, descriptor).unlink()  # under its name by now is another one, and stays
        sync_folder(path.parent)
    return place


def _copy(path: Path, copy: Path, known: KnownFile, descriptor: int) -> None:
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
        _require(known.holds(digest.hexdigest()), path, "its content is another one than was read")
        status = os.fstat(descriptor)
        os.fchmod(written, stat.S_IMODE(status.st_mode))
        os.utime(written, ns=(status.st_atime_ns, status.st_mtime_ns))
        os.fsync(written)
        os.posix_fadvise(written, 0, 0, os.POSIX_FADV_DONTNEED)  # so that reading back reads the disk
        if _digest(written) != digest.hexdigest():
            raise OSError(errno.EIO, "the copy reads back as something else", str(copy))
    finally:
        os.close(written)


def _name_copy(copy: Path, places: Iterator[Path], known: KnownFile) -> Path:
    """Give the copy a name that is free; a copy of the same content that a kill left under its name is taken."""
    for place in places:
        try:
            rename_new(copy, place)
        except FileExistsError:
            if not _holds(place, known):
                continue
            copy.unlink()
        sync_folder(place.parent)
        return place
    raise AssertionError("names never end")


def _holds(place: Path, known: KnownFile) -> bool:
    """Say whether a regular file stands there with this content and time: the copy of an earlier try."""
    try:
        status = os.lstat(place)
        fits = stat.S_ISREG(status.st_mode) and (status.st_size, status.st_mtime_ns) == (
            known.size_bytes,
            known.mtime_ns,
        )
        return fits and know(place).sha256 == known.sha256
    except (OSError, OtherFileError):
        return False


def _hidden_names(folder: Path, key: str, ending: str) -> list[Path]:
    with os.scandir(folder) as entries:
        names = [one.name for one in entries if one.name.startswith(f".{key}.")]
    return [folder / name for name in names if name.endswith(ending)]


def _rename_aside(path: Path, known: KnownFile, descriptor: int) -> Path:
    """Take the file that is open away from its name; what else stands there by now is put back."""
    aside = path.with_name(f".{_key(path, known)}.{secrets.token_hex(8)}{ASIDE_ENDING}")
    path.rename(aside)
    if not (_is_same_file(aside, descriptor) and known.fits(os.fstat(descriptor))):
        _put_back(aside, path)
        _require(False, path, "it was replaced or changed before it could go")
    return aside


def _put_back_what_a_kill_left(path: Path, known: KnownFile) -> None:
    for aside in _hidden_names(path.parent, _key(path, known), ASIDE_ENDING):
        _put_back(aside, path)


def _put_back(place: Path, path: Path) -> None:
    """Rename back; where the name is taken by now, to one beside it that a person sees."""
    for candidate in numbered(path):
        try:
            rename_new(place, candidate)
        except FileExistsError:
            continue
        return


def _require_content(path: Path, known: KnownFile, descriptor: int) -> None:
    _require(known.fits(os.fstat(descriptor)), path, "another file stands under its name")
    _require(not known.sha256 or known.holds(_digest(descriptor)), path, "its content is another one than was read")


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


def _digest(descriptor: int) -> str:
    digest = hashlib.sha256()
    os.lseek(descriptor, 0, os.SEEK_SET)
    while chunk := os.read(descriptor, CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def _is_same_file(path: Path, descriptor: int) -> bool:
    try:
        there, opened = os.lstat(path), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (opened.st_dev, opened.st_ino)


def _key(path: Path, known: KnownFile) -> str:
    """Return what tells this file's copies from those of any other file under the same name."""
    return hashlib.sha256(f"{known}\0".encode() + os.fsencode(path)).hexdigest()[:24]


def _rename_without_replacing(path: Path, target: Path) -> bool:
    """Call renameat2(2); False where the C library or the filesystem does not have it."""
    call = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if call is None:
        return False
    if call(AT_FDCWD, os.fsencode(path), AT_FDCWD, os.fsencode(target), RENAME_NOREPLACE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_BE_ASKED:
        return False
    raise OSError(number, os.strerror(number), str(path), None, str(target))
