"""Which programs of this computer work on a workspace, by the list of processes: DeepFaceLab above all.

A program works on a workspace when its command line or its working directory names it or a folder in it. Open files are
not asked for: DeepFaceLab keeps none open between two reads, so they prove nothing. Shells, editors and file tools
change no faces, dfld's own programs know of each other, and what stands in one command line with the program that asks
(`dfld curate . --json | jq`) reads what that one writes: none of them counts. A program in a container names folders as
they are called there; such a folder is known by its device and inode.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from engine.facesets.faceset_folder import FacesetFolder
from sync.trainers.processes.trainer_processes import HOMES, PASSIVE

PROC = Path("/proc")
VIEWERS = frozenset(
    (
        *("feh", "eog", "gwenview", "geeqie", "nomacs", "gthumb", "ristretto", "sxiv", "nsxiv", "xnview", "display"),
        *("nautilus", "dolphin", "thunar", "nemo", "pcmanfm", "caja", "ranger", "rclone", "tensorboard", "nvidia-smi"),
        *("head", "wc", "xargs", "tar", "zip", "cp", "mv", "rm", "stat", "file", "git", "dbus-daemon", "chromium"),
        *("firefox", "chrome"),
    )
)
"""More programs that train, merge or extract nothing, whatever folder they stand in or name."""
DFL_SCRIPT = "main.py"
SHOWN_CHARACTERS = 80
DATA_FOLDERS = ("data_src", "data_dst")


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


def workspace_of(folder: FacesetFolder) -> Path:
    """Return the folder whose programs count: the workspace round data_src or data_dst, else what holds the faces.

    Never a home folder, in which everything stands."""
    parent = folder.parent
    above = parent.parent
    if parent.name in DATA_FOLDERS and above != above.parent and HOMES.fullmatch(str(above)) is None:
        return above
    return parent


def processes_at(workspace: Path, *, proc: Path = PROC, own: int | None = None) -> tuple[RunningProcess, ...]:
    """Return the programs that work on a workspace now. `own`: the number of the process that asks."""
    places = _Places(workspace)
    own = os.getpid() if own is None else own
    running = tuple(_running(proc))
    groups = {one.group for one in running if one.number == own} - {0}
    others = (one for one in running if one.number != own and not _is_harmless(one, groups))
    return tuple(one for one in others if _works_at(one, places, proc))


class _Places:
    """The names and the inodes of a workspace's folders."""

    def __init__(self, workspace: Path) -> None:
        self.names = {str(workspace.absolute()), os.path.realpath(workspace)}
        folders = [workspace, *(workspace / name for name in (*DATA_FOLDERS, "model"))]
        folders += [workspace / name / "aligned" for name in DATA_FOLDERS]
        self.inodes = {found for folder in folders if (found := _inode(folder)) is not None}

    def holds(self, path: str) -> bool:
        return any(path == name or path.startswith(f"{name.rstrip('/')}/") for name in self.names)

    def holds_inode(self, path: Path) -> bool:
        """Say whether a path, or a folder above it, is a folder of the workspace under another name."""
        return any(_inode(one) in self.inodes for one in (path, *path.parents))


def _works_at(process: RunningProcess, places: _Places, proc: Path) -> bool:
    named = [os.path.normpath(one) for one in _named_paths(process)]
    if any(places.holds(one) or places.holds(os.path.realpath(one)) for one in named):
        return True
    if not _is_contained(process.number, proc):
        return False
    root = proc / str(process.number) / "root"
    return any(places.holds_inode(root / one.lstrip("/")) for one in named)


def _named_paths(process: RunningProcess) -> Iterator[str]:
    """Yield the working directory, and every argument or `--option=value` that may be a path."""
    if process.folder is not None:
        yield process.folder
    for argument in process.arguments[1:]:
        for one in {argument, argument.partition("=")[2]}:
            if one.startswith("/"):
                yield one
            elif "/" in one and process.folder is not None:
                yield f"{process.folder}/{one}"


def _is_harmless(process: RunningProcess, own_groups: set[int]) -> bool:
    if not process.arguments:
        return True  # of the kernel, or gone by now
    if process.group in own_groups and DFL_SCRIPT not in process.programs:
        return True  # a script that starts DeepFaceLab beside dfld has both in one group
    first, *rest = process.programs
    if first in PASSIVE or first in VIEWERS or first.startswith("-"):
        return True
    is_module = len(process.arguments) > 2 and process.arguments[1] == "-m"
    module = process.arguments[2].partition(".")[0] if is_module else ""
    return "dfld" in (first, *rest) or module == "daemon"


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
