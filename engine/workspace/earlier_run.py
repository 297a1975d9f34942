"""What an earlier `dfld extract` left in the same output folder.

Two runs must not mix: a second run with a stricter threshold would leave the faces of the first. What a person put
or renamed there is never touched; what goes are files that the earlier run's log names, and, where that run was
cut short or the person asks for it, files that carry the name of a face.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from engine.errors import OutputError
from engine.workspace.workspace import Layout

LOG_BYTES_MAX = 1 << 30
"""A log line is about 250 bytes: four million faces."""

_FACE_FILE = re.compile(r"[A-Za-z0-9-]*\d{8}_\d+\.(jpg|png)")


@dataclass(frozen=True)
class _EarlierLog:
    source: str | None = None
    completed: bool = True
    files: tuple[str, ...] = ()


def clear_earlier_run(layout: Layout, source: Path, *, replace: bool = False) -> int:
    """Remove the faces of an earlier run of the same source; return how many.

    Raise OutputError, with nothing changed, when the folder holds faces of another source or of no known run and
    `replace` is not set.
    """
    try:
        return _clear(layout, source, replace=replace)
    except OSError as problem:
        raise OutputError(
            f"cannot look for an earlier run in {layout.aligned}: {problem.strerror}",
            hint="check the path and its permissions, or choose another --out",
        ) from problem


def _clear(layout: Layout, source: Path, *, replace: bool) -> int:
    if not layout.aligned.is_dir() or not any(layout.aligned.glob(f"{layout.prefix}*")):
        return 0
    log = _read_log(layout.log)
    strangers = _strangers(layout, log.files)
    same = log.source == str(source)
    explained = same and (not strangers or not log.completed)
    if not replace and not explained:
        what = f"faces of {log.source}" if log.source and not same else "faces that no log of dfld names"
        raise OutputError(
            f"{layout.aligned} already holds {what}; nothing was changed",
            hint="choose another --out, or --replace to remove the faces that are there",
        )
    removed = 0
    for name in (*log.files, *strangers):
        for path in (layout.aligned / name, layout.review / name, layout.masks / f"{Path(name).stem}_mask.png"):
            if path.is_file() and not path.is_symlink():
                path.unlink()
                removed += path.parent == layout.aligned
    return removed


def _strangers(layout: Layout, known: tuple[str, ...]) -> list[str]:
    """Faces of this layout that the log does not name."""
    pattern = re.compile(re.escape(layout.prefix) + r"\d{8}_\d+\.(jpg|png)")
    named = set(known)
    return [p.name for p in layout.aligned.iterdir() if pattern.fullmatch(p.name) and p.name not in named]


def _read_log(path: Path) -> _EarlierLog:
    """Read source and face files of a log; nothing of it is trusted beyond what fits a face's file name."""
    try:
        if path.stat().st_size > LOG_BYTES_MAX:
            return _EarlierLog()
        log = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return _EarlierLog()
    if not isinstance(log, dict) or not isinstance(log.get("source"), str):
        return _EarlierLog()
    faces = log.get("faces")
    files = [face.get("file") for face in faces if isinstance(face, dict)] if isinstance(faces, list) else []
    names = tuple(name for name in files if isinstance(name, str) and _FACE_FILE.fullmatch(name))
    return _EarlierLog(log["source"], log.get("completed") is not False, names)
