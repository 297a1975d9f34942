"""What the first bytes of a file say it is: for names that say nothing, or lie. Interprets no more than a signature.

Not for deciding that a video can be used: only a worker opens it. The signatures are `engine.footage.signatures`.
"""

from __future__ import annotations

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
