"""A save is all files or none: killed before every step, on full disks, and over what other programs wrote."""

from __future__ import annotations

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from core import files
from tests.core.steps import at_step, refuse, without
from tests.model_rig import ALICE
from tests.trainer.save_program import NAMES, STEPS, files_of
from trainer.errors import ModelFolderError, SaveError
from trainer.model_folder import generations as saved
from trainer.model_folder.generations import FileToSave, generations, recover, require_intact, save_generation

ROOT = Path(__file__).parents[3]
Ask = Callable[..., bool]


@pytest.fixture(scope="module")
def killed_program() -> Iterator[Ask]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.trainer.save_program"], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        text=True,
    ) as program:  # fmt: skip
        assert program.stdin is not None
        assert program.stdout is not None

        def ask(folder: Path, what: str, step: int, *, text: str = "new", lacking: tuple[str, ...] = ()) -> bool:
            asked = {"folder": str(folder), "what": what, "step": step, "text": text, "lacking": lacking}
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write(json.dumps(asked) + "\n")
            program.stdin.flush()
            return bool(json.loads(program.stdout.readline()))

        yield ask
        program.stdin.close()


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that was saved twice."""
    folder = tmp_path_factory.mktemp("kept")
    save_generation(folder, ALICE, files_of("older"), keep=2)
    save_generation(folder, ALICE, files_of("old"), keep=2)
    return folder


@pytest.fixture(scope="module")
def cut_short(kept: Path, killed_program: Ask, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, killed in a third save that is decided, with some files old and some new."""
    for step in range(1, 200):
        folder = tmp_path_factory.mktemp("cut") / "model"
        shutil.copytree(kept, folder)
        killed_program(folder, "save", step)
        if texts(folder) == {"old", "new"}:
            return folder
    raise AssertionError("no step leaves some files old and some new")


def copied(folder: Path, target: Path) -> Path:
    """A copy with the times of the files."""
    shutil.copytree(folder, target)
    return target


def texts(folder: Path) -> set[str]:
    return {(folder / name).read_text().removeprefix(f"{name} ") for name in NAMES}


def hidden(folder: Path) -> list[str]:
    beside = folder / "alice_SAEHD_generations"
    return [path.name for path in (*folder.iterdir(), *beside.iterdir()) if path.name.startswith(".")]


@pytest.mark.parametrize("lacking", [(), ("hard links",)])
def test_a_save_killed_before_any_step_leaves_the_old_or_the_new_model_whole(
    tmp_path: Path, kept: Path, killed_program: Ask, lacking: tuple[str, ...]
) -> None:
    found = []
    step = 1
    while killed_program(copied(kept, tmp_path / str(step)), "save", step, lacking=lacking):
        folder = tmp_path / str(step)
        decided = list(folder.glob("*_generations/*.switching"))
        if not decided:
            assert texts(folder) in ({"old"}, {"new"}), step
        recover(folder, ALICE)
        [text] = texts(folder)
        assert text == ("new" if decided else text)
        assert hidden(folder) == []
        for one in generations(folder, ALICE):
            require_intact(one)
        newest = generations(folder, ALICE)[-1]
        assert (newest.folder / NAMES[1]).read_text() == f"{NAMES[1]} {text}"
        if step % 8 == 1:
            save_generation(folder, ALICE, files_of("next"), keep=2)
            assert texts(folder) == {"next"}
            assert len(generations(folder, ALICE)) == 2
        found.append(text)
        step += 1
    assert step > 30
    assert found == sorted(found, key=["old", "new"].index), "once decided, a save counts"
    assert set(found) == {"old", "new"}


def test_a_recovery_that_is_killed_before_any_step_is_completed_by_the_next(
    tmp_path: Path, cut_short: Path, killed_program: Ask
) -> None:
    step = 1
    while killed_program(folder := copied(cut_short, tmp_path / str(step)), "recover", step):
        recover(folder, ALICE)
        assert texts(folder) == {"new"}
        step += 1
    assert step > 5
    assert texts(folder) == {"new"}


def test_what_another_program_wrote_after_a_save_was_cut_short_is_not_overwritten(
    tmp_path: Path, cut_short: Path
) -> None:
    folder = copied(cut_short, tmp_path / "one")
    (folder / NAMES[2]).write_text("of another program")
    before = {name: (folder / name).read_bytes() for name in NAMES}
    with pytest.raises(ModelFolderError, match=r"data\.dat was changed by another program"):
        recover(folder, ALICE)
    with pytest.raises(ModelFolderError, match="changed by another program"):
        save_generation(folder, ALICE, files_of("next"), keep=2)
    assert {name: (folder / name).read_bytes() for name in NAMES} == before
    shutil.rmtree(next(folder.glob("*_generations/*.switching")))  # as the hint says
    assert not recover(folder, ALICE)


