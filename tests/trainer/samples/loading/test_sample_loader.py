"""Batches from processes: the same ones whatever the number of processes, whatever happens to the folder."""

from __future__ import annotations

import multiprocessing
from collections import deque
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from dfl.image import read_metadata, with_metadata
from dfl.xseg_mask import encode_xseg_mask
from tests.faceset_rig import face_jpeg
from trainer.errors import SampleError
from trainer.samples.batch_plan import BatchPlan, Side, TrainingPlace
from trainer.samples.loading.sample_loader import SampleLoader
from trainer.samples.sample_maker import FaceProblem, SampleMaker, sample_at
from trainer.samples.settings import Sample, SampleSettings

SETTINGS = SampleSettings(64, "whole_face", random_flip=True)
BATCH = 3


def a_folder(folder: Path, numbers: Sequence[int]) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers:
        (folder / f"{number:05d}_0.jpg").write_bytes(face_jpeg(number))
    return folder


def half_a_face(number: int) -> bytes:
    """A whole container, whose pixels end early."""
    return face_jpeg(number)[:-500] + b"\xff\xd9"


class Noted:
    """Whom a loader names the faces that it leaves out."""

    def __init__(self) -> None:
        self.faces: list[tuple[str, str]] = []

    def __call__(self, side: str, face: FaceProblem) -> None:
        self.faces.append((side, face.name))


def batches(
    sides: Sequence[Side], first: int, count: int, *, processes: int = 1, place: TrainingPlace | None = None
) -> list[list[NDArray[np.uint8]]]:
    """For each iteration: warped, target and masks of each side, copied."""
    found = []
    place = place or TrainingPlace(seed=5, batch_size=BATCH)
    with SampleLoader(sides, place, first_iteration=first, processes=processes, on_left_out=Noted()) as loader:
        for number in range(count):
            iteration, samples = loader.next_batches()
            assert iteration == first + number
            found.append([np.array(one) for s in samples for one in (s.warped, s.target, s.masks)])
    return found


def assert_equal(one: list[list[NDArray[np.uint8]]], other: list[list[NDArray[np.uint8]]]) -> None:
    assert len(one) == len(other)
    for mine, theirs in zip(one, other, strict=True):
        for left, right in zip(mine, theirs, strict=True):
            np.testing.assert_array_equal(left, right)


def test_a_resume_and_another_number_of_processes_give_the_same_batches(tmp_path: Path) -> None:
    folders = [a_folder(tmp_path / name, range(start, start + 7)) for name, start in (("src", 0), ("dst", 20))]
    with_reference = SampleSettings(64, "full_face", colour_transfer="rct", random_background=True, hsv_power=0.1)
    sides = [
        Side("src", folders[0], with_reference, uniform_yaw=True, reference_folder=folders[1]),
        Side("dst", folders[1], SampleSettings(64, "full_face", random_flip=True)),
    ]
    whole = batches(sides, 0, 8, processes=2)
    assert_equal(whole[5:], batches(sides, 5, 3, processes=1))
    assert len({one[1].tobytes() for one in whole}) == 8, "no two batches are the same"


def test_ranks_share_an_epoch_and_each_has_random_numbers_of_its_own(tmp_path: Path) -> None:
    side = Side("src", a_folder(tmp_path / "src", range(12)), SETTINGS)
    plans = [BatchPlan(side, TrainingPlace(5, BATCH, rank=rank, ranks=2)) for rank in range(2)]
    requests = [one for iteration in range(2) for plan in plans for one in plan.requests(iteration).values()]
    assert sorted(one.faces[0].name for one in requests) == [f"{number:05d}_0.jpg" for number in range(12)]
    assert len({one.seed for one in requests}) == 12


def test_a_process_gives_what_a_maker_gives_in_this_one(tmp_path: Path) -> None:
    side = Side("src", a_folder(tmp_path / "src", range(5)), SETTINGS)
    ((warped, target, masks),) = batches([side], 2, 1)
    maker = SampleMaker(side.folder, side.settings, path="fast")
    out: Sample[np.uint8] = Sample(np.zeros_like(warped), np.zeros_like(target), np.zeros_like(masks))
    for number, request in BatchPlan(side, TrainingPlace(5, BATCH)).requests(2).items():
        assert maker.make(request, sample_at(out, number)) == (True, ())
    assert_equal([[out.warped, out.target, out.masks]], [[warped, target, masks]])


