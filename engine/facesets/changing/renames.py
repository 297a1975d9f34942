"""Renames in a faceset, in batches that are carried out whole, whatever happens, and can be undone.

    plan → every file known by what it is → the journal, synced → renames that replace nothing → folders synced → end

A kill at any moment leaves each file under its old name, its new one, or a temporary one beside its old one; whoever
opens the faceset next finds each (engine.facesets.changing.rename_places), and goes on (`recover`). A batch that
somebody got in the way of loses nothing: a file whose new name is taken stays where it is, and the journal says so. The
mask of a face follows it by itself. Who calls holds the faceset (engine.facesets.changing.sole_user).
"""

from __future__ import annotations

import errno
import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path, PurePosixPath
from types import MappingProxyType

from core.files import make_folder, numbered, rename_new, sync_folder
from engine.errors import FacesetError
from engine.facesets.changing.rename_journal import (
    GONE,
    Batch,
    Move,
    append_lines,
    line_of_end,
    lines_of_batch,
    read_journal,
)
from engine.facesets.changing.rename_order import in_order
from engine.facesets.changing.rename_places import SeenFile, places_after_kill
from engine.facesets.face_listing import ListedFace, face_id_of, is_another, read_face
from engine.facesets.faceset_folder import FacesetFolder
from engine.workspace.output_files import as_output_error

_TEMPORARY = re.compile(r"\.dfld-(\d{1,18})-\d+")


@dataclass(frozen=True)
class PlannedMove:
    """A face that is to get another name or folder: paths relative to the folder that holds `aligned/`."""

    source: str
    """`aligned/00000012_0.jpg`, for one."""
    target: str
    face_id: str = ""
    reason: str = ""
    """Why this face, for who reads the journal later."""


@dataclass(frozen=True)
class LeftFace:
    """A face that could not be moved as planned."""

    source: str
    place: str
    """Where it is; "" where it is not there any more."""


@dataclass(frozen=True)
class CarriedOut:
    """What became of a batch."""

    batch: int
    """By which it can be undone; 0 where there was nothing to move."""
    moved: int
    """How many faces have the place that was planned for them."""
    left: tuple[LeftFace, ...] = ()


def carry_out(
    folder: FacesetFolder, moves: Sequence[PlannedMove], *, journal_kind: str, reason: str = ""
) -> CarriedOut:
    """Rename faces, each with its mask. Raise FacesetError, with nothing changed, where a face is not there, a target
    is taken by a file that stays, or lies outside the faceset; OutputError where the disk refuses.
    """
    recover(folder)
    return _carry_out(folder, moves, journal_kind, reason, undoes=None)


def recover(folder: FacesetFolder) -> CarriedOut | None:
    """Carry out what a kill left of a batch; None where nothing is left. Raise OutputError."""
    done = None
    for batch in read_journal(folder):
        if not batch.has_ended:
            done = _finish(folder, batch, _places_now(folder, batch.moves))
    return done


def undo(folder: FacesetFolder, batch: int) -> CarriedOut:
    """Take a batch back: each face gets the name and the folder that the batch took from it.

    A face that was renamed or moved since keeps what it got since; where DeepFaceLab sorted the faces of the batch
    among themselves, each is known by its id, and goes back. One that is not there any more stays away, and one
    whose old name is taken by now gets a free one like it. Folders that the batch made go again once they are empty.
    Raise FacesetError where there is no such batch or it is undone already; OutputError where the disk refuses.
    """
    recover(folder)
    batches = read_journal(folder)
    chosen = next((one for one in batches if one.number == batch), None)
    if chosen is None or is_undone(batches, batch):
        raise FacesetError(f"{folder.parent}: there is no batch {batch} of renames that could be undone")
    done = _carry_out(folder, _backwards(folder, chosen, batches), chosen.kind, f"undo {batch}", undoes=batch)
    for name in chosen.folders_made:
        _remove_if_empty(folder, name)
    return done


def last_batch(folder: FacesetFolder, journal_kind: str) -> int | None:
    """Return the last batch of a kind that is not undone; None where there is none. Raise OutputError."""
    batches = read_journal(folder)
    found = (one.number for one in reversed(batches) if one.kind == journal_kind and one.undoes is None)
    return next((number for number in found if not is_undone(batches, number)), None)


def is_undone(batches: Iterable[Batch], number: int) -> bool:
    """Say whether a batch was taken back."""
    return any(one.undoes == number for one in batches)


def _carry_out(
    folder: FacesetFolder, moves: Sequence[PlannedMove], kind: str, reason: str, *, undoes: int | None
) -> CarriedOut:
    number = _next_number(folder)
    planned = [one for one in moves if one.source != one.target]
    if not planned and undoes is None:
        return CarriedOut(0, 0)
    with_masks = _with_masks(folder, planned)
    _require_possible(folder, with_masks)
    made = tuple(sorted({_folder(one.target) for one, _ in with_masks} - _existing_folders(folder)))
    known = tuple(
        _known_move(folder, one, is_mask, f".dfld-{number}-{index}") for index, (one, is_mask) in enumerate(with_masks)
    )
    batch = Batch(number, kind, datetime.now(UTC), reason, undoes, made, known, has_begun=True)
    append_lines(folder, lines_of_batch(batch))
    return _finish(folder, batch, {index: move.source for index, move in enumerate(known)})


