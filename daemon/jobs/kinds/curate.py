"""The kind `curate`: the faces that training does not need are set aside, and what the faceset lacks is said.

It is about the first clip of an inbox that is done on a side of a workspace, and works on all faces of that side: one
job a side, done anew whenever its last clip has ended. Faces of data_dst are marked and stay. Where a program of
DeepFaceLab works on the workspace, the job waits. The worker's part is daemon.worker.curator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from core.opening import real_path
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
from daemon.ledger import jobs as table
from daemon.ledger import sides
from daemon.ledger.jobs import Job
from daemon.ledger.transitions import State
from engine.facesets.curation.settings import CurationSettings

if TYPE_CHECKING:
    from daemon.config.schema import Config, InboxConfig
    from daemon.ledger.ledger import Connection

MEMORY_BYTES = 2 << 30
"""The measures of 50 000 faces, and one picture at a time."""
LACKS_MAX = 200
"""So many things that a faceset lacks are named; a grid has fewer poses."""
KEPT, ASIDE, POOR, MISSING = "kept", "aside: ", "poor: ", "missing poses"
"""In the counts of a job: faces that are trained on, those aside and those of data_dst that are poor by the reason."""


@dataclass(frozen=True)
class CurateAsked:
    """What a person asked for: JSON in the row of the job."""

    settings: CurationSettings
    match: str = ""
    """Workspace or folder of the faces that the model is to be used on; "" = none is known."""

    @classmethod
    def of(cls, job: Job, inbox: InboxConfig) -> CurateAsked | None:
        """Return what is asked of a job, by a person or by its inbox; None where its inbox asks for no curation."""
        if job.request:
            return asked_of(json.loads(job.request))
        curate = inbox.curate
        if not curate.enabled:
            return None
        return cls(curate.settings, "" if curate.match is None else str(curate.match))


@dataclass(frozen=True)
class CurateRequest:
    """What a worker needs to know to curate one side of a workspace."""

    workspace: str
    role: Literal["src", "dst"]
    asked: CurateAsked


@dataclass(frozen=True)
class CurateResult:
    """What a curation came to."""

    completed: bool
    faces: int = 0
    """In aligned/ and aside/ together."""
    kept: int = 0
    moved: int = 0
    """Faces that lay elsewhere than they should."""
    batch: int = 0
    """Of the journal of renames, by which the moves can be taken back; 0 = nothing was moved."""
    aside: Mapping[str, int] = field(default_factory=dict)
    """Reason → faces."""
    poor: Mapping[str, int] = field(default_factory=dict)
    """Of data_dst, gate → faces that fail it, and stay."""
    missing_poses: int = 0
    lacks: tuple[str, ...] = ()
    """Sentences: what is needed and not there, or there are too few of."""
    advised_size_px: int | None = None
    unreadable: int = 0
    left: int = 0
    """Faces that could not be moved as planned: somebody moved them meanwhile."""


def asked_of(values: Mapping[str, object]) -> CurateAsked:
    """Make what was asked for of its JSON form. Raise SettingsError for values that leave their range."""
    return CurateAsked(**{**values, "settings": CurationSettings(**values["settings"])})  # type: ignore[arg-type]


def due_curation(
    connection: Connection, job: Job, inbox: InboxConfig, config: Config, *, before: str
) -> Sequence[FollowUp]:
    """Return the curations that are due now that a job of a side has ended, where nothing else of the side is to be
    done before them: no clip, and no job of the kind `before`. Of the side, where its inbox wants one; else of those
    that are matched to it."""
    if sides.is_busy(connection, job.workspace, job.role, before):
        return ()
    first = next(sides.done_clips(connection, job.workspace, job.role, inbox.name), None)
    if first is None:
        return ()
    return (FollowUp(CurateKind.name, first),) if inbox.curate.enabled else _matched_to(connection, job, config)


def _matched_to(connection: Connection, job: Job, config: Config) -> Sequence[FollowUp]:
    """Return the curations of faces that are matched to those of a side of role dst, which have changed."""
    found = []
    for other in config.inboxes:
        match = other.curate.match
        if job.role == "dst" and other.curate.enabled and match is not None and _names(match, job.workspace):
            clips = sides.done_clips(connection, str(other.workspace), other.role, other.name)
            found += [FollowUp(CurateKind.name, one) for one in list(clips)[:1] if other.role == "src"]
    return found


def _encode_request(request: CurateRequest) -> Iterator[Piece]:
    yield asdict(request)


def _decode_request(pieces: Sequence[Piece]) -> CurateRequest:
    (piece,) = pieces
    return CurateRequest(**{**piece, "asked": asked_of(piece["asked"])})


def _encode_result(result: CurateResult) -> Iterator[Piece]:
    yield {**asdict(result), "aside": dict(result.aside), "poor": dict(result.poor)}


def _decode_result(pieces: Sequence[Piece]) -> CurateResult:
    (piece,) = pieces
    return CurateResult(**{**piece, "lacks": tuple(piece["lacks"])})


def _nothing(_value: None) -> Iterator[Piece]:
    yield {}


CURATE_CODECS = Codecs(
    request=Codec(_encode_request, _decode_request),
    resume=Codec(_nothing, lambda _pieces: None),
    commit=WorkerCodec(_nothing, lambda _pieces: None),
    result=WorkerCodec(_encode_result, _decode_result),
)


@dataclass(frozen=True)
class CurateFacts:
    """What log and hooks get of a done curation."""

    faces: int
    kept: int
    aside: Mapping[str, int]
    missing_poses: int

    def by_name(self) -> Mapping[str, object]:
        return asdict(self)


class CurateKind:
    """What the service does about a curation."""

    name = "curate"
    unit: Literal["frames", "faces"] = "faces"
    done_word = "curated"
    needs = Needs(models=False, gpu=False, memory_bytes=MEMORY_BYTES)
    reads_original = False
    has_faceset_alone = True

    def request(
        self,
        job: Job,
        inbox: InboxConfig,
        _config: Config,
        _connection: Connection,
        *,
        now_s: float,  # noqa: ARG002
    ) -> Sequence[Piece] | Failure:
        asked = CurateAsked.of(job, inbox)
        if asked is None:
            message = f"the inbox {inbox.name} asks for no curation any more"
            return Failure("setup", "settings", message, "set `enabled` of its [inbox.curate], or use `dfld curate`")
        return tuple(CURATE_CODECS.request.encode(CurateRequest(job.workspace, job.role, asked)))

    def resume(self, _connection: Connection, _job: Job) -> Sequence[Piece] | None:
        """Every run begins anew: what was measured is kept beside the faces, and the moves are one batch."""
        return None

    def start_over(self, connection: Connection, job: Job, basis: str) -> None:
        table.require_attempt(connection, job)
        table.update(connection, job.id, basis=basis, next_frame=0, counts="{}", carry="", frames_total=None)

    def store(self, _connection: Connection, _job: Job, _pieces: Sequence[Piece]) -> Sequence[float]:
        return ()

    def ending(self, job: Job, pieces: Sequence[Piece]) -> Ending:
        result = CURATE_CODECS.result.decode(pieces)
        sentence = _sentence(job, result)
        return Ending(
            completed=result.completed,
            sentence=sentence,
            columns=EndColumns(
                report=json.dumps({**asdict(result), "aside": dict(result.aside), "poor": dict(result.poor)}),
                frames_total=result.faces,
                message=sentence,
            ),
            facts=CurateFacts(result.faces, result.kept, dict(result.aside), result.missing_poses),
        )

    def why_not_deleted(self, _job: Job) -> str:
        return "kept, not deleted: what curates faces reads no original"

    def written(self, _connection: Connection, _job: Job) -> Written:
        return Written()

    def end(self, connection: Connection, job: Job, pieces: Sequence[Piece]) -> None:
        result = CURATE_CODECS.result.decode(pieces)
        counts = {KEPT: result.kept, MISSING: result.missing_poses}
        counts |= {f"{ASIDE}{reason}": count for reason, count in result.aside.items()}
        counts |= {f"{POOR}{reason}": count for reason, count in result.poor.items()}
        table.update(connection, job.id, counts=json.dumps(counts), next_frame=result.faces)

    def follow_ups(self, connection: Connection, job: Job, _inbox: InboxConfig, config: Config) -> Sequence[FollowUp]:
        """Faces that a model is to be used on have changed: what is trained on follows them."""
        return _matched_to(connection, job, config) if job.state is State.DONE else ()


def _names(match: Path, workspace: str) -> bool:
    """Say whether a path means the faces of data_dst of a workspace."""
    return real_path(Path(workspace)) in (real_path(match), *(real_path(one) for one in match.parents[:2]))


def _sentence(job: Job, result: CurateResult) -> str:
    """Return `data_src: 300 of 400 faces are trained on; missing: looking up, right: dst 75, src 0; and 2 more`."""
    if job.role == "dst":
        poor = sum(result.poor.values())
        kept = f"data_dst: {poor} of {result.faces} faces are poor; all stay, since the merger needs every frame"
    else:
        kept = f"data_src: {result.kept} of {result.faces} faces are trained on, {result.moved} were moved"
    lacks = [f"missing: {result.lacks[0]}"] if result.lacks else []
    more = [f"and {len(result.lacks) - 1} more"] if len(result.lacks) > 1 else []
    return "; ".join([kept, *lacks, *more])
