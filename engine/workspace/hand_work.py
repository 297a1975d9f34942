"""What a hand did to the results of a clip, found by comparing them with the manifest; and clearing the rest.

    survey         nothing changes: which files are as dfld wrote them, and what a hand decided
    clear_results  the former go, the latter stay decided: no later run writes such a face again

A hand deletes, moves (out of review/, into another folder), renames (DeepFaceLab's sorter), edits (mask, polygons,
pixels: DeepFaceLab writes them into the file), packs into a faceset.pak, or adds. What is not as dfld wrote it is never
removed, unless the operator gave that up, and what dfld did not write is not removed even then.
"""

from __future__ import annotations

import hashlib
import mmap
import os
import stat
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from core.files import sync_folder
from core.opening import open_regular
from dfl.errors import FormatError
from dfl.faceset import read_faceset
from dfl.image import read_metadata
from dfl.jpeg import FILE_LIMIT_BYTES
from engine.reasons import REVIEW_REASONS
from engine.workspace.earlier_log import read_log
from engine.workspace.manifest import (
    NO_BOX,
    Folder,
    HandDecision,
    HandWorkKind,
    Manifest,
    WrittenFace,
    WrittenFile,
    manifest_in,
    manifest_path,
    mask_name,
    read_manifest,
    write_manifest,
)
from engine.workspace.same_face import FaceTrace, is_same_face, trace_of_jpeg
from engine.workspace.workspace import FRAME_NAME, Layout, prefix_of_face, remove_file, told_as_output_error

PICTURE_ENDINGS = (".jpg", ".jpeg", ".png")
PACK_ENDING = ".pak"
METADATA_WITHIN_BYTES = 1 << 20
"""DeepFaceLab's metadata stands before the picture itself, behind at most a few segments of 64 KiB."""
METADATA_MARKER = b"\xff\xef"
LEFT_WHEN_DISCARDED: tuple[HandWorkKind, ...] = ("added", "packed")
"""Files that dfld did not write."""


@dataclass(frozen=True)
class Survey:
    """What lies in a workspace of one clip's results."""

    manifest: Manifest
    source: str
    """Of the run that wrote it; "" where nothing tells."""
    faces: int
    """Pictures of faces that are as dfld wrote them."""
    removable: tuple[Path, ...]
    """Every file that is as dfld wrote it: pictures, masks, whole frames."""
    decisions: tuple[HandDecision, ...]
    """What a hand decided, in this run's results and those of earlier ones."""
    hand_files: tuple[Path, ...]
    """Files that dfld wrote and a hand changed, moved or renamed; what was added is not among them."""

    @property
    def is_empty(self) -> bool:
        return not (self.removable or self.decisions)

    @cached_property
    def changes(self) -> Counter[str]:
        """How many faces and frames each kind of change concerns."""
        return Counter(one.kind for one in self.decisions)

    def changes_text(self) -> str:
        """Return `3 deleted, 1 edited`; "" where a hand changed nothing."""
        return ", ".join(f"{count} {kind.replace('_', ' ')}" for kind, count in sorted(self.changes.items()))


def survey(layout: Layout) -> Survey:
    """Compare what lies there with what dfld wrote. Nothing is changed. Raise OutputError when that cannot be read."""
    return _survey(layout, with_earlier_files=False)


def _survey(layout: Layout, *, with_earlier_files: bool) -> Survey:
    with told_as_output_error("look for what a hand changed in", layout.root):
        manifest, source = _manifest_or_log(layout)
        return _Surveyor(layout, manifest, with_earlier_files=with_earlier_files).survey(source)


def clear_results(layout: Layout, *, discard_hand_work: bool = False) -> Survey:
    """Remove a clip's results as dfld wrote them; keep what a hand decided, in the workspace and in the manifest.

    `discard_hand_work`: what a hand changed is removed, too, and every face may be written again; what was added or
    packed stays. May be killed and called again at any moment, either way. Return what was there. Raise OutputError
    when it cannot be done.
    """
    found = _survey(layout, with_earlier_files=discard_hand_work)
    decisions, noted, removable = decisions_kept(found, discard_hand_work), found.decisions, found.removable
    if discard_hand_work:
        noted = tuple(one for one in found.decisions if one.kind in LEFT_WHEN_DISCARDED or one.file)
        removable += found.hand_files
    if found.manifest.clearing or removable:
        # From here on, what is missing was taken away by dfld: a kill must not make it look like a hand's deletion.
        journal = replace(found.manifest, decisions=noted, clearing=True, discarding=discard_hand_work)
        if journal != found.manifest:
            write_manifest(layout, journal)
    for path in (*removable, layout.preview, layout.log):
        remove_file(path)
    with told_as_output_error("sync", layout.root):
        for folder in sorted({path.parent for path in removable}):
            sync_folder(folder)
    if decisions:
        write_manifest(layout, Manifest(run=None, decisions=decisions))
    else:
        remove_file(manifest_path(layout))
    return found