def _finish(folder: FacesetFolder, batch: Batch, places: dict[int, str]) -> CarriedOut:
    """Bring every file of a batch that was begun from where it is (`places`) to its target."""
    index_at = {place: index for index, place in places.items() if place != GONE}
    with as_output_error("rename files in", folder.parent):
        for name in {_folder(move.target) for move in batch.moves}:
            make_folder(folder.parent / name)
        wanted = {place: batch.moves[index].target for place, index in index_at.items()}
        for rename in in_order(wanted, {place: batch.moves[index].temporary for place, index in index_at.items()}):
            index = index_at.pop(rename.source, None)
            if index is not None:
                places[index] = _renamed(folder, rename.source, rename.target)
                index_at[places[index]] = index
        for index, move in enumerate(batch.moves):
            if places[index] == move.temporary:  # its target was taken by somebody else meanwhile
                places[index] = _renamed_to_free(folder, move.temporary, move.source)
        for name in {_folder(place) for move in batch.moves for place in (move.source, move.target)}:
            sync_folder(folder.parent / name)
    exceptions = {index: place for index, place in places.items() if place != batch.moves[index].target}
    append_lines(folder, [line_of_end(replace(batch, exceptions=MappingProxyType(exceptions)))])
    faces = [index for index, move in enumerate(batch.moves) if not move.is_mask]
    left = tuple(LeftFace(batch.moves[index].source, exceptions[index]) for index in faces if index in exceptions)
    return CarriedOut(batch.number, len(faces) - len(left), left)


def _next_number(folder: FacesetFolder) -> int:
    """Return the number of the next batch: neither in the journal nor in a temporary name, where a journal was lost."""
    used = [one.number for one in read_journal(folder)]
    with as_output_error("list", folder.parent):
        for where in (*folder.face_folders, folder.masks):
            if where.is_dir():
                used += [int(found[1]) for one in where.iterdir() if (found := _TEMPORARY.match(one.name))]
    return max(used, default=0) + 1


def _with_masks(folder: FacesetFolder, moves: Sequence[PlannedMove]) -> list[tuple[PlannedMove, bool]]:
    """Return the moves, each with that of the face's mask where it has one and gets another name."""
    found = [(move, False) for move in moves]
    for move in moves:
        here, there = (folder.mask_of(PurePosixPath(one).name) for one in (move.source, move.target))
        if here != there and os.path.lexists(here):
            source, target = (f"{folder.masks.name}/{path.name}" for path in (here, there))
            found.append((PlannedMove(source, target, move.face_id), True))
    return found


def _require_possible(folder: FacesetFolder, moves: Sequence[tuple[PlannedMove, bool]]) -> None:
    sources = {move.source for move, _ in moves}
    targets: set[str] = set()
    allowed = {one.name for one in folder.face_folders} | {folder.masks.name}
    for move, _ in moves:
        problem = ""
        if not all(
            _folder(one) in allowed and len(PurePosixPath(one).parts) == 2 for one in (move.source, move.target)
        ):
            problem = "it is not in a folder of the faceset"
        elif not os.path.lexists(folder.parent / move.source):
            problem = "it is not there any more"
        elif _is_on_another_disk(folder, move):
            problem = f"{_folder(move.target)} lies on another disk"
        elif move.target in targets or (move.target not in sources and os.path.lexists(folder.parent / move.target)):
            problem = f"{move.target} is taken"
        if problem:
            raise FacesetError(f"cannot rename {move.source} to {move.target}: {problem}; nothing was changed")
        targets.add(move.target)
    if len(sources) < len(moves):
        raise FacesetError("one face is to be renamed twice; nothing was changed")


def _is_on_another_disk(folder: FacesetFolder, move: PlannedMove) -> bool:
    """Say whether a target folder lies where no rename leads: it or that of the source may be a link. One that is not
    there yet is made beside the others."""
    source, target = (folder.parent / _folder(one) for one in (move.source, move.target))
    there = target if target.is_dir() else folder.parent
    return source != target and source.stat().st_dev != there.stat().st_dev


def _known_move(folder: FacesetFolder, move: PlannedMove, is_mask: bool, temporary: str) -> Move:
    """Return a move with what its file is known by after a kill."""
    path = folder.parent / move.source
    with as_output_error("look at", path):
        found = path.lstat()
    beside = f"{_folder(move.source)}/{temporary}{path.suffix}"
    known = (found.st_ino, found.st_size, found.st_mtime_ns)
    return Move(move.source, move.target, beside, *known, move.face_id, move.reason, is_mask)


