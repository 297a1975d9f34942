"""DeepFaceLab's autobackups: `<name>_<Class>_autobackups/01` to `24`, 01 the newest. Copies, for people to copy back.

Each folder holds the model's files under their names. A kill leaves every backup whole: at worst a number is missing,
which the next backup fills. Source: DeepFaceLab commit 46fc239, models/ModelBase.py (create_backup).
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from core.files import copy_new, make_folder, put_folder_in_place, sync_folder
from dfl.model_files import ModelName
from trainer.errors import SaveError

BACKUPS_KEPT = 24
_COPYING, _DROPPING = ".copying", ".dropping"


def backups_folder(folder: Path, model: ModelName) -> Path:
    """Return where DeepFaceLab's backups of a model lie."""
    return folder / model.file_name("autobackups")


def backups(folder: Path, model: ModelName) -> tuple[Path, ...]:
    """Return the backups of a model, newest first."""
    beside = backups_folder(folder, model)
    numbered = (beside / f"{number:02d}" for number in range(1, BACKUPS_KEPT + 1))
    return tuple(one for one in numbered if one.is_dir())


def make_backup(folder: Path, model: ModelName, names: Sequence[str]) -> Path:
    """Copy the named files of a model into a new backup 01; the others move up by one, and the 25th is removed.

    Raise SaveError, with every backup whole, where the disk refuses.
    """
    beside = backups_folder(folder, model)
    copying = beside / _COPYING
    try:
        for left in (copying, beside / _DROPPING):
            shutil.rmtree(left, ignore_errors=True)
        make_folder(copying)
        for name in names:
            copy_new(folder / name, copying / name)
        _move_up(beside)
        put_folder_in_place(copying, beside / "01")
    except OSError as problem:
        shutil.rmtree(copying, ignore_errors=True)
        raise SaveError(f"no backup of {model.prefix} is made: {problem.strerror}") from problem
    return beside / "01"


def _move_up(beside: Path) -> None:
    """Free the number 01: every backup below the first missing number moves up, and the last is dropped if none is."""
    places = [beside / f"{number:02d}" for number in range(1, BACKUPS_KEPT + 1)]
    free = next((number for number, place in enumerate(places) if not place.exists()), len(places))
    if free == len(places):
        free -= 1
        put_folder_in_place(places[free], beside / _DROPPING)
        shutil.rmtree(beside / _DROPPING)
    for number in range(free, 0, -1):
        put_folder_in_place(places[number - 1], places[number])
    sync_folder(beside)
