"""The second pass over a faceset: landmarks found again in the footage, and faces cut anew where that is better.

    faces listed → which footage each is of → the footage read once → each face and its neighbours found again →
    judged (engine.refining.agreement) → cut anew with masks and polygons → replaced, a few together

Ids and names stay, and a face that gains nothing stays as it is, byte for byte. Each replacement is decided in one
moment (engine.facesets.changing.replacements), so that a kill leaves each face with its mask old or new.
"""

from __future__ import annotations

import hashlib
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from core.opening import read_regular
from dfl.errors import FormatError
from dfl.image import read_metadata
from dfl.jpeg import FILE_LIMIT_BYTES
from engine.backends.backend import Backend
from engine.errors import FacesetError, PictureError
from engine.facesets.changing.free_faceset import Waiting, sole_user_when_free
from engine.facesets.changing.replacements import Group, NewFile, replace_files
from engine.facesets.face_listing import ListedFace, UnreadableFace, list_faces
from engine.facesets.faceset_folder import FacesetFolder
from engine.footage.source_hash import source_sha256
from engine.footage.video import open_frames
from engine.frames.contract import DecodedFrame, FrameForm
from engine.masks.write_mask import without_own_mask
from engine.pictures.decoding import decode_picture
from engine.refining.agreement import MOVING_REASONS, NEIGHBOURS, Beside, Judgement, Points, face_size, judge
from engine.refining.face_sources import LIKE, FacesByFrame, FacesOfSource, require_there, sources_of
from engine.refining.frame_window import FrameWindow
from engine.refining.realign import NOTE_KEY, Realigned, crop_of, landmarks_before, realigned, shows
from engine.results.face_files import is_as_written
from engine.results.manifest import Manifest, manifest_in, manifest_paths
from engine.results.manifest_lines import FaceWritten, MaskWritten, WrittenFace, WrittenFile, line_bytes, mask_name
from engine.same_face import trace_of_jpeg

TOGETHER = 32
"""Faces that are replaced in one go: they wait in memory, and a kill costs the work on them."""
LARGEST_SIDE_PX = 4096
"""DeepFaceLab writes aligned faces up to 2048 px; what announces more is not decoded."""
FOREHEAD = 0.2
"""A detector's box reaches beyond the brows by such a part of the landmarks' height."""
Outcome = Literal[
    "agrees_with_neighbours",
    "fits_the_head",
    "close_enough",
    "not_better",
    "elsewhere",
    "not_seen",
    "taken_back",
    "never_moved",
    "no_footage",
    "cannot_be_moved",
    "changed_meanwhile",
]
WHY: Mapping[Outcome, str] = {
    "agrees_with_neighbours": "the new landmarks agree better with those of the frames beside it",
    "fits_the_head": "the new landmarks fit a head better",
    "close_enough": "the landmarks were found where they are",
    "not_better": "new landmarks would be no better",
    "elsewhere": "what was found there is too far away to be this face",
    "not_seen": "the detector does not see the face in its frame",
    "taken_back": "it has the landmarks again that it had first",
    "never_moved": "it was never moved",
    "no_footage": "no frame of the footage shows it",
    "cannot_be_moved": "it cannot be cut anew",
    "changed_meanwhile": "another program changed it meanwhile",
}
NOWHERE: Mapping[str, Path] = MappingProxyType({})
OnProgress = Callable[[int, int], None]
"""Called with the faces that are done and all of them."""


@dataclass(frozen=True)
class RefinedFace:
    """What became of one face."""

    name: str
    face_id: str
    outcome: Outcome
    moved_px: float | None = None
    """Mean distance between its old and new landmarks, px of the aligned picture; None where none were found."""
    why: str = ""
    """What stands in the way, where `outcome` alone does not say it."""
    judged: Judgement | None = None
    """What was measured; None where nothing was found."""

    @property
    def moves(self) -> bool:
        return self.outcome in (*MOVING_REASONS, "taken_back")


