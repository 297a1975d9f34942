"""An aligned face cut anew from its frame by other landmarks: picture, metadata, masks. Bytes in, bytes out.

Everything that somebody drew or predicted in the old crop is carried into the new one by the map old aligned px → frame
px → new aligned px: DeepFaceLab's mask, polygons, and the mask beside the face. A mask beside the face that is the hull
of the old landmarks becomes the hull of the new ones. The id stays, and so does every key that is not known here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.errors import FormatError
from dfl.geometry import face_mat, invert_mat, transform_points, warp_face
from dfl.hull import hull_mask
from dfl.image import AlignedMetadata, MaskPolygon, encode_aligned_jpeg, read_metadata
from dfl.jpeg import list_segments, read_size
from dfl.xseg_mask import FACE_FROM, decode_xseg_mask, encode_xseg_mask
from engine.frames.contract import Region
from engine.masks.write_mask import NOTE_KEY as MASK_NOTE_KEY
from engine.refining.agreement import Judgement, Points
from engine.types import Image
from engine.workspace.align import WARP_REACH_PX, encode_mask

NOTE_KEY = "dfld_refined"
"""Of the metadata: what a face was before. DeepFaceLab does not know the key, and keeps it."""
DEFAULT_QUALITY = 95
"""Of a JPEG whose tables are not those of any quality, as Photoshop's."""
COORDINATE_MAX_PX = 1e7
"""As dfl.image reads landmarks; what lies further away is no face."""
_DQT = 0xDB
_MASK_SIDE_MAX_PX = 4096
_PNG_START = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True)
class Realigned:
    """The files of a face after its move."""

    picture: bytes
    mask: bytes | None
    """None where no mask lies beside the face."""


def crop_of(metadata: AlignedMetadata, landmarks: Points, side_px: int) -> tuple[NDArray[np.float64], Region]:
    """Return the matrix of the new crop, and which part of the frame it reads. Raise FormatError where none fits."""
    mat = face_mat(landmarks, side_px, metadata.face_type)
    edge = WARP_REACH_PX
    corners = [[-edge, -edge], [side_px + edge, -edge], [-edge, side_px + edge], [side_px + edge, side_px + edge]]
    there = transform_points(corners, invert_mat(mat))
    left, top = np.floor(there.min(axis=0) - edge)
    right, bottom = np.ceil(there.max(axis=0) + edge)
    return mat, (int(left), int(top), int(right), int(bottom))


def realigned(data: bytes, mask: bytes | None, frame: Image, landmarks: Points, judged: Judgement | None) -> Realigned:
    """Given an aligned JPEG, the PNG of its mask, its frame and the new landmarks in frame px, return both anew.

    `judged`: what is noted in the face; None takes what was noted out: the face gets back what it had before. `frame`
    need be right where `crop_of` says. Raise FormatError for what cannot be carried over: a face without a
    matrix, a mask that is no picture, metadata that would not fit into a JPEG.
    """
    metadata = read_metadata(data)
    if metadata.image_to_face_mat is None or metadata.source_landmarks is None:
        raise FormatError("the face does not say where in its frame it lies")
    side = _side_of(data)
    mat, _ = crop_of(metadata, landmarks, side)
    carry = _chain(invert_mat(metadata.image_to_face_mat), mat)
    moved = replace(
        metadata,
        landmarks=transform_points(landmarks, mat),
        source_landmarks=landmarks,
        image_to_face_mat=mat,
        seg_ie_polys=tuple(_carried_polygon(one, carry) for one in metadata.seg_ie_polys),
        xseg_mask=None if metadata.xseg_mask is None else _carried_stored_mask(metadata.xseg_mask, carry, side),
    )
    new_mask = None if mask is None else _carried_picture(mask, metadata, moved, carry, side)
    unknown = _without_note(metadata) if judged is None else _with_note(metadata, judged)
    unknown = _with_hashes(unknown, {_sha256(metadata.xseg_mask): _sha256(moved.xseg_mask)})
    unknown = _with_hashes(unknown, {_sha256(mask): _sha256(new_mask)})
    moved = replace(moved, unknown=MappingProxyType(unknown))
    picture = encode_aligned_jpeg(warp_face(frame, mat, side), moved, quality_of(data))
    return Realigned(picture, new_mask)


def landmarks_before(metadata: AlignedMetadata) -> Points | None:
    """Return the landmarks in frame px that a face had before its first refining, which are those it has where there
    was none: work that was cut short then goes on from what it began with. None where the face has none."""
    note = metadata.unknown.get(NOTE_KEY)
    first = note.get("source_landmarks") if isinstance(note, dict) else None
    if not isinstance(first, np.ndarray) or first.shape != (68, 2) or first.dtype != np.float64:
        return metadata.source_landmarks
    return first if (np.abs(first) <= COORDINATE_MAX_PX).all() else metadata.source_landmarks


def quality_of(data: bytes) -> int:
    """Return the quality 1 to 100 at which OpenCV writes a JPEG with the same tables; DEFAULT_QUALITY for no such."""
    return _qualities().get(_tables(data), DEFAULT_QUALITY)


