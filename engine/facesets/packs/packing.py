"""A faceset's loose faces ⇄ one faceset.pak, byte for byte.

Packing and unpacking remove what they read only once it lies whole in its new place and was compared with the old one,
and only where it is still what was read. A kill leaves both; doing the same again ends the same. Files that DeepFaceLab
would not read stay as they are.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from core.files import make_folder, replace_file, sync_folder
from core.opening import RefusedFileError, open_regular, read_regular
from dfl.errors import FormatError
from dfl.faceset import PackedImage, describe_image
from dfl.jpeg import FILE_LIMIT_BYTES
from engine.errors import FacesetError, PackedFacesetError
from engine.facesets.changing.free_faceset import Waiting, sole_user_when_free
from engine.facesets.face_listing import UnreadableFace, picture_names
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.pack_file import opened_pack, write_pack
from engine.workspace.output_files import as_output_error

NAMED_MAX = 5
"""Files that a message names one by one."""


@dataclass(frozen=True)
class Packed:
    """What packing or unpacking did."""

    faces: int
    pack_bytes: int
    """Size of the faceset.pak."""
    face_bytes: int
    """Of all its JPEGs together."""
    left: tuple[UnreadableFace, ...] = ()
    """Pictures that stay: no faces to DeepFaceLab, or changed while they were packed."""


@dataclass(frozen=True)
class _ReadFile:
    """What a file was when it was read."""

    sha256: str
    state: tuple[int, ...]
    """`_state` of it."""


def pack_faces(folder: FacesetFolder, *, keep: bool, waiting: Waiting | None = None) -> Packed:
    """Pack the faces of `aligned/` into a faceset.pak there; remove the loose ones, unless they are to be kept.

    Where a faceset.pak lies there already that holds each of them, as after a kill, it stays as it is. Raise
    PackedFacesetError where it does not, FacesetError where there is no face to pack, OutputError where the disk
    refuses.
    """
    with sole_user_when_free(folder, waiting):
        if os.path.lexists(folder.pack):
            return _pack_again(folder, keep=keep)
        images, read, left = _described(folder)
        if not images:
            raise FacesetError(f"{folder.aligned} holds no face to pack")

        with as_output_error("write", folder.pack):
            try:
                write_pack(folder.pack, images, _bytes_of(folder, images, read))
            except FormatError as problem:
                raise FacesetError(f"these faces do not fit in one faceset.pak: {problem.message}") from problem
            size = folder.pack.stat().st_size
        if not keep:
            left += _remove_loose(folder, read)
        return Packed(len(images), size, sum(image.size_bytes for image in images), left)


def unpack_faces(folder: FacesetFolder, *, keep: bool, waiting: Waiting | None = None) -> Packed:
    """Write every face of a faceset.pak beside it, under the name that it had; then remove the pak, unless it is to be
    kept. Those of a set of several persons go into a folder for each.

    Raise FacesetError, with nothing changed, where there is no readable faceset.pak or another file has the name of a
    face; OutputError where the disk refuses.
    """
    with sole_user_when_free(folder, waiting):
        try:
            state = _state(folder.pack.lstat())
            with opened_pack(folder.pack) as (images, view):
                _require_distinct(folder, images)
                _require_free(folder, images, view)
                for image in images:
                    _write_face(folder, image, view)
                for where in {_place(folder, image).parent for image in images}:
                    with as_output_error("sync", where):
                        sync_folder(where)
                size, face_bytes = len(view), sum(image.size_bytes for image in images)
        except FormatError as problem:
            raise FacesetError(f"{folder.pack} cannot be unpacked: {problem.message}; nothing was changed") from problem
        except FileNotFoundError as problem:
            raise FacesetError(f"{folder.aligned} holds no faceset.pak; nothing to unpack") from problem
        except OSError as problem:
            raise FacesetError(f"{folder.pack} cannot be read: {problem.strerror}") from problem
        if not keep:
            with as_output_error("remove", folder.pack):
                if _state(folder.pack.lstat()) != state:
                    raise FacesetError(f"{folder.pack} changed while it was unpacked; it stays, as do the faces")
                folder.pack.unlink()
                sync_folder(folder.aligned)
        return Packed(len(images), size, face_bytes)


def _described(
    folder: FacesetFolder,
) -> tuple[list[PackedImage], dict[str, _ReadFile], tuple[UnreadableFace, ...]]:
    """Return the entry of each face in the order of DeepFaceLab, what its file was, and what is no face."""
    images: list[PackedImage] = []
    read: dict[str, _ReadFile] = {}
    left: list[UnreadableFace] = []
    for name in picture_names(folder):
        try:
            with open_regular(folder.aligned / name, within=None, max_bytes=FILE_LIMIT_BYTES) as file:
                state = _state(os.fstat(file.fileno()))
                data = file.readall()
            images.append(_without_what_stands_in_the_image(describe_image(name, data)))
            read[name] = _ReadFile(hashlib.sha256(data).hexdigest(), state)
        except FormatError as problem:
            left.append(UnreadableFace(name, problem.message))
        except OSError as problem:
            left.append(UnreadableFace(name, problem.strerror or str(problem)))
    return images, read, tuple(left)


def _state(status: os.stat_result) -> tuple[int, ...]:
    """Return what changes with a file: its place on the disk, size, and times of content and of anything else."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns


