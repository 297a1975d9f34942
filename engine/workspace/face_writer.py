"""Wanted faces -> files, in a few threads: cut out, encode, write. Decides nothing; models are not its business.

Names are given by the caller, so that the order in which threads finish changes nothing.
"""

from __future__ import annotations

import math
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Literal, ParamSpec, Protocol, Self, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.face_id import box_of, face_id
from engine.faces.pose import pose_of_68
from engine.faces.quality import fit_to_train, outside_fraction
from engine.facesets.measures.face_luma import fitted
from engine.facesets.measures.sharpness import measure_sharpness
from engine.masks.hull import HullMasks
from engine.masks.source import FaceToMask, MaskSource, PredictedMask
from engine.same_face import FaceTrace, trace_of
from engine.stopwatch import QueueFill, Stopwatch
from engine.types import AlignedFace, ExtractSettings, Face, Frame
from engine.workspace.align import align_face, encode_face, encode_mask, encode_picture, metadata_of
from engine.workspace.file_names import Layout

Result = TypeVar("Result")
Given = ParamSpec("Given")

THREADS = 2
"""Cutting, encoding and syncing release the interpreter; two threads keep a disk busy beside the models."""
WAITING_MAX = 12
"""Tasks that wait or run: each holds a full frame."""


class ClipResults(Protocol):
    """Where pictures go: engine.results.run_results.Results."""

    def is_decided(self, trace: FaceTrace) -> bool:
        """Say whether a person decided about this face: it is not to be written."""

    def write_face(
        self,
        folder: Literal["aligned", "review"],
        number: int,
        index: int,
        ending: str,
        picture: bytes,
        mask: bytes | None,
        trace: FaceTrace,
    ) -> str | None:
        """Write the `index`-th face of frame `number`; return its name, None where a person changed it meanwhile."""

    def write_frame(self, name: str, content: bytes) -> None:
        """Write a whole frame."""


@dataclass(frozen=True)
class Measured:
    """What was measured of a face that was cut out."""

    yaw_degrees: float
    sharpness: float | None
    """None where the crop leaves too little of the face to measure it."""
    fit_to_train: bool


@dataclass(frozen=True)
class FaceFile:
    """Where a face was written."""

    file: str | None
    """None where it was not fit to train on, and only such faces are wanted, or where a person's decision stands."""
    measured: Measured
    is_manual_change: bool = False
    """A person changed the face meanwhile."""


