"""Whether a predicted mask can be the face's: it is held against the hull of the landmarks. Pure.

Every check has a measured value and its limits, so that a refusal says by how much. `area`, `overlap`, `largest_part`,
`centres`, `outside` and `holes` decide most. The others refuse what those let pass (benchmarks/mask_choice.py):
`offset` a hull that slid onto the forehead, `parts` and `hole_count` a dozen small spots or holes, `filled` a full mask
of a frontal half face, whose hull fills nearly all of the picture as well.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from dfl.hull import FACE, expand_eyebrows, hull_mask

CheckName = Literal[
    "hull", "area", "overlap", "offset", "largest_part", "parts", "centres", "outside", "holes", "hole_count", "filled"
]

SIDE_PX = 256
"""Larger masks are judged at this size, which is that of the masks that DeepFaceLab stores."""
AREA = (0.45, 1.80)
"""Area of the mask over that of the hull."""
OVERLAP_MIN = 0.45
"""Intersection over union of mask and hull."""
OFFSET_MAX = 0.17
"""Of the face's width: from the middle of the mask to the nearest place where that of hull and forehead can lie, with
none to all of the forehead that the picture shows. A hidden cheek or chin moves it by up to that much, a shift by 0.4
by 0.19 or more."""
LARGEST_PART_MIN = 0.92
"""Of the mask, its largest connected part."""
PARTS_MAX = 6
"""Connected parts. A fringe or the rims of glasses leave two or three."""
HOLE_COUNT_MAX = 6
"""Enclosed holes: two eyes, a mouth and nostrils are five."""
SMALLEST_PART = 0.001
"""Of the hull's area: smaller parts and holes are not counted, single pixels of a soft edge."""
OUTSIDE_MAX = 0.08
"""Of the mask, what lies outside of hull and forehead, both grown by GROWTH."""
GROWTH = 0.10
"""Of the face's width."""
HOLES_MAX = 0.05
"""Of the hull, what the mask encloses and leaves out."""
SEAL = 0.01
"""Of the face's width: gaps up to twice as wide do not open a hole to the outside."""
FILLED_MAX = 0.999
"""Of the picture. A mask that covers all of it parts nothing; where that is true of the face, so does the hull."""
CENTRE_RADIUS = 0.02
"""Of the face's width: a centre counts as covered where at least half of such a disc is."""
CENTRE_DEPTH = 0.08
"""Of the face's width: a centre nearer to the outline of jaw and brows is not asked for: the far eye of a profile."""
NO_LIMIT = float("inf")


@dataclass(frozen=True)
class MaskCheck:
    """One check of one mask."""

    name: CheckName
    measured: float
    low: float
    high: float

    @property
    def passed(self) -> bool:
        return self.low <= self.measured <= self.high

    @property
    def sentence(self) -> str:
        """What was measured and what is expected: `area 0.21 of the hull, expected 0.45 to 1.80`."""
        what = _WORDS[self.name].format(self.measured)
        if self.high == NO_LIMIT:
            return f"{what}, expected {self.low:g} or more"
        return f"{what}, expected {f'{self.low:g} to ' if self.low else 'at most '}{self.high:g}"


_WORDS: dict[CheckName, str] = {
    "hull": "{:.0f} px of the hull in the picture",
    "area": "area {:.2f} of the hull",
    "overlap": "overlap with the hull {:.2f}",
    "offset": "middle {:.2f} of the face's width off the face's",
    "largest_part": "largest part {:.2f} of the mask",
    "parts": "{:.0f} separate parts",
    "centres": "{:.0f} of eyes and mouth uncovered",
    "outside": "{:.2f} of the mask far outside the face",
    "holes": "holes {:.2f} of the hull",
    "hole_count": "{:.0f} holes",
    "filled": "{:.3f} of the picture covered",
}


def check_mask(
    is_face: NDArray[np.bool_],
    landmarks_px: NDArray[np.float64],
    *,
    eyebrows_expand_mod: float = 1.0,
    excluded: NDArray[np.bool_] | None = None,
) -> tuple[MaskCheck, ...]:
    """Given an (S, S) mask and the (68, 2) landmarks in its px, return every check of it, in a fixed order.

    Where the picture shows nothing of the hull, there is nothing to hold the mask against: `hull` is the only check.

    `excluded`: (S, S) pixels that a person's polygons exclude; eyes and a mouth that lie there need not be covered.
    Raise FormatError for landmarks nowhere near the picture.
    """
    side = min(SIDE_PX, is_face.shape[0])
    landmarks = np.asarray(landmarks_px, np.float64) * (side / is_face.shape[0])
    mask, hidden = _resized(is_face, side), None if excluded is None else _resized(excluded, side)
    hull = hull_mask(side, side, landmarks, eyebrows_expand_mod=eyebrows_expand_mod) == FACE
    width = max(1.0, float(np.ptp(landmarks[:27, 0])))
    face, both = int(hull.sum()), int((hull & mask).sum())
    if not face:
        return (MaskCheck("hull", face, 1, NO_LIMIT),)
    parts, area, smallest = _part_areas(mask), int(mask.sum()), SMALLEST_PART * face
    holes = _holes(mask, SEAL * width) & hull
    whole, near = _with_forehead(side, landmarks, eyebrows_expand_mod, GROWTH * width)
    return (
        MaskCheck("area", area / face, *AREA),
        MaskCheck("overlap", both / (face + area - both), OVERLAP_MIN, NO_LIMIT),
        MaskCheck("offset", _offset_px(mask, hull, whole) / width, 0, OFFSET_MAX),
        MaskCheck("largest_part", max(parts, default=0) / max(area, 1), LARGEST_PART_MIN, NO_LIMIT),
        MaskCheck("parts", sum(part >= smallest for part in parts), 0, PARTS_MAX),
        MaskCheck("centres", _uncovered_centres(mask, landmarks, width, hidden), 0, 0),
        MaskCheck("outside", int((mask & ~near).sum()) / max(area, 1), 0, OUTSIDE_MAX),
        MaskCheck("holes", int(holes.sum()) / face, 0, HOLES_MAX),
        MaskCheck("hole_count", sum(hole >= smallest for hole in _part_areas(holes)), 0, HOLE_COUNT_MAX),
        MaskCheck("filled", area / mask.size, 0, FILLED_MAX),
    )


