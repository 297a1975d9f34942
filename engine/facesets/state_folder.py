"""`.dfld/`: what dfld keeps of a faceset, its journal and caches, for its owner alone. Where: `FacesetFolder.state`."""

from __future__ import annotations

from core.opening import RefusedFileError
from engine.facesets.faceset_folder import STATE, FacesetFolder

PRIVATE_FILE, PRIVATE_FOLDER = 0o600, 0o700
"""Modes: what is kept says how faces look, and who is among them."""


def make_state_folder(folder: FacesetFolder) -> None:
    """Make the folder for what dfld keeps of a faceset. Raise OSError, also where a link stands there: what is kept
    of faces lies beside them, where `dfld forget` finds it."""
    for one in (folder.parent / STATE, folder.state):
        if one.is_symlink():
            raise RefusedFileError(one, "is a link; dfld keeps what it knows of faces beside them")
        one.mkdir(mode=PRIVATE_FOLDER, exist_ok=True)
