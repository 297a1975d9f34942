"""What changes a faceset waits until no other program works on it."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from engine.errors import FacesetInUseError
from engine.facesets.changing import free_faceset
from engine.facesets.changing.free_faceset import Waiting, sole_user_when_free
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.packs.packing import pack_faces, unpack_faces
from engine.facesets.packs.saved_metadata import restore_metadata, save_metadata
from engine.sort import sort_faces, undo_sort
from tests.faceset_rig import contents, face_jpeg, make_faceset

CHANGES: dict[str, Callable[[FacesetFolder, Waiting], object]] = {
    "sort": lambda folder, waiting: sort_faces(folder, "yaw", waiting=waiting),
    "undo": lambda folder, waiting: undo_sort(folder, waiting=waiting),
    "pack": lambda folder, waiting: pack_faces(folder, keep=False, waiting=waiting),
    "unpack": lambda folder, waiting: unpack_faces(folder, keep=False, waiting=waiting),
    "restore": lambda folder, waiting: restore_metadata(folder, replace_theirs=False, waiting=waiting),
}


@pytest.fixture
def folder(quick_folder: Path) -> FacesetFolder:
    made = make_faceset(quick_folder, {f"{place:08d}_0.jpg": face_jpeg(place) for place in range(3)})
    sort_faces(made, "pitch")
    save_metadata(made)
    return made


@pytest.mark.parametrize("change", CHANGES)
def test_nothing_is_changed_while_another_program_works_on_it(folder: FacesetFolder, change: str) -> None:
    before, stop, said = contents(folder.aligned), threading.Event(), list[str]()

    def on_wait(why: str) -> None:
        said.append(why)
        stop.set()

    with pytest.raises(FacesetInUseError, match="was not free until the stop; nothing was changed"):
        CHANGES[change](folder, Waiting(lambda: "DeepFaceLab trains", on_wait, stop))
    assert said == ["DeepFaceLab trains"]
    assert contents(folder.aligned) == before


def test_it_is_asked_again_once_the_faceset_is_held(folder: FacesetFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_faceset, "POLL_S", 0.0)
    answers = iter(["training", "training", "", "merging", "merging", "", ""])
    said: list[str] = []
    with sole_user_when_free(folder, Waiting(lambda: next(answers), said.append, threading.Event())):
        assert next(answers, "all were asked for") == "all were asked for"
        with pytest.raises(FacesetInUseError, match="another dfld works on"), sole_user(folder):
            pass
    assert said == ["training", "merging"]