@dataclass(frozen=True)
class RefineReport:
    """What became of a faceset."""

    folder: FacesetFolder
    faces: tuple[RefinedFace, ...]
    """In the order of their names."""
    unreadable: tuple[UnreadableFace, ...]
    dry_run: bool
    completed: bool
    """False where it was stopped: what was done is kept, and the same command does the rest."""

    @cached_property
    def outcomes(self) -> Counter[Outcome]:
        return Counter(one.outcome for one in self.faces)

    @cached_property
    def moved_px(self) -> tuple[float, ...]:
        """How far the faces that move do so, px of their aligned pictures, the least first."""
        return tuple(sorted(one.moved_px or 0.0 for one in self.faces if one.moves))


@dataclass(frozen=True, eq=False)
class _Ready:
    """A face that is ready to be replaced."""

    face: ListedFace
    group: Group


def refine(
    folder: FacesetFolder,
    *,
    backend: Backend | None,
    videos: Sequence[Path] = (),
    moved: Mapping[str, Path] = NOWHERE,
    dry_run: bool = False,
    tone_map: bool = True,
    waiting: Waiting | None = None,
    stop: threading.Event,
    on_progress: OnProgress,
) -> RefineReport:
    """Find the landmarks of every face of `aligned/` again, and cut those anew that gain by it.

    `backend`: None gives every face that was moved the landmarks back that it had before its first move. `videos`: the
    footage; none takes the paths that the manifests beside the faces name, or where footage lies that was `moved` from
    there, by its SHA-256 in hex. `dry_run`: nothing is changed.
    `tone_map`: as in the extraction (ExtractSettings). `waiting`: for what else works on the faceset; DeepFaceLab's
    trainer reads pictures again and again, and what they say of themselves once. Raise InputError for footage that is
    not there or unreadable, FacesetError where nothing says which footage the faces are of or another program works on
    them, OutputError where the disk refuses.
    """
    with sole_user_when_free(folder, None if dry_run else waiting):
        listing = list_faces(folder)
        manifests = _manifests(folder)
        sources, unknown = sources_of(listing.faces, manifests, videos, moved)
        if listing.faces and not sources:
            raise FacesetError(
                f"nothing says which footage the {len(unknown)} faces of {folder.aligned} are of",
                hint="give it with --video FILE",
            )
        require_there(sources)
        work = _Refining(folder, backend, manifests, dry_run, FrameForm(tone_map=tone_map), waiting, stop)
        for one in unknown:
            work.note(one, "no_footage")
        for source in sources:
            if stop.is_set():
                break
            for _ in work.through(source):
                on_progress(len(work.done), len(listing.faces))
        work.end(listing.faces)
        done = [work.done[face.name] for face in listing.faces if face.name in work.done]
        return RefineReport(folder, tuple(done), listing.unreadable, dry_run, not stop.is_set())


