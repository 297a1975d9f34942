"""Aligned face images: DeepFaceLab's metadata inside a JPEG, read and written as bytes.

    JPEG: SOI, APPn..., APP15 = one pickled dict, DQT, SOF0, DHT, SOS, EOI

Keys of the dict are those of `AlignedMetadata`; a key whose value is None is not written. `dfld_face_id` is dfld's own:
DeepFaceLab keeps a key that it does not know, and so does dfld. Files DeepFaceLab reads end in exactly `.jpg`. Pure: no
file is opened. Source: DeepFaceLab commit 46fc239, DFLIMG/DFLJPG.py.

Spaces: "frame px" are pixels of the source frame, "aligned px" those of this image.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TypeVar, cast

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError, shown
from dfl.face_tables import FACE_TYPES
from dfl.geometry import LANDMARK_COUNT
from dfl.jpeg import PAYLOAD_LIMIT_BYTES, read_app15, with_app15
from dfl.pickles.dumping import dump_for_dfl
from dfl.pickles.loading import PickleLimits, load_closed
from dfl.pickles.numpy_values import NUMPY_NAMES

DEFAULT_FACE_TYPE = "full_face"
"""What an image without the key is."""
DEFAULT_EYEBROWS_EXPAND_MOD = 1.0
METADATA_PROTOCOL = 3
"""What DeepFaceLab's own Python 3.6 and 3.7 write."""
METADATA_LIMITS = PickleLimits(size_bytes=PAYLOAD_LIMIT_BYTES, opcodes=100_000, depth=10, expanded_bytes=4 << 20)
_COORDINATE_LIMIT_PX = 1e7
"""Larger coordinates are no face; they would only overflow later."""
_UNCROPPED = "mark_only"
_FACE_ID = re.compile("[0-9a-f]{32}")
_Number = TypeVar("_Number", bound=np.generic)


@dataclass(frozen=True, eq=False)
class MaskPolygon:
    """One hand-drawn XSeg label."""

    include: bool
    """True: inside belongs to the face (DeepFaceLab's type 1); False: inside does not (type 0)."""
    points: NDArray[np.float32]
    """(N, 2) aligned px."""


@dataclass(frozen=True, eq=False)
class AlignedMetadata:
    """What DeepFaceLab knows about an aligned image. Arrays are read-only; fields are named as its keys."""

    face_type: str
    """A name of dfl.face_tables.FACE_TYPES."""
    landmarks: NDArray[np.float64]
    """(68, 2) aligned px; may lie outside the image."""
    source_filename: str | None = None
    """Base name of the frame with its extension; DeepFaceLab joins by the stem. Untrusted text when read."""
    source_rect: NDArray[np.int64] | None = None
    """(4,) left, top, right, bottom of the detection, frame px."""
    source_landmarks: NDArray[np.float64] | None = None
    """(68, 2) frame px."""
    image_to_face_mat: NDArray[np.float64] | None = None
    """(2, 3) frame px -> aligned px; None for mark_only."""
    eyebrows_expand_mod: float = DEFAULT_EYEBROWS_EXPAND_MOD
    """Factor for the eyebrows of the hull mask."""
    seg_ie_polys: tuple[MaskPolygon, ...] = ()
    xseg_mask: bytes | None = None
    """An encoded image file; see dfl.xseg_mask."""
    dfld_face_id: str | None = None
    """Which face this is, 32 hexadecimal digits; what else stands under the key is kept among the unknown."""
    unknown: Mapping[str, object] = field(default_factory=lambda: MappingProxyType({}))
    """Keys this version of dfld does not know, kept as they were."""

    def __post_init__(self) -> None:
        if self.face_type not in FACE_TYPES:
            raise FormatError(f"face type {self.face_type!r} is unknown; there are {', '.join(FACE_TYPES)}")
        for name, dtype, shape in _ARRAY_FIELDS:
            value = getattr(self, name)
            if value is not None:
                object.__setattr__(self, name, _numbers(value, dtype, shape, name))


KEYS = frozenset(AlignedMetadata.__dataclass_fields__) - {"unknown"}
"""What DeepFaceLab's metadata dict may hold."""
_ARRAY_FIELDS: tuple[tuple[str, type[np.generic], tuple[int, ...]], ...] = (
    ("landmarks", np.float64, (LANDMARK_COUNT, 2)),
    ("source_landmarks", np.float64, (LANDMARK_COUNT, 2)),
    ("source_rect", np.int64, (4,)),
    ("image_to_face_mat", np.float64, (2, 3)),
)


