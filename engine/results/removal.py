"""Every face of given clips, found in their workspaces and removed, whatever its name is by now.

A face is known by its id (engine.face_id); one that was made before there were ids by what its metadata says, for its
frame and box give its id where the clip's source is known; one without metadata by its bytes. It may lie in any folder
below the workspace, or where a folder of the faceset leads that is a link, under any name, half written, or in a
faceset.pak, which is then written again without it: every picture is opened. Faces that other clips' manifests name are
left alone, whatever they are called; pictures of which nothing says whom they show are named, for a person to decide
about.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from core.files import replace_file, sync_folder, temporary_name
from core.opening import read_regular
from dfl.errors import FormatError
from dfl.image import metadata_of_fields
from dfl.metadata_copy import COPY_LIMIT_BYTES, METADATA_COPY_NAME, read_metadata_copy, write_metadata_copy
from engine.facesets.changing.forgetting import forget_kept
from engine.facesets.faceset_folder import PACK_NAME, aligned_folder
from engine.facesets.pack_file import opened_pack, write_pack
from engine.facesets.packs.saved_metadata import note_shortened_copy
from engine.results.face_files import face_files, hash_or_nothing, is_pack, trace_in
from engine.results.manifest import Manifest, manifest_path, manifest_paths, read_manifest
from engine.results.manifest_lines import mask_name
from engine.results.own_moves import OwnMoves, held_faceset
from engine.same_face import FaceTrace, id_of, trace_of_jpeg, trace_of_metadata
from engine.workspace.file_names import FRAME_NAME, Layout

LISTED_MAX = 50
"""Pictures that may show anybody are named one by one up to this many of a folder; more are counted."""


HALF_WRITTEN = frozenset(temporary_name(Path(name)).name for name in (PACK_NAME, METADATA_COPY_NAME))
"""What a kill leaves of files that may hold every face. Who writes one now, in a faceset that is not held here, is
refused its rename, and nothing is lost."""


@dataclass(frozen=True)
class ClipFaces:
    """The faces of one clip, as far as they are known beside its manifest."""

    layout: Layout
    source_sha256: str = ""
    """Hash of the clip's source in hex, of which ids are made; "" where it is unknown."""
    face_ids: frozenset[str] = frozenset()
    """Of the faces that the ledger names."""


@dataclass
class Removal:
    """What was removed, and what is left; paths as text."""

    removed: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    """Pictures that may be of the person, each with the reason why that cannot be said."""
    remains: list[str] = field(default_factory=list)
    """Faces of the person that a second search still found."""


def remove_faces(clips: Sequence[ClipFaces], named_files: Callable[[Layout], Iterable[Path]]) -> Removal:
    """Remove every file and face of these clips, then search once more for remains.

    `named_files`: yields the files that carry the names of a clip's files; a picture among them that says of itself
    that it is no face of the clip is left. Raise OSError when a file cannot be removed, and OutputError where a
    manifest cannot be read.
    """
    with ExitStack() as held:
        for layout in {clip.layout.aligned: clip.layout for clip in clips}.values():
            held.enter_context(held_faceset(layout, even_unrenamed=True))
        return _remove_faces(clips, named_files)


def _remove_faces(clips: Sequence[ClipFaces], named_files: Callable[[Layout], Iterable[Path]]) -> Removal:
    search = _Search(clips)  # before the manifests go
    made = Removal()
    for clip in clips:
        for path in (*named_files(clip.layout), *search.moved_files(clip.layout)):
            if not search.is_of_somebody_else(path):
                _remove(path, made)
    for path in search.files():
        if is_pack(path):
            _take_out_of_pack(path, search, made)
        elif path.name in HALF_WRITTEN or search.is_of_person(path):
            _remove(path, made)
            for mask in search.masks_of(path):
                _remove(mask, made)
    for path in search.metadata_copies():
        _take_out_of_copy(path, search, made)
    for root in search.roots:
        forget_kept(root, lambda path: made.removed.append(str(path)))
    _search_again(search, made)
    made.remains += [
        str(path) for clip in clips for path in named_files(clip.layout) if not search.is_of_somebody_else(path)
    ]
    return made


