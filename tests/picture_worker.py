"""A worker with a pretended engine whose faces are real aligned JPEGs, and the real verifier and masker."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from daemon.jobs.kinds.curate import CURATE_CODECS
from daemon.jobs.kinds.extract import EXTRACT_CODECS, ExtractRequest
from daemon.jobs.kinds.mask import MASK_CODECS
from daemon.jobs.kinds.verify import VERIFY_CODECS
from daemon.worker.contract import WorkerKind
from daemon.worker.curator import Curator
from daemon.worker.masker import Masker
from daemon.worker.process import main
from daemon.worker.verifier import Verifier
from dfl.face_tables import MEAN_FACE_3D
from dfl.image import AlignedMetadata, encode_aligned_jpeg
from tests.fake_worker import FakeExtractor

SIDE = 64


def aligned_jpeg(slug: str, frame: int, face_id: str) -> bytes:
    """Return a small aligned JPEG; clip and frame decide its pixels."""
    random = np.random.default_rng([frame, *slug.encode()])
    pixels = random.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    landmarks = head_landmarks(yaw=random.uniform(-0.6, 0.6), pitch=random.uniform(-0.3, 0.3))
    metadata = AlignedMetadata(
        face_type="whole_face",
        landmarks=landmarks,
        source_filename=f"{frame:08d}.png",
        source_rect=np.array([1, 2, 3, 4]),
        source_landmarks=landmarks + 100,
        image_to_face_mat=np.eye(2, 3),
        dfld_face_id=face_id,
    )
    return encode_aligned_jpeg(pixels, metadata, 95)


def head_landmarks(*, yaw: float, pitch: float) -> NDArray[np.float64]:
    """Return the (68, 2) landmarks of a turned head in px of the picture; angles in radians."""
    around_y = np.array([[np.cos(yaw), 0, np.sin(yaw)], [0, 1, 0], [-np.sin(yaw), 0, np.cos(yaw)]])
    around_x = np.array([[1, 0, 0], [0, np.cos(pitch), -np.sin(pitch)], [0, np.sin(pitch), np.cos(pitch)]])
    points = (np.asarray(MEAN_FACE_3D, np.float64) @ around_y.T @ around_x.T)[:, :2]
    return np.asarray((points - points.min(axis=0)) / np.ptp(points, axis=0).max() * SIDE * 0.6 + SIDE * 0.2)


class PictureExtractor(FakeExtractor):
    def picture(self, order: ExtractRequest, frame: int, face_id: str) -> bytes:
        return aligned_jpeg(order.slug, frame, face_id)


if __name__ == "__main__":
    main(
        {
            "extract": WorkerKind(EXTRACT_CODECS, PictureExtractor),
            "verify": WorkerKind(VERIFY_CODECS, Verifier),
            "mask": WorkerKind(MASK_CODECS, Masker),
            "curate": WorkerKind(CURATE_CODECS, Curator),
        }
    )
