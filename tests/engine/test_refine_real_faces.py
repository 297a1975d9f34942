"""Real faces in a clip that is made here: a second pass takes noise out of their landmarks, and adds none."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.commands.demo_clip import camera_move, group_photo, write_clip
from dfl.image import read_metadata
from engine.backends.backend import Backend
from engine.backends.catalog import open_backend
from engine.face_id import box_of, face_id
from engine.facesets.faceset_folder import faceset_folders
from engine.footage.source_hash import source_sha256
from engine.footage.video import open_frames
from engine.refine import refine
from engine.types import ExtractSettings
from engine.workspace.align import align_face, encode_face

FRAMES = 5
NOISE = 0.02
"""Standard deviation, as a part of the detector's box, of each coordinate."""
SETTINGS = ExtractSettings(output_size=256)
Landmarks = Mapping[str, NDArray[np.float64]]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "group.mp4"
    write_clip(path, islice(camera_move(group_photo()), 20, 20 + FRAMES))
    return path


@pytest.fixture(scope="module")
def backend() -> Backend:
    return open_backend("dlib")


def write_faces(clip: Path, root: Path, backend: Backend, noise: float) -> Landmarks:
    """Extract every face of the clip, with noise on its landmarks; return them as they were without it."""
    rng = np.random.default_rng(1)
    aligned = root / "data_src" / "aligned"
    aligned.mkdir(parents=True)
    sha256 = source_sha256(clip, stop=threading.Event())
    right = {}
    with open_frames(clip) as reader:
        for decoded in reader:
            frame = decoded.to_frame()
            faces = backend.detect(frame.pixels)
            for place, (face, points) in enumerate(zip(faces, backend.landmarks_68(frame.pixels, faces), strict=True)):
                size = max(face.width_px, face.height_px)
                moved = (points + rng.normal(0, noise * size, points.shape)).astype(np.float32)
                identity = face_id(sha256, frame.index, box_of(face.bbox.tolist()))
                made = align_face(frame, face, moved, SETTINGS, face_id=identity)
                name = f"{frame.index:08d}_{place}.jpg"
                (aligned / name).write_bytes(encode_face(made, SETTINGS))
                right[name] = points.astype(np.float64)
    return right


def error(root: Path, right: Landmarks) -> float:
    """Mean distance from the right landmarks, as a part of the detector's box."""
    found = []
    for name, points in right.items():
        metadata = read_metadata((root / "data_src" / "aligned" / name).read_bytes())
        assert metadata.source_landmarks is not None
        assert metadata.source_rect is not None
        size = float(max(metadata.source_rect[2:] - metadata.source_rect[:2]))
        found.append(np.linalg.norm(metadata.source_landmarks - points, axis=1).mean() / size)
    return float(np.mean(found))


def refined(root: Path, clip: Path, backend: Backend) -> int:
    (folder,) = faceset_folders(root)
    report = refine(
        folder,
        backend=backend,
        videos=[clip],
        stop=threading.Event(),
        on_progress=lambda _done, _total: None,
    )
    return len(report.moved_px)


def test_the_error_of_noisy_landmarks_falls_by_more_than_half(clip: Path, backend: Backend, tmp_path: Path) -> None:
    right = write_faces(clip, tmp_path, backend, NOISE)
    assert len(right) >= 2 * FRAMES
    before = error(tmp_path, right)
    assert before > 0.02
    assert refined(tmp_path, clip, backend) >= 0.9 * len(right)
    assert error(tmp_path, right) < 0.5 * before


def test_right_landmarks_of_real_faces_stay(clip: Path, backend: Backend, tmp_path: Path) -> None:
    right = write_faces(clip, tmp_path, backend, 0.0)
    assert refined(tmp_path, clip, backend) <= 0.2 * len(right)
    assert error(tmp_path, right) < 0.004
