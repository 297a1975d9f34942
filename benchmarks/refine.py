"""What a second pass over a faceset does to its landmarks: those with noise, and those that were right.

usage: python benchmarks/refine.py [--shared DIR] [--noise PART] [--seed N] [--every N]

Each labelled clip is extracted with the shared pack. Of its faces two facesets are made: as they are ("clean"), and
with noise on each of the 68 points in the frame ("noisy": normal, its standard deviation 2 % of the detector's box),
cut out anew by them. Both are refined by the engine, and measured before and after:
  points   mean distance of the 68 points from those before the noise, as a fraction of the box;
  five     mean distance of eyes, nose and mouth corners from the clip's truth, in eye distances. The truth marks the
           same five places a little elsewhere than the middle of eyes and corners of the 68 points lie, always to the
           same side: beside the plain number stands the one without that constant offset.
Exit 0: both errors of noisy faces fall by at least 40 %, and none of clean ones rises by more than 1 %.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import tempfile
import threading
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from truth import SHARED, Case, labelled_cases  # noqa: E402

from dfl.geometry import face_mat, transform_points, warp_face  # noqa: E402
from dfl.image import encode_aligned_jpeg, read_metadata  # noqa: E402
from engine.backends.backend import Backend  # noqa: E402
from engine.backends.catalog import open_backend  # noqa: E402
from engine.extract import extract  # noqa: E402
from engine.faces.warps import fit_warp, five_of_68  # noqa: E402
from engine.facesets.faceset_folder import faceset_folders  # noqa: E402
from engine.footage.video import open_frames  # noqa: E402
from engine.identity.identity import build_identity  # noqa: E402
from engine.refine import refine  # noqa: E402
from engine.types import ExtractSettings  # noqa: E402
from engine.workspace.file_names import output_layout  # noqa: E402

Points = NDArray[np.float64]
FALL_MIN = 0.40
RISE_MAX = 0.01
UPRIGHT_FIVE = np.array([[0.3, 0.4], [0.7, 0.4], [0.5, 0.6], [0.35, 0.8], [0.65, 0.8]])
"""A face of eye distance 0.4 in which offsets from the truth are compared."""


@dataclass(frozen=True)
class Errors:
    """Of one faceset."""

    points: float
    five: float | None
    five_without_offset: float | None
    """None where the clip's truth has no points."""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--shared", type=Path, default=SHARED)
    parser.add_argument("--noise", type=float, default=0.02, metavar="PART")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="of the faces, one in so many")
    options = parser.parse_args()
    backend = open_backend(
        "insightface", model_root=options.shared / "models", model_pack="insightface_mini", device="cpu"
    )
    fine = True
    for case in labelled_cases(options.shared):
        with tempfile.TemporaryDirectory() as folder:
            fine &= _measure(case, Path(folder), backend, options)
    return 0 if fine else 1


def _measure(case: Case, folder: Path, backend: Backend, options: argparse.Namespace) -> bool:
    identity, _ = build_identity(list(case.references), backend, name=case.who)
    layout = output_layout(folder / "clean")
    stop = threading.Event()
    extract(case.clip, layout, identity=identity, backend=backend, settings=ExtractSettings(), stop=stop)
    for place, path in enumerate(sorted(layout.aligned.iterdir())):
        if place % options.every:
            path.unlink()
    shutil.copytree(folder / "clean", folder / "noisy")
    right = _landmarks_in(layout.aligned)
    add_noise(folder / "noisy" / "aligned", case.clip, options.noise, options.seed)
    truth, offset = _truth(case), np.zeros((5, 2))
    if truth:
        offs = [_off(right[name], truth[name[:8]]) for name in right if name[:8] in truth]
        offset = np.median(offs, axis=0)
    fine = True
    for kind in ("clean", "noisy"):
        aligned = folder / kind / "aligned"
        before = _errors(_landmarks_in(aligned), right, truth, offset)
        (found,) = faceset_folders(folder / kind)
        report = refine(found, backend=backend, videos=[case.clip], stop=stop, on_progress=lambda _done, _total: None)
        after = _errors(_landmarks_in(aligned), right, truth, offset)
        print(f"{case.name}, {kind}: {len(report.moved_px)} of {len(report.faces)} faces moved {dict(report.outcomes)}")
        for name in ("points", "five", "five_without_offset"):
            one, other = getattr(before, name), getattr(after, name)
            if one is None or other is None:
                continue
            print(
                f"  {name.replace('_', ' '):20s} {one:.4f} -> {other:.4f}"
                + (f" ({other / one - 1:+.0%})" if one else "")
            )
            if kind == "noisy" and name != "five":
                fine &= other <= (1 - FALL_MIN) * one
            if kind == "clean" and name != "points":
                fine &= other <= (1 + RISE_MAX) * one
    return fine


