"""The kind `extract`: a video, or a folder of images, becomes faces in a workspace.

Service and worker share the values below and how they travel; the worker's part is daemon.worker.extractor.

A sidecar comes from whoever may write into the inbox, so it may only choose among what the configuration gives this
inbox: photos in the inbox itself, in its own references, and in `sidecar_references`. Those of another inbox's person
stay out of reach even where they lie in one of these. The worker asks again of every photo that it opens.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from core.opening import RefusedFileError, lies_within, open_regular, real_path
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
from daemon.jobs.kinds.mask import MaskKind
from daemon.ledger import extraction
from daemon.ledger.faces import face_record, written_faces
from daemon.ledger.jobs import Job
from daemon.ledger.transitions import State
from engine.face_record import FaceRecord
from engine.reasons import MANUAL_CHANGE
from engine.types import Commit, Counts, Cursor, ExtractReport, ExtractSettings, Resume, SourceVerdict

if TYPE_CHECKING:
    from daemon.config.schema import Config, InboxConfig
    from daemon.ledger.ledger import Connection

RECORDS_A_PIECE = 500
SIDECAR_HINT = "correct the sidecar and put both back into the inbox"
WHOLE_COPY_HINT = "Put a whole copy into the inbox: it takes the place of this part, and its faces that of the part's"


@dataclass(frozen=True)
class ExtractRequest:
    """Everything a worker needs to know to extract one clip."""

    source: str
    workspace: str
    role: Literal["src", "dst"]
    slug: str
    person: str
    references: tuple[str, ...]
    negatives: tuple[str, ...]
    backend: str
    model_root: str
    model_pack: str
    settings: ExtractSettings
    other_age: tuple[str, ...] = ()
    allow_mixed: bool = False
    largest_face: bool = False
    source_within: tuple[str, ...] = ()
    """Folders that the source, or what it links to, must lie in."""
    references_within: tuple[str, ...] | None = None
    """Where the references must lie, when a sidecar chose them; None: the configuration did."""
    references_outside: tuple[str, ...] = ()
    """Where they must not lie, then."""
    notes: Mapping[str, str] = field(default_factory=dict)
    """Written into the extraction log."""
    start_s: float | None = None
    """Only frames from this time on."""
    end_s: float | None = None
    """Only frames before this time."""
    take_incomplete: bool = False
    """Work on a file whose header promises more than is there: waiting for the rest is over."""
    discard: str = ""
    """Name of an order to discard manual changes, carried out once; "" = they stay."""
    basis: str = ""
    """What made the faces of the commits before; "" where there are none."""


@dataclass(frozen=True)
class Extracted:
    """What the service keeps of an extraction's report; the fields are those of engine.types.ExtractReport."""

    frames_total: int | None
    frames_decoded: int
    frames_examined: int
    packets_damaged: int
    faces_found: int
    faces_kept: int
    reasons: Mapping[str, int]
    stage_seconds: Mapping[str, float]
    queue_fill: Mapping[str, float]
    log_path: str
    preview_path: str | None
    warnings: tuple[str, ...]
    completed: bool
    verdict: SourceVerdict
    faces_in_review: int


@dataclass(frozen=True)
class ExtractFacts:
    """What log and hooks get of a done extraction; the fields have the names that they have there."""

    faces_kept: int
    faces_found: int
    frames: int
    stage_seconds: Mapping[str, float]
    queue_fill: Mapping[str, float]
    verdict: str
    missing_s: float | None
    missing_share: float | None

    @classmethod
    def of(cls, result: Extracted) -> ExtractFacts:
        return cls(
            faces_kept=result.faces_kept,
            faces_found=result.faces_found,
            frames=result.frames_decoded,
            stage_seconds={name: round(value, 2) for name, value in result.stage_seconds.items()},
            queue_fill={name: round(value, 2) for name, value in result.queue_fill.items()},
            verdict=result.verdict.word,
            missing_s=result.verdict.missing_s,
            missing_share=result.verdict.missing_share,
        )

    def by_name(self) -> Mapping[str, object]:
        return asdict(self)


def extracted(report: ExtractReport) -> Extracted:
    """Return what the service keeps of a report."""
    values = {one.name: getattr(report, one.name) for one in fields(Extracted)}
    preview = None if report.preview_path is None else str(report.preview_path)
    return Extracted(**{**values, "log_path": str(report.log_path), "preview_path": preview})


def _encode_request(request: ExtractRequest) -> Iterator[Piece]:
    yield asdict(request)


def _decode_request(pieces: Sequence[Piece]) -> ExtractRequest:
    values = {one.name: pieces[0][one.name] for one in fields(ExtractRequest)}
    for group in ("references", "negatives", "other_age", "source_within", "references_outside"):
        values[group] = tuple(values[group])
    if values["references_within"] is not None:
        values["references_within"] = tuple(values["references_within"])
    return ExtractRequest(**{**values, "settings": ExtractSettings(**values["settings"])})


