"""Facesets for tests: small aligned faces with metadata, in a workspace of their own."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from dfl.face_tables import MEAN_FACE_3D
from dfl.image import AlignedMetadata, encode_aligned_jpeg
from engine.face_id import face_id
from engine.facesets.faceset_folder import FacesetFolder, faceset_folders
from engine.workspace.align import encode_mask

SIDE = 64
SOURCE = "7" * 64
MASK = encode_mask(np.full((SIDE, SIDE), 255, np.uint8))


def face_jpeg(number: int, *, index: int = 0, scale: float = 1.0, with_id: bool = True) -> bytes:
    """An aligned face of frame `number`; its pixels differ from every other's."""
    rng = np.random.default_rng((number, index))
    yaw, pitch = rng.uniform(-0.6, 0.6), rng.uniform(-0.3, 0.3)
    around_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    points = (np.asarray(MEAN_FACE_3D, np.float64) @ around_y.T @ around_x.T)[:, :2]
    points = (points - points.min(axis=0)) / np.ptp(points, axis=0).max() * SIDE * 0.6 + SIDE * 0.2
    box = (10 + number, 10, 50 + number, 60)
    metadata = AlignedMetadata(
        face_type="whole_face",
        landmarks=points,
        source_filename=f"{number:08d}.png",
        source_rect=np.array(box),
        source_landmarks=points * 2 + number,
        image_to_face_mat=np.array([[scale, 0.0, 0.0], [0.0, scale, 0.0]]),
    )
    if with_id:
        metadata = replace(metadata, dfld_face_id=face_id(SOURCE, number, box))
    pixels = rng.integers(0, 255, (SIDE, SIDE, 3), dtype=np.uint8)
    return encode_aligned_jpeg(pixels, metadata, 90)


def make_faceset(root: Path, names: dict[str, bytes], *, masks: bool = True) -> FacesetFolder:
    """A `data_src` with these faces, each with a mask of its own bytes."""
    aligned = root / "data_src" / "aligned"
    aligned.mkdir(parents=True)
    (root / "data_src" / "masks").mkdir()
    for name, data in names.items():
        (aligned / name).write_bytes(data)
        if masks:
            (root / "data_src" / "masks" / f"{Path(name).stem}_mask.png").write_bytes(MASK + os.fsencode(name))
    (folder,) = faceset_folders(root / "data_src")
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    """Every file below a folder by its path, without what dfld keeps for itself."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and ".dfld" not in path.parts
    }


def stat_of(folder: Path) -> dict[str, tuple[int, int, int]]:
    """Mode, time and inode of every file and folder that is not dfld's own."""
    return {
        str(path.relative_to(folder)): (
            path.lstat().st_mode,
            path.lstat().st_mtime_ns if path.is_file() else 0,
            path.stat().st_ino,
        )
        for path in sorted(folder.rglob("*"))
        if ".dfld" not in path.parts
    }
