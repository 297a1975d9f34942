"""A sample for training at speed: bytes in, bytes out, each output resampled once.

    warped   the affine is folded into the warp: one map from the output to the crop, one remap
    target   one affine, bilinear
    masks    made once a face, kept compressed, then one affine each

The same random numbers give the same geometry as `trainer.samples.exact`; pictures differ by the
interpolation (bilinear instead of two times cubic) and by rounding to bytes: 41 dB (benchmarks/samples.py).
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.geometry import face_mat
from dfl.image import AlignedMetadata
from trainer.samples.background import Background, behind_face
from trainer.samples.colour_transfer.transfer import transfer_colours
from trainer.samples.exact import crop_masks
from trainer.samples.geometry import Geometry, WarpNoise, draw_geometry, draw_warp, warp_moves
from trainer.samples.hsv import shifted_hsv
from trainer.samples.masks import source_masks
from trainer.samples.settings import Sample, SampleSettings

_WHITE = np.float32(255.0)
_HALF_PX = np.float32(0.5)
"""By which every warp of DeepFaceLab's moves a picture, beside its noise."""
_QUICK = 1
"""zlib's level: masks are mostly flat, and are decompressed for every sample."""
_MAP_STEP = 4
"""The moves of a warp are computed at every so many pixels: they are smooth but for the lines of its grid."""


@dataclass(frozen=True)
class PreparedFace:
    """What a sample needs to know of a face, made once."""

    crop_mat: NDArray[np.float64] | None
    """(2, 3): px of the picture -> px of the crop; None where the picture is the crop, but for its size."""
    packed_masks: bytes
    """The (2, R, R) uint8 masks of the crop, compressed."""


def prepare_face(metadata: AlignedMetadata, side_px: int, settings: SampleSettings) -> PreparedFace:
    """Given what is known of a face of `side_px` px a side, return what its samples need.

    Raise FormatError for a face without a crop of the model's face type, and for a stored mask that cannot be read.
    """
    mat = None
    if metadata.face_type != settings.face_type:
        mat = face_mat(metadata.landmarks, settings.resolution, settings.face_type)
    masks = crop_masks(source_masks(metadata, side_px), metadata, settings)
    return PreparedFace(mat, zlib.compress(_as_bytes(np.ascontiguousarray(masks.transpose(2, 0, 1))).tobytes(), _QUICK))


def fast_sample(
    pixels: NDArray[np.uint8],
    face: PreparedFace,
    settings: SampleSettings,
    seed: int,
    out: Sample[np.uint8],
    *,
    draws: np.random.RandomState,
    reference: NDArray[np.uint8] | None = None,
    background: Background | None = None,
) -> None:
    """Given a face (S, S, 3) uint8 BGR, write its sample for `seed` into the uint8 arrays of `out`.

    `draws` is begun anew, whatever it was. `reference` and `background` are those of
    `trainer.samples.exact.exact_sample`.
    """
    side = settings.resolution
    masks = np.frombuffer(zlib.decompress(face.packed_masks), np.uint8).reshape(2, side, side)
    picture = _crop(pixels, face, side)
    if reference is not None or background is not None:
        picture = _recoloured(picture, masks[0], settings, seed, reference, background)
    geometry, shift = draw_geometry(
        draws,
        seed,
        side,
        random_flip=settings.random_flip,
        scale_range=settings.scale_range,
        hsv_power=settings.hsv_power,
    )
    mat = mirrored_mat(geometry, side)
    shown = picture if shift is None else _as_bytes(shifted_hsv(_as_floats(picture), shift))
    if settings.random_warp:
        columns, rows = folded_map(draw_warp(draws, seed, side), mat, side)
        cv2.remap(shown, columns, rows, cv2.INTER_LINEAR, dst=out.warped)
    else:
        _moved(shown, mat, cv2.BORDER_REPLICATE, out.warped)
    _moved(picture, mat, cv2.BORDER_REPLICATE, out.target)
    for mask, moved in zip(masks, out.masks, strict=True):
        _moved(mask, mat, cv2.BORDER_CONSTANT, moved)
    _stretch(out.masks[1])


