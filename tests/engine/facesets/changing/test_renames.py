"""Whatever is renamed, and wherever a kill comes, no face is lost, none is replaced, and every batch can be undone."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dfl.image import read_metadata
from engine.errors import FacesetError
from engine.facesets.changing import rename_journal, renames
from engine.facesets.changing.rename_journal import batches_in, first_places, journal_path, read_journal
from engine.facesets.changing.rename_order import in_order
from engine.facesets.changing.renames import CarriedOut, PlannedMove, carry_out, last_batch, recover, undo
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import FacesetFolder, faceset_folders
from tests.faceset_rig import contents, face_jpeg, make_faceset, stat_of

EXAMPLES = int(os.environ.get("DFLD_RENAME_EXAMPLES", "50"))
NAMES = [f"{number}.jpg" for number in range(6)]
FILES = {name: f"face {name}".encode() for name in NAMES}


def planned(moves: dict[str, str]) -> list[PlannedMove]:
    return [PlannedMove(source, target) for source, target in moves.items()]


def moves_of_names(draw: st.DrawFn) -> dict[str, str]:
    """Some faces get a name or a folder: new ones, or each other's."""
    chosen = draw(st.lists(st.sampled_from(NAMES), unique=True))
    free = [f"new{number}.jpg" for number in range(4)] + chosen
    names = draw(st.permutations(free))
    folders = draw(st.lists(st.sampled_from(("aligned", "aside", "rejected")), min_size=6, max_size=6))
    return {f"aligned/{name}": f"{folder}/{new}" for name, new, folder in zip(chosen, names, folders, strict=False)}


MOVES = st.composite(moves_of_names)()


@given(moves=MOVES)
def test_no_rename_of_an_order_meets_a_taken_name(moves: dict[str, str]) -> None:
    there = {f"aligned/{name}": name for name in NAMES}
    before = dict(there)
    for rename in in_order(moves, {source: f"{source}.away" for source in moves}):
        assert rename.target not in there
        there[rename.target] = there.pop(rename.source)
    assert there == {moves.get(place, place): name for place, name in before.items()}


def test_only_files_that_change_places_take_a_temporary_name() -> None:
    assert len(in_order({"a": "b", "b": "c", "c": "d"}, {})) == 3
    assert len(in_order({"a": "b", "b": "a", "c": "c"}, {one: f"{one}~" for one in "abc"})) == 3


@given(moves=MOVES)
@settings(max_examples=EXAMPLES)
def test_what_stays_and_what_was_moved_are_together_what_was_there_and_undo_restores_all(
    moves: dict[str, str], memory_folder: Path
) -> None:
    with TemporaryDirectory(dir=memory_folder) as root:
        folder = make_faceset(Path(root), FILES)
        before, stats = contents(folder.parent), stat_of(folder.parent)
        done = carry_out(folder, planned(moves), journal_kind="test")
        after = contents(folder.parent)
        assert sorted(after.values()) == sorted(before.values())
        for place, data in before.items():
            if place.startswith("aligned/"):  # and its mask has its name
                assert after[moves.get(place, place)] == data
                name = Path(moves.get(place, place)).name
                assert after[f"masks/{folder.mask_of(name).name}"].endswith(data.removeprefix(b"face "))
        if done.batch:
            undo(folder, done.batch)
        assert contents(folder.parent) == before
        assert stat_of(folder.parent) == stats


class _KilledError(BaseException):
    """Stands for SIGKILL: nothing runs behind it."""


def killed_at(step: int, monkeypatch: pytest.MonkeyPatch, work: Callable[[], object]) -> bool:
    """Do work that is killed before its step number `step`; say whether it was: else it had ended."""
    steps = count()

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*arguments: object, **named: object) -> object:
            if next(steps) == step:
                raise _KilledError
            return real(*arguments, **named)

        return call

    with monkeypatch.context() as patched:
        for module, name in (
            (renames, "rename_new"), (renames, "sync_folder"), (renames, "append_lines"), (renames, "make_folder"),
            (rename_journal.os, "fsync"),
        ):  # fmt: skip
            patched.setattr(module, name, counted(getattr(module, name)))
        try:
            work()
        except _KilledError:
            return True
    return False


