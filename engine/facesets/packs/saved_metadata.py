"""The metadata of a faceset, saved in DeepFaceLab's meta.dat and restored from it.

Between the two, programs may take metadata out of images, or change their size (upscalers, restorers of faces). What is
restored is the image's own: one is found by the face id that was saved, else by its name, followed through what dfld
renamed since; one that says that it is from another frame is left. Polygons that a person drew since are left, too.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import cv2
import numpy as np

from core.files import replace_file, sync_folder
from core.opening import read_regular
from dfl.errors import FormatError
from dfl.image import METADATA_PROTOCOL, AlignedMetadata, MaskPolygon, metadata_of_fields, read_fields, read_metadata
from dfl.jpeg import FILE_LIMIT_BYTES, read_size, with_app15
from dfl.metadata_copy import (
    COPY_LIMIT_BYTES,
    SIDE_LIMIT_PX,
    SavedMetadata,
    read_metadata_copy,
    saved_metadata,
    write_metadata_copy,
)
from dfl.pickles.dumping import dump_for_dfl
from engine.errors import FacesetError
from engine.facesets.changing.free_faceset import Waiting, sole_user_when_free
from engine.facesets.changing.rename_journal import Batch, append_lines, line_of_copy, read_copies, read_journal
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.face_listing import UnreadableFace, picture_names
from engine.facesets.faceset_folder import FacesetFolder
from engine.pictures.face_pixels import face_pixels
from engine.workspace.output_files import as_output_error

RESIZED_QUALITY = 100
"""Of a JPEG that has to be resized to the saved size, as DeepFaceLab has it."""


@dataclass(frozen=True)
class Saved:
    """What saving did."""

    faces: int
    left: tuple[UnreadableFace, ...]
    """Pictures without metadata of DeepFaceLab."""


@dataclass
class Restored:
    """What restoring did."""

    restored: int = 0
    """Faces that have other metadata now."""
    unchanged: int = 0
    resized: int = 0
    """Of the restored."""
    left: list[UnreadableFace] = field(default_factory=list)
    """Faces that were saved and not restored, by the name that they had then."""


def save_metadata(folder: FacesetFolder) -> Saved:
    """Write the metadata of all faces of `aligned/` into its meta.dat, over one that is there. Raise FacesetError where
    there is no face, OutputError where the disk refuses."""
    with sole_user(folder):
        found: dict[str, SavedMetadata] = {}
        left: list[UnreadableFace] = []
        for name in picture_names(folder):
            try:
                data = read_regular(folder.aligned / name, within=None, max_bytes=FILE_LIMIT_BYTES)
                fields = read_fields(data)
                width, height = read_size(data)
                found[name] = saved_metadata(name, ((height, width, 3), fields))
            except FormatError as problem:
                left.append(UnreadableFace(name, problem.message))
            except OSError as problem:
                left.append(UnreadableFace(name, problem.strerror or str(problem)))
        if not found:
            raise FacesetError(f"{folder.aligned} holds no face whose metadata could be saved")
        content = write_metadata_copy(found)
        behind = max((batch.number for batch in read_journal(folder)), default=0)
        append_lines(folder, [line_of_copy(hashlib.sha256(content).hexdigest(), behind)])
        with as_output_error("write", folder.metadata_copy):
            replace_file(folder.metadata_copy, content, check=_require_readable)
            sync_folder(folder.aligned)
        return Saved(len(found), tuple(left))


def restore_metadata(folder: FacesetFolder, *, replace_theirs: bool, waiting: Waiting | None = None) -> Restored:
    """Give every face of `aligned/` the metadata that its meta.dat holds of it; pixels stay as they are, but of an
    image that has another size than it had.

    `replace_theirs`: also where polygons would be lost that a person drew since. A kill leaves each face with its old
    or its saved metadata; doing it again ends the same. Raise FacesetError, with nothing changed, where there is no
    readable meta.dat; OutputError where the disk refuses.
    """
    with sole_user_when_free(folder, waiting):
        saved, since = _read_copy(folder)
        done = Restored()
        places = _Places(folder, since)
        for name, one in saved.items():
            path = places.of(name, metadata_of_fields(one.fields))
            if path is None:
                done.left.append(UnreadableFace(name, "is not there"))
                continue
            try:
                data = read_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES)
                restored = _restored(data, one, replace_theirs=replace_theirs)
            except (FormatError, FacesetError) as problem:
                done.left.append(UnreadableFace(name, problem.message))
                continue
            except OSError as problem:
                done.left.append(UnreadableFace(name, problem.strerror or str(problem)))
                continue
            if restored == data:
                done.unchanged += 1
                continue
            with as_output_error("write", path):
                replace_file(path, restored)
            done.restored += 1
            done.resized += read_size(restored) != read_size(data)
        with as_output_error("sync", folder.aligned):
            sync_folder(folder.aligned)
        return done


class _Places:
    """Where the faces that were saved are by now."""

    def __init__(self, folder: FacesetFolder, since: Sequence[Batch]) -> None:
        self._folder = folder
        self._since = since
        self._known: dict[str, AlignedMetadata | None] = {}
        ids = {name: metadata.dfld_face_id for name in picture_names(folder) if (metadata := self._metadata(name))}
        counts = Counter(ids.values())
        self._by_id = {face_id: name for name, face_id in ids.items() if face_id and counts[face_id] == 1}

    def of(self, name: str, saved: AlignedMetadata) -> Path | None:
        """Return where the face is that was saved under `name`; None where it is nowhere, or nothing says which it
        is."""
        if saved.dfld_face_id in self._by_id:
            return self._folder.aligned / self._by_id[saved.dfld_face_id]
        aligned = self._folder.aligned.name
        place = PurePosixPath(_followed(f"{aligned}/{name}", self._since))
        path = self._folder.aligned / place.name
        if str(place.parent) != aligned or not os.path.lexists(path):
            return None
        found = self._metadata(place.name)
        if found is None:  # that is why it is restored
            return path
        is_another = found.dfld_face_id is not None and saved.dfld_face_id not in (None, found.dfld_face_id)
        return None if is_another or found.source_filename not in (None, saved.source_filename) else path

    def _metadata(self, name: str) -> AlignedMetadata | None:
        if name not in self._known:
            path = self._folder.aligned / name
            try:
                self._known[name] = read_metadata(read_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES))
            except (FormatError, OSError):
                self._known[name] = None
        return self._known[name]


def _followed(place: str, batches: Sequence[Batch]) -> str:
    for batch in batches:
        place = batch.places.get(place, place)
    return place


def note_shortened_copy(folder: FacesetFolder, before: bytes, after: bytes) -> None:
    """Have the journal know a meta.dat that is written again with less in it. Raise OutputError."""
    behind = read_copies(folder).get(hashlib.sha256(before).hexdigest())
    if behind is not None:
        append_lines(folder, [line_of_copy(hashlib.sha256(after).hexdigest(), behind)])


def _read_copy(folder: FacesetFolder) -> tuple[Mapping[str, SavedMetadata], Sequence[Batch]]:
    """Return what a meta.dat holds, and the batches of renames since it was made: as the journal knows it, else, for
    one of DeepFaceLab's, by time, which not every copy of a folder keeps."""
    path = folder.metadata_copy
    try:
        data = read_regular(path, within=None, max_bytes=COPY_LIMIT_BYTES)
        saved, made_at = read_metadata_copy(data), datetime.fromtimestamp(path.stat().st_mtime, UTC)
        behind = read_copies(folder).get(hashlib.sha256(data).hexdigest())
        return saved, [
            batch for batch in read_journal(folder) if (batch.at > made_at if behind is None else batch.number > behind)
        ]
    except FormatError as problem:
        raise FacesetError(f"{path} cannot be read: {problem.message}; nothing was changed") from problem
    except FileNotFoundError as problem:
        raise FacesetError(
            f"{folder.aligned} holds no {path.name}", hint=f"dfld meta save {folder.aligned}"
        ) from problem
    except OSError as problem:
        raise FacesetError(f"{path} cannot be read: {problem.strerror}") from problem


