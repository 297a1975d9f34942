"""Metadata that was saved comes back to the face that it was saved of, and to no other."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from core import files
from daemon.cli import main
from dfl.image import MaskPolygon, read_fields, read_metadata, with_metadata
from dfl.jpeg import read_size, without_app15
from engine.errors import FacesetError
from engine.facesets.changing.renames import PlannedMove, carry_out
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.packs.saved_metadata import restore_metadata, save_metadata
from engine.sort import sort_faces
from tests.faceset_rig import contents, face_jpeg, make_faceset

FACES = {f"{number:08d}_0.jpg": face_jpeg(number) for number in range(5)}
NAMES = sorted(FACES)


@pytest.fixture
def folder(quick_folder: Path) -> FacesetFolder:
    made = make_faceset(quick_folder, FACES)
    save_metadata(made)
    return made


def plain(data: bytes, side: int = 64) -> bytes:
    """What an upscaler leaves of a face: pixels alone."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    return cv2.imencode(".jpg", cv2.resize(np.asarray(pixels), (side, side)))[1].tobytes()


def test_faces_that_lost_their_metadata_get_it_back_and_keep_their_pixels(folder: FacesetFolder) -> None:
    lost = {name: plain(FACES[name]) for name in NAMES[:3]}
    for name, data in lost.items():
        (folder.aligned / name).write_bytes(data)
    done = restore_metadata(folder, replace_theirs=False)
    assert (done.restored, done.unchanged, done.resized, done.left) == (3, 2, 0, [])
    for name, data in lost.items():
        restored = (folder.aligned / name).read_bytes()
        assert without_app15(restored) == data
        assert read_metadata(restored).dfld_face_id == read_metadata(FACES[name]).dfld_face_id
        assert str(read_fields(restored)) == str(read_fields(FACES[name]))


def test_saving_and_restoring_at_once_changes_no_byte(folder: FacesetFolder) -> None:
    before = contents(folder.parent)
    assert restore_metadata(folder, replace_theirs=True).unchanged == 5
    assert contents(folder.parent) == before


def test_a_face_of_another_size_gets_its_saved_size_back(folder: FacesetFolder) -> None:
    (folder.aligned / NAMES[0]).write_bytes(plain(FACES[NAMES[0]], side=256))
    assert restore_metadata(folder, replace_theirs=False).resized == 1
    data = (folder.aligned / NAMES[0]).read_bytes()
    assert read_size(data) == (64, 64)
    assert np.array_equal(read_metadata(data).landmarks, read_metadata(FACES[NAMES[0]]).landmarks)


def test_metadata_follows_faces_that_were_sorted_since_with_ids_and_without(folder: FacesetFolder) -> None:
    masked = {}
    for name in NAMES:
        path = folder.aligned / name
        masked[name] = with_metadata(path.read_bytes(), replace(read_metadata(path.read_bytes()), xseg_mask=b"mask"))
        path.write_bytes(masked[name])
    sort_faces(folder, "yaw")
    names = {path.read_bytes(): path for path in folder.aligned.glob("*.jpg")}
    first = names[masked[NAMES[0]]]
    first.write_bytes(plain(first.read_bytes()))  # nothing in it says which it is: the journal does
    assert restore_metadata(folder, replace_theirs=False).restored == 5
    for name in NAMES:
        restored = read_metadata(names[masked[name]].read_bytes())
        assert (restored.dfld_face_id, restored.xseg_mask) == (read_metadata(FACES[name]).dfld_face_id, None)


def test_a_face_that_has_gone_and_one_that_is_another_by_now_are_left(folder: FacesetFolder) -> None:
    (folder.aligned / NAMES[0]).unlink()
    another = with_metadata(FACES[NAMES[1]], replace(read_metadata(face_jpeg(40)), dfld_face_id=None))
    (folder.aligned / NAMES[1]).write_bytes(another)
    carry_out(folder, [PlannedMove(f"aligned/{NAMES[2]}", f"aside/{NAMES[2]}")], journal_kind="test")
    done = restore_metadata(folder, replace_theirs=False)
    assert [one.name for one in done.left] == NAMES[:3]
    assert (folder.aligned / NAMES[1]).read_bytes() == another


