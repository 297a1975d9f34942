"""What lies in an inbox now. The scan is the truth; events only make it come sooner.

One walk with `os.scandir`. A link to a video is followed where it stays in the inbox or leads to one of `link_targets`;
links to folders (they may lead round in a circle) and links among images are not. What a name says decides first
(daemon.arrivals.never_footage): what is never footage is passed over, so are the folders that dfld itself keeps inside
an inbox and reference photos that lie in it. The first bytes of a file are read only where its name says nothing, or
may lie (daemon.arrivals.first_bytes). A folder of images is one unit, whatever else lies in it that is no video.
"""

from __future__ import annotations

import os
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Literal

from core.opening import lies_within
from daemon.arrivals.first_bytes import Contents
from daemon.arrivals.never_footage import (
    PARTIAL_SIBLINGS,
    SIDECAR_ENDING,
    LeftAlone,
    download_part,
    file_left_alone,
    folder_left_alone,
    is_still_name,
    is_video_name,
)
from daemon.arrivals.never_footage import Reason as NameReason
from daemon.arrivals.settling import FileIdentity, Kind, Unit
from engine.pictures.image_header import IMAGE_SUFFIXES
from engine.pictures.sequence import is_frame_name, natural_key

PassReason = (
    NameReason
    | Literal[
        "ignored_name",  # by a glob of [watch] ignore
        "done_marker",
        "not_looked_into",
        "cannot_be_listed",
        "reference_photos",
        "image_outside_a_folder",
        "images_beside_videos",
        "pictures_not_read",
        "pictures_left_out",
        "no_video_beside_images",
        "text",
        "broken_link",
        "vanished",
        "link_to_a_folder",
        "link_leads_outside",  # to where `link_targets` does not allow
        "not_a_regular_file",
    ]
)
DEPTH_MAX = 32
"""Folders nested deeper are not looked into; no camera or person makes such a tree, a loop of mounts does."""


@dataclass(frozen=True)
class ScanRules:
    """What of an inbox is examined."""

    recursive: bool = True
    ignore: tuple[str, ...] = ()
    """Globs of names, beside the built-in ones."""
    excluded: frozenset[str] = frozenset()
    """Absolute folders that hold no arrivals: where originals and quarantined files go."""
    references: frozenset[str] = frozenset()
    """Absolute paths of reference photos and of folders of them, as the walk names them: never footage."""
    done_marker: str = ""
    link_targets: tuple[Path, ...] = ()
    """Folders that links may lead to, beside the inbox itself."""


@dataclass(frozen=True)
class PassedOver:
    """A file or folder that no job will come from, and why: for `dfld scan --dry-run`."""

    path: str
    reason: PassReason
    detail: str = ""
    """Whose it is, or what is wrong, in words; "" where the reason says it all."""


def scan(
    root: Path, rules: ScanRules, *, below: str = "", deep: bool = True, contents: Contents | None = None
) -> Iterator[Unit | PassedOver]:
    """Yield every unit below `root`/`below`. Raise OSError when that folder itself cannot be listed.

    `deep=False` examines that one folder. `contents`: what earlier scans of this inbox read. What vanishes during the
    walk is left out.
    """
    walk = _Walk(root, rules, Contents() if contents is None else contents, deep and rules.recursive)
    yield from _scan_folder(walk, below, depth=0)


def inspect_unit(root: Path, path: str, rules: ScanRules, kind: Kind) -> Unit | None:
    """Inspect one unit again; None when it is not there any more, `unreadable` where that fails."""
    full = root / path
    try:
        if kind == "video":
            if _leads_outside(root, full, rules):
                return None
            result = full.stat()
            names = _sibling_names(full, rules)
            return None if _joined_beside(full.name, names) else _video(root, path, result, names, rules)
        with os.scandir(full) as entries:
            return _folder(root, path, list(entries), rules)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        return _unreadable(path, kind, problem)


