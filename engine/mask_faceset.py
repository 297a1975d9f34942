"""Masks for the faces of a faceset: each face read, its mask chosen, judged and put into its JPEG.

    faces in DeepFaceLab's order → whose mask is there? → the same work done before? → sources → checks → the JPEG with
    the mask, whole, in the place of the old one → its picture in masks/

A mask that dfld did not write is a person's and stays. A kill leaves each file as it was or as it should be, and the
next run goes on: what was masked by the same sources is known by `made_of` (engine.masks.write_mask) and costs a read.
"""

from __future__ import annotations

import hashlib
import math
import os
import re
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from core.files import replace_file, sync_folder, temporary_name
from core.opening import open_regular, read_regular
from dfl.errors import FormatError
from dfl.geometry import head_pose
from dfl.image import AlignedMetadata, metadata_of_fields, read_fields
from dfl.jpeg import FILE_LIMIT_BYTES, read_size, without_app15
from dfl.xseg_mask import FACE_FROM, decode_xseg_mask
from engine.errors import EngineError
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.face_listing import picture_names
from engine.facesets.faceset_folder import FacesetFolder
from engine.masks.checks import MaskCheck, check_mask, failed
from engine.masks.choose import MaskMode, MaskSources, choose_mask
from engine.masks.flicker import Flicker, PlacedMask, flickering
from engine.masks.hull import HullMasks
from engine.masks.source import FaceToMask, NoMask, PredictedMask
from engine.masks.write_mask import (
    MaskNote,
    mask_picture,
    note_in,
    owner_in,
    picture_shows,
    stored_mask,
    with_mask,
)
from engine.pictures.face_pixels import LARGEST_SIDE_PX, face_pixels
from engine.workspace.file_names import prefix_of_face
from engine.workspace.output_files import as_output_error

MASKS_REVISION = 1
"""Raised when the same sources are to make other masks of the same faces."""
AREA = "area"
"""The check that measures a mask's area over that of the hull."""

Outcome = Literal["masked", "as before", "a person's", "no mask", "unreadable", "changed meanwhile"]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
OnProgress = Callable[[int, int], None]
"""Called with the faces that are done and all of them."""


@dataclass(frozen=True)
class MaskRequest:
    """What is asked for."""

    mode: MaskMode
    sources: MaskSources
    made_by: str
    """What decides the masks beside mode and faces: weights by hash, crops, classes. Another text, and every face is
    masked anew."""
    replace_theirs: bool = False
    """Masks of a person are replaced, too."""
    only_check: bool = False
    """Masks are made, judged and reported; nothing is written."""


@dataclass(frozen=True)
class MaskedFace:
    """What became of one face."""

    name: str
    outcome: Outcome
    source: str = ""
    """Whose mask it has now; "" where it has none of dfld's."""
    why: str = ""
    """The rest of a sentence that begins with the face; "" where nothing is to be said."""
    refused: tuple[NoMask, ...] = ()
    """Sources that were asked and not taken, with the reason."""
    checks: tuple[MaskCheck, ...] = ()
    """Of its mask, as far as it was judged now."""
    picture_left: bool = False
    """What lies in masks/ under its name is a person's, and was left as it is."""
    placed: PlacedMask | None = None
    """Its predicted mask, and where the face is in the footage; None where nothing says that."""


@dataclass(frozen=True)
class MaskReport:
    """What became of a faceset."""

    folder: FacesetFolder
    faces: tuple[MaskedFace, ...]
    """Every face that was come to, in their order."""
    total: int
    """Pictures in the folder."""

    @property
    def completed(self) -> bool:
        """Say whether every face was come to."""
        return len(self.faces) == self.total

    @cached_property
    def outcomes(self) -> Counter[Outcome]:
        return Counter(one.outcome for one in self.faces)

    @cached_property
    def flickering(self) -> Mapping[str, Flicker]:
        """The faces whose masks jump from those of the frames beside them, by name: for a person to look at."""
        return flickering([one.placed for one in self.faces if one.placed is not None])

    @cached_property
    def sources(self) -> Counter[str]:
        """How many faces have their mask from each source."""
        return Counter(one.source for one in self.faces if one.source)


class _ChangedMeanwhileError(EngineError):
    """A file is not the one any more that was read."""


@dataclass(frozen=True, eq=False)
class _ReadFace:
    """One face file, as it was read."""

    path: Path
    data: bytes
    status: os.stat_result
    fields: Mapping[str, object]
    metadata: AlignedMetadata


