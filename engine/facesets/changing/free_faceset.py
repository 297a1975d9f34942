"""A faceset that may be changed: waited for while another program works on it, then held against all others of dfld."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from engine.errors import FacesetInUseError
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import FacesetFolder

POLL_S = 5.0
"""How often it is asked whether the faceset is free by now."""

WhyHeld = Callable[[], str]
"""Returns why no file may be changed now, "" when they may: `python main.py train … (process 4711) works on …`."""
OnWait = Callable[[str], None]
"""Called with each new reason."""


@dataclass(frozen=True)
class Waiting:
    """What a change of a faceset waits for."""

    why_held: WhyHeld
    on_wait: OnWait
    stop: threading.Event
    """Ends the waiting."""

    def until_free(self) -> bool:
        """Wait until files may be changed; False where it was stopped before that."""
        said = ""
        while not self.stop.is_set():
            why = self.why_held()
            if not why:
                return True
            if why != said:
                self.on_wait(why)
                said = why
            self.stop.wait(POLL_S)
        return False


@contextmanager
def sole_user_when_free(folder: FacesetFolder, waiting: Waiting | None) -> Iterator[None]:
    """Hold a faceset (engine.facesets.changing.sole_user) once nothing says that it is not free; None does not wait.

    Raise FacesetInUseError where the waiting was stopped, or another dfld holds the faceset.
    """
    while waiting is None or waiting.until_free():
        with sole_user(folder):
            if waiting is None or not waiting.why_held():  # asked again: nothing of dfld begins from here on
                yield
                return
    raise FacesetInUseError(f"{folder.aligned} was not free until the stop; nothing was changed")
