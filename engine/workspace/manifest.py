"""debug/<prefix>manifest.jsonl: what dfld wrote for one clip, and what a hand decided about it. One JSON object a line.

    {"run": …}        a run begins: its source, content and basis
    {"face": …}       a face, before its file gets its name; {"mask": …} and {"frame": …} likewise
    {"committed": n}  every file of the frames before n is on the disk: what is missing of them, somebody took away
    {"accepted": …}   a face, before it moves from review/ to aligned/
    {"dropped": …}    a face, before dfld removes it
    {"finished": …}   the run came to its end
    {"hand": …}       a face or frame that a hand decided about, in this run or an earlier one
    {"clearing": …}   the results go: what is missing from now on, dfld took away
    {"discarding": …} and what a hand changed goes with them
    {"discarded": …}  which order to discard what a hand did was carried out when the run began

A line is written before what it says is done, so a kill between the two leaves nothing on the disk that dfld does not
know as its own. Lines are only added; a file is put in place whole where a run begins. Whoever deletes the file takes
nothing but that knowledge away: faces that no manifest names are left alone.
"""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

from core.files import FILE_MODE, replace_file, sync_folder
from core.opening import read_regular
from engine.workspace.same_face import Box, FaceTrace
from engine.workspace.workspace import Layout, told_as_output_error

MANIFEST_BYTES_MAX = 4 << 30
"""A line has about 300 bytes: ten million files."""

Folder = Literal["aligned", "review"]
HandWorkKind = Literal["deleted", "moved", "renamed", "edited", "packed", "mask_deleted", "added"]
NO_BOX: Box = (0, 0, 0, 0)
"""Of a decision about a whole frame."""
HAND_WORK_KINDS: tuple[HandWorkKind, ...] = (
    "deleted", "moved", "renamed", "edited", "packed", "mask_deleted", "added",
)  # fmt: skip


@dataclass(frozen=True)
class WrittenFile:
    """One file as dfld wrote it."""

    name: str
    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True)
class WrittenFace:
    """One face as dfld wrote it."""

    file: WrittenFile
    folder: Folder
    number: int
    """Of the frame, counted from 0."""
    trace: FaceTrace
    mask: WrittenFile | None = None
    was_in_review: bool = False
    """It was moved to aligned/ by dfld, or was just about to be."""
    dropped: bool = False
    """It was removed by dfld, or was just about to be."""


@dataclass(frozen=True)
class HandDecision:
    """A face (or, where `trace` has no box, a whole frame) that a hand decided about."""

    kind: HandWorkKind
    trace: FaceTrace
    content: str
    """Hash of the footage in which that was decided."""
    file: str = ""
    """Where the file lies that stays, below the workspace; "" where none does."""
    sha256: str = ""
    """Of that file when it was seen last; "" where its metadata says who it is."""
    mask: str = ""
    """Name of the mask that stays with it."""


@dataclass(frozen=True)
class RunNote:
    """What a run was made from."""

    source: str
    content: str
    """Hash of the footage, or what stands for it: other content, other pictures."""
    basis: str
    """Hash of identity, models and settings."""


@dataclass(frozen=True)
class Manifest:
    """What all lines together say."""

    run: RunNote | None = None
    faces: Mapping[str, WrittenFace] = field(default_factory=dict)
    """By name; faces of this run alone."""
    masks: Mapping[str, WrittenFile] = field(default_factory=dict)
    """By name."""
    frames: Mapping[str, WrittenFile] = field(default_factory=dict)
    """Whole frames, by name."""
    committed: int = 0
    finished: bool = False
    decisions: tuple[HandDecision, ...] = ()
    clearing: bool = False
    discarding: bool = False
    discarded: str = ""

    @property
    def content(self) -> str:
        return "" if self.run is None else self.run.content


def manifest_path(layout: Layout) -> Path:
    return layout.debug / f"{layout.prefix}manifest.jsonl"


def read_manifest(layout: Layout) -> Manifest:
    """Read the manifest of a clip; an empty one where there is none. A line that makes no sense says nothing.

    Raise OutputError where it lies there and cannot be read: to know nothing would be to take all for a hand's.
    """
    return manifest_in(manifest_path(layout))


def manifest_in(path: Path) -> Manifest:
    """Read one manifest, as `read_manifest` does."""
    with told_as_output_error("read", path):
        try:
            data = read_regular(path, within=None, max_bytes=MANIFEST_BYTES_MAX)
        except FileNotFoundError:
            return Manifest()
    return manifest_of(_lines(data))


