"""In which order faces are sorted, and what they are called then. Pure.

A sorted face is called by its place, `00017.jpg`, as DeepFaceLab's sorter calls it: five digits or as many as the set
needs, so that names sort alike in DeepFaceLab and in every file manager.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from itertools import count
from pathlib import Path, PurePath
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.files import numbered
from dfl.errors import FormatError
from dfl.geometry import head_pose
from dfl.hull import hull_mask
from dfl.xseg_mask import FACE_FROM, decode_xseg_mask
from engine.facesets.face_listing import ListedFace
from engine.workspace.file_names import prefix_of_face

Order = Literal["sharpness", "light", "identity", "upscale", "yaw", "pitch", "time", "mask"]
DIGITS_MIN = 5
FRAME_BYTES_MAX = 200
"""Of the name of a frame: leaves room for the number and the ending."""
Value = tuple[object, ...]
_DIGITS = re.compile(r"(\d+)")


def upscale_of(face: ListedFace) -> float | None:
    """Return how many times larger a face is in its aligned image than in the frame: the scale of the matrix that cut
    it out. None where the face has no matrix."""
    mat = face.metadata.image_to_face_mat
    return None if mat is None else math.sqrt(abs(float(np.linalg.det(mat[:, :2]))))


def mask_ratio(face: ListedFace, xseg_mask: bytes) -> float:
    """Return the area of a face's stored mask over that of the hull of its landmarks. Raise FormatError for a mask that
    cannot be decoded."""
    metadata = face.metadata
    mask = decode_xseg_mask(xseg_mask) >= FACE_FROM
    # The hull is drawn at the size of the mask: a picture may announce any.
    scale = np.array(mask.shape[::-1]) / (max(face.width_px, 1), max(face.height_px, 1))
    landmarks = metadata.landmarks * scale
    height_px, width_px = mask.shape
    hull = hull_mask(height_px, width_px, landmarks, eyebrows_expand_mod=metadata.eyebrows_expand_mod)
    return float(mask.mean()) / max(float((hull > 0).mean()), 1 / hull.size)


def similarity_to_most(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Given (N, D) embeddings of one recogniser, return (N,) how alike each is to what most of them show: the cosine
    with the mean of the half that is nearest to the mean of all, so that some strangers move nothing."""
    unit = embeddings / np.maximum(np.linalg.norm(embeddings, axis=1, keepdims=True), np.float32(1e-12))
    to_all = unit @ unit.mean(axis=0)
    middle = unit[to_all >= np.median(to_all)].mean(axis=0)
    return np.asarray(unit @ (middle / max(float(np.linalg.norm(middle)), 1e-12)), np.float32)


def sorted_faces(
    faces: Sequence[ListedFace], by: Order, first_names: Mapping[str, str], measured: Mapping[str, float]
) -> list[ListedFace]:
    """Return faces in the order of a key; those that have no value for it last, equal ones by name.

    yaw and pitch: the angle as DeepFaceLab measures it, largest first. upscale: the least enlarged first. time: by
    clip, frame and face; `first_names`: what a face was called before it was sorted, by its name. sharpness, light,
    identity and mask: the smallest of `measured` first, which holds a value by the name of a face.
    """

    def value_of(face: ListedFace) -> Value | None:
        if by == "time":
            return _time_of(face, first_names.get(face.name, face.name))
        value = _MEASURES[by](face) if by in _MEASURES else measured.get(face.name)
        return None if value is None else (value,)

    found = [(value_of(face), face.name, face) for face in faces]
    known = sorted(((value, name, face) for value, name, face in found if value is not None), key=lambda one: one[:2])
    unknown = sorted(((name, face) for value, name, face in found if value is None), key=lambda one: one[0])
    return [face for _, _, face in known] + [face for _, face in unknown]


def names_by_place(faces: int, taken_stems: Collection[str]) -> list[str]:
    """Return the names of `faces` sorted faces; numbers that another file has are left out."""
    names: list[str] = []
    digits = max(DIGITS_MIN, len(str(faces + len(taken_stems))))
    number = 0
    while len(names) < faces:
        stem = f"{number:0{digits}d}"
        if stem not in taken_stems:
            names.append(f"{stem}.jpg")
        number += 1
    return names


def names_of_origin(
    faces: Sequence[ListedFace], first_names: Mapping[str, str], taken_stems: Collection[str]
) -> dict[str, str]:
    """Return what each face was called before it was sorted, by its name now.

    One that nothing says it of is called after its frame, as DeepFaceLab calls it: `<frame>_<number>.jpg`; one whose
    metadata names no frame keeps its name. A name that is taken gets a number more.
    """
    taken = set(taken_stems)
    found: dict[str, str] = {}

    def give(name: str, candidates: Iterable[str]) -> None:
        found[name] = next(one for one in candidates if PurePath(one).stem not in taken)
        taken.add(PurePath(found[name]).stem)

    for name, first in first_names.items():
        give(name, (path.name for path in numbered(Path(first))))
    for face in faces:
        if face.name not in first_names:
            frame = _frame_of(face)
            is_named = not frame or re.fullmatch(rf"(.*-)?{re.escape(frame)}_\d+\.jpg", face.name) is not None
            own = (path.name for path in numbered(Path(face.name)))
            give(face.name, own if is_named else (f"{frame}_{number}.jpg" for number in count()))
    return found


def _frame_of(face: ListedFace) -> str:
    """Return the name of the frame that a face is from, without its ending; "" where none can be part of a name."""
    text = face.metadata.source_filename or ""
    frame = PurePath(text.replace("\\", "/")).stem
    return "" if "\0" in text or len(os.fsencode(frame)) > FRAME_BYTES_MAX else frame


def _downwards_yaw(face: ListedFace) -> float | None:
    pose = _pose(face)
    return None if pose is None else -pose[1]


def _downwards_pitch(face: ListedFace) -> float | None:
    pose = _pose(face)
    return None if pose is None else -pose[0]


def _pose(face: ListedFace) -> tuple[float, float] | None:
    """Return (pitch, yaw) in radians."""
    try:
        pitch, yaw, _ = head_pose(face.metadata.landmarks, face.width_px)
    except FormatError:
        return None
    return pitch, yaw


def _time_of(face: ListedFace, first: str) -> Value:
    return prefix_of_face(first) or "", _natural(_frame_of(face) or first), _natural(first)


def _natural(text: str) -> tuple[float | str, ...]:
    """Return a text as a key that sorts numbers by value; text and numbers alternate, so that any two compare."""
    return tuple(float(part) if index % 2 else part for index, part in enumerate(_DIGITS.split(text)))


_MEASURES: Mapping[str, Callable[[ListedFace], float | None]] = MappingProxyType(
    {"upscale": upscale_of, "yaw": _downwards_yaw, "pitch": _downwards_pitch}
)
