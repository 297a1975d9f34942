"""Where the files of a batch are after a kill: which file at its places is which. Pure.

A file is at its target, its temporary name or its source, and each place is of two moves at most: one file leaves it,
another comes. Files are recognised by the strongest evidence first. What one kind of evidence cannot distinguish, hard
links or copies, follows from there being one file a place.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from engine.facesets.changing.rename_journal import GONE, Move


class SeenFile(NamedTuple):
    """A file as it lies at a place."""

    inode: int
    size_bytes: int
    mtime_ns: int


FaceIdAt = Callable[[str], str]
"""Returns the id of the face at a place, "" where there is none. Costs a read: asked only where nothing else helps."""
_Evidence = Callable[[Move, str], bool]


def places_after_kill(moves: Sequence[Move], seen: Mapping[str, SeenFile], face_id_at: FaceIdAt) -> dict[int, str]:
    """Return where the file of each move is, by its index; GONE where it is not there any more.

    `seen`: the files at sources, targets and temporary names. Inodes change where the folder was copied, times where a
    copy did not keep them, size and time where a face was edited; then its id remains, and of a mask its size.
    """

    def as_known(*names: str) -> _Evidence:
        return lambda move, place: all(getattr(seen[place], one) == getattr(move, one) for one in names)

    def has_id(move: Move, place: str) -> bool:
        return bool(move.face_id) and not move.is_mask and face_id_at(place) == move.face_id

    evidence: tuple[_Evidence, ...] = (
        as_known("inode", "size_bytes", "mtime_ns"),
        lambda move, place: as_known("size_bytes")(move, place) and has_id(move, place),
        has_id,
        as_known("size_bytes", "mtime_ns"),
        lambda move, place: (move.is_mask or not move.face_id) and as_known("size_bytes")(move, place),
        as_known("inode"),
        lambda move, place: place == move.temporary,  # nobody else gives such names
    )
    places: dict[int, str] = {}
    for holds in evidence:
        free = seen.keys() - places.values()
        is_halfway = any(moves[index].target != place for index, place in places.items())
        candidates = {
            index: [one for one in _likelier_first(move, is_halfway) if one in free and holds(move, one)]
            for index, move in enumerate(moves)
            if index not in places
        }
        places |= _one_each({index: found for index, found in candidates.items() if found})
    return {index: places.get(index, GONE) for index in range(len(moves))}


def _likelier_first(move: Move, is_halfway: bool) -> Sequence[str]:
    """Return the places of a file. Where some are on their way still, those that nothing distinguishes have not moved:
    masks, which are renamed last and may all have one size."""
    found = (move.target, move.temporary, move.source)
    return found[::-1] if is_halfway else found


def _one_each(candidates: Mapping[int, Sequence[str]]) -> dict[int, str]:
    """Give each key one of its places, no place twice: first those that have no choice; where all have one, the first
    takes its first place, and the others follow."""
    left = {key: list(found) for key, found in candidates.items()}
    wanted_by: dict[str, list[int]] = {}
    for key, found in left.items():
        for place in found:
            wanted_by.setdefault(place, []).append(key)
    given: dict[int, str] = {}
    without_choice = [key for key, found in left.items() if len(found) == 1]
    for first in (None, *left):
        if first is not None:
            without_choice.append(first)
        while without_choice:
            key = without_choice.pop()
            if key in given or not left[key]:
                continue
            place = given[key] = left[key][0]
            for other in wanted_by[place]:
                if other not in given:
                    left[other].remove(place)
                    if len(left[other]) == 1:
                        without_choice.append(other)
    return given