class _Search:
    """Knows the person's faces, and those of others, in the workspaces of the person's clips."""

    def __init__(self, clips: Sequence[ClipFaces]) -> None:
        self._layouts = [clip.layout for clip in clips]
        self._data = sorted({layout.aligned.parent for layout in self._layouts})
        self._no_faces = {folder for layout in self._layouts for folder in (layout.masks, layout.debug)}
        self._frames = {layout.frames for layout in self._layouts}
        self._own, self._others = _Known(), _Known()
        own = {manifest_path(clip.layout) for clip in clips}
        for clip in clips:
            self._own.add(read_manifest(clip.layout))
            self._own.add_ids(clip.face_ids, clip.source_sha256)
        self._own_moves = {layout: OwnMoves(layout) for layout in self._layouts}
        self._names_of_others: dict[Path, set[str]] = {}
        for debug in {clip.layout.debug for clip in clips}:
            for prefix, path in manifest_paths(debug).items():
                if path not in own:
                    self._note_other(debug.parent, prefix)

    def _note_other(self, data: Path, prefix: str) -> None:
        manifest = read_manifest(Layout(data, data / "aligned", data / "masks", data / "debug", prefix=prefix))
        self._others.add(manifest)
        for folder in ("aligned", "review"):
            self._names_of_others.setdefault(data / folder, set()).update(manifest.faces)
        self._names_of_others.setdefault(data / "masks", set()).update(manifest.masks)

    @cached_property
    def roots(self) -> list[Path]:
        """The workspaces, and the folders of their facesets that are links: dfld and DeepFaceLab follow those."""
        folders = {
            one
            for layout in self._layouts
            for faceset in [aligned_folder(layout.aligned)]
            for one in (faceset.parent, *faceset.face_folders, faceset.masks, layout.debug)
        }
        return sorted({layout.root for layout in self._layouts} | {one for one in folders if one.is_symlink()})

    def files(self) -> Iterator[Path]:
        """Yield every picture and pack of the workspaces, half written ones too."""
        for root in self.roots:
            yield from face_files(root, with_leftovers=True)

    def moved_files(self, layout: Layout) -> Iterator[Path]:
        """Yield the files of a clip that have other names since dfld sorted them or set them aside."""
        yield from self._own_moves[layout].files_of_clip()

    def masks_of(self, face: Path) -> Iterator[Path]:
        """Yield the mask that lies beside a face under its name, unless it is the mask of another clip's face: whoever
        renames a face without dfld leaves the masks where they are."""
        for layout in self._layouts:
            mask = layout.masks / mask_name(face.name)
            if face.parent.parent == layout.masks.parent and os.path.lexists(mask):
                first = self._own_moves[layout].first_place_of(mask)
                if first.name not in self._names_of_others.get(layout.masks, ()):
                    yield mask
                return

    def is_of_somebody_else(self, path: Path) -> bool:
        """Say whether a picture says of itself that it is no face of the person, whatever it is called.

        An id does, and so does what another clip's manifest says; a picture that says nothing is what it is called.
        """
        trace = trace_in(path)
        if trace is None or self._is_own(trace):
            return False
        return bool(trace.face_id) or self._is_others(trace)

    def is_of_person(self, path: Path) -> bool:
        """Say whether a picture is the person's. One that another clip has under its own name is, where it shows a
        face of the person and none of that clip."""
        trace = trace_in(path)
        if self._is_anothers(path):
            return trace is not None and self._is_own(trace) and not self._is_others(trace)
        return self._is_own(trace, path)

    def metadata_copies(self) -> Iterator[Path]:
        """Yield every copy of metadata below the workspaces."""
        for root in self.roots:
            yield from sorted(root.rglob(METADATA_COPY_NAME))

    def knows(self, trace: FaceTrace | None) -> bool | None:
        """Say whether a face of a pack, or of a copy of metadata, is the person's; None where nothing says so."""
        if self._is_own(trace):
            return True
        return False if self._is_others(trace) else None

    def is_unknown(self, path: Path) -> bool:
        """Say whether a picture that is not known as the person's lies among the person's faces and may be one."""
        if self._is_anothers(path) or not any(path.is_relative_to(folder) for folder in self._data):
            return False
        if path.parent in self._no_faces or (path.parent in self._frames and FRAME_NAME.fullmatch(path.name)):
            return False
        return not self._is_others(trace_in(path), path)

    def left_texts(self, paths: Iterable[Path]) -> Iterator[str]:
        """Yield a sentence for each of these pictures, or for a folder of many."""
        unknown: dict[Path, list[Path]] = {}
        for path in paths:
            unknown.setdefault(path.parent, []).append(path)
        for folder, paths in sorted(unknown.items()):
            if len(paths) > LISTED_MAX:
                yield f"{folder}: {len(paths)} pictures, and nothing in them says of whom"
            else:
                yield from (f"{path}: nothing in it says of whom it is" for path in paths)

    def _is_own(self, trace: FaceTrace | None, path: Path | None = None) -> bool:
        """Say whether a face is known as the person's; an id that others alone have says that it is not."""
        if trace is not None and self._others.has_id(trace) and not self._own.has_id(trace):
            return False
        return self._own.has(trace, path)

    def _is_others(self, trace: FaceTrace | None, path: Path | None = None) -> bool:
        if trace is not None and self._own.has_id(trace) and not self._others.has_id(trace):
            return False
        return self._others.has(trace, path)

    def _is_anothers(self, path: Path) -> bool:
        return path.name in self._names_of_others.get(path.parent, ())


