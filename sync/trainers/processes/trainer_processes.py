"""Pure: which processes of a machine may be a model's trainer, and whether the list proves that none is one.

Open files are not asked for: DeepFaceLab keeps none open between two saves, so they prove nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from posixpath import normpath

from sync.places import RemotePlaces
from sync.trainers.processes.process_list import Process, ProcessList

PASSIVE = frozenset(
    (
        *("sh", "bash", "dash", "ash", "zsh", "fish", "csh", "tcsh", "ksh", "cmd", "powershell", "pwsh", "conhost"),
        *(
            "login",
            "su",
            "sudo",
            "sshd",
            "sshd-session",
            "ssh",
            "scp",
            "sftp",
            "sftp-server",
            "rsync",
            "tmux",
            "screen",
        ),
        *("script", "tail", "less", "more", "cat", "vi", "vim", "nvim", "nano", "emacs", "ls", "find", "du", "tree"),
        *("grep", "sed", "awk", "sort", "gzip", "base64", "ps", "top", "htop", "watch", "mc", "systemd", "systemctl"),
        *("journalctl", "smbd", "nfsd", "explorer", "openconsole", "windowsterminal", "notepad", "notepad++", "code"),
    )
)
"""Programs that train nothing, whatever folder they stand in or name: shells, editors, file tools, SSH. A shell that
started a trainer has it as a child, which is in the list itself."""
LOCAL_FUSE = frozenset(
    ("fuseblk", "fuse.mergerfs", "fuse.ntfs-3g", "fuse.ntfs", "fuse.exfat", "fuse.lxcfs", "fuse.fuse-overlayfs")
)
NETWORK_KINDS = frozenset(
    (
        *(
            "nfs",
            "nfs4",
            "cifs",
            "smb3",
            "smbfs",
            "smb",
            "9p",
            "virtiofs",
            "afs",
            "afpfs",
            "ceph",
            "glusterfs",
            "lustre",
        ),
        *("beegfs", "gpfs", "ocfs2", "gfs2", "vboxsf", "prl_fs", "drvfs", "webdav", "davfs", "ncpfs", "coda"),
    )
)
"""Kinds of mounts whose files another host may write: a list of this machine's processes does not show that host's."""
HOMES = re.compile(r"(/home/[^/]+|/root|/Users/[^/]+|[a-z]:/users/[^/]+)", re.IGNORECASE)


def trainers_among(
    listing: ProcessList, places: RemotePlaces, *, but: frozenset[int] = frozenset()
) -> tuple[Process, ...]:
    """Return the processes that may train the model: their command line or working directory names it or its workspace.

    `but`: numbers of processes that are dfld's own.
    """
    return tuple(
        process
        for process in listing.processes
        if process.number not in but and process.program not in PASSIVE and _names_model(process, listing, places)
    )


def why_no_proof(listing: ProcessList, places: RemotePlaces) -> str:
    """Return why a list that shows no trainer does not prove that there is none; empty when it does."""
    folder = _plain(listing.real_folder or places.model_dir, listing)
    if folder.startswith("//"):
        return f"{places.model_dir} lies on another host, whose trainers this list does not show"
    kind = _kind_at(listing, folder)
    if kind in NETWORK_KINDS or (kind.startswith("fuse") and kind not in LOCAL_FUSE):
        return f"{places.model_dir} lies on a network disk ({kind}): a trainer on another host is not in this list"
    for share in listing.shares:
        shared = _plain(share, listing)
        if _is_within(folder, shared) or _is_within(shared, folder):
            return f"{share} is shared with other hosts: a trainer on one of them is not in this list"
    if listing.gap:
        return listing.gap
    for process in listing.processes:
        if not process.is_readable and process.program.startswith(("python", "pythonw")):
            return f"the command line of process {process.number} ({process.program}) of another user cannot be read"
        if process.folder is None and not listing.is_windows and _may_train_somewhere(process):
            return f"the working directory of process {process.number} ({process.command[:60]!r}) cannot be read"
    return ""


def youngest(listing: ProcessList, numbers: frozenset[int]) -> Process | None:
    """Return the youngest of these processes and all that they started; None for none.

    A script that starts its trainer again after each end is old, its child is not.
    """
    family = set(numbers)
    grown = True
    while grown:
        children = {process.number for process in listing.processes if process.parent in family} - family
        family |= children
        grown = bool(children)
    found = [process for process in listing.processes if process.number in family]
    return min(found, key=lambda process: (process.age_s, -(process.started_s or 0.0)), default=None)


def _plain(path: str, listing: ProcessList) -> str:
    plain = path.replace("\\", "/") if listing.is_windows else path
    plain = plain if plain.startswith("//") else normpath(plain)
    return plain.lower() if listing.is_windows else plain


def _needles(listing: ProcessList, places: RemotePlaces) -> list[str]:
    """The model folder, and the workspace around a folder that is named as DeepFaceLab names it."""
    found: list[str] = []
    for folder in {places.model_dir, listing.real_folder} - {""}:
        plain = _plain(folder, listing)
        workspace, _, last = plain.rpartition("/")
        found.append(plain)
        if (
            last == "model"
            and workspace.count("/") >= 1
            and HOMES.fullmatch(workspace) is None
            and workspace[1:] != ":"
        ):
            found.append(workspace)
    return found


def _names_model(process: Process, listing: ProcessList, places: RemotePlaces) -> bool:
    command = process.command.replace("\\", "/").lower() if listing.is_windows else process.command
    folder = _plain(process.folder, listing) if process.folder else ""
    name = places.model.name.lower() if listing.is_windows else places.model.name
    if "--force-model-name" in command:
        if re.search(rf"--force-model-name[ =][\"']?{re.escape(name)}[\"']?(?= -|$)", command) is None:
            return False  # another model, perhaps of the same workspace
        if re.search(r"--model-dir[ =][\"']?(/|[a-z]:/)", command) is None:
            return True
    for needle in _needles(listing, places):
        if re.search(rf"(?<![\w./-]){re.escape(needle)}(?![\w.-])", command):
            return True
        if folder and _is_within(folder, needle):
            return True
        if folder and any(_is_within(normpath(f"{folder}/{word}"), needle) for word in _relative_words(command)):
            return True
    return False


def _relative_words(command: str) -> Iterator[str]:
    for word in command.split(" ")[1:]:
        plain = word.rpartition("=")[2].strip("\"'")
        if "/" in plain and not plain.startswith("/"):
            yield plain


def _may_train_somewhere(process: Process) -> bool:
    """Whether it may be a trainer whose folders are named from a working directory that is not known."""
    words = process.command.split(" ")
    return (
        process.program.startswith("python")
        and "train" in words
        and "--model-dir" in process.command
        and not (re.search(r"--model-dir[ =][\"']?/", process.command))
    )


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _kind_at(listing: ProcessList, folder: str) -> str:
    found = [(point, kind) for point, kind in listing.mounts if _is_within(folder, point)]
    return max(found, key=lambda one: len(one[0]))[1] if found else ""