class _Refining:
    """One call of `refine`."""

    def __init__(
        self,
        folder: FacesetFolder,
        backend: Backend | None,
        manifests: Mapping[Path, Manifest],
        dry_run: bool,
        form: FrameForm,
        waiting: Waiting | None,
        stop: threading.Event,
    ) -> None:
        self._folder = folder
        self._backend = backend
        self._manifests = manifests
        self._written = {
            face.trace.face_id: (path, face)
            for path, manifest in manifests.items()
            for face in manifest.faces.values()
            if face.trace.face_id
        }
        self._dry_run = dry_run
        self._form = form
        self._until_free = waiting.until_free if waiting is not None else lambda: True
        self._stop = stop
        self._ready: list[_Ready] = []
        self.done: dict[str, RefinedFace] = {}

    def note(self, face: ListedFace, outcome: Outcome, why: str = "") -> None:
        self.done[face.name] = RefinedFace(face.name, face.face_id, outcome, None, why)

    def end(self, faces: Sequence[ListedFace]) -> None:
        """Replace what waits; note the faces of which no frame was found, unless the work was stopped."""
        self._replace()
        for face in faces:
            if face.name not in self.done and not self._stop.is_set():
                self.note(face, "no_footage")

    def through(self, source: FacesOfSource) -> Iterator[None]:
        """Read a source; yield after each of its frames."""
        sha256 = source_sha256(source.source, stop=self._stop)
        waiting = [face for face in source.faces if face.name not in self.done]
        window = None if self._backend is None else FrameWindow(self._backend)
        frames: list[tuple[DecodedFrame, tuple[ListedFace, ...]]] = []
        with open_frames(source.source, form=self._form) as reader:
            faces = FacesByFrame(waiting, sha256, is_video=reader.info.kind == "video")
            for decoded in reader:
                if self._stop.is_set():
                    return
                if window is not None:
                    window.read(decoded)
                frames = [*frames[-2 * NEIGHBOURS :], (decoded, faces.take(decoded))]
                if len(frames) > NEIGHBOURS:
                    self._work_off(window, frames, len(frames) - 1 - NEIGHBOURS)
                yield
                if not faces.left and not any(taken for _, taken in frames[-NEIGHBOURS:]):
                    break
        first = max(0, len(frames) - NEIGHBOURS)
        for place in range(first, len(frames)):
            if not self._stop.is_set():
                self._work_off(window, frames, place)
        yield

    def _work_off(
        self, window: FrameWindow | None, frames: Sequence[tuple[DecodedFrame, tuple[ListedFace, ...]]], place: int
    ) -> None:
        """Judge the faces of one frame, whose neighbours are in the window."""
        decoded, faces = frames[place]
        beside = [
            face
            for number, (other, others) in enumerate(frames)
            if window is not None
            and 0 < abs(number - place) <= NEIGHBOURS
            and window.is_same_shot(decoded.index, other.index)
            for face in others
        ]
        for face in faces:
            try:
                self._judge(window, decoded, face, beside)
            except (FormatError, PictureError) as problem:
                self.note(face, "cannot_be_moved", why=problem.message)
            except OSError as problem:
                self.note(face, "cannot_be_moved", why=problem.strerror or str(problem))
        if len(self._ready) >= TOGETHER:
            self._replace()

    def _judge(
        self, window: FrameWindow | None, decoded: DecodedFrame, face: ListedFace, beside: Sequence[ListedFace]
    ) -> None:
        points = face.metadata.source_landmarks
        if points is None or face.metadata.image_to_face_mat is None:
            self.note(face, "cannot_be_moved", why="the face does not say where in its frame it lies")
            return
        if face.metadata.dfld_face_id is None and not self._is_shown(decoded, face):
            return
        stored = np.asarray(points, np.float64)
        first = landmarks_before(face.metadata)
        start = stored if first is None else first
        if window is None:
            self._take_back(decoded, face, stored, start)
            return
        found = window.find(decoded.index, start, _box(face, start))
        if found is None:
            self.note(face, "not_seen")
            return
        judged = judge(Beside(stored, _of_same_face(stored, beside)), found)
        if judged.moves and not self._dry_run:
            self._prepare(decoded, face, found.own, judged)
        self.done[face.name] = RefinedFace(
            face.name, face.face_id, judged.reason, _moved_px(face, stored, found.own), judged=judged
        )

    def _take_back(self, decoded: DecodedFrame, face: ListedFace, stored: Points, first: Points) -> None:
        if NOTE_KEY not in face.metadata.unknown:
            self.note(face, "never_moved")
            return
        if not self._dry_run:
            self._prepare(decoded, face, first, None)
        self.done[face.name] = RefinedFace(face.name, face.face_id, "taken_back", _moved_px(face, stored, first))

    def _is_shown(self, decoded: DecodedFrame, face: ListedFace) -> bool:
        """Say whether a face without id is what the frame shows; it waits for another one otherwise."""
        data = read_regular(self._folder.aligned / face.name, within=None, max_bytes=FILE_LIMIT_BYTES)
        pixels = decode_picture(data, face.name, _refuse_oversize)
        return shows(decoded.to_frame().pixels, pixels, face.metadata) <= LIKE

    def _prepare(self, decoded: DecodedFrame, face: ListedFace, landmarks: Points, judged: Judgement | None) -> None:
        """Cut a face anew, and keep it with its mask until TOGETHER are ready."""
        path, mask_path = self._folder.aligned / face.name, self._folder.mask_of(face.name)
        data = read_regular(path, within=None, max_bytes=FILE_LIMIT_BYTES)
        try:
            mask = read_regular(mask_path, within=None, max_bytes=FILE_LIMIT_BYTES)
        except FileNotFoundError:
            mask = None
        metadata = read_metadata(data)
        if not np.array_equal(np.asarray(metadata.source_landmarks), np.asarray(face.metadata.source_landmarks)):
            raise FormatError("another program gave it other landmarks meanwhile")
        _, region = crop_of(metadata, landmarks, face.width_px)
        made = realigned(data, mask, decoded.to_frame(region).pixels, landmarks, judged)
        files = [NewFile(path, made.picture, _sha256(data))]
        if mask is not None and made.mask is not None and made.mask != mask:
            files.append(NewFile(mask_path, made.mask, _sha256(mask)))
        self._ready.append(_Ready(face, Group(tuple(files), self._records(face, path, mask_path, made))))

    def _records(self, face: ListedFace, path: Path, mask_path: Path, made: Realigned) -> Mapping[Path, bytes]:
        """Return what a manifest is to say of the new files, where it says that the old ones are as dfld wrote them:
        what a person changed stays a person's."""
        manifest, written = self._written.get(face.metadata.dfld_face_id or "", (None, None))
        if manifest is None or written is None or not is_as_written(path, written.file):
            return {}
        trace = trace_of_jpeg(made.picture)
        if trace is None:
            return {}
        bare = without_own_mask(made.picture)
        file = WrittenFile(written.file.name, _sha256(bare), len(bare), written.file.mtime_ns)
        lines = line_bytes(FaceWritten(WrittenFace(file, written.folder, written.number, trace)))
        if made.mask is not None and written.mask is not None and is_as_written(mask_path, written.mask):
            name = mask_name(written.file.name)
            lines += line_bytes(MaskWritten(WrittenFile(name, _sha256(made.mask), len(made.mask), 0)))
        return {manifest: lines}

    def _replace(self) -> None:
        ready, self._ready = self._ready, []
        if ready and not self._until_free():  # stopped while it waited
            for one in ready:
                del self.done[one.face.name]
            return
        done = replace_files(self._folder, [one.group for one in ready])
        for one, is_done in zip(ready, done, strict=True):
            if not is_done:
                self.note(one.face, "changed_meanwhile")


