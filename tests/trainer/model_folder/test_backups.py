"""DeepFaceLab's autobackups: numbered 01 to 24, whole at every step of the next one."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from tests.core.steps import at_step, refuse
from tests.model_rig import ALICE
from tests.trainer.save_program import NAMES, STEPS, files_of
from trainer.errors import SaveError
from trainer.model_folder.backups import BACKUPS_KEPT, backups, make_backup
from trainer.model_folder.generations import save_generation


def text(backup: Path) -> str:
    """What all files of a backup hold behind their names."""
    [found] = {(backup / name).read_text().removeprefix(f"{name} ") for name in NAMES}
    return found


def saved(folder: Path, number: int) -> None:
    for file in files_of(str(number)):
        file.write(folder / file.name)


def test_the_newest_24_are_kept_and_01_is_the_newest(tmp_path: Path) -> None:
    for number in range(BACKUPS_KEPT + 2):
        saved(tmp_path, number)
        assert make_backup(tmp_path, ALICE, NAMES).name == "01"
    found = backups(tmp_path, ALICE)
    assert [one.name for one in found] == [f"{number:02d}" for number in range(1, 25)]
    assert [text(one) for one in found] == [str(number) for number in range(25, 1, -1)]


def test_a_backup_is_no_other_name_of_the_models_files(tmp_path: Path) -> None:
    save_generation(tmp_path, ALICE, files_of("old"), keep=2)
    backup = make_backup(tmp_path, ALICE, NAMES)
    for name in NAMES:
        (tmp_path / name).open("wb").close()  # as cp does, which brings a backup back over it
    assert text(backup) == "old"


def test_a_disk_that_refuses_at_any_step_leaves_every_backup_whole(tmp_path: Path) -> None:
    for number in range(3):
        saved(tmp_path, number)
        make_backup(tmp_path, ALICE, NAMES)
    number, step, reached = 3, 0, True
    while reached:
        step, reached = step + 1, False

        def fail() -> None:
            nonlocal reached
            reached = True
            refuse(errno.ENOSPC)()

        saved(tmp_path, number)
        before = [text(one) for one in backups(tmp_path, ALICE)]
        undo = at_step(step, fail, ("open", *STEPS))
        try:
            make_backup(tmp_path, ALICE, NAMES)
        except SaveError:
            pass
        finally:
            undo()
        after = [text(one) for one in backups(tmp_path, ALICE)]
        assert [one for one in after if one != str(number)] == before[: BACKUPS_KEPT - (len(after) > len(before))]
        number += 1
        if len(after) > 12:
            for one in backups(tmp_path, ALICE)[6:]:
                for name in NAMES:
                    os.unlink(one / name)  # noqa: PTH108
                one.rmdir()
    assert step > 10


def test_a_file_that_is_missing_makes_no_backup(tmp_path: Path) -> None:
    with pytest.raises(SaveError, match="no backup of alice_SAEHD"):
        make_backup(tmp_path, ALICE, NAMES)
    assert backups(tmp_path, ALICE) == ()
