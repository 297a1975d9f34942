"""Facesets curated on disk: what moves, what comes back, what a person decided, and what is waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dfl.image import MaskPolygon, read_metadata, with_metadata
from engine import curate
from engine.curate import Curated, curate_faceset, restore_faceset
from engine.errors import FacesetError
from engine.facesets.changing import free_faceset
from engine.facesets.changing.renames import CarriedOut, carry_out
from engine.facesets.curation.record import aside_reasons, record_path
from engine.facesets.curation.settings import CurationSettings
from engine.facesets.faceset_folder import FacesetFolder, faceset_folders
from engine.sort import sort_faces
from tests.faceset_rig import contents, face_jpeg, make_faceset, stat_of

SETTINGS = CurationSettings(near_duplicate_radius=3.0, per_cell=3)


def faces(count: int = 24, copies: int = 3) -> dict[str, bytes]:
    """`count` faces that differ, each `copies` times under other frames' names."""
    return {f"clip-{place:08d}_0.jpg": face_jpeg(place % count) for place in range(copies * count)}


def curated(folder: FacesetFolder, **options: object) -> Curated:
    given_options = {
        "match": None, "dry_run": False, "why_held": lambda: "", "on_wait": lambda _why: None,
        "stop": threading.Event(), "on_progress": lambda _done, _total: None,
    }  # fmt: skip
    return curate_faceset(folder, SETTINGS, **{**given_options, **options})  # type: ignore[arg-type]


def restored(folder: FacesetFolder) -> int:
    done = restore_faceset(folder, why_held=lambda: "", on_wait=lambda _why: None, stop=threading.Event())
    assert done.completed
    return done.moved


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.glob("*")} if folder.is_dir() else set()


def test_what_goes_lies_beside_and_restore_gives_the_very_same_folder(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, faces())
    before, stats = contents(folder.parent), stat_of(folder.parent)
    done = curated(folder)
    assert done.done is not None
    assert done.done.moved == done.aside == len(names_in(folder.aside)) >= 48
    assert names_in(folder.aligned) | names_in(folder.aside) == names_in_listing(before)
    assert not names_in(folder.aligned) & names_in(folder.aside)
    assert {path.name for path in folder.masks.iterdir()} == {Path(one).name for one in before if "masks/" in one}
    assert sum(count for _, count in aside_reasons(folder)) == done.aside
    assert record_path(folder).stat().st_mode & 0o777 & ~0o640 == 0
    assert restored(folder) == done.aside
    assert contents(folder.parent) == before
    assert stat_of(folder.parent) == stats
    assert aside_reasons(folder) == ()
    assert restored(folder) == 0


def names_in_listing(listing: dict[str, bytes]) -> set[str]:
    return {Path(one).name for one in listing if one.startswith("aligned/")}


def test_a_second_run_moves_nothing_and_a_wider_budget_brings_faces_back(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, faces(40, 1))
    first = curated(folder)
    assert first.aside > 0
    second = curated(folder)
    assert second.curation == first.curation
    assert second.planned == 0
    wide = curate_faceset(
        folder, CurationSettings(near_duplicate_radius=0.0, per_cell=1000), match=None, dry_run=False,
        why_held=lambda: "", on_wait=lambda _why: None, stop=threading.Event(), on_progress=lambda _d, _t: None,
    )  # fmt: skip
    assert wide.aside < first.aside
    assert len(names_in(folder.aside)) == wide.aside


def test_a_dry_run_changes_no_file_and_waits_for_nothing(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, faces())
    before, stats = contents(folder.parent), stat_of(folder.parent)
    done = curated(folder, dry_run=True, why_held=lambda: "always")
    assert done.planned == done.aside > 0
    assert done.done is None
    assert contents(folder.parent) == before
    assert stat_of(folder.parent) == stats
    assert aside_reasons(folder) == ()


def test_human_decisions_and_polygons_stand_through_runs_and_sorts(quick_folder: Path) -> None:
    written = faces()
    drawn = sorted(written)[-1]
    written[drawn] = with_polygon(written[drawn])
    folder = make_faceset(quick_folder, written)
    curated(folder)
    assert (folder.aligned / drawn).exists()
    back, out = sorted(names_in(folder.aside))[0], sorted(names_in(folder.aligned) - {drawn})[0]
    bytes_back, bytes_out = (folder.aside / back).read_bytes(), (folder.aligned / out).read_bytes()
    (folder.aside / back).rename(folder.aligned / back)
    (folder.aligned / out).rename(folder.aside / out)
    for _ in range(2):
        done = {one.name: one for one in curated(folder).curation.verdicts}
        assert (done[back].place, done[back].reason) == ("keep", "decided")
        assert (done[out].place, done[out].reason) == ("aside", "decided")
    sort_faces(folder, "yaw")
    curated(folder)
    assert bytes_back in [path.read_bytes() for path in folder.aligned.iterdir()]
    assert (folder.aside / out).read_bytes() == bytes_out
    restored(folder)
    assert (folder.aside / out).read_bytes() == bytes_out  # a person put it there


def with_polygon(jpeg: bytes) -> bytes:
    polygon = MaskPolygon(True, np.array([[1, 1], [9, 1], [9, 9]], np.float32))
    return with_metadata(jpeg, replace(read_metadata(jpeg), seg_ie_polys=(polygon,)))


def test_faces_of_data_dst_are_marked_and_never_moved(quick_folder: Path) -> None:
    make_faceset(quick_folder, {})
    aligned = quick_folder / "data_dst" / "aligned"
    aligned.mkdir(parents=True)
    for name, data in faces().items():
        (aligned / name).write_bytes(data)
    (folder,) = faceset_folders(quick_folder / "data_dst")
    before = contents(folder.parent)
    done = curated(folder, why_held=lambda: "never asked")
    assert (done.is_thinned, done.aside, done.planned) == (False, 0, 0)
    assert contents(folder.parent) == before


