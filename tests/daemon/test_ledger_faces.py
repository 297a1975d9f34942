"""Faces in the ledger have ids, also those that an older dfld recorded."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path

from daemon.ledger import extraction, faces
from daemon.ledger import jobs as table
from daemon.ledger import schema as ledger_schema
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.jobs import Job
from daemon.ledger.ledger import Ledger
from engine.face_id import box_of, face_id
from engine.face_record import FaceRecord
from engine.types import Commit, Counts, Cursor

BEFORE_IDS = 3
"""Schema of a ledger whose faces have none."""
OLD_JOB = (
    "INSERT INTO jobs (id, inbox, path, kind, sha256, size_bytes, identity, workspace, role, slug, sidecar, priority,"
    " rank, state, arrived_s, next_frame, counts)"
    " VALUES (?, 'alice', ?, 'video', ?, 5, 'i1', '/ws', 'src', ?, '', 5, 1.5, 'queued', 2.5, 99, '{}')"
)
OLD_FACE = "INSERT INTO faces (job, place, frame, kept, reason, file, record) VALUES (?, ?, ?, ?, 'accepted', ?, ?)"
NEW_FIELDS = ("face_id", "track_id", "file_index")
BOX = (10.5, 20.5, 31.4, 41.6)


def old_ledger(path: Path, sha256s: tuple[str, ...]) -> None:
    """Make a ledger as dfld made it before faces had ids, with two faces of each content."""
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for script in ledger_schema.MIGRATIONS[:BEFORE_IDS]:
            old.executescript(script)
        old.execute(f"PRAGMA user_version = {BEFORE_IDS}")
        for number, sha256 in enumerate(sha256s, 1):
            old.execute(OLD_JOB, (number, b"%d.mp4" % number, sha256, f"clip-{number}"))
            for place in (0, 1):
                file = f"{place}.jpg" if place else None
                old.execute(OLD_FACE, (number, place, place + 7, place, file, old_record(place)))


def running(ledger: Ledger) -> Job:
    one = Arrival(
        kind="extract", inbox="alice", path=b"clip.mp4", source_kind="video", file_state="i1", sha256="c" * 64,
        size_bytes=5, arrived_s=1.0, workspace="/ws", role="src", slugs=("clip",), priority=5,
    )  # fmt: skip
    ledger.write(lambda writer: claim(writer, one, now_s=2.0, on_duplicate="skip", earlier_is_there=True))
    job = ledger.write(lambda writer: table.start_next(writer, now_s=3.0, inboxes=("alice",), longest_wait_s=60.0))
    assert job is not None
    return job


def store(ledger: Ledger, job: Job, commit: Commit) -> None:
    ledger.write(lambda writer: extraction.store_commit(writer, job.id, job.attempt, commit))


def test_the_first_hash_of_a_faces_pixels_is_kept(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    job = running(ledger)
    one = FaceRecord(7, None, 0, BOX, 0.9, None, True, "accepted", "a.jpg", face_id="1" * 32)
    store(ledger, job, Commit(Cursor(8, None), (one,), Counts(8, 0, 0), ""))
    for pixels in ({"a.jpg": "first"}, {"a.jpg": "second"}):
        ledger.write(partial(faces.note_pixels, job_id=job.id, pixels=pixels))
    (kept,) = ledger.read(lambda reader: faces.recorded_faces(reader, job.id))
    assert kept.pixels_sha256 == "first"
    ledger.close()


def old_record(place: int) -> str:
    record = FaceRecord(place + 7, None, 0, BOX, 0.9, None, bool(place), "accepted", f"{place}.jpg", track=place)
    return json.dumps({name: value for name, value in asdict(record).items() if name not in NEW_FIELDS})


def test_old_rows_get_their_ids_from_source_frame_and_box(tmp_path: Path) -> None:
    known, rough = "c" * 64, "d" * 64 + "-of-head-and-tail"
    old_ledger(tmp_path / "ledger.db", (known, rough))
    ledger = Ledger(tmp_path / "ledger.db")
    for job in ledger.read(lambda reader: list(table.jobs(reader))):
        resume = ledger.read(lambda reader, job=job: extraction.resume_of(reader, job))
        assert resume is not None
        made = [face_id(known, frame, box_of(BOX)) if job.sha256 == known else "" for frame in (7, 8)]
        assert [record.face_id for record in resume.records] == made
        assert [record.track_id for record in resume.records] == ["", ""]
        written = ledger.read(lambda reader, job=job: faces.written_faces(reader, job.id))
        assert written == [faces.WrittenFace(made[1], "1.jpg")]
    ledger.close()
    with sqlite3.connect(tmp_path / f"ledger.db.schema{BEFORE_IDS}") as copy:
        assert copy.execute("PRAGMA user_version").fetchone() == (BEFORE_IDS,)
    copy.close()


def test_a_commit_stores_ids_and_a_revision_keeps_them(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger.db")
    job = running(ledger)
    one = FaceRecord(7, None, 0, BOX, 0.9, None, True, "accepted", "a.jpg", 3, file_index=2, face_id="1" * 32)
    one = replace(one, track_id="2" * 32)
    store(ledger, job, Commit(Cursor(9, None), (one,), Counts()))
    revised = replace(one, kept=False, reason="near_duplicate", file=None, file_index=None)
    commit = Commit(Cursor(9, None), (), Counts(), revised=((0, revised),))
    store(ledger, job, commit)
    assert ledger.read(lambda reader: faces.records_of(reader, job.id)) == (revised,)
    ledger.close()


def test_two_faces_of_one_id_are_two_rows(tmp_path: Path) -> None:
    """Two tracks may end on one face of a frame: nobody's commit fails for it."""
    ledger = Ledger(tmp_path / "ledger.db")
    job = running(ledger)
    pair = tuple(FaceRecord(7, None, n, BOX, 0.9, None, True, "x", f"{n}.jpg", face_id="1" * 32) for n in (0, 1))
    store(ledger, job, Commit(Cursor(9, None), pair, Counts()))
    assert len(ledger.read(lambda reader: faces.written_faces(reader, job.id))) == 2
    ledger.close()
