"""Looking at an inbox: what lies in it now. The scan is the truth; events only make it come sooner.

One walk with `os.scandir`, no file is opened. A link to a video is followed where it stays in the inbox or leads to
one of `link_targets`; links to folders (they may lead round in a circle) and links among images are not. Folders and
files whose names say "still arriving" are left out, so are the folders that dfld itself keeps inside an inbox.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

from core.opening import lies_within
from daemon.inboxes.settling import (
    PARTIAL_SIBLINGS,
    SIDECAR_ENDING,
    FileIdentity,
    Kind,
    Unit,
    is_ignored_name,
    is_image_name,
)

DEPTH_MAX = 32
"""Folders nested deeper are not looked into; no camera or person makes such a tree, a loop of mounts does."""


@dataclass(frozen=True)
class ScanRules:
    """What of an inbox is looked at."""

    recursive: bool = True
    ignore: tuple[str, ...] = ()
    """Globs of names, beside the built-in ones."""
    excluded: frozenset[str] = frozenset()
    """Absolute folders that hold no arrivals: where originals and quarantined files go."""
    done_marker: str = ""
    link_targets: tuple[Path, ...] = ()
    """Folders that links may lead to, beside the inbox itself."""


LINK_LEADS_OUTSIDE = "link_leads_outside"
"""The reason for passing over a link that leads where `link_targets` does not allow."""


@dataclass(frozen=True)
class PassedOver:
    """A file that no job will come from, and why: for `dfld scan --dry-run`."""

    path: str
    reason: str


def scan(root: Path, rules: ScanRules, *, below: str = "", deep: bool = True) -> Iterator[Unit | PassedOver]:
    """Yield every unit below `root`/`below`. Raise OSError when that folder itself cannot be listed.

    `deep=False` looks at that one folder. What vanishes during the walk is left out.
    """
    yield from _scan_folder(root, below, rules, deep=deep and rules.recursive, depth=0)


def look_at(root: Path, path: str, rules: ScanRules, kind: Kind) -> Unit | None:
    """Look at one unit again; None when it is not there any more, `unreadable` where looking at it fails."""
    full = root / path
    try:
        if kind == "video":
            if _leads_outside(root, full, rules):
                return None
            result = full.stat()
            return _video(root, path, result, _sibling_names(full, rules), rules)
        with os.scandir(full) as entries:
            return _folder(root, path, list(entries), rules)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        return _unreadable(path, kind, problem)


def unit_of_path(root: Path, path: str, rules: ScanRules) -> tuple[str, Kind] | None:
    """Say which unit a path that an event named belongs to; None when it can be none of a video or image folder."""
    folder, _, name = path.rpartition("/")
    if any(is_ignored_name(part, rules.ignore) for part in path.split("/")) or not name:
        return None
    if _is_excluded(str(root / path), rules):
        return None
    if is_image_name(name):
        return (folder, "folder") if folder else None
    return path, "video"


def _scan_folder(root: Path, folder: str, rules: ScanRules, *, deep: bool, depth: int) -> Iterator[Unit | PassedOver]:
    with os.scandir(root / folder) as listing:
        entries = sorted(listing, key=lambda entry: entry.name)
    names = {entry.name for entry in entries}
    videos, images = False, 0
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if is_ignored_name(entry.name, rules.ignore) or _is_marker(entry.name, rules):
            yield PassedOver(path, "ignored_name")
        elif entry.is_dir(follow_symlinks=False):
            if deep and depth < DEPTH_MAX and not _is_excluded(entry.path, rules):
                try:
                    yield from _scan_folder(root, path, rules, deep=deep, depth=depth + 1)
                except OSError as problem:
                    yield PassedOver(path, f"cannot_be_listed: {problem.strerror}")
            else:
                yield PassedOver(path, "not_looked_into")
        elif is_image_name(entry.name):
            images += 1
            if not folder:
                yield PassedOver(path, "image_outside_a_folder")
        else:
            videos = True
            yield from _video_entry(root, path, entry, names, rules)
    if images and folder and not videos:
        unit = _folder(root, folder, entries, rules)
        if unit:
            yield unit
    elif images and folder:
        yield PassedOver(folder, "images_beside_videos")


def _video_entry(
    root: Path, path: str, entry: os.DirEntry[str], names: Collection[str], rules: ScanRules
) -> Iterator[Unit | PassedOver]:
    try:
        result = entry.stat()
    except FileNotFoundError:
        yield PassedOver(path, "broken_link" if entry.is_symlink() else "vanished")
        return
    except OSError as problem:
        yield _unreadable(path, "video", problem)
        return
    identity = FileIdentity.of(result)
    if identity.regular and entry.is_symlink() and _leads_outside(root, Path(entry.path), rules):
        yield PassedOver(path, LINK_LEADS_OUTSIDE)
    elif identity.regular:
        yield _video(root, path, result, names, rules)
    else:
        yield PassedOver(path, "link_to_a_folder" if entry.is_symlink() and entry.is_dir() else "not_a_regular_file")


def _video(root: Path, path: str, result: os.stat_result, names: Collection[str], rules: ScanRules) -> Unit:
    name = path.rpartition("/")[2]
    return Unit(
        path,
        "video",
        (("", FileIdentity.of(result)),),
        still_downloading=any(name + ending in names for ending in PARTIAL_SIBLINGS),
        marked_done=bool(rules.done_marker) and name + rules.done_marker in names,
        sidecar=_identity(root / (path + SIDECAR_ENDING)) if name + SIDECAR_ENDING in names else None,
    )


def _folder(root: Path, path: str, entries: Collection[os.DirEntry[str]], rules: ScanRules) -> Unit | None:
    """Make the unit of a folder of images; it is still arriving while any partial file lies in it."""
    members = []
    for entry in entries:
        if is_image_name(entry.name) and not is_ignored_name(entry.name, rules.ignore):
            try:
                identity = FileIdentity.of(entry.stat(follow_symlinks=False))
            except OSError:
                continue  # vanished; the next look sees the folder as it is then
            if identity.regular:  # links, pipes and folders with such names are no images
                members.append((entry.name, identity))
    if not members:
        return None
    hidden_image = any(_is_arriving(entry.name) for entry in entries)
    marker = rules.done_marker
    marked = bool(marker) and (_is_there(root / (path + marker)) or any(entry.name == marker for entry in entries))
    sidecar = _identity(root / (path + SIDECAR_ENDING))
    return Unit(path, "folder", tuple(sorted(members, key=_name)), hidden_image, marked, sidecar)


def _leads_outside(root: Path, path: Path, rules: ScanRules) -> bool:
    """Say whether a link leads neither into the inbox nor to `link_targets`; what opens it asks again."""
    return os.path.islink(path) and not lies_within(  # noqa: PTH114 -- Path.is_symlink may raise
        Path(os.path.realpath(path)), [root, *rules.link_targets]
    )


def _name(member: tuple[str, FileIdentity]) -> str:
    return member[0]


def _identity(path: Path) -> FileIdentity | None:
    try:
        return FileIdentity.of(path.stat())
    except OSError:
        return None


def _is_arriving(name: str) -> bool:
    """Say whether a file in an image folder is a picture on its way: `.x.jpg.Ab12Cd`, `x.jpg.part`."""
    low = name.lower()
    return is_ignored_name(name) and any(f"{suffix}." in low for suffix in (".jpg", ".jpeg", ".png", ".tif", ".bmp"))


def _is_marker(name: str, rules: ScanRules) -> bool:
    return bool(rules.done_marker) and name.endswith(rules.done_marker)


def _is_excluded(full: str, rules: ScanRules) -> bool:
    return any(full == folder or full.startswith(folder + "/") for folder in rules.excluded)


def _sibling_names(path: Path, rules: ScanRules) -> set[str]:
    endings = (*PARTIAL_SIBLINGS, SIDECAR_ENDING, *((rules.done_marker,) if rules.done_marker else ()))
    return {name for ending in endings if _is_there(path.parent / (name := path.name + ending))}


def _is_there(path: Path) -> bool:
    """Say whether a companion is there; one whose name would be too long for the filesystem is not."""
    return os.path.exists(path)  # noqa: PTH110 -- Path.exists raises where the name is too long


def _unreadable(path: str, kind: Kind, problem: OSError) -> Unit:
    return Unit(path, kind, (), unreadable=problem.strerror or str(problem))
