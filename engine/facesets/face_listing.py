"""Every face of a faceset, in the order in which DeepFaceLab reads them, with its metadata and id.

Each file is read whole, and one that DeepFaceLab would not read is named with the reason instead. What is kept of a
face takes about 5 KB, so 10 000 faces take some 50 MB: pictures and masks are read again by who needs them.

The id of a face is its `dfld_face_id`. One that has none, because DeepFaceLab or an older dfld extracted it, has

    hex(SHA-256("dfld-pixels-1" ‖ the JPEG without its APP15)[:16])

which a rename, a mask, polygons and every other change of the metadata leave as it is. Copies of one file have one id:
within a faceset the name distinguishes faces.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection
from dataclasses import dataclass, replace
from pathlib import Path

from core.opening import open_regular
from dfl.errors import FormatError
from dfl.image import AlignedMetadata, read_metadata
from dfl.jpeg import FILE_LIMIT_BYTES, read_size, without_app15
from engine.errors import FacesetError
from engine.face_id import ID_BYTES
from engine.facesets.faceset_folder import FacesetFolder

PIXELS_RECIPE = b"dfld-pixels-1"
PICTURE_ENDINGS = (".jpg", ".jpeg", ".png", ".tif", ".tiff")
"""What DeepFaceLab lists as pictures, in any case; it reads faces from `.jpg` alone, in small letters."""


@dataclass(frozen=True, eq=False)
class ListedFace:
    """One face file, as it was when it was read."""

    name: str
    """Of the file; no folder."""
    face_id: str
    """32 hexadecimal digits; see above."""
    size_bytes: int
    mtime_ns: int
    width_px: int
    height_px: int
    metadata: AlignedMetadata
    """Without the mask (`has_xseg_mask`), which takes more than all the rest."""
    has_xseg_mask: bool


@dataclass(frozen=True)
class UnreadableFace:
    """A picture in the folder that DeepFaceLab would not read as a face."""

    name: str
    why: str
    """The rest of a sentence that begins with the name."""


@dataclass(frozen=True)
class FaceListing:
    """What lies in a folder of aligned faces."""

    faces: tuple[ListedFace, ...]
    """Sorted by name as DeepFaceLab sorts: by code points."""
    unreadable: tuple[UnreadableFace, ...]


def list_faces(folder: FacesetFolder) -> FaceListing:
    """Read every face of `aligned/`. Raise FacesetError where the folder itself cannot be read."""
    faces: list[ListedFace] = []
    unreadable: list[UnreadableFace] = []
    for name in picture_names(folder):
        found = read_face(folder.aligned / name)
        if isinstance(found, ListedFace):
            faces.append(found)
        else:
            unreadable.append(found)
    return FaceListing(tuple(faces), tuple(unreadable))


def read_face(path: Path) -> ListedFace | UnreadableFace:
    """Read one face, or say why DeepFaceLab would not."""
    if path.suffix != ".jpg":
        return UnreadableFace(path.name, "is not called .jpg, and DeepFaceLab reads nothing else")
    try:
        with open_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES) as file:
            status = os.fstat(file.fileno())
            data = file.readall()
        metadata = read_metadata(data)
        width, height = read_size(data)
    except FormatError as problem:
        return UnreadableFace(path.name, problem.message)
    except OSError as problem:
        return UnreadableFace(path.name, problem.strerror or str(problem))
    face_id = metadata.dfld_face_id or pixels_id(data)
    has_mask = metadata.xseg_mask is not None
    kept = replace(metadata, xseg_mask=None)
    return ListedFace(path.name, face_id, status.st_size, status.st_mtime_ns, width, height, kept, has_mask)


def face_id_of(path: Path) -> str:
    """Return the id of the face in a file; "" where DeepFaceLab would read none."""
    found = read_face(path)
    return found.face_id if isinstance(found, ListedFace) else ""


def is_another(face: ListedFace, face_id: str, others: Collection[str]) -> bool:
    """Say whether a face is another one than that known by `face_id`, "" for unknown. An id of pixels changes with
    them: a face that has such a one is another where `others`, ids of known faces, name it."""
    is_sure = face.metadata.dfld_face_id is not None or face.face_id in others
    return is_sure and face_id not in ("", face.face_id)


def pixels_id(data: bytes) -> str:
    """Return the id of a face whose metadata has none, of the bytes of its JPEG. Raise FormatError for no JPEG."""
    return hashlib.sha256(PIXELS_RECIPE + without_app15(data)).digest()[:ID_BYTES].hex()


def picture_names(folder: FacesetFolder) -> list[str]:
    """Return the names of all that DeepFaceLab lists as pictures in `aligned/`, in its order. Raise FacesetError where
    the folder cannot be read."""
    try:
        with os.scandir(folder.aligned) as entries:
            names = [entry.name for entry in entries]
    except OSError as problem:
        raise FacesetError(f"cannot list the faces of {folder.aligned}: {problem.strerror}") from problem
    return [name for name in sorted(names) if name.lower().endswith(PICTURE_ENDINGS)]
