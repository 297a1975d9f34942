"""The results of one run as they are written: no manual change is undone, everything is in the manifest.

Whoever writes a face, a mask or a whole frame of a clip does it through here. The manifest is written ahead of each
file, so that after a kill at any moment a survey knows what is dfld's own (engine.results.manual_changes).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from engine.errors import OutputError
from engine.results.clearing import changes_kept, clear_results
from engine.results.face_files import is_as_written, trace_in
from engine.results.manifest import (
    Manifest,
    ManifestWriter,
    manifest_path,
    read_manifest,
    write_manifest,
)
from engine.results.manifest_lines import (
    Accepted,
    Committed,
    Dropped,
    FaceWritten,
    Finished,
    Folder,
    FrameWritten,
    ManifestLine,
    ManualChange,
    MaskWritten,
    RunNote,
    WrittenFace,
    WrittenFile,
    mask_name,
)
from engine.results.manual_changes import survey
from engine.same_face import FaceTrace, is_at_same_place, is_same_face
from engine.workspace.file_names import FRAME_NAME, Layout
from engine.workspace.output_files import move_file, remove_file, write_file

INDEX_STEP = 10
"""A name that a person's file has taken: the face gets the index ten further on, which no face beside it has."""


class Results:
    """What one run writes. Context manager. Any thread; one name is written by one thread at a time."""

    def __init__(
        self,
        layout: Layout,
        run: RunNote,
        *,
        resumes: bool,
        discard: str = "",
        on_begin: Callable[[], object] = lambda: None,
    ) -> None:
        """Begin a run, or go on with one (`resumes`); the folders are there.

        A run that begins clears what an earlier one left, except what a person changed: not before it has something
        to write or to commit, so that footage which cannot be used costs no face that is there. `on_begin` is called
        then. `discard`: the name of an order to clear manual changes as well; one order is carried out once, however
        often its run begins. Raise OutputError when it cannot be done, or where whole frames lie that no run of dfld
        wrote: the merger would take them for this clip's.
        """
        self._layout = layout
        self._lock = threading.Lock()
        self._beginning = threading.Lock()
        self._run = run
        self._discard = discard
        self._on_begin = on_begin
        self._writer: ManifestWriter | None = None
        if resumes:
            self._take_over(read_manifest(layout))
            self._writer = ManifestWriter(layout)
        else:
            _require_no_foreign_frames(layout)
            self._take_over(Manifest(changes=changes_kept(survey(layout), self._discards())))

    @property
    def has_begun(self) -> bool:
        """Whether what lies in the workspace is this run's."""
        return self._writer is not None

    def _discards(self) -> bool:
        return bool(self._discard) and read_manifest(self._layout).discarded != self._discard

    def _begin(self) -> ManifestWriter:
        """Return the manifest of a run that has begun; the first who asks begins it."""
        with self._beginning:
            if self._writer is None:
                clear_results(self._layout, discard_changes=self._discards())
                begun = Manifest(self._run, changes=read_manifest(self._layout).changes, discarded=self._discard)
                write_manifest(self._layout, begun)
                self._take_over(begun)
                self._on_begin()
                self._writer = ManifestWriter(self._layout)
            return self._writer

    def _take_over(self, manifest: Manifest) -> None:
        self._faces: dict[str, WrittenFace] = dict(manifest.faces)
        self._masks: dict[str, WrittenFile] = dict(manifest.masks)
        self._frames: dict[str, WrittenFile] = dict(manifest.frames)
        self._changes_by_frame: dict[str, list[ManualChange]] = {}
        self._changes_by_id = {one.trace.face_id: one for one in manifest.changes if one.trace.face_id}
        self._changes_by_landmarks = {
            one.trace.landmarks_hash: one for one in manifest.changes if one.trace.landmarks_hash
        }
        for one in manifest.changes:
            self._changes_by_frame.setdefault(one.trace.frame, []).append(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    def is_decided(self, trace: FaceTrace) -> bool:
        """Say whether a person decided about this face: nothing of it is written, whatever lies in its place."""
        found = self._change_of(trace)
        return found is not None and found.kind != "mask_deleted" and not self._lacks_mask(found)

    def write_face(
        self, folder: Folder, number: int, index: int, ending: str, picture: bytes, mask: bytes | None, trace: FaceTrace
    ) -> str | None:
        """Write the `index`-th face of frame `number` and its mask; return its name under `folder`.

        Return None where a person changed the face, in this run or before: of such a face only a mask is written that
        dfld had to remove. A name that a person's own file has is left to it.
        """
        self._begin()
        change = self._change_of(trace)
        if change is not None and change.kind != "mask_deleted":
            if mask is not None and self._lacks_mask(change):
                self._write(self._layout.masks / change.mask, mask, self._note_mask)
            return None
        name = self._free_name(number, index, ending, picture)
        path = (self._layout.aligned if folder == "aligned" else self._layout.review) / name
        before = self._faces.get(name)
        if before is not None and os.path.lexists(path) and not is_as_written(path, before.file):
            return None
        if mask is not None and change is None:
            self._write(self._layout.masks / mask_name(name), mask, self._note_mask)
        self._write(path, picture, lambda written: self._note_face(WrittenFace(written, folder, number, trace)))
        return name

    def write_frame(self, name: str, content: bytes) -> None:
        """Write a whole frame, unless a person changed or deleted it, or put one of their own there."""
        assert self._layout.frames is not None
        path = self._layout.frames / name
        self._begin()
        if any(one.is_of_frame for one in self._changes_by_frame.get(Path(name).stem, ())):
            return
        if os.path.lexists(path):
            own = self._frames.get(name)
            if own is not None and not is_as_written(path, own):
                return
            if own is None and not _holds(path, content):  # the same bytes: a power loss took the line
                return
        self._write(path, content, self._note_frame)

    def committed(self, next_frame: int) -> None:
        """Note that every file of the frames before `next_frame` is on the disk, name and all."""
        self._begin().add(Committed(next_frame), sync=True)

    def accept(self, name: str) -> None:
        """Move a face that this run wrote from review/ to aligned/; one that a person took away, or moved there
        themselves, stays so, and so does another face that lies there by now."""
        source, target = self._layout.review / name, self._layout.aligned / name
        if not os.path.lexists(source) or os.path.lexists(target) or self._is_another_face(source):
            return
        self._begin().add(Accepted(name))
        move_file(source, target)

    def drop(self, name: str) -> bool:
        """Remove a face from aligned/ with its mask; say whether: one that a person changed stays."""
        path = self._layout.aligned / name
        face = self._faces.get(name)
        if face is not None and os.path.lexists(path) and not is_as_written(path, face.file):
            return False
        if not os.path.lexists(path):
            return True  # by an earlier try; or by a person, and so it stays known
        self._begin().add(Dropped(name))
        remove_file(path)
        mask = mask_name(name)
        if mask not in self._masks or is_as_written(self._layout.masks / mask, self._masks[mask]):
            remove_file(self._layout.masks / mask)
        return True

    def finished(self) -> None:
        """Note that the run came to its end."""
        self._begin().add(Finished(), sync=True)

    def _change_of(self, trace: FaceTrace) -> ManualChange | None:
        """Return the manual change of a face: known by its id, else by its landmarks, else by frame and place."""
        known = self._changes_by_id.get(trace.face_id) or self._changes_by_landmarks.get(trace.landmarks_hash)
        if known is not None:
            return known
        for one in self._changes_by_frame.get(trace.frame, ()):
            if not one.is_of_frame and self._means(one, trace):
                return one
        return None

    def _means(self, change: ManualChange, trace: FaceTrace) -> bool:
        """Say whether a change in the frame of a face concerns that face, though neither id nor landmarks say so."""
        if change.is_unlisted or (change.kind != "added" and not change.content):
            return is_at_same_place(change.trace, trace)
        if change.kind == "added":
            return False  # whose clip it is from, nobody knows
        return is_same_face(change.trace, trace, same_clip=change.content == self._run.content)

    def _lacks_mask(self, change: ManualChange) -> bool:
        """Say whether a changed face lost its mask to damage, and this run makes the very same one."""
        is_same = bool(change.mask) and change.lost_mask == self._run.basis != ""
        return is_same and not os.path.lexists(self._layout.masks / change.mask)

    def _is_another_face(self, path: Path) -> bool:
        """Say whether a file says of itself that it is not the face that this run wrote under its name."""
        written, found = self._faces.get(path.name), trace_in(path)
        if written is None or found is None or not written.trace.landmarks_hash:
            return False
        return not is_same_face(written.trace, found, same_clip=True)

    def _free_name(self, number: int, index: int, ending: str, picture: bytes) -> str:
        """Return a name that nobody's file has but this run's own."""
        while True:
            name = f"{self._layout.face_stem(number, index)}.{ending}"
            if name in self._faces or mask_name(name) in self._masks:
                return name
            folders = (self._layout.aligned, self._layout.review)
            there = [path for path in (folder / name for folder in folders) if os.path.lexists(path)]
            if there and all(_holds(path, picture) for path in there):  # a power loss took its line
                return name
            if not there and not os.path.lexists(self._layout.masks / mask_name(name)):
                return name
            index += INDEX_STEP

    def _write(self, path: Path, content: bytes, note: Callable[[WrittenFile], None]) -> None:
        """Write a file by a temporary name, with its line in the manifest before it gets its own."""
        sha256 = hashlib.sha256(content).hexdigest()

        def before_rename(temporary: Path) -> None:
            found = temporary.stat()
            note(WrittenFile(path.name, sha256, found.st_size, found.st_mtime_ns))

        write_file(path, content, before_rename=before_rename)

    def _note_mask(self, written: WrittenFile) -> None:
        self._note(MaskWritten(written))
        self._masks[written.name] = written

    def _note_face(self, face: WrittenFace) -> None:
        self._note(FaceWritten(face))
        self._faces[face.file.name] = face

    def _note_frame(self, written: WrittenFile) -> None:
        self._note(FrameWritten(written))
        self._frames[written.name] = written

    def _note(self, line: ManifestLine) -> None:
        with self._lock:
            self._begin().add(line)


def _holds(path: Path, content: bytes) -> bool:
    """Say whether a regular file has exactly this content."""
    try:
        return not path.is_symlink() and path.stat().st_size == len(content) and path.read_bytes() == content
    except OSError:
        return False


def _require_no_foreign_frames(layout: Layout) -> None:
    if layout.frames is None or not layout.frames.is_dir():
        return
    if os.path.lexists(manifest_path(layout)) or os.path.lexists(layout.log):
        return
    foreign = [path.name for path in layout.frames.iterdir() if FRAME_NAME.fullmatch(path.name)]
    if foreign:
        raise OutputError(
            f"{layout.frames} already holds {len(foreign)} frames that dfld did not write for this clip, "
            f"{min(foreign)} for one; nothing was changed",
            hint="the merger would mix them with this clip's: move them away, or give the clip another workspace",
        )
