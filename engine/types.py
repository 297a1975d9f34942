"""The values that flow through the engine, from a frame to a written face.

Frozen dataclasses; a later stage makes a new type. Arrays are made read-only and their shapes are checked at
birth, so that a wrong one is found where it was made. Coordinates: x right, y down, (0, 0) = the centre of the
top-left pixel of the image that the name says (`_frame_px`: the source frame; `_aligned_px`: the aligned image).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import ArrayLike, NDArray

from engine.errors import SettingsError
from engine.face_record import FaceRecord

Scalar = TypeVar("Scalar", bound=np.generic)
Image = NDArray[np.uint8]
Points = NDArray[np.float32]
Embedding = NDArray[np.float32]

FaceType = Literal["half_face", "midfull_face", "full_face", "whole_face", "head"]
OutputFormat = Literal["jpg", "png"]
Metric = Literal["cosine", "one_minus_distance"]

FACE_TYPE_PADDINGS: Mapping[FaceType, float] = {
    "half_face": 0.0,
    "midfull_face": 0.0675,
    "full_face": 0.2109375,
    "whole_face": 0.40,
    "head": 0.70,
}
"""DeepFaceLab's padding of each face type that its trainer knows (LandmarksProcessor)."""


def frozen_array(value: ArrayLike, dtype: type[Scalar], shape: tuple[int | None, ...], name: str) -> NDArray[Scalar]:
    """Return `value` as a read-only array of `dtype`; raise ValueError unless its shape matches (None = any)."""
    array = np.ascontiguousarray(value, dtype=dtype)
    if array.ndim != len(shape) or any(
        want is not None and want != have for want, have in zip(shape, array.shape, strict=True)
    ):
        raise ValueError(f"{name} has shape {array.shape}, expected {shape}")
    if array is value or array.base is not None:
        array = array.view()
    array.flags.writeable = False
    return array


