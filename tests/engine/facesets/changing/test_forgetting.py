"""What is kept of faces goes when they are gone, and nothing that somebody else needs goes with it."""

from __future__ import annotations

from pathlib import Path

from engine.facesets.changing.forgetting import forget_kept
from engine.facesets.changing.rename_journal import (
    append_lines,
    journal_path,
    line_of_copy,
    read_copies,
    read_journal,
)
from engine.facesets.changing.renames import PlannedMove, carry_out, last_batch, undo
from engine.facesets.faceset_folder import FacesetFolder, faceset_folders
from engine.facesets.packs.packing import pack_faces
from tests.faceset_rig import contents, face_jpeg, make_faceset

NAMES = ["a.jpg", "b.jpg", "c.jpg"]


def renamed(folder: FacesetFolder, moves: dict[str, str], kind: str = "sort") -> int:
    return carry_out(folder, [PlannedMove(*one) for one in moves.items()], journal_kind=kind).batch


def faceset(root: Path) -> FacesetFolder:
    return make_faceset(root, {name: face_jpeg(number) for number, name in enumerate(NAMES)})


def forgotten(root: Path) -> list[str]:
    removed: list[str] = []
    forget_kept(root, lambda path: removed.append(path.name))
    return sorted(removed)


def test_the_journal_loses_a_file_that_has_gone_wherever_it_was_and_can_undo_the_others(quick_folder: Path) -> None:
    folder = faceset(quick_folder)
    before = contents(folder.parent)
    append_lines(folder, [line_of_copy("hash", 0)])
    first = renamed(folder, {"aligned/a.jpg": "aligned/1.jpg", "aligned/b.jpg": "aligned/2.jpg"})
    renamed(folder, {"aligned/1.jpg": "aligned/2.jpg", "aligned/2.jpg": "aligned/1.jpg"})
    renamed(folder, {"aligned/2.jpg": "aside/2.jpg"}, kind="curate")
    (folder.aside / "2.jpg").unlink()  # it was a.jpg
    folder.mask_of("2.jpg").unlink()
    assert forgotten(quick_folder) == ["renames.jsonl"]
    text = journal_path(folder).read_text()
    assert "a.jpg" not in text
    assert "a_mask" not in text
    assert journal_path(folder).stat().st_mode & 0o777 == 0o600
    assert read_copies(folder) == {"hash": 0}
    assert [batch.kind for batch in read_journal(folder)] == ["sort", "sort"]
    for _ in range(2):
        batch = last_batch(folder, "sort")
        assert batch is not None
        undo(folder, batch)
    assert first == 1
    gone = {"aligned/a.jpg", "masks/a_mask.png"}
    assert contents(folder.parent) == {path: data for path, data in before.items() if path not in gone}


def test_what_was_undone_stays_undone(quick_folder: Path) -> None:
    folder = faceset(quick_folder)
    undo(folder, renamed(folder, {"aligned/a.jpg": "aligned/1.jpg", "aligned/b.jpg": "aligned/2.jpg"}))
    (folder.aligned / "a.jpg").unlink()
    forgotten(quick_folder)
    assert last_batch(folder, "sort") is None
    assert len(read_journal(folder)) == 2


def test_faces_in_a_pack_are_not_gone(quick_folder: Path) -> None:
    folder = faceset(quick_folder)
    renamed(folder, {"aligned/a.jpg": "aligned/1.jpg"})
    pack_faces(folder, keep=False)
    assert forgotten(quick_folder) == []
    assert len(read_journal(folder)[0].moves) == 2


def test_every_faceset_below_a_folder_is_gone_through_and_caches_go_whole(quick_folder: Path) -> None:
    folder = faceset(quick_folder / "workspace")
    other = quick_folder / "alice"
    other.mkdir()
    (other / "1.jpg").write_bytes(face_jpeg(1))
    (alice,) = faceset_folders(other)
    renamed(alice, {"alice/1.jpg": "alice/2.jpg"})
    (other / "2.jpg").unlink()
    for state in (folder.state, alice.state):
        state.mkdir(parents=True, exist_ok=True)
        (state / "features").write_bytes(b"measures")
    assert forgotten(quick_folder) == ["features", "features", "renames.jsonl"]
    assert read_journal(alice) == ()
    assert forgotten(quick_folder) == []
