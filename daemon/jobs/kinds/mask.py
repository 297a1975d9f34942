"""The kind `mask`: the faces of a clip that is done get their masks, wherever these faces lie by now.

It is about another job, the one that made the faces; or, where a person asked for that with `dfld mask`, about every
face of the faceset that this clip belongs to. A mask that a person made stays. What each face got, and which sources
were not taken and why, goes into its report. The worker's part is daemon.worker.masker.
"""

from __future__ import annotations

import json
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
from daemon.jobs.kinds.curate import due_curation
from daemon.ledger import faces
from daemon.ledger import jobs as table
from daemon.ledger.jobs import Job
from daemon.ledger.totals import add_totals
from daemon.ledger.transitions import UNFINISHED, JobEvent, State

if TYPE_CHECKING:
    from daemon.config.schema import Config, InboxConfig
    from daemon.ledger.ledger import Connection

FACES_A_PIECE = 1000
NAMED_MAX = 10_000
"""So many faces of which something is to be said stand in a report by name; all are counted."""
MASKED, SOURCE, REFUSED = "masked", "from ", "refused: "
"""In the counts of a job: faces that were masked, by the source that they have their mask from, and masks that were not
taken, by the check."""

MaskSourceName = Literal["hull", "xseg", "parser", "auto", "intersect", "union"]


@dataclass(frozen=True)
class MaskAsked:
    """What a person asked for: JSON in the row of the job."""

    source: MaskSourceName
    xseg_model: str = ""
    xseg_face_type: str | None = None
    parser: str = ""
    include: tuple[str, ...] = ("glasses",)
    replace_theirs: bool = False
    whole_faceset: bool = True

    @classmethod
    def of(cls, job: Job, inbox: InboxConfig) -> MaskAsked | None:
        """Return what is asked of a job, by a person or by its inbox; None where its inbox asks for no masks."""
        if job.request:
            return asked_of(json.loads(job.request))
        masks = inbox.masks
        if masks.source is None:
            return None
        return cls(
            source=masks.source,
            xseg_model="" if masks.xseg_model is None else str(masks.xseg_model),
            xseg_face_type=masks.xseg_face_type,
            parser="" if masks.parser is None else str(masks.parser),
            include=masks.include,
            whole_faceset=False,
        )


@dataclass(frozen=True)
class ClipMaskRequest:
    """What a worker needs to know to mask the faces of a clip."""

    workspace: str
    role: Literal["src", "dst"]
    slug: str
    asked: MaskAsked
    cache: str
    """Folder in which converted networks are kept."""
    attempt: int
    """At the job that made the faces: what was masked of an earlier one says nothing."""
    faces: tuple[tuple[str, str], ...]
    """Id and name of each written face of the clip; none where the whole faceset is meant."""


@dataclass(frozen=True)
class FaceNote:
    """A face of which something is to be said."""

    name: str
    outcome: str
    why: str


@dataclass(frozen=True)
class MaskCommit:
    """Some faces that were masked."""

    next_face: int
    """Place of the first one that was not come to yet."""
    faces_total: int
    outcomes: Mapping[str, int]
    """Of engine.mask_faceset.OUTCOMES → faces."""
    sources: Mapping[str, int]
    """Source → faces that were masked by it now."""
    refused: Mapping[str, int]
    """Check → masks that were not taken for its sake."""
    notes: tuple[FaceNote, ...]


@dataclass(frozen=True)
class MaskResult:
    """The end; what was done stands in the commits."""

    completed: bool
    faces_total: int
    flickering: tuple[FaceNote, ...] = ()
    """Faces whose masks jump from those of the frames beside them, of those that this run masked."""


def asked_of(values: Mapping[str, object]) -> MaskAsked:
    """Make what was asked for of its JSON form."""
    return MaskAsked(**{**values, "include": tuple(values["include"])})  # type: ignore[arg-type]