@dataclass(frozen=True, eq=False)
class Frame:
    """One decoded picture of a video or image folder."""

    index: int
    """0-based position in decoding order, damaged frames included: stable across runs and resumes."""
    pts: int | None
    """Presentation time in `time_base` units, exact for variable frame rates; None where the file has none."""
    time_base: Fraction
    pixels: Image
    """(H, W, 3) uint8 BGR, container rotation applied."""
    source_filename: str
    """What DeepFaceLab joins aligned faces with: `<index:08d>.png` for videos, the file's name for folders."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "pixels", frozen_array(self.pixels, np.uint8, (None, None, 3), "frame pixels"))


@dataclass(frozen=True, eq=False)
class Face:
    """One detected face, in frame px."""

    bbox: NDArray[np.float32]
    """(4,) x1, y1, x2, y2; may reach over the frame's edge."""
    detection_score: float
    """0..1; the detector's own score, which each backend maps onto this scale (its docstring says how)."""
    landmarks_5: Points | None = None
    """(5, 2) eye, eye, nose tip, mouth corner, mouth corner (image left first); None where the detector has none."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "bbox", frozen_array(self.bbox, np.float32, (4,), "bbox"))
        if self.landmarks_5 is not None:
            object.__setattr__(self, "landmarks_5", frozen_array(self.landmarks_5, np.float32, (5, 2), "landmarks_5"))

    @property
    def width_px(self) -> float:
        return float(self.bbox[2] - self.bbox[0])

    @property
    def height_px(self) -> float:
        return float(self.bbox[3] - self.bbox[1])


@dataclass(frozen=True, eq=False)
class Identity:
    """A person, as the reference photos show them to one backend."""

    name: str
    backend: str
    model: str
    """`BackendInfo.recognition_model` of the backend that made the embeddings; others are not comparable."""
    metric: Metric
    embeddings: NDArray[np.float32]
    """(N, D), one row a used photo, as the backend returns them."""
    mean: NDArray[np.float32]
    """(D,) mean of the rows; unit length where the metric is cosine."""
    photos: tuple[str, ...]
    """Names of the used photos, one a row."""
    centres: NDArray[np.float32] | None = None
    """(K, D) centres of the photos' clusters by pose and age, K >= 1; left out, the mean is the only one."""
    blank: NDArray[np.float32] | None = None
    """(D,) what the recogniser makes of a face with nothing left to recognise; None where it was not measured."""
    blank_range: tuple[float, float] = (0.0, 1.0)
    """Similarity to `blank` of these clear photos, and of photos with nothing left to recognise."""
    negatives: NDArray[np.float32] | None = None
    """(M, D) people who are not this person, one row a photo."""
    other_age: NDArray[np.float32] | None = None
    """(L, D) this person at the age that is not wanted, one row a photo."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "embeddings", frozen_array(self.embeddings, np.float32, (None, None), "embeddings"))
        size = self.embeddings.shape[1]
        object.__setattr__(self, "mean", frozen_array(self.mean, np.float32, (size,), "mean"))
        if self.centres is None:
            object.__setattr__(self, "centres", self.mean[None, :])
        for name, shape in (
            ("centres", (None, size)),
            ("blank", (size,)),
            ("negatives", (None, size)),
            ("other_age", (None, size)),
        ):
            if getattr(self, name) is not None:
                object.__setattr__(self, name, frozen_array(getattr(self, name), np.float32, shape, name))
        if len(self.photos) != len(self.embeddings) or not len(self.embeddings):
            raise ValueError(f"{len(self.photos)} photo names for {len(self.embeddings)} embeddings")


@dataclass(frozen=True)
class ExtractSettings:
    """What `dfld extract` and `[inbox.extract]` can set; same names in both."""

    similarity_threshold: float | None = None
    """Raw similarity from which a face is accepted; None ("auto") = the backend's own default."""
    min_confidence: float = 0.5
    """Detections scored lower are dropped; 0..1, each backend maps its own scale onto it."""
    frame_skip: int = 0
    """Frames left out after each one looked at; 0 looks at every frame."""
    face_type: FaceType | None = None
    """What DeepFaceLab calls the crop; None = the one of `margin_factor`, whole_face where neither is set."""
    margin_factor: float | None = None
    """DeepFaceLab's padding round the face; None = the one of `face_type`. Other values than those of
    `FACE_TYPE_PADDINGS` need `plain_crop`."""
    output_size: int = 512
    """Side of the aligned image in px."""
    max_faces_per_frame: int = 0
    """At most so many accepted faces of one frame are kept, most similar first; 0 = no limit."""
    keep: Literal["all", "varied"] = "all"
    """varied: of faces that show the same, the sharpest alone is kept; the log lists what was dropped."""
    only_fit_to_train: bool = False
    """Keep only faces that are large, sharp and whole enough to train on; the log lists what was dropped."""
    format: OutputFormat = "jpg"
    """png is for other tools: DeepFaceLab reads its metadata from jpg alone."""
    jpeg_quality: int = 95
    """Of aligned images, 1 to 100."""
    plain_crop: bool = False
    """Write crops with any margin and without DeepFaceLab metadata."""
    tone_map: bool = True
    """Show HDR video (PQ, HLG) as an SDR screen does; false takes its values as they are, which makes faces flat and
    dull."""
    frame_format: OutputFormat = "png"
    """How role dst writes whole frames: png is lossless, jpg five to ten times smaller."""

    def __post_init__(self) -> None:
        def require(ok: bool, key: str, expected: str) -> None:
            if not ok:
                raise SettingsError(f"{key} is {getattr(self, key)!r}, expected {expected}")

        limit = self.similarity_threshold
        require(limit is None or 0.3 <= limit <= 0.95, "similarity_threshold", '"auto" or 0.3 to 0.95')
        require(0.0 <= self.min_confidence <= 1.0, "min_confidence", "0 to 1")
        require(0 <= self.frame_skip <= 10_000, "frame_skip", "0 to 10000")
        require(self.face_type in (None, *FACE_TYPE_PADDINGS), "face_type", " | ".join(FACE_TYPE_PADDINGS))
        require(self.margin_factor is None or 0.0 <= self.margin_factor <= 2.0, "margin_factor", "0 to 2")
        require(64 <= self.output_size <= 2048, "output_size", "64 to 2048 px")
        require(self.max_faces_per_frame >= 0, "max_faces_per_frame", "0 (no limit) or more")
        require(self.keep in ("all", "varied"), "keep", "all or varied")
        require(self.format in ("jpg", "png"), "format", "jpg or png")
        require(1 <= self.jpeg_quality <= 100, "jpeg_quality", "1 to 100")
        require(self.frame_format in ("jpg", "png"), "frame_format", "jpg or png")
        self._require_one_crop()

    def _require_one_crop(self) -> None:
        margin, face_type = self.margin_factor, self.face_type
        if self.plain_crop or margin is None:
            return
        padding_names = {padding: name for name, padding in FACE_TYPE_PADDINGS.items()}
        if margin not in padding_names:
            raise SettingsError(
                f"margin_factor {margin:g} is none of DeepFaceLab's face types "
                f"({', '.join(f'{padding:g} = {name}' for padding, name in padding_names.items())})",
                hint="take one of these, or --plain-crop (plain_crop = true) to write crops with this margin "
                "that DeepFaceLab cannot train on: they carry no DeepFaceLab metadata",
            )
        if face_type is not None and padding_names[margin] != face_type:
            raise SettingsError(
                f"margin_factor {margin:g} is face type {padding_names[margin]}, but face_type is {face_type}",
                hint="give one of the two",
            )

    @property
    def crop_face_type(self) -> FaceType | None:
        """The face type that is written; None for a plain crop."""
        if self.plain_crop:
            return None
        if self.margin_factor is None:
            return self.face_type or "whole_face"
        return next(name for name, padding in FACE_TYPE_PADDINGS.items() if padding == self.margin_factor)

    @property
    def crop_margin(self) -> float:
        """DeepFaceLab's padding p of the crop: its side is 1 + 2·√2·p times the face square."""
        if self.margin_factor is not None:
            return self.margin_factor
        return FACE_TYPE_PADDINGS[self.face_type or "whole_face"]