def _encode_records(records: Sequence[FaceRecord]) -> Iterator[Piece]:
    """Yield faces in pieces of bounded size."""
    for start in range(0, len(records), RECORDS_A_PIECE):
        yield {"records": [asdict(one) for one in records[start : start + RECORDS_A_PIECE]]}


def _decode_records(pieces: Sequence[Piece]) -> tuple[FaceRecord, ...]:
    return tuple(face_record(values) for piece in pieces for values in piece.get("records", ()))


def _encode_resume(resume: Resume) -> Iterator[Piece]:
    yield from _encode_records(resume.records)
    yield {"cursor": asdict(resume.cursor), "counts": asdict(resume.counts), "carry": resume.carry}


def _decode_resume(pieces: Sequence[Piece]) -> Resume:
    last = pieces[-1]
    return Resume(Cursor(**last["cursor"]), _decode_records(pieces), Counts(**last["counts"]), last["carry"])


def _encode_commit(commit: Commit) -> Iterator[Piece]:
    yield from _encode_records(commit.records)
    for start in range(0, len(commit.revised), RECORDS_A_PIECE):
        part = commit.revised[start : start + RECORDS_A_PIECE]
        yield {"revised": [[place, asdict(one)] for place, one in part]}
    yield {"cursor": asdict(commit.cursor), "counts": asdict(commit.counts), "carry": commit.carry}


def _decode_commit(pieces: Sequence[Piece]) -> Commit:
    last = pieces[-1]
    revised = tuple((int(place), face_record(values)) for piece in pieces for place, values in piece.get("revised", ()))
    return Commit(Cursor(**last["cursor"]), _decode_records(pieces), Counts(**last["counts"]), last["carry"], revised)


def _encode_result(result: Extracted) -> Iterator[Piece]:
    yield asdict(result)


def _decode_result(pieces: Sequence[Piece]) -> Extracted:
    values = {one.name: pieces[0][one.name] for one in fields(Extracted)}
    verdict = SourceVerdict(**{**values["verdict"], "unread": tuple(values["verdict"]["unread"])})
    return Extracted(**{**values, "warnings": tuple(values["warnings"]), "verdict": verdict})


EXTRACT_CODECS = Codecs(
    request=Codec(_encode_request, _decode_request),
    resume=Codec(_encode_resume, _decode_resume),
    commit=WorkerCodec(_encode_commit, _decode_commit),
    result=WorkerCodec(_encode_result, _decode_result),
)


class ExtractKind:
    """What the service does about an extraction."""

    name = "extract"
    unit: Literal["frames", "faces"] = "frames"
    done_word = "done"
    needs = Needs(models=True, gpu=True)
    reads_original = True
    has_faceset_alone = False

    def request(
        self, job: Job, inbox: InboxConfig, config: Config, _connection: Connection, *, now_s: float
    ) -> Sequence[Piece] | Failure:
        made = extract_request(job, inbox, config, now_s=now_s)
        return made if isinstance(made, Failure) else tuple(EXTRACT_CODECS.request.encode(made))

    def resume(self, connection: Connection, job: Job) -> Sequence[Piece] | None:
        resume = extraction.resume_of(connection, job)
        return None if resume is None else tuple(EXTRACT_CODECS.resume.encode(resume))

    def start_over(self, connection: Connection, job: Job, basis: str) -> None:
        extraction.start_over(connection, job, basis)

    def store(self, connection: Connection, job: Job, pieces: Sequence[Piece]) -> Sequence[float]:
        commit = EXTRACT_CODECS.commit.decode(pieces)
        extraction.store_commit(connection, job.id, job.attempt, commit)
        return [one.similarity for one in commit.records if one.similarity is not None]

    def ending(self, job: Job, pieces: Sequence[Piece]) -> Ending:
        result = EXTRACT_CODECS.result.decode(pieces)
        verdict = result.verdict
        is_whole = verdict.word == "whole"
        notes = _notes(result)
        damaged = result.packets_damaged - json.loads(job.counts).get("packets_damaged", 0)  # behind all windows
        return Ending(
            completed=result.completed,
            columns=EndColumns(
                report=json.dumps(dict(pieces[0])),
                frames_total=result.frames_decoded,
                reason="" if is_whole else "lost_footage",
                message="; ".join(notes) if is_whole else verdict.sentence,
                hint="" if is_whole else WHOLE_COPY_HINT,
                verdict=verdict.word,
                missing_s=verdict.missing_s,
                missing_share=verdict.missing_share,
            ),
            facts=ExtractFacts.of(result),
            sentence="; ".join((f"{result.faces_kept} of {result.faces_found} faces kept", *notes)),
            source_changed=result.completed and verdict.word in ("still growing", "other content"),
            original="done with" if is_whole else "kept",
            totals={"packets_damaged": max(0, damaged)},
            stage_seconds=result.stage_seconds,
            lack="" if is_whole else f"{verdict.sentence}; the original is kept. {WHOLE_COPY_HINT}",
            warnings=[one for one in result.warnings if is_whole or one != verdict.sentence],
        )

    def why_not_deleted(self, job: Job) -> str:
        return why_not_deleted(job.report)

    def written(self, connection: Connection, job: Job) -> Written:
        frames = json.loads(job.report)["frames_decoded"] if job.report and job.role == "dst" else 0
        return Written(written_faces(connection, job.id), frames)

    def end(self, connection: Connection, job: Job, pieces: Sequence[Piece]) -> None:
        pass

    def follow_ups(self, connection: Connection, job: Job, inbox: InboxConfig, config: Config) -> Sequence[FollowUp]:
        """The faces of a clip that is done get their masks, where the inbox asks for some; else its side may be
        complete now."""
        if job.state is State.DONE and inbox.masks.source is not None:
            return (FollowUp(MaskKind.name, job),)
        return due_curation(connection, job, inbox, config, before=MaskKind.name)


