"""What a path of the command line means: a workspace, its data_src or data_dst, or a folder of aligned faces.

    WORKSPACE/data_src/aligned/     the faces, which DeepFaceLab reads
    WORKSPACE/data_src/masks/       <stem>_mask.png of each
    WORKSPACE/data_src/review/      faces for a person to decide about
    WORKSPACE/data_src/aside/       faces that training does not need
    WORKSPACE/data_src/rejected/    faces that a person refused
    WORKSPACE/data_src/.dfld/       what dfld keeps of the faceset: its journal and caches

A folder of faces that is not called `aligned`, FACES/alice for one, may have others beside it: what belongs to it is
then FACES/alice_masks, FACES/alice_aside and so on, and FACES/.dfld/alice. Nothing is made or changed here.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dfl.metadata_copy import METADATA_COPY_NAME
from engine.errors import FacesetError, PackedFacesetError

Role = Literal["src", "dst"]
Kind = Literal["workspace", "data_src", "data_dst", "output", "aligned"]

ALIGNED = "aligned"
PACK_NAME = "faceset.pak"
STATE = ".dfld"
_ROLES: tuple[Role, ...] = ("src", "dst")
_KIND_TEXTS: dict[Kind, str] = {
    "workspace": "the workspace",
    "data_src": "the data_src folder",
    "data_dst": "the data_dst folder",
    "output": "the output folder of dfld extract",
    "aligned": "the folder of aligned faces",
}


@dataclass(frozen=True)
class FacesetFolder:
    """One faceset, and what belongs to it. Only `aligned` is sure to be there."""

    kind: Kind
    """What `given` is."""
    given: Path
    """The path that somebody named."""
    aligned: Path
    """The folder that DeepFaceLab reads faces from."""
    role: Role | None
    """None where nothing says which of the two it is."""

    @property
    def parent(self) -> Path:
        """The folder that holds `aligned` and all that belongs to it; renames are noted relative to it."""
        return self.aligned.parent

    @property
    def masks(self) -> Path:
        return self._beside("masks")

    @property
    def review(self) -> Path:
        return self._beside("review")

    @property
    def aside(self) -> Path:
        return self._beside("aside")

    @property
    def rejected(self) -> Path:
        return self._beside("rejected")

    @property
    def face_folders(self) -> tuple[Path, ...]:
        """Where faces of this faceset may lie; DeepFaceLab reads the first alone."""
        return (self.aligned, self.review, self.aside, self.rejected)

    @property
    def state(self) -> Path:
        """What dfld keeps of this faceset; 0700 when it is made."""
        name = self.aligned.name
        return self.parent / STATE if name == ALIGNED else self.parent / STATE / name

    @property
    def pack(self) -> Path:
        """The faceset.pak that DeepFaceLab would read instead of the loose faces."""
        return self.aligned / PACK_NAME

    @property
    def metadata_copy(self) -> Path:
        """DeepFaceLab's copy of the metadata of the faces."""
        return self.aligned / METADATA_COPY_NAME

    @property
    def sentence(self) -> str:
        """Return `DIR is the workspace: faces of data_src/aligned`, for the command line."""
        below = self.given if self.given == self.aligned else self.aligned.relative_to(self.given)
        faces = "" if self.given == self.aligned else f": faces of {below}"
        return f"{self.given} is {_KIND_TEXTS[self.kind]}{faces}"

    def mask_of(self, face_name: str) -> Path:
        """Return where the mask of a face lies; the name of a face is the same in all its folders."""
        return self.masks / f"{Path(face_name).stem}_mask.png"

    def _beside(self, what: str) -> Path:
        name = self.aligned.name
        return self.parent / (what if name == ALIGNED else f"{name}_{what}")


def faceset_folders(path: Path, *, may_be_packed: bool = False) -> tuple[FacesetFolder, ...]:
    """Return the facesets that a path means: those of a workspace in the order src, dst, else the one.

    `may_be_packed`: a faceset.pak is what the caller wants to see. Raise FacesetError where nothing there is a faceset,
    PackedFacesetError where DeepFaceLab would read a faceset.pak instead of the faces.
    """
    found = _found(path)
    if not may_be_packed:
        for one in found:
            _require_loose(one)
    return found


def faceset_of(path: Path, role: Role) -> FacesetFolder:
    """Return the one faceset that a path means where it is to play this role: data_src or data_dst of a workspace; that
    of any other path, whatever it is called. Raise as `faceset_folders`, and where a workspace has none of the role.
    """
    chosen = next((one for one in _found(path) if one.kind != "workspace" or one.role == role), None)
    if chosen is None:
        raise FacesetError(
            f"{path} is a workspace without data_{role}/{ALIGNED}, whose faces are needed here",
            hint="name the folder of faces itself",
        )
    _require_loose(chosen)
    return chosen


def aligned_folder(aligned: Path) -> FacesetFolder:
    """Return the faceset whose faces lie in `aligned`, whatever is in that folder by now."""
    return FacesetFolder("aligned", aligned, aligned, _role_of(aligned.parent))


def _require_loose(folder: FacesetFolder) -> None:
    if os.path.lexists(folder.pack):
        raise PackedFacesetError(
            f"{folder.aligned} holds a {PACK_NAME}, which DeepFaceLab reads instead of the faces beside it",
            hint=f"dfld unpack {folder.aligned}",
        )


def _found(path: Path) -> tuple[FacesetFolder, ...]:
    # No link is resolved: what belongs to the faces stands beside the name that people see.
    found = tuple(_facesets_at(Path(os.path.abspath(path))))  # noqa: PTH100
    if not found:
        raise FacesetError(
            f"{path} holds no faceset: expected a workspace with data_src/aligned or data_dst/aligned, one of these "
            "folders, or a folder of aligned .jpg faces",
        )
    return found


def _facesets_at(path: Path) -> list[FacesetFolder]:
    named = _role_of(path)
    try:
        if not path.is_dir():
            raise FacesetError(f"{path} is no folder; a faceset is a folder of aligned faces, or a workspace with some")
        workspace = [
            FacesetFolder("workspace", path, path / f"data_{role}" / ALIGNED, role)
            for role in _ROLES
            if (path / f"data_{role}" / ALIGNED).is_dir()
        ]
        if workspace:
            return workspace
        if (path / ALIGNED).is_dir():
            return [FacesetFolder(_kind_of(named), path, path / ALIGNED, named)]
        if path.name == ALIGNED:
            return [aligned_folder(path)]
        if named is None and _holds_faces(path):
            return [FacesetFolder("aligned", path, path, None)]
    except OSError as problem:
        raise FacesetError(f"cannot look into {path}: {problem.strerror}") from problem
    return []


def _kind_of(role: Role | None) -> Kind:
    if role is None:
        return "output"
    return "data_src" if role == "src" else "data_dst"


def _role_of(data: Path) -> Role | None:
    """Return the role of a folder that is called as DeepFaceLab's batch files call it."""
    return next((role for role in _ROLES if data.name == f"data_{role}"), None)


def _holds_faces(path: Path) -> bool:
    with os.scandir(path) as entries:
        return any(entry.name.endswith(".jpg") or entry.name == PACK_NAME for entry in entries)