def failed(checks: tuple[MaskCheck, ...]) -> MaskCheck | None:
    """Return the first check that a mask did not pass; None for a mask that can be the face's."""
    return next((check for check in checks if not check.passed), None)


def _resized(mask: NDArray[np.bool_], side: int) -> NDArray[np.bool_]:
    if mask.shape[0] == side:
        return mask
    smaller = cv2.resize(mask.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller >= 0.5)


def _offset_px(mask: NDArray[np.bool_], hull: NDArray[np.bool_], whole: NDArray[np.bool_]) -> float:
    """Return how far the middle of the mask lies from the line that joins those of the hull and of hull and forehead.

    0 for an empty mask, which `area` refuses.
    """
    if not mask.any():
        return 0.0
    middle, low, high = (_middle(one) for one in (mask, hull, whole))
    length = float(np.dot(high - low, high - low))
    share = min(1.0, max(0.0, float(np.dot(middle - low, high - low)) / length)) if length else 0.0
    return float(np.linalg.norm(middle - (low + share * (high - low))))


def _middle(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    moments = cv2.moments(mask.astype(np.uint8), binaryImage=True)
    return np.array([moments["m10"], moments["m01"]]) / moments["m00"]


def _part_areas(mask: NDArray[np.bool_]) -> list[int]:
    """Return the area of each connected part, px."""
    _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return [int(one) for one in stats[1:, cv2.CC_STAT_AREA]]


def _with_forehead(
    side: int, landmarks: NDArray[np.float64], eyebrows_expand_mod: float, growth_px: float
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return hull and forehead, and both grown; each (side, side) bool.

    The hull ends above the brows, while networks mark skin up to the hair. The hairline lies as far above the brows as
    the nose's base lies below them (the canon of facial thirds).
    """
    room = int(np.ceil(growth_px)) + 1
    points = landmarks + room
    whole = hull_mask(side + 2 * room, side + 2 * room, points, eyebrows_expand_mod=eyebrows_expand_mod)
    brows = expand_eyebrows(points, eyebrows_expand_mod)[17:27]
    third = points[17:27].mean(axis=0) - points[33]
    forehead = np.concatenate([brows, np.trunc(points[17:27] + third).astype(np.int32)])
    cv2.fillConvexPoly(whole, cv2.convexHull(forehead), (FACE,))
    away = cv2.distanceTransform(np.where(whole == FACE, np.uint8(0), np.uint8(1)), cv2.DIST_L2, cv2.DIST_MASK_5)
    inner = (slice(room, room + side),) * 2
    return np.asarray(whole[inner] == FACE), np.asarray(away[inner] <= growth_px)


def _uncovered_centres(
    mask: NDArray[np.bool_], landmarks: NDArray[np.float64], width: float, excluded: NDArray[np.bool_] | None
) -> int:
    """Count the centres of eyes and mouth that lie in the picture, well within the face, and not in the mask."""
    side = mask.shape[0]
    outline = cv2.convexHull(landmarks[:27].astype(np.float32))
    count = 0
    for part in (slice(36, 42), slice(42, 48), slice(60, 68)):
        centre = landmarks[part].mean(axis=0)
        x, y = (int(one) for one in np.rint(centre))
        depth_px = cv2.pointPolygonTest(outline, (float(centre[0]), float(centre[1])), True)
        if not (0 <= x < side and 0 <= y < side) or depth_px < CENTRE_DEPTH * width:
            continue
        if excluded is not None and excluded[y, x]:
            continue
        reach = max(1, round(CENTRE_RADIUS * width))
        disc = mask[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1]
        count += bool(disc.mean() < 0.5)
    return count


def _holes(mask: NDArray[np.bool_], seal_px: float) -> NDArray[np.bool_]:
    """Return the pixels that the mask encloses and leaves out; the picture's border encloses nothing."""
    size = 2 * round(seal_px) + 1
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    sealed = np.asarray(cv2.morphologyEx(mask.astype(np.uint8), cv2.MORPH_CLOSE, kernel) > 0)
    count, parts = cv2.connectedComponents((~sealed).astype(np.uint8), connectivity=4)
    is_open = np.zeros(count, np.bool_)
    is_open[np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])] = True
    is_open[0] = False
    return np.asarray(~mask & ~is_open[parts])
