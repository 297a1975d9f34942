"""`dfld` in this process, with models that are loaded once: what is tested are its words, exit codes and files.

A fresh process imports libraries and loads models for three seconds before it comes to what it is asked. Where the
process is what is tested (signals, closed streams, the locale, rights), tests start a real one.
"""

from __future__ import annotations

import io
import os
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import cache
from unittest import mock

from daemon.cli import main
from engine.backends.catalog import open_backend

opened = cache(open_backend)
"""`open_backend`, which opens each backend once in a test process."""


@dataclass(frozen=True)
class Ended:
    """How a command ended, as of a process."""

    returncode: int
    stdout: str
    stderr: str


def dfld(*arguments: object) -> Ended:
    """Run one command; an error that nobody caught is raised here, where a process would end with a traceback."""
    words = [os.fspath(one) if isinstance(one, os.PathLike) else str(one) for one in arguments]
    out, err = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
    with redirect_stdout(out), redirect_stderr(err), mock.patch("engine.backends.catalog.open_backend", opened):
        code = main(words)
    return Ended(code, *(stream.buffer.getvalue().decode(errors="replace") for stream in (out, err)))  # type: ignore[attr-defined]
