"""What the first bytes of a file say it is: for names that say nothing, or lie. Interprets no more than a signature.

Not for deciding that a video can be used: only a worker opens it. The signatures are `engine.footage.signatures`.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from core.opening import open_regular
from engine.footage.signatures import HEAD_BYTES, holds_video, is_text

ContentKind = Literal["video", "text", "other"]


def content_kind(head: bytes) -> ContentKind:
    """Given the first bytes of a file, say whether they begin a video, are text, or neither."""
    if holds_video(head):
        return "video"
    return "text" if is_text(head) else "other"


def read_head(path: Path) -> bytes | None:
    """Return the first bytes of a regular file; None for anything else, for a link, or where it may not be read."""
    try:
        with open_regular(path, within=None) as file:
            return file.read(HEAD_BYTES)
    except OSError:
        return None


class Contents:
    """What the first bytes of the files of one inbox said: as long as a file stays as it is, they are read once.

    Of one thread. An entry, some hundred bytes, goes with the second full scan that does not find its file.
    """

    def __init__(self) -> None:
        self._known: dict[str, tuple[tuple[int, int, int], ContentKind]] = {}
        self._before = self._known

    def __len__(self) -> int:
        return len(self._known.keys() | self._before.keys())

    def begin_full_scan(self) -> None:
        self._before, self._known = self._known, {}

    def kind_of(self, entry: os.DirEntry[str]) -> ContentKind:
        """Say what the first bytes of a file are; "other" for links, and for what cannot be read."""
        try:
            if not entry.is_file(follow_symlinks=False):
                return "other"
            result = entry.stat(follow_symlinks=False)
        except OSError:
            return "other"
        identity = result.st_ino, result.st_size, result.st_mtime_ns
        known = self._known.get(entry.path) or self._before.get(entry.path)
        if known is None or known[0] != identity:
            head = read_head(Path(entry.path))
            known = identity, "other" if head is None else content_kind(head)
        self._known[entry.path] = known
        return known[1]
