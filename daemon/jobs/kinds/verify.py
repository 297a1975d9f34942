"""The kind `verify`: every face of a clip that is done is read back, and compared with manifest and ledger.

It is about another job, the one that made the faces. What it finds goes into its report; with `repair`, faces that are
damaged are removed and that job is queued to be done once more, so that it writes them again. What a person changed or
took out stays so. The worker's part is daemon.worker.verifier.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Literal

from daemon.jobs.kinds.contract import (
    Codec,
    Codecs,
    EndColumns,
    Ending,
    Failure,
    FollowUp,
    Needs,
    Piece,
    WorkerCodec,
    Written,
)
from daemon.ledger import faces
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.transitions import JobEvent, State, can
from engine.results.checked_face import FAULTS, FINDINGS, CheckedFace, RecordedFace

if TYPE_CHECKING:
    from daemon.config.schema import Config, InboxConfig
    from daemon.ledger.ledger import Connection

FACES_A_PIECE = 1000
FINDINGS_KEPT = 10_000
"""So many faces that are not whole stand in a report by name; all are counted."""
MEMORY_BYTES = 2 << 30
"""One picture at a time, and the manifests of a workspace."""


@dataclass(frozen=True)
class VerifyRequest:
    """What a worker needs to know to read one clip back."""

    workspace: str
    role: Literal["src", "dst"]
    slug: str
    faces: tuple[RecordedFace, ...]
    """The written faces of the clip as the ledger has them."""
    drop_damaged: bool
    """Remove damaged faces: the source is there, and the clip is done once more."""
    attempt: int = 0
    """At the job that made the faces: what was read back of an earlier one says nothing."""


@dataclass(frozen=True)
class VerifyCommit:
    """Some faces that were read back."""

    next_face: int
    """Place of the first one that is not read back yet."""
    faces_total: int
    checked: tuple[CheckedFace, ...]


@dataclass(frozen=True)
class VerifyResult:
    """The end; what was found stands in the commits."""

    completed: bool
    faces_total: int
    may_redo: bool
    """Damaged faces were removed: the clip has to be done once more."""
    not_listed: int = 0
    """So many faces the ledger holds and the manifest does not list. Then nothing is removed, and nothing done again: a
    redo would take these for a person's."""


def _encode_request(request: VerifyRequest) -> Iterator[Piece]:
    for start in range(0, len(request.faces), FACES_A_PIECE):
        yield {"faces": [asdict(one) for one in request.faces[start : start + FACES_A_PIECE]]}
    yield {one.name: getattr(request, one.name) for one in fields(VerifyRequest) if one.name != "faces"}


def _decode_request(pieces: Sequence[Piece]) -> VerifyRequest:
    recorded = tuple(RecordedFace(**one) for piece in pieces[:-1] for one in piece["faces"])
    return VerifyRequest(faces=recorded, **pieces[-1])


def _encode_commit(commit: VerifyCommit) -> Iterator[Piece]:
    yield {**asdict(commit), "checked": [asdict(one) for one in commit.checked]}


def _decode_commit(pieces: Sequence[Piece]) -> VerifyCommit:
    (piece,) = pieces
    return VerifyCommit(**{**piece, "checked": tuple(CheckedFace(**one) for one in piece["checked"])})


def _encode_next(next_face: int) -> Iterator[Piece]:
    yield {"next_face": next_face}


def _decode_next(pieces: Sequence[Piece]) -> int:
    return int(pieces[0]["next_face"])


def _encode_result(result: VerifyResult) -> Iterator[Piece]:
    yield asdict(result)


def _decode_result(pieces: Sequence[Piece]) -> VerifyResult:
    return VerifyResult(**pieces[0])


VERIFY_CODECS = Codecs(
    request=Codec(_encode_request, _decode_request),
    resume=Codec(_encode_next, _decode_next),
    commit=WorkerCodec(_encode_commit, _decode_commit),
    result=WorkerCodec(_encode_result, _decode_result),
)


