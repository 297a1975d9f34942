"""How well sharpness is measured: pooled rank correlation with the truth, on real faces made worse in known steps.

usage: python -m benchmarks.sharpness [DIR …] [--faces 60] [--seed 0] [--choices]

DIR: facesets; without one, the people of the labelled clips are extracted first (dlib, minutes). Of these, faces that
the crop made no larger (crop side of at least 264 px, measured at 256) are taken, evenly over all. Each is made worse
in six steps:

    gauss     blurred, sigma 0 to 4 px
    motion    blurred along one direction, another for each face, 1 to 15 px
    upscale   made 1 to 6 times smaller, and enlarged again
    + noise   blurred as in gauss, then noise of sigma 0 to 12 levels, another for each picture
    + JPEG    blurred, then every other picture is stored at quality 30
    + dark    blurred, then every other picture has a quarter of its light

The faces of the labelled photos follow: few, and each another person, camera and light. A column is Spearman's
correlation with the step over all faces and steps at once, so that one threshold must serve all. Beside it:
DeepFaceLab's two sorts (`blur`, written anew from its paper; `motion-blur`), and what an extraction measured before.
`--choices` adds what else the measure could be made of. Then the distribution of every feature over the facesets, and
the time a face.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import cv2
import numpy as np
from numpy.typing import NDArray
from truth import SHARED, labelled_cases

from dfl.geometry import face_mat, transform_points, warp_face
from dfl.image import AlignedMetadata, encode_aligned_jpeg, read_metadata
from engine.backends.catalog import open_backend
from engine.facesets.faceset_folder import FacesetFolder, faceset_folders
from engine.facesets.measures import sharpness
from engine.facesets.measures.face_luma import FaceLuma, face_luma
from engine.facesets.measures.face_measures import SINGLE, measure_face
from engine.facesets.measures.sharpness import DARK_LUMA, DARK_STD, measure_sharpness
from engine.measure_faceset import measure_faceset

CROP_SIDE_MIN_PX, PHOTO_CROP_SIDE_MIN_PX = 264, 200
BAR = 0.85
STEPS = 6
NOISE_MAX, JPEG_QUALITY, DARK = 12.0, 30, 0.25

Picture = NDArray[np.float32]
Measure = Callable[[NDArray[np.uint8], FaceLuma], tuple[float, ...]]


@dataclass(frozen=True)
class Series:
    """Pictures of one kind of damage."""

    name: str
    steps: list[int]
    pictures: list[NDArray[np.uint8]]
    faces: list[int]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("folders", nargs="*", type=Path, metavar="DIR")
    parser.add_argument("--faces", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--choices", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dfld-sharpness-") as scratch:
        found = options.folders or list(_extracted(Path(scratch)))
        folders = [folder for path in found for folder in faceset_folders(path)]
        faces = _faces(folders, options.faces)
        _print_table("faces of the facesets", faces, options.seed, with_choices=options.choices)
        _print_table("faces of the photos", list(_photo_faces()), options.seed, with_choices=options.choices)
        for folder in folders:
            _print_features(folder)
        _print_times(folders)


def _extracted(scratch: Path) -> Iterator[Path]:
    for case in labelled_cases():
        out = scratch / case.name.replace(" ", "-")
        words = [str(word) for photo in case.references for word in ("--reference", photo)]
        command = [sys.executable, "-m", "daemon", "extract", str(case.clip), *words, "--out", str(out)]
        subprocess.run([*command, "--backend", "dlib", "--quiet"], check=True)
        yield out


def _faces(folders: Sequence[FacesetFolder], count: int) -> list[FaceLuma]:
    """Faces that their crop did not enlarge, at 256 px, evenly over all there are."""
    found = []
    for folder in folders:
        for path in sorted(folder.aligned.glob("*.jpg")):
            data = path.read_bytes()
            metadata = read_metadata(data)
            if metadata.image_to_face_mat is None:
                continue
            face = face_luma(data, metadata)
            if face.side_px / np.sqrt(np.linalg.det(metadata.image_to_face_mat[:, :2])) >= CROP_SIDE_MIN_PX:
                found.append(face)
    if not found:
        sys.exit(f"no face has a crop side of {CROP_SIDE_MIN_PX} px")
    return [found[int(place)] for place in np.linspace(0, len(found) - 1, min(count, len(found)))]


def _photo_faces() -> Iterator[FaceLuma]:
    """Every face of the labelled photos, whose people, light and cameras differ more than those of two clips."""
    backend = open_backend("dlib", model_root=SHARED / "models", model_pack="")
    for path in sorted((SHARED / "media" / "photos").glob("*/*")):
        photo = cv2.imread(str(path))
        faces = [] if photo is None else backend.detect(np.asarray(photo, np.uint8))
        for points in backend.landmarks_68(np.asarray(photo, np.uint8), faces) if faces else ():
            landmarks = points.astype(np.float64)
            mat = face_mat(landmarks, 512, "whole_face")
            if 512 / np.sqrt(np.linalg.det(mat[:, :2])) >= PHOTO_CROP_SIDE_MIN_PX:
                metadata = AlignedMetadata("whole_face", transform_points(landmarks, mat), image_to_face_mat=mat)
                crop = warp_face(np.asarray(photo, np.uint8), mat, 512)
                yield face_luma(encode_aligned_jpeg(crop, metadata, 95), metadata)


def _print_table(what: str, faces: Sequence[FaceLuma], seed: int, *, with_choices: bool) -> None:
    series = _series(faces, np.random.default_rng(seed))
    print(f"\n{len(faces)} {what}, {STEPS} steps each; bar {BAR}")
    print(f"{'measure':34}" + "".join(f"{one.name:>10}" for one in series))
    for name, measure in _measures().items():
        _print_row(name, measure, faces, series)
    for name, changed in _choices() if with_choices else ():
        with mock.patch.multiple(sharpness, **changed):
            _forget_tables()
            _print_row(f"  {name},   its nf,   its nfdir", _nf, faces, series)
        _forget_tables()


def _series(faces: Sequence[FaceLuma], rng: np.random.Generator) -> list[Series]:
    names = ("gauss", "motion", "upscale", "+ noise", "+ JPEG", "+ dark")
    series = [Series(name, [], [], []) for name in names]
    for number, face in enumerate(faces):
        picture = face.luma.astype(np.float32)
        angle = rng.uniform(0, np.pi)
        for step in range(STEPS):
            part = step / (STEPS - 1)
            blurred = gauss(picture, 4.0 * part)
            is_other = (number + step) % 2 == 0
            made = (
                blurred,
                motion(picture, 1.0 + 14.0 * part, angle),
                upscale(picture, 1.0 + 5.0 * part),
                blurred + rng.normal(size=picture.shape).astype(np.float32) * np.float32(rng.uniform(0, NOISE_MAX)),
                _stored(blurred) if is_other else blurred,
                blurred * DARK if is_other else blurred,
            )
            for one, changed in zip(series, made, strict=True):
                one.steps.append(step)
                one.pictures.append(_levels(changed))
                one.faces.append(number)
    return series


def gauss(picture: Picture, sigma: float) -> Picture:
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.float32) if sigma > 0 else picture


def motion(picture: Picture, length_px: float, angle: float) -> Picture:
    """Move a picture along a line of this length while it is exposed."""
    if length_px <= 1:
        return picture
    side = 2 * int(np.ceil(length_px / 2)) + 3
    kernel = np.zeros((side, side), np.float32)
    for along in np.linspace(-(length_px - 1) / 2, (length_px - 1) / 2, 64):
        x, y = side // 2 + along * np.cos(angle), side // 2 + along * np.sin(angle)
        left, top = int(np.floor(x)), int(np.floor(y))
        for dx, dy in ((0, 0), (0, 1), (1, 0), (1, 1)):
            kernel[top + dy, left + dx] += (1 - abs(x - left - dx)) * (1 - abs(y - top - dy))
    return np.asarray(cv2.filter2D(picture, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT), np.float32)


def upscale(picture: Picture, factor: float) -> Picture:
    if factor <= 1:
        return picture
    side = round(picture.shape[0] / factor)
    small = cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, picture.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float32)


def _stored(picture: Picture) -> Picture:
    encoded = cv2.imencode(".jpg", _levels(picture), [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_GRAYSCALE), np.float32)


def _levels(picture: Picture) -> NDArray[np.uint8]:
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def _measures() -> dict[str, Measure]:
    return {
        "overall, nf, nfdir": _nf,
        "dfld before (at 128 px)": lambda luma, _: (_laplacian_over_variance(luma),),
        "DeepFaceLab blur (CPBD)": lambda luma, face: (cpbd(luma, face.hull),),
        "DeepFaceLab motion-blur": lambda luma, face: (
            float(cv2.Laplacian(np.where(face.hull, luma, 0).astype(np.uint8), cv2.CV_64F, ksize=11).var()),
        ),
        "variance of Laplacian in the hull": lambda luma, face: (
            float(cv2.Laplacian(luma, cv2.CV_32F)[face.hull].var()),
        ),
    }


def _nf(luma: NDArray[np.uint8], face: FaceLuma) -> tuple[float, ...]:
    found = measure_sharpness(luma, face.landmarks, face.unit_px)
    return found.overall, found.nf, found.nfdir


def _laplacian_over_variance(luma: NDArray[np.uint8]) -> float:
    """What an extraction measured up to revision 1."""
    small = cv2.resize(luma, (128, 128), interpolation=cv2.INTER_AREA)
    return float(cv2.Laplacian(small, cv2.CV_32F).var() / (small.astype(np.float32).var() + 25) / 16)


def _choices() -> Iterator[tuple[str, dict[str, object]]]:
    """What else the measure could be made of."""
    for side, columns, rows in ((96, 2, 3), (64, 2, 3), (48, 4, 5), (128, 2, 2)):
        yield f"{columns * rows} windows of {side} px", {"WINDOW_PX": side, "COLUMNS": columns, "ROWS": rows}
    yield "taper: Hann", {"_taper": lambda side: np.outer(*[np.hanning(side + 2)[1:-1]] * 2).astype(np.float32)}
    yield "taper: none", {"_taper": lambda side: np.ones((side, side), np.float32)}
    for low in (0.015, 0.05):
        yield f"coarse {low:.3f} to 0.08 c/px", {"COARSE": (low, 0.08)}
    for low, high in ((0.08, 0.20), (0.08, 0.30), (0.12, 0.35)):
        yield f"detail {low:.2f} to {high:.2f} c/px", {"DETAIL": (low, high)}
    yield "noise not taken away", {"MEDIAN_OF_NOISE": np.inf}


def _forget_tables() -> None:
    for one in (sharpness._bands, sharpness._taper):
        getattr(one, "cache_clear", lambda: None)()


def cpbd(luma: NDArray[np.uint8], hull: NDArray[np.bool_]) -> float:
    """Cumulative probability of blur detection (Narvekar and Karam 2011), as DeepFaceLab's `blur` sorts by; higher
    is sharper. Edges are those whose horizontal gradient stands out; the width of one is the run of pixels that rise
    or fall through it. DeepFaceLab counts the hull's own outline among them; that is left out, which is to its
    advantage."""
    values = luma.astype(np.int32)
    steps = np.sign(np.diff(values, axis=1, prepend=values[:, :1]))
    runs = _run_lengths(steps)
    gradient = np.abs(cv2.Sobel(luma, cv2.CV_32F, 1, 0))
    inside = cv2.erode(hull.astype(np.uint8), np.ones((9, 9), np.uint8)) > 0
    is_edge = inside & (gradient >= 2 * np.sqrt(np.mean(gradient[inside] ** 2))) & (steps != 0)
    blurred = total = 0
    for top in range(0, luma.shape[0] - 63, 64):
        for left in range(0, luma.shape[1] - 63, 64):
            here = np.s_[top : top + 64, left : left + 64]
            edges = is_edge[here]
            if edges.mean() > 0.002:
                just_noticeable = 5.0 if int(np.ptp(values[here])) <= 50 else 3.0
                chance = 1 - np.exp(-((runs[here][edges] / just_noticeable) ** 3.6))
                blurred += int((chance > 0.63).sum())
                total += len(chance)
    return 1 - blurred / total if total else 0.0


def _run_lengths(steps: NDArray[np.integer]) -> NDArray[np.integer]:
    """Length of the run of equal signs that each pixel of a row lies in."""
    starts = np.ones(steps.shape, bool)
    starts[:, 1:] = steps[:, 1:] != steps[:, :-1]
    number = np.cumsum(starts.ravel()) - 1
    return np.bincount(number)[number].reshape(steps.shape)


def _print_row(name: str, measure: Measure, faces: Sequence[FaceLuma], series: Sequence[Series]) -> None:
    cells = []
    for one in series:
        values = np.array(
            [measure(picture, faces[face]) for picture, face in zip(one.pictures, one.faces, strict=True)]
        )
        cells.append([spearman(-np.array(one.steps, float), column) for column in values.T])
    for place, label in enumerate(name.split(", ")):
        print(f"{label:34}" + "".join(f"{cell[place]:>10.3f}" for cell in cells), flush=True)


def spearman(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Rank correlation; equal values share their mean rank."""

    def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
        _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
        return (np.cumsum(counts) - (counts - 1) / 2)[inverse]

    return float(np.corrcoef(ranks(one), ranks(other))[0, 1])