def decisions_kept(found: Survey, discard_hand_work: bool) -> tuple[HandDecision, ...]:
    """Return the decisions that hold for the run which clears what was found."""
    return tuple(one for one in found.decisions if not discard_hand_work or one.kind in LEFT_WHEN_DISCARDED)


def is_as_written(path: Path, written: WrittenFile) -> bool:
    """Say whether a file is what dfld wrote: by size and time, else by its bytes. A link is not."""
    try:
        found = path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    if not stat.S_ISREG(found.st_mode):
        return False
    if not written.sha256:  # known from a log alone: by time, and by what a person adds to a face
        return found.st_mtime_ns <= written.mtime_ns and not _has_labels(path)
    if found.st_size != written.size:
        return False
    return found.st_mtime_ns == written.mtime_ns or sha256_of(path) == written.sha256


def face_files(root: Path, skip: Callable[[Path], bool]) -> Iterator[Path]:
    """Yield every picture and pack below `root`, in a fixed order, links not followed."""
    for folder, folders, names in os.walk(root, followlinks=False):
        folders.sort()
        for name in sorted(names):
            path = Path(folder, name)
            if path.suffix.lower() in (*PICTURE_ENDINGS, PACK_ENDING) and not skip(path):
                yield path


def trace_in(path: Path) -> FaceTrace | None:
    """Return which face an aligned JPEG shows; None where it does not say so, or cannot be read."""
    data = _jpeg_with_metadata(path)
    return None if data is None else trace_of_jpeg(data)


def traces_in_pack(path: Path) -> list[FaceTrace | None]:
    """Return which face each image of a faceset.pak shows. Raise FormatError or OSError when it cannot be read."""
    with open_regular(path, within=None) as file:
        if not os.fstat(file.fileno()).st_size:
            raise FormatError(f"{path.name} is empty")
        with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data, memoryview(data) as view:
            return [trace_of_jpeg(bytes(view[one.start : one.end])) for one in read_faceset(view)]


