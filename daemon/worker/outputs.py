"""The files that one clip left in a workspace: finding exactly them, by their names.

Clips of an inbox share folders; a clip's files are known by its slug and the fixed form of the names, so that
`take` never means what belongs to `take-2`. Results are cleared by engine.results.clearing, not by name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.workspace.file_names import FRAME_NAME, Layout


def clip_files(layout: Layout) -> Iterator[Path]:
    """Yield every file of one clip: faces, masks, whole frames, log, preview, and leftovers of unfinished writes."""
    own = re.compile(rf"\.?{re.escape(layout.prefix)}(\d{{8}}_\d+(_mask)?\.\w+|\w+\.\w+)(\.part)?")
    for folder in layout.folders:
        if folder == layout.frames or not folder.is_dir():
            continue
        for path in sorted(folder.iterdir()):
            if own.fullmatch(path.name) and path.is_file():
                yield path
    if layout.frames is not None and layout.frames.is_dir():
        for path in sorted(layout.frames.iterdir()):
            if FRAME_NAME.fullmatch(path.name.removeprefix(".").removesuffix(".part")) and path.is_file():
                yield path
