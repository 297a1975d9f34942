"""How the detector is run on a picture: the whole of it, a square round a known face, contrast stretched, or turned.

Each function takes pixels and gives faces in px of the frame they came from. Not for deciding who it is
(engine.tracks.verdicts) nor which faces go together (engine.tracks.linking).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.faces.boxes import centre, overlap, size_of
from engine.faces.pose import pose_of_five
from engine.frames.contract import DecodedFrame
from engine.identity.embedding import stretch_contrast
from engine.types import Face, Image

NEAR_DIVISOR = 5
"""A search near a known face looks at a fifth of the detector's usual side: a 25th of the work."""
NEAR_GROWTH = 2.2
"""Side of the searched square in face sizes: the face fills 45 % of it, which detectors like best, and may move by
half its size."""
NEAR_SIZE_RATIO = 1.7
"""A face does not grow or shrink more between two frames."""
NEAR_OVERLAP = 0.15
"""It overlaps the expected place at least so much."""
NEAR_CONFIDENCE = 0.6
"""A known face is believed at this fraction of the confidence that a new one needs: it was surely there just before."""
ROLLED_FROM_DEGREES = 25.0
"""A face rolled further is searched in a square turned upright; detectors are trained on upright faces."""
DARK_P90 = 60.0
"""A frame of whose luma nine tenths lie below this is dark: the detector looks again with the contrast stretched."""
TURNED_CONFIDENCE = 0.6
"""A face in a picture that was turned needs this: texture resembles upside-down faces more often."""


def detection_image(decoded: DecodedFrame, side_px: int) -> tuple[Image, float]:
    """Return a picture no larger than the detector looks at, and frame px per px of it."""
    longest = max(decoded.width, decoded.height)
    if longest <= side_px * 1.25:
        return decoded.to_frame().pixels, 1.0
    width = max(1, round(decoded.width * side_px / longest))
    return decoded.scaled(width), decoded.width / width


def look_everywhere(backend: Backend, image: Image, min_confidence: float, *, side_px: int | None = None) -> list[Face]:
    """Find the faces of a picture; a dark one is looked at again with its contrast stretched when it shows none.

    `side_px`: how large the detector looks, None = as large as usual.
    """
    faces = backend.detect(image, min_confidence=min_confidence, side_px=side_px)
    if faces or not is_dark(image):
        return faces
    return backend.detect(stretch_contrast(image), min_confidence=min_confidence, side_px=side_px)


def look_turned(backend: Backend, image: Image, min_confidence: float, *, side_px: int) -> list[Face]:
    """Find faces that lie on their side or stand on their head: the picture turned by 90, 180 and 270 degrees.

    `side_px`: how large the detector looks. Points keep their meaning (the eye that is left in the upright face
    first), so crops come out upright.
    """
    needed = max(min_confidence, TURNED_CONFIDENCE)
    found: list[Face] = []
    height, width = image.shape[:2]
    for quarter_turns in (1, 3, 2):
        turned = np.ascontiguousarray(np.rot90(image, quarter_turns))
        for face in backend.detect(turned, min_confidence=needed, side_px=side_px):
            upright = _turn_back(face, quarter_turns, width, height)
            if all(overlap(upright.bbox, other.bbox) < 0.3 for other in found):
                found.append(upright)
    return found


