"""What a person changed in the results of a clip, found by comparing them with the manifest. Nothing is written here.

A person deletes, moves (out of review/, into another folder), renames (DeepFaceLab's sorter), edits (mask, polygons,
pixels: DeepFaceLab writes them into the file), packs into a faceset.pak, or adds. What is not as dfld wrote it is never
removed, unless the operator gave that up, and what dfld did not write is not removed even then
(engine.results.clearing).
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType

from engine.reasons import REVIEW_REASONS
from engine.results.earlier_log import read_log
from engine.results.face_files import hash_or_nothing, is_as_written, is_own_mask_picture, is_pack, trace_in
from engine.results.manifest import Manifest, manifest_path, read_manifest
from engine.results.manifest_lines import ChangeKind, Folder, ManualChange, WrittenFace, WrittenFile, mask_name
from engine.results.missing_faces import Pictures
from engine.results.own_moves import OwnMoves
from engine.same_face import NO_BOX, FaceTrace, is_same_face
from engine.workspace.file_names import FRAME_NAME, Layout
from engine.workspace.output_files import as_output_error

LEFT_WHEN_DISCARDED: tuple[ChangeKind, ...] = ("added", "packed")
"""Changes that concern files that dfld did not write."""


@dataclass(frozen=True)
class Survey:
    """What lies in a workspace of one clip's results."""

    manifest: Manifest
    source: str
    """Of the run that wrote it; "" where nothing says so."""
    faces: int
    """Pictures of faces that are as dfld wrote them."""
    removable: tuple[Path, ...]
    """Every file that is as dfld wrote it: pictures, masks, whole frames."""
    changes: tuple[ManualChange, ...]
    """What a person changed, in this run's results and those of earlier ones."""
    changed_files: tuple[Path, ...]
    """Files that dfld wrote and a person changed, moved or renamed; what was added is not among them."""

    @property
    def is_empty(self) -> bool:
        return not (self.removable or self.changes)

    @cached_property
    def counts(self) -> Counter[str]:
        """How many faces and frames each kind of change concerns."""
        return Counter(one.kind for one in self.changes)

    def counts_text(self) -> str:
        """Return `3 deleted, 1 edited`; "" where nothing was changed."""
        return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(self.counts.items()))


def survey(layout: Layout, *, with_earlier_files: bool = False) -> Survey:
    """Compare what lies there with what dfld wrote. Raise OutputError when that cannot be read.

    `with_earlier_files`: find the files of changes that earlier runs noted, too.
    """
    with as_output_error("look for manual changes in", layout.root):
        manifest, source = _manifest_or_log(layout)
        return _Surveyor(layout, manifest, with_earlier_files=with_earlier_files).survey(source)