def _places_now(folder: FacesetFolder, moves: Sequence[Move]) -> dict[int, str]:
    """Return where the file of each move is by now, wherever a kill left it."""
    seen: dict[str, SeenFile] = {}
    with as_output_error("look for files in", folder.parent):
        for place in {place for move in moves for place in (move.target, move.temporary, move.source)}:
            with suppress(FileNotFoundError, NotADirectoryError):
                found = (folder.parent / place).lstat()
                seen[place] = SeenFile(found.st_ino, found.st_size, found.st_mtime_ns)
    return places_after_kill(moves, seen, cache(lambda place: face_id_of(folder.parent / place)))


def _renamed(folder: FacesetFolder, source: str, target: str) -> str:
    """Rename a file where its target is free; return where it is then."""
    try:
        rename_new(folder.parent / source, folder.parent / target)
    except FileExistsError:
        return source
    except FileNotFoundError:
        return GONE
    except OSError as problem:
        if problem.errno != errno.EXDEV:  # else no later try could do it either, and the batch would never end
            raise
        return source
    return target


def _renamed_to_free(folder: FacesetFolder, temporary: str, source: str) -> str:
    """Give a file that had to make room its old name, or a free one like it."""
    for path in numbered(folder.parent / source):
        place = _renamed(folder, temporary, f"{_folder(source)}/{path.name}")
        if place != temporary:
            return place
    raise AssertionError("numbered() ends nowhere")


def _backwards(folder: FacesetFolder, chosen: Batch, batches: Sequence[Batch]) -> list[PlannedMove]:
    """Return the moves that take a batch back, from where its faces are now."""
    found: dict[str, PlannedMove] = {}
    later = [one.places for one in batches if one.number > chosen.number]
    places = {source: place for source, place in chosen.places.items() if place != GONE}
    faces = {move.source: move for move in chosen.moves if not move.is_mask and move.source in places}
    counts = Counter(move.face_id for move in faces.values())
    by_id = {move.face_id: move for move in faces.values() if counts[move.face_id] == 1}
    for source, planned in faces.items():
        now = _followed(places[source], later)
        move = None if now == GONE else _move_of_face(folder.parent / now, planned, by_id)
        if move is None:
            continue
        put = places[source] if move is planned else now
        (old_folder, old), (put_folder, put_name), (at_folder, at) = (_parts(one) for one in (move.source, put, now))
        target = f"{old_folder if at_folder == put_folder else at_folder}/{old if at == put_name else at}"
        found[now] = PlannedMove(now, target, move.face_id)
    taken: set[str] = set()
    leaving_masks = {folder.mask_of(PurePosixPath(one).name) for one in found}
    for now, move_back in list(found.items()):
        target = _free_target(folder, move_back.target, found, leaving_masks, taken)
        taken.add(PurePosixPath(target).stem)
        found[now] = replace(move_back, target=target)
    return list(found.values())


def _move_of_face(path: Path, planned: Move, by_id: Mapping[str, Move]) -> Move | None:
    """Return which move of a batch is that of the face which lies where the batch put the face of `planned`: this one,
    or another, where a program that knows no journal sorted the faces since. None for a face that is of none."""
    if not os.path.lexists(path):
        return None
    face = read_face(path)
    if not isinstance(face, ListedFace) or not is_another(face, planned.face_id, by_id):
        return planned
    return by_id.get(face.face_id)


def _followed(place: str, later: Sequence[Mapping[str, str]]) -> str:
    """Return where a file is by now that was at `place` before the renames of later batches, oldest first."""
    for places in later:
        place = places.get(place, place)
    return place


def _free_target(
    folder: FacesetFolder,
    target: str,
    leaving: Mapping[str, PlannedMove],
    leaving_masks: Collection[Path],
    taken: Collection[str],
) -> str:
    """Return `target`, or a name like it that neither a face nor a mask of the faceset has."""
    for path in numbered(folder.parent / target):
        place = f"{_folder(target)}/{path.name}"
        mask = folder.mask_of(path.name)
        is_face_free = place in leaving or not os.path.lexists(path)
        if path.stem not in taken and is_face_free and (mask in leaving_masks or not os.path.lexists(mask)):
            return place
    raise AssertionError("numbered() ends nowhere")


def _existing_folders(folder: FacesetFolder) -> set[str]:
    return {one.name for one in (*folder.face_folders, folder.masks) if one.is_dir()}


def _remove_if_empty(folder: FacesetFolder, name: str) -> None:
    path = folder.parent / name
    with as_output_error("remove the folder", path):
        if path.is_dir() and not any(path.iterdir()):
            path.rmdir()


def _parts(place: str) -> tuple[str, str]:
    path = PurePosixPath(place)
    return str(path.parent), path.name


def _folder(place: str) -> str:
    return str(PurePosixPath(place).parent)