def why_not_deleted(report: str) -> str:
    """Given a job's report (JSON), return "" where it proves that the original was read whole, else why it is kept."""
    verdict = (json.loads(report) if report else {}).get("verdict", {})
    if verdict.get("word") == "whole" and verdict.get("unread") == []:
        return ""
    reasons = verdict.get("unread") or ["the dfld that read it kept no proof that all of it was read"]
    return "kept, not deleted: " + "; ".join(reasons)


def _notes(result: Extracted) -> list[str]:
    """Return what a done clip leaves to a person, and what manual changes left out of it."""
    review, decided = result.faces_in_review, result.reasons.get(MANUAL_CHANGE, 0)
    notes = [f"{review} wait in review/"] if review else []
    return [*notes, f"{decided} are not written again: manual changes"] if decided else notes


def extract_request(job: Job, inbox: InboxConfig, config: Config, *, now_s: float) -> ExtractRequest | Failure:
    """Return the request of one clip, or why the file's own sidecar forbids it."""
    sidecar: dict[str, Any] = json.loads(job.sidecar) if job.sidecar else {}
    if "problem" in sidecar:
        return Failure("file", "sidecar", sidecar["problem"], SIDECAR_HINT)
    chosen = [Path(one) for one in sidecar.get("references", ())]
    within, outside = sidecar_folders(inbox, config)
    for path in chosen:
        if why_not := _refusal(path, within, outside):
            return Failure("file", "sidecar", f"its sidecar names {path} as reference, which {why_not}", SIDECAR_HINT)
    notes = {
        "inbox": inbox.name,
        "file": os.fsdecode(job.path),
        "sha256": job.sha256,
        "consent": inbox.consent,
        "job": str(job.id),
        "start_s": str(sidecar.get("start_s", "")),
        "end_s": str(sidecar.get("end_s", "")),
    }
    return ExtractRequest(
        source=str(inbox.path / os.fsdecode(job.path)),
        workspace=job.workspace,
        role=job.role,
        slug=job.slug,
        person=inbox.name,
        references=tuple(str(path) for path in (chosen or inbox.references)),
        negatives=tuple(str(path) for path in inbox.negatives),
        other_age=tuple(str(path) for path in inbox.other_age),
        allow_mixed=inbox.allow_mixed,
        largest_face=inbox.largest_face,
        backend=inbox.backend,
        model_root=str(config.model_root),
        model_pack=inbox.model_pack,
        settings=inbox.extract,
        start_s=sidecar.get("start_s"),
        end_s=sidecar.get("end_s"),
        source_within=tuple(map(str, inbox.footage_folders)),
        references_within=tuple(map(str, within)) if chosen else None,
        references_outside=tuple(map(str, outside)) if chosen else (),
        notes={key: text for key, text in notes.items() if text},
        take_incomplete=now_s - job.arrived_s >= config.watch.unreadable_grace_s,
        discard=job.discard,
        basis=job.basis,
    )


def sidecar_folders(inbox: InboxConfig, config: Config) -> tuple[list[Path], list[Path]]:
    """Return where the references that a sidecar names must lie, and where they must not: at other people's."""
    own = [inbox.path, *inbox.references, *inbox.sidecar_references]
    others = [path for other in config.inboxes if other.name != inbox.name for path in other.references]
    shared = {real_path(path) for path in inbox.references}
    outside = [
        path
        for path in others
        if real_path(path) not in shared and not lies_within(real_path(path), inbox.sidecar_references)
    ]
    return own, outside


def _refusal(path: Path, within: Sequence[Path], outside: Sequence[Path]) -> str:
    """Say why a sidecar may not name `path`; "" when it may, as far as one check shows."""
    real = real_path(path)
    if not lies_within(real, within):
        return "is neither in the inbox nor among its references; sidecar_references may allow more folders"
    if lies_within(real, outside):
        return "is among the references of another inbox"
    if os.path.isdir(real):  # noqa: PTH112 -- Path.is_dir raises where a folder above is closed to us
        return ""
    try:
        open_regular(path, within=within, outside=outside).close()
    except RefusedFileError as problem:
        return str(problem.strerror)
    except OSError:
        return ""  # it may pass; the worker says what it is
    return ""
