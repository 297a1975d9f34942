"""Which programs of this computer work on a workspace, by the list of processes: DeepFaceLab above all.

A program works on a workspace when its command line or its working directory names it or a folder in it
(core.processes). Shells, editors and file tools change no faces, dfld's own programs know of each other, and what
stands in one command line with the program that asks (`dfld curate . --json | jq`) reads what that one writes: none of
them counts.
"""

from __future__ import annotations

import os
from pathlib import Path

from core.processes import DFL_SCRIPT, PROC, NamedFolders, RunningProcess, running_processes
from engine.facesets.faceset_folder import FacesetFolder
from sync.trainers.processes.trainer_processes import HOMES, PASSIVE

VIEWERS = frozenset(
    (
        *("feh", "eog", "gwenview", "geeqie", "nomacs", "gthumb", "ristretto", "sxiv", "nsxiv", "xnview", "display"),
        *("nautilus", "dolphin", "thunar", "nemo", "pcmanfm", "caja", "ranger", "rclone", "tensorboard", "nvidia-smi"),
        *("head", "wc", "xargs", "tar", "zip", "cp", "mv", "rm", "stat", "file", "git", "dbus-daemon", "chromium"),
        *("firefox", "chrome"),
    )
)
"""More programs that train, merge or extract nothing, whatever folder they stand in or name."""
DATA_FOLDERS = ("data_src", "data_dst")


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
    inner = [workspace / name for name in (*DATA_FOLDERS, "model", *(f"{one}/aligned" for one in DATA_FOLDERS))]
    folders = NamedFolders(workspace, inner, proc=proc)
    own = os.getpid() if own is None else own
    running = running_processes(proc)
    groups = {one.group for one in running if one.number == own} - {0}
    others = (one for one in running if one.number != own and not _is_harmless(one, groups))
    return tuple(one for one in others if folders.are_named_by(one))


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