def inspect_again(
    root: Path, units: Mapping[str, Kind], rules: ScanRules, *, contents: Contents | None = None
) -> dict[str, Unit | None]:
    """Inspect units as a scan does, each folder once: path -> unit.

    None where it is gone, or where a scan would not take it (any more).
    """
    found: dict[str, Unit | None] = {}
    folders: dict[str, list[str]] = defaultdict(list)
    for path, kind in units.items():
        if kind == "video" and is_video_name(path.rpartition("/")[2]):
            found[path] = inspect_unit(root, path, rules, kind)
        else:
            folders[path if kind == "folder" else path.rpartition("/")[0]].append(path)
    for folder, paths in folders.items():
        try:
            listed = list(scan(root, rules, below=folder, deep=False, contents=contents))
        except (FileNotFoundError, NotADirectoryError):
            listed = []
        except OSError as problem:
            found |= {path: _unreadable(path, units[path], problem) for path in paths}
            continue
        there = {one.path: one for one in listed if isinstance(one, Unit)}
        found |= {path: there.get(path) for path in paths}
    return found


def unit_of_path(root: Path, path: str, rules: ScanRules) -> tuple[str, Kind] | None:
    """Say which unit a path that an event named may belong to; None when it can be none of a video or image folder."""
    *folders, name = path.split("/")
    parents = [root.name, *folders]
    if not name or _file_passed_over(path, name, rules) is not None:
        return None
    if any(_folder_passed_over("", one, parent, rules) for parent, one in zip(parents, folders, strict=False)):
        return None
    if _is_among(str(root / path), rules.excluded | rules.references):
        return None
    if is_frame_name(name):
        return ("/".join(folders), "folder") if folders else None
    if is_still_name(name):
        return None
    return path, "video"


def inside(root: Path, references: Iterable[Path]) -> frozenset[str]:
    """Return those that lie inside an inbox, as a walk from `root` names them, links on the way resolved.

    One that is the inbox itself, or a folder around it, is left to the checks of the configuration.
    """
    real_root = os.path.realpath(root)
    found = set()
    for reference in references:
        real = os.path.realpath(reference)
        if real.startswith(real_root.rstrip("/") + "/"):
            found.add(os.path.join(root, os.path.relpath(real, real_root)))  # noqa: PTH118 -- as os.scandir joins
    return frozenset(found)


@dataclass(frozen=True)
class _Walk:
    """What stays the same from folder to folder."""

    root: Path
    rules: ScanRules
    contents: Contents
    deep: bool


@dataclass
class _Listing:
    """What one folder holds, sorted into what it can become."""

    images: int = 0
    videos: list[str] = field(default_factory=list)
    """Names that say video, and files whose content does."""
    unsure: list[tuple[os.DirEntry[str], str]] = field(default_factory=list)
    """(entry, path) of files that nothing speaks for and nothing against."""
    not_read: Counter[str] = field(default_factory=Counter)
    """Ending -> pictures that dfld does not read."""
    holds_references: bool = False


def _scan_folder(walk: _Walk, folder: str, *, depth: int) -> Iterator[Unit | PassedOver]:
    root, rules = walk.root, walk.rules
    with os.scandir(root / folder) as scanned:
        entries = sorted(scanned, key=lambda entry: natural_key(entry.name))
    names = {entry.name for entry in entries}
    parent = folder.rpartition("/")[2] or root.name
    listing = _Listing()
    for entry in entries:
        path = f"{folder}/{entry.name}" if folder else entry.name
        if entry.is_dir(follow_symlinks=False):
            if passed := _folder_passed_over(path, entry.name, parent, rules):
                yield passed
            elif _is_among(entry.path, rules.references):
                yield PassedOver(path, "reference_photos")
            elif walk.deep and depth < DEPTH_MAX and not _is_among(entry.path, rules.excluded):
                try:
                    yield from _scan_folder(walk, path, depth=depth + 1)
                except OSError as problem:
                    yield PassedOver(path, "cannot_be_listed", problem.strerror or str(problem))
            else:
                yield PassedOver(path, "not_looked_into")
        elif _is_among(entry.path, rules.references):
            listing.holds_references = True
            yield PassedOver(path, "reference_photos")
        else:
            yield from _scan_file(walk, path, entry, names, listing)
    yield from _unsure_files(root, folder, names, rules, listing)
    yield from _pictures(root, folder, entries, rules, listing)