def shows(frame: Image, pixels: Image, metadata: AlignedMetadata) -> float:
    """Return how far an aligned picture is from what its matrix cuts out of a frame: the mean difference, levels."""
    assert metadata.image_to_face_mat is not None
    cut = warp_face(frame, metadata.image_to_face_mat, pixels.shape[0])
    return float(cv2.absdiff(cut, np.asarray(pixels)).mean())


def _side_of(data: bytes) -> int:
    width, height = read_size(data)
    if width != height:
        raise FormatError(f"an aligned face of {width} x {height} px, expected a square")
    return width


def _chain(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the matrix (2, 3) that does `first`, then `second`."""
    return np.column_stack((second[:, :2] @ first[:, :2], second[:, :2] @ first[:, 2] + second[:, 2]))


def _carried_polygon(polygon: MaskPolygon, carry: NDArray[np.float64]) -> MaskPolygon:
    if not len(polygon.points):
        return polygon
    return MaskPolygon(polygon.include, transform_points(polygon.points, carry).astype(np.float32))


def _carried_stored_mask(stored: bytes, carry: NDArray[np.float64], side: int) -> bytes:
    mask = decode_xseg_mask(stored)
    return encode_xseg_mask(_warped(mask, carry, side))


def _carried_picture(
    mask: bytes, before: AlignedMetadata, after: AlignedMetadata, carry: NDArray[np.float64], side: int
) -> bytes:
    """Carry the PNG beside a face over: the hull of the old landmarks becomes that of the new."""
    pixels = _decoded(mask)
    if np.array_equal(pixels, _hull(before, side)):
        return encode_mask(_hull(after, side))
    warped = _warped(pixels.astype(np.float32) / np.float32(255), carry, side)
    return encode_mask(np.rint(warped * 255).astype(np.uint8))


def _hull(metadata: AlignedMetadata, side: int) -> NDArray[np.uint8]:
    return hull_mask(side, side, metadata.landmarks, eyebrows_expand_mod=metadata.eyebrows_expand_mod)


def _warped(mask: NDArray[np.float32], carry: NDArray[np.float64], side: int) -> NDArray[np.float32]:
    """Carry a mask of any size over; one without half tones stays so. Beyond its edge it goes on as at the edge."""
    height, width = mask.shape
    scale = np.array([width / side, height / side])
    own = np.column_stack((carry[:, :2] * scale[:, None] / scale[None, :], carry[:, 2] * scale))
    warped = cv2.warpAffine(mask, own, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    if ((mask == 0) | (mask == 1)).all():
        return (warped >= np.float32(FACE_FROM)).astype(np.float32)
    return np.asarray(warped, np.float32)


def _decoded(png: bytes) -> NDArray[np.uint8]:
    """Decode a gray PNG. Raise FormatError for anything else, and for what announces too large a picture."""
    sides = (int.from_bytes(png[16:20], "big"), int.from_bytes(png[20:24], "big"))
    if not png.startswith(_PNG_START) or png[12:16] != b"IHDR" or max(sides) > _MASK_SIDE_MAX_PX:
        raise FormatError("the mask beside the face is no PNG of a face's size")
    try:
        pixels = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as failure:
        raise FormatError(f"the mask beside the face cannot be decoded: {failure.err}") from failure
    if pixels is None:
        raise FormatError("the mask beside the face cannot be decoded")
    return np.asarray(pixels, np.uint8)


def _without_note(metadata: AlignedMetadata) -> dict[str, object]:
    return {key: value for key, value in metadata.unknown.items() if key != NOTE_KEY}


def _with_note(metadata: AlignedMetadata, judged: Judgement) -> dict[str, object]:
    """Return the unknown keys with what the face was before; a second refining keeps the first landmarks."""
    first = landmarks_before(metadata)
    return {
        **metadata.unknown,
        NOTE_KEY: {"reason": judged.reason, "moved": round(judged.moved, 5), "source_landmarks": first},
    }


def _with_hashes(unknown: Mapping[str, object], changed: Mapping[str, str]) -> dict[str, object]:
    """Return the keys with the hashes in dfld's note of a mask (engine.masks.write_mask) replaced by those of the masks
    after the move."""
    note = unknown.get(MASK_NOTE_KEY)
    if not isinstance(note, dict):
        return dict(unknown)
    return {**unknown, MASK_NOTE_KEY: {key: _replaced(value, changed) for key, value in note.items()}}


def _replaced(value: object, changed: Mapping[str, str]) -> object:
    if isinstance(value, list):
        return [_replaced(one, changed) for one in value]
    return changed.get(value, value) if isinstance(value, str) and value else value


def _sha256(data: bytes | None) -> str:
    return "" if data is None else hashlib.sha256(data).hexdigest()


def _tables(data: bytes) -> bytes:
    return b"".join(data[one.payload_start : one.payload_end] for one in list_segments(data) if one.marker == _DQT)


@cache
def _qualities() -> Mapping[bytes, int]:
    """Return the quantisation tables that OpenCV writes → the quality that makes them."""
    picture = np.zeros((8, 8, 3), np.uint8)
    found: dict[bytes, int] = {}
    for quality in range(1, 101):
        done, data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, quality])
        if done:
            found[_tables(data.tobytes())] = quality
    return MappingProxyType(found)
