"""Samples of the trainer: how many a core makes, exactly and at speed, and how far the two agree.

usage: python -m benchmarks.samples [--faces ALIGNED] [--faces-of-each N] [--resolution PX] [--seconds S]

  speed    samples a second of CPU time on one thread, JPEG decoded each time, the masks of each face known: `exact` and
           `fast` in turns, on pictures of the output's size and of twice that size; the median of the turns.
  agree    of the same random numbers: mean and standard deviation of how far a pixel is moved; PSNR of the pictures.
  waiting  part of a simulated training step of 50 ms that is spent on waiting for samples (batch 8, two sides).

Without --faces the pictures are noise whose spectrum falls as that of sharp photographs of faces, and the landmarks
those of a mean head.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.face_tables import MEAN_FACE_3D
from dfl.image import AlignedMetadata, encode_aligned_jpeg, read_metadata
from trainer.samples.batch_plan import Side, TrainingPlace
from trainer.samples.exact import exact_sample
from trainer.samples.faces.face_bytes import decode_face
from trainer.samples.fast import fast_sample, folded_map, mirrored_mat, prepare_face
from trainer.samples.geometry import draw_geometry, draw_warp, warp_map
from trainer.samples.loading.sample_loader import SampleLoader
from trainer.samples.settings import SCALE_RANGE, Sample, SampleSettings

SPEED_BARS = {1: 550.0, 2: 400.0}
"""Side of the picture over that of the output -> samples a second that `fast` makes at least."""
RATIO_BAR, STATISTICS_BAR, PSNR_BAR_DB, WAITING_BAR = 4.0, 0.01, 38.0, 0.02
STEP_S, BATCH, STEPS, WARM_UP_STEPS = 0.05, 8, 100, 20
TURNS, DISPLACED_SEEDS = 7, 300
JPEG_QUALITY = 90
SPECTRUM_POWER = 1.6


@dataclass(frozen=True)
class Face:
    jpeg: bytes
    metadata: AlignedMetadata


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", type=Path, help="aligned faces to measure on")
    parser.add_argument("--faces-of-each", type=int, default=24, help="pictures (default 24)")
    parser.add_argument("--resolution", type=int, default=256, help="of the output, px (default 256)")
    parser.add_argument("--seconds", type=float, default=0.5, help="of each turn (default 0.5)")
    options = parser.parse_args()
    cv2.setNumThreads(1)
    settings = SampleSettings(options.resolution, "whole_face", random_flip=True)
    met = []
    for factor, bar in SPEED_BARS.items():
        faces = faces_of(options.faces, options.faces_of_each, factor * options.resolution)
        met.append(_speed(faces, settings, factor * options.resolution, bar, options.seconds))
        met.append(_agreement(faces, settings, factor * options.resolution))
    met.append(_displacement(settings))
    met.append(_waiting(faces_of(options.faces, options.faces_of_each, options.resolution), settings))
    return 0 if all(met) else 1


def faces_of(folder: Path | None, count: int, side_px: int) -> list[Face]:
    """Return aligned faces of one size: of a folder, resized, or made."""
    if folder is None:
        return [_made_face(number, side_px) for number in range(count)]
    paths = sorted(folder.glob("*.jpg"))
    return [_resized(path.read_bytes(), side_px) for path in paths[:: max(1, len(paths) // count)][:count]]


def _resized(jpeg: bytes, side_px: int) -> Face:
    pixels, metadata = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR), read_metadata(jpeg)
    scale = side_px / pixels.shape[0]
    kept = replace(metadata, landmarks=metadata.landmarks * scale, face_type="whole_face", xseg_mask=None)
    resized = np.asarray(cv2.resize(pixels, (side_px, side_px), interpolation=cv2.INTER_AREA), np.uint8)
    return Face(encode_aligned_jpeg(resized, kept, JPEG_QUALITY), kept)


def _made_face(number: int, side_px: int) -> Face:
    """A picture whose spectrum falls as that of a face does: faster than the 1/f of photographs in general."""
    rng = np.random.default_rng(number)
    frequency = np.hypot(np.fft.fftfreq(side_px)[:, None], np.fft.rfftfreq(side_px)[None])
    frequency[0, 0] = 1.0
    noise = np.fft.rfft2(rng.standard_normal((3, side_px, side_px))) / frequency**SPECTRUM_POWER
    picture = np.fft.irfft2(noise, (side_px, side_px)).transpose(1, 2, 0)
    pixels = np.clip(128 + 45 * (picture - picture.mean()) / picture.std(), 0, 255).astype(np.uint8)
    points = np.asarray(MEAN_FACE_3D, np.float64)[:, :2]
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0).max() * side_px * 0.5 + side_px * 0.25
    metadata = AlignedMetadata(face_type="whole_face", landmarks=points)
    return Face(encode_aligned_jpeg(pixels, metadata, JPEG_QUALITY), metadata)


def _room(side_px: int) -> Sample[np.uint8]:
    pictures = [np.empty((side_px, side_px, 3), np.uint8) for _ in range(2)]
    return Sample(pictures[0], pictures[1], np.empty((2, side_px, side_px), np.uint8))


def _speed(faces: Sequence[Face], settings: SampleSettings, source_px: int, bar: float, seconds: float) -> bool:
    prepared = [prepare_face(face.metadata, source_px, settings) for face in faces]
    out, draws = _room(settings.resolution), np.random.RandomState(0)

    def make_exact(number: int) -> None:
        face = faces[number % len(faces)]
        exact_sample(decode_face(face.jpeg), face.metadata, settings, number)

    def make_fast(number: int) -> None:
        index = number % len(faces)
        fast_sample(decode_face(faces[index].jpeg), prepared[index], settings, number, out, draws=draws)

    turns = [(_rate(make_exact, seconds), _rate(make_fast, seconds)) for _ in range(TURNS)]
    exact, fast = (statistics.median(one) for one in zip(*turns, strict=True))
    ratio = statistics.median(quick / slow for slow, quick in turns)
    print(
        f"speed {source_px} -> {settings.resolution}: exact {exact:.0f}/s, fast {fast:.0f}/s of a core "
        f"(bar {bar:.0f}), {ratio:.1f} times (bar {RATIO_BAR:.0f})"
    )
    return fast >= bar and ratio >= RATIO_BAR


def _rate(make: Callable[[int], None], seconds: float) -> float:
    """Samples a second of this process's CPU time."""
    begin, count = time.process_time(), 0
    while (spent := time.process_time() - begin) < seconds:
        make(count)
        count += 1
    return count / spent


