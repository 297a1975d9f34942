"""Sorting a faceset: its faces renamed by a measure, or given back the names that they had before.

Only faces of `aligned/` are renamed. Those that DeepFaceLab would not read stay as they are, and are named.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.opening import read_regular
from dfl.errors import FormatError
from dfl.image import read_metadata
from dfl.jpeg import FILE_LIMIT_BYTES
from engine.backends.backend import Backend
from engine.errors import FacesetError
from engine.faces.warps import five_of_68
from engine.facesets.changing.free_faceset import Waiting, sole_user_when_free
from engine.facesets.changing.rename_journal import first_places, ids_of_places, read_journal
from engine.facesets.changing.renames import CarriedOut, PlannedMove, carry_out, last_batch, undo
from engine.facesets.face_listing import ListedFace, UnreadableFace, is_another, list_faces
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.sort_order import (
    Order,
    mask_ratio,
    names_by_place,
    names_of_origin,
    similarity_to_most,
    sorted_faces,
)
from engine.measure_faceset import measure_faceset
from engine.pictures.face_pixels import face_pixels
from engine.results.manifest import manifest_in, manifest_paths
from engine.types import Face, Image
from engine.workspace.output_files import as_output_error

SortKey = Literal["origname"] | Order
KIND = "sort"
FACES_AT_ONCE = 32
"""Crops that a recogniser is given together."""


@dataclass(frozen=True)
class Sorted:
    """What a sort did."""

    faces: int
    """In `aligned/`."""
    done: CarriedOut
    unreadable: tuple[UnreadableFace, ...]


def sort_faces(
    folder: FacesetFolder, by: SortKey, *, backend: Backend | None = None, waiting: Waiting | None = None
) -> Sorted:
    """Rename the faces of a faceset so that their names sort by a key, or give them their first names back
    (`origname`).

    `backend`: whose recogniser compares faces, for `identity`. `waiting`: for what else works on the faceset. Raise
    FacesetError or OutputError, as engine.facesets.changing.renames does.
    """
    with sole_user_when_free(folder, waiting):
        listing = list_faces(folder)
        names = _first_names(folder, listing.faces)
        taken = _taken_stems(folder, listing.faces)
        if by == "origname":
            new_names = names_of_origin(listing.faces, names, taken)
        else:
            order = sorted_faces(listing.faces, by, names, _measured(folder, listing.faces, by, backend))
            new_names = dict(zip((face.name for face in order), names_by_place(len(order), taken), strict=True))
        moves = [_move(folder, face, new_names[face.name]) for face in listing.faces]
        done = carry_out(folder, moves, journal_kind=KIND, reason=f"by {by}")
        return Sorted(len(listing.faces), done, listing.unreadable)


def undo_sort(folder: FacesetFolder, *, waiting: Waiting | None = None) -> CarriedOut:
    """Take the last sort back that is not undone yet. Raise FacesetError where there is none."""
    with sole_user_when_free(folder, waiting):
        batch = last_batch(folder, KIND)
        if batch is None:
            raise FacesetError(f"{folder.aligned}: no sort of dfld is left to undo")
        return undo(folder, batch)


def _measured(
    folder: FacesetFolder, faces: Sequence[ListedFace], by: Order, backend: Backend | None
) -> Mapping[str, float]:
    """Return what faces are sorted by, by name, the first the smallest, where it needs their pixels: the sharpest come
    first, the brightest, and those who look most like the others. Faces of which it cannot be measured are left out."""
    if by == "identity":
        if backend is None:
            raise FacesetError("sorting by identity needs a backend, whose recogniser compares faces")
        return _differences(folder, faces, backend)
    if by == "mask":
        return _mask_ratios(folder, faces)
    if by not in ("sharpness", "light"):
        return {}
    features = measure_faceset(folder).features
    values = features.sharpness if by == "sharpness" else features.brightness
    return {name: -float(value) for name, value in zip(features.name, values, strict=True) if math.isfinite(value)}


def _differences(folder: FacesetFolder, faces: Sequence[ListedFace], backend: Backend) -> Mapping[str, float]:
    """Return how unlike each face is to what most of them show, by name, as a recogniser sees them."""
    names: list[str] = []
    embeddings: list[NDArray[np.float32]] = []
    for batch in (faces[begin : begin + FACES_AT_ONCE] for begin in range(0, len(faces), FACES_AT_ONCE)):
        crops = [crop for face in batch if (crop := _recognition_crop(folder, face, backend)) is not None]
        names += [name for name, _ in crops]
        embeddings += [backend.embed([crop for _, crop in crops])] if crops else []
    if not names:
        return {}
    alike = similarity_to_most(np.concatenate(embeddings))
    return {name: -float(value) for name, value in zip(names, alike, strict=True)}


def _recognition_crop(folder: FacesetFolder, face: ListedFace, backend: Backend) -> tuple[str, Image] | None:
    """Return the name of a face and what the recogniser reads of it; None where its picture cannot be decoded."""
    try:
        pixels = face_pixels(read_regular(folder.aligned / face.name, within=None, max_bytes=FILE_LIMIT_BYTES))
    except (FormatError, OSError):
        return None
    points = face.metadata.landmarks
    box = np.concatenate([points.min(axis=0), points.max(axis=0)]).astype(np.float32)
    found = Face(box, 1.0, five_of_68(points))
    return face.name, backend.recognition_crop(pixels, found)


def _mask_ratios(folder: FacesetFolder, faces: Sequence[ListedFace]) -> Mapping[str, float]:
    """Return how much of the hull the stored mask of each face covers, by name; without faces that have no mask."""
    found: dict[str, float] = {}
    for face in faces:
        if face.has_xseg_mask:
            with suppress(FormatError, OSError):  # it has no value, and is sorted behind the others
                data = read_regular(folder.aligned / face.name, within=None, max_bytes=FILE_LIMIT_BYTES)
                found[face.name] = mask_ratio(face, read_metadata(data).xseg_mask or b"")
    return found


def _move(folder: FacesetFolder, face: ListedFace, name: str) -> PlannedMove:
    aligned = folder.aligned.name
    return PlannedMove(f"{aligned}/{face.name}", f"{aligned}/{name}", face.face_id)


def _first_names(folder: FacesetFolder, faces: Sequence[ListedFace]) -> Mapping[str, str]:
    """Return what faces were called before they were sorted, by their names now: as the journal of renames says, by
    place or, after a sort of DeepFaceLab, by id, else as the manifests of their clips do. Faces of which neither does
    are left out."""
    aligned, batches = folder.aligned.name, read_journal(folder)
    firsts, id_at = first_places(batches), ids_of_places(batches)
    counts = Counter(id_at.values())
    first_of_id = {id_at[place]: first for place, first in firsts.items() if counts[id_at.get(place, "")] == 1}
    first_of_id.pop("", None)
    ids = _names_by_id(folder)
    found: dict[str, str] = {}
    for face in faces:
        place = f"{aligned}/{face.name}"
        first = firsts.get(place)
        if first is None or is_another(face, id_at.get(place, ""), first_of_id):
            first = first_of_id.get(face.face_id)
        if first is not None:
            found[face.name] = PurePosixPath(first).name
        elif face.metadata.dfld_face_id is not None and face.face_id in ids:
            found[face.name] = ids[face.face_id]
    return found


def _names_by_id(folder: FacesetFolder) -> Mapping[str, str]:
    """Return the name that dfld gave each face which the manifests beside a faceset name, by its id."""
    found: dict[str, str] = {}
    for path in manifest_paths(folder.parent / "debug").values():
        found |= {face.trace.face_id: name for name, face in manifest_in(path).faces.items() if face.trace.face_id}
    return found


def _taken_stems(folder: FacesetFolder, faces: Sequence[ListedFace]) -> frozenset[str]:
    """Return the stems that no sorted face may get: of files beside these faces, and of masks that are not theirs. A
    face that was set aside and a sorted one must not share a mask."""
    own = {folder.aligned / face.name for face in faces}
    own |= {folder.mask_of(face.name) for face in faces}
    found: set[str] = set()
    for where in (*folder.face_folders, folder.masks):
        with as_output_error("list", where):
            paths: Sequence[Path] = list(where.iterdir()) if where.is_dir() else ()
        found |= {path.stem.removesuffix("_mask") for path in paths if path not in own}
    return frozenset(found)
