"""The samples of one side, made one after the other from faces on a disk; what can be kept of a face is kept.

A face that cannot be read is named and left out: the next one of those offered takes its place. Used by one thread.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Literal, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.image import read_metadata
from trainer.samples.background import Background, make_background, wants_background
from trainer.samples.exact import exact_sample
from trainer.samples.faces.face_bytes import decode_face, read_face
from trainer.samples.faces.face_list import FileKey, TrainingFace
from trainer.samples.fast import PreparedFace, fast_sample, prepare_face
from trainer.samples.settings import AnySample, Sample, SampleSettings

SamplePath = Literal["fast", "exact"]
"""How samples are made: uint8 by trainer.samples.fast, or float32 by trainer.samples.exact."""
DTYPES: Mapping[SamplePath, np.dtype[np.uint8] | np.dtype[np.float32]] = MappingProxyType(
    {"fast": np.dtype(np.uint8), "exact": np.dtype(np.float32)}
)
_KEPT_BYTES = 256 << 20
"""Of prepared faces: 30 000 at 256 px."""


@dataclass(frozen=True)
class FaceProblem:
    """A face that no sample was made of."""

    name: str
    why: str
    is_gone: bool
    """The file is no longer there as it was listed: the folder changed, nothing is broken."""


@dataclass(frozen=True)
class SampleRequest:
    """One sample to make. Each tuple of faces is tried from its first to its last."""

    seed: int
    faces: tuple[TrainingFace, ...]
    references: tuple[TrainingFace, ...] = ()
    """Of the other side, where colours are transferred."""
    backgrounds: tuple[TrainingFace, ...] = ()


@dataclass(frozen=True, eq=False)
class _ReadFace:
    data: bytes
    pixels: NDArray[np.uint8]
    key: tuple[FileKey, tuple[int, int] | None]


class SampleMaker:
    """Makes the samples of one side."""

    def __init__(
        self, folder: Path, settings: SampleSettings, *, path: SamplePath, reference_folder: Path | None = None
    ) -> None:
        """Make samples of the faces in `folder`, with the colours of faces in `reference_folder`."""
        self._folder, self._reference_folder = folder, reference_folder
        self._settings, self._path = settings, path
        self._draws = np.random.RandomState(0)
        self._prepared: dict[tuple[FileKey, tuple[int, int] | None], PreparedFace] = {}
        self._kept_bytes = 0

    def make(self, request: SampleRequest, out: AnySample) -> tuple[bool, tuple[FaceProblem, ...]]:
        """Write a sample into `out`; return whether there is one, and the faces that could not be used.

        Where none of the faces offered can be read, `out` is not a sample.
        """
        problems: list[FaceProblem] = []
        reference = self._first_pixels(self._reference_folder, request.references, problems)
        background = None
        if self._settings.random_background and wants_background(request.seed):
            behind = self._first_pixels(self._folder, request.backgrounds, problems)
            background = None if behind is None else make_background(behind, self._settings.resolution, request.seed)
        for face in request.faces:
            try:
                self._write(_read(self._folder, face), request.seed, out, reference, background)
            except (FormatError, OSError, cv2.error) as problem:
                problems.append(_described(face, problem))
            else:
                return True, tuple(problems)
        return False, tuple(problems)

    def _write(
        self,
        face: _ReadFace,
        seed: int,
        out: AnySample,
        reference: NDArray[np.uint8] | None,
        background: Background | None,
    ) -> None:
        if self._path == "fast":
            prepared = self._prepared_of(face)
            fast_sample(
                face.pixels,
                prepared,
                self._settings,
                seed,
                cast(Sample[np.uint8], out),
                draws=self._draws,
                reference=reference,
                background=background,
            )
            return
        made = exact_sample(
            face.pixels, read_metadata(face.data), self._settings, seed, reference=reference, background=background
        )
        out.warped[...], out.target[...], out.masks[...] = made.warped, made.target, made.masks

    def _prepared_of(self, face: _ReadFace) -> PreparedFace:
        """Return what is kept of a face; a file that was written anew, with another mask perhaps, is another one."""
        found = self._prepared.get(face.key)
        if found is None:
            found = prepare_face(read_metadata(face.data), face.pixels.shape[0], self._settings)
            self._prepared[face.key] = found
            self._kept_bytes += len(found.packed_masks)
            while self._kept_bytes > _KEPT_BYTES:
                self._kept_bytes -= len(self._prepared.pop(next(iter(self._prepared))).packed_masks)
        return found

    def _first_pixels(
        self, folder: Path | None, faces: Sequence[TrainingFace], problems: list[FaceProblem]
    ) -> NDArray[np.uint8] | None:
        """Return the pixels of the first face that can be read."""
        if folder is None:
            return None
        for face in faces:
            try:
                return _read(folder, face).pixels
            except (FormatError, OSError, cv2.error) as problem:
                problems.append(_described(face, problem))
        return None


def sample_at(samples: AnySample, number: int) -> AnySample:
    """Return one of many samples, as views."""
    return cast(AnySample, Sample(samples.warped[number], samples.target[number], samples.masks[number]))


def _read(folder: Path, face: TrainingFace) -> _ReadFace:
    data, file_key = read_face(folder, face)
    return _ReadFace(data, decode_face(data), (file_key, face.place))


def _described(face: TrainingFace, problem: FormatError | OSError | cv2.error) -> FaceProblem:
    if isinstance(problem, FormatError):
        return FaceProblem(face.name, problem.message, is_gone=False)
    if isinstance(problem, cv2.error):  # landmarks that span far more than the picture, for one
        return FaceProblem(face.name, f"OpenCV can make no sample of it: {problem.err}", is_gone=False)
    return FaceProblem(face.name, problem.strerror or str(problem), isinstance(problem, FileNotFoundError))
