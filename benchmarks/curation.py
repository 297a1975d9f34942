"""Curation in numbers: how long it takes, what it needs, what stays of known shots, which missing pose is named.

usage: python -m benchmarks.curation [--faces 10000 50000] [--seeds 100] [--folder COUNT] [SHOTS …]

Without SHOTS made-up features alone are used:

    selection   seconds and peak memory of `curate`, where a budget takes many faces and where nearly all stay
    coverage    a made set without one pose, for each seed: the pose that is left out is the first that is named
    --folder    a faceset of so many small faces on disk: features, curation, report, and a second run, in seconds

SHOTS: DIR=TRUTH.json, a folder of aligned faces of one person and the truth of the clip that they were extracted from
(`dfld extract`, one person a run). Printed is how many faces of each shot stay: a still picture that is moved, scaled
or darkened should stay once or twice, a person who speaks in dozens of views.
"""

from __future__ import annotations

import argparse
import json
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from dfl.image import encode_aligned_jpeg, read_metadata, with_metadata
from engine.facesets.coverage.report import coverage_of
from engine.facesets.coverage.words import cell_degrees, cell_words
from engine.facesets.curation.cells import PoseCell, cells_of
from engine.facesets.curation.curate import curate
from engine.facesets.curation.settings import CurationSettings
from tests.faceset_rig import SIDE, face_jpeg
from tests.feature_rig import chosen, made_features

SIDE_PX = 512
NEARLY_ALL_STAY = CurationSettings(per_cell=1_000_000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("shots", nargs="*", metavar="SHOTS")
    parser.add_argument("--faces", type=int, nargs="*", default=[10_000, 50_000])
    parser.add_argument("--seeds", type=int, default=100)
    parser.add_argument("--folder", type=int, default=0)
    parser.add_argument("--selection", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.selection:
        print_selection(options.selection)
        return
    for shots in options.shots:
        print_shots(*shots.split("=", 1))
    for count in options.faces:  # a process each, so that one's memory is not the other's
        subprocess.run([sys.executable, __file__, "--selection", str(count)], check=True)
    if options.seeds:
        print_coverage(options.seeds)
    if options.folder:
        print_folder(options.folder)


def print_selection(count: int) -> None:
    features = made_features(count, 1)
    before = peak_mib()
    for what, settings in (("budget of 60", CurationSettings()), ("nearly all stay", NEARLY_ALL_STAY)):
        started, cpu = time.perf_counter(), time.process_time()
        kept = sum(one.place == "keep" for one in curate(features, {}, settings).verdicts)
        print(
            f"selection of {count} faces, {what}: {time.perf_counter() - started:.2f} s "
            f"({time.process_time() - cpu:.2f} s of CPU), {kept} kept, peak {peak_mib():.0f} MiB (before {before:.0f})"
        )


def print_coverage(seeds: int) -> None:
    named = first = 0
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        cell = PoseCell(int(rng.integers(-3, 3)), int(rng.integers(-1, 1)))
        there, whole = made_features(1500, seed), made_features(6000, seed + 100_000)
        cells = cells_of(whole)
        here = chosen(whole, [row for row in range(len(whole)) if cells.pose(row) != cell])
        report = coverage_of(here, there, here_name="src", there_name="dst")
        words = [(one.words, one.degrees, one.here) for one in report.poses]
        named += (cell_words(cell), cell_degrees(cell), 0) in words
        first += words[0] == (cell_words(cell), cell_degrees(cell), 0)
    print(f"coverage: the pose that was left out is named in {named} of {seeds} sets, first in {first}")


def print_shots(folder: str, truth: str) -> None:
    from engine.facesets.faceset_folder import faceset_folders
    from engine.measure_faceset import measure_faceset

    shots = [frame["shot"] for frame in json.loads(Path(truth).read_text())["frames"]]
    (faceset,) = faceset_folders(Path(folder))
    features = measure_faceset(faceset).features
    verdicts = curate(features, {}).verdicts
    shot_of = {name: shots[frame] for name, frame in zip(features.name, features.frame.tolist(), strict=True)}
    all_of = Counter(shot_of.values())
    kept = Counter(shot_of[one.name] for one in verdicts if one.place == "keep")
    print(f"{folder}: {sum(kept.values())} of {len(verdicts)} stay")
    for shot, count in all_of.items():
        print(f"    {kept[shot]:4d} of {count:4d}  {shot}")


def print_folder(count: int) -> None:
    from engine.coverage import cover_faceset, write_coverage
    from engine.curate import curate_faceset, restore_faceset
    from engine.facesets.faceset_folder import faceset_folders

    root = Path(tempfile.mkdtemp(prefix="dfld-curation-"))
    try:
        aligned = root / "data_src" / "aligned"
        aligned.mkdir(parents=True)
        few = [large_face(number) for number in range(min(count, 500))]
        for number in range(count):  # each with an id of its own, so that none is known by the bytes of another
            data = few[number % len(few)]
            named = replace(read_metadata(data), dfld_face_id=f"{number:032x}")
            (aligned / f"{number:08d}_0.jpg").write_bytes(with_metadata(data, named))
        (folder,) = faceset_folders(root)
        stop = threading.Event()
        for run in ("first run", "second run"):
            started = time.perf_counter()
            done = curate_faceset(
                folder, CurationSettings(), match=None, dry_run=False, why_held=lambda: "", on_wait=print, stop=stop,
                on_progress=lambda _done, _total: None,
            )  # fmt: skip
            between = time.perf_counter()
            covered = cover_faceset(folder, None, stop=stop, on_progress=lambda _done, _total: None)
            write_coverage(covered, root / "coverage.html")
            print(
                f"{count} faces on disk, {run}: features and curation {between - started:.1f} s, report "
                f"{time.perf_counter() - between:.1f} s, {done.planned} moved; peak {peak_mib():.0f} MiB"
            )
        started = time.perf_counter()
        restore_faceset(folder, why_held=lambda: "", on_wait=print, stop=stop)
        print(f"restored in {time.perf_counter() - started:.1f} s")
    finally:
        shutil.rmtree(root)


def large_face(number: int) -> bytes:
    """Return a made-up face of SIDE_PX, with as much detail as film has."""
    metadata = read_metadata(face_jpeg(number))
    noise = np.random.default_rng(number).normal(size=(SIDE_PX // 4, SIDE_PX // 4, 3)).astype(np.float32)
    rough = cv2.resize(noise, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    smooth = cv2.resize(cv2.GaussianBlur(noise, (0, 0), 6), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC)
    pixels = np.clip(120 + 700 * smooth + 6 * rough, 0, 255).astype(np.uint8)
    scaled = replace(metadata, landmarks=metadata.landmarks * (SIDE_PX / SIDE), dfld_face_id=None)
    return encode_aligned_jpeg(pixels, scaled, 95)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


if __name__ == "__main__":
    main()
