"""Curating a faceset: faces measured, decided on, and those that training does not need moved beside `aligned/`.

    list aligned/ and aside/ → measure → what a person decided → verdicts → wait for a free faceset → journaled renames

The faces that an earlier curation set aside are decided on anew with all others, so that the outcome follows from all
faces and the settings, not from what was done before: a second run moves nothing, a wider budget brings faces back.
Nothing is deleted. Faces of data_dst are marked and never moved.
"""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from core.files import numbered
from engine.facesets.changing.free_faceset import OnWait, Waiting, WhyHeld
from engine.facesets.changing.rename_journal import read_journal
from engine.facesets.changing.renames import CarriedOut, LeftFace, PlannedMove, carry_out, last_batch, undo
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.curation.curate import Curation, curate, mark
from engine.facesets.curation.decisions import decisions_of
from engine.facesets.curation.record import remove_record, write_record
from engine.facesets.curation.settings import CurationSettings
from engine.facesets.curation.verdicts import Verdict, sentence_of
from engine.facesets.face_listing import UnreadableFace
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.features import Features
from engine.measure_faceset import OnProgress, measure_faceset

KIND = "curate"


@dataclass(frozen=True)
class Curated:
    """What a curation of one faceset decided, and what became of that."""

    folder: FacesetFolder
    curation: Curation
    unreadable: tuple[UnreadableFace, ...]
    is_thinned: bool
    """False for data_dst, whose faces are marked and stay."""
    planned: int
    """Faces that lie elsewhere than they should."""
    done: CarriedOut | None
    """None where nothing was to be moved: a dry run, data_dst, a stop while it waited."""
    completed: bool = True
    """False where it was stopped while it waited."""

    @property
    def kept(self) -> int:
        return sum(one.place == "keep" for one in self.curation.verdicts)

    @property
    def aside(self) -> int:
        return len(self.curation.verdicts) - self.kept


@dataclass(frozen=True)
class Restored:
    """What came back from `aside/`."""

    batches: int
    """Curations that were taken back."""
    moved: int
    left: tuple[LeftFace, ...]
    completed: bool = True


@dataclass(frozen=True, eq=False)
class _Decided:
    """What follows from the faces as they lie now."""

    curation: Curation
    moves: tuple[PlannedMove, ...]
    unreadable: tuple[UnreadableFace, ...]


def curate_faceset(
    folder: FacesetFolder,
    settings: CurationSettings,
    *,
    match: FacesetFolder | None,
    dry_run: bool,
    why_held: WhyHeld,
    on_wait: OnWait,
    stop: threading.Event,
    on_progress: OnProgress,
) -> Curated:
    """Decide which faces of a faceset are trained on, and move the others beside them once no program holds it.

    `match`: the faces that the model is to be used on. `dry_run`: nothing is moved, nothing is waited for. `stop` ends
    measuring and waiting; a move that was begun is carried out. Raise FacesetError, OutputError or SettingsError.
    """
    needed = None if match is None else measure_faceset(match, stop=stop, on_progress=on_progress).features
    decided = _decide(folder, settings, needed, stop, on_progress)
    if stop.is_set():
        return _curated(folder, decided, completed=False)
    if dry_run or folder.role == "dst":
        if not dry_run:
            with sole_user(folder):
                write_record(folder, decided.curation, settings)
        return _curated(folder, decided)
    waiting = Waiting(why_held, on_wait, stop)
    while not stop.is_set():
        if decided.moves and not waiting.until_free():
            break
        with sole_user(folder):
            decided = _decide(folder, settings, needed, stop, on_progress)  # what changed meanwhile counts
            if stop.is_set() or (decided.moves and why_held()):
                continue
            done = carry_out(folder, decided.moves, journal_kind=KIND)
            write_record(folder, decided.curation, settings)
            return _curated(folder, decided, done=done)
    return _curated(folder, decided, completed=False)


def restore_faceset(folder: FacesetFolder, *, why_held: WhyHeld, on_wait: OnWait, stop: threading.Event) -> Restored:
    """Take every curation of a faceset back, the last one first: each face gets its folder and its name again. What a
    person moved since stays where it is. Raise FacesetError or OutputError."""
    batches = moved = 0
    left: list[LeftFace] = []
    while Waiting(why_held, on_wait, stop).until_free():
        with sole_user(folder):
            if why_held():
                continue
            while (batch := last_batch(folder, KIND)) is not None:
                done = undo(folder, batch)
                batches, moved = batches + 1, moved + done.moved
                left += done.left
            remove_record(folder)
            return Restored(batches, moved, tuple(left))
    return Restored(batches, moved, tuple(left), completed=False)


def _decide(
    folder: FacesetFolder,
    settings: CurationSettings,
    needed: Features | None,
    stop: threading.Event,
    on_progress: OnProgress,
) -> _Decided:
    """Measure the faces that lie in `aligned/` and `aside/`, and decide on them."""
    faces = measure_faceset(folder, with_aside=folder.role != "dst", stop=stop, on_progress=on_progress)
    if folder.role == "dst":
        return _Decided(mark(faces.features, settings), (), faces.unreadable)
    names = faces.features.name
    ids = dict(zip(names, faces.features.face_id, strict=True))
    lies_aside = dict(zip(names, faces.is_aside.tolist(), strict=True))
    decisions = decisions_of(
        read_journal(folder),
        kept={name: ids[name] for name in names if not lies_aside[name]},
        aside={name: ids[name] for name in names if lies_aside[name]},
        aside_folder=folder.aside.name,
    )
    curation = curate(faces.features, decisions, settings, needed)
    moves = tuple(_move(folder, one) for one in curation.verdicts if lies_aside[one.name] != (one.place == "aside"))
    return _Decided(curation, moves, faces.unreadable)


def _move(folder: FacesetFolder, verdict: Verdict) -> PlannedMove:
    """Return how a face gets where it should be, under its own name or, where that is taken, one like it."""
    here, there = folder.aligned, folder.aside
    if verdict.place == "keep":
        here, there = there, here
    free = next(path for path in numbered(there / verdict.name) if _is_free(folder, path, verdict.name))
    return PlannedMove(
        f"{here.name}/{verdict.name}", f"{there.name}/{free.name}", verdict.face_id, sentence_of(verdict)
    )


def _is_free(folder: FacesetFolder, path: Path, own_name: str) -> bool:
    """Say whether a name is no other face's, in its folder and among the masks."""
    return not os.path.lexists(path) and (path.name == own_name or not os.path.lexists(folder.mask_of(path.name)))


def _curated(
    folder: FacesetFolder, decided: _Decided, *, done: CarriedOut | None = None, completed: bool = True
) -> Curated:
    return Curated(
        folder, decided.curation, decided.unreadable, folder.role != "dst", len(decided.moves), done, completed
    )