def _restored(data: bytes, saved: SavedMetadata, *, replace_theirs: bool) -> bytes:
    """Return a JPEG with its saved metadata, and of its saved size. Raise FormatError where that cannot be,
    FacesetError where it would cost a person's polygons."""
    wanted = metadata_of_fields(saved.fields)
    try:
        now = read_metadata(data).seg_ie_polys
    except FormatError:  # that is why it is restored
        now = ()
    if now and not replace_theirs and not _are_same(now, wanted.seg_ie_polys):
        raise FacesetError("has polygons that were drawn since; --replace-theirs gives them up")
    height, width, _ = saved.shape
    if read_size(data) != (width, height):
        data = _resized(data, width, height)
    return with_app15(data, dump_for_dfl(dict(saved.fields), protocol=METADATA_PROTOCOL))


def _are_same(one: Sequence[MaskPolygon], other: Sequence[MaskPolygon]) -> bool:
    return len(one) == len(other) and all(
        a.include == b.include and np.array_equal(a.points, b.points) for a, b in zip(one, other, strict=True)
    )


def _resized(data: bytes, width: int, height: int) -> bytes:
    resized = cv2.resize(
        face_pixels(data, side_max_px=SIDE_LIMIT_PX), (width, height), interpolation=cv2.INTER_LANCZOS4
    )
    encoded, buffer = cv2.imencode(".jpg", resized, [cv2.IMWRITE_JPEG_QUALITY, RESIZED_QUALITY])
    if not encoded:
        raise FormatError(f"OpenCV could not encode a picture of {width}x{height} px as JPEG")
    return buffer.tobytes()


def _require_readable(temporary: Path) -> None:
    """Raise FacesetError where what was written could not be restored."""
    try:
        read_metadata_copy(read_regular(temporary, within=None, max_bytes=COPY_LIMIT_BYTES))
    except (FormatError, OSError) as problem:
        raise FacesetError(f"the metadata of these faces does not fit in one meta.dat: {problem}") from problem
