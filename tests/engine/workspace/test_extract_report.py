"""A clip of which no face was kept says the reason that is true of it."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from engine.face_record import FaceRecord
from engine.reasons import ACCEPTED, ANOTHER_IN_FRAME, MANUAL_CHANGE, NO_MATCH, REVIEW, REVIEW_UNCLEAR
from engine.types import Counts, ExtractReport, ExtractSettings
from engine.workspace.extract_report import Subject, make_report
from engine.workspace.file_names import output_layout


def report_of(*faces: tuple[str, float, str | None]) -> ExtractReport:
    """`faces`: reason, similarity, file of each."""
    records = [
        FaceRecord(place, None, 0, (0, 0, 9, 9), 1.0, similarity, reason == ACCEPTED, reason, file)
        for place, (reason, similarity, file) in enumerate(faces)
    ]
    subject = SimpleNamespace(
        source=Path("a.mp4"),
        layout=output_layout(Path("out")),
        identity=SimpleNamespace(name="miranda"),
        settings=ExtractSettings(),
        threshold=0.4,
    )
    return make_report(
        cast("Subject", cast("Any", subject)),
        records,
        Counts(frames_decoded=len(faces), frames_examined=len(faces)),
        total=None,
        notices=(),
        stage_seconds={},
        queue_fill={},
        completed=True,
    )


def test_faces_that_a_hand_deleted_are_the_reason_and_not_their_similarity() -> None:
    (warning,) = report_of((MANUAL_CHANGE, 0.68, None), (MANUAL_CHANGE, 0.6, None), (NO_MATCH, 0.1, None)).warnings
    assert "manual changes decided about all 2 matching faces" in warning
    assert "--replace --discard-hand-work makes them again" in warning
    assert "is needed" not in warning


def test_faces_that_wait_in_review_are_counted_by_their_files() -> None:
    report = report_of((REVIEW, 0.38, "a.jpg"), (REVIEW_UNCLEAR, 0.41, "b.jpg"), (ANOTHER_IN_FRAME, 0.5, None))
    assert report.faces_in_review == 2
    assert "2 of 3 faces wait in out/review to be looked through" in report.warnings[0]
    assert "is needed" not in report.warnings[0]


def test_a_similarity_is_called_too_low_only_where_it_is() -> None:
    assert "has 0.30 (frame 0), 0.40 is needed" in report_of((NO_MATCH, 0.3, None)).warnings[0]
    (warning,) = report_of((ANOTHER_IN_FRAME, 0.5, None)).warnings
    assert "similar enough by itself, but another in frame" in warning
    assert "is needed" not in warning


def test_a_clip_without_faces_and_one_with_kept_faces_say_so() -> None:
    assert "no face at all was found in 0 frames" in report_of().warnings[0]
    assert report_of((ACCEPTED, 0.6, "a.jpg")).warnings == ()
