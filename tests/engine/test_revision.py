"""Who changes the result of an extraction raises EXTRACTION_REVISION; who does not, leaves it."""

from __future__ import annotations

import threading
from pathlib import Path

import cv2

from engine.extract import extract
from engine.face_record import FaceRecord
from engine.revision import EXTRACTION_REVISION
from engine.types import Commit, ExtractSettings
from engine.workspace.file_names import output_layout
from tests.painted import ALICE, BOB, FAINT_ALICE, PaintedBackend, identity_of, picture

REVISION = 2
RESULT = """\
0.0 track 0 at 6,9 accepted 00000000_0.jpg
0.1 track 1 at 25,15 no_match -
1.0 track 0 at 7,9 accepted 00000001_0.jpg
2.0 track 0 at 7,9 accepted 00000002_0.jpg
3.0 track 0 at 8,9 accepted 00000003_0.jpg
4.0 track 0 at 8,9 accepted 00000004_0.jpg
4.1 track 1 at 25,15 no_match -
4.2 track 2 at 5,9 review_unclear 00000004_1.jpg
5.0 track 0 at 9,9 accepted 00000005_0.jpg
6.0 track 0 at 10,9 accepted 00000006_0.jpg
7.0 track 0 at 10,9 accepted 00000007_0.jpg
8.0 track 0 at 11,9 accepted 00000008_0.jpg
8.1 track 1 at 25,15 no_match -
8.2 track 3 at 7,9 another_in_frame -
9.0 track 0 at 11,9 accepted 00000009_0.jpg
10.0 track 0 at 12,9 accepted 00000010_0.jpg
11.0 track 0 at 13,9 accepted 00000011_0.jpg
12.0 track 0 at 13,9 accepted 00000012_0.jpg
12.1 track 1 at 25,15 no_match -
12.2 track 4 at 10,9 another_in_frame -
13.0 track 0 at 14,9 accepted 00000013_0.jpg
13.1 track 1 at 25,15 no_match -
13.2 track 5 at 10,9 review_unclear 00000013_1.jpg
"""
"""What this revision makes of the footage below; so did dfld before there were revisions, and revision 1, which
measured sharpness otherwise: which faces are fit to train on, and which of near-duplicates stays. Where the test
fails because a result was changed on purpose: raise EXTRACTION_REVISION in that commit, and note both here.
Half-done clips then start over, which is what is wanted."""


def line(record: FaceRecord) -> str:
    x1, y1, x2, y2 = record.bbox
    middle = f"{(x1 + x2) / 20:.0f},{(y1 + y2) / 20:.0f}"  # in steps of 10 px: other builds of OpenCV move an edge
    return f"{record.frame}.{record.index} track {record.track} at {middle} {record.reason} {record.file or '-'}"


def result(folder: Path) -> list[str]:
    """Two shots: a person who walks towards a stranger, then the same person in faint light."""
    images = folder / "images"
    images.mkdir()
    for number in range(24):
        people = (
            [(ALICE, 60 + 6 * number, 90, 40), (BOB, 250, 150, 30)] if number < 14 else [(FAINT_ALICE, 160, 120, 45)]
        )
        cv2.imwrite(str(images / f"{number:03d}.png"), picture(people, wall=number >= 14))
    commits: list[Commit] = []
    extract(
        images,
        output_layout(folder / "out"),
        identity=identity_of(ALICE),
        backend=PaintedBackend(),
        settings=ExtractSettings(output_size=64),
        stop=threading.Event(),
        on_commit=commits.append,
    )
    return [line(record) for commit in commits for record in commit.records]


def test_the_result_is_that_of_the_revision(tmp_path: Path) -> None:
    assert (EXTRACTION_REVISION, result(tmp_path)) == (REVISION, RESULT.splitlines())
