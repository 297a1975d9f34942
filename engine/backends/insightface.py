"""The insightface backend: any InsightFace pack on ONNX Runtime, on the GPU or the CPU (the recommended one).

SCRFD finds faces with five points, an ArcFace-style network distinguishes them (any embedding size), and the pack's
1k3d68 marks 68 points; packs without one use dlib's 68-point predictor. The detector looks at the image scaled to
fit DETECTION_SIDE_PX, once: the library's own default looks twice. Its scores are 0..1 as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib import metadata
from pathlib import Path
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import BackendInfo
from engine.backends.dlib import landmarks_of, library_versions
from engine.errors import ModelError
from engine.faces.warps import cut, fit_warp, five_of_68, roll_deg
from engine.models.accelerators import (
    accelerator_report,
    available_providers,
    check_device,
    choose_providers,
    naming,
    open_session,
    provider_options,
    runtime_version,
    session_options,
)
from engine.models.arcface import DEFAULT_THRESHOLD, ArcFaceModel, Recogniser, arcface_points, threshold_of
from engine.models.bound_session import BoundSession
from engine.models.detector_session import BatchSession, open_checked
from engine.models.dlib_models import DlibLandmarks
from engine.models.half_precision import choose_precision, judge_embeddings, judge_landmarks
from engine.models.landmarks_3d68 import CROP_PX, Landmarks3d68
from engine.models.model_files import LICENCE_300W, LICENCE_UNKNOWN, describe_model_file, hash_of_model_file
from engine.models.onnx_session import Session
from engine.models.packs import Pack, open_pack, quiet
from engine.types import Face, Image

DEFAULT_PACK = "buffalo_l"
DETECTION_SIDE_PX = 640
"""Longest side at which the detector looks; SCRFD is trained and measured at it, and larger costs by its square."""
STRIDE_PX = 32  # SCRFD's coarsest grid: sides of its input are multiples of it

# Pictures in one run of the detector: a GPU gains little beyond.
DETECTION_BATCH = 16
# SCRFD places its five points badly on a rolled head. Beyond this roll they are taken from the 68 points instead, which
# are predicted upright: median similarity of a dark, rolling head to its references 0.32 -> 0.49, of others unchanged.
ROLL_TO_REFINE_DEG = 12.0


class ScrfdModel(Protocol):
    """What of insightface's SCRFD is used."""

    session: Session
    input_mean: float
    input_std: float
    static_input_size: tuple[int, int] | None

    def detect(
        self, image: Image, *, input_size: tuple[int, int], det_thresh: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]: ...