@dataclass(frozen=True, eq=False)
class AlignedFace:
    """A face cut out of its frame, ready to be written for DeepFaceLab."""

    pixels: Image
    """(S, S, 3) uint8 BGR."""
    face_type: FaceType | None
    """None for a plain crop, which carries no DeepFaceLab metadata."""
    landmarks_aligned_px: NDArray[np.float64]
    """(68, 2), may lie outside the image."""
    landmarks_frame_px: NDArray[np.float64]
    image_to_face_mat: NDArray[np.float64]
    """(2, 3) affine, frame px -> aligned px."""
    source_rect: NDArray[np.int64]
    """(4,) the detection's bbox, rounded to whole frame px."""
    source_filename: str
    face_id: str
    """See engine.face_id."""

    def __post_init__(self) -> None:
        for name, dtype, shape in (
            ("pixels", np.uint8, (None, None, 3)),
            ("landmarks_aligned_px", np.float64, (68, 2)),
            ("landmarks_frame_px", np.float64, (68, 2)),
            ("image_to_face_mat", np.float64, (2, 3)),
            ("source_rect", np.int64, (4,)),
        ):
            object.__setattr__(self, name, frozen_array(getattr(self, name), dtype, shape, name))


@dataclass(frozen=True)
class Cursor:
    """Where work on a video goes on: everything before it is written and need not be looked at again."""

    next_frame: int
    """Index of the first frame not yet worked off."""
    last_pts: int | None
    """pts of frame `next_frame - 1`, by which the decoder finds its place again; None where it has none."""


