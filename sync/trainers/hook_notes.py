"""The notes between dfld and the line inside a trainer, as values. Pure.

    request.json  by dfld:     {"do": "save"|"load", "token": …, "folder": …, "files": […]}
    answer.json   by the hook: {"token": …, "error": …, "refused": […], "iteration": …}
    alive.json    by the hook: {"iteration": …, "losses": [[src, dst], …], "process": {…}}

What the hook wrote comes from a machine: what is of another kind than expected counts as not there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from sync.trainers.processes.sign_of_life import ProcessMark, mark_of
from sync.trainers.proof import Losses, rows


@dataclass(frozen=True)
class HookRequest:
    """What the trainer is asked to do between two iterations; the same token is only ever done once."""

    do: Literal["save", "load"]
    token: str
    folder: str = ""
    """load: the folder of the staged files, beside the note."""
    files: tuple[str, ...] = ()

    def content(self) -> bytes:
        """Return the note."""
        note: dict[str, object] = {"do": self.do, "token": self.token}
        if self.do == "load":
            note |= {"folder": self.folder, "files": list(self.files)}
        return json.dumps(note).encode()


@dataclass(frozen=True)
class HookAnswer:
    """What the trainer says about a request."""

    token: str = ""
    error: str = ""
    """What went wrong: a traceback, or a line of a hook that an older dfld put there."""
    refused: tuple[str, ...] = ()
    """Names of the files that it could not load."""
    iteration: int | None = None

    @classmethod
    def read(cls, content: bytes) -> HookAnswer:
        """Read the note."""
        note = _table(content)
        token, error, refused, iteration = (note.get(key) for key in ("token", "error", "refused", "iteration"))
        return cls(
            token if isinstance(token, str) else "",
            str(error) if error else "",
            tuple(map(str, refused)) if isinstance(refused, list) else (),
            iteration if isinstance(iteration, int) else None,
        )


@dataclass(frozen=True)
class SignOfLife:
    """How far the trainer is, and which process it is."""

    iteration: int | None = None
    losses: Losses | None = None
    """The tail of its history, oldest first; None where it gave none."""
    process: ProcessMark | None = None

    @classmethod
    def read(cls, content: bytes) -> SignOfLife:
        """Read the note."""
        note = _table(content)
        iteration, losses = note.get("iteration"), note.get("losses")
        return cls(
            iteration if isinstance(iteration, int) else None,
            _losses(losses),
            mark_of(note),
        )


def last_line(error: str) -> str:
    """Return the line of a traceback that says what was raised; "" of no text."""
    return error.strip().rpartition("\n")[2]


def _losses(found: object) -> Losses | None:
    try:
        return rows(found) if isinstance(found, list) else None
    except (TypeError, ValueError):
        return None


def _table(content: bytes) -> Mapping[str, object]:
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
