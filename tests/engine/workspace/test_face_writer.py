"""Faces -> files in a few threads: names are the caller's, errors come back, nothing is left half done."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from dfl.image import read_metadata
from engine.errors import OutputError
from engine.face_id import box_of, face_id
from engine.results.manifest_lines import RunNote
from engine.results.run_results import Results
from engine.stopwatch import Stopwatch
from engine.types import ExtractSettings, Face, Frame
from engine.workspace.face_writer import WAITING_MAX, FaceWriter
from engine.workspace.file_names import Layout, output_layout
from engine.workspace.output_files import prepare_workspace
from tests.painted import ALICE, PaintedBackend, picture

SOURCE = "5" * 64


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    made = output_layout(tmp_path / "out")
    prepare_workspace(made)
    return made


def results_in(layout: Layout) -> Results:
    return Results(layout, RunNote("clip", "content", "basis"), resumes=False)


def frame(index: int) -> Frame:
    return Frame(index, index, Fraction(1, 25), picture([(ALICE, 100, 120, 40)]), f"{index:08d}.png")


def face_in(one: Frame) -> tuple[Face, NDArray[np.float32]]:
    backend = PaintedBackend()
    (face,) = backend.detect(one.pixels)
    return face, backend.landmarks_68(one.pixels, [face])[0]


def test_an_accepted_face_lies_in_aligned_and_a_doubtful_one_in_review_each_with_its_metadata(layout: Layout) -> None:
    one = frame(7)
    face, points = face_in(one)
    with (
        results_in(layout) as results,
        FaceWriter(layout, results, ExtractSettings(output_size=128), Stopwatch(), source_sha256=SOURCE) as writer,
    ):
        kept = writer.write_face(one, face, points, 0, review=False)
        doubtful = writer.write_face(one, face, points, 1, review=True)
        writer.wait()
    assert [path.name for path in layout.aligned.iterdir()] == [kept.result().file]
    assert [path.name for path in layout.review.iterdir()] == [doubtful.result().file]
    for path in (layout.aligned / str(kept.result().file), layout.review / str(doubtful.result().file)):
        metadata = read_metadata(path.read_bytes())
        assert metadata.source_filename == "00000007.png"
        assert metadata.dfld_face_id == face_id(SOURCE, 7, box_of(face.bbox.tolist()))
    assert len(list(layout.masks.iterdir())) == 2
    assert kept.result().measured.sharpness is not None


def test_a_face_of_a_blurred_frame_is_less_sharp_and_noise_hides_nothing(layout: Layout) -> None:
    one = frame(5)
    face, points = face_in(one)
    blurred = np.asarray(cv2.GaussianBlur(one.pixels, (0, 0), 4), np.float64)
    noisy = np.clip(blurred + np.random.default_rng(0).normal(0, 6, blurred.shape), 0, 255)
    found = []
    with (
        results_in(layout) as results,
        FaceWriter(layout, results, ExtractSettings(output_size=256), Stopwatch(), source_sha256=SOURCE) as writer,
    ):
        for index, pixels in enumerate((one.pixels, blurred, noisy)):
            seen = replace(one, pixels=np.asarray(pixels, np.uint8))
            found.append(writer.write_face(seen, face, points, index, review=False).result().measured.sharpness or 0.0)
    assert found[0] > max(found[1:]) + 0.5


def test_only_faces_that_are_fit_to_train_are_written_where_that_is_asked(layout: Layout) -> None:
    one = frame(3)
    face, points = face_in(one)
    small = Face(face.bbox * 0.5, face.detection_score)
    settings = ExtractSettings(output_size=128, only_fit_to_train=True)
    with (
        results_in(layout) as results,
        FaceWriter(layout, results, settings, Stopwatch(), source_sha256=SOURCE) as writer,
    ):
        kept = writer.write_face(one, face, points, 0, review=False).result()
        dropped = writer.write_face(one, small, points, 1, review=False).result()
        doubtful = writer.write_face(one, small, points, 2, review=True).result()
    assert (kept.measured.fit_to_train, dropped.measured.fit_to_train) == (True, False)
    assert dropped.file is None
    assert [path.name for path in layout.aligned.iterdir()] == [kept.file]
    assert [path.name for path in layout.review.iterdir()] == [doubtful.file], "what a person will look at stays"


def test_names_and_bytes_do_not_depend_on_the_number_of_threads(tmp_path: Path) -> None:
    written = []
    for threads in (1, 4):
        layout = output_layout(tmp_path / str(threads))
        prepare_workspace(layout)
        with (
            results_in(layout) as results,
            FaceWriter(
                layout, results, ExtractSettings(output_size=64), Stopwatch(), source_sha256=SOURCE, threads=threads
            ) as writer,
        ):
            for index in range(2 * WAITING_MAX):
                one = frame(index)
                writer.write_face(one, *face_in(one), 0, review=False)
            writer.wait()
        written.append({path.name: path.read_bytes() for path in layout.aligned.iterdir()})
    assert len(written[0]) == 2 * WAITING_MAX
    assert written[0] == written[1]


def test_what_a_task_could_not_write_is_told_to_who_waits(layout: Layout) -> None:
    one = frame(0)
    with (
        results_in(layout) as results,
        FaceWriter(layout, results, ExtractSettings(), Stopwatch(), source_sha256=SOURCE) as writer,
    ):
        layout.aligned.rmdir()
        layout.aligned.write_text("a file where the folder should be")
        writer.write_face(one, *face_in(one), 0, review=False)
        with pytest.raises(OutputError):
            writer.wait()


def test_the_threads_work_is_added_up_by_stage(layout: Layout) -> None:
    watch = Stopwatch()
    one = frame(0)
    with (
        results_in(layout) as results,
        FaceWriter(layout, results, ExtractSettings(), watch, source_sha256=SOURCE) as writer,
    ):
        writer.write_face(one, *face_in(one), 0, review=False)
        writer.wait()
    assert set(watch.seconds) == {"align", "encode", "write files", "measure"}