def _without_what_stands_in_the_image(image: PackedImage) -> PackedImage:
    """Return an entry without what no index holds, so that large sets take little memory."""
    metadata = replace(
        image.metadata, source_landmarks=None, source_rect=None, image_to_face_mat=None, unknown=MappingProxyType({})
    )
    return replace(image, metadata=metadata)


def _bytes_of(folder: FacesetFolder, images: list[PackedImage], read: Mapping[str, _ReadFile]) -> Iterator[bytes]:
    """Yield each face as it was described. Raise FacesetError for one that changed or went meanwhile."""
    for image in images:
        try:
            data = read_regular(folder.aligned / image.filename, within=None, max_bytes=FILE_LIMIT_BYTES)
        except FileNotFoundError:
            data = b""
        if hashlib.sha256(data).hexdigest() != read[image.filename].sha256:
            raise FacesetError(f"{folder.aligned / image.filename} changed while it was packed; nothing was changed")
        yield data


def _pack_again(folder: FacesetFolder, *, keep: bool) -> Packed:
    """Go on behind a faceset.pak that is there: every loose face must stand in it, byte for byte."""
    images, read, left = _described(folder)
    try:
        with opened_pack(folder.pack) as (packed, view):
            known = {one.filename: hashlib.sha256(view[one.start : one.end]).hexdigest() for one in packed}
            size, face_bytes = len(view), sum(one.size_bytes for one in packed)
    except FormatError as problem:
        raise FacesetError(f"{folder.pack} is there already and cannot be read: {problem.message}") from problem
    except OSError as problem:
        raise FacesetError(f"{folder.pack} cannot be read: {problem.strerror}") from problem
    others = [image.filename for image in images if known.get(image.filename) != read[image.filename].sha256]
    if others:
        raise PackedFacesetError(
            f"{folder.pack} is there already, and {len(others)} faces beside it are not in it: {_named(others)}; "
            "nothing was changed",
            hint=f"dfld unpack {folder.aligned}, then pack again",
        )
    if not keep:
        left += _remove_loose(folder, read)
    return Packed(len(packed), size, face_bytes, left)


def _remove_loose(folder: FacesetFolder, read: Mapping[str, _ReadFile]) -> tuple[UnreadableFace, ...]:
    """Remove the packed faces that still are what was read; return the others: a person draws polygons, for one."""
    left: list[UnreadableFace] = []
    with as_output_error("remove packed faces of", folder.aligned):
        for name, was in read.items():
            path = folder.aligned / name
            try:
                if _state(path.lstat()) == was.state:
                    path.unlink()
                else:
                    left.append(UnreadableFace(name, "changed while it was packed; the faceset.pak holds it as it was"))
            except FileNotFoundError:
                continue
        sync_folder(folder.aligned)
    return tuple(left)


def _require_distinct(folder: FacesetFolder, images: tuple[PackedImage, ...]) -> None:
    twice = [str(path.name) for path, count in Counter(_place(folder, one) for one in images).items() if count > 1]
    if twice:
        raise FacesetError(f"{folder.pack} holds several faces of one name: {_named(twice)}; nothing was changed")


def _require_free(folder: FacesetFolder, images: tuple[PackedImage, ...], view: memoryview) -> None:
    """Raise FacesetError where another file has the name of a face."""
    taken = [
        str(path.relative_to(folder.aligned))
        for image in images
        if os.path.lexists(path := _place(folder, image)) and not _holds(path, view[image.start : image.end])
    ]
    if taken:
        raise FacesetError(
            f"{folder.aligned} holds other files of the names of {len(taken)} packed faces: {_named(taken)}; "
            "nothing was changed",
            hint="DeepFaceLab reads those of the faceset.pak; move the others away, or the faceset.pak",
        )


def _write_face(folder: FacesetFolder, image: PackedImage, view: memoryview) -> None:
    path = _place(folder, image)
    if os.path.lexists(path):  # an earlier try wrote it, or a person just now
        if not _holds(path, view[image.start : image.end]):
            raise FacesetError(f"{path} was written by another program meanwhile; {folder.pack.name} stays")
        return
    with as_output_error("write", path):
        make_folder(path.parent)
        replace_file(path, bytes(view[image.start : image.end]))


def _place(folder: FacesetFolder, image: PackedImage) -> Path:
    """Return where a packed face goes; dfl.faceset has seen to it that both names are plain."""
    return folder.aligned / (image.person_name or "") / image.filename


def _holds(path: Path, content: memoryview) -> bool:
    try:
        return read_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES) == content
    except RefusedFileError:
        return False


def _named(names: list[str]) -> str:
    more = len(names) - NAMED_MAX
    return ", ".join(names[:NAMED_MAX]) + (f" and {more} more" if more > 0 else "")
