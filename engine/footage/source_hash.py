"""The SHA-256 by which ids of faces name their source (engine.face_id): of a video, or of a folder of images.

    video    SHA-256 of its bytes
    folder   SHA-256 over each image, by plain name: length of the name in decimal digits, ":", the name, and the raw
             SHA-256 of the image's bytes

An inbox has it from the ledger, where the same recipe made it; `dfld extract` reads the source for it. What cannot be
read counts as if it ended there: whether that is a trouble is said by those who decode it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterable, Sequence
from contextlib import suppress
from pathlib import Path

from core.opening import chunks_of, open_regular
from engine.pictures.sequence import is_frame_name
from engine.steps import Step, no_step


def folder_sha256(images: Iterable[tuple[str, str]]) -> str:
    """Given name and SHA-256 in hex of each image, by plain name, return the hash of the folder."""
    whole = hashlib.sha256()
    for name, digest in images:
        whole.update(f"{len(name)}:".encode() + name.encode(errors="surrogateescape"))
        whole.update(bytes.fromhex(digest))
    return whole.hexdigest()


def source_sha256(
    source: Path, *, within: Sequence[Path] | None = None, stop: threading.Event, step: Step = no_step
) -> str:
    """Read a video or a folder of images and return its hash in hex; "" once `stop` is set.

    `within`: folders that every file must lie in; None = anywhere. `step` is called for each piece that was read.
    """
    if source.is_dir():
        found = folder_sha256((name, _sha256_of(source / name, within, stop, step)) for name in _image_names(source))
    else:
        found = _sha256_of(source, within, stop, step)
    return "" if stop.is_set() else found


def _image_names(folder: Path) -> list[str]:
    entries = [entry for entry in folder.iterdir() if entry.is_file() and not entry.is_symlink()]
    return sorted(entry.name for entry in entries if is_frame_name(entry.name))


def _sha256_of(path: Path, within: Sequence[Path] | None, stop: threading.Event, step: Step) -> str:
    digest = hashlib.sha256()
    with suppress(OSError), open_regular(path, within=within, follow_links=True) as file:
        for chunk in chunks_of(file, path):
            digest.update(chunk)
            step()
            if stop.is_set():
                break
    return digest.hexdigest()
