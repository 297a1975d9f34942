"""The pictures and facesets of a workspace: finding them, and asking each which face it shows.

Nothing in them is trusted, nothing is changed. What the answers mean is the business of those who ask.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

from core.files import TEMPORARY_SUFFIX
from core.opening import open_regular, sha256_of
from dfl.errors import FormatError
from dfl.image import read_fields, read_metadata
from dfl.jpeg import FILE_LIMIT_BYTES
from engine.facesets.pack_file import opened_pack
from engine.masks.write_mask import NOTE_KEY, note_in, owner_in, without_own_mask
from engine.results.manifest_lines import WrittenFile
from engine.same_face import FaceTrace, trace_of_jpeg

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")
PACK_ENDING = ".pak"
METADATA_WITHIN_BYTES = 1 << 20
"""DeepFaceLab's metadata stands before the picture itself, behind at most a few segments of 64 KiB."""
METADATA_MARKER = b"\xff\xef"


def face_files(
    root: Path, skip: Callable[[Path], bool] = lambda _: False, *, with_leftovers: bool = False
) -> Iterator[Path]:
    """Yield every picture and pack below `root`, in a fixed order, links not followed.

    `with_leftovers`: also what a kill left half written, under whatever name (core.files.temporary_name).
    """
    endings = (*PICTURE_ENDINGS, PACK_ENDING, *([TEMPORARY_SUFFIX] if with_leftovers else []))
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in endings and not skip(path):
                yield path


def is_pack(path: Path) -> bool:
    """Say whether a file is named as a faceset."""
    return path.suffix.lower() == PACK_ENDING


def trace_in(path: Path) -> FaceTrace | None:
    """Return which face an aligned JPEG shows; None where it does not say so, or cannot be read."""
    data = _jpeg_with_metadata(path)
    return None if data is None else trace_of_jpeg(data)


def traces_in_pack(path: Path) -> list[FaceTrace | None]:
    """Return which face each image of a faceset.pak shows. Raise FormatError or OSError when it cannot be read."""
    with opened_pack(path) as (images, view):
        return [trace_of_jpeg(bytes(view[one.start : one.end])) for one in images]


def is_as_written(path: Path, written: WrittenFile) -> bool:
    """Say whether a file is what dfld wrote: by size and time, else by its bytes. A link is not. A face that dfld has
    masked since is."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(found.st_mode):
        return False
    if not written.sha256:  # known from a log alone: by time, and by what a person adds to a face
        return found.st_mtime_ns <= written.mtime_ns and not _has_labels(path)
    if found.st_size != written.size:
        return _hash_without_own_mask(path) == written.sha256
    return found.st_mtime_ns == written.mtime_ns or hash_or_nothing(path) == written.sha256


def is_own_mask_picture(mask: Path, face: Path) -> bool:
    """Say whether a file of masks/ shows the mask that dfld has put into its face since both were written."""
    data = _jpeg_with_metadata(face)
    if data is None:
        return False
    try:
        fields = read_fields(data)
    except FormatError:
        return False
    note = note_in(fields) if owner_in(fields) == "dfld" else None
    return note is not None and hash_or_nothing(mask) in note.pictures


def hash_or_nothing(path: Path) -> str:
    """Return the hash of a file; "" for what is no regular file or has gone."""
    try:
        return sha256_of(path, follow_links=False)
    except OSError:
        return ""


def _hash_without_own_mask(path: Path) -> str:
    """Return the hash of a face as it was before dfld masked it; "" for one that it has not masked."""
    data = _jpeg_with_metadata(path)
    if data is None or NOTE_KEY.encode() not in data:
        return ""
    return hashlib.sha256(without_own_mask(data)).hexdigest()


def _jpeg_with_metadata(path: Path) -> bytes | None:
    """Read a JPEG that may have metadata; None where it has none, so that whole folders are gone through quickly."""
    if path.suffix.lower() not in (".jpg", ".jpeg", TEMPORARY_SUFFIX):
        return None
    try:
        with open_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES) as file:
            head = file.read(METADATA_WITHIN_BYTES)
            return None if METADATA_MARKER not in head else head + file.readall()
    except OSError:
        return None


def _has_labels(path: Path) -> bool:
    """Say whether somebody gave a face polygons or a mask: dfld writes neither into it."""
    data = _jpeg_with_metadata(path)
    if data is None:
        return False
    try:
        metadata = read_metadata(data)
    except FormatError:
        return False
    return bool(metadata.seg_ie_polys) or metadata.xseg_mask is not None
