"""The extraction log of an earlier run, read with care: what it says of faces, where no manifest does."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from core.opening import read_regular
from engine.face_id import Box

LOG_BYTES_MAX = 1 << 30
"""A log line is about 250 bytes: four million faces."""

_FACE_FILE = re.compile(r"[A-Za-z0-9-]*\d{8}_\d+\.(jpg|png)")


@dataclass(frozen=True)
class LoggedFace:
    """A face that was written."""

    file: str
    frame: int
    box: Box
    reason: str


@dataclass(frozen=True)
class EarlierLog:
    """A log, as far as it names files that carry the name of a face."""

    source: str
    completed: bool
    faces: tuple[LoggedFace, ...]
    written_ns: int
    """When; it is the last thing that a run writes."""


def read_log(path: Path) -> EarlierLog | None:
    """Read a log; None where there is none, or it makes no sense.

    Nothing of it is trusted beyond a face's file name.
    """
    try:
        written_ns = path.stat().st_mtime_ns
        log = json.loads(read_regular(path, within=None, follow_links=True, max_bytes=LOG_BYTES_MAX))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(log, dict) or not isinstance(log.get("source"), str):
        return None
    listed = log.get("faces")
    faces = [face for one in listed if (face := _face_of(one)) is not None] if isinstance(listed, list) else []
    return EarlierLog(log["source"], log.get("completed") is not False, tuple(faces), written_ns)


def _face_of(value: object) -> LoggedFace | None:
    if not isinstance(value, dict) or not isinstance(value.get("file"), str) or not _FACE_FILE.fullmatch(value["file"]):
        return None
    try:
        left, top, right, bottom = (round(float(edge)) for edge in value["bbox"])
        return LoggedFace(value["file"], int(value["frame"]), (left, top, right, bottom), str(value.get("reason")))
    except (KeyError, TypeError, ValueError, OverflowError):
        return None