def _encode_request(request: ClipMaskRequest) -> Iterator[Piece]:
    for start in range(0, len(request.faces), FACES_A_PIECE):
        yield {"faces": [list(one) for one in request.faces[start : start + FACES_A_PIECE]]}
    values = {one.name: getattr(request, one.name) for one in fields(ClipMaskRequest) if one.name != "faces"}
    yield {**values, "asked": asdict(request.asked)}


def _decode_request(pieces: Sequence[Piece]) -> ClipMaskRequest:
    found = tuple((face_id, name) for piece in pieces[:-1] for face_id, name in piece["faces"])
    return ClipMaskRequest(faces=found, **{**pieces[-1], "asked": asked_of(pieces[-1]["asked"])})


def _encode_commit(commit: MaskCommit) -> Iterator[Piece]:
    yield asdict(commit)


def _decode_commit(pieces: Sequence[Piece]) -> MaskCommit:
    (piece,) = pieces
    return MaskCommit(**{**piece, "notes": tuple(FaceNote(**one) for one in piece["notes"])})


def _encode_next(next_face: int) -> Iterator[Piece]:
    yield {"next_face": next_face}


def _decode_next(pieces: Sequence[Piece]) -> int:
    return int(pieces[0]["next_face"])


def _encode_result(result: MaskResult) -> Iterator[Piece]:
    notes = [asdict(one) for one in result.flickering]
    for start in range(0, len(notes), FACES_A_PIECE):
        yield {"flickering": notes[start : start + FACES_A_PIECE]}
    yield {"completed": result.completed, "faces_total": result.faces_total}


def _decode_result(pieces: Sequence[Piece]) -> MaskResult:
    notes = tuple(FaceNote(**one) for piece in pieces[:-1] for one in piece["flickering"])
    return MaskResult(**pieces[-1], flickering=notes)


MASK_CODECS = Codecs(
    request=Codec(_encode_request, _decode_request),
    resume=Codec(_encode_next, _decode_next),
    commit=WorkerCodec(_encode_commit, _decode_commit),
    result=WorkerCodec(_encode_result, _decode_result),
)


@dataclass(frozen=True)
class MaskFacts:
    """What log and hooks get of a done mask job."""

    faces: int
    counts: Mapping[str, int]
    """As in the row of the job."""

    def by_name(self) -> Mapping[str, object]:
        found = {one.replace(": ", "_").replace(" ", "_"): count for one, count in self.counts.items()}
        return {"faces": self.faces, **found}


