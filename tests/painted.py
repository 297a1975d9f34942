"""Pictures of painted people, and a backend that knows them: the pipeline without models.

A person is a coloured disc on a gray wall; the colour is the identity, faint colour is an unsure detection.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import BackendInfo
from engine.footage.image_folder import DecodedImage
from engine.types import Face, Identity, Image

SIZE = (320, 240)
ALICE, BOB, CAROL = (255, 40, 40), (40, 255, 40), (40, 40, 255)
FAINT_ALICE = (150, 95, 95)
DIMENSIONS = 3


def picture(people: Iterable[tuple[tuple[int, int, int], float, float, float]], *, wall: int = 0) -> Image:
    """Draw (colour, x, y, radius) discs on a wall with a pattern of its own (`wall` picks it)."""
    blocks = np.random.default_rng(wall).integers(60, 200, (12, 16))
    gray = np.kron(blocks, np.ones((20, 20)))[: SIZE[1], : SIZE[0]].astype(np.uint8)
    drawn = np.ascontiguousarray(np.repeat(gray[:, :, None], 3, axis=2))
    for colour, x, y, radius in people:
        cv2.circle(drawn, (round(x), round(y)), round(radius), colour, -1)
    return drawn


def frames(pictures: Iterable[Image]) -> list[DecodedImage]:
    return [DecodedImage(one, index=n, name=f"{n}.png", packets_damaged=0) for n, one in enumerate(pictures)]


def identity_of(colour: tuple[int, int, int]) -> Identity:
    row = _embedding(np.full((8, 8, 3), colour, np.uint8))
    return Identity("wanted", "painted", "painted", "cosine", row[None], row, ("photo.png",))


class PaintedBackend:
    """Finds coloured discs; counts the pictures it looked at, whole and cut out."""

    def __init__(self) -> None:
        self.whole_looks = 0
        self.near_looks = 0
        self.asked = 0

    @property
    def info(self) -> BackendInfo:
        return BackendInfo(
            "painted", (), "painted", DIMENSIONS, "cosine", 0.4, "cpu", {}, detection_side_px=4 * SIZE[0]
        )

    def detect(self, image: Image, *, min_confidence: float = 0.5, side_px: int | None = None) -> list[Face]:
        if side_px is None:
            self.whole_looks += 1
        else:
            self.near_looks += 1
        spread = image.max(axis=2).astype(np.int16) - image.min(axis=2)
        count, _, boxes, _ = cv2.connectedComponentsWithStats((spread > 25).astype(np.uint8))
        found = []
        for x, y, width, height, area in boxes[1:count]:
            if area < 20:
                continue
            score = float(min(0.95, spread[y : y + height, x : x + width].max() / 160))
            if score >= min_confidence:
                found.append(Face(np.array([x, y, x + width, y + height]), score, _five(x, y, width, height)))
        return sorted(found, key=lambda face: -face.width_px * face.height_px)

    def detect_each(
        self, images: Sequence[Image], *, min_confidence: float = 0.5, side_px: int | None = None
    ) -> list[list[Face]]:
        return [self.detect(image, min_confidence=min_confidence, side_px=side_px) for image in images]

    def landmarks_68(self, image: Image, faces: Sequence[Face]) -> NDArray[np.float32]:
        del image
        angles = np.linspace(0, 2 * np.pi, 68, endpoint=False)
        ring = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 0.4
        rows = [(ring + 0.5) * [face.width_px, face.height_px] + face.bbox[:2] for face in faces]
        return np.asarray(rows, np.float32).reshape(len(faces), 68, 2)

    def recognition_crop(self, image: Image, face: Face) -> Image:
        x1, y1, x2, y2 = (round(float(value)) for value in face.bbox)
        quarter = max(1, (x2 - x1) // 4)
        inner = image[max(0, y1 + quarter) : max(1, y2 - quarter), max(0, x1 + quarter) : max(1, x2 - quarter)]
        return np.asarray(cv2.resize(inner, (8, 8), interpolation=cv2.INTER_AREA), np.uint8)

    def embed(self, crops: Sequence[Image]) -> NDArray[np.float32]:
        self.asked += len(crops)
        return np.stack([_embedding(crop) for crop in crops])


def _embedding(crop: Image) -> NDArray[np.float32]:
    colour = crop.reshape(-1, 3).mean(axis=0)
    colour = colour - colour.min() + 1e-3
    return np.asarray(colour / np.linalg.norm(colour), np.float32)


def _five(x: float, y: float, width: float, height: float) -> NDArray[np.float32]:
    shares = np.array([[0.3, 0.35], [0.7, 0.35], [0.5, 0.55], [0.35, 0.75], [0.65, 0.75]])
    return np.asarray(shares * [width, height] + [x, y], np.float32)


def boxes_of(found: Mapping[int, Face]) -> dict[int, tuple[float, float]]:
    """Centres by frame, for comparing with where people were painted."""
    return {
        frame: (float(face.bbox[0] + face.bbox[2]) / 2, float(face.bbox[1] + face.bbox[3]) / 2)
        for frame, face in found.items()
    }
