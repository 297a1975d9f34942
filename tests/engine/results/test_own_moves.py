"""What dfld sorted or set aside is no manual change: it is redone, read back and forgotten like any other face."""

from __future__ import annotations

import os
import random
import shutil
import threading
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.errors import OutputError
from engine.facesets.changing import renames
from engine.facesets.changing.rename_journal import journal_path, read_journal
from engine.facesets.changing.renames import PlannedMove, carry_out, last_batch, undo
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import FacesetFolder, aligned_folder
from engine.mask_faceset import MaskRequest, mask_faceset
from engine.masks.choose import MaskSources
from engine.results.face_files import trace_in
from engine.results.manual_changes import survey
from engine.results.missing_faces import faces_not_found
from engine.results.read_back import ReadBack, drop_faces
from engine.workspace.file_names import Layout, inbox_layout
from tests.engine.results.test_manual_changes import DEEDS, NOTE, SOURCE, Hands, check, run
from tests.engine.results.test_removal import OWN, forget, marks_below, others_clip
from tests.faceset_rig import contents

EXAMPLES = int(os.environ.get("DFLD_MANUAL_CHANGES_EXAMPLES", "25"))


def sort_by_chance(folder: FacesetFolder, chance: random.Random) -> None:
    """Rename every face of aligned/ as `dfld sort` does, in an order of its own."""
    names = sorted(path.name for path in folder.aligned.glob("*.jpg"))
    taken = {path.stem.removesuffix("_mask") for path in folder.masks.iterdir()} - {Path(one).stem for one in names}
    taken |= {path.stem for where in folder.face_folders[1:] if where.is_dir() for path in where.iterdir()}
    free = [f"{number:05d}.jpg" for number in range(3000) if f"{number:05d}" not in taken][: len(names)]
    chance.shuffle(free)
    aligned = folder.aligned.name
    moves = [PlannedMove(f"{aligned}/{name}", f"{aligned}/{new}") for name, new in zip(names, free, strict=True)]
    carry_out(folder, moves, journal_kind="sort")


def set_some_aside(folder: FacesetFolder, chance: random.Random, where: str = "aside") -> None:
    names = sorted(path.name for path in folder.aligned.glob("*.jpg"))
    chosen = chance.sample(names, len(names) // 2)
    carry_out(folder, [PlannedMove(f"aligned/{name}", f"{where}/{name}") for name in chosen], journal_kind="curate")


@pytest.fixture
def layout(quick_folder: Path) -> Layout:
    made = inbox_layout(quick_folder / "workspace", "src", "alice")
    run(made, source=SOURCE)
    return made


@pytest.fixture
def folder(layout: Layout) -> FacesetFolder:
    return aligned_folder(layout.aligned)


def test_a_redo_after_sorts_and_with_faces_aside_writes_each_face_once_where_it_belongs(
    layout: Layout, folder: FacesetFolder
) -> None:
    before = contents(layout.aligned.parent)
    chance = random.Random(1)
    sort_by_chance(folder, chance)
    set_some_aside(folder, chance)
    sort_by_chance(folder, chance)
    assert survey(layout).changes == ()
    run(layout, source=SOURCE)
    after = contents(layout.aligned.parent)
    ignored = "debug/alice-manifest.jsonl"
    assert {p: d for p, d in after.items() if p != ignored} == {p: d for p, d in before.items() if p != ignored}
    assert survey(layout).changes == ()


@pytest.mark.parametrize("is_sorted_first", [False, True])
def test_faces_that_dfld_masked_and_moved_are_still_its_own(
    layout: Layout, folder: FacesetFolder, is_sorted_first: bool
) -> None:
    before = contents(layout.aligned.parent)
    chance = random.Random(7)
    request = MaskRequest("hull", MaskSources(), "hull")
    if is_sorted_first:
        sort_by_chance(folder, chance)
    report = mask_faceset(folder, request, stop=threading.Event(), on_progress=lambda _done, _all: None)
    assert {one.outcome for one in report.faces} == {"masked"}
    if not is_sorted_first:
        sort_by_chance(folder, chance)
    set_some_aside(folder, chance)
    back = ReadBack(layout, None)
    assert {back.check(name).finding for name in back.names} == {"whole"}
    assert survey(layout).changes == ()
    run(layout, source=SOURCE)
    after = contents(layout.aligned.parent)
    ignored = "debug/alice-manifest.jsonl"
    assert {p: d for p, d in after.items() if p != ignored} == {p: d for p, d in before.items() if p != ignored}


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    seed=st.integers(0, 2**32),
    deeds=st.lists(st.integers(0, len(DEEDS) + 2), max_size=7),
    with_ids=st.booleans(),
)
def test_no_sequence_of_hands_sorts_and_curations_is_undone_by_a_redo(
    memory_folder: Path, seed: int, deeds: list[int], with_ids: bool
) -> None:
    with TemporaryDirectory(dir=memory_folder) as base:
        layout = inbox_layout(Path(base), "src", "take")
        run(layout, source=SOURCE if with_ids else "")
        hands, done = Hands(layout, random.Random(seed)), ""
        for redo in range(2):
            for deed in deeds[redo::2]:
                if deed < len(DEEDS):
                    DEEDS[deed](hands)
                    done += f" {DEEDS[deed].__name__}"
                elif not (layout.aligned / "faceset.pak").exists():
                    inodes = {path.stat().st_ino: data for path, data in hands.kept.items()}
                    work = (sort_by_chance, set_some_aside, _undo_last)[deed - len(DEEDS)]
                    work(aligned_folder(layout.aligned), hands.chance)
                    done += f" {work.__name__}"
                    there = ((path, inodes.get(path.stat().st_ino)) for path in Path(base).rglob("*"))
                    hands.kept = {path: data for path, data in there if data is not None}
            run(layout, NOTE, quality=90 - redo, source=SOURCE if with_ids else "")
            done += " REDO"
            check(hands, done)