def test_broken_pictures_are_named_once_and_left_out(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "src", range(8))
    for name in ("00002_0.jpg", "00003_0.jpg"):
        (folder / name).write_bytes(half_a_face(30))
    (folder / "00004_0.jpg").write_bytes(b"no picture")
    noted = Noted()
    side = Side("src", folder, SETTINGS)
    with SampleLoader([side], TrainingPlace(1, 4), first_iteration=0, processes=1, on_left_out=noted) as loader:
        for _ in range(6):
            _, (batch,) = loader.next_batches()
            assert batch.target.reshape(4, -1).any(axis=1).all()
        assert loader.face_counts == {"src": 7}
    assert sorted(noted.faces) == [("src", f"0000{number}_0.jpg") for number in (2, 3, 4)]


def test_a_faceset_of_nothing_but_broken_pictures_ends_with_an_error(tmp_path: Path) -> None:
    folder = tmp_path / "src"
    folder.mkdir()
    for number in range(6):
        (folder / f"{number}.jpg").write_bytes(half_a_face(number))
    side = Side("src", folder, SETTINGS)
    loader = SampleLoader([side], TrainingPlace(1, 2), first_iteration=0, processes=1, on_left_out=Noted())
    with loader, pytest.raises(SampleError, match="none of its 6 faces can be read"):
        loader.next_batches()


def test_faces_that_come_and_go_count_from_the_next_epoch_on(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "src", range(6))
    side = Side("src", folder, SETTINGS)
    with SampleLoader([side], TrainingPlace(1, 2), first_iteration=0, processes=1, on_left_out=Noted()) as loader:
        loader.next_batches()
        a_folder(folder, range(6, 10))
        assert loader.face_counts == {"src": 6}
        for _ in range(4):
            loader.next_batches()
        assert loader.face_counts == {"src": 10}


def test_a_folder_whose_files_are_all_renamed_is_listed_again_at_once(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "src", range(40))
    noted = Noted()
    side = Side("src", folder, SETTINGS)
    with SampleLoader([side], TrainingPlace(1, 2), first_iteration=0, processes=1, on_left_out=noted) as loader:
        loader.next_batches()
        for path in list(folder.iterdir()):
            path.rename(path.with_name(f"renamed_{path.name}"))
        for _ in range(8):
            loader.next_batches()
        assert loader.face_counts == {"src": 40}
    assert noted.faces == [], "files that are gone are not broken"


def test_a_face_that_is_masked_anew_is_trained_with_its_new_mask(tmp_path: Path) -> None:
    folder = a_folder(tmp_path / "src", [1])
    maker = SampleMaker(folder, SETTINGS, path="fast")
    side, place = Side("src", folder, SETTINGS), TrainingPlace(1, 1)
    out = Sample(*(np.zeros(shape, np.uint8) for shape in ((1, 64, 64, 3), (1, 64, 64, 3), (1, 2, 64, 64))))
    plan = BatchPlan(side, place)
    maker.make(plan.request(0, 0), sample_at(out, 0))
    assert out.masks[0, 0].any()
    data = (folder / "00001_0.jpg").read_bytes()
    empty = encode_xseg_mask(np.zeros((16, 16), np.float32))
    (folder / "00001_0.jpg").write_bytes(with_metadata(data, replace(read_metadata(data), xseg_mask=empty)))
    maker.make(plan.request(0, 0), sample_at(out, 0))
    assert not out.masks.any()


def test_a_killed_process_is_an_error_and_not_a_wait(tmp_path: Path) -> None:
    side = Side("src", a_folder(tmp_path / "src", range(3)), SETTINGS)
    with SampleLoader([side], TrainingPlace(1, 2), first_iteration=0, processes=1, on_left_out=Noted()) as loader:
        loader.next_batches()
        (killed,) = multiprocessing.active_children()
        killed.kill()
        with pytest.raises(SampleError, match="exit code -9"):
            deque((loader.next_batches() for _ in range(10)), maxlen=0)


def test_the_exact_path_gives_floats(tmp_path: Path) -> None:
    side = Side("src", a_folder(tmp_path / "src", range(3)), SETTINGS)
    with SampleLoader(
        [side], TrainingPlace(1, 2), first_iteration=0, processes=1, path="exact", on_left_out=Noted()
    ) as loader:
        _, (batch,) = loader.next_batches()
        assert batch.warped.dtype == np.float32
        assert 0.2 < batch.target.mean() < 0.8
