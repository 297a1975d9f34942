"""Where the files of one clip go, and what they are called. Pure; nothing is opened or made here.

    OUT/aligned/<frame:08d>_<i>.jpg          what DeepFaceLab reads
    OUT/masks/<frame:08d>_<i>_mask.png       hull mask of the same name
    OUT/review/<frame:08d>_<i>.jpg           faces for a person to decide about; move what is right to aligned/
    OUT/debug/extraction_log.json            settings, models, every face and its reason
    OUT/debug/preview.jpg                    contact sheet
    OUT/debug/manifest.jsonl                 what dfld wrote, by which it knows manual changes

An inbox fills one workspace from many clips, so there every name starts with the clip's slug and a hyphen:

    WORKSPACE/data_src/aligned/<slug>-<frame:08d>_<i>.jpg        role src
    WORKSPACE/data_dst/aligned/<slug>-<frame:08d>_<i>.jpg        role dst
    WORKSPACE/data_dst/<frame:08d>.png                           role dst: every frame, for the merger

DeepFaceLab splits face names at the first `_` (Extractor "continue", sort by oneface): a slug never holds one.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

SLUG_LENGTH_MAX = 48
"""Leaves room for frame number, index and suffix within the 255 bytes of a file name."""


FRAME_NAME = re.compile(r"\d{8}\.(png|jpg)")
"""Of a whole frame for the merger."""
_FACE_NAME = re.compile(r"(.*)\d{8}_(\d+)\.(?:jpg|png)", re.DOTALL)


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


def index_of_face(name: str) -> int | None:
    """Return the number behind that of the frame in the name of a face; None where a file is named otherwise."""
    match = _FACE_NAME.fullmatch(name)
    return None if match is None else int(match[2])


def output_layout(out: Path) -> Layout:
    """Return the layout of `dfld extract --out OUT`."""
    return Layout(root=out, aligned=out / "aligned", masks=out / "masks", debug=out / "debug")


def inbox_layout(workspace: Path, role: Literal["src", "dst"], slug: str) -> Layout:
    """Return the layout of one clip of an inbox; `slug` distinguishes its clips and holds no underscore."""
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