def mask_faceset(
    folder: FacesetFolder, request: MaskRequest, *, stop: threading.Event, on_progress: OnProgress
) -> MaskReport:
    """Give every face of `aligned/` its mask, one after the other, until `stop` is set.

    Raise SettingsError where the mode needs a source that is not there, ModelError for weights that cannot be run,
    FacesetError where another program works on the faceset, OutputError where the disk refuses.
    """
    request.sources.require(request.mode)
    with nullcontext() if request.only_check else sole_user(folder):
        paths = [folder.aligned / name for name in picture_names(folder)]
        faces = mask_files(folder, paths, request, stop=stop, on_progress=on_progress)
        return MaskReport(folder, faces, len(paths))


def mask_files(
    folder: FacesetFolder,
    paths: Sequence[Path],
    request: MaskRequest,
    *,
    stop: threading.Event,
    on_progress: OnProgress,
) -> tuple[MaskedFace, ...]:
    """Give these files their masks, one after the other, until `stop` is set; return those that were come to.

    They lie in folders of the faceset, which the caller holds (engine.facesets.changing.sole_user) unless nothing is
    written. What was written is on disk when this returns. Raise as `mask_faceset`.
    """
    if not request.only_check:
        _remove_leftovers(folder, paths)
    faces: list[MaskedFace] = []
    try:
        for path in paths:
            if stop.is_set():
                break
            faces.append(_masked(folder, path, request))
            on_progress(len(faces), len(paths))
    finally:
        if not request.only_check:
            _sync(folder, paths)
    return tuple(faces)


def _masked(folder: FacesetFolder, path: Path, request: MaskRequest) -> MaskedFace:
    name = path.name
    try:
        face = _read(path)
        owner = owner_in(face.fields)
        if owner == "person" and not request.replace_theirs:
            return _of_person(face, request)
        note = note_in(face.fields) if owner == "dfld" else None
        made_of = _made_of(face, request)
        if note is not None and note.made_of == made_of and _picture_is_fresh(folder.mask_of(name), note, face):
            placed = _placed(face, note.source, note.checks.get(AREA))
            return MaskedFace(name, "as before", note.source, placed=placed)
        to_mask = FaceToMask(_decoded(face.data), face.metadata)
        choice = choose_mask(to_mask, request.mode, request.sources)
    except FormatError as problem:
        return MaskedFace(name, "unreadable", why=problem.message)
    except OSError as problem:
        return MaskedFace(name, "unreadable", why=problem.strerror or str(problem))
    if choice.mask is None:
        reason = "; ".join(f"{one.source}: {one.reason}" for one in choice.refused)
        return MaskedFace(name, "no mask", note.source if note else "", reason, choice.refused)
    area = next((check.measured for check in choice.checks if check.name == AREA), None)
    placed = _placed(face, choice.mask.source, area)
    made = MaskedFace(name, "masked", choice.mask.source, "", choice.refused, choice.checks, placed=placed)
    return made if request.only_check else _written(folder, face, made, choice.mask, made_of)


def _read(path: Path) -> _ReadFace:
    """Read one face. Raise FormatError or OSError where DeepFaceLab would not read it, or it is no square crop."""
    if path.suffix != ".jpg":
        raise FormatError("is not called .jpg, and DeepFaceLab reads nothing else")
    with open_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES) as file:
        status = os.fstat(file.fileno())
        data = file.readall()
    fields = read_fields(data)
    return _ReadFace(path, data, status, fields, metadata_of_fields(fields))


def _decoded(data: bytes) -> NDArray[np.uint8]:
    """Return the pixels as DeepFaceLab sees them: three channels, never turned. Raise FormatError."""
    width, height = read_size(data)
    if width != height:
        raise FormatError(f"is {width}x{height} px: only square crops of a face are masked")
    return face_pixels(data)


def _made_of(face: _ReadFace, request: MaskRequest) -> str:
    """Return the hash of all that decides a face's mask: what is asked for, its pixels, and where the face lies."""
    known = face.metadata
    asked = (MASKS_REVISION, request.mode, request.made_by, known.face_type, known.eyebrows_expand_mod)
    digest = hashlib.sha256("\n".join(map(str, asked)).encode())
    for points in (known.landmarks, known.source_landmarks, *(polygon.points for polygon in known.seg_ie_polys)):
        digest.update(b"none" if points is None else len(points).to_bytes(4, "big") + points.tobytes())
    digest.update(bytes(polygon.include for polygon in known.seg_ie_polys))
    digest.update(without_app15(face.data))
    return digest.hexdigest()


def _of_person(face: _ReadFace, request: MaskRequest) -> MaskedFace:
    """Leave a person's mask; where masks are only checked, say what is odd about it."""
    name = face.path.name
    if not request.only_check or face.metadata.xseg_mask is None:
        return MaskedFace(name, "a person's")
    mask = decode_xseg_mask(face.metadata.xseg_mask)
    width, _ = read_size(face.data)
    landmarks = face.metadata.landmarks * (mask.shape[0] / width)
    expand = face.metadata.eyebrows_expand_mod
    checks = (
        check_mask(mask >= FACE_FROM, landmarks, eyebrows_expand_mod=expand) if mask.shape[0] == mask.shape[1] else ()
    )
    problem = failed(checks)
    return MaskedFace(name, "a person's", why=problem.sentence if problem else "", checks=checks)