class InsightFaceBackend:
    """Detect, mark and embed with an InsightFace pack; see the module."""

    def __init__(
        self,
        *,
        model_root: Path | None = None,
        model_pack: str = DEFAULT_PACK,
        device: str = "auto",
        allow_download: bool = True,
        tuned_device: str = "cuda",
    ) -> None:
        """Load a pack, downloading it when it is a known one and missing.

        `tuned_device`: where half precision and bound buffers are tried, and kept if they change no answer; `cpu` is
        for tests of that, since a CPU gains nothing by either; only tests set it.
        Raise ModelError when a file is missing or damaged, or when `device` is "cuda" and CUDA cannot be used.
        """
        providers = choose_providers(device, available_providers())
        pack = open_pack(model_root, model_pack, allow_download=allow_download)
        self._detector = cast(ScrfdModel, _load(pack.detection, providers))
        self._recogniser = Recogniser(cast(ArcFaceModel, _load(pack.recognition, providers)))
        self._marker = None if pack.landmarks_68 is None else _load_marker(pack.landmarks_68, providers)
        self._dlib_marker = DlibLandmarks() if self._marker is None else None
        used = [provider for provider in providers if all(provider in one.get_providers() for one in self._sessions())]
        warnings = check_device(device, providers, used, problem=accelerator_report().problem)
        with naming(pack.detection):
            checked = open_checked(pack.detection, self._detector.session, providers, device=tuned_device)
        self._batches = BatchSession(checked) if checked.order is not None else None
        if self._batches is not None:
            self._detector.session = self._batches
        embedding_size = self._try_out(pack)
        precisions = self._choose_precisions(pack, providers, tuned_device)
        runs = {"detector run": checked.report, **precisions}
        self._info = self._describe(pack, used[0], warnings, embedding_size=embedding_size, runs=runs)

    def _sessions(self) -> list[Session]:
        marker = [] if self._marker is None else [self._marker.session]
        return [self._detector.session, self._recogniser.session, *marker]

    def _choose_precisions(self, pack: Pack, providers: Sequence[str], device: str) -> dict[str, str]:
        """Let recogniser and 68-point model run in half precision where that holds; return what was found."""
        with naming(pack.recognition):
            runs = {
                "recogniser run": choose_precision(
                    self._recogniser,
                    pack.recognition,
                    providers,
                    run=self._recogniser.embed,
                    side_px=self._recogniser.side_px,
                    judge=judge_embeddings,
                    device=device,
                )
            }
        if self._marker is None or pack.landmarks_68 is None:
            return runs
        with naming(pack.landmarks_68):
            runs["landmarks run"] = choose_precision(
                self._marker,
                pack.landmarks_68,
                providers,
                run=self._marker.crop_points,
                side_px=CROP_PX,
                judge=judge_landmarks,
                device=device,
            )
        return runs

    @property
    def info(self) -> BackendInfo:
        """What the backend is made of; what came up since it was opened is among its warnings."""
        given_up = [session.problem for session in self._bound_sessions() if session.problem]
        if not given_up:
            return self._info
        warning = f"I/O binding was given up, which costs speed alone: {'; '.join(sorted(set(given_up)))}"
        return replace(self._info, warnings=(*self._info.warnings, warning))

    def _bound_sessions(self) -> list[BoundSession]:
        sessions = [one.checked.session if isinstance(one, BatchSession) else one for one in self._sessions()]
        return [session for session in sessions if isinstance(session, BoundSession)]

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
        """Given an image, find faces scored at least `min_confidence` (0..1), largest bbox first; see the contract."""
        return self._detect_on(*self._canvas(image, side_px), min_confidence)

    def detect_each(
        self, images: Sequence[Image], *, min_confidence: float = 0.5, side_px: int | None = None
    ) -> list[list[Face]]:
        """Detect in several images, those that need equal canvases in runs of DETECTION_BATCH; see the contract."""
        import cv2

        canvases = [self._canvas(image, side_px) for image in images]
        found: list[list[Face]] = [[] for _ in images]
        for numbers in _batches_of_equal(canvases):
            if self._batches is not None and len(numbers) > 1:
                height, width = canvases[numbers[0]][0].shape[:2]
                mean, spread = self._detector.input_mean, self._detector.input_std
                pictures = [canvases[number][0] for number in numbers]
                blobs = cv2.dnn.blobFromImages(pictures, 1.0 / spread, (width, height), (mean,) * 3, swapRB=True)
                self._batches.prepare(np.asarray(blobs, np.float32))
            for number in numbers:
                found[number] = self._detect_on(*canvases[number], min_confidence)
        return found

    def _canvas(self, image: Image, side_px: int | None) -> tuple[Image, float]:
        return _fit_canvas(image, self._detector.static_input_size, side_px or DETECTION_SIDE_PX)

    def _detect_on(self, canvas: Image, scale: float, min_confidence: float) -> list[Face]:
        size = (canvas.shape[1], canvas.shape[0])
        boxes, points = self._detector.detect(canvas, input_size=size, det_thresh=max(min_confidence, 0.01))
        faces = [
            Face(
                bbox=row[:4] / scale,
                detection_score=min(1.0, float(row[4])),
                landmarks_5=None if points is None else points[index] / scale,
            )
            for index, row in enumerate(boxes)
        ]
        return sorted(faces, key=lambda face: -face.width_px * face.height_px)

    def landmarks_68(self, image: Image, faces: Sequence[Face]) -> NDArray[np.float32]:
        """Given faces of this image, return their 68 iBUG points: (len(faces), 68, 2) px."""
        if self._marker is not None:
            return self._marker.mark(image, faces)
        assert self._dlib_marker is not None
        return landmarks_of(image, faces, self._dlib_marker)

    def recognition_crop(self, image: Image, face: Face) -> Image:
        """Cut the square crop (112 px for ArcFace) that the recogniser reads, turned upright by the five points."""
        size = self._recogniser.side_px
        five = face.landmarks_5
        if five is None or abs(roll_deg(five)) > ROLL_TO_REFINE_DEG:
            five = five_of_68(self.landmarks_68(image, [face])[0])
        return cut(image, fit_warp(five, arcface_points(size)), size)

    def embed(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        """Given recognition crops, return (len(crops), D), unit length, in as few runs as the graph allows."""
        return self._recogniser.embed(crops) if crops else np.zeros((0, self._info.embedding_size), dtype=np.float32)

    def _try_out(self, pack: Pack) -> int:
        """Run every model once, so that one that does not fit is named now; return the size of an embedding."""
        blank = np.zeros((STRIDE_PX, STRIDE_PX, 3), dtype=np.uint8)
        with naming(pack.detection):
            self.detect(blank)
        if pack.landmarks_68 is not None:
            with naming(pack.landmarks_68):
                self.landmarks_68(blank, [Face(np.array([0, 0, STRIDE_PX, STRIDE_PX]), 1.0)])
        with naming(pack.recognition):
            return self._recogniser.try_out()

    def _describe(
        self,
        pack: Pack,
        provider: str,
        warnings: tuple[str, ...],
        *,
        embedding_size: int,
        runs: Mapping[str, str],
    ) -> BackendInfo:
        threshold = threshold_of(pack.recognition)
        if threshold is None:
            warnings += (
                f"recogniser {pack.recognition.name} is not a known one: its threshold is taken as "
                f"{DEFAULT_THRESHOLD:.2f}; check it with `dfld match` on photos of your own",
            )
        models = [describe_model_file(pack.detection, task="detection", licence=pack.licence)]
        if self._dlib_marker is None:
            assert pack.landmarks_68 is not None
            models.append(describe_model_file(pack.landmarks_68, task="landmarks_68", licence=_with_300w(pack.licence)))
        else:
            models.append(self._dlib_marker.model_file)
        models.append(describe_model_file(pack.recognition, task="recognition", licence=pack.licence))
        return BackendInfo(
            name="insightface",
            models=tuple(models),
            recognition_model=f"{pack.recognition.stem}-{hash_of_model_file(pack.recognition)[:8]}",
            embedding_size=embedding_size,
            metric="cosine",
            default_threshold=DEFAULT_THRESHOLD if threshold is None else threshold,
            device=provider,
            detection_side_px=DETECTION_SIDE_PX,
            versions=library_versions(
                {
                    "insightface": metadata.version("insightface"),
                    "onnxruntime": runtime_version(),
                    **runs,
                }
            ),
            warnings=warnings,
        )


def _fit_canvas(image: Image, static: tuple[int, int] | None, side: int) -> tuple[Image, float]:
    """Scale an image into the detector's input, top left, and return it with the scale.

    A graph with free sides gets a canvas no longer than the image needs (640 x 384 for a 16:9 frame, not 640 x 640):
    the same faces for 0.6 of the work.
    """
    import cv2

    height, width = image.shape[:2]
    room_w, room_h = static or (side, side)
    scale = min(room_w / width, room_h / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    if static is None:
        room_w, room_h = (-(-value // STRIDE_PX) * STRIDE_PX for value in size)
    canvas = np.zeros((room_h, room_w, 3), dtype=np.uint8)
    flags = cv2.INTER_AREA if scale < 0.5 else cv2.INTER_LINEAR
    canvas[: size[1], : size[0]] = cv2.resize(image, size, interpolation=flags)
    return canvas, scale


def _batches_of_equal(canvases: Sequence[tuple[Image, float]]) -> list[list[int]]:
    """Group the canvases' numbers by size, at most DETECTION_BATCH in one group."""
    by_size: dict[tuple[int, ...], list[int]] = {}
    for number, (canvas, _) in enumerate(canvases):
        by_size.setdefault(canvas.shape, []).append(number)
    return [
        numbers[start : start + DETECTION_BATCH]
        for numbers in by_size.values()
        for start in range(0, len(numbers), DETECTION_BATCH)
    ]


def _load(path: Path, providers: list[str]) -> object:
    """Open a detector or recogniser with insightface's model zoo. Raise ModelError, naming the file, when it fails."""
    from insightface.model_zoo import model_zoo

    with quiet(), naming(path):
        model = model_zoo.get_model(
            str(path),
            providers=providers,
            provider_options=provider_options(providers),
            sess_options=session_options(),
            static_shape_sessions=False,
        )
    if model is None:
        raise ModelError(f"model file {path} is not a model that insightface knows")
    loaded: object = model
    return loaded


def _load_marker(path: Path, providers: list[str]) -> Landmarks3d68:
    return Landmarks3d68(path, open_session(path, providers))


def _with_300w(licence: str) -> str:
    return LICENCE_300W if licence == LICENCE_UNKNOWN else f"{licence}; {LICENCE_300W}"