def test_a_decided_save_whose_own_files_are_damaged_changes_nothing(tmp_path: Path, cut_short: Path) -> None:
    folder = copied(cut_short, tmp_path / "one")
    decided = next(folder.glob("*_generations/*.switching"))
    before = {name: (folder / name).read_bytes() for name in NAMES}
    for content in (b"", b"[]", b'{"files": {"../x": "y"}, "before": {}}', b'{"files": 3, "before": {}}', b"\xff"):
        kept = (decided / saved.LIST).read_bytes()
        (decided / saved.LIST).write_bytes(content)
        with pytest.raises(ModelFolderError, match="does not say which files"):
            recover(folder, ALICE)
        (decided / saved.LIST).write_bytes(kept)
    (decided / NAMES[1]).unlink()
    (decided / NAMES[1]).write_text("damaged")
    with pytest.raises(ModelFolderError, match="not as it was saved"):
        recover(folder, ALICE)
    assert {name: (folder / name).read_bytes() for name in NAMES} == before


@pytest.mark.parametrize(("number", "lacking"), [(errno.ENOSPC, ()), (errno.EIO, ("hard links",))])
def test_a_disk_that_refuses_at_any_step_costs_nothing_that_was_saved(
    tmp_path: Path, kept: Path, monkeypatch: pytest.MonkeyPatch, number: int, lacking: tuple[str, ...]
) -> None:
    without(files, lacking, monkeypatch.setattr)
    refused = 0
    reached = True
    for step in range(1, 400):
        folder = copied(kept, tmp_path / str(step))
        reached = False

        def fail() -> None:
            nonlocal reached
            reached = True
            refuse(number)()

        undo = at_step(step, fail, (*STEPS, "open", "pwrite", "write"))
        try:
            with suppress(SaveError) if refused else pytest.raises(SaveError, match=os.strerror(number)):
                refused += 1
                save_generation(folder, ALICE, files_of("new"), keep=2)
                refused -= 1
        finally:
            undo()
        if not reached:
            break
        recover(folder, ALICE)
        assert texts(folder) in ({"old"}, {"new"})
        if step % 10 == 1:
            save_generation(folder, ALICE, files_of("next"), keep=2)
            assert texts(folder) == {"next"}
    assert refused > 30
    assert not reached


def test_a_file_that_reads_back_as_something_else_is_not_saved(tmp_path: Path, kept: Path) -> None:
    folder = copied(kept, tmp_path / "one")

    def check(path: Path) -> None:
        raise SaveError(f"{path.name} reads back as something else")

    wrong = FileToSave(NAMES[1], lambda path: path.write_bytes(b"x") and None, check)
    with pytest.raises(SaveError, match="reads back"):
        save_generation(folder, ALICE, [wrong], keep=2)
    assert texts(folder) == {"old"}
    assert hidden(folder) == []


def test_the_newest_generations_are_kept_and_the_newest_is_the_model(tmp_path: Path) -> None:
    for number in range(5):
        save_generation(tmp_path, ALICE, files_of(str(number)), keep=3)
    kept = generations(tmp_path, ALICE)
    assert [one.number for one in kept] == [3, 4, 5]
    assert [(one.folder / NAMES[0]).read_text()[-1] for one in kept] == ["2", "3", "4"]
    for name in NAMES:
        same = (kept[-1].folder / name).stat().st_ino == (tmp_path / name).stat().st_ino
        assert same == (not name.endswith("summary.txt")), "DeepFaceLab writes into summary.txt"


def test_files_are_for_their_owner_and_group_alone(tmp_path: Path) -> None:
    save_generation(tmp_path, ALICE, files_of("x"), keep=1)
    made = [path for path in tmp_path.rglob("*") if path.suffix != ".npy" or path.is_dir()]
    modes: dict[str, Any] = {path.name: path.stat().st_mode & 0o007 for path in made if path.is_dir()}
    assert set(modes.values()) == {0}


def test_a_generation_that_was_changed_is_not_taken_for_one(tmp_path: Path) -> None:
    save_generation(tmp_path, ALICE, files_of("x"), keep=1)
    [one] = generations(tmp_path, ALICE)
    assert require_intact(one) == NAMES
    with (one.folder / NAMES[1]).open("r+b") as file:
        file.write(b"changed in place")
    with pytest.raises(ModelFolderError, match="not as it was saved"):
        require_intact(one)
    (one.folder / NAMES[1]).unlink()
    with pytest.raises(ModelFolderError, match="cannot be read"):
        require_intact(one)