class _Known:
    """Faces by what identifies them."""

    def __init__(self) -> None:
        self._ids: set[str] = set()
        self._sources: set[str] = set()
        self._landmarks: set[str] = set()
        self._bytes: dict[int, set[str]] = {}

    def add(self, manifest: Manifest) -> None:
        traces = [face.trace for face in manifest.faces.values()] + [one.trace for one in manifest.changes]
        self._ids |= {trace.face_id for trace in traces if trace.face_id}
        self._landmarks |= {trace.landmarks_hash for trace in traces if trace.landmarks_hash}
        for face in manifest.faces.values():
            self._bytes.setdefault(face.file.size, set()).add(face.file.sha256)
        for one in manifest.changes:
            if one.sha256:
                self._bytes.setdefault(-1, set()).add(one.sha256)

    def add_ids(self, face_ids: Iterable[str], source_sha256: str) -> None:
        self._ids |= set(face_ids)
        if source_sha256:
            self._sources.add(source_sha256)

    def has(self, trace: FaceTrace | None, path: Path | None) -> bool:
        if trace is not None:
            return self.has_id(trace) or trace.landmarks_hash in self._landmarks
        if path is None or not self._bytes:
            return False
        hashes = self._bytes.get(path.lstat().st_size, set()) | self._bytes.get(-1, set())
        return bool(hashes) and hash_or_nothing(path) in hashes

    def has_id(self, trace: FaceTrace) -> bool:
        """Say whether a face has a known id: its own, or the one that frame and box give it in a known source."""
        return any(id_of(trace, source) in self._ids for source in (self._sources or {""}))


def _search_again(search: _Search, made: Removal) -> None:
    """Go through everything once more: what is still the person's remains, what nobody knows is left."""
    unknown = []
    for path in search.files():
        if is_pack(path):
            with suppress(FormatError, OSError):  # named by the first search
                count = sum(own is True for own in _known_in_pack(path, search))
                if count:
                    made.remains.append(f"{path}: {count} faces")
        elif search.is_of_person(path):
            made.remains.append(str(path))
        elif search.is_unknown(path):
            unknown.append(path)
    made.left += search.left_texts(unknown)


def _known_in_pack(path: Path, search: _Search) -> list[bool | None]:
    with opened_pack(path) as (images, view):
        return [search.knows(trace_of_jpeg(bytes(view[one.start : one.end]))) for one in images]


def _remove(path: Path, made: Removal) -> None:
    path.unlink(missing_ok=True)
    made.removed.append(str(path))


def _take_out_of_pack(path: Path, search: _Search, made: Removal) -> None:
    """Write a faceset.pak again without the person's faces; remove one that held nobody else."""
    if not path.lstat().st_size:
        return
    try:
        with opened_pack(path) as (images, view):
            known = [search.knows(trace_of_jpeg(bytes(view[one.start : one.end]))) for one in images]
            kept = [image for image, own in zip(images, known, strict=True) if own is not True]
            if len(kept) < len(images) and kept:
                write_pack(path, kept, (view[image.start : image.end] for image in kept))
    except (FormatError, OSError) as problem:
        text = problem.message if isinstance(problem, FormatError) else problem.strerror
        made.left.append(f"{path}: cannot be read as a faceset ({text})")
        return
    if not kept and images:
        path.unlink()
    counts = Counter(known)
    if counts[True]:
        made.removed.append(f"{path}: {counts[True]} faces of {len(images)}")
    if counts[None]:
        made.left.append(f"{path}: {counts[None]} of {len(images)} faces, and nothing in them says of whom")


def _take_out_of_copy(path: Path, search: _Search, made: Removal) -> None:
    """Write a meta.dat again without what it holds of the person's faces; remove one that held nothing else."""
    try:
        data = read_regular(path, within=None, max_bytes=COPY_LIMIT_BYTES)
        saved = read_metadata_copy(data)
        known = {name: search.knows(trace_of_metadata(metadata_of_fields(one.fields))) for name, one in saved.items()}
        kept = {name: one for name, one in saved.items() if known[name] is not True}
        if len(kept) < len(saved) and kept:
            content = write_metadata_copy(kept)
            note_shortened_copy(aligned_folder(path.parent), data, content)
            replace_file(path, content)
            sync_folder(path.parent)
    except (FormatError, OSError) as problem:
        text = problem.message if isinstance(problem, FormatError) else problem.strerror
        made.left.append(f"{path}: cannot be read as a copy of metadata ({text})")
        return
    if not kept:
        path.unlink()
    counts = Counter(known.values())
    if counts[True]:
        made.removed.append(f"{path}: metadata of {counts[True]} faces of {len(saved)}")
    if counts[None]:
        made.left.append(f"{path}: metadata of {counts[None]} of {len(saved)} faces, and nothing says of whom")