def _scan_file(
    walk: _Walk, path: str, entry: os.DirEntry[str], names: Collection[str], listing: _Listing
) -> Iterator[Unit | PassedOver]:
    """Yield what one file is, where that can be said of it alone; note the rest in `listing`."""
    left = file_left_alone(entry.name)
    passed = _passed_over(path, entry.name, walk.rules, left)
    if passed is not None:
        if left is None or not left.content_decides or walk.contents.kind_of(entry) != "video":
            yield passed
            return
    elif is_frame_name(entry.name):
        listing.images += 1
        if "/" not in path:
            yield PassedOver(path, "image_outside_a_folder")
        return
    elif is_still_name(entry.name):
        listing.not_read[os.path.splitext(entry.name)[1].lower()] += 1  # noqa: PTH122 -- a name, not a path
        if "/" not in path:
            yield PassedOver(path, "image_outside_a_folder")
        return
    elif not is_video_name(entry.name):
        kind = walk.contents.kind_of(entry)
        if kind == "text":
            yield PassedOver(path, "text")
            return
        if kind == "other":
            listing.unsure.append((entry, path))
            return
    listing.videos.append(entry.name)
    yield from _video_entry(walk.root, path, entry, names, walk.rules)


def _unsure_files(
    root: Path, folder: str, names: Collection[str], rules: ScanRules, listing: _Listing
) -> Iterator[Unit | PassedOver]:
    """Files that neither name nor first bytes explain: companions of a video, or what only a worker can find out."""
    stems = {name.rpartition(".")[0] for name in listing.videos} | set(listing.videos)
    for entry, path in listing.unsure:
        if clip := _goes_with(entry.name, stems):
            yield PassedOver(path, "companion", f"named like {clip}")
        elif folder and listing.images and not listing.videos:
            yield PassedOver(path, "no_video_beside_images")
        else:
            yield from _video_entry(root, path, entry, names, rules)


def _goes_with(name: str, stems: Collection[str]) -> str:
    """Return the name, or stem, of the video that this name adds an ending to; "" where there is none."""
    places = [place for place, character in enumerate(name) if character == "." and place]
    return next((name[:place] for place in reversed(places) if name[:place] in stems), "")


def _pictures(
    root: Path, folder: str, entries: Collection[os.DirEntry[str]], rules: ScanRules, listing: _Listing
) -> Iterator[Unit | PassedOver]:
    """The images of a folder as one unit; of pictures that are not read, one sentence for all."""
    if not folder:
        return
    if listing.images and listing.videos:
        yield PassedOver(folder, "images_beside_videos")
    elif listing.images and listing.holds_references:
        yield PassedOver(folder, "reference_photos", "one of its images is a reference photo")
    elif listing.images:
        unit = _folder(root, folder, entries, rules)
        if unit:
            yield unit
    if listing.not_read and not listing.videos:
        kinds = ", ".join(f"{count} {ending}" for ending, count in sorted(listing.not_read.items()))
        reason: PassReason = "pictures_left_out" if listing.images else "pictures_not_read"
        yield PassedOver(folder, reason, f"{kinds}; dfld reads {', '.join(sorted(IMAGE_SUFFIXES))}")


def _file_passed_over(path: str, name: str, rules: ScanRules) -> PassedOver | None:
    """Say why a file is passed over by its name; content may still speak for it."""
    return _passed_over(path, name, rules, file_left_alone(name))


def _passed_over(path: str, name: str, rules: ScanRules, left: LeftAlone | None) -> PassedOver | None:
    if bool(rules.done_marker) and name.endswith(rules.done_marker):
        return PassedOver(path, "done_marker")
    return _name_ignored(path, name, rules) or (PassedOver(path, left.reason, left.whose) if left else None)


def _folder_passed_over(path: str, name: str, parent: str, rules: ScanRules) -> PassedOver | None:
    left = folder_left_alone(name, parent)
    return _name_ignored(path, name, rules) or (PassedOver(path, left.reason, left.whose) if left else None)


