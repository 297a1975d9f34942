"""The processes of this computer, and which of them name a folder in their command line or as their working directory.

Open files are not asked for: DeepFaceLab keeps none open between two reads, so they prove nothing. A program in a
container names folders as they are called there; such a folder is known by its device and inode. What a process means
to whoever asks is decided there.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
DFL_SCRIPT = "main.py"
SHOWN_CHARACTERS = 80


@dataclass(frozen=True)
class RunningProcess:
    """One process of this computer."""

    number: int
    arguments: tuple[str, ...]
    folder: str | None
    """Its working directory; None where it may not be read."""
    group: int = 0
    """Of processes that one command line of a shell started; 0 where it is not known."""

    @property
    def programs(self) -> tuple[str, ...]:
        """What it runs: its program, and for an interpreter the script or module behind it."""
        names = [os.path.basename(one).lower().removesuffix(".exe") for one in self.arguments[:2]]  # noqa: PTH119
        return tuple(names)

    @property
    def words(self) -> str:
        """Return `python main.py train (process 4711)`."""
        command = " ".join(self.arguments)
        cut = command if len(command) <= SHOWN_CHARACTERS else f"{command[:SHOWN_CHARACTERS]}…"
        return f"{cut} (process {self.number})"


def running_processes(proc: Path = PROC) -> tuple[RunningProcess, ...]:
    """Return all processes that may be seen now."""
    return tuple(_running(proc))


class NamedFolders:
    """A folder and some of those in it, by their names and their inodes."""

    def __init__(self, folder: Path, inner: Iterable[Path] = (), *, proc: Path = PROC) -> None:
        """Take `folder` with everything in it; `inner` are folders that a container may know by another name."""
        self._proc = proc
        self._names = {str(folder.absolute()), os.path.realpath(folder)}
        self._inodes = {found for one in (folder, *inner) if (found := _inode(one)) is not None}

    def are_named_by(self, process: RunningProcess) -> bool:
        """Say whether the working directory, or an argument that may be a path, lies in one of the folders."""
        named = [os.path.normpath(one) for one in _named_paths(process)]
        if any(self._holds(one) or self._holds(os.path.realpath(one)) for one in named):
            return True
        if not _is_contained(process.number, self._proc):
            return False
        root = self._proc / str(process.number) / "root"
        return any(self._holds_inode(root / one.lstrip("/")) for one in named)

    def _holds(self, path: str) -> bool:
        return any(path == name or path.startswith(f"{name.rstrip('/')}/") for name in self._names)

    def _holds_inode(self, path: Path) -> bool:
        """Say whether a path, or a folder above it, is one of the folders under another name."""
        return any(_inode(one) in self._inodes for one in (path, *path.parents))


def _named_paths(process: RunningProcess) -> Iterator[str]:
    """Yield the working directory, and every argument or value in `--option=value`: each may be a path."""
    if process.folder is not None:
        yield process.folder
    for argument in process.arguments[1:]:
        for one in {argument, argument.partition("=")[2]}:
            if one.startswith("/"):
                yield one
            elif one and not one.startswith("-") and process.folder is not None:
                yield f"{process.folder}/{one}"


def _is_contained(number: int, proc: Path) -> bool:
    """Say whether a process sees other folders than this one: it runs in a container."""
    with suppress(OSError):
        own, other = (os.readlink(proc / one / "ns" / "mnt") for one in ("self", str(number)))  # noqa: PTH115
        return own != other
    return False


def _running(proc: Path) -> Iterator[RunningProcess]:
    for name in _numbers(os.listdir(proc)):  # noqa: PTH208
        try:
            line = (proc / name / "cmdline").read_bytes()
        except OSError:
            continue  # it ended meanwhile, or is hidden from us
        arguments = tuple(os.fsdecode(one) for one in line.rstrip(b"\0").split(b"\0")) if line else ()
        folder = None
        with suppress(OSError):
            folder = os.readlink(proc / name / "cwd")  # noqa: PTH115 -- it may be no path of this mount namespace
        yield RunningProcess(int(name), arguments, folder, _group(proc / name))


def _group(process: Path) -> int:
    """Return the process group, the third field behind the name, which may hold brackets (proc(5)); 0 where unknown."""
    try:
        return int((process / "stat").read_bytes().rpartition(b")")[2].split()[2])
    except (OSError, ValueError, IndexError):
        return 0


def _numbers(names: Iterable[str]) -> Sequence[str]:
    return sorted((name for name in names if name.isdecimal()), key=int)


def _inode(path: Path) -> tuple[int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
