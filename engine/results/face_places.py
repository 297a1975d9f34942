"""Where the faces of a clip lie now, in the folders of their faceset: as they were written, where dfld put them since,
or under any name that a person gave them.

A face in rejected/ was refused by a person: it counts as taken out. So does one that lies packed.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from engine.facesets.faceset_folder import FacesetFolder, aligned_folder
from engine.results.face_files import trace_in
from engine.results.own_moves import OwnMoves
from engine.workspace.file_names import Layout


def face_places(layout: Layout, faces: Sequence[tuple[str, str]]) -> list[Path | None]:
    """Given id and name of each face that was written, return where its file lies; None where it was taken out.

    A face whose id nobody knows is looked for by its name alone. Raise OutputError where the journal of renames cannot
    be read.
    """
    own = OwnMoves(layout)
    folder = aligned_folder(layout.aligned)
    found = [_where_written(own, face_id, name) for face_id, name in faces]
    missing = {face_id for (face_id, _), path in zip(faces, found, strict=True) if path is None and face_id}
    if not missing:
        return found
    elsewhere = {face_id: path for face_id, path in _faces_in(folder) if face_id in missing}
    return [path or elsewhere.get(face_id) for (face_id, _), path in zip(faces, found, strict=True)]


def _where_written(own: OwnMoves, face_id: str, name: str) -> Path | None:
    """Return where a face lies that only dfld moved."""
    for path, _ in own.candidates(name, home_first=True):
        if not os.path.lexists(path) or own.is_refused(path):
            continue
        trace = trace_in(path)
        if trace is None or not face_id or trace.face_id in ("", face_id):
            return path
    return None


def _faces_in(folder: FacesetFolder) -> Iterator[tuple[str, Path]]:
    """Yield the id of each face that lies loose in a folder of the faceset, the ones that are trained on last."""
    for where in (folder.aside, folder.review, folder.aligned):
        if where.is_dir():
            for path in sorted(where.iterdir()):
                trace = trace_in(path)
                if trace is not None and trace.face_id:
                    yield trace.face_id, path
