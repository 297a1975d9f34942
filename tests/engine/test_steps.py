"""Slow is told from stuck: work that reads no new frame is told of as long as it moves, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.extract import extract
from engine.footage.video import open_frames
from engine.frames.stretch import StretchReader
from engine.steps import REPORT_EVERY_S, Steps
from engine.types import Commit, Cursor, ExtractReport, ExtractSettings, Face, Image, Progress, Resume
from engine.workspace.file_names import inbox_layout
from tests.clips import make_clip
from tests.painted import ALICE, PaintedBackend, identity_of, picture

FRAMES = 16
DEADLINE_S = 30.0


class Clock:
    """Later at every look than the interval between two tellings."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 2 * REPORT_EVERY_S
        return self.now


class Told:
    """Collects what is told, and lets another thread wait for more."""

    def __init__(self) -> None:
        self.all: list[Progress] = []
        self.changed = threading.Condition()

    def __call__(self, progress: Progress) -> None:
        with self.changed:
            self.all.append(progress)
            self.changed.notify_all()

    def wait_for_more_than(self, count: int) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.all) > count, DEADLINE_S), "nothing is told"


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder of pictures of Alice, who walks."""
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(FRAMES):
        cv2.imwrite(str(folder / f"{number:03d}.png"), picture([(ALICE, 100 + 5 * number, 100, 40)]))
    return folder


def run(source: Path, out: Path, backend: PaintedBackend, told: Told, **options: object) -> ExtractReport:
    return extract(
        source,
        inbox_layout(out, "src", "clip"),
        identity=identity_of(ALICE),
        backend=backend,
        settings=ExtractSettings(output_size=64, keep=str(options.pop("keep", "all"))),  # type: ignore[arg-type]
        stop=threading.Event(),
        on_progress=told,
        clock=Clock(),
        **options,  # type: ignore[arg-type]
    )


def test_filling_in_a_window_is_told_of_although_no_new_frame_is_read(images: Path, tmp_path: Path) -> None:
    told = Told()

    class Slow(PaintedBackend):
        """Goes on with a face only after something was told of those before: a film's longest window, in small."""

        marked = 0
        told_before = 0  # when the last face was marked: its step came after, and what tells of it later still

        def landmarks_68(self, image: Image, faces: Sequence[Face]) -> NDArray[np.float32]:
            if threading.current_thread() is not threading.main_thread():
                if self.marked:
                    told.wait_for_more_than(self.told_before)
                self.marked += 1
                self.told_before = len(told.all)
            return super().landmarks_68(image, faces)

    backend = Slow()
    report = run(images, tmp_path / "out", backend, told)
    assert report.faces_kept == FRAMES
    assert backend.marked > FRAMES / 2
    assert sum(progress.frames_done == FRAMES for progress in told.all) >= backend.marked - 1


def test_faces_of_a_shot_are_told_as_undecided_until_it_is_committed(images: Path, tmp_path: Path) -> None:
    told = Told()
    commits: list[tuple[int, Commit]] = []
    run(
        images,
        tmp_path / "out",
        PaintedBackend(),
        told,
        on_commit=lambda commit: commits.append((len(told.all), commit)),
    )
    ((before, commit),) = commits  # one shot
    undecided = [progress.faces_undecided for progress in told.all[:before]]
    assert undecided == sorted(undecided), "nothing is decided before the commit"
    assert 1 < undecided[-1] <= len(commit.records)
    assert {progress.faces_kept for progress in told.all[:before]} == {0}
    assert {(progress.faces_kept, progress.faces_undecided) for progress in told.all[before:]} == {(FRAMES, 0)}


def test_faces_of_an_earlier_shot_are_decided_while_the_next_one_is_read(images: Path, tmp_path: Path) -> None:
    for number in range(FRAMES, 2 * FRAMES):
        cv2.imwrite(str(images / f"{number:03d}.png"), 255 - picture([(ALICE, 300 - 5 * number, 100, 40)]))
    told, ends = Told(), []
    run(images, tmp_path / "out", PaintedBackend(), told, on_commit=lambda commit: ends.append((len(told.all), commit)))
    assert len(ends) == 2
    (first, _), (second, last) = ends
    assert 0 < told.all[first].faces_undecided <= told.all[second - 1].faces_undecided <= FRAMES
    assert told.all[-1].faces_undecided == 0
    assert last.cursor.next_frame == 2 * FRAMES


def test_comparing_all_faces_at_the_end_is_told_of(images: Path, tmp_path: Path) -> None:
    plain, varied = Told(), Told()
    run(images, tmp_path / "plain", PaintedBackend(), plain)
    report = run(images, tmp_path / "varied", PaintedBackend(), varied, keep="varied")
    ends = [sum(progress.frames_done == FRAMES for progress in one.all) for one in (plain, varied)]
    assert ends[1] >= ends[0] + report.reasons["accepted"]


def test_walking_to_a_cursor_is_told_of(tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=FRAMES)
    steps = 0

    def step() -> None:
        nonlocal steps
        steps += 1

    with open_frames(clip) as reader:
        cursors = [Cursor(frame.index + 1, frame.pts) for frame in reader]
    with open_frames(clip, after=cursors[-3], step=step) as reader:
        assert [frame.index for frame in reader] == [FRAMES - 2, FRAMES - 1]
    assert steps >= FRAMES - 2


def test_a_resumed_run_tells_that_it_walks_before_it_reads(tmp_path: Path) -> None:
    clip, told = make_clip(tmp_path / "clip.mp4", frames=FRAMES), Told()
    commits: list[Commit] = []
    run(clip, tmp_path / "out", PaintedBackend(), Told(), on_commit=commits.append)
    last = commits[-1]
    run(clip, tmp_path / "out", PaintedBackend(), told, resume=Resume(last.cursor, (), last.counts, last.carry))
    assert len(told.all) > 1
    assert {progress.frames_done for progress in told.all} == {FRAMES}


def test_every_frame_left_out_of_a_stretch_is_a_step(images: Path) -> None:
    steps: list[None] = []
    with StretchReader(
        open_frames(images), start_s=(FRAMES - 2) / 25, end_s=None, step=lambda: steps.append(None)
    ) as reader:
        assert [frame.index for frame in reader] == [FRAMES - 2, FRAMES - 1]
    assert len(steps) == FRAMES - 2


@pytest.mark.parametrize("moves", [True, False])
def test_waiting_for_work_tells_of_it_only_when_it_moves(moves: bool) -> None:
    told: list[int] = []
    clock = Clock()
    steps = Steps(lambda: told.append(len(told)), clock)
    looked, done = threading.Event(), threading.Event()

    def work() -> int:
        if moves:
            steps.step()
        assert done.wait(DEADLINE_S)
        return 5

    report_if_due: Callable[[], None] = steps.report_if_due

    def look() -> None:
        report_if_due()
        (done if looked.is_set() else looked).set()  # the second look ends the work

    steps.report_if_due = look  # type: ignore[method-assign]
    with ThreadPoolExecutor(1) as pool:
        assert steps.result_of(pool.submit(work)) == 5
    assert len(told) == (1 if moves else 0)


def test_what_the_work_raises_reaches_whoever_waits() -> None:
    steps = Steps(lambda: None, Clock())

    def work() -> None:
        raise TimeoutError("the work's own")

    with ThreadPoolExecutor(1) as pool, pytest.raises(TimeoutError, match="the work's own"):
        steps.result_of(pool.submit(work))
