"""What a person decided of faces, as their places show it beside the journal of renames. Pure.

A face that dfld set aside and that lies in `aligned/` again was brought back: it stays. One that lies in `aside/` and
that dfld did not put there was put there by a person: it is out. Renames do not matter, ids do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from engine.facesets.changing.rename_journal import GONE, Batch
from engine.facesets.curation.verdicts import Decision


def decisions_of(
    batches: Sequence[Batch], *, kept: Mapping[str, str], aside: Mapping[str, str], aside_folder: str
) -> dict[str, Decision]:
    """Return what a person decided, by the name of the face's file.

    `kept`, `aside`: name → id of the faces that lie in `aligned/` and in the folder called `aside_folder`.
    """
    placed = _placed(batches)
    by_dfld = {PurePosixPath(place).name for place in placed if PurePosixPath(place).parent.name == aside_folder}
    gone = by_dfld - aside.keys()
    gone_ids = {placed[f"{aside_folder}/{name}"] for name in gone} - {""}
    brought_back = {name for name, face_id in kept.items() if name in gone or face_id in gone_ids}
    decisions: dict[str, Decision] = dict.fromkeys(sorted(aside.keys() - by_dfld), "aside")
    return decisions | dict.fromkeys(sorted(brought_back), "keep")


def _placed(batches: Sequence[Batch]) -> dict[str, str]:
    """Return where dfld put each face last → its id, "" where the journal does not say it."""
    placed: dict[str, str] = {}
    for batch in batches:
        ids = {move.source: move.face_id or placed.get(move.source, "") for move in batch.moves if not move.is_mask}
        went = {source: place for source, place in batch.places.items() if source in ids}
        for source in went:
            placed.pop(source, None)
        placed |= {place: ids[source] for source, place in went.items() if place != GONE}
    return placed
