"""debug/<prefix>manifest.jsonl: what dfld wrote for one clip, and what a person changed of it. One JSON object a line.

    {"run": …}        a run begins: its source, content and basis
    {"face": …}       a face, before its file gets its name; {"mask": …} and {"frame": …} likewise
    {"committed": n}  every file of the frames before n is on the disk: what is missing of them, somebody took away
    {"accepted": …}   a face, before it moves from review/ to aligned/
    {"dropped": …}    a face, before dfld removes it
    {"mask_dropped": …}  a face, before dfld removes its mask alone
    {"finished": …}   the run came to its end
    {"hand": …}       a manual change of a face or frame, in this run or an earlier one
    {"clearing": …}   the results go: what is missing from now on, dfld took away
    {"discarding": …} and what a person changed goes with them
    {"discarded": …}  which order to discard manual changes was carried out when the run began

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
from types import MappingProxyType, TracebackType
from typing import Literal, Self, TypeVar

from core.files import FILE_MODE, replace_file, sync_folder
from core.opening import read_regular
from engine.face_id import Box
from engine.same_face import NO_BOX, FaceTrace
from engine.workspace.file_names import Layout
from engine.workspace.output_files import as_output_error

MANIFEST_BYTES_MAX = 4 << 30
"""A line has about 400 bytes: ten million files."""

Folder = Literal["aligned", "review"]
ChangeKind = Literal["deleted", "moved", "renamed", "edited", "packed", "mask_deleted", "added"]
CHANGE_KINDS: tuple[ChangeKind, ...] = (
    "deleted", "moved", "renamed", "edited", "packed", "mask_deleted", "added",
)  # fmt: skip
Value = TypeVar("Value")
Line = Mapping[str, object]


def _empty() -> Mapping[str, Value]:
    return MappingProxyType({})


@dataclass(frozen=True)
class WrittenFile:
    """One file as dfld wrote it."""

    name: str
    sha256: str
    """"" and size -1: an older dfld wrote it, which kept a log alone."""
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
    mask_dropped: bool = False
    """Its mask was removed by dfld, or was just about to be."""


@dataclass(frozen=True)
class ManualChange:
    """What a person did to a face (or, where `trace` has no box, to a whole frame)."""

    kind: ChangeKind
    trace: FaceTrace
    content: str
    """Hash of the footage in whose results it was found; "" where that is unknown."""
    file: str = ""
    """Where the file lies that stays, below the workspace; "" where none does."""
    sha256: str = ""
    """Of that file when it was seen last; "" where its metadata says who it is."""
    mask: str = ""
    """Name of the mask that stays with it."""
    is_unlisted: bool = False
    """An "added" picture of which nothing says who wrote it: the manifest was lost, or an older dfld kept none."""
    lost_mask: str = ""
    """Basis of the run whose mask of this face dfld removed, since it was damaged: a run of the same basis writes that
    mask again, and the face stays as the person left it. "" where none was removed."""

    @property
    def is_of_frame(self) -> bool:
        """Whether it is about a whole frame, not a face."""
        return self.trace.box == NO_BOX


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
    return layout.debug / f"{layout.prefix}manifest.jsonl"


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
    return manifest_of(_lines(data))


def manifest_of(lines: Iterable[Line]) -> Manifest:
    """Put lines together, in their order."""
    run: RunNote | None = None
    faces: dict[str, WrittenFace] = {}
    masks: dict[str, WrittenFile] = {}
    frames: dict[str, WrittenFile] = {}
    changes: list[ManualChange] = []
    committed, finished, clearing, discarding, discarded = 0, False, False, False, ""
    for line in lines:
        try:
            kind, value = next(iter(line.items()))
            if kind == "run":
                run, finished = _run_of(value), False
            elif kind == "face":
                face = _face_of(value)
                faces[face.file.name] = face
            elif kind == "mask":
                mask = _file_of(value)
                masks[mask.name] = mask
            elif kind == "frame":
                frame = _file_of(value)
                frames[frame.name] = frame
            elif kind == "committed":
                committed = max(committed, _whole(value))
            elif kind == "accepted":
                faces[str(value)] = replace(faces[str(value)], folder="aligned", was_in_review=True)
            elif kind == "dropped":
                faces[str(value)] = replace(faces[str(value)], dropped=True)
            elif kind == "mask_dropped":
                faces[str(value)] = replace(faces[str(value)], mask_dropped=True)
            elif kind == "finished":
                finished = True
            elif kind == "hand":
                changes.append(_change_of(value))
            elif kind == "clearing":
                clearing = True
            elif kind == "discarding":
                discarding = True
            elif kind == "discarded":
                discarded = str(value)
        except (KeyError, TypeError, ValueError, OverflowError, StopIteration):
            continue  # cut short by a full disk, or edited: what it said is then not known
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


def lines_of(manifest: Manifest) -> Iterator[Line]:
    """Yield lines that say what `manifest` says."""
    for change in manifest.changes:
        yield change_line(change)
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
        if face.mask_dropped:
            yield {"mask_dropped": face.file.name}
    for frame in manifest.frames.values():
        yield {"frame": asdict(frame)}
    yield {"committed": manifest.committed}
    for name in ("finished", "clearing", "discarding", "discarded"):
        if value := getattr(manifest, name):
            yield {name: value}


def write_manifest(layout: Layout, manifest: Manifest) -> None:
    """Put a manifest in place whole, on the disk when this returns. Raise OutputError."""
    path = manifest_path(layout)
    with as_output_error("write", path):
        replace_file(path, b"".join(map(_line_bytes, lines_of(manifest))))
        sync_folder(path.parent)


def mask_name(face: str) -> str:
    """Return the name of a face's mask."""
    return f"{Path(face).stem}_mask.png"