def _written(folder: FacesetFolder, face: _ReadFace, made: MaskedFace, mask: PredictedMask, made_of: str) -> MaskedFace:
    """Write the JPEG with its mask, then the picture in masks/, where there is one and it is dfld's."""
    place, picture = folder.mask_of(made.name), mask_picture(mask)
    before = _own_picture(place, note_in(face.fields), face)
    stored = stored_mask(mask)
    shown = () if before is None else (_sha256(picture), *((before,) if before != _sha256(picture) else ()))
    note = MaskNote(
        source=mask.source,
        model_sha=mask.model_sha or "",
        threshold=mask.threshold,
        checks={check.name: check.measured for check in made.checks},
        mask_sha256=_sha256(stored),
        made_of=made_of,
        pictures=shown,
    )
    try:
        content = with_mask(face.data, face.fields, stored, note)
        if content != face.data:
            with as_output_error("write", face.path):
                replace_file(face.path, content, check=lambda _: _require_unchanged(face))
    except FormatError as problem:
        return MaskedFace(made.name, "unreadable", why=problem.message)
    except _ChangedMeanwhileError as problem:
        return MaskedFace(made.name, "changed meanwhile", why=problem.message)
    if before is not None and before != _sha256(picture):
        with as_output_error("write", place):
            replace_file(place, picture)
    left = before is None and os.path.lexists(place)
    return replace(made, picture_left=left)


def _placed(face: _ReadFace, source: str, area: float | None) -> PlacedMask | None:
    """Return a mask and where its face is in the footage; None where that is not known, or a person drew the mask.

    The hull's own area is 1. Footage is known by the beginning of the name that an extraction gives.
    """
    known = face.metadata
    area = 1.0 if source == HullMasks.name else area
    frame = re.fullmatch(r"(\d{1,12})(\.\w+)?", known.source_filename or "")
    points = known.source_landmarks
    if area is None or frame is None or points is None:
        return None
    try:
        pitch, yaw, roll = (math.degrees(angle) for angle in head_pose(known.landmarks, read_size(face.data)[0]))
    except FormatError:
        return None
    left, top, right, bottom = (float(one) for one in (*points.min(axis=0), *points.max(axis=0)))
    footage = prefix_of_face(face.path.name) or ""
    return PlacedMask(face.path.name, footage, int(frame[1]), (left, top, right, bottom), area, (yaw, pitch, roll))


def _require_unchanged(face: _ReadFace) -> None:
    """Raise _ChangedMeanwhileError where another program has put something else in the face's place."""
    try:
        now = face.path.lstat()
    except FileNotFoundError:
        raise _ChangedMeanwhileError("it has gone") from None
    was = face.status
    if (now.st_ino, now.st_size, now.st_mtime_ns) != (was.st_ino, was.st_size, was.st_mtime_ns):
        raise _ChangedMeanwhileError("another program wrote it meanwhile; its mask is that of the other")


def _picture_is_fresh(place: Path, note: MaskNote, face: _ReadFace) -> bool:
    """Say whether what lies in masks/ shows the noted mask, or is not dfld's to change."""
    own = _own_picture(place, note, face)
    return own is None or own == (note.pictures or ("",))[0]


def _own_picture(place: Path, note: MaskNote | None, face: _ReadFace) -> str | None:
    """Return the hash of a face's picture in masks/ where dfld wrote it: as its note says, or as the hull that an
    extraction draws. None where there is none, or it is a person's."""
    try:
        data = read_regular(place, within=None, max_bytes=FILE_LIMIT_BYTES)
    except OSError:
        return None
    sha256 = _sha256(data)
    if note is not None and sha256 in note.pictures:
        return sha256
    width, height = read_size(face.data)
    if width != height or not 0 < width <= LARGEST_SIDE_PX:
        return None
    blank = FaceToMask(np.zeros((width, width, 3), np.uint8), face.metadata)
    (hull,) = HullMasks().masks([blank])
    return sha256 if picture_shows(data, hull.is_face) else None


def _remove_leftovers(folder: FacesetFolder, paths: Sequence[Path]) -> None:
    """Remove the temporary files that a kill left beside faces and pictures which have their names."""
    for path in [*paths, *(folder.mask_of(one.name) for one in paths)]:
        leftover = temporary_name(path)
        if os.path.lexists(leftover):
            with as_output_error("remove", leftover):
                leftover.unlink()


def _sync(folder: FacesetFolder, paths: Sequence[Path]) -> None:
    for where in sorted({*(path.parent for path in paths), folder.masks}):
        if where.is_dir():
            with as_output_error("sync", where):
                sync_folder(where)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