class MaskKind:
    """What the service does about masks."""

    name = "mask"
    unit: Literal["frames", "faces"] = "faces"
    done_word = "masked"
    needs = Needs(models=True, gpu=True)
    """What an extraction needs: one worker does both, and keeps what it loaded for either."""
    reads_original = False
    has_faceset_alone = True

    def request(
        self,
        job: Job,
        inbox: InboxConfig,
        config: Config,
        connection: Connection,
        *,
        now_s: float,  # noqa: ARG002
    ) -> Sequence[Piece] | Failure:
        asked = MaskAsked.of(job, inbox)
        if asked is None:
            message = f"the inbox {inbox.name} asks for no masks any more"
            return Failure("setup", "settings", message, "set `source` of its [inbox.masks], or use `dfld mask`")
        subject = None if job.subject is None else table.job_by_id(connection, job.subject)
        if subject is None or (subject.state is not State.DONE and not asked.whole_faceset):
            return _without_faces(job, subject)
        written = [] if asked.whole_faceset else faces.written_faces(connection, subject.id)
        request = ClipMaskRequest(
            workspace=job.workspace,
            role=job.role,
            slug=job.slug,
            asked=asked,
            cache=str(config.model_root / "xseg"),
            attempt=subject.attempt,
            faces=tuple((one.face_id, one.file) for one in written),
        )
        return tuple(MASK_CODECS.request.encode(request))

    def resume(self, _connection: Connection, job: Job) -> Sequence[Piece] | None:
        return tuple(MASK_CODECS.resume.encode(job.next_frame)) if job.next_frame else None

    def start_over(self, connection: Connection, job: Job, basis: str) -> None:
        table.require_attempt(connection, job)
        table.update(connection, job.id, basis=basis, next_frame=0, counts="{}", carry="", frames_total=None)

    def store(self, connection: Connection, job: Job, pieces: Sequence[Piece]) -> Sequence[float]:
        commit = MASK_CODECS.commit.decode(pieces)
        now = table.job_by_id(connection, job.id) or job
        counts = Counter(json.loads(now.counts))
        counts.update(commit.outcomes)
        counts.update({f"{SOURCE}{source}": count for source, count in commit.sources.items()})
        counts.update({f"{REFUSED}{check}": count for check, count in commit.refused.items()})
        notes = [*json.loads(now.carry or "[]"), *(asdict(one) for one in commit.notes)]
        table.apply(
            connection,
            job.id,
            JobEvent.COMMIT,
            attempt=job.attempt,
            next_frame=commit.next_face,
            frames_total=commit.faces_total,
            counts=json.dumps(counts),
            carry=json.dumps(notes[:NAMED_MAX]),
        )
        add_totals(connection, job.inbox, {f"masks_from_{one}": count for one, count in commit.sources.items()})
        add_totals(connection, job.inbox, {f"masks_refused_{one}": count for one, count in commit.refused.items()})
        return ()

    def ending(self, job: Job, pieces: Sequence[Piece]) -> Ending:
        result = MASK_CODECS.result.decode(pieces)
        counts: dict[str, int] = json.loads(job.counts)
        notes = [*json.loads(job.carry or "[]"), *(asdict(one) for one in result.flickering)][:NAMED_MAX]
        sentence = _sentence(counts, result)
        return Ending(
            completed=result.completed,
            sentence=sentence,
            columns=EndColumns(
                report=json.dumps({"faces": result.faces_total, "counts": counts, "notes": notes}),
                frames_total=result.faces_total,
                message=sentence,
            ),
            facts=MaskFacts(result.faces_total, counts),
        )

    def why_not_deleted(self, _job: Job) -> str:
        return "kept, not deleted: what masks faces reads no original"

    def written(self, _connection: Connection, _job: Job) -> Written:
        return Written()

    def end(self, connection: Connection, job: Job, pieces: Sequence[Piece]) -> None:
        pass

    def follow_ups(self, connection: Connection, job: Job, inbox: InboxConfig, config: Config) -> Sequence[FollowUp]:
        return due_curation(connection, job, inbox, config, before=self.name)


def _without_faces(job: Job, subject: Job | None) -> Failure:
    """Say why the faces of a clip cannot be masked: it is being done again, or nothing will come of it."""
    state = "gone" if subject is None else subject.state
    message = f"job {job.subject}, whose faces are to be masked, is {state}"
    if subject is not None and subject.state in UNFINISHED:
        return Failure("passing", "held", message)
    return Failure("setup", "unfinished", message, "mask them again once that job is done")


def _sentence(counts: Mapping[str, int], result: MaskResult) -> str:
    """Return `140 of 150 faces masked: 120 from xseg, 20 from hull; 10 a person's; 24 masks not taken; 2 flicker`."""
    total = result.faces_total
    by_source = [f"{count} {one}" for one, count in counts.items() if one.startswith(SOURCE)]
    masked = f"{counts.get(MASKED, 0)} of {total} {'face' if total == 1 else 'faces'} masked"
    others = [
        f"{count} {one}" for one, count in counts.items() if one != MASKED and not one.startswith((SOURCE, REFUSED))
    ]
    refused = sum(count for one, count in counts.items() if one.startswith(REFUSED))
    not_taken = [f"{refused} {'mask' if refused == 1 else 'masks'} not taken"] if refused else []
    flicker = [f"{len(result.flickering)} flicker: look at them"] if result.flickering else []
    return "; ".join([masked + (f": {', '.join(by_source)}" if by_source else ""), *others, *not_taken, *flicker])