def add_noise(aligned: Path, clip: Path, noise: float, seed: int) -> None:
    """Give the faces of a folder landmarks with noise, and cut each out by them."""
    names: dict[str, list[Path]] = {}
    for path in sorted(aligned.iterdir()):
        names.setdefault(str(read_metadata(path.read_bytes()).source_filename), []).append(path)
    rng = np.random.default_rng(seed)
    with open_frames(clip) as reader:
        for decoded in reader:
            for path in names.get(decoded.source_filename, []):
                metadata = read_metadata(path.read_bytes())
                assert metadata.source_landmarks is not None
                assert metadata.source_rect is not None
                points = metadata.source_landmarks + rng.normal(0.0, noise * _box_size(metadata.source_rect), (68, 2))
                mat = face_mat(points, 512, metadata.face_type)
                aligned_points = transform_points(points, mat)
                moved = replace(metadata, source_landmarks=points, landmarks=aligned_points, image_to_face_mat=mat)
                path.write_bytes(encode_aligned_jpeg(warp_face(decoded.to_frame().pixels, mat, 512), moved, 95))


def _landmarks_in(aligned: Path) -> dict[str, tuple[Points, float]]:
    """Return the landmarks in the frame and the size of the box of each face, by name."""
    found: dict[str, tuple[Points, float]] = {}
    for path in sorted(aligned.iterdir()):
        metadata = read_metadata(path.read_bytes())
        assert metadata.source_landmarks is not None
        assert metadata.source_rect is not None
        found[path.name] = np.asarray(metadata.source_landmarks), _box_size(metadata.source_rect)
    return found


def _box_size(box: NDArray[np.int64]) -> float:
    return float(max(box[2] - box[0], box[3] - box[1]))


def _truth(case: Case) -> dict[str, Points]:
    """Return the five points of the person in each frame, by its number in eight digits, where the truth has any."""
    frames = json.loads(case.truth.read_text())["frames"]
    return {
        f"{frame['frame']:08d}": np.array(face["kps"])
        for frame in frames
        for face in frame["faces"]
        if face["who"] == case.who and "kps" in face
    }


def _errors(
    found: Mapping[str, tuple[Points, float]],
    right: Mapping[str, tuple[Points, float]],
    truth: Mapping[str, Points],
    offset: Points,
) -> Errors:
    points = [np.linalg.norm(found[name][0] - one, axis=1).mean() / size for name, (one, size) in right.items()]
    if not truth:
        return Errors(float(np.mean(points)), None, None)
    offs = np.array([_off(found[name], truth[name[:8]]) for name in right if name[:8] in truth])
    plain, without = (float(np.linalg.norm(one, axis=2).mean()) / 0.4 for one in (offs, offs - offset))
    return Errors(float(np.mean(points)), plain, without)


def _off(landmarks: tuple[Points, float], five: Points) -> Points:
    """Return how far the five points of 68 lie from the true ones, in a face turned upright, of eye distance 0.4."""
    upright = fit_warp(five, UPRIGHT_FIVE)
    mine = five_of_68(landmarks[0]).astype(np.float64)
    return (mine - five) @ upright[:, :2].T


if __name__ == "__main__":
    sys.exit(main())