def test_it_waits_says_once_what_waits_and_decides_anew_after_that(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(free_faceset, "POLL_S", 0.0)
    folder = make_faceset(quick_folder, faces())
    answers = iter(["DeepFaceLab trains", "DeepFaceLab trains", "", "somebody paused it", "DeepFaceLab merges"])
    said: list[str] = []

    def why_held() -> str:
        why = next(answers, "")
        if why == "DeepFaceLab merges":
            sorted(folder.aligned.iterdir())[0].unlink()  # what happens meanwhile counts
        return why

    done = curated(folder, why_held=why_held, on_wait=said.append)
    assert said == ["DeepFaceLab trains", "DeepFaceLab merges"]
    assert done.done is not None
    assert len(done.curation.verdicts) == 71
    assert len(names_in(folder.aside)) == done.aside


def test_a_stop_while_it_waits_moves_nothing(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, faces())
    before, stop = contents(folder.parent), threading.Event()
    done = curated(folder, why_held=lambda: "DeepFaceLab trains", on_wait=lambda _why: stop.set(), stop=stop)
    assert (done.completed, done.done) == (False, None)
    assert contents(folder.parent) == before
    back = restore_faceset(folder, why_held=lambda: "x", on_wait=lambda _why: None, stop=stop)
    assert not back.completed


def test_names_that_are_taken_and_broken_files_are_left_alone(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, faces())
    goes = sorted(curated(folder, dry_run=True).curation.verdicts, key=lambda one: one.place)[0].name
    folder.aside.mkdir()
    (folder.aside / goes).write_bytes(b"of somebody")
    (folder.aligned / "broken.jpg").write_bytes(b"no face")
    done = curated(folder)
    assert done.done is not None
    assert done.done.left == ()
    assert [one.name for one in done.unreadable] == ["broken.jpg"]
    assert (folder.aside / goes).read_bytes() == b"of somebody"
    other = f"{Path(goes).stem}.2.jpg"
    assert (folder.aside / other).read_bytes() == faces()[goes]
    assert folder.mask_of(other).exists()
    assert (folder.aligned / "broken.jpg").exists()


@pytest.mark.parametrize("renames", [0, 1, 13])
def test_a_kill_between_any_two_renames_loses_nothing_and_the_next_run_ends_the_same(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch, renames: int
) -> None:
    whole = make_faceset(quick_folder / "whole", faces(12))
    curated(whole)
    folder = make_faceset(quick_folder / "killed", faces(12))
    kill_after(renames, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        curated(folder)
    monkeypatch.undo()
    assert len(names_in(folder.aligned) | names_in(folder.aside)) == 36
    curated(folder)
    assert contents(folder.parent) == contents(whole.parent)


def kill_after(renames: int, monkeypatch: pytest.MonkeyPatch) -> None:
    from engine.facesets.changing import renames as module

    real: Callable[[Path, Path], None] = module.rename_new
    done = iter(range(renames))

    def rename_new(path: Path, target: Path) -> None:
        if next(done, None) is None:
            raise KeyboardInterrupt
        real(path, target)

    monkeypatch.setattr(module, "rename_new", rename_new)


def test_a_second_program_is_refused_while_one_moves(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_faceset(quick_folder, faces())

    def meanwhile(*arguments: object, **options: object) -> CarriedOut:
        with pytest.raises(FacesetError, match="another dfld works on"):
            restored(folder)
        return carry_out(*arguments, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(curate, "carry_out", meanwhile)
    assert curated(folder).done is not None


@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_whatever_is_done_between_no_face_is_lost_and_restore_takes_it_all_back(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = make_faceset(tmp_path_factory.mktemp("set"), faces(8, 2))
    before = contents(folder.parent)
    for _ in range(data.draw(st.integers(1, 3))):
        radius, per_cell = data.draw(st.sampled_from([0.0, 2.0, 8.0])), data.draw(st.integers(3, 5))
        curate_faceset(
            folder, CurationSettings(near_duplicate_radius=radius, per_cell=per_cell), match=folder, dry_run=False,
            why_held=lambda: "", on_wait=lambda _why: None, stop=threading.Event(), on_progress=lambda _d, _t: None,
        )  # fmt: skip
        now = contents(folder.parent)
        assert sorted(now.values()) == sorted(before.values())
    restored(folder)
    assert contents(folder.parent) == before


def test_the_record_names_every_verdict_and_a_broken_one_says_nothing(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, faces())
    done = curated(folder)
    record = json.loads(record_path(folder).read_bytes())
    assert [one["name"] for one in record["verdicts"]] == [one.name for one in done.curation.verdicts]
    assert record["settings"]["per_cell"] == 3
    for broken in (b"", b"[]", b'{"verdicts": [{"place": "aside"}]}', b"[" * 100_000, b'{"verdicts": 3}'):
        record_path(folder).write_bytes(broken)
        assert aside_reasons(folder) == ()


def test_a_stop_while_nothing_has_to_move_ends_the_curation(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_faceset(quick_folder, faces(8, 1))
    curated(folder)
    stop, measured = threading.Event(), curate.measure_faceset
    times = 0

    def stopped_at_the_second(*given: object, **options: object) -> object:
        nonlocal times
        times += 1
        assert times <= 2, "the curation goes on after the stop"
        if times == 2:
            stop.set()
        return measured(*given, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(curate, "measure_faceset", stopped_at_the_second)
    done = curated(folder, stop=stop)
    assert not done.completed
    assert done.done is None
