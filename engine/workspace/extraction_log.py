"""debug/extraction_log.json: everything that decided about the faces of one clip, for people and programs.

The log names settings, versions, models with their hashes and licences, and every face with its similarity,
place and reason. It holds no picture and no embedding.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict

from engine.backends.backend import BackendInfo
from engine.face_record import FaceRecord
from engine.types import ExtractReport, ExtractSettings, Identity

SCHEMA = 1
FOR_PROGRAMS = ("file_index", "face_id", "track_id")
"""Not for who reads the log: a file says itself which face it shows, and so does the manifest."""


def extraction_log(
    report: ExtractReport,
    records: Sequence[FaceRecord],
    *,
    settings: ExtractSettings,
    threshold: float,
    backend: BackendInfo,
    identity: Identity,
    notes: Mapping[str, str],
    program: Mapping[str, str],
) -> bytes:
    """Return the log of one clip: JSON, with one face a line, readable by eye, searchable by line."""
    head: dict[str, object] = {
        "schema": SCHEMA,
        "program": dict(program),
        "source": str(report.source),
        "workspace": str(report.workspace),
        "completed": report.completed,
        "notes": dict(notes),
        "settings": asdict(settings)
        | {
            "similarity_threshold": threshold,
            "similarity_threshold_from": "auto" if settings.similarity_threshold is None else "settings",
            "face_type": settings.crop_face_type,
            "margin_factor": settings.crop_margin,
        },
        "backend": asdict(backend),
        "identity": {"name": identity.name, "photos": list(identity.photos)},
        "counts": {
            "frames_total": report.frames_total,
            "frames_decoded": report.frames_decoded,
            "frames_examined": report.frames_examined,
            "packets_damaged": report.packets_damaged,
            "faces_found": report.faces_found,
            "faces_kept": report.faces_kept,
            "faces_kept_fit_to_train": sum(record.kept and bool(record.fit_to_train) for record in records),
            "reasons": dict(report.reasons),
        },
        "source_verdict": asdict(report.verdict),
        "stage_seconds": {stage: round(seconds, 3) for stage, seconds in report.stage_seconds.items()},
        "queue_fill": {queue: round(share, 3) for queue, share in report.queue_fill.items()},
        "warnings": list(report.warnings),
        "tracks": _tracks(records),
    }
    return _log_bytes(head, [_face(record) for record in sorted(records, key=_place)])


def _place(record: FaceRecord) -> tuple[int, int, int]:
    """Faces of a track stand together, in the order of frames."""
    return (-1 if record.track is None else record.track, record.frame, record.index)


def _tracks(records: Sequence[FaceRecord]) -> list[dict[str, object]]:
    """One line a track: where it was, what was decided, and what became of its faces."""
    by_track: dict[int, list[FaceRecord]] = {}
    for record in records:
        if record.track is not None:
            by_track.setdefault(record.track, []).append(record)
    return [
        {
            "track": track,
            "first_frame": min(record.frame for record in faces),
            "last_frame": max(record.frame for record in faces),
            "similarity": None if (value := faces[-1].track_similarity) is None else round(value, 4),
            "faces": len(faces),
            "kept": sum(record.kept for record in faces),
            "reasons": dict(sorted(Counter(record.reason for record in faces).items())),
        }
        for track, faces in sorted(by_track.items())
    ]


def _log_bytes(head: Mapping[str, object], faces: Sequence[Mapping[str, object]]) -> bytes:
    text = json.dumps(head, indent=2, ensure_ascii=False)
    lines = ",\n    ".join(json.dumps(face, ensure_ascii=False) for face in faces)
    body = f"[\n    {lines}\n  ]" if faces else "[]"
    whole = f'{text[:-2]},\n  "faces": {body}\n}}\n'
    # A file name that is not UTF-8 has lone surrogates in it; `\\udcff` is how JSON writes them, and reads them back.
    return whole.encode(errors="backslashreplace")


def _face(record: FaceRecord) -> dict[str, object]:
    face = {name: value for name, value in asdict(record).items() if name not in FOR_PROGRAMS}
    face["bbox"] = [round(value, 1) for value in record.bbox]
    face["detection_score"] = round(record.detection_score, 4)
    face["similarity"] = None if record.similarity is None else round(record.similarity, 4)
    return face