def _print_features(folder: FacesetFolder) -> None:
    done = measure_faceset(folder)
    features = done.features
    of = "" if done.is_complete else ", stopped"
    print(
        f"\n{folder.sentence}: {len(features)} faces, {done.measured} measured, {len(done.unreadable)} unreadable{of}"
    )
    print(f"{'feature':16}" + "".join(f"{name:>10}" for name in ("p5", "p25", "p50", "p75", "p95")))
    for name in (*SINGLE, "cut_off"):
        values = getattr(features, name)
        values = values[np.isfinite(values)]
        if len(values):
            print(f"{name:16}" + "".join(f"{value:>10.3f}" for value in np.percentile(values, (5, 25, 50, 75, 95))))
    is_dark = (features.brightness < DARK_LUMA) | (features.luma_std < DARK_STD)
    print(f"too dark to judge: {is_dark.mean():.0%}; coarse picture holds {(features.luma_dct**2).sum(1).mean():.0%}")


def _print_times(folders: Sequence[FacesetFolder]) -> None:
    files = [path.read_bytes() for folder in folders for path in sorted(folder.aligned.glob("*.jpg"))][:400]
    cv2.setNumThreads(1)
    for data in files[:10]:
        measure_face(data)
    times = []
    for start in range(0, len(files), 20):
        begun = time.process_time()
        for data in files[start : start + 20]:
            measure_face(data)
        times.append((time.process_time() - begun) / len(files[start : start + 20]) * 1e3)
    print(f"\n{len(files)} faces: {np.median(times):.2f} ms of CPU each (fastest 20: {min(times):.2f}), bytes to row")


if __name__ == "__main__":
    main()
