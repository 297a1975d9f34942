"""What dfld keeps of faces beside them, taken away with them.

Everything in `.dfld/` but the journal of renames can be made again, and goes: measures, records, copies of metadata.
The journal is written anew without the moves of files that are not there any more, so that the sorts of everybody else
can still be undone.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from core.files import replace_file, sync_folder
from dfl.errors import FormatError
from engine.facesets.changing.rename_journal import (
    GONE,
    JOURNAL_NAME,
    Batch,
    journal_path,
    line_bytes,
    line_of_copy,
    line_of_end,
    lines_of_batch,
    read_copies,
    read_journal,
)
from engine.facesets.changing.sole_user import LOCK_NAME
from engine.facesets.faceset_folder import ALIGNED, STATE, FacesetFolder, aligned_folder
from engine.facesets.pack_file import opened_pack
from engine.facesets.state_folder import PRIVATE_FILE


def forget_kept(root: Path, on_removed: Callable[[Path], object]) -> None:
    """Take away what is kept, in every `.dfld/` below `root`, of faces that are not there any more.

    `on_removed` is called for each file that goes or loses lines. Raise OSError where one cannot be removed, and
    OutputError where a journal cannot be read.
    """
    for state in sorted(path for path in root.rglob(STATE) if path.is_dir() and not path.is_symlink()):
        for folder, _, names in os.walk(state, topdown=False):
            for name in sorted(names):
                if name not in (JOURNAL_NAME, LOCK_NAME):
                    Path(folder, name).unlink()
                    on_removed(Path(folder, name))
            if JOURNAL_NAME in names:
                owner = ALIGNED if Path(folder) == state else Path(folder).name
                if _shortened(aligned_folder(state.parent / owner)):
                    on_removed(Path(folder, JOURNAL_NAME))


def _shortened(folder: FacesetFolder) -> bool:
    """Write a journal anew without the moves of files that have gone; say whether it had any."""
    batches = read_journal(folder)
    kept = list(_still_there(folder, batches))
    if sum(len(one.moves) for one in kept) == sum(len(one.moves) for one in batches):
        return False
    lines: list[Mapping[str, object]] = [line_of_copy(*one) for one in read_copies(folder).items()]
    lines += [line for one in kept for line in (*lines_of_batch(one), *([line_of_end(one)] if one.has_ended else []))]
    path = journal_path(folder)
    replace_file(path, b"".join(map(line_bytes, lines)), check=lambda temporary: temporary.chmod(PRIVATE_FILE))
    sync_folder(path.parent)
    return True


def _still_there(folder: FacesetFolder, batches: Sequence[Batch]) -> Iterator[Batch]:
    """Yield the batches with the moves of files that are where they went last, loose or packed."""
    packed = _names_in_pack(folder)
    last_place: dict[str, str] = {}
    """Where a file that was at a place behind the batch is now."""
    shortened: dict[int, Batch] = {}
    for batch in reversed(batches):
        went = list(batch.places.values())
        now = [last_place.get(place, place) for place in went]
        for place in went:
            last_place.pop(place, None)
        last_place |= dict(zip(batch.places, now, strict=True))
        stay = [
            index
            for index, place in enumerate(now)
            if place != GONE and (os.path.lexists(folder.parent / place) or place in packed)
        ]
        shortened[batch.number] = replace(
            batch,
            moves=tuple(batch.moves[index] for index in stay),
            exceptions=MappingProxyType(
                {new: batch.exceptions[old] for new, old in enumerate(stay) if old in batch.exceptions}
            ),
        )
    for batch in batches:
        left = shortened[batch.number]
        undone = None if batch.undoes is None else shortened.get(batch.undoes)
        if left.moves or (undone is not None and undone.moves):
            yield left


def _names_in_pack(folder: FacesetFolder) -> frozenset[str]:
    """Return the places that the faces of a faceset.pak had; none where there is no pack that can be read."""
    try:
        with opened_pack(folder.pack) as (images, _):
            return frozenset(str(PurePosixPath(folder.aligned.name, image.filename)) for image in images)
    except (FormatError, OSError):
        return frozenset()
