"""The progress of work on faces, on a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from daemon.commands.output import steerable

SHOWN_FROM = 200
"""Fewer faces are done before anybody could read it."""


@contextmanager
def faces_progress(*, visible: bool, done_word: str = "measured") -> Iterator[Callable[[int, int], None]]:
    """Yield what is called with faces done and their number; nothing shows where standard error is no terminal."""
    stream = steerable(sys.stderr)
    if not visible or not stream.isatty():
        yield lambda _done, _total: None
        return

    def show(done: int, total: int) -> None:
        if total >= SHOWN_FROM:
            stream.write(f"\r{f'{done} of {total} faces {done_word}':<60}\r")
            stream.flush()

    try:
        yield show
    finally:
        stream.write(f"\r{'':<60}\r")
