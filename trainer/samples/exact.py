"""A sample as DeepFaceLab makes it, step by step in float32: what the fast path is held against.

    crop to the model's face type and size -> colours of the other side -> background -> [warped: shift of colours,
    warp] -> affine -> mirror

Bit-equal geometry, pixels within 1.4e-5 of DeepFaceLab's (golden numerics/v2 samples). Source: DeepFaceLab commit
46fc239, samplelib/SampleProcessor.py.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.geometry import face_mat
from dfl.image import AlignedMetadata
from trainer.samples.background import Background, behind_face
from trainer.samples.colour_transfer.transfer import transfer_colours
from trainer.samples.geometry import Geometry, draw_geometry, draw_warp, warp_map
from trainer.samples.hsv import shifted_hsv
from trainer.samples.masks import source_masks
from trainer.samples.settings import Sample, SampleSettings

_WHITE = np.float32(255.0)


def exact_sample(
    pixels: NDArray[np.uint8],
    metadata: AlignedMetadata,
    settings: SampleSettings,
    seed: int,
    *,
    reference: NDArray[np.uint8] | None = None,
    background: Background | None = None,
) -> Sample[np.float32]:
    """Given a face (S, S, 3) uint8 BGR and what is known of it, return its sample for `seed`, float32 of 0..1.

    `reference` is the picture whose colours are taken where `settings` ask for them, `background` what comes behind
    the face. Raise FormatError where the face has no crop of the model's face type.
    """
    side = settings.resolution
    masks = _masks_of_crop(metadata, pixels.shape[0], settings)
    picture = _picture_of_crop(pixels.astype(np.float32) / _WHITE, metadata, settings)
    if reference is not None:
        picture = transfer_colours(settings.colour_transfer, picture, _reference(reference, side), seed)
    if background is not None:
        picture = behind_face(picture, masks[..., 0], background)
    draws = np.random.RandomState()
    geometry, shift = draw_geometry(
        draws,
        seed,
        side,
        random_flip=settings.random_flip,
        scale_range=settings.scale_range,
        hsv_power=settings.hsv_power,
    )
    warped = picture if shift is None else shifted_hsv(picture, shift)
    if settings.random_warp:
        columns = warp_map(draw_warp(draws, seed, side), side)
        rows = np.ascontiguousarray(columns.T)
        warped = np.asarray(cv2.remap(warped, columns, rows, cv2.INTER_CUBIC), np.float32)
    moved = _moved(masks, geometry, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
    largest = moved[..., 1].max()
    if largest > 0:
        moved[..., 1] /= largest
    return Sample(
        np.clip(_moved(warped, geometry, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE), 0.0, 1.0),
        np.clip(_moved(picture, geometry, cv2.INTER_CUBIC, cv2.BORDER_REPLICATE), 0.0, 1.0),
        np.ascontiguousarray(moved.transpose(2, 0, 1)),
    )


def _picture_of_crop(
    picture: NDArray[np.float32], metadata: AlignedMetadata, settings: SampleSettings
) -> NDArray[np.float32]:
    size = (settings.resolution, settings.resolution)
    if metadata.face_type != settings.face_type:
        mat = face_mat(metadata.landmarks, settings.resolution, settings.face_type)
        cropped = cv2.warpAffine(picture, mat, size, flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    elif picture.shape[:2] != size:
        cropped = cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC)
    else:
        return picture
    return np.asarray(cropped, np.float32)


def _masks_of_crop(metadata: AlignedMetadata, source_px: int, settings: SampleSettings) -> NDArray[np.float32]:
    return crop_masks(source_masks(metadata, source_px), metadata, settings)


def crop_masks(masks: NDArray[np.float32], metadata: AlignedMetadata, settings: SampleSettings) -> NDArray[np.float32]:
    """Given the (S, S, 2) masks of a face, return those of the model's crop, (R, R, 2), sampled bilinearly."""
    size = (settings.resolution, settings.resolution)
    if metadata.face_type != settings.face_type:
        mat = face_mat(metadata.landmarks, settings.resolution, settings.face_type)
        return np.asarray(cv2.warpAffine(masks, mat, size, flags=cv2.INTER_LINEAR), np.float32)
    if masks.shape[:2] != size:
        return np.asarray(cv2.resize(masks, size, interpolation=cv2.INTER_LINEAR), np.float32)
    return masks


def _reference(pixels: NDArray[np.uint8], side: int) -> NDArray[np.float32]:
    """The whole picture, bilinearly: DeepFaceLab takes no crop of it."""
    resized = cv2.resize(pixels.astype(np.float32) / _WHITE, (side, side), interpolation=cv2.INTER_LINEAR)
    return np.asarray(resized, np.float32)


def _moved(picture: NDArray[np.float32], geometry: Geometry, flags: int, border: int) -> NDArray[np.float32]:
    size = (picture.shape[1], picture.shape[0])
    moved = np.asarray(cv2.warpAffine(picture, geometry.mat, size, flags=flags, borderMode=border), np.float32)
    return moved[:, ::-1] if geometry.flip else moved