def read_metadata(data: bytes) -> AlignedMetadata:
    """Given an aligned JPEG, return its metadata. Raise FormatError when it has none, or for anything untrusted in it.

    The pickle is read by a closed list: numpy arrays and plain data, nothing else.
    """
    return metadata_of_fields(read_fields(data))


def read_fields(data: bytes) -> dict[str, object]:
    """Given an aligned JPEG, return its metadata dict exactly as it is stored. Raise FormatError as `read_metadata`."""
    payload = read_app15(data)
    if payload is None:
        raise FormatError("the JPEG has no DeepFaceLab metadata (no APP15 segment)")
    fields = load_closed(payload, allowed=NUMPY_NAMES, limits=METADATA_LIMITS)
    if type(fields) is not dict or not fields:
        raise FormatError(f"DeepFaceLab metadata is {shown(fields)}, expected a dict with keys")
    return fields


def with_metadata(data: bytes, metadata: AlignedMetadata) -> bytes:
    """Given a JPEG, return it with this metadata in place of any it had; pixels and other segments stay as they are.

    Raise FormatError when the metadata takes more than 65533 bytes or the JPEG is none that DeepFaceLab reads.
    """
    return with_app15(data, dump_for_dfl(fields_of_metadata(metadata), protocol=METADATA_PROTOCOL))


def encode_aligned_jpeg(pixels: NDArray[np.uint8], metadata: AlignedMetadata, quality: int) -> bytes:
    """Given an (S, S, 3) uint8 BGR image and its metadata, return the bytes of the JPEG file.

    Baseline, without restart markers. `quality` is 1 to 100. A mark_only image need not be square.
    """
    height, width, channels = pixels.shape if pixels.ndim == 3 else (0, 0, 0)
    if pixels.dtype != np.uint8 or channels != 3 or (height != width and metadata.face_type != _UNCROPPED):
        raise FormatError(f"an aligned image has shape {pixels.shape} {pixels.dtype}, expected (S, S, 3) uint8")
    options = (
        (cv2.IMWRITE_JPEG_QUALITY, quality),
        (cv2.IMWRITE_JPEG_PROGRESSIVE, 0),
        (cv2.IMWRITE_JPEG_OPTIMIZE, 0),
        (cv2.IMWRITE_JPEG_RST_INTERVAL, 0),
    )
    encoded, buffer = cv2.imencode(".jpg", pixels, [number for option in options for number in option])
    if not encoded:
        raise FormatError(f"OpenCV could not encode an image of shape {pixels.shape} as JPEG")
    return with_metadata(buffer.tobytes(), metadata)


def fields_of_metadata(metadata: AlignedMetadata) -> dict[str, object]:
    """Given metadata, return the dict DeepFaceLab stores, in its types and order."""
    rect, mat, source_landmarks = metadata.source_rect, metadata.image_to_face_mat, metadata.source_landmarks
    expand = metadata.eyebrows_expand_mod
    fields: dict[str, object] = {
        "face_type": metadata.face_type,
        "landmarks": metadata.landmarks.tolist(),
        "source_filename": metadata.source_filename,
        # An array, never a list: two of DeepFaceLab's sorters index it with an index list.
        "source_rect": rect,
        "source_landmarks": None if source_landmarks is None else source_landmarks.tolist(),
        "image_to_face_mat": mat,
        "eyebrows_expand_mod": None if expand == DEFAULT_EYEBROWS_EXPAND_MOD else expand,
        "seg_ie_polys": fields_of_polygons(metadata.seg_ie_polys) if metadata.seg_ie_polys else None,
        "xseg_mask": None if metadata.xseg_mask is None else array_of_bytes(metadata.xseg_mask),
        "dfld_face_id": metadata.dfld_face_id,
        **metadata.unknown,
    }
    return {key: value for key, value in fields.items() if value is not None}