class _Surveyor:
    """Compares one clip's manifest with its workspace."""

    def __init__(self, layout: Layout, manifest: Manifest, *, with_earlier_files: bool) -> None:
        self._layout = layout
        self._manifest = manifest
        self._own_moves = OwnMoves(layout)
        self._with_earlier_files = with_earlier_files
        self._changes: list[ManualChange] = []
        self._removable: list[Path] = []
        self._changed_files: list[Path] = []
        self._missing: list[WrittenFace] = []
        self._masks_seen: set[str] = set()
        self._faces = 0

    def survey(self, source: str) -> Survey:
        self._masks_seen |= {one.mask for one in self._manifest.changes if self._is_mask_back(one)}
        for face in self._manifest.faces.values():
            self._examine(face)
        self._find_missing()
        for name, mask in self._manifest.masks.items():  # of a face that a kill came before, or that has gone
            path = self._own_moves.place_of(self._layout.masks / name)
            if not {name, path.name} & self._masks_seen and is_as_written(path, mask):
                self._removable.append(path)
        if self._layout.frames is not None:
            for frame in self._manifest.frames.values():
                self._examine_frame(self._layout.frames / frame.name, frame)
        earlier = self._earlier_changes()
        self._find_added({self._layout.root / one.file for one in (*earlier, *self._changes) if one.file})
        return Survey(
            self._manifest,
            source,
            self._faces,
            tuple(self._removable),
            _each_once((*earlier, *self._changes)),
            tuple(self._changed_files),
        )

    def _examine(self, face: WrittenFace) -> None:
        """Look for a face where it was written and where dfld put it since; what is nowhere there is missing."""
        file = face.file
        for path, is_home in self._own_moves.candidates(file.name, home_first=face.folder == "aligned"):
            is_ours = is_as_written(path, file)
            is_cut_short = face.was_in_review and not self._manifest.finished  # a kill came before the move
            if is_ours and (is_home or is_cut_short):
                self._as_written(face, path)
            elif is_home and (path.is_symlink() or (os.path.lexists(path) and self._may_be(face, path))):
                self._keep("edited", face, path)
            elif os.path.lexists(path) and (is_ours or self._may_be(face, path)):
                self._keep("moved", face, path)
            else:
                continue
            return
        self._missing.append(face)

    def _as_written(self, face: WrittenFace, path: Path) -> None:
        """The picture is dfld's; so is the face, unless its mask is not."""
        mask = self._mask_of(face)
        is_there = os.path.lexists(mask)
        if face.mask is not None and is_there and not is_as_written(mask, face.mask):
            if not is_own_mask_picture(mask, path):
                self._keep("edited", face, path)
                return
            self._masks_seen.add(mask.name)
            self._removable.append(mask)
        self._faces += 1
        self._removable.append(path)
        if face.mask is not None and not is_there and not face.mask_dropped and self._was_there(face):
            self._note("mask_deleted", face)

    def _may_be(self, face: WrittenFace, path: Path) -> bool:
        """Say whether a file that lies where a face was written, with other bytes, is that face.

        Its id says so, else its landmarks or place in the frame. A file without metadata says nothing of itself; then
        the place where it lies is all that is known.
        """
        found = trace_in(path)
        return found is None or not face.trace.landmarks_hash or is_same_face(found, face.trace, same_clip=True)

    def _was_there(self, face: WrittenFace) -> bool:
        """Say whether a person took away a file of this face that is missing."""
        return face.number < self._manifest.committed and not self._manifest.clearing and not face.dropped

    def _find_missing(self) -> None:
        if not self._missing:
            return
        pictures = Pictures(self._layout, self._manifest)
        for face in self._missing:
            place = pictures.place_of(face)
            if place is None:
                if self._was_there(face):
                    self._note("deleted", face)
            elif is_pack(place):
                self._note("packed", face, place, keeps_mask=True)
            else:
                self._keep("moved" if place.name == face.file.name else "renamed", face, place)

    def _keep(self, kind: ChangeKind, face: WrittenFace, path: Path) -> None:
        self._note(kind, face, path, keeps_mask=True)
        self._changed_files.append(path)
        mask = self._mask_of(face)
        if mask.is_file() and not mask.is_symlink():
            self._changed_files.append(mask)

    def _mask_of(self, face: WrittenFace) -> Path:
        """Return where the mask of a face lies by now."""
        return self._own_moves.place_of(self._layout.masks / mask_name(face.file.name))

    def _note(self, kind: ChangeKind, face: WrittenFace, path: Path | None = None, *, keeps_mask: bool = False) -> None:
        mask = self._mask_of(face).name if keeps_mask else ""
        if keeps_mask:
            self._masks_seen |= {mask, mask_name(face.file.name)}
        file = "" if path is None else str(path.relative_to(self._layout.root))
        sha256 = _sha256_if_unmarked(face.trace, path)
        is_lost = keeps_mask and face.mask_dropped and not os.path.lexists(self._layout.masks / mask)
        lost = self._manifest.run.basis if is_lost and self._manifest.run is not None else ""
        content = self._manifest.content
        self._changes.append(ManualChange(kind, face.trace, content, file, sha256, mask, lost_mask=lost))

    def _examine_frame(self, path: Path, frame: WrittenFile) -> None:
        if is_as_written(path, frame):
            self._removable.append(path)
            return
        trace = FaceTrace(path.stem, NO_BOX)
        if os.path.lexists(path):
            file = str(path.relative_to(self._layout.root))
            self._changes.append(ManualChange("edited", trace, self._manifest.content, file))
            self._changed_files.append(path)
        elif int(path.stem) < self._manifest.committed and not self._manifest.clearing:
            self._changes.append(ManualChange("deleted", trace, self._manifest.content))

    def _earlier_changes(self) -> list[ManualChange]:
        """Return the changes that earlier runs noted; where they are to be discarded, find the files concerned."""
        earlier = [replace(one, lost_mask="") if self._is_mask_back(one) else one for one in self._manifest.changes]
        if self._manifest.clearing and self._manifest.discarding:  # cut short: what has gone by now was discarded
            earlier = [one for one in earlier if not one.file or os.path.lexists(self._layout.root / one.file)]
        if self._with_earlier_files:
            for one in earlier:
                path = self._layout.root / one.file
                if one.kind in LEFT_WHEN_DISCARDED or not one.file or not _is_still(path, one):
                    continue
                self._changed_files.append(path)
                mask = self._layout.masks / one.mask
                if one.mask and mask.is_file() and not mask.is_symlink():
                    self._changed_files.append(mask)
        return earlier

    def _is_mask_back(self, change: ManualChange) -> bool:
        """Say whether this run wrote the mask again that a changed face had lost; from then on it is the face's."""
        return bool(change.lost_mask) and change.mask in self._manifest.masks

    def _find_added(self, known: set[Path]) -> None:
        """Note files that carry the name of a face of this clip, and that dfld did not write."""
        known = known.union(self._removable)
        is_unlisted = not (os.path.lexists(manifest_path(self._layout)) or os.path.lexists(self._layout.log))
        for path in self._files_named_as_faces():
            if path not in known:
                trace = trace_in(path) or FaceTrace("", NO_BOX)
                file = str(path.relative_to(self._layout.root))
                sha256 = _sha256_if_unmarked(trace, path)
                self._changes.append(ManualChange("added", trace, "", file, sha256, is_unlisted=is_unlisted))

    def _files_named_as_faces(self) -> Iterator[Path]:
        for folder in (self._layout.aligned, self._layout.review):
            if folder.is_dir():
                yield from (path for path in sorted(folder.iterdir()) if self._layout.is_face_name(path.name))


