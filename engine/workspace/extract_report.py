"""What is left of an extraction when the frames are done: report, warnings, log and preview sheet."""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from engine.backends.backend import BackendInfo
from engine.face_record import FaceRecord
from engine.frames.contract import FrameForm
from engine.reasons import MANUAL_CHANGE, NOT_FIT, NOT_VARIED, REVIEW_REASONS, TOO_MANY_FACES
from engine.types import WHOLE, Counts, ExtractReport, ExtractSettings, Identity, SourceVerdict
from engine.workspace.align import encode_picture
from engine.workspace.extraction_log import extraction_log
from engine.workspace.file_names import Layout
from engine.workspace.output_files import sync_folders, write_file
from engine.workspace.preview import preview_sheet


@dataclass(frozen=True)
class Subject:
    """What stays the same for a whole clip, as report and log say it."""

    source: Path
    layout: Layout
    identity: Identity
    backend: BackendInfo
    settings: ExtractSettings
    threshold: float
    notes: Mapping[str, str]
    within: tuple[Path, ...] | None = None
    """Folders that the source must lie in; None = anywhere."""

    @property
    def form(self) -> FrameForm:
        """What frames are made of what is stored: those for the merger have one size."""
        return FrameForm(tone_map=self.settings.tone_map, one_size=self.layout.frames is not None)


def make_report(
    subject: Subject,
    records: Sequence[FaceRecord],
    counts: Counts,
    *,
    total: int | None,
    notices: tuple[str, ...],
    stage_seconds: Mapping[str, float],
    queue_fill: Mapping[str, float],
    completed: bool,
    verdict: SourceVerdict = WHOLE,
) -> ExtractReport:
    """Sum up what is known of a clip; `total`: frames by its header, `notices`: what the reader had to say."""
    kept = sum(record.kept for record in records)
    return ExtractReport(
        source=subject.source,
        workspace=subject.layout.root,
        frames_total=total,
        frames_decoded=counts.frames_decoded,
        frames_examined=counts.frames_examined,
        packets_damaged=counts.packets_damaged,
        faces_found=len(records),
        faces_kept=kept,
        reasons=dict(Counter(record.reason for record in records)),
        stage_seconds=dict(stage_seconds),
        queue_fill=dict(queue_fill),
        log_path=subject.layout.log,
        preview_path=subject.layout.preview if kept else None,
        warnings=(*notices, *(_warnings(subject, records, counts, verdict) if completed else ())),
        completed=completed,
        verdict=verdict,
        faces_in_review=faces_in_review(records),
    )


def _warnings(subject: Subject, records: Sequence[FaceRecord], counts: Counts, verdict: SourceVerdict) -> Iterator[str]:
    if verdict.word != "whole":
        yield verdict.sentence
    if counts.packets_damaged:
        yield f"{counts.packets_damaged} damaged packets were skipped; the frames in them are missing"
    if subject.settings.format == "png" and any(record.kept for record in records):
        yield "DeepFaceLab does not read these PNG files: its metadata is kept in JPEG alone (--format jpg)"
    if subject.settings.crop_face_type is None and any(record.kept for record in records):
        yield "plain crops carry no DeepFaceLab metadata: DeepFaceLab cannot train on them"
    if not any(record.kept for record in records):
        yield f"no face of {subject.identity.name} was kept: {_why_none(subject, records, counts)}"


def _why_none(subject: Subject, records: Sequence[FaceRecord], counts: Counts) -> str:
    """Say why no face was kept: what became of those that were similar enough, else how far the best was."""
    decided = sum(record.reason == MANUAL_CHANGE for record in records)
    in_review = faces_in_review(records)
    if in_review:
        more = f"; {decided} more are not written again: manual changes" if decided else ""
        return f"{in_review} of {len(records)} faces wait in {subject.layout.review} to be looked through{more}"
    if decided:
        return (
            f"manual changes decided about all {decided} matching faces, so they are not written again; "
            "--replace --discard-hand-work makes them again"
        )
    fitting = Counter(record.reason for record in records if record.reason in (NOT_FIT, NOT_VARIED, TOO_MANY_FACES))
    if fitting:
        return "; ".join(f"{count} of {len(records)} faces: {reason}" for reason, count in fitting.most_common())
    best = max((record for record in records if record.similarity is not None), key=_similarity, default=None)
    if best is None:
        found = f"{len(records)} faces were found, none could be compared" if records else "no face at all was found"
        return f"{found} in {counts.frames_examined} frames"
    seen = f"the most similar of {len(records)} faces has {_similarity(best):.2f} (frame {best.frame})"
    if _similarity(best) < subject.threshold:
        return f"{seen}, {subject.threshold:.2f} is needed"
    return f"{seen}: similar enough by itself, but {best.reason.replace('_', ' ')}"


def faces_in_review(records: Sequence[FaceRecord]) -> int:
    """Return how many faces were written to review/."""
    return sum(record.file is not None and record.reason in REVIEW_REASONS for record in records)


def _similarity(record: FaceRecord) -> float:
    return record.similarity if record.similarity is not None else -1.0


def finish(report: ExtractReport, records: Sequence[FaceRecord], subject: Subject) -> ExtractReport:
    """Write preview and log last: a log names files that are there."""
    sheet = preview_sheet(f"{subject.identity.name} in {report.source.name}", records, subject.layout.aligned)
    if sheet is None:
        report = replace(report, preview_path=None)
    else:
        write_file(subject.layout.preview, encode_picture(sheet, "jpg", jpeg_quality=90))
    write_log(report, records, subject)
    sync_folders([subject.layout.debug])
    return report


def write_log(report: ExtractReport, records: Sequence[FaceRecord], subject: Subject) -> None:
    """Write the log; at the start too, so that faces of a run that was killed can be distinguished from others."""
    log = extraction_log(
        report,
        records,
        settings=subject.settings,
        threshold=subject.threshold,
        backend=subject.backend,
        identity=subject.identity,
        notes=subject.notes,
        program=_program(),
    )
    write_file(subject.layout.log, log)


def _program() -> dict[str, str]:
    names = {"dfld": "dfld", "numpy": "numpy", "opencv": "opencv-python", "av": "av"}
    found = {"python": platform.python_version()}
    for label, distribution in names.items():
        try:
            found[label] = version(distribution)
        except PackageNotFoundError:
            found[label] = "unknown"
    return found