@dataclass(frozen=True)
class Counts:
    """Running totals of one video."""

    frames_decoded: int = 0
    frames_examined: int = 0
    packets_damaged: int = 0


@dataclass(frozen=True)
class Commit:
    """One finished piece of work (a shot or a window of one): its faces are on disk, synced and named for good.

    Who stores `cursor`, `records`, `counts` and `carry` of the last commit in one transaction can hand them back
    as `Resume` after a crash and gets the same output as an undisturbed run.
    """

    cursor: Cursor
    records: tuple[FaceRecord, ...]
    """The faces of this piece alone."""
    counts: Counts
    """Totals from the start of the video."""
    carry: str = ""
    """State that the next piece needs (JSON, opaque to the caller)."""
    revised: tuple[tuple[int, FaceRecord], ...] = ()
    """What the end of the clip made of faces that earlier commits held: the place of each among all records so far,
    counted from 0, and its record now."""


@dataclass(frozen=True)
class Resume:
    """What earlier commits of the same video, identity and settings left."""

    cursor: Cursor
    records: tuple[FaceRecord, ...]
    """Every face of every earlier commit, in order, as it was last revised."""
    counts: Counts
    carry: str = ""


@dataclass(frozen=True)
class Progress:
    """How far the work on one video is; sent a few times a second."""

    frames_done: int
    frames_total: int | None
    faces_kept: int
    faces_rejected: int
    stage_seconds: Mapping[str, float]
    queue_seconds: Mapping[str, float] = field(default_factory=dict)
    """Of each queue between stages: the fraction of its room that was taken, times the seconds it was taken for."""
    faces_undecided: int = 0
    """Faces seen in what is not committed yet. Looks lie frames apart: the commit counts those between them as well."""


Word = Literal["whole", "lost footage", "still growing", "other content"]


@dataclass(frozen=True)
class SourceVerdict:
    """The verdict, why, and how much is missing."""

    word: Word
    why: str = ""
    """The rest of a sentence that begins with the file; "" for a whole one."""
    missing_s: float | None = None
    """Of lost footage, s; None where it cannot be said."""
    missing_share: float | None = None
    """Of lost footage, 0 to 1 of what there should be; None where it cannot be said."""
    unread: tuple[str, ...] = ()
    """Why a whole source may be moved and not deleted, as in `Evidence`."""

    @property
    def sentence(self) -> str:
        """Return the verdict as one sentence without its subject: `lost footage: it …; 3.2 s, 40.0% …`."""
        if self.word != "lost footage":
            return f"{self.word}: {self.why}" if self.why else self.word
        amounts = [] if self.missing_s is None else [f"{self.missing_s:.1f} s"]
        amounts += [] if self.missing_share is None else [f"{self.missing_share:.1%}"]
        amount = f"{', '.join(amounts)} of it is missing" if amounts else "how much is missing is not known"
        return f"lost footage: {self.why}; {amount}"


WHOLE = SourceVerdict("whole")


@dataclass(frozen=True)
class ExtractReport:
    """The outcome of one video or image folder."""

    source: Path
    workspace: Path
    frames_total: int | None
    """What the container says; None where it does not know."""
    frames_decoded: int
    frames_examined: int
    packets_damaged: int
    faces_found: int
    faces_kept: int
    reasons: Mapping[str, int]
    """How many faces ended with each reason."""
    stage_seconds: Mapping[str, float]
    log_path: Path
    preview_path: Path | None
    warnings: tuple[str, ...] = field(default=())
    queue_fill: Mapping[str, float] = field(default_factory=dict)
    """Mean fraction taken of the queues of frames that are `decoded` ahead and of `faces` waiting to be written."""
    completed: bool = True
    """False when the work was stopped from outside; it can go on at the cursor."""
    verdict: SourceVerdict = WHOLE
    faces_in_review: int = 0
    """Faces in review/, which wait for a person's look."""
    """Was the source read whole? Says nothing before the work is completed."""