def _each_once(changes: Sequence[ManualChange]) -> tuple[ManualChange, ...]:
    """Return each change once, as it was found last: after a kill, a survey finds what the journal says already."""
    return tuple({(one.kind, one.trace, one.file): one for one in changes}.values())


def _manifest_or_log(layout: Layout) -> tuple[Manifest, str]:
    """Return the manifest and the source; where there is no manifest, what the log of an older dfld says."""
    log = read_log(layout.log)
    source = "" if log is None else log.source
    if os.path.lexists(manifest_path(layout)):
        manifest = read_manifest(layout)
        return manifest, source if manifest.run is None else manifest.run.source
    if log is None:
        return Manifest(), source
    faces: dict[str, WrittenFace] = {}
    masks: dict[str, WrittenFile] = {}
    for face in log.faces:
        if layout.is_face_name(face.file):
            file = WrittenFile(face.file, "", -1, log.written_ns)
            masks[mask_name(face.file)] = mask = WrittenFile(mask_name(face.file), "", -1, log.written_ns)
            folder: Folder = "review" if face.reason in REVIEW_REASONS else "aligned"
            faces[face.file] = WrittenFace(file, folder, face.frame, FaceTrace(f"{face.frame:08d}", face.box), mask)
    frames: dict[str, WrittenFile] = {}
    if layout.frames is not None and layout.frames.is_dir():
        names = (path.name for path in sorted(layout.frames.iterdir()) if FRAME_NAME.fullmatch(path.name))
        frames = {name: WrittenFile(name, "", -1, log.written_ns) for name in names}
    known = (MappingProxyType(faces), MappingProxyType(masks), MappingProxyType(frames))
    return Manifest(None, *known, 1 << 62, log.completed), source


def _is_still(path: Path, change: ManualChange) -> bool:
    """Say whether the file of a change is still the one that it speaks of."""
    if not os.path.lexists(path) or path.is_symlink():
        return False
    if change.is_of_frame:
        return True
    if change.sha256:
        return hash_or_nothing(path) == change.sha256
    found = trace_in(path)
    return found is not None and is_same_face(found, change.trace, same_clip=True)


def _sha256_if_unmarked(trace: FaceTrace, path: Path | None) -> str:
    """Return the hash of a file whose metadata does not say which face it is."""
    if path is None or (trace.landmarks_hash and trace_in(path) is not None):
        return ""
    return hash_or_nothing(path)