class FaceWriter:
    """Runs writing tasks in threads; any thread may hand them in. Context manager: leaving it waits for all."""

    def __init__(
        self,
        layout: Layout,
        results: ClipResults,
        settings: ExtractSettings,
        watch: Stopwatch,
        *,
        source_sha256: str,
        threads: int = THREADS,
    ) -> None:
        """`watch` adds up the threads' work; `source_sha256`: what the ids of faces name their source by.

        `threads`: how many write; only tests set it, to show that it changes no file.
        """
        self._layout = layout
        self._results = results
        self._settings = settings
        self._source_sha256 = source_sha256
        self._watch = watch
        self._lock = threading.Lock()
        self._counting = threading.Lock()
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="write")
        self._waiting: deque[Callable[[], object]] = deque()
        """What waits for each task that was handed in."""
        self.fill = QueueFill()
        """How much of the room for faces that wait or are being written is taken."""
        self._unwritten = 0

    def write_face(
        self, frame: Frame, face: Face, landmarks_68: NDArray[np.float32], index: int, *, review: bool
    ) -> Future[FaceFile]:
        """Write a face of a frame as its `index`-th, under aligned/ or review/, with its mask."""
        return self._submit(self._write_face, frame, face, landmarks_68, index, review)

    def is_decided(self, frame: Frame, face: Face, landmarks_68: NDArray[np.float32]) -> bool:
        """Say whether a person decided about this face before: it is not to be written."""
        return self._results.is_decided(self._trace(frame, face, landmarks_68))

    def write_frame(self, frame: Frame) -> None:
        """Write a whole frame for DeepFaceLab's merger."""
        self._submit(self._write_frame, frame)

    def wait(self) -> None:
        """Wait until everything handed in is on disk. Raise what a task raised."""
        with self._lock:
            waiting, self._waiting = self._waiting, deque()
        for done in waiting:
            done()

    def frame_name(self, index: int) -> str:
        """The name that aligned faces carry for the frame that `write_frame` writes."""
        return f"{index:08d}.{self._settings.frame_format}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=kind is not None)

    def _submit(self, task: Callable[Given, Result], *given: Given.args, **named: Given.kwargs) -> Future[Result]:
        with self._lock:  # whoever comes while the queue is full waits too
            while len(self._waiting) >= WAITING_MAX:
                self._waiting.popleft()()
            future = self._pool.submit(task, *given, **named)
            self._waiting.append(future.result)
        self._count(1)
        future.add_done_callback(lambda _: self._count(-1))
        return future

    def _count(self, change: int) -> None:
        with self._counting:
            self._unwritten += change
            self.fill.set(self._unwritten / WAITING_MAX)

    def _write_face(
        self, frame: Frame, face: Face, landmarks_68: NDArray[np.float32], index: int, review: bool
    ) -> FaceFile:
        clock = Stopwatch()
        with clock.stage("align"):
            aligned = align_face(frame, face, landmarks_68, self._settings, face_id=self._id_of(frame, face))
        with clock.stage("measure"):
            measured = _measured(aligned, frame, face)
        if self._settings.only_fit_to_train and not measured.fit_to_train and not review:
            self._watch.add(clock.seconds)
            return FaceFile(None, measured)
        with clock.stage("encode"):
            picture = encode_face(aligned, self._settings)
            mask = encode_mask(_mask_of(aligned, HullMasks()))
        with clock.stage("write files"):
            name = self._results.write_face(
                "review" if review else "aligned",
                frame.index,
                index,
                self._settings.format,
                picture,
                mask,
                self._trace(frame, face, landmarks_68),
            )
        self._watch.add(clock.seconds)
        return FaceFile(name, measured, is_manual_change=name is None)

    def _id_of(self, frame: Frame, face: Face) -> str:
        return face_id(self._source_sha256, frame.index, box_of(face.bbox.tolist()))

    def _trace(self, frame: Frame, face: Face, landmarks_68: NDArray[np.float32]) -> FaceTrace:
        return trace_of(frame.source_filename, face.bbox, landmarks_68, self._id_of(frame, face))

    def _write_frame(self, frame: Frame) -> None:
        assert self._layout.frames is not None
        clock = Stopwatch()
        with clock.stage("write frames"):
            name = self.frame_name(frame.index)
            self._results.write_frame(name, encode_picture(frame.pixels, self._settings.frame_format))
        self._watch.add(clock.seconds)


def _measured(aligned: AlignedFace, frame: Frame, face: Face) -> Measured:
    sharpness = _sharpness_of(aligned)
    height, width = frame.pixels.shape[:2]
    outside = outside_fraction(face.bbox, frame_width=width, frame_height=height)
    fit = fit_to_train(width_px=face.width_px, aligned_sharpness=sharpness, outside=outside)
    return Measured(pose_of_68(aligned.landmarks_aligned_px)[0], sharpness, fit)


def _sharpness_of(aligned: AlignedFace) -> float | None:
    luma = np.asarray(cv2.cvtColor(aligned.pixels, cv2.COLOR_BGR2GRAY), np.uint8)
    found = measure_sharpness(*fitted(luma, aligned.landmarks_aligned_px)).overall
    return found if math.isfinite(found) else None


def _mask_of(aligned: AlignedFace, source: MaskSource) -> NDArray[np.uint8]:
    """Return (S, S) uint8, 255 on the face and 0 elsewhere."""
    (found,) = source.masks([FaceToMask(aligned.pixels, metadata_of(aligned))])
    assert isinstance(found, PredictedMask), found.reason
    return np.where(found.is_face, np.uint8(255), np.uint8(0))
