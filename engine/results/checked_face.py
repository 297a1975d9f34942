"""What reading a face back can find. Pure; the reading is engine.results.read_back.

    whole        the file is as dfld wrote it, and its picture decodes
    edited       a person changed it or its mask: other bytes, a whole picture of the same face
    elsewhere    a person moved, renamed or packed it
    taken out    it is nowhere in the workspace: a person took it out, and it stays out
    damaged      the file lies there, and its picture, its metadata, its bytes or its mask are not what was written
    unfinished   it was not written to its end, or dfld removed it to write it again
    unlisted     manifest and ledger do not agree about it, or the ledger alone holds it

The last three are faults: nobody meant them to be so. A redo of the clip puts them right, but where the manifest lists
less than the ledger holds: what it does not list, a redo would take for a person's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

Finding = Literal["whole", "edited", "elsewhere", "taken out", "damaged", "unfinished", "unlisted"]
FINDINGS: tuple[Finding, ...] = get_args(Finding)
FAULTS: tuple[Finding, ...] = ("damaged", "unfinished", "unlisted")
Part = Literal["nothing", "mask", "face"]
"""Of a damaged face: `face` means the picture and the mask that dfld wrote beside it."""


@dataclass(frozen=True)
class RecordedFace:
    """A written face as the ledger has it."""

    name: str
    face_id: str = ""
    pixels_sha256: str = ""
    """Of its decoded pixels when they were read back first; "" = they never were."""


@dataclass(frozen=True)
class CheckedFace:
    """What reading one face back has shown."""

    name: str
    """Under which it was written."""
    finding: Finding
    why: str = ""
    """The rest of a sentence that begins with the face; "" for a whole one."""
    file: str = ""
    """Where it is now, below the workspace; "" where it is nowhere."""
    pixels_sha256: str = ""
    """Of its decoded pixels; "" where they could not be decoded, or were not asked for."""
    recorded_as: str = ""
    """Name under which the ledger holds it; "" where no ledger does."""
    removable: Part = "nothing"
    """What a repair may remove, since it is damaged and no person's."""
    stays: bool = False
    """It is damaged, and a person may have changed it, or it cannot be read: a repair leaves it as it is."""