@dataclass(frozen=True)
class Findings:
    """What the commits of one verification found so far, as two columns of the job's row keep it."""

    counts: Mapping[str, int]
    """Finding → faces."""
    faces: tuple[Mapping[str, str | bool], ...]
    """Those that are not whole: name, finding, why, file, stays."""

    @classmethod
    def of(cls, job: Job) -> Findings:
        return cls(json.loads(job.counts), tuple(json.loads(job.carry or "[]")))

    def with_checked(self, checked: Sequence[CheckedFace]) -> Findings:
        counts = Counter(self.counts) + Counter(one.finding for one in checked)
        values = (asdict(one) for one in checked if one.finding != "whole")
        found = tuple({key: one[key] for key in ("name", "finding", "why", "file", "stays")} for one in values)
        return Findings(dict(counts), (*self.faces, *found)[:FINDINGS_KEPT])

    def counts_text(self) -> str:
        """Return what stands in `counts`: alone, since who asks how far it is wants nothing else."""
        return json.dumps(dict(self.counts))

    def faces_text(self) -> str:
        """Return what stands in `carry`."""
        return json.dumps(list(self.faces))

    @property
    def faults(self) -> int:
        return sum(self.counts.get(one, 0) for one in FAULTS)

    @property
    def repairable(self) -> int:
        """How many faults a redo of the clip puts right, or may: those that are not named any more as well."""
        return self.faults - sum(one.get("stays") is True for one in self.faces)

    def sentence(self) -> str:
        """Return `150 faces read back: 140 whole, 3 edited, 7 taken out`."""
        total = sum(self.counts.values())
        parts = [f"{self.counts[one]} {one}" for one in FINDINGS if self.counts.get(one)]
        return f"{total} {'face' if total == 1 else 'faces'} read back" + (f": {', '.join(parts)}" if parts else "")


@dataclass(frozen=True)
class VerifyFacts:
    """What log and hooks get of a done verification."""

    faces: int
    counts: Mapping[str, int]
    """Finding → faces; those that were found alone."""

    def by_name(self) -> Mapping[str, object]:
        return {"faces": self.faces, **{one.replace(" ", "_"): count for one, count in self.counts.items()}}


