"""Folders, names and safe writes of a DeepFaceLab workspace.

This file knows where things go and how a file gets there whole. It knows nothing of faces, models or videos.

    OUT/aligned/<frame:08d>_<i>.jpg          what DeepFaceLab reads
    OUT/masks/<frame:08d>_<i>_mask.png       hull mask of the same name
    OUT/review/<frame:08d>_<i>.jpg           faces for a person to decide about; move what is right to aligned/
    OUT/debug/extraction_log.json            settings, models, every face and its reason
    OUT/debug/preview.jpg                    contact sheet
    OUT/debug/manifest.jsonl                 what dfld wrote, by which it tells what a hand changed

An inbox fills one workspace from many clips, so there every name starts with the clip's slug and a hyphen:

    WORKSPACE/data_src/aligned/<slug>-<frame:08d>_<i>.jpg        role src
    WORKSPACE/data_dst/aligned/<slug>-<frame:08d>_<i>.jpg        role dst
    WORKSPACE/data_dst/<frame:08d>.png                           role dst: every frame, for the merger

DeepFaceLab splits face names at the first `_` (Extractor "continue", sort by oneface): a slug never holds one.
"""

from __future__ import annotations

import errno
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from core.files import TEMPORARY_SUFFIX, make_folder, open_new, replace_file, sync_folder
from engine.errors import DiskFullError, OutputError

SLUG_LENGTH_MAX = 48
"""Leaves room for frame number, index and suffix within the 255 bytes of a file name."""


FRAME_NAME = re.compile(r"\d{8}\.(png|jpg)")
"""Of a whole frame for the merger."""
_FACE_NAME = re.compile(r"(.*)\d{8}_\d+\.(?:jpg|png)", re.DOTALL)


@dataclass(frozen=True)
class Layout:
    """Where the files of one clip go."""

    root: Path
    """What a person calls "the workspace"."""
    aligned: Path
    masks: Path
    debug: Path
    frames: Path | None = None
    """Where whole frames go; None when they are not written."""
    prefix: str = ""

    def face_stem(self, frame: int, index: int) -> str:
        return f"{self.prefix}{frame:08d}_{index}"

    def is_face_name(self, name: str) -> bool:
        """Say whether a file is named as a face of this clip; `take` never means what belongs to `take-2`."""
        return prefix_of_face(name) == self.prefix

    @property
    def log(self) -> Path:
        return self.debug / f"{self.prefix}extraction_log.json"

    @property
    def review(self) -> Path:
        """Faces that a person should decide about; with metadata and mask, so that moving one to aligned/ is enough."""
        return self.aligned.parent / "review"

    @property
    def preview(self) -> Path:
        return self.debug / f"{self.prefix}preview.jpg"

    @property
    def folders(self) -> tuple[Path, ...]:
        folders = (self.aligned, self.review, self.masks, self.debug, self.frames)
        return tuple(folder for folder in folders if folder is not None)


def prefix_of_face(name: str) -> str | None:
    """Return the prefix of the clip as one of whose faces a file is named; None where it is named otherwise."""
    match = _FACE_NAME.fullmatch(name)
    return None if match is None else match[1]


def output_layout(out: Path) -> Layout:
    """Return the layout of `dfld extract --out OUT`."""
    return Layout(root=out, aligned=out / "aligned", masks=out / "masks", debug=out / "debug")


def inbox_layout(workspace: Path, role: Literal["src", "dst"], slug: str) -> Layout:
    """Return the layout of one clip of an inbox; `slug` tells its clips apart and holds no underscore."""
    if slug != slug_of(slug):
        raise ValueError(f"{slug!r} is not a slug")
    data = workspace / f"data_{role}"
    return Layout(
        root=workspace,
        aligned=data / "aligned",
        masks=data / "masks",
        debug=data / "debug",
        frames=data if role == "dst" else None,
        prefix=f"{slug}-",
    )


def slug_of(name: str) -> str:
    """Turn a clip's name into letters, digits and hyphens: `Take 01_final` → `Take-01-final`."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = re.sub(r"[^A-Za-z0-9]+", "-", plain).strip("-")[:SLUG_LENGTH_MAX].rstrip("-")
    return slug or "clip"


def prepare_workspace(layout: Layout) -> None:
    """Make the folders and try a write in each; clear what a killed run left. Raise OutputError when it cannot."""
    for folder in layout.folders:
        with told_as_output_error("make the folder", folder):
            make_folder(folder)
        _remove_leftovers(folder, layout)
        probe = folder / f".{layout.prefix}writable{TEMPORARY_SUFFIX}"
        with told_as_output_error("write in", folder):
            os.close(open_new(probe))
            probe.unlink()


def write_file(path: Path, content: bytes, *, before_rename: Callable[[Path], object] | None = None) -> None:
    """Write `content` under a temporary name in the same folder, sync it, and rename it to `path`.

    `before_rename` is called with the temporary name once the bytes are on the disk. A reader, and a crash at any
    point, sees the old file, no file, or the whole new one. Raise DiskFullError (retryable) when space runs out,
    OutputError otherwise; either way no temporary file stays behind.
    """
    with told_as_output_error("write", path):
        replace_file(path, content, check=before_rename)


def move_file(source: Path, target: Path) -> None:
    """Move a file within the workspace; nothing to do where it was moved before. Raise OutputError."""
    with told_as_output_error("move", source):
        if source.exists() or not target.exists():
            source.replace(target)


def remove_file(path: Path) -> None:
    """Remove a file, which may be gone already. Raise OutputError."""
    with told_as_output_error("remove", path):
        path.unlink(missing_ok=True)


def sync_folders(folders: Iterable[Path]) -> None:
    """Make the names in `folders` survive a power loss; called once per finished piece of work."""
    for folder in folders:
        with told_as_output_error("sync", folder):
            sync_folder(folder)


def _remove_leftovers(folder: Path, layout: Layout) -> None:
    """Remove temporary files of this clip alone: `take-2` may be written at this moment, by another worker."""
    own = r"\d{8}\.\w+" if folder == layout.frames else rf"{layout.prefix}(\d{{8}}_\w+\.\w+|\w+\.\w+|writable)"
    pattern = re.compile(rf"\.{own}{re.escape(TEMPORARY_SUFFIX)}")
    with told_as_output_error("clear leftovers of an interrupted run in", folder):
        for leftover in folder.iterdir():
            if pattern.fullmatch(leftover.name):
                leftover.unlink(missing_ok=True)


@contextmanager
def told_as_output_error(what: str, path: Path) -> Iterator[None]:
    """Turn OSError into OutputError, DiskFullError where space ran out: "cannot `what` `path`: …"."""
    try:
        yield
    except OSError as problem:
        reason = problem.strerror or str(problem)
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise DiskFullError(
                f"cannot {what} {path}: {reason}", hint="free some space; what was written so far is kept"
            ) from problem
        hint = ""
        if problem.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
            hint = f"give the user that runs dfld the right to write in {path.parent}"
        elif problem.errno in (errno.ENOTDIR, errno.EEXIST):
            hint = "a file stands where a folder is needed; choose another output folder"
        raise OutputError(f"cannot {what} {path}: {reason}", hint=hint) from problem
