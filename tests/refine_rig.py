"""Facesets for the second pass: painted heads with landmarks, extracted, with noise; and the pass as a program.

python -m tests.refine_rig OUT     refines the faceset of OUT, as `dfld refine OUT` does with models
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.geometry import face_mat, transform_points, warp_face
from dfl.hull import hull_mask
from dfl.image import encode_aligned_jpeg, read_metadata
from engine.extract import extract
from engine.facesets.faceset_folder import FacesetFolder, faceset_folders
from engine.refine import RefineReport, refine
from engine.types import ExtractSettings, Face, Image
from engine.workspace.align import encode_mask
from engine.workspace.file_names import Layout, output_layout
from tests.landmarked_faces import landmarks_in_frame
from tests.painted import ALICE, PaintedBackend, identity_of, picture

FRAMES = 10
SIDE = 128
NOISE = 0.02
HEAD = landmarks_in_frame()
IN_BOX = (HEAD - HEAD.min(axis=0)) / np.ptp(HEAD, axis=0) * 0.8 + 0.1


class HeadBackend(PaintedBackend):
    """Sees a head in each disc, with landmarks that are off by a little, in every place by another."""

    def landmarks_68(self, image: Image, faces: Sequence[Face]) -> NDArray[np.float32]:
        del image
        rows = []
        for face in faces:
            off = np.random.default_rng(round(float(face.bbox[0]) * 16)).normal(0, 0.003, (68, 2))
            rows.append((IN_BOX + off) * [face.width_px, face.height_px] + face.bbox[:2])
        return np.asarray(rows, np.float32).reshape(len(faces), 68, 2)


def write_images(folder: Path, wall: int = 0) -> Path:
    folder.mkdir()
    for number in range(FRAMES):
        pixels = picture([(ALICE, 100 + 4 * number, 110 + number, 42)], wall=wall)
        cv2.imwrite(str(folder / f"{number:08d}.png"), pixels)
    return folder


def extracted(root: Path) -> Layout:
    images, layout = write_images(root / "images"), output_layout(root / "out")
    settings = ExtractSettings(output_size=SIDE, max_faces_per_frame=1)
    stop = threading.Event()
    extract(images, layout, identity=identity_of(ALICE), backend=HeadBackend(), settings=settings, stop=stop)
    assert len(list(layout.aligned.iterdir())) == FRAMES
    return layout


def landmarks_in(layout: Layout) -> dict[str, NDArray[np.float64]]:
    found = {path.name: read_metadata(path.read_bytes()) for path in sorted(layout.aligned.iterdir())}
    return {name: np.asarray(one.source_landmarks) for name, one in found.items()}


def add_noise(layout: Layout, images: Path) -> None:
    """Cut every face out by landmarks with noise, as an extraction with a worse model would have."""
    rng = np.random.default_rng(1)
    for path in sorted(layout.aligned.iterdir()):
        metadata = read_metadata(path.read_bytes())
        points = np.asarray(metadata.source_landmarks) + rng.normal(0, NOISE * 84, (68, 2))
        mat = face_mat(points, SIDE, "whole_face")
        moved = replace(
            metadata, source_landmarks=points, landmarks=transform_points(points, mat), image_to_face_mat=mat
        )
        pixels = cv2.imread(str(images / str(metadata.source_filename)))
        assert pixels is not None
        path.write_bytes(encode_aligned_jpeg(warp_face(np.asarray(pixels, np.uint8), mat, SIDE), moved, 95))
        mask = encode_mask(hull_mask(SIDE, SIDE, moved.landmarks))
        (layout.masks / f"{path.stem}_mask.png").write_bytes(mask)


def refined(
    layout: Layout,
    *videos: Path,
    moved: Mapping[str, Path] = MappingProxyType({}),
    undo: bool = False,
    dry_run: bool = False,
    stop: threading.Event | None = None,
    on_progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> RefineReport:
    """Give a faceset its second pass."""
    return refine(
        folder_of(layout),
        backend=None if undo else HeadBackend(),
        videos=videos,
        moved=moved,
        dry_run=dry_run,
        stop=stop or threading.Event(),
        on_progress=on_progress,
    )


def folder_of(layout: Layout) -> FacesetFolder:
    (folder,) = faceset_folders(layout.root)
    return folder


if __name__ == "__main__":
    refined(output_layout(Path(sys.argv[1])))
