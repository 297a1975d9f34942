"""Where dfld itself put the files of a clip since it wrote them: sorted, set aside, taken back.

A face that lies there as it was written is as dfld wrote it, under whatever name. One in rejected/ is there because a
person refused it: that is a manual change.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path

from engine.errors import FacesetError, OutputError
from engine.facesets.changing.rename_journal import first_places, journal_path, read_journal
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import FacesetFolder, aligned_folder
from engine.workspace.file_names import Layout, prefix_of_face


@contextmanager
def held_faceset(layout: Layout, *, even_unrenamed: bool = False) -> Iterator[None]:
    """Hold the faceset of a clip, if dfld ever renamed a file in it, and first finish what a kill left half renamed.

    `even_unrenamed`: also if dfld ever masked, packed or measured it: a pack that is written at this moment holds all
    of its faces. Raise OutputError where another dfld holds it, or the disk refuses.
    """
    folder = aligned_folder(layout.aligned)
    if not os.path.lexists(folder.state if even_unrenamed else journal_path(folder)):
        yield
        return
    with ExitStack() as held:
        try:
            held.enter_context(sole_user(folder))
        except FacesetError as problem:
            raise OutputError(problem.message, hint=problem.hint) from problem
        yield


class OwnMoves:
    """The renames that dfld made in the faceset of a clip; the journal is read once."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._folder: FacesetFolder = aligned_folder(layout.aligned)

    def place_of(self, path: Path) -> Path:
        """Return where a file that was written at `path` has to be now: there, as a redo leaves it, else where dfld put
        it from there. Raise OutputError where the journal cannot be read."""
        return path if os.path.lexists(path) else self._places.get(path, path)

    def first_place_of(self, path: Path) -> Path:
        """Return where the file that is at `path` now was before dfld moved it first. Raise as `place_of`."""
        return self._first_places.get(path, path)

    def is_refused(self, path: Path) -> bool:
        """Say whether a face lies where people put those that they refuse."""
        return path.parent == self._folder.rejected

    def candidates(self, name: str, *, home_first: bool) -> Iterator[tuple[Path, bool]]:
        """Yield where a face may be that was written as `name`, and whether it was written there: in review/ or
        aligned/ itself, then where dfld put it from there. `home_first`: it was written into aligned/."""
        homes = ((self._layout.aligned, home_first), (self._layout.review, not home_first))
        for folder, is_home in sorted(homes, key=lambda one: not one[1]):
            yield folder / name, is_home
        for folder, is_home in sorted(homes, key=lambda one: not one[1]):
            place = self._places.get(folder / name, folder / name)
            if place != folder / name:
                yield place, is_home and not self.is_refused(place)

    def files_of_clip(self) -> Iterator[Path]:
        """Yield the files that are somewhere else now and had names of this clip's faces or masks."""
        for first, place in self._places.items():
            name = first.name if first.parent != self._layout.masks else f"{first.stem.removesuffix('_mask')}.jpg"
            if prefix_of_face(name) == self._layout.prefix and os.path.lexists(place):
                yield place

    @cached_property
    def _first_places(self) -> dict[Path, Path]:
        root = self._folder.parent
        return {root / place: root / first for place, first in first_places(read_journal(self._folder)).items()}

    @cached_property
    def _places(self) -> dict[Path, Path]:
        return {first: place for place, first in self._first_places.items()}