def manifest_of(lines: Iterable[Mapping[str, Any]]) -> Manifest:
    """Put lines together, in their order."""
    run: RunNote | None = None
    faces: dict[str, WrittenFace] = {}
    masks: dict[str, WrittenFile] = {}
    frames: dict[str, WrittenFile] = {}
    decisions: list[HandDecision] = []
    committed, finished, clearing, discarding, discarded = 0, False, False, False, ""
    for line in lines:
        try:
            kind, value = next(iter(line.items()))
            if kind == "run":
                run, finished = RunNote(**value), False
            elif kind == "face":
                face = _face_of(value)
                faces[face.file.name] = face
            elif kind == "mask":
                masks[_plain(value["name"])] = WrittenFile(**value)
            elif kind == "frame":
                frames[_plain(value["name"])] = WrittenFile(**value)
            elif kind == "committed":
                committed = max(committed, int(value))
            elif kind == "accepted":
                faces[value] = replace(faces[value], folder="aligned", was_in_review=True)
            elif kind == "dropped":
                faces[value] = replace(faces[value], dropped=True)
            elif kind == "finished":
                finished = True
            elif kind == "hand":
                decisions.append(_decision_of(value))
            elif kind == "clearing":
                clearing = True
            elif kind == "discarding":
                discarding = True
            elif kind == "discarded":
                discarded = str(value)
        except (KeyError, TypeError, ValueError, AttributeError, StopIteration):
            continue  # cut short by a full disk, or edited: what it said is then not known
    known = {name: replace(face, mask=masks.get(mask_name(name))) for name, face in faces.items()}
    return Manifest(run, known, masks, frames, committed, finished, tuple(decisions), clearing, discarding, discarded)


def lines_of(manifest: Manifest) -> Iterator[dict[str, Any]]:
    """Yield lines that say what `manifest` says."""
    for decision in manifest.decisions:
        yield hand_line(decision)
    if manifest.run is not None:
        yield {"run": asdict(manifest.run)}
    for mask in manifest.masks.values():
        yield {"mask": asdict(mask)}
    for face in manifest.faces.values():
        yield face_line(face)
        if face.was_in_review:
            yield {"accepted": face.file.name}
        if face.dropped:
            yield {"dropped": face.file.name}
    for frame in manifest.frames.values():
        yield {"frame": asdict(frame)}
    yield {"committed": manifest.committed}
    for name in ("finished", "clearing", "discarding", "discarded"):
        if value := getattr(manifest, name):
            yield {name: value}


def write_manifest(layout: Layout, manifest: Manifest) -> None:
    """Put a manifest in place whole, on the disk when this returns. Raise OutputError."""
    path = manifest_path(layout)
    with told_as_output_error("write", path):
        replace_file(path, b"".join(map(_line_bytes, lines_of(manifest))))
        sync_folder(path.parent)


def mask_name(face: str) -> str:
    """Return the name of a face's mask."""
    return f"{Path(face).stem}_mask.png"


def face_line(face: WrittenFace) -> dict[str, Any]:
    value = {"folder": face.folder, "number": face.number, **asdict(face.file)}
    return {"face": value | {"frame": face.trace.frame, "box": list(face.trace.box), "mark": face.trace.mark}}


def hand_line(decision: HandDecision) -> dict[str, Any]:
    value = asdict(decision)
    return {"hand": {**value, "trace": {**value["trace"], "box": list(decision.trace.box)}}}


class ManifestWriter:
    """Adds lines to a clip's manifest. Any thread; each line goes out in one write."""

    def __init__(self, layout: Layout) -> None:
        """Raise OutputError when the manifest cannot be written."""
        self._path = manifest_path(layout)
        with told_as_output_error("write", self._path):
            flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
            self._descriptor = os.open(self._path, flags, FILE_MODE)
            size = os.fstat(self._descriptor).st_size
            if size and os.pread(self._descriptor, 1, size - 1) != b"\n":
                os.write(self._descriptor, b"\n")  # a full disk cut the last line short

    def add(self, line: Mapping[str, Any], *, sync: bool = False) -> None:
        """Add a line; `sync`: it survives a power loss. Raise OutputError."""
        data = _line_bytes(line)
        with told_as_output_error("write", self._path):
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


def _lines(data: bytes) -> Iterator[Mapping[str, Any]]:
    for line in data.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _line_bytes(line: Mapping[str, Any]) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def _face_of(value: Mapping[str, Any]) -> WrittenFace:
    if value["folder"] not in ("aligned", "review"):
        raise ValueError(value["folder"])
    file = WrittenFile(_plain(value["name"]), str(value["sha256"]), int(value["size"]), int(value["mtime_ns"]))
    return WrittenFace(file, value["folder"], int(value["number"]), _trace_of(value))


def _decision_of(value: Mapping[str, Any]) -> HandDecision:
    if value["kind"] not in HAND_WORK_KINDS:
        raise ValueError(value["kind"])
    texts = {name: str(value[name]) for name in ("content", "file", "sha256", "mask")}
    if texts["mask"]:
        _plain(texts["mask"])
    if Path(texts["file"]).is_absolute() or ".." in Path(texts["file"]).parts or "\0" in texts["file"]:
        raise ValueError(f"{texts['file']!r} is no path below the workspace")
    return HandDecision(kind=value["kind"], trace=_trace_of(value["trace"]), **texts)


def _trace_of(value: Mapping[str, Any]) -> FaceTrace:
    left, top, right, bottom = (int(edge) for edge in value["box"])
    return FaceTrace(str(value["frame"]), (left, top, right, bottom), str(value["mark"]))


def _plain(name: object) -> str:
    """Return a file name. Raise ValueError for one that, joined to a folder, would lead out of it."""
    if not isinstance(name, str) or not name or "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError(f"{name!r} is no file name")
    return name
