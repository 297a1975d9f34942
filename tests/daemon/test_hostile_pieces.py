"""Whatever a worker says a commit or a result is: it is stored as it should be, or it is a WorkerError.

A worker may have been taken over by the footage that it opens, or be of another version.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.errors import WorkerError
from daemon.jobs.kinds.contract import JobKind, WorkerCodec
from daemon.jobs.kinds.curate import CURATE_CODECS, CurateResult
from daemon.jobs.kinds.extract import EXTRACT_CODECS, Extracted
from daemon.jobs.kinds.mask import MASK_CODECS, FaceNote, MaskCommit, MaskResult
from daemon.jobs.kinds.registry import OF_ARRIVALS, OF_CURATIONS, OF_MASKS, OF_VERIFICATIONS
from daemon.jobs.kinds.verify import VERIFY_CODECS, VerifyCommit, VerifyResult
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.ledger import Connection, Ledger
from engine.face_record import FaceRecord
from engine.results.checked_face import CheckedFace
from engine.types import Commit, Counts, Cursor, SourceVerdict

ODD = (None, True, -1, 1.5, 2**63, 10**400, float("inf"), "odd", "\udcff", [], [1, 2], {}, {"a": []}, [[10**9, {}]])
FACE = FaceRecord(3, 120, 0, (1.0, 2.0, 3.0, 4.0), 0.9, 0.5, True, "accepted", "3_0.jpg", track=1, face_id="f" * 32)
COMMIT = Commit(Cursor(9, 360), (FACE,), Counts(9, 9, 0), "carry", ((0, FACE),))
RESULT = Extracted(
    20, 10, 5, 1, 4, 3, {"accepted": 3}, {"decode": 1.2}, {"decoded": 0.1}, "log", None, ("w",), True,
    SourceVerdict("lost footage", missing_s=2.0, missing_share=0.5), 0,
)  # fmt: skip
CHECKED = CheckedFace("3_0.jpg", "damaged", "why", "aligned/3_0.jpg", "p" * 64, "3_0.jpg", "face", stays=True)
MASKS = MaskCommit(5, 9, {"masked": 2}, {"xseg": 2}, {"area": 1}, (FaceNote("3_0.jpg", "masked", "why"),))
VALUES: dict[str, tuple[JobKind, WorkerCodec[Any], Any]] = {
    "a commit of faces": (OF_ARRIVALS, EXTRACT_CODECS.commit, COMMIT),
    "a result of an extraction": (OF_ARRIVALS, EXTRACT_CODECS.result, RESULT),
    "a commit of a verification": (OF_VERIFICATIONS, VERIFY_CODECS.commit, VerifyCommit(5, 9, (CHECKED,))),
    "a result of a verification": (OF_VERIFICATIONS, VERIFY_CODECS.result, VerifyResult(True, 9, True, 1)),
    "a commit of masks": (OF_MASKS, MASK_CODECS.commit, MASKS),
    "a result of a mask job": (OF_MASKS, MASK_CODECS.result, MaskResult(True, 9, (FaceNote("a.jpg", "masked", "b"),))),
    "a result of a curation": (
        OF_CURATIONS,
        CURATE_CODECS.result,
        CurateResult(True, 9, 5, 4, 1, {"blurred": 4}, {"too_dark": 1}, 1, ("looking up: src 0",), 512, 0, 1),
    ),
}


def places(value: Any) -> Iterator[tuple[Any, ...]]:
    """Yield the path to everything in a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (key,)
        yield from ((key, *rest) for rest in places(part))


def mutated(pieces: list[Any]) -> Iterator[list[Any]]:
    for path in places(pieces):
        for odd in ODD:
            changed = copy.deepcopy(pieces)
            at = changed
            for key in path[:-1]:
                at = at[key]
            at[path[-1]] = odd
            yield changed
        lacking = copy.deepcopy(pieces)
        at = lacking
        for key in path[:-1]:
            at = at[key]
        del at[path[-1]]
        yield lacking


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with a job that runs, and a verification of it that does."""
    arrival = Arrival(
        kind="extract", inbox="alice", path=b"clip.mp4", source_kind="video", file_state="i1", sha256="c" * 64,
        size_bytes=5, arrived_s=1.0, workspace="/ws", role="src", slugs=("clip",), priority=5,
    )  # fmt: skip
    one = Ledger(tmp_path / "ledger.db")
    one.write(lambda writer: claim(writer, arrival, now_s=2.0, on_duplicate="skip", earlier_is_there=True))

    def verified(writer: Connection) -> None:
        table.queue_about(writer, "verify", table.fetched(writer, 1), request="{}", rank=1.0, now_s=2.0)

    one.write(verified)
    one.write(lambda writer: writer.execute("UPDATE jobs SET state = 'running', attempt = 1"))
    yield one
    one.close()


class Undone(Exception):
    """Takes everything back that a transaction did."""


@pytest.mark.parametrize("name", VALUES)
def test_pieces_with_anything_in_any_place_are_stored_or_are_a_worker_error(ledger: Ledger, name: str) -> None:
    kind, codec, value = VALUES[name]
    job_id = 1 if kind is OF_ARRIVALS else 2
    refused = 0

    def store(writer: Connection, pieces: list[Any]) -> None:
        job = table.fetched(writer, job_id)
        if name.startswith("a commit"):
            kind.store(writer, job, pieces)
        else:
            kind.ending(job, pieces)
            kind.end(writer, job, pieces)
        raise Undone

    whole = json.loads(json.dumps(list(codec.encode(value))))
    assert codec.decode(whole) == value
    for pieces in mutated(whole):
        try:
            ledger.write(lambda writer, pieces=pieces: store(writer, pieces))  # type: ignore[misc]
        except Undone:
            json.dumps(pieces)
        except (WorkerError, UnicodeError):  # of text that cannot be stored the conversation makes a WorkerError
            refused += 1
    assert refused > len(ODD)