def folded_map(
    noise: WarpNoise, mat: NDArray[np.float64], side_px: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the (R, R) columns and rows of the crop in which the pixels of a warped output lie.

    `mat` is the affine crop -> output, mirrored or not. Both are sums: where the affine comes from, held inside the
    crop, which repeats its edge as the exact path does; and how far the warp moves that, which is smooth enough to be
    computed at fewer pixels.
    """
    to_crop = np.asarray(cv2.invertAffineTransform(mat), np.float64)
    pixels = np.arange(side_px, dtype=np.float32)
    moves = warp_moves(noise, side_px)
    folded = []
    for row, moved in zip(to_crop, (moves, np.asarray(cv2.transpose(moves), np.float32)), strict=True):
        positions = _affine_part(row, pixels)
        positions += _read_through(moved, to_crop)
        positions += _HALF_PX
        folded.append(positions)
    return folded[0], folded[1]


def _affine_part(row: NDArray[np.float64], pixels: NDArray[np.float32]) -> NDArray[np.float32]:
    across, down, shift = row.astype(np.float32)
    positions: NDArray[np.float32] = pixels * across + (pixels * down + shift)[:, None]
    np.clip(positions, 0, pixels[-1], out=positions)
    return positions


def _read_through(moves: NDArray[np.float32], to_crop: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the (R, R) map seen through an affine output -> map, computed at every `_MAP_STEP`th pixel."""
    side_px = len(moves)
    # Pixel i of the small map stands at i · step + (step - 1) / 2 of the output: the rule of cv2.resize.
    to_map = to_crop.copy()
    to_map[:, 2] += to_crop[:, :2].sum(axis=1) * ((_MAP_STEP - 1) / 2)
    to_map[:, :2] *= _MAP_STEP
    small_px = side_px // _MAP_STEP
    flags, border = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP, cv2.BORDER_REPLICATE
    small = cv2.warpAffine(moves, to_map, (small_px, small_px), flags=flags, borderMode=border)
    return np.asarray(cv2.resize(small, (side_px, side_px)), np.float32)


def _crop(pixels: NDArray[np.uint8], face: PreparedFace, side: int) -> NDArray[np.uint8]:
    if face.crop_mat is not None:
        flags, border = cv2.INTER_LINEAR, cv2.BORDER_REPLICATE
        cropped = cv2.warpAffine(pixels, face.crop_mat, (side, side), flags=flags, borderMode=border)
    elif pixels.shape[0] != side:
        cropped = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_LINEAR)
    else:
        return pixels
    return np.asarray(cropped, np.uint8)


def _recoloured(
    picture: NDArray[np.uint8],
    face_mask: NDArray[np.uint8],
    settings: SampleSettings,
    seed: int,
    reference: NDArray[np.uint8] | None,
    background: Background | None,
) -> NDArray[np.uint8]:
    changed = _as_floats(picture)
    if reference is not None:
        size = (settings.resolution, settings.resolution)
        other = np.asarray(cv2.resize(reference, size, interpolation=cv2.INTER_LINEAR), np.uint8)
        changed = transfer_colours(settings.colour_transfer, changed, _as_floats(other), seed)
    if background is not None:
        changed = behind_face(changed, _as_floats(face_mask), background)
    return _as_bytes(changed)


def mirrored_mat(geometry: Geometry, side: int) -> NDArray[np.float64]:
    """Return the affine with the mirror behind it."""
    if not geometry.flip:
        return geometry.mat
    mirrored = geometry.mat.copy()
    mirrored[0] = -mirrored[0]
    mirrored[0, 2] += side - 1
    return mirrored


def _moved(picture: NDArray[np.uint8], mat: NDArray[np.float64], border: int, out: NDArray[np.uint8]) -> None:
    size = (picture.shape[1], picture.shape[0])
    cv2.warpAffine(picture, mat, size, dst=out, flags=cv2.INTER_LINEAR, borderMode=border)


def _stretch(mask: NDArray[np.uint8]) -> None:
    """Make the largest value of a mask 255, in place."""
    largest = int(mask.max())
    if 0 < largest < 255:
        cv2.convertScaleAbs(mask, dst=mask, alpha=255 / largest)


def _as_bytes(picture: NDArray[np.float32]) -> NDArray[np.uint8]:
    rounded: NDArray[np.uint8] = np.rint(picture * _WHITE).astype(np.uint8)
    return rounded


def _as_floats(picture: NDArray[np.uint8]) -> NDArray[np.float32]:
    return picture.astype(np.float32) / _WHITE
