"""What a person decided of faces, as their places show it beside the journal of renames. Pure.

A face that dfld set aside and that lies in `aligned/` again was brought back: it stays. One that lies in `aside/` and
that dfld did not put there was put there by a person: it is out. Renames do not matter, ids do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from engine.facesets.changing.rename_journal import Batch, ids_of_places
from engine.facesets.curation.verdicts import Decision


def decisions_of(
    batches: Sequence[Batch], *, kept: Mapping[str, str], aside: Mapping[str, str], aside_folder: str
) -> dict[str, Decision]:
    """Return what a person decided, by the name of the face's file.

    `kept`, `aside`: name → id of the faces that lie in `aligned/` and in the folder called `aside_folder`.
    """
    placed = ids_of_places(batches)
    by_dfld = {PurePosixPath(place).name for place in placed if PurePosixPath(place).parent.name == aside_folder}
    gone = by_dfld - aside.keys()
    gone_ids = {placed[f"{aside_folder}/{name}"] for name in gone} - {""}
    brought_back = {name for name, face_id in kept.items() if name in gone or face_id in gone_ids}
    put_aside = {name for name in aside.keys() - by_dfld if aside[name] not in gone_ids}
    decisions: dict[str, Decision] = dict.fromkeys(sorted(put_aside), "aside")
    return decisions | dict.fromkeys(sorted(brought_back), "keep")
