from __future__ import annotations

from pathlib import Path

import pytest

from engine.facesets.changing.rename_journal import read_journal
from engine.facesets.changing.renames import PlannedMove, carry_out, undo
from engine.facesets.curation.decisions import decisions_of
from engine.facesets.faceset_folder import FacesetFolder
from tests.faceset_rig import face_jpeg, make_faceset

A, B, C = "00000001_0.jpg", "00000002_0.jpg", "00000003_0.jpg"


@pytest.fixture
def folder(quick_folder: Path) -> FacesetFolder:
    return make_faceset(quick_folder, {name: face_jpeg(number) for number, name in enumerate((A, B, C))})


def decided(folder: FacesetFolder) -> dict[str, str]:
    def there(where: Path) -> dict[str, str]:
        return {path.name: f"id of {path.read_bytes()[-40:].hex()}" for path in where.glob("*.jpg")}

    found = decisions_of(
        read_journal(folder), kept=there(folder.aligned), aside=there(folder.aside), aside_folder=folder.aside.name
    )
    return dict(found)


def set_aside(folder: FacesetFolder, name: str) -> int:
    face_id = f"id of {(folder.aligned / name).read_bytes()[-40:].hex()}"
    move = PlannedMove(f"aligned/{name}", f"aside/{name}", face_id)
    return carry_out(folder, [move], journal_kind="curate").batch


def test_what_dfld_moved_and_moved_back_is_no_decision(folder: FacesetFolder) -> None:
    assert decided(folder) == {}
    batch = set_aside(folder, A)
    assert decided(folder) == {}
    undo(folder, batch)
    assert decided(folder) == {}


def test_a_face_that_was_brought_back_stays_and_one_that_was_put_aside_is_out(folder: FacesetFolder) -> None:
    set_aside(folder, A)
    (folder.aside / A).rename(folder.aligned / A)
    (folder.aligned / B).rename(folder.aside / B)
    assert decided(folder) == {A: "keep", B: "aside"}


def test_a_sort_and_another_name_change_no_decision(folder: FacesetFolder) -> None:
    set_aside(folder, A)
    (folder.aside / A).rename(folder.aligned / "my favourite.jpg")
    assert decided(folder) == {"my favourite.jpg": "keep"}
    moves = [PlannedMove(f"aligned/{B}", "aligned/00000.jpg"), PlannedMove("aligned/my favourite.jpg", "aligned/1.jpg")]
    carry_out(folder, moves, journal_kind="sort")
    assert decided(folder) == {"1.jpg": "keep"}


def test_another_name_in_aside_makes_no_decision_of_a_persons(folder: FacesetFolder) -> None:
    set_aside(folder, A)
    (folder.aside / A).rename(folder.aside / "000.jpg")
    assert decided(folder) == {}


def test_a_face_that_was_deleted_says_nothing_of_others(folder: FacesetFolder) -> None:
    set_aside(folder, A)
    (folder.aside / A).unlink()
    assert decided(folder) == {}