def _name_ignored(path: str, name: str, rules: ScanRules) -> PassedOver | None:
    pattern = next((pattern for pattern in rules.ignore if fnmatchcase(name, pattern)), None)
    return PassedOver(path, "ignored_name", f"[watch] ignore: {pattern}") if pattern is not None else None


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
    if joined := _joined_beside(entry.name, names):
        yield PassedOver(path, "still_arriving", f"yt-dlp: a part of {joined}")
    elif identity.regular and entry.is_symlink() and _leads_outside(root, Path(entry.path), rules):
        yield PassedOver(path, "link_leads_outside")
    elif identity.regular:
        yield _video(root, path, result, names, rules)
    else:
        yield PassedOver(path, "link_to_a_folder" if entry.is_symlink() and entry.is_dir() else "not_a_regular_file")


def _video(root: Path, path: str, result: os.stat_result, names: Collection[str], rules: ScanRules) -> Unit:
    name = path.rpartition("/")[2]
    part = download_part(name)
    return Unit(
        path,
        "video",
        (("", FileIdentity.of(result)),),
        may_be_a_part=part is not None and not part.is_of_series(names),
        still_downloading=any(name + ending in names for ending in PARTIAL_SIBLINGS),
        marked_done=bool(rules.done_marker) and name + rules.done_marker in names,
        sidecar=_identity(root / (path + SIDECAR_ENDING)) if name + SIDECAR_ENDING in names else None,
    )


def _folder(root: Path, path: str, entries: Collection[os.DirEntry[str]], rules: ScanRules) -> Unit | None:
    """Make the unit of a folder of images; it is still arriving while any partial file lies in it.

    Its members are the regular files that engine.footage.image_folder may read: no links, nothing hidden.
    """
    members = []
    for entry in entries:
        if is_frame_name(entry.name) and _file_passed_over("", entry.name, rules) is None:
            try:
                identity = FileIdentity.of(entry.stat(follow_symlinks=False))
            except OSError:
                continue  # vanished; the next inspection sees the folder as it is then
            if identity.regular:  # links, pipes and folders with such names are no images
                members.append((entry.name, identity))
    if not members:
        return None
    arriving = any(_is_arriving(entry.name) for entry in entries)
    marker = rules.done_marker
    marked = bool(marker) and (_is_there(root / (path + marker)) or any(entry.name == marker for entry in entries))
    sidecar = _identity(root / (path + SIDECAR_ENDING))
    # By plain name, not in the order of the footage: hashes of content that ledgers hold were made so.
    return Unit(path, "folder", tuple(sorted(members, key=_name)), arriving, marked, sidecar)


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
    left, low = file_left_alone(name), name.lower()
    return (
        left is not None
        and left.reason in ("still_arriving", "hidden")
        and any(f"{suffix}." in low for suffix in IMAGE_SUFFIXES)
    )


def _is_among(full: str, folders: Collection[str]) -> bool:
    return any(full == folder or full.startswith(folder + "/") for folder in folders)


def _joined_beside(name: str, names: Collection[str]) -> str | None:
    """Return the joined file where `name` is a part of its download and lies beside it."""
    part = download_part(name)
    return None if part is None else part.joined_to(names)


def _sibling_names(path: Path, rules: ScanRules) -> set[str]:
    """Return the names beside a video that say something of it."""
    endings = (*PARTIAL_SIBLINGS, SIDECAR_ENDING, *((rules.done_marker,) if rules.done_marker else ()))
    names = [path.name + ending for ending in endings]
    if part := download_part(path.name):
        names += [*part.joined, *part.neighbours]
    return {name for name in names if _is_there(path.parent / name)}


def _is_there(path: Path) -> bool:
    """Say whether a companion is there; one whose name would be too long for the filesystem is not."""
    return os.path.exists(path)  # noqa: PTH110 -- Path.exists raises where the name is too long


def _unreadable(path: str, kind: Kind, problem: OSError) -> Unit:
    return Unit(path, kind, (), unreadable=problem.strerror or str(problem))
