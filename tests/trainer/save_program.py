"""Saves generations in children that are killed with SIGKILL before a step: one line of JSON in, one out.

A program of its own, because a child of a process with threads may hang on a lock that one of them held.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from core import files
from tests.core.steps import at_step, without
from tests.model_rig import ALICE
from trainer.model_folder.backups import make_backup
from trainer.model_folder.generations import FileToSave, recover, save_generation

STEPS = ("fsync", "rename", "replace", "link", "unlink", "mkdir", "rmdir", "utime")
NAMES = tuple(ALICE.file_name(part) for part in ("summary.txt", "encoder.npy", "data.dat"))


def main() -> None:
    for line in sys.stdin:
        asked = json.loads(line)
        child = os.fork()
        if child == 0:
            with suppress(BaseException):
                work(asked)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(json.dumps(os.WIFSIGNALED(status)) + "\n")
        sys.stdout.flush()


def work(asked: dict[str, Any]) -> None:
    without(files, asked["lacking"], setattr)
    at_step(asked["step"], lambda: os.kill(os.getpid(), signal.SIGKILL), STEPS)
    folder = Path(asked["folder"])
    if asked["what"] == "save":
        save_generation(folder, ALICE, files_of(asked["text"]), keep=2)
    elif asked["what"] == "recover":
        recover(folder, ALICE)
    else:
        make_backup(folder, ALICE, NAMES)


def files_of(text: str) -> list[FileToSave]:
    """Three files that hold their name and `text`."""

    def writes(name: str) -> FileToSave:
        return FileToSave(name, lambda path: path.write_bytes(f"{name} {text}".encode()) and None)

    return [writes(name) for name in NAMES]


if __name__ == "__main__":
    main()