def near_side(detection_side_px: int) -> int:
    """Return how large a detector that usually looks at `detection_side_px` looks near a known face."""
    return max(64, detection_side_px // NEAR_DIVISOR)


def look_near(
    backend: Backend, image: Image, expected: Face, box: NDArray[np.floating], confidence: float
) -> Face | None:
    """Find one known face; see `look_near_each`."""
    return look_near_each(backend, image, [(expected, box)], confidence)[0]


def look_near_each(
    backend: Backend, image: Image, places: Sequence[tuple[Face, NDArray[np.floating]]], confidence: float
) -> list[Face | None]:
    """Find known faces near where they should be, in one run of the detector.

    A place is the face's latest sighting, for its roll, and the expected box, (4,) px of `image`: a square round it is
    cut out, upright by that roll. Returns for each the detection that lies best, or None.
    """
    side = near_side(backend.info.detection_side_px)
    squares = [_near_square(image, expected, box, side) for expected, box in places]
    found = backend.detect_each(
        [crop for crop, _ in squares], min_confidence=confidence * NEAR_CONFIDENCE, side_px=side
    )
    return [
        _best_near(faces, to_frame, box) for faces, (_, to_frame), (_, box) in zip(found, squares, places, strict=True)
    ]


def _near_square(
    image: Image, expected: Face, box: NDArray[np.floating], side: int
) -> tuple[Image, NDArray[np.float64]]:
    """Return the square to search, (side, side, 3), and its px -> image px."""
    roll = roll_of(expected)
    if abs(roll) < ROLLED_FROM_DEGREES:
        roll = 0.0
    crop, to_image = _square(image, centre(box), size_of(box) * NEAR_GROWTH, side, roll)
    return (stretch_contrast(crop) if is_dark(crop) else crop), to_image


def _best_near(faces: Sequence[Face], to_frame: NDArray[np.float64], box: NDArray[np.floating]) -> Face | None:
    size = size_of(box)
    best, best_overlap = None, NEAR_OVERLAP
    for face in faces:
        candidate = _map_face(face, to_frame)
        found_size = size_of(candidate.bbox)
        shared = overlap(candidate.bbox, box)
        if shared > best_overlap and max(found_size / size, size / found_size) <= NEAR_SIZE_RATIO:
            best, best_overlap = candidate, shared
    return best


def scaled_face(face: Face, scale: float) -> Face:
    """Return the face in px of a picture `scale` times as large."""
    points = None if face.landmarks_5 is None else face.landmarks_5 * scale
    return Face(face.bbox * scale, face.detection_score, points)


def roll_of(face: Face) -> float:
    """Return a face's clockwise turn in the image plane, degrees; 0 where it has no points."""
    return pose_of_five(face.landmarks_5)[1] if face.landmarks_5 is not None else 0.0


def is_dark(image: Image) -> bool:
    small = image[:: max(1, image.shape[0] // 64), :: max(1, image.shape[1] // 64)]
    return float(np.percentile(small, 90)) < DARK_P90


def _square(
    image: Image, middle: NDArray[np.float64], extent: float, side: int, roll_degrees: float
) -> tuple[Image, NDArray[np.float64]]:
    """Cut a square of `extent` px round `middle`, upright, scaled to `side`; return it and crop px -> image px."""
    # Rough copy first, by area, so that shrinking a large face does not alias; then the exact warp.
    reach = extent * (0.75 if roll_degrees else 0.55) + 2
    x0, y0 = max(0, math.floor(middle[0] - reach)), max(0, math.floor(middle[1] - reach))
    x1, y1 = min(image.shape[1], math.ceil(middle[0] + reach)), min(image.shape[0], math.ceil(middle[1] + reach))
    region = image[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
    if not region.size:
        region = image[:1, :1]
        x0 = y0 = 0
    shrink = min(1.0, side / extent)
    if shrink < 0.7:
        size = (max(1, round(region.shape[1] * shrink)), max(1, round(region.shape[0] * shrink)))
        step = region.shape[1] / size[0]
        region = np.asarray(cv2.resize(region, size, interpolation=cv2.INTER_AREA), np.uint8)
    else:
        step = 1.0
    angle = math.radians(roll_degrees)
    scale = extent / side
    linear = scale * np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    offset = middle - linear @ np.array([side / 2.0, side / 2.0])
    to_image = np.concatenate([linear, offset[:, None]], axis=1)
    to_region = to_image / step
    to_region[:, 2] -= np.array([x0, y0]) / step
    crop = cv2.warpAffine(region, to_region, (side, side), flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP)
    return np.asarray(crop, np.uint8), to_image


def _map_face(face: Face, matrix: NDArray[np.float64]) -> Face:
    """Map a face by an affine crop px -> image px; its box keeps its shape round the mapped centre."""
    scale = float(np.hypot(matrix[0, 0], matrix[1, 0]))
    middle = matrix[:, :2] @ centre(face.bbox) + matrix[:, 2]
    half = np.array([face.width_px, face.height_px]) * scale / 2.0
    points = None
    if face.landmarks_5 is not None:
        points = np.asarray(face.landmarks_5 @ matrix[:, :2].T + matrix[:, 2], np.float32)
    return Face(np.concatenate([middle - half, middle + half]), face.detection_score, points)


def _turn_back(face: Face, quarter_turns: int, width: int, height: int) -> Face:
    """Map a face found in `np.rot90(image, quarter_turns)` back into the (height, width) image."""

    def back(points: NDArray[np.float64]) -> NDArray[np.float64]:
        x, y = points[:, 0], points[:, 1]
        if quarter_turns == 1:  # rot90 sends (x, y) to (y, width - 1 - x)
            return np.stack([width - 1 - y, x], axis=1)
        if quarter_turns == 2:
            return np.stack([width - 1 - x, height - 1 - y], axis=1)
        return np.stack([y, height - 1 - x], axis=1)

    corners = back(face.bbox.astype(np.float64).reshape(2, 2))
    box = np.concatenate([corners.min(axis=0), corners.max(axis=0)])
    points = None if face.landmarks_5 is None else back(face.landmarks_5.astype(np.float64)).astype(np.float32)
    return Face(box, face.detection_score, points)
