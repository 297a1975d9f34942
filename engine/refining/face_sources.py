"""Which footage each face comes from, and which of its frames shows the face.

dfld's own faces carry an id that is made of the footage's bytes, the frame's number and the detection: where footage
and frame give that id, there is no doubt. Faces that DeepFaceLab extracted have no id; of those the frame must look
like the face where the face says that it was cut out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

import numpy as np

from engine.errors import InputError
from engine.face_id import box_of, face_id, is_sha256
from engine.facesets.face_listing import ListedFace
from engine.frames.contract import DecodedFrame
from engine.results.manifest import Manifest
from engine.results.manifest_lines import RunNote

LIKE = 12.0
"""Mean difference, levels, up to which a face is what its frame shows: a JPEG of quality 90 of an upscaled crop differs
by 1 to 3, the next frame of a talking head by 4, another shot by 40 and more."""


@dataclass(frozen=True)
class FacesOfSource:
    """The faces that may be of one video or folder of images."""

    source: Path
    faces: tuple[ListedFace, ...]


def sources_of(
    faces: Iterable[ListedFace],
    manifests: Mapping[Path, Manifest],
    videos: Sequence[Path],
    moved: Mapping[str, Path],
) -> tuple[tuple[FacesOfSource, ...], tuple[ListedFace, ...]]:
    """Return the faces by the footage that they may be of, and those of which nothing says where they come from.

    `videos`: what the user gave; each is asked for every face then, and the manifests for none. `moved`: where footage
    lies that was moved since, by its SHA-256 in hex.
    """
    listed = tuple(faces)
    if videos:
        return tuple(FacesOfSource(video, listed) for video in videos), ()
    source_by_id = {
        face.trace.face_id: _place_now(manifest.run, moved)
        for manifest in manifests.values()
        if manifest.run is not None
        for face in manifest.faces.values()
        if face.trace.face_id
    }
    by_source: dict[Path, list[ListedFace]] = {}
    unknown: list[ListedFace] = []
    for face in listed:
        source = source_by_id.get(face.face_id)
        if source is None:
            unknown.append(face)
        else:
            by_source.setdefault(source, []).append(face)
    return tuple(FacesOfSource(source, tuple(found)) for source, found in by_source.items()), tuple(unknown)


def _place_now(run: RunNote, moved: Mapping[str, Path]) -> Path:
    """Return where the footage of a run lies: where it was, else where it was moved to."""
    source = Path(run.source)
    return source if source.exists() else moved.get(run.content, source)


def require_there(sources: Iterable[FacesOfSource]) -> None:
    """Raise InputError where footage is not where it was when its faces were extracted."""
    for one in sources:
        if not one.source.exists():
            raise InputError(
                f"{one.source}, from which {len(one.faces)} faces were extracted, is not there any more",
                hint="give it with --video FILE, wherever it lies now",
            )


class FacesByFrame:
    """The faces of one source, by what their frame may be called; each is handed out once."""

    def __init__(self, faces: Iterable[ListedFace], source_sha256: str, *, is_video: bool) -> None:
        self._sha256 = source_sha256
        self._is_video = is_video
        self._by_stem: dict[str, list[ListedFace]] = {}
        for face in faces:
            name = face.metadata.source_filename
            if name is not None:
                self._by_stem.setdefault(PurePath(name).stem, []).append(face)

    @property
    def left(self) -> tuple[ListedFace, ...]:
        """Faces of which no frame was found so far."""
        return tuple(face for faces in self._by_stem.values() for face in faces)

    def take(self, decoded: DecodedFrame) -> tuple[ListedFace, ...]:
        """Return the faces that a frame shows: those whose id says so, and those without an id that may be of it."""
        taken: list[ListedFace] = []
        for stem, has_id in self._names(decoded):
            waiting = self._by_stem.get(stem, [])
            mine = [face for face in waiting if has_id in (None, _has_id(face)) and self._may_show(decoded, face)]
            taken += mine
            left = [face for face in waiting if face not in mine]
            if left:
                self._by_stem[stem] = left
            else:
                self._by_stem.pop(stem, None)
        return tuple(taken)

    def _names(self, decoded: DecodedFrame) -> Iterator[tuple[str, bool | None]]:
        """Yield what faces may call a frame, each with whether such faces have an id; None: either."""
        stem, number = PurePath(decoded.source_filename).stem, f"{decoded.index:08d}"
        yield stem, None
        if number != stem:
            yield number, True  # dfld's name for a frame that it wrote for the merger
        if self._is_video:
            yield f"{decoded.index + 1:05d}", False  # DeepFaceLab's, which counts from 1

    def _may_show(self, decoded: DecodedFrame, face: ListedFace) -> bool:
        box = face.metadata.source_rect
        if not _has_id(face):
            return True
        if box is None or not is_sha256(self._sha256):
            return False
        return face_id(self._sha256, decoded.index, box_of(np.asarray(box).tolist())) == face.metadata.dfld_face_id


def _has_id(face: ListedFace) -> bool:
    return face.metadata.dfld_face_id is not None