def _undo_last(folder: FacesetFolder, _chance: random.Random) -> None:
    batch = last_batch(folder, "sort")
    if batch is not None:
        undo(folder, batch)


def test_faces_are_read_back_under_the_names_that_dfld_gave_them(layout: Layout, folder: FacesetFolder) -> None:
    chance = random.Random(2)
    sort_by_chance(folder, chance)
    set_some_aside(folder, chance)
    found = [ReadBack(layout, None).check(name) for name in ReadBack(layout, None).names]
    assert {one.finding for one in found} == {"whole"}
    assert sum("/aside/" in one.file for one in found) == 2
    ids = {f"{trace.face_id}": path for path in layout.root.rglob("*.jpg") if (trace := trace_in(path)) is not None}
    assert faces_not_found(layout, [(face_id, "any.jpg") for face_id in ids], SOURCE) == []


def test_what_a_person_did_since_a_sort_is_found(layout: Layout, folder: FacesetFolder) -> None:
    sort_by_chance(folder, random.Random(3))
    set_some_aside(folder, random.Random(3), "rejected")
    here = sorted(folder.aligned.glob("*.jpg"))
    here[0].unlink()
    mask = folder.mask_of(here[1].name)
    status = mask.stat()
    mask.write_bytes(bytes(len(mask.read_bytes())))
    os.utime(mask, ns=(status.st_atime_ns, status.st_mtime_ns))
    back = ReadBack(layout, None)
    found = [back.check(name) for name in back.names]
    assert sorted(one.finding for one in found if one.finding != "whole") == [
        "damaged", "elsewhere", "elsewhere", "taken out",
    ]  # fmt: skip
    drop_faces(layout, found)
    assert not mask.exists()
    assert {one.kind for one in survey(layout).changes} == {"moved", "deleted"}


def test_forgetting_takes_sorted_faces_their_masks_and_all_that_is_kept_of_them(
    layout: Layout, folder: FacesetFolder
) -> None:
    others = others_clip(layout.root)
    chance = random.Random(4)
    before = {path: data for path, data in contents(layout.root).items() if "bob-" in path and path.endswith(".jpg")}
    sort_by_chance(folder, chance)
    set_some_aside(folder, chance)
    (folder.state / "features").write_bytes(b"measures of everybody")
    (folder.state / "deeper").mkdir()
    (folder.state / "deeper" / "record.json").write_text("{}")
    made = forget(layout)
    assert made["remains"] == []
    left = set(marks_below(layout.root))
    assert not left & OWN
    assert left >= set(others)
    assert "alice-" not in journal_path(folder).read_text()
    assert {path.name for path in folder.state.rglob("*") if path.is_file()} == {"lock", "renames.jsonl"}
    faces = {path.stem for where in folder.face_folders if where.is_dir() for path in where.glob("*.jpg")}
    assert {path.stem.removesuffix("_mask") for path in folder.masks.iterdir()} == faces
    for kind in ("curate", "sort"):
        batch = last_batch(folder, kind)
        if batch is not None:
            undo(folder, batch)
    assert {path: data for path, data in contents(layout.root).items() if path.endswith(".jpg")} == before


def test_forgetting_finishes_what_a_kill_left_half_sorted(
    layout: Layout, folder: FacesetFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    class KilledError(BaseException):
        pass

    real, calls = renames.rename_new, iter(range(1000))

    def killed(source: Path, target: Path) -> None:
        if next(calls) == 3:
            raise KilledError
        real(source, target)

    names = sorted(path.name for path in folder.aligned.glob("*.jpg"))
    moves = [PlannedMove(f"aligned/{a}", f"aligned/{b}") for a, b in zip(names, names[1:] + names[:1], strict=True)]
    with monkeypatch.context() as patched:
        patched.setattr(renames, "rename_new", killed)
        with pytest.raises(KilledError):
            carry_out(folder, moves, journal_kind="sort")
    assert list(folder.parent.rglob(".dfld-*"))
    forget(layout)
    assert read_journal(folder) == ()
    assert not [path for path in layout.root.rglob("*") if path.suffix in (".jpg", ".png")]


def test_nothing_is_cleared_or_forgotten_while_another_program_renames(layout: Layout, folder: FacesetFolder) -> None:
    sort_by_chance(folder, random.Random(5))
    before = contents(layout.root)
    with sole_user(folder):
        with pytest.raises(OutputError, match="another dfld works on"):
            forget(layout)
        with pytest.raises(OutputError, match="another dfld works on"):
            run(layout, source=SOURCE)
    assert contents(layout.root) == before


def test_a_lost_journal_makes_a_sort_look_like_a_persons_and_loses_nothing(
    layout: Layout, folder: FacesetFolder
) -> None:
    sort_by_chance(folder, random.Random(6))
    before = contents(folder.aligned)
    shutil.rmtree(folder.state)
    assert {one.kind for one in survey(layout).changes} == {"renamed"}
    run(layout, source=SOURCE)
    assert contents(folder.aligned) == before