def face_line(face: WrittenFace) -> Line:
    values = {"folder": face.folder, "number": face.number, **asdict(face.file)}
    return {"face": values | _trace_values(face.trace)}


def change_line(change: ManualChange) -> Line:
    values: dict[str, object] = {"kind": change.kind, "trace": _trace_values(change.trace)}
    values |= {name: getattr(change, name) for name in ("content", "file", "sha256", "mask")}
    if change.is_unlisted:
        values["unlisted"] = True
    if change.lost_mask:
        values["lost_mask"] = change.lost_mask
    return {"hand": values}


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

    def add(self, line: Line, *, sync: bool = False) -> None:
        """Add a line; `sync`: it survives a power loss. Raise OutputError."""
        data = _line_bytes(line)
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


def _lines(data: bytes) -> Iterator[Line]:
    for line in data.split(b"\n"):
        try:
            value = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(value, dict):
            yield value


def _line_bytes(line: Line) -> bytes:
    return json.dumps(line, separators=(",", ":")).encode("ascii") + b"\n"


def _trace_values(trace: FaceTrace) -> dict[str, object]:
    """Return a trace's part of a line. What is unknown is left out; frame, box and mark stand in every version."""
    values: dict[str, object] = {"frame": trace.frame, "box": list(trace.box), "mark": trace.landmarks_hash}
    if trace.face_id:
        values["id"] = trace.face_id
    if trace.landmarks_box != NO_BOX:
        values["landmarks_box"] = list(trace.landmarks_box)
    return values


def _object(value: object) -> Mapping[str, object]:
    if not isinstance(value, dict):
        raise TypeError(f"{value!r} is no object")
    return value


def _whole(value: object) -> int:
    if not isinstance(value, (int, float, str)):
        raise TypeError(f"{value!r} is no number")
    return int(value)


def _run_of(value: object) -> RunNote:
    values = _object(value)
    return RunNote(str(values["source"]), str(values["content"]), str(values["basis"]))


def _file_of(value: object) -> WrittenFile:
    values = _object(value)
    name, sha256 = _plain(values["name"]), str(values["sha256"])
    return WrittenFile(name, sha256, _whole(values["size"]), _whole(values["mtime_ns"]))


def _face_of(value: object) -> WrittenFace:
    values = _object(value)
    folder = values["folder"]
    if folder != "aligned" and folder != "review":
        raise ValueError(folder)
    return WrittenFace(_file_of(value), folder, _whole(values["number"]), _trace_of(value))


def _change_of(value: object) -> ManualChange:
    values = _object(value)
    kind = next(one for one in CHANGE_KINDS if one == values["kind"])
    content, file, sha256, mask = (str(values[name]) for name in ("content", "file", "sha256", "mask"))
    if mask:
        _plain(mask)
    if Path(file).is_absolute() or ".." in Path(file).parts or "\0" in file:
        raise ValueError(f"{file!r} is no path below the workspace")
    trace = _trace_of(values["trace"])
    return ManualChange(
        kind,
        trace,
        content,
        file,
        sha256,
        mask,
        is_unlisted=values.get("unlisted") is True,
        lost_mask=str(values.get("lost_mask", "")),
    )


def _trace_of(value: object) -> FaceTrace:
    values = _object(value)
    known = _box_of(values["landmarks_box"]) if "landmarks_box" in values else NO_BOX
    return FaceTrace(
        str(values["frame"]), _box_of(values["box"]), str(values["mark"]), str(values.get("id", "")), known
    )


def _box_of(value: object) -> Box:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no box")
    left, top, right, bottom = (_whole(edge) for edge in value)
    return left, top, right, bottom


def _plain(name: object) -> str:
    """Return a file name. Raise ValueError for one that, joined to a folder, would lead out of it."""
    if not isinstance(name, str) or not name or "/" in name or "\0" in name or name in (".", ".."):
        raise ValueError(f"{name!r} is no file name")
    return name