def metadata_of_fields(fields: Mapping[str, object]) -> AlignedMetadata:
    """Given DeepFaceLab's dict, return the metadata; every field is checked. Raise FormatError naming the bad one."""
    known = {key: value for key, value in fields.items() if key in KEYS}
    face_id = _face_id(known.get("dfld_face_id"))
    if face_id is None:
        known.pop("dfld_face_id", None)
    if known.get("landmarks") is None:
        raise FormatError("DeepFaceLab metadata has no landmarks, which its trainer needs")
    expand = known.get("eyebrows_expand_mod", DEFAULT_EYEBROWS_EXPAND_MOD)
    if not isinstance(expand, (int, float, np.number)) or not abs(float(expand)) <= _COORDINATE_LIMIT_PX:
        raise FormatError(f"metadata eyebrows_expand_mod is {shown(expand)}, expected a number")
    return AlignedMetadata(
        face_type=_text(known, "face_type", DEFAULT_FACE_TYPE).lower(),
        # AlignedMetadata checks its arrays itself.
        landmarks=cast(NDArray[np.float64], known["landmarks"]),
        source_filename=_text(known, "source_filename", "") or None,
        source_rect=cast(NDArray[np.int64] | None, known.get("source_rect")),
        source_landmarks=cast(NDArray[np.float64] | None, known.get("source_landmarks")),
        image_to_face_mat=cast(NDArray[np.float64] | None, known.get("image_to_face_mat")),
        eyebrows_expand_mod=float(expand),
        seg_ie_polys=polygons_of_fields(known.get("seg_ie_polys")),
        xseg_mask=None if known.get("xseg_mask") is None else bytes_of_array(known["xseg_mask"]),
        dfld_face_id=face_id,
        unknown=MappingProxyType({key: value for key, value in fields.items() if key not in known}),
    )


def fields_of_polygons(polygons: tuple[MaskPolygon, ...]) -> dict[str, object]:
    """Given polygons, return the dict DeepFaceLab stores them as."""
    return {"polys": [{"type": int(polygon.include), "pts": polygon.points} for polygon in polygons]}


def polygons_of_fields(stored: object) -> tuple[MaskPolygon, ...]:
    """Given what DeepFaceLab stores under seg_ie_polys, the older list of (type, points) too, return the polygons."""
    entries = stored.get("polys") if type(stored) is dict else stored
    if entries is None:
        return ()
    if type(entries) is not list:
        raise FormatError(f"metadata seg_ie_polys is {shown(stored)}, expected a list of polygons")
    return tuple(_polygon(entry) for entry in entries)


def _polygon(entry: object) -> MaskPolygon:
    if type(entry) is dict:
        entry = (entry.get("type"), entry.get("pts"))
    kind, points = entry if isinstance(entry, tuple | list) and len(entry) == 2 else (None, None)
    if type(kind) is not int or kind not in (0, 1):
        raise FormatError(f"metadata seg_ie_polys holds {shown(entry)}, expected type 0 or 1 and points")
    count = len(points) if type(points) is list or (isinstance(points, np.ndarray) and points.ndim) else 0
    if not count:
        return MaskPolygon(bool(kind), np.zeros((0, 2), np.float32))
    return MaskPolygon(bool(kind), _numbers(points, np.float32, (count, 2), "seg_ie_polys"))


def array_of_bytes(encoded: bytes) -> NDArray[np.uint8]:
    """Given an encoded image file, return the (N, 1) uint8 array DeepFaceLab stores it as."""
    return np.frombuffer(encoded, np.uint8).reshape(-1, 1)


def bytes_of_array(stored: object) -> bytes:
    """Given the (N,) or (N, 1) uint8 array DeepFaceLab stores an encoded image file as, return the file's bytes."""
    if not isinstance(stored, np.ndarray) or stored.dtype != np.uint8 or stored.size != max(stored.shape, default=0):
        raise FormatError(f"metadata xseg_mask is {shown(stored)}, expected a row of uint8")
    return stored.tobytes()


def _face_id(value: object) -> str | None:
    return value if isinstance(value, str) and _FACE_ID.fullmatch(value) else None


def _text(fields: Mapping[str, object], key: str, default: str) -> str:
    value = fields.get(key)
    if value is None:
        return default
    if type(value) is not str:
        raise FormatError(f"metadata {key} is {shown(value)}, expected text")
    return value


def _numbers(value: object, dtype: type[_Number], shape: tuple[int, ...], name: str) -> NDArray[_Number]:
    """Return `value` as a read-only array of its own; raise FormatError unless it has this shape and is finite."""
    try:
        array = np.array(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as failure:
        raise FormatError(f"metadata {name} is {shown(value)}, expected numbers of shape {shape}") from failure
    if array.shape != shape or not (np.abs(array) <= _COORDINATE_LIMIT_PX).all():
        raise FormatError(f"metadata {name} is {shown(value)}, expected finite numbers of shape {shape}")
    numbers = (np.rint(array) if issubclass(dtype, np.integer) else array).astype(dtype)
    numbers.flags.writeable = False
    return numbers