def _manifests(folder: FacesetFolder) -> dict[Path, Manifest]:
    """Return the manifests of the clips that a faceset holds, by their paths."""
    return {path: manifest_in(path) for path in manifest_paths(folder.parent / "debug").values()}


def values_of(face: RefinedFace) -> dict[str, object]:
    """Return what became of a face, and on what that rests, as plain values."""
    judged = face.judged
    values: dict[str, object] = {"name": face.name, "face_id": face.face_id, "outcome": face.outcome, "why": face.why}
    if judged is None:
        return values
    return values | {
        "moved_px": face.moved_px,
        "neighbours_left_by": [_rounded(judged.left_before), _rounded(judged.left_after)],
        "head_left_by": [_rounded(judged.head_error_before), _rounded(judged.head_error_after)],
    }


def _moved_px(face: ListedFace, before: Points, after: Points) -> float:
    """Return the mean distance between landmarks, px of the aligned picture."""
    assert face.metadata.image_to_face_mat is not None
    return round(float(np.linalg.norm((after - before) @ face.metadata.image_to_face_mat[:, :2].T, axis=1).mean()), 3)


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 5)


def _box(face: ListedFace, landmarks: Points) -> NDArray[np.float64]:
    """Return the detector's box of a face, px of its frame; of one that has none, or none of its own, that of its
    landmarks, grown to the forehead."""
    box = face.metadata.source_rect
    low, high = landmarks.min(axis=0), landmarks.max(axis=0)
    if box is not None:
        left, top, right, bottom = np.asarray(box, np.float64)
        middle = ((left + right) / 2, (top + bottom) / 2)
        if left < right and top < bottom and (low <= middle).all() and (middle <= high).all():
            return np.array([left, top, right, bottom])
    return np.concatenate([low - (high - low) * (0.0, FOREHEAD), high])


def _refuse_oversize(width: int, height: int) -> None:
    if max(width, height) > LARGEST_SIDE_PX:
        raise FormatError(f"announces {width}x{height} px, at most {LARGEST_SIDE_PX} a side are read")


def _of_same_face(landmarks: Points, others: Sequence[ListedFace]) -> tuple[Points, ...]:
    """Return the landmarks that those of other frames' faces had at first which lie where this one does."""
    size, middle = face_size(landmarks), landmarks.mean(axis=0)
    found = [points for one in others if (points := landmarks_before(one.metadata)) is not None]
    return tuple(one for one in found if np.linalg.norm(one.mean(axis=0) - middle) <= size / 2)


def _sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()
