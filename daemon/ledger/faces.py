"""Faces in the ledger: one row each, in the order in which a job found them. Functions of a connection.

A row made by a dfld that gave faces no ids has the id that source, frame and box give it (daemon.ledger.schema). Where
the source has no SHA-256, the id is "".
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from daemon.errors import WorkerError
from engine.face_record import FaceRecord
from engine.results.checked_face import RecordedFace


@dataclass(frozen=True)
class WrittenFace:
    """A face that has a file."""

    face_id: str
    file: str
    """Its name when it was written; by now it may have another."""


def written_faces(connection: sqlite3.Connection, job_id: int) -> list[WrittenFace]:
    """Return the faces of a job that were written, in order."""
    rows = connection.execute(
        "SELECT face_id, file FROM faces WHERE job = ? AND file IS NOT NULL ORDER BY place", (job_id,)
    )
    return [WrittenFace(*row) for row in rows]


def records_of(connection: sqlite3.Connection, job_id: int) -> tuple[FaceRecord, ...]:
    """Return every face of a job, in order."""
    rows = connection.execute("SELECT record, face_id FROM faces WHERE job = ? ORDER BY place", (job_id,))
    return tuple(face_record({**json.loads(record), "face_id": face_id}) for record, face_id in rows)


def recorded_faces(connection: sqlite3.Connection, job_id: int) -> list[RecordedFace]:
    """Return the faces of a job that were written, each with the hash of its pixels if it was read back."""
    question = "SELECT file, face_id, pixels_sha256 FROM faces WHERE job = ? AND file IS NOT NULL ORDER BY place"
    return [RecordedFace(*row) for row in connection.execute(question, (job_id,))]


def note_pixels(connection: sqlite3.Connection, job_id: int, pixels: Mapping[str, str]) -> None:
    """Keep the hash of the decoded pixels of faces of a job, by the names in the ledger, where none is kept yet: what
    they were when they were read back first is what later ones are compared with."""
    connection.executemany(
        "UPDATE faces SET pixels_sha256 = ? WHERE job = ? AND file = ? AND pixels_sha256 = ''",
        [(sha256, job_id, name) for name, sha256 in pixels.items()],
    )


def add_faces(connection: sqlite3.Connection, job_id: int, records: Sequence[FaceRecord]) -> None:
    """Add the faces of one finished piece behind those that are there."""
    row = connection.execute("SELECT coalesce(max(place) + 1, 0) FROM faces WHERE job = ?", (job_id,)).fetchone()
    connection.executemany(
        "INSERT INTO faces (job, place, frame, kept, reason, file, record, face_id) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (job_id, place, face.frame, face.kept, face.reason, face.file, json.dumps(asdict(face)), face.face_id)
            for place, face in enumerate(records, int(row[0]))
        ],
    )


def revise_faces(connection: sqlite3.Connection, job_id: int, revised: Sequence[tuple[int, FaceRecord]]) -> int:
    """Give faces, each by its place, their final rows; return how many of them were kept before.

    Raise WorkerError for a place that no face has.
    """
    were_kept = 0
    for place, face in revised:
        question = "SELECT kept FROM faces WHERE job = ? AND place = ?"
        row = connection.execute(question, (job_id, place)).fetchone()
        if row is None:
            raise WorkerError(f"job {job_id} has no face at place {place} that could be revised; nothing was stored")
        were_kept += row[0]
        connection.execute(
            "UPDATE faces SET kept = ?, reason = ?, file = ?, record = ? WHERE job = ? AND place = ?",
            (face.kept, face.reason, face.file, json.dumps(asdict(face)), job_id, place),
        )
    return were_kept


def forget_faces(connection: sqlite3.Connection, job_id: int) -> None:
    """Remove the rows of a job's faces."""
    connection.execute("DELETE FROM faces WHERE job = ?", (job_id,))


def face_record(values: Mapping[str, Any]) -> FaceRecord:
    """Make a record of its JSON form, of an older dfld's too: what that did not know has its default."""
    known = {one.name: values[one.name] for one in fields(FaceRecord) if one.name in values}
    return FaceRecord(**{**known, "bbox": tuple(values["bbox"])})