class _Surveyor:
    """Compares one clip's manifest with its workspace."""

    def __init__(self, layout: Layout, manifest: Manifest, *, with_earlier_files: bool) -> None:
        self._layout = layout
        self._manifest = manifest
        self._with_earlier_files = with_earlier_files
        self._decisions: list[HandDecision] = []
        self._removable: list[Path] = []
        self._hand_files: list[Path] = []
        self._missing: list[WrittenFace] = []
        self._masks_seen: set[str] = set()
        self._faces = 0

    def survey(self, source: str) -> Survey:
        for face in self._manifest.faces.values():
            self._look_at(face)
        self._find_missing()
        for name, mask in self._manifest.masks.items():  # of a face that a kill came before, or that has gone
            if name not in self._masks_seen and is_as_written(self._layout.masks / name, mask):
                self._removable.append(self._layout.masks / name)
        if self._layout.frames is not None:
            for frame in self._manifest.frames.values():
                self._look_at_frame(self._layout.frames / frame.name, frame)
        earlier = self._earlier_decisions()
        self._look_for_added({self._layout.root / one.file for one in (*earlier, *self._decisions) if one.file})
        return Survey(
            self._manifest,
            source,
            self._faces,
            tuple(self._removable),
            _each_once((*earlier, *self._decisions)),
            tuple(self._hand_files),
        )

    def _look_at(self, face: WrittenFace) -> None:
        layout, file = self._layout, face.file
        home, other = (layout.aligned, layout.review)[:: 1 if face.folder == "aligned" else -1]
        if is_as_written(home / file.name, file):
            self._as_written(face, home / file.name)
        elif (home / file.name).is_symlink() or (
            os.path.lexists(home / file.name) and self._may_be(face, home / file.name)
        ):
            self._keep("edited", face, home / file.name)
        elif face.was_in_review and not self._manifest.finished and is_as_written(other / file.name, file):
            self._as_written(face, other / file.name)  # a kill came before the move
        elif os.path.lexists(other / file.name) and (
            is_as_written(other / file.name, file) or self._may_be(face, other / file.name)
        ):
            self._keep("moved", face, other / file.name)
        else:
            self._missing.append(face)

    def _as_written(self, face: WrittenFace, path: Path) -> None:
        """The picture is dfld's; so is the face, unless its mask is not."""
        mask = self._layout.masks / mask_name(face.file.name)
        is_there = os.path.lexists(mask)
        if face.mask is not None and is_there and not is_as_written(mask, face.mask):
            self._keep("edited", face, path)
            return
        self._faces += 1
        self._removable.append(path)
        if face.mask is not None and not is_there and self._was_there(face):
            self._decide("mask_deleted", face)

    def _may_be(self, face: WrittenFace, path: Path) -> bool:
        """Say whether a file with a face's name, but other bytes, is that face: by its metadata, else by its name."""
        found = trace_in(path)
        return found is None or not face.trace.mark or is_same_face(found, face.trace, same_clip=True)

    def _was_there(self, face: WrittenFace) -> bool:
        """Say whether a file of this face that is missing was taken away by a hand."""
        return face.number < self._manifest.committed and not self._manifest.clearing and not face.dropped

    def _find_missing(self) -> None:
        if not self._missing:
            return
        pictures = _Pictures(self._layout, self._manifest)
        for face in self._missing:
            place = pictures.place_of(face)
            if place is None:
                if self._was_there(face):
                    self._decide("deleted", face)
            elif place.suffix == PACK_ENDING:
                self._decide("packed", face, place, keeps_mask=True)
            else:
                self._keep("moved" if place.name == face.file.name else "renamed", face, place)

    def _keep(self, kind: HandWorkKind, face: WrittenFace, path: Path) -> None:
        self._decide(kind, face, path, keeps_mask=True)
        self._hand_files.append(path)
        mask = self._layout.masks / mask_name(face.file.name)
        if mask.is_file() and not mask.is_symlink():
            self._hand_files.append(mask)

    def _decide(
        self, kind: HandWorkKind, face: WrittenFace, path: Path | None = None, *, keeps_mask: bool = False
    ) -> None:
        mask = mask_name(face.file.name) if keeps_mask else ""
        if keeps_mask:
            self._masks_seen.add(mask)
        file = "" if path is None else str(path.relative_to(self._layout.root))
        self._decisions.append(
            HandDecision(kind, face.trace, self._manifest.content, file, _sha256_if_unmarked(face.trace, path), mask)
        )

    def _look_at_frame(self, path: Path, frame: WrittenFile) -> None:
        if is_as_written(path, frame):
            self._removable.append(path)
            return
        trace = FaceTrace(path.stem, NO_BOX)
        if os.path.lexists(path):
            file = str(path.relative_to(self._layout.root))
            self._decisions.append(HandDecision("edited", trace, self._manifest.content, file))
            self._hand_files.append(path)
        elif int(path.stem) < self._manifest.committed and not self._manifest.clearing:
            self._decisions.append(HandDecision("deleted", trace, self._manifest.content))

    def _earlier_decisions(self) -> list[HandDecision]:
        """Return what earlier runs found decided; where it is to be discarded, find the files that it is about."""
        earlier = list(self._manifest.decisions)
        if self._manifest.clearing and self._manifest.discarding:  # cut short: what has gone by now was discarded
            earlier = [one for one in earlier if not one.file or os.path.lexists(self._layout.root / one.file)]
        if self._with_earlier_files:
            for one in earlier:
                path = self._layout.root / one.file
                if one.kind in LEFT_WHEN_DISCARDED or not one.file or not _is_still(path, one):
                    continue
                self._hand_files.append(path)
                mask = self._layout.masks / one.mask
                if one.mask and mask.is_file() and not mask.is_symlink():
                    self._hand_files.append(mask)
        return earlier

    def _look_for_added(self, known: set[Path]) -> None:
        """Files that carry the name of a face of this clip, and that dfld did not write."""
        known = known.union(self._removable)
        for folder in (self._layout.aligned, self._layout.review):
            if not folder.is_dir():
                continue
            for path in sorted(folder.iterdir()):
                if not self._layout.is_face_name(path.name) or path in known:
                    continue
                trace = trace_in(path) or FaceTrace("", NO_BOX)
                file = str(path.relative_to(self._layout.root))
                self._decisions.append(HandDecision("added", trace, "", file, _sha256_if_unmarked(trace, path)))


