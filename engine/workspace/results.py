"""The results of one run as they are written: nothing that a hand decided is undone, everything is in the manifest.

Whoever writes a face, a mask or a whole frame of a clip does it through here. The manifest is written ahead of each
file, so that after a kill at any moment a survey knows what is dfld's own (engine.workspace.hand_work).
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from engine.errors import OutputError
from engine.workspace.hand_work import clear_results, decisions_kept, is_as_written, survey
from engine.workspace.manifest import (
    NO_BOX,
    Folder,
    HandDecision,
    Manifest,
    ManifestWriter,
    RunNote,
    WrittenFace,
    WrittenFile,
    face_line,
    manifest_path,
    mask_name,
    read_manifest,
    write_manifest,
)
from engine.workspace.same_face import FaceTrace, is_same_face
from engine.workspace.workspace import FRAME_NAME, Layout, move_file, remove_file, write_file

INDEX_STEP = 10
"""A name that a hand's file has taken: the face gets the index ten further on, which no face beside it has."""


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

        A run that begins clears what an earlier one left, except what a hand decided: not before it has something to
        write or to commit, so that footage which cannot be used costs no face that is there. `on_begin` is called
        then. `discard`: the name of an order to clear what a hand decided as well; one order is carried out once,
        however often its run begins. Raise OutputError
        when it cannot be done, or where whole frames lie that no run of dfld wrote: the merger would take them for
        this clip's.
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
            self._take_over(Manifest(decisions=decisions_kept(survey(layout), self._discards())))

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
                clear_results(self._layout, discard_hand_work=self._discards())
                begun = Manifest(self._run, decisions=read_manifest(self._layout).decisions, discarded=self._discard)
                write_manifest(self._layout, begun)
                self._take_over(begun)
                self._on_begin()
                self._writer = ManifestWriter(self._layout)
            return self._writer

    def _take_over(self, manifest: Manifest) -> None:
        self._faces: dict[str, WrittenFace] = dict(manifest.faces)
        self._masks: dict[str, WrittenFile] = dict(manifest.masks)
        self._frames: dict[str, WrittenFile] = dict(manifest.frames)
        self._by_frame: dict[str, list[HandDecision]] = {}
        self._marks = {one.trace.mark: one for one in manifest.decisions if one.trace.mark}
        for one in manifest.decisions:
            self._by_frame.setdefault(one.trace.frame, []).append(one)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            self._writer.__exit__(kind, error, trace)

    def is_decided(self, trace: FaceTrace) -> bool:
        """Say whether a hand decided about this face: it is not written, whatever lies in its place."""
        found = self._decision(trace)
        return found is not None and found.kind != "mask_deleted"

    def write_face(
        self, folder: Folder, number: int, index: int, ending: str, picture: bytes, mask: bytes | None, trace: FaceTrace
    ) -> str | None:
        """Write the `index`-th face of frame `number` and its mask; return its name under `folder`.

        Return None, with nothing written, where a hand changed the face since this run wrote it. A name that a hand's
        own file has is left to it.
        """
        self._begin()
        index = self._free_index(number, index, ending, picture)
        stem = self._layout.face_stem(number, index)
        name = f"{stem}.{ending}"
        path = (self._layout.aligned if folder == "aligned" else self._layout.review) / name
        before = self._faces.get(name)
        if before is not None and os.path.lexists(path) and not is_as_written(path, before.file):
            return None
        decision = self._decision(trace)
        if mask is not None and (decision is None or decision.kind != "mask_deleted"):
            place = self._layout.masks / mask_name(name)
            self._write(place, mask, lambda written: self._note_mask(written))
        self._write(path, picture, lambda written: self._note_face(WrittenFace(written, folder, number, trace)))
        return name

    def write_frame(self, name: str, content: bytes) -> None:
        """Write a whole frame, unless a hand changed or deleted it, or put one of its own there."""
        assert self._layout.frames is not None
        path = self._layout.frames / name
        self._begin()
        decided = any(one.trace.box == NO_BOX for one in self._by_frame.get(Path(name).stem, ()))
        if decided:
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
        self._begin().add({"committed": next_frame}, sync=True)

    def accept(self, name: str) -> None:
        """Move a face from review/ to aligned/; a face that a hand took away, or moved there itself, stays so."""
        source, target = self._layout.review / name, self._layout.aligned / name
        if not os.path.lexists(source) or os.path.lexists(target):
            return
        self._begin().add({"accepted": name})
        move_file(source, target)

    def drop(self, name: str) -> bool:
        """Remove a face from aligned/ with its mask; say whether: one that a hand changed stays."""
        path = self._layout.aligned / name
        face = self._faces.get(name)
        if face is not None and os.path.lexists(path) and not is_as_written(path, face.file):
            return False
        if not os.path.lexists(path):
            return True  # by an earlier try; or by a hand, and so it stays known
        self._begin().add({"dropped": name})
        remove_file(path)
        mask = mask_name(name)
        if mask not in self._masks or is_as_written(self._layout.masks / mask, self._masks[mask]):
            remove_file(self._layout.masks / mask)
        return True

    def finished(self) -> None:
        """Note that the run came to its end."""
        self._begin().add({"finished": True}, sync=True)

    def _decision(self, trace: FaceTrace) -> HandDecision | None:
        if trace.mark in self._marks:
            return self._marks[trace.mark]
        for one in self._by_frame.get(trace.frame, ()):
            if one.kind == "added" or one.trace.box == NO_BOX:
                continue  # whose clip an added face is from, nobody knows: only its mark says that it is this one
            if is_same_face(one.trace, trace, same_clip=one.content == self._run.content):
                return one
        return None

    def _free_index(self, number: int, index: int, ending: str, picture: bytes) -> int:
        """Return the index whose name nobody's file has but this run's own."""
        while True:
            stem = self._layout.face_stem(number, index)
            name = f"{stem}.{ending}"
            if name in self._faces or mask_name(name) in self._masks:
                return index
            folders = (self._layout.aligned, self._layout.review)
            there = [path for path in (folder / name for folder in folders) if os.path.lexists(path)]
            if there and all(_holds(path, picture) for path in there):  # a power loss took its line
                return index
            if not there and not os.path.lexists(self._layout.masks / mask_name(name)):
                return index
            index += INDEX_STEP

    def _write(self, path: Path, content: bytes, note: Callable[[WrittenFile], None]) -> None:
        """Write a file by a temporary name, with its line in the manifest before it gets its own."""
        sha256 = hashlib.sha256(content).hexdigest()

        def before_rename(temporary: Path) -> None:
            found = temporary.stat()
            note(WrittenFile(path.name, sha256, found.st_size, found.st_mtime_ns))

        write_file(path, content, before_rename=before_rename)

    def _note_mask(self, written: WrittenFile) -> None:
        self._note({"mask": _values(written)})
        self._masks[written.name] = written

    def _note_face(self, face: WrittenFace) -> None:
        self._note(face_line(face))
        self._faces[face.file.name] = face

    def _note_frame(self, written: WrittenFile) -> None:
        self._note({"frame": _values(written)})
        self._frames[written.name] = written

    def _note(self, line: dict[str, Any]) -> None:
        with self._lock:
            self._begin().add(line)


def _values(written: WrittenFile) -> dict[str, Any]:
    return {"name": written.name, "sha256": written.sha256, "size": written.size, "mtime_ns": written.mtime_ns}


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
