"""A face in a frame -> an aligned face: the crop that DeepFaceLab trains on, its metadata, and its bytes."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.geometry import face_mat, invert_mat, plain_crop_mat, transform_points, warp_face
from dfl.image import AlignedMetadata, encode_aligned_jpeg
from engine.errors import OutputError
from engine.frames.contract import Region
from engine.types import AlignedFace, ExtractSettings, Face, Frame

WARP_REACH_PX = 4
"""Room round what the crop reads, px, on either side of the matrix: bilinear interpolation (`dfl.geometry.warp_face`)
reads one px beyond a place, and the rest covers rounding. Pixels outside of it would be black."""


def align_face(
    frame: Frame, face: Face, landmarks_frame_px: NDArray[np.float32], settings: ExtractSettings, *, face_id: str
) -> AlignedFace:
    """Given a face of a frame, its (68, 2) landmarks and its id, cut it out as the settings say."""
    landmarks = np.asarray(landmarks_frame_px, np.float64)
    mat = _crop_mat(landmarks, settings)
    return AlignedFace(
        pixels=warp_face(frame.pixels, mat, settings.output_size),
        face_type=settings.crop_face_type,
        landmarks_aligned_px=transform_points(landmarks, mat),
        landmarks_frame_px=landmarks,
        image_to_face_mat=mat,
        source_rect=np.rint(face.bbox).astype(np.int64),
        source_filename=frame.source_filename,
        face_id=face_id,
    )


def crop_reach(settings: ExtractSettings) -> float:
    """Return how far from a face's middle its crop reaches, in face sizes, for faces of usual proportions."""
    # The crop's side is 1 + 2·√2·margin face squares (dfl-formats b.2), half of which at any roll is 0.71 of it.
    return 0.85 * (1.0 + 2.0 * math.sqrt(2.0) * settings.crop_margin) + 0.2


def crop_region(landmarks_frame_px: NDArray[np.float32], settings: ExtractSettings) -> Region:
    """Given (68, 2) landmarks, return the part of the frame that `align_face` reads."""
    mat = _crop_mat(np.asarray(landmarks_frame_px, np.float64), settings)
    size = settings.output_size
    edge = WARP_REACH_PX
    corners = [[-edge, -edge], [size + edge, -edge], [-edge, size + edge], [size + edge, size + edge]]
    there = transform_points(corners, invert_mat(mat))
    left, top = np.floor(there.min(axis=0) - edge)
    right, bottom = np.ceil(there.max(axis=0) + edge)
    return int(left), int(top), int(right), int(bottom)


def _crop_mat(landmarks: NDArray[np.float64], settings: ExtractSettings) -> NDArray[np.float64]:
    if settings.crop_face_type is not None:
        return face_mat(landmarks, settings.output_size, settings.crop_face_type)
    return plain_crop_mat(landmarks, settings.output_size, settings.crop_margin)


def metadata_of(face: AlignedFace) -> AlignedMetadata:
    """Return what DeepFaceLab's metadata says of a face; of a plain crop, which has none of its types, `mark_only`."""
    return AlignedMetadata(
        face_type=face.face_type or "mark_only",
        landmarks=face.landmarks_aligned_px,
        source_filename=face.source_filename,
        source_rect=face.source_rect,
        source_landmarks=face.landmarks_frame_px,
        image_to_face_mat=face.image_to_face_mat,
        dfld_face_id=face.face_id,
    )


def encode_face(face: AlignedFace, settings: ExtractSettings) -> bytes:
    """Return the file of an aligned face: JPEG with DeepFaceLab's metadata, or a plain JPEG or PNG without."""
    if settings.format == "jpg" and face.face_type is not None:
        return encode_aligned_jpeg(face.pixels, metadata_of(face), quality=settings.jpeg_quality)
    return encode_picture(face.pixels, settings.format, jpeg_quality=settings.jpeg_quality)


def encode_picture(pixels: NDArray[np.uint8], kind: str, *, jpeg_quality: int = 95) -> bytes:
    """Encode (H, W, 3) BGR or (H, W) gray uint8 as `jpg` (baseline, no restart markers) or `png`."""
    if kind == "jpg":
        options = [cv2.IMWRITE_JPEG_QUALITY, jpeg_quality, cv2.IMWRITE_JPEG_RST_INTERVAL, 0]
    else:
        # Level 1 is three times faster than the default for a file a tenth larger.
        options = [cv2.IMWRITE_PNG_COMPRESSION, 1]
    return _encoded(pixels, kind, options)


def encode_mask(mask: NDArray[np.uint8]) -> bytes:
    """Encode a (H, W) uint8 mask as PNG: OpenCV's run lengths suit it, a third of the time of a set level."""
    return _encoded(mask, "png", [])


def _encoded(pixels: NDArray[np.uint8], kind: str, options: list[int]) -> bytes:
    done, data = cv2.imencode(f".{kind}", pixels, options)
    if not done:
        raise OutputError(f"cannot encode a picture of {pixels.shape[1]} x {pixels.shape[0]} px as {kind}")
    return bytes(data.tobytes())