class _Pictures:
    """The pictures of a workspace that no manifest accounts for by name: where a missing face may be by now."""

    def __init__(self, layout: Layout, manifest: Manifest) -> None:
        self._layout = layout
        self._manifest = manifest
        self._others = {path.name.removesuffix("manifest.jsonl") for path in _manifests(layout)}
        self._taken: set[Path] = set()
        self._by_hash: dict[int, dict[str, list[Path]]] = {}
        """By size, then by hash."""

    def place_of(self, face: WrittenFace) -> Path | None:
        """Return where a face is now, a loose file or the pack that holds it; None where it is nowhere.

        Two clips of one recording have faces that nothing in a picture tells apart. Where such a face of another clip
        is missing, too, nobody knows whose the picture is: it is nobody's then, and is left where it lies.
        """
        if face.trace.mark in self._missing_of_others:
            return None
        loose = [path for path in self._loose_by_mark.get(face.trace.mark, ()) if path not in self._taken]
        if not loose:
            same_bytes = self._loose_with_bytes_of(face.file)
            loose = [path for path in same_bytes if path not in self._taken]
        if loose:
            self._taken.add(loose[0])
            return loose[0]
        return self._packed.get(face.trace.mark)

    @cached_property
    def _missing_of_others(self) -> frozenset[str]:
        """Marks of other clips' faces that do not lie where their run put them."""
        found: set[str] = set()
        for path in _manifests(self._layout):
            for name, face in manifest_in(path).faces.items():
                if not any(os.path.lexists(one / name) for one in (self._layout.aligned, self._layout.review)):
                    found.add(face.trace.mark)
        return frozenset(found - {""})

    @cached_property
    def _files(self) -> list[Path]:
        return list(face_files(self._layout.root, self._is_accounted_for))

    @cached_property
    def _loose_by_mark(self) -> dict[str, list[Path]]:
        found: dict[str, list[Path]] = {}
        for path in self._files:
            if path.suffix != PACK_ENDING and (trace := trace_in(path)) is not None:
                found.setdefault(trace.mark, []).append(path)
        return found

    @cached_property
    def _loose_by_size(self) -> dict[int, list[Path]]:
        found: dict[int, list[Path]] = {}
        for path in self._files:
            with suppress(OSError):
                found.setdefault(path.lstat().st_size, []).append(path)
        return found

    def _loose_with_bytes_of(self, written: WrittenFile) -> Sequence[Path]:
        """Return the files that hold just what was written. Each file is hashed once, however many faces ask."""
        if written.size not in self._by_hash:
            by_hash: dict[str, list[Path]] = {}
            self._by_hash[written.size] = by_hash
            for path in self._loose_by_size.get(written.size, ()):
                by_hash.setdefault(sha256_of(path), []).append(path)
        return self._by_hash[written.size].get(written.sha256, ()) if written.sha256 else ()

    @cached_property
    def _packed(self) -> dict[str, Path]:
        found: dict[str, Path] = {}
        for path in self._files:
            if path.suffix == PACK_ENDING:
                with suppress(FormatError, OSError):
                    found.update((trace.mark, path) for trace in traces_in_pack(path) if trace is not None)
        return found

    def _is_accounted_for(self, path: Path) -> bool:
        layout = self._layout
        if path.parent in (layout.masks, layout.debug):
            return True
        if path.parent in (layout.frames, layout.root / "data_dst") and FRAME_NAME.fullmatch(path.name):
            return True
        written = self._manifest.faces.get(path.name)
        if written is not None and path.parent in (layout.aligned, layout.review):
            return is_as_written(path, written.file)
        return path.parent in (layout.aligned, layout.review) and prefix_of_face(path.name) in self._others


def _each_once(decisions: Sequence[HandDecision]) -> tuple[HandDecision, ...]:
    """Return each decision once, as it was seen last: after a kill, a survey finds what the journal says already."""
    return tuple({(one.kind, one.trace, one.file): one for one in decisions}.values())


def _manifests(layout: Layout) -> Iterator[Path]:
    """Yield the manifests of the other clips of a workspace."""
    if layout.debug.is_dir():
        for path in sorted(layout.debug.glob("*manifest.jsonl")):
            if path != manifest_path(layout):
                yield path


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
    return Manifest(None, faces, masks, frames, 1 << 62, log.completed), source


def _is_still(path: Path, decision: HandDecision) -> bool:
    """Say whether the file of a decision is still the one that it speaks of."""
    if not os.path.lexists(path) or path.is_symlink():
        return False
    if decision.trace.box == NO_BOX:
        return True
    if decision.sha256:
        return sha256_of(path) == decision.sha256
    found = trace_in(path)
    return found is not None and is_same_face(found, decision.trace, same_clip=True)


def _sha256_if_unmarked(trace: FaceTrace, path: Path | None) -> str:
    """Return the hash of a file whose metadata does not say who it is."""
    if path is None or (trace.mark and trace_in(path) is not None):
        return ""
    return sha256_of(path)


def sha256_of(path: Path) -> str:
    """Return the hash of a file; "" for what is no regular file or has gone."""
    try:
        with open_regular(path, within=None) as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return ""


def _jpeg_with_metadata(path: Path) -> bytes | None:
    """Read a JPEG that may have metadata; None where it has none, so that whole folders are gone through quickly."""
    if path.suffix.lower() not in (".jpg", ".jpeg"):
        return None
    try:
        with open_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES) as file:
            head = file.read(METADATA_WITHIN_BYTES)
            return None if METADATA_MARKER not in head else head + file.readall()
    except OSError:
        return None


def _has_labels(path: Path) -> bool:
    """Say whether somebody gave a face polygons or a mask: dfld writes neither into it."""
    data = _jpeg_with_metadata(path)
    if data is None:
        return False
    try:
        metadata = read_metadata(data)
    except FormatError:
        return False
    return bool(metadata.seg_ie_polys) or metadata.xseg_mask is not None
