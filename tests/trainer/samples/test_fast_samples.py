"""The fast path agrees with the exact one, of the same random numbers."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.samples import displacements
from dfl.errors import FormatError
from dfl.face_tables import MEAN_FACE_3D
from dfl.image import AlignedMetadata
from dfl.xseg_mask import encode_xseg_mask
from trainer.samples.background import make_background
from trainer.samples.exact import exact_sample
from trainer.samples.fast import fast_sample, prepare_face
from trainer.samples.geometry import draw_geometry
from trainer.samples.settings import Sample, SampleSettings

SIDE = 96
LEAST_PSNR_DB = 38.0


def a_face(side_px: int, seed: int = 0) -> tuple[NDArray[np.uint8], AlignedMetadata]:
    """A smooth picture, and the landmarks of a mean head in it."""
    coarse = np.random.default_rng(seed).integers(20, 235, (12, 12, 3), dtype=np.uint8)
    pixels = np.asarray(cv2.resize(coarse, (side_px, side_px), interpolation=cv2.INTER_CUBIC), np.uint8)
    points = np.asarray(MEAN_FACE_3D, np.float64)[:, :2]
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0).max() * side_px * 0.5 + side_px * 0.25
    return pixels, AlignedMetadata(face_type="whole_face", landmarks=points)


def room() -> Sample[np.uint8]:
    return Sample(
        np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE, 3), np.uint8), np.zeros((2, SIDE, SIDE), np.uint8)
    )


def both(
    settings: SampleSettings, source_px: int, seed: int, *, with_others: bool = False
) -> tuple[Sample[np.float32], Sample[np.uint8]]:
    pixels, metadata = a_face(source_px)
    other = a_face(source_px, 1)[0] if with_others else None
    behind = make_background(a_face(source_px, 2)[0], SIDE, seed) if with_others else None
    exact = exact_sample(pixels, metadata, settings, seed, reference=other, background=behind)
    fast = room()
    prepared = prepare_face(metadata, source_px, settings)
    draws = np.random.RandomState(9)
    fast_sample(pixels, prepared, settings, seed, fast, draws=draws, reference=other, background=behind)
    return exact, fast


def psnr(exact: NDArray[np.float32], fast: NDArray[np.uint8]) -> float:
    return float(-10 * np.log10(np.mean((exact - fast / 255.0) ** 2)))


@pytest.mark.parametrize("source_px", [SIDE, 2 * SIDE])
@pytest.mark.parametrize("face_type", ["whole_face", "full_face"])
@pytest.mark.parametrize("warp", [True, False])
def test_the_pictures_of_both_paths_agree(source_px: int, face_type: str, warp: bool) -> None:
    settings = SampleSettings(SIDE, face_type, random_warp=warp, random_flip=True)
    errors = []
    for seed in range(8):
        exact, fast = both(settings, source_px, seed)
        errors.append([psnr(exact.warped, fast.warped), psnr(exact.target, fast.target), psnr(exact.masks, fast.masks)])
    assert (np.mean(errors, axis=0) >= LEAST_PSNR_DB).all(), errors


@pytest.mark.parametrize("colour_transfer", ["rct", "lct", "mkl", "idt", "sot"])
def test_colours_and_backgrounds_of_both_paths_agree(colour_transfer: str) -> None:
    settings = SampleSettings(
        SIDE,
        "whole_face",
        hsv_power=0.2,
        colour_transfer=colour_transfer,  # type: ignore[arg-type]
        random_background=True,
    )
    exact, fast = both(settings, SIDE, 5, with_others=True)
    plain, _ = both(replace(settings, colour_transfer="none"), SIDE, 5)
    assert psnr(exact.target, fast.target) >= LEAST_PSNR_DB
    assert psnr(exact.warped, fast.warped) >= LEAST_PSNR_DB - 4  # few seeds: the black edge of a warp weighs more
    assert np.abs(plain.target - exact.target).mean() > 0.02, "colours and background must change something"


def test_both_paths_move_pixels_equally_far() -> None:
    exact, fast = displacements(SampleSettings(128, "whole_face", random_flip=True), range(100))
    assert exact[0] == pytest.approx(0.5, abs=0.25), "half a pixel, of a hundred warps with a noise of their own"
    np.testing.assert_allclose(fast, exact, rtol=0.01)


def test_a_mirrored_sample_is_the_mirror_of_the_same_sample() -> None:
    plain = SampleSettings(SIDE, "whole_face", random_warp=True)
    may_flip = replace(plain, random_flip=True)
    draws = np.random.RandomState(0)
    seed = next(
        seed for seed in range(40) if draw_geometry(draws, seed, SIDE, random_flip=True, scale_range=0.15)[0].flip
    )
    mirrored, straight = both(may_flip, SIDE, seed), both(plain, SIDE, seed)
    np.testing.assert_array_equal(mirrored[0].target, straight[0].target[:, ::-1])
    assert np.abs(mirrored[1].target.astype(int) - straight[1].target[:, ::-1].astype(int)).max() <= 2


def test_the_largest_value_of_eyes_and_mouth_is_full_in_both_paths() -> None:
    exact, fast = both(SampleSettings(SIDE, "whole_face"), SIDE, 3)
    assert (exact.masks[1].max(), fast.masks[1].max()) == (1.0, 255)


def test_a_stored_mask_counts_and_eyes_outside_of_it_do_not() -> None:
    pixels, metadata = a_face(SIDE)
    empty = replace(metadata, xseg_mask=encode_xseg_mask(np.zeros((32, 32), np.float32)))
    sample = exact_sample(pixels, empty, SampleSettings(SIDE, "whole_face"), 1)
    assert not sample.masks.any()
    fast = room()
    settings = SampleSettings(SIDE, "whole_face")
    fast_sample(pixels, prepare_face(empty, SIDE, settings), settings, 1, fast, draws=np.random.RandomState(0))
    assert not fast.masks.any()


def test_a_face_without_a_crop_is_refused() -> None:
    pixels, metadata = a_face(SIDE)
    flat = replace(metadata, landmarks=np.full((68, 2), 5.0))
    with pytest.raises(FormatError, match="one spot"):
        exact_sample(pixels, flat, SampleSettings(SIDE, "head"), 1)
    with pytest.raises(FormatError, match="one spot"):
        prepare_face(flat, SIDE, SampleSettings(SIDE, "head"))
