from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

from dfl.image import read_metadata, with_metadata
from dfl.xseg_mask import encode_xseg_mask
from engine import measure_faceset as module
from engine.errors import FacesetError
from engine.facesets.faceset_folder import faceset_folders
from engine.facesets.feature_cache import FeatureCache, cache_path
from engine.facesets.features import Features
from engine.measure_faceset import measure_faceset
from tests.faceset_rig import contents, face_jpeg, make_faceset

COUNT = 6
FACES = {f"clip-{number:08d}_0.jpg": face_jpeg(number, scale=1 + number / 4) for number in range(COUNT)}


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Sizes of the files that are measured from here on."""
    sizes: list[int] = []
    real: Callable[[bytes], object] = module.measure_face
    monkeypatch.setattr(module, "measure_face", lambda data: (sizes.append(len(data)), real(data))[1])
    return sizes


def values_of(features: Features) -> dict[str, bytes | tuple[str, ...]]:
    return {
        one.name: value.tobytes() if isinstance(value, np.ndarray) else value
        for one in fields(features)
        for value in [getattr(features, one.name)]
    }


def test_every_face_has_its_row_in_the_order_of_names(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, dict(reversed(FACES.items())))
    before = contents(quick_folder)
    done = measure_faceset(folder)
    features = done.features
    assert features.name == tuple(sorted(FACES))
    assert features.face_id == tuple(read_metadata(FACES[name]).dfld_face_id for name in features.name)
    assert features.frame.tolist() == list(range(COUNT))
    assert features.upscale.tolist() == [1 + number / 4 for number in range(COUNT)]
    assert (done.measured, done.unreadable, done.is_complete) == (COUNT, (), True)
    assert contents(quick_folder) == before
    with pytest.raises(ValueError, match="read-only"):
        features.nf[0] = 0


def test_a_second_run_measures_nothing_and_finds_the_same(quick_folder: Path, measured: list[int]) -> None:
    folder = make_faceset(quick_folder, FACES)
    first = measure_faceset(folder)
    written = cache_path(folder).stat().st_mtime_ns
    second = measure_faceset(folder)
    assert (len(measured), second.measured) == (COUNT, 0)
    assert values_of(second.features) == values_of(first.features)
    assert cache_path(folder).stat().st_mtime_ns == written


def test_renamed_and_copied_faces_are_not_measured_again(quick_folder: Path, measured: list[int]) -> None:
    folder = make_faceset(quick_folder, FACES)
    first = measure_faceset(folder)
    for number, name in enumerate(sorted(FACES)):
        (folder.aligned / name).rename(folder.aligned / f"{COUNT - number:05d}.jpg")
    renamed = measure_faceset(folder)
    assert renamed.features.nf.tolist() == first.features.nf.tolist()[::-1]
    shutil.copytree(quick_folder, quick_folder / "copy")
    copied = measure_faceset(faceset_folders(quick_folder / "copy/data_src")[0])
    assert (len(measured), copied.measured) == (COUNT, 0)
    assert values_of(copied.features) == values_of(renamed.features)


def test_a_face_whose_mask_was_written_is_measured_again(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FACES)
    assert np.isnan(measure_faceset(folder).features.mask_over_hull).all()
    name = sorted(FACES)[2]
    masked = replace(read_metadata(FACES[name]), xseg_mask=encode_xseg_mask(np.ones((64, 64))))
    (folder.aligned / name).write_bytes(with_metadata(FACES[name], masked))
    again = measure_faceset(folder)
    assert again.measured == 1
    assert again.features.mask_over_hull[2] == 1


def test_nothing_is_kept_of_a_deleted_face_and_one_that_was_set_aside_stays_known(
    quick_folder: Path, measured: list[int]
) -> None:
    folder = make_faceset(quick_folder, FACES)
    measure_faceset(folder)
    deleted, aside = sorted(FACES)[:2]
    (folder.aligned / deleted).unlink()
    folder.aside.mkdir()
    (folder.aligned / aside).rename(folder.aside / aside)
    assert len(measure_faceset(folder).features) == COUNT - 2
    assert len(FeatureCache.read(folder).known_bytes) == COUNT - 1
    (folder.aside / aside).rename(folder.aligned / aside)
    assert len(measure_faceset(folder).features) == COUNT - 1
    assert len(measured) == COUNT


def test_what_deepfacelab_would_not_read_is_named(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FACES)
    (folder.aligned / "0 cut.jpg").write_bytes(FACES[sorted(FACES)[0]][:500])
    (folder.aligned / "1 pipe.jpg").mkdir()
    (folder.aligned / "notes.txt").write_text("not a face")
    done = measure_faceset(folder)
    assert len(done.features) == COUNT
    assert [one.name for one in done.unreadable] == ["0 cut.jpg", "1 pipe.jpg"]
    assert all(one.why for one in done.unreadable)
    assert done.is_complete


def test_a_stop_keeps_what_was_measured(quick_folder: Path, measured: list[int]) -> None:
    folder = make_faceset(quick_folder, FACES)
    stop = threading.Event()
    seen = []

    def on_progress(done: int, total: int) -> None:
        seen.append((done, total))
        if done == 4:
            stop.set()

    done = measure_faceset(folder, stop=stop, on_progress=on_progress, processes=1)
    assert (done.is_complete, len(done.features), seen[-1]) == (False, 4, (4, COUNT))
    assert measure_faceset(folder).measured == COUNT - 4
    assert len(measured) == COUNT


def test_processes_find_what_one_finds(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FEWEST_FOR_PROCESSES", 1)
    monkeypatch.setattr(module, "CHUNK", 2)
    folder = make_faceset(quick_folder / "one", FACES)
    other = make_faceset(quick_folder / "other", FACES)
    assert values_of(measure_faceset(folder, processes=1).features) == values_of(
        measure_faceset(other, processes=2).features
    )


def test_the_frame_reaches_as_far_as_any_face_of_its_clip_shows(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FACES)
    assert (measure_faceset(folder).features.cut_off == 0).all()


def test_an_empty_faceset_has_empty_columns_and_a_missing_one_is_refused(quick_folder: Path) -> None:
    empty = make_faceset(quick_folder, {})
    assert len(measure_faceset(empty).features) == 0
    os.rmdir(empty.aligned)  # noqa: PTH106
    with pytest.raises(FacesetError, match="cannot list"):
        measure_faceset(empty)


def test_a_faceset_in_which_nothing_can_be_kept_is_measured_all_the_same(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FACES)
    folder.state.mkdir()
    cache_path(folder).mkdir()  # neither read nor written
    for _ in range(2):
        assert measure_faceset(folder).measured == COUNT
