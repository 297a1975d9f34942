"""Sharpness against pictures made worse in known steps; on real faces: `python -m benchmarks.sharpness`."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from engine.facesets.measures.sharpness import Sharpness, measure_sharpness

SIDE, UNIT = 256, 120.0
LANDMARKS = np.array([[60.0, 60.0], [200.0, 220.0]])
STEPS, FACES = 6, 10
Picture = NDArray[np.float32]


def painted(seed: int) -> Picture:
    """A picture whose power falls with frequency as that of photos does, with a few edges, of its own light and
    contrast."""
    rng = np.random.default_rng(seed)
    y, x = np.fft.fftfreq(SIDE)[:, None], np.fft.rfftfreq(SIDE)[None, :]
    falling = np.maximum(np.hypot(x, y), 1 / SIDE) ** -rng.uniform(1.4, 1.7)
    texture = np.fft.irfft2(falling * np.exp(2j * np.pi * rng.random(falling.shape)), (SIDE, SIDE))
    picture = (texture / texture.std() * rng.uniform(15, 40) + rng.uniform(80, 150)).astype(np.float32)
    for _ in range(12):
        middle, axes = rng.integers(40, 216, 2).tolist(), rng.integers(4, 30, 2).tolist()
        shade = float(rng.uniform(-25, 25))
        picture += cv2.ellipse(np.zeros_like(picture), middle, axes, float(rng.uniform(0, 180)), 0, 360, shade, -1)
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 0.6), np.float32)


def levels(picture: Picture) -> NDArray[np.uint8]:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def sharp(picture: Picture) -> Sharpness:
    return measure_sharpness(levels(picture), LANDMARKS, UNIT)


def blurred(picture: Picture, part: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), 4 * part), np.float32) if part else picture


def moved(picture: Picture, part: float) -> Picture:
    kernel = np.ones((1, max(1, round(15 * part))), np.float32)
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.size), np.float32)


def enlarged(picture: Picture, part: float) -> Picture:
    side = round(SIDE / (1 + 5 * part))
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (SIDE, SIDE), interpolation=cv2.INTER_LINEAR), np.float32)


def noisy(picture: Picture, part: float, rng: np.random.Generator) -> Picture:
    return blurred(picture, part) + rng.normal(0, rng.uniform(0, 12), picture.shape).astype(np.float32)


def stored(picture: Picture, part: float, rng: np.random.Generator) -> Picture:
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.choice([30, 95]))]
    encoded = cv2.imencode(".jpg", levels(blurred(picture, part)), quality)[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.float32)


def dark(picture: Picture, part: float, rng: np.random.Generator) -> Picture:
    return blurred(picture, part) * np.float32(rng.choice([1.0, 0.25]))


def rank_correlation(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Spearman's; `one` has ties in equal numbers, `other` none worth a correction."""
    return float(np.corrcoef(one, other.argsort().argsort())[0, 1])


@pytest.mark.parametrize(
    "damage",
    [
        lambda picture, part, _: blurred(picture, part),
        lambda picture, part, _: moved(picture, part),
        lambda picture, part, _: enlarged(picture, part),
        noisy,
        stored,
        dark,
    ],
    ids=["gauss", "motion", "upscale", "noise", "JPEG 30", "dark"],
)
def test_one_threshold_ranks_all_pictures_by_how_much_worse_they_were_made(
    damage: Callable[[Picture, float, np.random.Generator], Picture],
) -> None:
    rng = np.random.default_rng(5)
    parts = np.linspace(0, 1, STEPS)
    found = [[sharp(damage(painted(face), part, rng)) for part in parts] for face in range(FACES)]
    for measure in ("nf", "nfdir", "overall"):
        values = np.array([getattr(one, measure) for row in found for one in row])
        assert rank_correlation(-np.tile(parts, FACES), values) >= 0.8, measure


def test_motion_shows_in_the_direction_it_blurred_and_defocus_does_not() -> None:
    apart = [
        (one := sharp(moved(painted(face), 1.0))).nf
        - one.nfdir
        - ((two := sharp(blurred(painted(face), 0.4))).nf - two.nfdir)
        for face in range(FACES)
    ]
    assert min(apart) > 0.5


def test_less_light_changes_no_sharpness() -> None:
    for face in range(FACES):
        assert sharp(painted(face) * 0.4).nf == pytest.approx(sharp(painted(face)).nf, abs=0.1)


def test_noise_does_not_make_a_blurred_picture_sharp() -> None:
    rng = np.random.default_rng(1)
    for face in range(FACES):
        noise = rng.normal(0, 10, (SIDE, SIDE)).astype(np.float32)
        assert sharp(blurred(painted(face), 0.6) + noise).nf < sharp(painted(face)).nf - 1


def test_a_picture_of_half_the_size_is_about_as_sharp_as_the_whole() -> None:
    for face in range(FACES):
        whole = blurred(painted(face), 0.3)
        half = np.asarray(cv2.resize(whole, (SIDE // 2, SIDE // 2), interpolation=cv2.INTER_AREA), np.float32)
        small = measure_sharpness(levels(half), LANDMARKS / 2, UNIT / 2)
        assert small.nf == pytest.approx(sharp(whole).nf, abs=0.5)


@pytest.mark.parametrize("picture", [np.zeros((SIDE, SIDE), np.uint8), np.full((SIDE, SIDE), 255, np.uint8)])
def test_a_blank_picture_has_the_lowest_sharpness_there_is(picture: NDArray[np.uint8]) -> None:
    assert measure_sharpness(picture, LANDMARKS, UNIT).nf == pytest.approx(-9.21, abs=0.01)


def test_landmarks_outside_the_picture_and_pictures_that_are_too_small_end_in_a_number_or_none() -> None:
    outside = measure_sharpness(levels(painted(0)), LANDMARKS * 10 - 900, UNIT)
    assert np.isfinite(outside.nf)
    assert np.isnan(measure_sharpness(np.zeros((32, 32), np.uint8), LANDMARKS / 8, UNIT).nf)
    assert np.isnan(measure_sharpness(np.zeros((32, 32), np.uint8), LANDMARKS / 8, 2.0).nfdir)
