"""The lines of a clip's manifest as values, and how each stands in JSON. Pure.

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

In the file a line is one JSON object. Lines of an older dfld lack what came later, which has a default here. Lines of a
newer one may hold more, and kinds that are not known here: they are passed over, and so is what a full disk cut short.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import MappingProxyType
from typing import ClassVar, Literal, Self, get_args

from engine.face_id import Box
from engine.same_face import NO_BOX, FaceTrace

Folder = Literal["aligned", "review"]
ChangeKind = Literal["deleted", "moved", "renamed", "edited", "packed", "mask_deleted", "added"]
CHANGE_KINDS: tuple[ChangeKind, ...] = get_args(ChangeKind)


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
    dropped_later: bool = False
    """That was after its run had come to its end, since it was damaged: the next run writes it again."""
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
class ManifestLine:
    """One line: an object of one key, which says what kind of line it is."""

    key: ClassVar[str]

    def value(self) -> object:
        """Return what stands behind the key, as plain JSON values."""
        return True

    @classmethod
    def read(cls, _value: object) -> Self:
        """Make the line of what stands behind the key. Raise KeyError, TypeError, ValueError or OverflowError where
        that is no such line."""
        return cls()


@dataclass(frozen=True)
class _FileLine(ManifestLine):
    file: WrittenFile

    def value(self) -> object:
        return asdict(self.file)

    @classmethod
    def read(cls, value: object) -> Self:
        return cls(_file_of(value))


@dataclass(frozen=True)
class _NameLine(ManifestLine):
    name: str
    """Of a face."""

    def value(self) -> object:
        return self.name

    @classmethod
    def read(cls, value: object) -> Self:
        return cls(str(value))


@dataclass(frozen=True)
class RunBegun(ManifestLine):
    """A run begins."""

    key = "run"
    note: RunNote

    def value(self) -> object:
        return asdict(self.note)

    @classmethod
    def read(cls, value: object) -> Self:
        values = _object(value)
        return cls(RunNote(str(values["source"]), str(values["content"]), str(values["basis"])))


@dataclass(frozen=True)
class FaceWritten(ManifestLine):
    """A face, before its file gets its name. What became of it later stands in lines of their own."""

    key = "face"
    face: WrittenFace

    def value(self) -> object:
        values = {"folder": self.face.folder, "number": self.face.number, **asdict(self.face.file)}
        return values | _trace_values(self.face.trace)

    @classmethod
    def read(cls, value: object) -> Self:
        values = _object(value)
        folder = values["folder"]
        if folder != "aligned" and folder != "review":
            raise ValueError(folder)
        return cls(WrittenFace(_file_of(value), folder, _whole(values["number"]), _trace_of(value)))


@dataclass(frozen=True)
class MaskWritten(_FileLine):
    """A mask, before its file gets its name."""

    key = "mask"


@dataclass(frozen=True)
class FrameWritten(_FileLine):
    """A whole frame, before its file gets its name."""

    key = "frame"


@dataclass(frozen=True)
class Committed(ManifestLine):
    """Every file of the frames before `next_frame` is on the disk."""

    key = "committed"
    next_frame: int

    def value(self) -> object:
        return self.next_frame

    @classmethod
    def read(cls, value: object) -> Self:
        return cls(_whole(value))


@dataclass(frozen=True)
class Accepted(_NameLine):
    """A face, before it moves from review/ to aligned/."""

    key = "accepted"


@dataclass(frozen=True)
class Dropped(_NameLine):
    """A face, before dfld removes it."""

    key = "dropped"


@dataclass(frozen=True)
class MaskDropped(_NameLine):
    """A face, before dfld removes its mask alone."""

    key = "mask_dropped"


@dataclass(frozen=True)
class Finished(ManifestLine):
    """The run came to its end."""

    key = "finished"


@dataclass(frozen=True)
class ChangeNoted(ManifestLine):
    """A manual change, found in this run's results or in those of an earlier one."""

    key = "hand"
    change: ManualChange

    def value(self) -> object:
        change = self.change
        values: dict[str, object] = {"kind": change.kind, "trace": _trace_values(change.trace)}
        values |= {"content": change.content, "file": change.file, "sha256": change.sha256, "mask": change.mask}
        if change.is_unlisted:
            values["unlisted"] = True
        if change.lost_mask:
            values["lost_mask"] = change.lost_mask
        return values

    @classmethod
    def read(cls, value: object) -> Self:
        return cls(_change_of(value))


@dataclass(frozen=True)
class Clearing(ManifestLine):
    """The results go: what is missing from now on, dfld took away."""

    key = "clearing"


@dataclass(frozen=True)
class Discarding(ManifestLine):
    """What a person changed goes with the results."""

    key = "discarding"


@dataclass(frozen=True)
class Discarded(ManifestLine):
    """Which order to discard manual changes was carried out when the run began."""

    key = "discarded"
    order: str

    def value(self) -> object:
        return self.order

    @classmethod
    def read(cls, value: object) -> Self:
        return cls(str(value))


LINES: Mapping[str, type[ManifestLine]] = MappingProxyType(
    {
        one.key: one
        for one in (
            RunBegun, FaceWritten, MaskWritten, FrameWritten, Committed, Accepted, Dropped, MaskDropped, Finished,
            ChangeNoted, Clearing, Discarding, Discarded,
        )
    }
)  # fmt: skip


def lines_in(data: bytes) -> Iterator[ManifestLine]:
    """Yield the lines of a manifest's bytes. A line that makes no sense says nothing."""
    for text in data.split(b"\n"):
        try:
            ((key, value), *_) = json.loads(text).items()
            yield LINES[key].read(value)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError, RecursionError):
            continue  # cut short by a full disk, or edited: what it said is then not known


def line_bytes(line: ManifestLine) -> bytes:
    """Return a line as it stands in the file, with its line break."""
    return json.dumps({line.key: line.value()}, separators=(",", ":")).encode("ascii") + b"\n"


def mask_name(face: str) -> str:
    """Return the name of a face's mask."""
    return f"{Path(face).stem}_mask.png"


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


def _file_of(value: object) -> WrittenFile:
    values = _object(value)
    name, sha256 = _plain(values["name"]), str(values["sha256"])
    return WrittenFile(name, sha256, _whole(values["size"]), _whole(values["mtime_ns"]))


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
