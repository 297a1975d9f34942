"""What core.move_and_delete asks of the disk, step by step: to be killed, or to have the file swapped, between two."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

from core import files

STEPS = ("open", "read", "write", "fsync", "rename", "link", "unlink", "lseek", "lstat", "utime", "fchmod", "close")
"""Beside renameat2."""
CHANGES = ("write", "fsync", "rename", "link", "unlink")
"""Of these, what leaves another state behind; beside renameat2."""


def at_step(number: int, act: Callable[[], None], steps: Sequence[str] = STEPS) -> Callable[[], None]:
    """Have `act` called before the step `number` of what goes to the disk; return what undoes that."""
    count = 0
    real: dict[str, Any] = {name: getattr(os, name) for name in steps}
    real_rename = files._rename_without_replacing

    def counted(call: Callable[..., Any]) -> Callable[..., Any]:
        def counting(*arguments: Any, **named: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                act()
            return call(*arguments, **named)

        return counting

    for name, call in real.items():
        setattr(os, name, counted(call))
    files._rename_without_replacing = counted(real_rename)

    def undo() -> None:
        for name, call in real.items():
            setattr(os, name, call)
        files._rename_without_replacing = real_rename

    return undo


def without(module: ModuleType, lacking: Sequence[str], set_to: Callable[[Any, str, Any], object]) -> None:
    """Take away what a filesystem lacks: `renameat2`, `hard links`."""
    if "renameat2" in lacking:
        set_to(module, "_rename_without_replacing", lambda *_: False)
    if "hard links" in lacking:
        set_to(os, "link", refuse(errno.EPERM))


def refuse(number: int) -> Callable[..., Any]:
    def refusing(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refusing
