"""debug/<prefix>manifest.jsonl: what dfld wrote for one clip, and what a person changed of it.

What the lines are: engine.results.manifest_lines. A line is written before what it says is done, so a kill between the
two leaves nothing on the disk that dfld does not know as its own. Lines are only added; a file is put in place whole
where a run begins. Whoever deletes the file takes nothing but that knowledge away: faces that no manifest names are
left alone.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self, TypeVar

from core.files import FILE_MODE, replace_file, sync_folder
from core.opening import read_regular
from engine.results.manifest_lines import (
    Accepted,
    ChangeNoted,
    Clearing,
    Committed,
    Discarded,
    Discarding,
    Dropped,
    FaceWritten,
    Finished,
    FrameWritten,
    ManifestLine,
    ManualChange,
    MaskDropped,
    MaskWritten,
    RunBegun,
    RunNote,
    WrittenFace,
    WrittenFile,
    line_bytes,
    lines_in,
    mask_name,
)
from engine.workspace.file_names import Layout
from engine.workspace.output_files import as_output_error

MANIFEST_NAME = "manifest.jsonl"
"""Behind the prefix that the files of a clip share."""
MANIFEST_BYTES_MAX = 4 << 30
"""A line has about 400 bytes: ten million files."""

Value = TypeVar("Value")


def _empty() -> Mapping[str, Value]:
    return MappingProxyType({})


@dataclass(frozen=True)
class Manifest:
    """What all lines together say."""

    run: RunNote | None = None
    faces: Mapping[str, WrittenFace] = field(default_factory=_empty)
    """By name; faces of this run alone."""
    masks: Mapping[str, WrittenFile] = field(default_factory=_empty)
    """By name."""
    frames: Mapping[str, WrittenFile] = field(default_factory=_empty)
    """Whole frames, by name."""
    committed: int = 0
    finished: bool = False
    changes: tuple[ManualChange, ...] = ()
    clearing: bool = False
    discarding: bool = False
    discarded: str = ""

    @property
    def content(self) -> str:
        return "" if self.run is None else self.run.content


def manifest_path(layout: Layout) -> Path:
    return layout.debug / f"{layout.prefix}{MANIFEST_NAME}"


def manifest_paths(debug: Path) -> dict[str, Path]:
    """Return the manifest of each clip that has its own in the folder `debug`, by the prefix of the clip's files;
    none where there is no such folder."""
    return {path.name.removesuffix(MANIFEST_NAME): path for path in sorted(debug.glob(f"*{MANIFEST_NAME}"))}


def read_manifest(layout: Layout) -> Manifest:
    """Read the manifest of a clip; an empty one where there is none. A line that makes no sense says nothing.

    Raise OutputError where it lies there and cannot be read: to know nothing would be to take all for a person's.
    """
    return manifest_in(manifest_path(layout))


def manifest_in(path: Path) -> Manifest:
    """Read one manifest, as `read_manifest` does."""
    with as_output_error("read", path):
        try:
            data = read_regular(path, within=None, max_bytes=MANIFEST_BYTES_MAX)
        except FileNotFoundError:
            return Manifest()
    return manifest_of(lines_in(data))


def manifest_of(lines: Iterable[ManifestLine]) -> Manifest:
    """Put lines together, in their order."""
    run: RunNote | None = None
    faces: dict[str, WrittenFace] = {}
    masks: dict[str, WrittenFile] = {}
    frames: dict[str, WrittenFile] = {}
    changes: list[ManualChange] = []
    committed, finished, clearing, discarding, discarded = 0, False, False, False, ""
    for line in lines:
        match line:
            case RunBegun(note):
                run, finished = note, False
            case FaceWritten(face):
                faces[face.file.name] = face
            case MaskWritten(file):
                masks[file.name] = file
            case FrameWritten(file):
                frames[file.name] = file
            case Committed(next_frame):
                committed = max(committed, next_frame)
            case Accepted(name) if name in faces:
                faces[name] = replace(faces[name], folder="aligned", was_in_review=True)
            case Dropped(name) if name in faces:
                faces[name] = replace(faces[name], dropped=True, dropped_later=finished)
            case MaskDropped(name) if name in faces:
                faces[name] = replace(faces[name], mask_dropped=True)
            case Finished():
                finished = True
            case ChangeNoted(change):
                changes.append(change)
            case Clearing():
                clearing = True
            case Discarding():
                discarding = True
            case Discarded(order):
                discarded = order
    known = {name: replace(face, mask=masks.get(mask_name(name))) for name, face in faces.items()}
    return Manifest(
        run,
        MappingProxyType(known),
        MappingProxyType(masks),
        MappingProxyType(frames),
        committed,
        finished,
        tuple(changes),
        clearing,
        discarding,
        discarded,
    )


def lines_of(manifest: Manifest) -> Iterator[ManifestLine]:
    """Yield lines that say what `manifest` says."""
    for change in manifest.changes:
        yield ChangeNoted(change)
    if manifest.run is not None:
        yield RunBegun(manifest.run)
    for mask in manifest.masks.values():
        yield MaskWritten(mask)
    for face in manifest.faces.values():
        yield FaceWritten(face)
        if face.was_in_review:
            yield Accepted(face.file.name)
        if face.dropped and not face.dropped_later:
            yield Dropped(face.file.name)
        if face.mask_dropped:
            yield MaskDropped(face.file.name)
    for frame in manifest.frames.values():
        yield FrameWritten(frame)
    yield Committed(manifest.committed)
    if manifest.finished:
        yield Finished()
    for face in manifest.faces.values():
        if face.dropped_later:
            yield Dropped(face.file.name)
    if manifest.clearing:
        yield Clearing()
    if manifest.discarding:
        yield Discarding()
    if manifest.discarded:
        yield Discarded(manifest.discarded)


def write_manifest(layout: Layout, manifest: Manifest) -> None:
    """Put a manifest in place whole, on the disk when this returns. Raise OutputError."""
    path = manifest_path(layout)
    with as_output_error("write", path):
        replace_file(path, b"".join(map(line_bytes, lines_of(manifest))))
        sync_folder(path.parent)


class ManifestWriter:
    """Adds lines to a clip's manifest. Any thread; each line goes out in one write."""

    def __init__(self, layout: Layout) -> None:
        """Raise OutputError when the manifest cannot be written."""
        self._path = manifest_path(layout)
        with as_output_error("write", self._path):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, FILE_MODE)
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                os.write(self._descriptor, b"\n")  # a full disk cut the last line short

    def add(self, line: ManifestLine, *, sync: bool = False) -> None:
        """Add a line; `sync`: it survives a power loss. Raise OutputError."""
        data = line_bytes(line)
        with as_output_error("write", self._path):
            if os.write(self._descriptor, data) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            if sync:
                os.fdatasync(self._descriptor)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)