def test_polygons_that_were_drawn_since_are_given_up_on_that_word_alone(folder: FacesetFolder) -> None:
    path = folder.aligned / NAMES[0]
    polygon = MaskPolygon(True, np.array([[1, 2], [3, 4], [5, 6]], np.float32))
    drawn = with_metadata(path.read_bytes(), replace(read_metadata(path.read_bytes()), seg_ie_polys=(polygon,)))
    path.write_bytes(drawn)
    done = restore_metadata(folder, replace_theirs=False)
    assert [(one.name, "--replace-theirs" in one.why) for one in done.left] == [(NAMES[0], True)]
    assert path.read_bytes() == drawn
    assert restore_metadata(folder, replace_theirs=True).restored == 1
    assert path.read_bytes() == FACES[NAMES[0]]


def test_a_kill_while_it_restores_leaves_each_face_old_or_restored(
    folder: FacesetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    for name in NAMES:
        (folder.aligned / name).write_bytes(plain(FACES[name]))
    real, calls = files.rename_over, iter(range(100))

    def killed(path: Path, target: Path) -> None:
        if next(calls) == 2:
            raise KilledError
        real(path, target)

    with monkeypatch.context() as patched:
        patched.setattr(files, "rename_over", killed)
        with pytest.raises(KilledError):
            restore_metadata(folder, replace_theirs=False)
    done = restore_metadata(folder, replace_theirs=False)
    assert (done.restored, done.unchanged) == (3, 2)


def test_a_copy_that_cannot_be_read_changes_nothing(folder: FacesetFolder) -> None:
    folder.metadata_copy.write_bytes(folder.metadata_copy.read_bytes()[:-9])
    before = contents(folder.parent)
    with pytest.raises(FacesetError, match="cannot be read.*nothing was changed"):
        restore_metadata(folder, replace_theirs=False)
    folder.metadata_copy.unlink()
    with pytest.raises(FacesetError, match=r"holds no meta\.dat"):
        restore_metadata(folder, replace_theirs=False)
    before.pop("aligned/meta.dat")
    assert contents(folder.parent) == before


def test_the_command_says_what_it_did(folder: FacesetFolder, capsys: pytest.CaptureFixture[str]) -> None:
    (folder.aligned / "broken.jpg").write_bytes(b"")
    assert main(["meta", "save", str(folder.aligned)]) == 0
    said = capsys.readouterr().out
    assert "metadata of 5 faces saved" in said
    assert "broken.jpg is left" in said
    assert main(["meta", "restore", str(folder.aligned)]) == 0
    assert "0 faces restored, 0 of them resized; 5 were as saved" in capsys.readouterr().out
    assert main(["meta", "save", str(folder.aligned), "--replace-theirs"]) == 2


def test_a_picture_that_no_meta_dat_can_hold_is_named_and_all_others_are_saved(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FACES)
    others = ["A.JPG", os.fsdecode(b"\xff.jpg")]
    for name in others:
        (folder.aligned / name).write_bytes(face_jpeg(9))
    saved = save_metadata(folder)
    assert saved.faces == len(FACES)
    assert sorted(one.name for one in saved.left) == others
    assert restore_metadata(folder, replace_theirs=False).unchanged == len(FACES)


def test_a_copy_of_the_folder_that_lost_all_times_is_restored_as_the_folder_itself(folder: FacesetFolder) -> None:
    sort_faces(folder, "yaw")
    names = {path.read_bytes(): path.name for path in folder.aligned.glob("*.jpg")}
    for data, name in names.items():
        (folder.aligned / name).write_bytes(plain(data))
    os.utime(folder.metadata_copy)
    assert restore_metadata(folder, replace_theirs=False).restored == len(FACES)
    for data, name in names.items():
        assert str(read_fields((folder.aligned / name).read_bytes())) == str(read_fields(data))
