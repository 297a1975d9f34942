"""Moves and removes files in children that are killed with SIGKILL before a step: one line of JSON in, one out.

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
from core.move_and_delete import KnownFile, move, remove
from tests.core.steps import at_step, without


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
    at_step(asked["step"], lambda: os.kill(os.getpid(), signal.SIGKILL))
    path, known, note = Path(asked["path"]), KnownFile(**asked["known"]), Path(asked["note"])
    if asked["target"]:
        move(path, Path(asked["target"]), known, on_place=lambda place: note.write_text(str(place)))
    else:
        remove(path, known)


if __name__ == "__main__":
    main()