class VerifyKind:
    """What the service does about a verification."""

    name = "verify"
    unit: Literal["frames", "faces"] = "faces"
    done_word = "verified"
    needs = Needs(models=False, gpu=False, memory_bytes=MEMORY_BYTES)
    reads_original = False
    has_faceset_alone = False

    def request(
        self,
        job: Job,
        inbox: InboxConfig,
        _config: Config,
        connection: Connection,
        *,
        now_s: float,  # noqa: ARG002
    ) -> Sequence[Piece] | Failure:
        subject = _subject(connection, job)
        if subject is None or subject.state is not State.DONE:
            state = "gone" if subject is None else subject.state
            message = f"job {job.subject}, whose faces are to be read back, is {state}"
            return Failure("setup", "unfinished", message, "verify it again once that job is done")
        source = inbox.path / os.fsdecode(subject.path)
        request = VerifyRequest(
            workspace=job.workspace,
            role=job.role,
            slug=job.slug,
            faces=tuple(faces.recorded_faces(connection, subject.id)),
            drop_damaged=repairs(job) and os.path.lexists(source),
            attempt=subject.attempt,
        )
        return tuple(VERIFY_CODECS.request.encode(request))

    def resume(self, _connection: Connection, job: Job) -> Sequence[Piece] | None:
        return tuple(VERIFY_CODECS.resume.encode(job.next_frame)) if job.next_frame else None

    def start_over(self, connection: Connection, job: Job, basis: str) -> None:
        table.require_attempt(connection, job)
        table.update(connection, job.id, basis=basis, next_frame=0, counts="{}", carry="", frames_total=None)

    def store(self, connection: Connection, job: Job, pieces: Sequence[Piece]) -> Sequence[float]:
        commit = VERIFY_CODECS.commit.decode(pieces)
        found = Findings.of(table.job_by_id(connection, job.id) or job).with_checked(commit.checked)
        table.apply(
            connection,
            job.id,
            JobEvent.COMMIT,
            attempt=job.attempt,
            next_frame=commit.next_face,
            frames_total=commit.faces_total,
            counts=found.counts_text(),
            carry=found.faces_text(),
        )
        if job.subject is not None:
            whole = [one for one in commit.checked if one.finding == "whole" and one.recorded_as]
            faces.note_pixels(connection, job.subject, {one.recorded_as: one.pixels_sha256 for one in whole})
        return ()

    def ending(self, job: Job, pieces: Sequence[Piece]) -> Ending:
        result = VERIFY_CODECS.result.decode(pieces)
        found = Findings.of(job)
        redo = result.may_redo and found.repairable > 0
        report = {"faces": result.faces_total, "counts": found.counts, "findings": found.faces, "redo": redo}
        return Ending(
            completed=result.completed,
            sentence=found.sentence(),
            columns=EndColumns(
                report=json.dumps(report),
                frames_total=result.faces_total,
                reason="damaged" if found.faults else "",
                message="; ".join(self._sentences(job, found, result, redo=redo)),
                hint="" if redo else self._hint(job, found, result),
            ),
            facts=VerifyFacts(result.faces_total, found.counts),
            warnings=[f"{one['name']}: {one['why']}" for one in found.faces if one["finding"] in FAULTS],
        )

    @staticmethod
    def _sentences(job: Job, found: Findings, result: VerifyResult, *, redo: bool) -> Iterator[str]:
        yield found.sentence()
        if redo:
            yield f"job {job.subject} does the clip once more"
        elif result.not_listed and repairs(job):
            count = f"{result.not_listed} {'face' if result.not_listed == 1 else 'faces'}"
            yield f"nothing was removed or is done again: the clip's manifest does not list {count} of the ledger"

    @staticmethod
    def _hint(job: Job, found: Findings, result: VerifyResult) -> str:
        again = f"dfld jobs retry {job.subject} --replace --discard-hand-work"
        if result.not_listed:
            return (
                f"put the clip's manifest back from a backup; or move its pictures out of the workspace, then: {again}"
            )
        if found.counts.get("taken out", 0) * 2 > sum(found.counts.values()):
            return f"most of its faces are gone; if nobody took them out: {again}"
        if not found.faults:
            return ""
        if not found.repairable:
            return (
                "a repair leaves alone what a person may have changed, and what cannot be read (let dfld's account read"
                f" it); to give all manual changes up: {again}"
            )
        if repairs(job):
            return "the original is not in the inbox: put it back there, then verify with --repair again"
        return f"`dfld verify {job.inbox} --repair` has the whole clip done again; its faces are away meanwhile"

    def why_not_deleted(self, _job: Job) -> str:
        return "kept, not deleted: what reads faces back reads no original"

    def written(self, _connection: Connection, _job: Job) -> Written:
        return Written()

    def end(self, connection: Connection, job: Job, pieces: Sequence[Piece]) -> None:
        """Queue the clip once more, where that was asked for and something of it is at fault.

        One that was queued meanwhile is done from its beginning anyhow; what was asked for with that stays.
        """
        subject = _subject(connection, job)
        may_redo = VERIFY_CODECS.result.decode(pieces).may_redo
        if subject is None or not may_redo or not Findings.of(job).repairable or can(subject.state, JobEvent.START):
            return
        if can(subject.state, JobEvent.REDO):
            table.apply(connection, subject.id, JobEvent.REDO)

    def follow_ups(
        self, _connection: Connection, _job: Job, _inbox: InboxConfig, _config: Config
    ) -> Sequence[FollowUp]:
        return ()


def _subject(connection: Connection, job: Job) -> Job | None:
    return None if job.subject is None else table.job_by_id(connection, job.subject)


def repairs(job: Job) -> bool:
    """Say whether a verification was asked to have what is damaged written again."""
    return bool(job.request and json.loads(job.request).get("repair"))
