"""The faces that a side is trained on: those of a folder, or of the faceset.pak in it, which DeepFaceLab prefers.

A list is cheap: a file is looked into only for whether it is an aligned JPEG, and for its yaw where that is asked for.
What else may be wrong with a face shows when a sample is made of it. Nothing is kept open.
"""

from __future__ import annotations

import mmap
import os
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from math import isfinite
from pathlib import Path

from core.opening import open_regular
from dfl.errors import FormatError
from dfl.faceset import read_faceset
from dfl.geometry import head_pose
from dfl.image import AlignedMetadata, read_metadata
from dfl.jpeg import FILE_LIMIT_BYTES, read_app15, read_size
from trainer.errors import SampleError

PACK_NAME = "faceset.pak"
_SUFFIX = ".jpg"
"""DeepFaceLab reads no other, nor the same in capitals."""
_LISTED_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
"""What DeepFaceLab takes for a picture; those that it then skips are named."""
_UNCROPPED = "mark_only"

FileKey = tuple[int, int, int]
"""Inode, time of the last change in ns, bytes: another key means that the file was written anew."""


@dataclass(frozen=True)
class TrainingFace:
    """One face that samples can be made of."""

    name: str
    """File name, in the folder or before it was packed."""
    file_key: FileKey
    """Of the image, or of the faceset.pak that it is in."""
    place: tuple[int, int] | None
    """First byte and number of bytes in the faceset.pak; None for an image of its own."""
    yaw: float
    """Of the head, in radians; 0 where it was not asked for."""


@dataclass(frozen=True)
class FaceList:
    """The faces of one side, in the order of their names."""

    folder: Path
    faces: tuple[TrainingFace, ...]
    left_out: Mapping[str, str]
    """File name -> why no sample is made of it."""


def list_faces(folder: Path, *, with_yaw: bool, earlier: FaceList | None = None) -> FaceList:
    """Return the faces of a folder. What `earlier` knows of files that are still the same is taken from there.

    Raise SampleError where there is no face, or the folder or its faceset.pak cannot be read.
    """
    pack = folder / PACK_NAME
    try:
        if pack.is_file():
            found = _packed_faces(pack, with_yaw=with_yaw)
        else:
            found = _loose_faces(folder, with_yaw=with_yaw, earlier=earlier)
    except OSError as problem:
        raise SampleError(f"listing the faces of {folder}: {problem.strerror or problem}") from problem
    except FormatError as problem:
        raise SampleError(f"listing the faces of {pack}: {problem.message}", hint=problem.hint) from problem
    if not found.faces:
        more = f"; {len(found.left_out)} files are not aligned faces" if found.left_out else ""
        raise SampleError(f"listing the faces of {folder}: there are none{more}", hint="name the folder `aligned`")
    return found


def key_of(status: os.stat_result) -> FileKey:
    return (status.st_ino, status.st_mtime_ns, status.st_size)


def _loose_faces(folder: Path, *, with_yaw: bool, earlier: FaceList | None) -> FaceList:
    known = {face.name: face for face in earlier.faces} if earlier is not None else {}
    faces, left_out = [], {}
    for entry in sorted(_pictures(folder), key=lambda one: one.name):
        try:
            before = known.get(entry.name)
            if before is not None and before.file_key == key_of(entry.stat(follow_symlinks=False)):
                faces.append(before)
            else:
                faces.append(_loose_face(Path(entry.path), with_yaw=with_yaw))
        except FormatError as problem:
            left_out[entry.name] = problem.message
        except FileNotFoundError:
            continue  # removed since the folder was listed
        except OSError as problem:
            left_out[entry.name] = problem.strerror or str(problem)
    return FaceList(folder, tuple(faces), left_out)


def _pictures(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (one for one in entries if one.name.lower().endswith(_LISTED_SUFFIXES))


def _loose_face(path: Path, *, with_yaw: bool) -> TrainingFace:
    if not path.name.endswith(_SUFFIX):
        raise FormatError(f"its name does not end in {_SUFFIX}, so DeepFaceLab skips it")
    with open_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES) as file:
        key = key_of(os.fstat(file.fileno()))
        data = file.readall()
    if read_app15(data) is None:
        raise FormatError("the JPEG has no DeepFaceLab metadata (no APP15 segment)")
    yaw = _yaw(read_metadata(data), read_size(data)[0]) if with_yaw else 0.0
    return TrainingFace(path.name, key, None, yaw)


def _packed_faces(pack: Path, *, with_yaw: bool) -> FaceList:
    faces, left_out = [], {}
    with open_regular(pack, within=None) as file:
        key = key_of(os.fstat(file.fileno()))
        if not key[2]:
            raise FormatError("it is empty")
        with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data, memoryview(data) as view:
            images = read_faceset(view)
    for image in images:
        try:
            yaw = _yaw(image.metadata, image.shape[1]) if with_yaw else 0.0
        except FormatError as problem:
            left_out[image.filename] = problem.message
            continue
        if image.metadata.face_type == _UNCROPPED:
            left_out[image.filename] = "it was stored without a crop (mark_only)"
            continue
        faces.append(TrainingFace(image.filename, key, (image.start, image.size_bytes), yaw))
    return FaceList(pack.parent, tuple(faces), left_out)


def _yaw(metadata: AlignedMetadata, side_px: int) -> float:
    _, yaw, _ = head_pose(metadata.landmarks, side_px)
    if not isfinite(yaw):
        raise FormatError("no head pose fits the 68 landmarks")
    return yaw
