"""Where is a face that does not lie where dfld wrote it? Looked for among all pictures and facesets of the workspace.

A picture with an id is the face of that id, whatever the file is called. One without is known by its landmarks, one
without metadata by its bytes, unless it lies under the name that another clip gave to a face of its own.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from functools import cached_property
from pathlib import Path

from dfl.errors import FormatError
from engine.results.face_files import face_files, hash_or_nothing, is_as_written, is_pack, trace_in, traces_in_pack
from engine.results.manifest import Manifest, manifest_in, manifest_path, manifest_paths, read_manifest
from engine.results.manifest_lines import WrittenFace, WrittenFile
from engine.results.own_moves import OwnMoves
from engine.same_face import FaceTrace, id_of
from engine.workspace.file_names import FRAME_NAME, Layout, prefix_of_face


def faces_not_found(layout: Layout, faces: Iterable[tuple[str, str]], source_sha256: str = "") -> list[str]:
    """Given id and name of each face that was written, return the names of those that the workspace holds no more.

    A face is there as it was written, or anywhere under any name, in a faceset too. `source_sha256`: of the clip, by
    which a picture that was made before there were ids has one. Raise OutputError when the manifest cannot be read.
    """
    manifest = read_manifest(layout)
    own = OwnMoves(layout)
    left = [(face_id, name) for face_id, name in faces if not _lies_as_written(own, manifest, face_id, name)]
    if not left:
        return []
    ids = set(_ids_below(layout.root, source_sha256))
    pictures = Pictures(layout, manifest)
    return [
        name
        for face_id, name in left
        if face_id not in ids and (name not in manifest.faces or pictures.place_of(manifest.faces[name]) is None)
    ]


def _lies_as_written(own: OwnMoves, manifest: Manifest, face_id: str, name: str) -> bool:
    written = manifest.faces.get(name)
    if written is None or written.trace.face_id not in ("", face_id):
        return False
    return any(is_as_written(path, written.file) for path, _ in own.candidates(name, home_first=True))


def _ids_below(root: Path, source_sha256: str) -> Iterator[str]:
    """Yield the id of each face below a folder, that of a picture without one made of frame and box."""
    for path in face_files(root):
        traces: Sequence[FaceTrace | None] = ()
        with suppress(FormatError, OSError):
            traces = traces_in_pack(path) if is_pack(path) else [trace_in(path)]
        for trace in traces:
            if trace is not None:
                yield id_of(trace, source_sha256)


class Pictures:
    """The pictures of a workspace that no manifest accounts for: where a missing face may be by now."""

    def __init__(self, layout: Layout, manifest: Manifest) -> None:
        self._layout = layout
        self._manifest = manifest
        self._own_moves = OwnMoves(layout)
        self._taken: set[Path] = set()
        self._by_hash: dict[int, dict[str, list[Path]]] = {}
        """By size, then by hash."""

    def place_of(self, face: WrittenFace) -> Path | None:
        """Return where a face is now, a loose file or the pack that holds it; None where it is nowhere.

        Two clips of one recording have faces of the same landmarks. Where such a face of another clip is missing, too,
        and the picture has no id, nobody knows whose it is: it is nobody's then, and is left where it lies.
        """
        trace = face.trace
        if trace.face_id:
            loose = self._free(self._loose_by_id.get(trace.face_id, ()))
            if loose:
                return self._take(loose[0])
            if trace.face_id in self._packed_by_id:
                return self._packed_by_id[trace.face_id]
        if trace.landmarks_hash in self._missing_of_others:
            return None
        alike = self._loose_by_landmarks.get(trace.landmarks_hash, ())
        loose = self._free(path for path, found in alike if not (trace.face_id and found.face_id))
        if not loose:
            loose = self._free(self._loose_with_bytes_of(face.file))
        if loose:
            return self._take(loose[0])
        packed = self._packed_by_landmarks.get(trace.landmarks_hash, ())
        return next((path for path, found in packed if not (trace.face_id and found.face_id)), None)

    def _free(self, paths: Iterable[Path]) -> list[Path]:
        return [path for path in paths if path not in self._taken]

    def _take(self, path: Path) -> Path:
        self._taken.add(path)
        return path

    @cached_property
    def _others(self) -> dict[str, Manifest]:
        """The manifests of the other clips, by the prefix of their files' names."""
        own, paths = manifest_path(self._layout), manifest_paths(self._layout.debug)
        return {prefix: manifest_in(path) for prefix, path in paths.items() if path != own}

    @cached_property
    def _missing_of_others(self) -> frozenset[str]:
        """Landmarks of other clips' faces that do not lie where their run put them."""
        found: set[str] = set()
        for other in self._others.values():
            for name, face in other.faces.items():
                if not any(os.path.lexists(one) for one, _ in self._own_moves.candidates(name, home_first=True)):
                    found.add(face.trace.landmarks_hash)
        return frozenset(found - {""})

    @cached_property
    def _files(self) -> list[Path]:
        return list(face_files(self._layout.root, self._is_accounted_for))

    @cached_property
    def _loose(self) -> list[tuple[Path, FaceTrace]]:
        found = ((path, trace_in(path)) for path in self._files if not is_pack(path))
        return [(path, trace) for path, trace in found if trace is not None]

    @cached_property
    def _packed(self) -> list[tuple[Path, FaceTrace]]:
        found = []
        for path in self._files:
            if is_pack(path):
                with suppress(FormatError, OSError):
                    found += [(path, trace) for trace in traces_in_pack(path) if trace is not None]
        return found

    @cached_property
    def _loose_by_id(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path, trace in self._loose:
            if trace.face_id:
                found.setdefault(trace.face_id, []).append(path)
        return found

    @cached_property
    def _loose_by_landmarks(self) -> dict[str, list[tuple[Path, FaceTrace]]]:
        return _by_landmarks((path, trace) for path, trace in self._loose if not self._is_named_by_another(path))

    @cached_property
    def _packed_by_id(self) -> dict[str, Path]:
        return {trace.face_id: path for path, trace in self._packed if trace.face_id}

    @cached_property
    def _packed_by_landmarks(self) -> dict[str, list[tuple[Path, FaceTrace]]]:
        return _by_landmarks(self._packed)

    @cached_property
    def _loose_by_size(self) -> dict[int, list[Path]]:
        found: dict[int, list[Path]] = {}
        for path in self._files:
            if not self._is_named_by_another(path):
                with suppress(OSError):
                    found.setdefault(path.lstat().st_size, []).append(path)
        return found

    def _loose_with_bytes_of(self, written: WrittenFile) -> Sequence[Path]:
        """Return the files that hold just what was written. Each file is hashed once, however many faces ask."""
        if written.size not in self._by_hash:
            by_hash: dict[str, list[Path]] = {}
            self._by_hash[written.size] = by_hash
            for path in self._loose_by_size.get(written.size, ()):
                by_hash.setdefault(hash_or_nothing(path), []).append(path)
        return self._by_hash[written.size].get(written.sha256, ()) if written.sha256 else ()

    def _is_accounted_for(self, path: Path) -> bool:
        """Say whether a file is no face, or lies as the run of its clip wrote it."""
        layout = self._layout
        if path.parent in (layout.masks, layout.debug):
            return True
        if path.parent in (layout.frames, layout.root / "data_dst") and FRAME_NAME.fullmatch(path.name):
            return True
        if path.parent not in (layout.aligned, layout.review):
            return False
        clip = self._others.get(prefix_of_face(path.name) or "", self._manifest)
        written = self._manifest.faces.get(path.name) or clip.faces.get(path.name)
        return written is not None and is_as_written(path, written.file)

    def _is_named_by_another(self, path: Path) -> bool:
        """Say whether a file lies where another clip's run would put it."""
        return path.parent in (self._layout.aligned, self._layout.review) and prefix_of_face(path.name) in self._others


def _by_landmarks(faces: Iterable[tuple[Path, FaceTrace]]) -> dict[str, list[tuple[Path, FaceTrace]]]:
    found: dict[str, list[tuple[Path, FaceTrace]]] = {}
    for path, trace in faces:
        found.setdefault(trace.landmarks_hash, []).append((path, trace))
    return found