def _agreement(faces: Sequence[Face], settings: SampleSettings, source_px: int) -> bool:
    out, draws = _room(settings.resolution), np.random.RandomState(0)
    errors = []
    for seed, face in enumerate(faces):
        pixels = decode_face(face.jpeg)
        exact = exact_sample(pixels, face.metadata, settings, seed)
        fast_sample(pixels, prepare_face(face.metadata, source_px, settings), settings, seed, out, draws=draws)
        pairs = ((exact.warped, out.warped), (exact.target, out.target), (exact.masks, out.masks))
        errors.append([float(np.mean((one - other / 255.0) ** 2)) for one, other in pairs])
    warped, target, masks = -10 * np.log10(np.mean(errors, axis=0))
    print(
        f"agree {source_px} -> {settings.resolution}: PSNR warped {warped:.1f} dB, target {target:.1f} dB, "
        f"masks {masks:.1f} dB (bar {PSNR_BAR_DB:.0f})"
    )
    return bool(min(warped, target, masks) >= PSNR_BAR_DB)


def displacements(settings: SampleSettings, seeds: Sequence[int]) -> NDArray[np.float64]:
    """Return (exact or fast, mean or sd): how many columns a warp moves pixels of its output, over these seeds.

    Counted from where the affine alone would take a pixel from, which both paths hold inside the crop.
    """
    side, draws = settings.resolution, np.random.RandomState(0)
    pixels, moved = np.arange(side), ([], [])
    for seed in seeds:
        geometry, _ = draw_geometry(draws, seed, side, random_flip=settings.random_flip, scale_range=SCALE_RANGE)
        mat, noise = mirrored_mat(geometry, side), draw_warp(draws, seed, side)
        back = cv2.invertAffineTransform(mat)
        columns = np.clip(back[0, 0] * pixels + (back[0, 1] * pixels + back[0, 2])[:, None], 0, side - 1)
        border = cv2.BORDER_REPLICATE
        exact = cv2.warpAffine(warp_map(noise, side), mat, (side, side), flags=cv2.INTER_LINEAR, borderMode=border)
        moved[0].append(exact - columns)
        moved[1].append(folded_map(noise, mat, side)[0] - columns)
    return np.array([[np.mean(one), np.std(one)] for one in moved])


def _displacement(settings: SampleSettings) -> bool:
    exact, fast = displacements(settings, range(DISPLACED_SEEDS))
    off = np.abs(fast / exact - 1)
    print(
        f"agree: moved by {exact[0]:.4f} px, sd {exact[1]:.4f} (exact); {fast[0]:.4f} px, sd {fast[1]:.4f} (fast): "
        f"off by {off[0]:.2%} and {off[1]:.2%} (bar {STATISTICS_BAR:.0%})"
    )
    return bool(off.max() <= STATISTICS_BAR)


def _waiting(faces: Sequence[Face], settings: SampleSettings) -> bool:
    with tempfile.TemporaryDirectory() as folder:
        for number, face in enumerate(faces):
            (Path(folder) / f"{number:05d}.jpg").write_bytes(face.jpeg)
        sides = [Side(name, Path(folder), settings) for name in ("src", "dst")]
        processes = max(1, len(os.sched_getaffinity(0)))
        with SampleLoader(
            sides,
            TrainingPlace(seed=1, batch_size=BATCH),
            first_iteration=0,
            processes=processes,
            on_left_out=lambda side, face: print(side, face, file=sys.stderr),
        ) as loader:
            waited = [_step(loader) for _ in range(WARM_UP_STEPS + STEPS)][WARM_UP_STEPS:]
    part = sum(waited) / (sum(waited) + STEPS * STEP_S)
    print(f"waiting: {part:.2%} of the time, {processes} processes (bar {WAITING_BAR:.0%})")
    return part <= WAITING_BAR


def _step(loader: SampleLoader) -> float:
    """Do a step of STEP_S that leaves the cores alone; return how long its samples were waited for."""
    begin = time.perf_counter()
    loader.next_batches()
    waited = time.perf_counter() - begin
    time.sleep(STEP_S)
    return waited


if __name__ == "__main__":
    sys.exit(main())
