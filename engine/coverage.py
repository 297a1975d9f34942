"""The coverage of a faceset, from its files to a page, a picture and JSON.

Nothing of the faceset is changed; what is measured of its faces is kept beside them.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2

from core.files import replace_file
from engine.errors import FacesetError
from engine.facesets.coverage.document import coverage_document
from engine.facesets.coverage.page import coverage_page
from engine.facesets.coverage.picture import coverage_picture
from engine.facesets.coverage.report import CoverageReport, coverage_of
from engine.facesets.coverage.thumbnails import thumbnails_of
from engine.facesets.curation.cells import PoseCell
from engine.facesets.curation.record import aside_reasons
from engine.facesets.face_listing import UnreadableFace
from engine.facesets.faceset_folder import FacesetFolder
from engine.measure_faceset import OnProgress, measure_faceset
from engine.types import Image
from engine.workspace.output_files import as_output_error


@dataclass(frozen=True, eq=False)
class Covered:
    """The coverage of one faceset."""

    report: CoverageReport
    thumbnails: Mapping[PoseCell, Image]
    unreadable: tuple[UnreadableFace, ...]
    """Files of both facesets that DeepFaceLab would not read as faces."""
    is_complete: bool
    """False where it was stopped: what is counted is a part."""


def cover_faceset(
    here: FacesetFolder,
    there: FacesetFolder | None,
    *,
    stop: threading.Event,
    on_progress: OnProgress,
) -> Covered:
    """Count the faces of `here`, and compare them with those of `there`. Raise FacesetError or OutputError."""
    measured = measure_faceset(here, stop=stop, on_progress=on_progress)
    needed = None if there is None else measure_faceset(there, stop=stop, on_progress=on_progress)
    if not len(measured.features) and not stop.is_set():
        raise FacesetError(f"{here.aligned} holds no face that DeepFaceLab would read")
    report = coverage_of(
        measured.features,
        None if needed is None else needed.features,
        here_name=str(here.aligned),
        there_name=None if there is None else str(there.aligned),
        aside=aside_reasons(here),
    )
    unreadable = measured.unreadable + (() if needed is None else needed.unreadable)
    return Covered(report, thumbnails_of(report, here.aligned), unreadable, not stop.is_set())


def write_coverage(covered: Covered, page: Path) -> tuple[Path, ...]:
    """Write the page, and beside it the picture and the JSON under its name with .png and .json; return all three.

    Files that lie there are replaced. Raise OutputError.
    """
    _, picture = cv2.imencode(".png", coverage_picture(covered.report, covered.thumbnails))
    document = json.dumps(coverage_document(covered.report), indent=1, ensure_ascii=True)
    written = {
        page: coverage_page(covered.report, covered.thumbnails).encode("utf-8", "replace"),
        page.with_suffix(".png"): picture.tobytes(),
        page.with_suffix(".json"): document.encode("ascii") + b"\n",
    }
    for path, content in written.items():
        with as_output_error("write", path):
            replace_file(path, content)
    return tuple(written)
