"""`.dfld/features`: what was measured of the faces of a faceset, so that no face is measured twice.

    one line of JSON   version, revision of the measures, number of faces, SHA-256 of all that follows
    one line of JSON   for each face its file (inode, size, mtime in ns), SHA-256 of its bytes, id and clip
    rows               of engine.facesets.measures.face_measures.ROW, one after the other

A face is known by its file: while inode, size and time are the same, it is not even opened, whatever it is called by
then. One that was copied or touched is known by its bytes; a mask that was written changes them, and it is measured
anew. A cache that is damaged, or of other measures, is none. It holds a coarse picture of each face: `dfld forget`
removes it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from core.opening import read_regular
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.measures.face_measures import ROW
from engine.facesets.state_folder import PRIVATE_FILE, make_state_folder
from engine.workspace.output_files import as_output_error, write_file

CACHE_NAME = "features"
VERSION = 1
MEASURES_REVISION = 3
"""Raised with every change of what engine.facesets.measures makes of a file: older rows are measured anew."""
CACHE_BYTES_MAX = 1 << 30
"""A face takes 720 bytes: a million faces."""

FileKey = tuple[int, int, int]
"""Inode, size, mtime in ns."""


@dataclass(frozen=True, eq=False)
class CachedFace:
    """What is kept of one face."""

    key: FileKey
    sha256: str
    """Of the bytes of its file."""
    face_id: str
    source: str
    row: NDArray[np.void]
    """() of dtype ROW."""


class FeatureCache:
    """The faces that were measured, by their files and by their bytes. Not thread-safe."""

    def __init__(self, faces: Iterable[CachedFace] = ()) -> None:
        self._by_key: dict[FileKey, CachedFace] = {}
        self._by_bytes: dict[str, CachedFace] = {}
        self.has_changed = False
        """There is more, or less, than the file holds."""
        for face in faces:
            self._add(face)

    @classmethod
    def read(cls, folder: FacesetFolder) -> Self:
        """Read the cache of a faceset; an empty one where there is none that can be used. Raise OutputError where it
        lies there and the disk refuses."""
        path = cache_path(folder)
        with as_output_error("read", path):
            try:
                data = read_regular(path, within=None, max_bytes=CACHE_BYTES_MAX)
            except (FileNotFoundError, NotADirectoryError):
                return cls()
        return cls(_faces_in(data))

    def by_file(self, key: FileKey) -> CachedFace | None:
        """Return the face of a file that was not changed since."""
        return self._by_key.get(key)

    def by_bytes(self, sha256: str) -> CachedFace:
        """Return a face whose file had these bytes. Raise KeyError for other bytes than those of `known_bytes`."""
        return self._by_bytes[sha256]

    @property
    def known_bytes(self) -> frozenset[str]:
        """SHA-256 of every file that was measured."""
        return frozenset(self._by_bytes)

    def add(self, face: CachedFace) -> None:
        """Keep a face, in place of what was known of its file."""
        self._add(face)
        self.has_changed = True

    def keep_only(self, keys: Collection[FileKey]) -> None:
        """Give up the faces of all other files: a person deleted them, or they were written anew."""
        if self._by_key.keys() <= set(keys):
            return
        kept = [face for key, face in self._by_key.items() if key in keys]
        self._by_key, self._by_bytes = {}, {}
        for face in kept:
            self._add(face)
        self.has_changed = True

    def write(self, folder: FacesetFolder) -> None:
        """Write all of it, for the owner of the faceset alone. Raise OutputError."""
        path = cache_path(folder)
        with as_output_error("write", path):
            make_state_folder(folder)
        faces = list(self._by_key.values())
        texts = [[*face.key, face.sha256, face.face_id, face.source] for face in faces]
        rows = np.array([face.row for face in faces], ROW) if faces else np.zeros(0, ROW)
        body = json.dumps(texts, separators=(",", ":")).encode("ascii") + b"\n" + rows.tobytes()
        write_file(path, _head(len(faces), body) + body, before_rename=lambda made: made.chmod(PRIVATE_FILE))
        self.has_changed = False

    def _add(self, face: CachedFace) -> None:
        self._by_key[face.key] = face
        self._by_bytes[face.sha256] = face


def cache_path(folder: FacesetFolder) -> Path:
    return folder.state / CACHE_NAME


def _head(count: int, body: bytes) -> bytes:
    head = {
        "version": VERSION,
        "revision": MEASURES_REVISION,
        "faces": count,
        "sha256": hashlib.sha256(body).hexdigest(),
    }
    return json.dumps(head).encode("ascii") + b"\n"


def _faces_in(data: bytes) -> list[CachedFace]:
    """Return the faces of a cache; none of one that is damaged or of other measures."""
    end = data.find(b"\n") + 1
    count = _count_in(data[:end])
    if count is None or data[:end] != _head(count, data[end:]):
        return []
    middle = data.index(b"\n", end) + 1
    rows = np.frombuffer(data, ROW, count, middle)
    # What the hash vouches for was written by this program.
    return [
        CachedFace((inode, size, mtime), sha256, face_id, source, row)
        for (inode, size, mtime, sha256, face_id, source), row in zip(json.loads(data[end:middle]), rows, strict=True)
    ]


def _count_in(line: bytes) -> int | None:
    try:
        head = json.loads(line)
    except ValueError:
        return None
    count = head.get("faces") if isinstance(head, Mapping) else None
    return count if isinstance(count, int) else None