CIRCLES = {
    "aligned/0.jpg": "aligned/1.jpg",
    "aligned/1.jpg": "aligned/0.jpg",
    "aligned/2.jpg": "aligned/3.jpg",
    "aligned/3.jpg": "aside/4.jpg",
    "aligned/4.jpg": "aligned/2.jpg",
    "aligned/5.jpg": "rejected/5.jpg",
}


def faces_in(folder: FacesetFolder) -> dict[str, bytes]:
    return {place: data for place, data in contents(folder.parent).items() if not place.startswith("masks/")}


@pytest.mark.parametrize("is_undo", [False, True])
def test_a_kill_at_every_step_of_a_batch_loses_nothing_and_the_next_one_goes_on(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch, is_undo: bool
) -> None:
    for step in count():
        folder = make_faceset(quick_folder / str(step), FILES)
        everything = sorted(contents(folder.parent).values())
        first = carry_out(folder, planned(CIRCLES), journal_kind="test").batch if is_undo else 0

        def work(folder: FacesetFolder = folder, first: int = first) -> None:
            if is_undo:
                undo(folder, first)
            else:
                carry_out(folder, planned(CIRCLES), journal_kind="test")

        def again(folder: FacesetFolder = folder) -> None:
            recover(folder)

        before = faces_in(folder)
        was_killed = killed_at(step, monkeypatch, work)
        assert sorted(contents(folder.parent).values()) == everything
        killed_at(step // 2 + 1, monkeypatch, again)  # and once more while the next one goes on
        recover(folder)
        assert recover(folder) is None
        has_begun = len(read_journal(folder)) == (2 if is_undo else 1)
        there = {CIRCLES.get(f"aligned/{name}", f"aligned/{name}"): data for name, data in FILES.items()}
        back = {f"aligned/{name}": data for name, data in FILES.items()}
        assert faces_in(folder) == ((back if is_undo else there) if has_begun else before)
        assert sorted(contents(folder.parent).values()) == everything
        shutil.rmtree(quick_folder / str(step))
        if not was_killed:
            assert step > 20
            break


def test_a_kill_at_every_step_is_survived_by_a_copy_that_has_other_inodes_and_times(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faces = {name: face_jpeg(number) for number, name in enumerate(NAMES)}
    moves = [PlannedMove(source, target, ids_of(faces)[source]) for source, target in CIRCLES.items()]
    for step in count():
        killed = make_faceset(quick_folder / str(step), faces)
        for number, name in enumerate(NAMES):
            killed.mask_of(name).write_bytes(bytes(number + 1))
        before = contents(killed.parent)
        was_killed = killed_at(
            step,
            monkeypatch,
            lambda killed=killed: carry_out(killed, moves, journal_kind="sort"),  # type: ignore[misc]
        )
        shutil.copytree(killed.parent, quick_folder / "copy", copy_function=shutil.copyfile)
        (folder,) = faceset_folders(quick_folder / "copy")
        recover(folder)
        has_begun = bool(read_journal(folder))
        undone = last_batch(folder, "sort")
        assert (undone is not None) == has_begun
        if undone is not None:
            after = faces_in(folder)
            assert after == {CIRCLES[f"aligned/{name}"]: data for name, data in faces.items()}
            assert undo(folder, undone).left == ()
        assert contents(folder.parent) == before
        for name in ("copy", str(step)):
            shutil.rmtree(quick_folder / name)
        if not was_killed:
            break


def ids_of(faces: dict[str, bytes]) -> dict[str, str]:
    return {f"aligned/{name}": read_metadata(data).dfld_face_id or "" for name, data in faces.items()}


def test_names_of_one_file_are_renamed_as_those_of_several(quick_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for step in count():
        folder = make_faceset(quick_folder / str(step), {"0.jpg": FILES["0.jpg"]}, masks=False)
        for name in NAMES[1:]:
            (folder.aligned / name).hardlink_to(folder.aligned / "0.jpg")
        was_killed = killed_at(
            step,
            monkeypatch,
            lambda folder=folder: carry_out(folder, planned(CIRCLES), journal_kind="sort"),  # type: ignore[misc]
        )
        recover(folder)
        if read_journal(folder):
            assert set(contents(folder.parent)) == set(CIRCLES.values())
            assert undo(folder, 1).left == ()
        assert set(contents(folder.parent)) == {f"aligned/{name}" for name in NAMES}
        if not was_killed:
            break


def test_a_temporary_name_that_a_lost_journal_left_is_nobody_elses(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FILES)
    (folder.aligned / ".dfld-7-0.jpg").write_bytes(b"left")
    assert carry_out(folder, planned(CIRCLES), journal_kind="sort") == CarriedOut(8, len(CIRCLES))


def test_nothing_is_renamed_where_a_name_is_taken_or_a_face_has_gone(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FILES)
    before = contents(folder.parent)
    for moves, problem in (
        ({"aligned/0.jpg": "aligned/1.jpg"}, "1.jpg is taken"),
        ({"aligned/0.jpg": "aligned/a.jpg", "aligned/1.jpg": "aligned/a.jpg"}, "a.jpg is taken"),
        ({"aligned/none.jpg": "aligned/a.jpg"}, "not there any more"),
        ({"aligned/0.jpg": "../0.jpg"}, "not in a folder of the faceset"),
        ({"aligned/0.jpg": "debug/0.jpg"}, "not in a folder of the faceset"),
    ):
        with pytest.raises(FacesetError, match=problem):
            carry_out(folder, planned(moves), journal_kind="test")
        assert contents(folder.parent) == before
    assert read_journal(folder) == ()


def test_a_name_that_somebody_takes_meanwhile_is_not_replaced(
    quick_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_faceset(quick_folder, FILES)
    real = renames.in_order

    def taken_first(moves: dict[str, str], temporary: dict[str, str]) -> object:
        (folder.aligned / "new.jpg").write_bytes(b"somebody else's")
        return real(moves, temporary)

    monkeypatch.setattr(renames, "in_order", taken_first)
    done = carry_out(
        folder, planned({"aligned/0.jpg": "aligned/new.jpg", "aligned/1.jpg": "aside/1.jpg"}), journal_kind="test"
    )
    assert (folder.aligned / "new.jpg").read_bytes() == b"somebody else's"
    assert (done.moved, [(one.source, one.place) for one in done.left]) == (1, [("aligned/0.jpg", "aligned/0.jpg")])
    assert (folder.aligned / "0.jpg").read_bytes() == FILES["0.jpg"]


def test_a_folder_on_another_disk_is_refused_and_one_that_gets_there_meanwhile_blocks_nothing(
    quick_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_faceset(quick_folder, FILES)
    before = contents(folder.parent)
    if quick_folder.stat().st_dev != tmp_path.stat().st_dev:
        folder.aside.symlink_to(tmp_path)
        with pytest.raises(FacesetError, match="aside lies on another disk"):
            carry_out(folder, planned({"aligned/0.jpg": "aside/0.jpg"}), journal_kind="curate")
        folder.aside.unlink()
        (tmp_path / "aligned").mkdir()
        folder.aligned.rename(quick_folder / "before")
        folder.aligned.symlink_to(tmp_path / "aligned")
        (folder.aligned / "0.jpg").write_bytes(b"")
        with pytest.raises(FacesetError, match="aside lies on another disk"):
            carry_out(folder, planned({"aligned/0.jpg": "aside/0.jpg"}), journal_kind="curate")
        assert not folder.aside.exists()
        folder.aligned.unlink()
        (quick_folder / "before").rename(folder.aligned)

    def across_disks(source: Path, target: Path) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link", str(source), None, str(target))

    with monkeypatch.context() as patched:
        patched.setattr(renames, "rename_new", across_disks)
        done = carry_out(folder, planned({"aligned/0.jpg": "aside/0.jpg"}), journal_kind="curate")
    assert [one.place for one in done.left] == ["aligned/0.jpg"]
    assert recover(folder) is None
    assert contents(folder.parent) == before


def test_an_older_batch_is_undone_around_what_a_newer_one_did(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FILES)
    renamed = carry_out(
        folder, planned({"aligned/0.jpg": "aligned/a.jpg", "aligned/1.jpg": "aligned/b.jpg"}), journal_kind="sort"
    )
    carry_out(folder, planned({"aligned/a.jpg": "aside/a.jpg"}), journal_kind="curate")
    assert undo(folder, renamed.batch).moved == 2
    found = contents(folder.parent)
    assert (found["aside/0.jpg"], found["aligned/1.jpg"]) == (FILES["0.jpg"], FILES["1.jpg"])
    curated = last_batch(folder, "curate")
    assert curated is not None
    undo(folder, curated)
    assert {place for place in contents(folder.parent) if place.startswith("a")} == {
        f"aligned/{name}" for name in NAMES
    }
    assert not folder.aside.exists()
    assert last_batch(folder, "curate") is None
    with pytest.raises(FacesetError, match="no batch"):
        undo(folder, curated)


def test_a_face_whose_old_name_is_taken_by_now_gets_a_free_one_like_it(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FILES)
    done = carry_out(
        folder, planned({"aligned/0.jpg": "aside/0.jpg", "aligned/1.jpg": "aside/1.jpg"}), journal_kind="curate"
    )
    (folder.aligned / "0.jpg").write_bytes(b"new")
    (folder.aside / "1.jpg").unlink()
    assert undo(folder, done.batch).moved == 1
    assert (folder.aligned / "0.jpg").read_bytes() == b"new"
    assert (folder.aligned / "0.2.jpg").read_bytes() == FILES["0.jpg"]
    assert (folder.masks / "0.2_mask.png").exists()


def test_the_journal_says_where_each_file_first_was(quick_folder: Path) -> None:
    folder = make_faceset(quick_folder, FILES, masks=False)
    carry_out(
        folder, planned({"aligned/0.jpg": "aligned/1.jpg", "aligned/1.jpg": "aligned/0.jpg"}), journal_kind="sort"
    )
    carry_out(folder, planned({"aligned/1.jpg": "aside/1.jpg"}), journal_kind="curate", reason="why")
    batches = read_journal(folder)
    assert first_places(batches) == {"aside/1.jpg": "aligned/0.jpg", "aligned/0.jpg": "aligned/1.jpg"}
    assert (batches[1].reason, batches[1].folders_made) == ("why", ("aside",))
    assert journal_path(folder).stat().st_mode & 0o777 == 0o600
    assert folder.state.stat().st_mode & 0o777 == 0o700


@given(data=st.data())
@settings(max_examples=EXAMPLES)
def test_a_mutated_journal_says_less_and_breaks_nothing(memory_folder: Path, data: st.DataObject) -> None:
    with TemporaryDirectory(dir=memory_folder) as root:
        folder = make_faceset(Path(root), FILES)
        carry_out(folder, planned(CIRCLES), journal_kind="test", reason="x")
        whole = bytearray(journal_path(folder).read_bytes())
        for _ in range(data.draw(st.integers(1, 5))):
            whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
        del whole[data.draw(st.integers(0, len(whole))) :]
        before = sorted(contents(folder.parent).values())
        batches_in(bytes(whole))
        journal_path(folder).write_bytes(whole)
        recover(folder)
        assert sorted(contents(folder.parent).values()) == before


def test_a_second_program_is_refused_while_one_holds_the_faceset(quick_folder: Path) -> None:
    folder: FacesetFolder = make_faceset(quick_folder, FILES)
    (same,) = faceset_folders(folder.aligned)
    with sole_user(folder), pytest.raises(FacesetError, match="another dfld works on"), sole_user(same):
        pass
    with sole_user(same):
        assert [path.name for path in folder.state.iterdir()] == ["lock"]
