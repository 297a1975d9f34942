"""How well the automatic choice parts broken masks from good ones, over face types, poses and kinds of masks.

usage: python benchmarks/mask_choice.py [--faces N] [--seed N]

Faces are DeepFaceLab's mean face, turned by up to 75° and jittered, cut out as each face type. For each face every kind
of good and broken mask is made and handed to the choice as if XSeg had predicted it. Broken: nothing, everything, the
hull shifted by 0.4 of its width, twelve spots, twelve holes (each 0.08 of the hull's width across, or of that radius).
Good: the hull as it is, grown, shrunk, with the forehead, with a ragged or soft edge, with a part hidden. Prints how
many of each kind and face type were accepted, and why the others were refused; then how many of the masks that jump in
one frame of a made track are found, and how many others are named. Exit 0: every broken mask is refused
with a reason, and at least 98 % of the good ones are accepted.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from dfl.face_tables import MEAN_FACE_3D  # noqa: E402
from dfl.geometry import face_mat, transform_points  # noqa: E402
from dfl.hull import hull_mask  # noqa: E402
from dfl.image import AlignedMetadata  # noqa: E402
from engine.masks.choose import MaskChoice, MaskSources, choose_mask  # noqa: E402
from engine.masks.flicker import PlacedMask, flickering  # noqa: E402
from engine.masks.source import FaceToMask, PredictedMask  # noqa: E402
from engine.types import FACE_TYPE_PADDINGS  # noqa: E402

Mask = NDArray[np.bool_]
SIDE_PX = 256
SPOTS = 12
SPOT = 0.08
SHIFT = 0.4
"""Of the hull's width: what makes a mask a broken one."""
GOOD_MIN = 0.98


@dataclass(frozen=True)
class MadeFace:
    """A face, its hull beyond the picture's border too, and the hull's width in px."""

    face: FaceToMask
    around: Mask
    """(3S, 3S): the picture is the middle ninth."""
    width_px: float

    @property
    def hull(self) -> Mask:
        return in_picture(self.around)


@dataclass(frozen=True)
class Given:
    """A source that predicts what it is given."""

    mask: Mask
    name = "xseg"
    model_sha = "0" * 64

    def masks(self, faces: Sequence[FaceToMask]) -> Sequence[PredictedMask]:
        return [PredictedMask(self.mask.astype(np.float32), self.name, self.model_sha) for _ in faces]


def made_faces(count: int, rng: np.random.Generator) -> Iterator[MadeFace]:
    """Yield faces of all face types in turn, turned at random."""
    kinds = list(FACE_TYPE_PADDINGS)
    for number in range(count):
        yield made_face(kinds[number % len(kinds)], rng)


def made_face(face_type: str, rng: np.random.Generator) -> MadeFace:
    """Return one face of the type: yaw up to 75°, pitch up to 25°, roll up to 180°, points jittered by 1 %."""
    yaw, pitch, roll = (math.radians(rng.uniform(-most, most)) for most in (75, 25, 180))
    about_y = [[math.cos(yaw), 0, math.sin(yaw)], [0, 1, 0], [-math.sin(yaw), 0, math.cos(yaw)]]
    about_x = [[1, 0, 0], [0, math.cos(pitch), -math.sin(pitch)], [0, math.sin(pitch), math.cos(pitch)]]
    about_z = [[math.cos(roll), -math.sin(roll), 0], [math.sin(roll), math.cos(roll), 0], [0, 0, 1]]
    points = (np.array(MEAN_FACE_3D) @ (np.array(about_z) @ np.array(about_x) @ np.array(about_y)).T)[:, :2]
    points += rng.normal(scale=0.01 * np.ptp(points[:, 0]), size=points.shape)
    mat = face_mat(points, SIDE_PX, face_type)
    landmarks = transform_points(points, mat)
    metadata = AlignedMetadata(face_type, landmarks, source_landmarks=points, image_to_face_mat=mat)
    around = hull_mask(3 * SIDE_PX, 3 * SIDE_PX, landmarks + SIDE_PX) > 0
    columns = np.nonzero(around.any(axis=0))[0]
    face = FaceToMask(np.full((SIDE_PX, SIDE_PX, 3), 128, np.uint8), metadata)
    return MadeFace(face, around, float(columns[-1] - columns[0] + 1))


def in_picture(around: Mask) -> Mask:
    return around[SIDE_PX : 2 * SIDE_PX, SIDE_PX : 2 * SIDE_PX]


def good_masks(made: MadeFace, rng: np.random.Generator) -> Iterator[tuple[str, Mask]]:
    """Yield each kind of good mask, by name."""
    edge = signed_distance(made.around)
    noise = cv2.GaussianBlur(rng.normal(size=edge.shape).astype(np.float32), (0, 0), 4)
    forehead = with_forehead(made, rng.uniform(0.3, 1.0))
    yield "hull", made.hull
    yield "grown", in_picture(edge > -rng.uniform(0.02, 0.07) * made.width_px)
    yield "shrunk", in_picture(edge > rng.uniform(0.02, 0.07) * made.width_px)
    yield "forehead", in_picture(forehead)
    yield "ragged", in_picture(edge + noise * (0.03 * made.width_px / noise.std()) > 0)
    small = cv2.resize(in_picture(forehead).astype(np.float32), (64, 64), interpolation=cv2.INTER_AREA)
    yield "soft", np.asarray(cv2.resize(small, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC) >= 0.5)
    yield "hidden", made.hull & ~hiding(made, rng)


def broken_masks(made: MadeFace, rng: np.random.Generator) -> Iterator[tuple[str, Mask]]:
    """Yield each kind of broken mask, by name; spots only where the picture has room for them outside the face."""
    yield "empty", np.zeros_like(made.hull)
    yield "full", np.ones_like(made.hull)
    angle = rng.uniform(0, 2 * math.pi)
    by = SHIFT * made.width_px * np.array([math.cos(angle), math.sin(angle)])
    alone = np.zeros_like(made.around)
    alone[SIDE_PX : 2 * SIDE_PX, SIDE_PX : 2 * SIDE_PX] = made.hull
    yield "shifted", in_picture(np.roll(alone, np.rint(by).astype(int), axis=(0, 1)))
    for name, radius in (("", SPOT * made.width_px / 2), (" of double size", SPOT * made.width_px)):
        only = discs(np.ones_like(made.hull), radius, rng)
        outside = discs(~made.hull, radius, rng)
        inside = discs(made.hull, radius, rng)
        if only is not None:
            yield f"only spots{name}", only
        if outside is not None:
            yield f"spots{name}", made.hull | outside
        if inside is not None:
            yield f"holes{name}", made.hull & ~inside


def signed_distance(mask: Mask) -> NDArray[np.float32]:
    """Return how deep a pixel lies in the mask, px; negative outside."""
    inside, outside = (
        cv2.distanceTransform(np.asarray(one, np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for one in (mask, ~mask)
    )
    return np.asarray(inside - outside)


def with_forehead(made: MadeFace, share: float) -> Mask:
    """Return the hull with this share of the forehead: brows to hair are as long as nose to brows."""
    points = made.face.metadata.landmarks + SIDE_PX
    up = share * (points[17:27].mean(axis=0) - points[33])
    shape = np.concatenate([points[17:27], points[17:27] * [0.9, 1] + [0.1 * points[17:27, 0].mean(), 0] + up])
    drawn = made.around.astype(np.uint8)
    cv2.fillConvexPoly(drawn, cv2.convexHull(shape.astype(np.int32)), (1,))
    return drawn > 0


def hiding(made: MadeFace, rng: np.random.Generator) -> Mask:
    """Return a strip that hides the chin or an edge of the face, eyes and mouth left free: a hand, a collar, hair."""
    points = made.face.metadata.landmarks
    rows, columns = np.mgrid[0:SIDE_PX, 0:SIDE_PX]
    free = np.concatenate([points[36:48], points[48:68]])
    room = 0.03 * made.width_px
    kind = rng.integers(4)
    if kind == 0:
        return np.asarray(rows > free[:, 1].max() + room)
    if kind == 1:
        return np.asarray(rows < free[:, 1].min() - room)
    return np.asarray(columns > free[:, 0].max() + room if kind == 2 else columns < free[:, 0].min() - room)


def discs(where: Mask, radius: float, rng: np.random.Generator) -> Mask | None:
    """Return SPOTS discs, apart from each other and wholly within `where`; None where they find no room."""
    drawn = np.zeros(where.shape, np.uint8)
    free = np.pad(where, 1, mode="edge")
    for _ in range(SPOTS):
        deep = cv2.distanceTransform(free.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)[1:-1, 1:-1]
        rows, columns = np.nonzero(deep > radius + 1)
        if not rows.size:
            return None
        one = int(rng.integers(rows.size))
        centre = (int(columns[one]), int(rows[one]))
        cv2.circle(drawn, centre, round(radius), (1,), cv2.FILLED)
        taken = cv2.circle(np.zeros(free.shape, np.uint8), (centre[0] + 1, centre[1] + 1), round(radius) + 1, (1,), -1)
        free &= taken == 0
    return drawn > 0


def chosen(made: MadeFace, mask: Mask) -> MaskChoice:
    """Let the choice decide on a mask as if XSeg had predicted it."""
    return choose_mask(made.face, "auto", MaskSources(xseg=Given(mask)))


def is_accepted(choice: MaskChoice) -> bool:
    return choice.mask is not None and choice.mask.source == Given.name


@dataclass
class Tally:
    """What became of each mask, by quality, kind and face type; and why masks were refused."""

    accepted: dict[tuple[str, str, str], list[bool]]
    reasons: dict[tuple[str, str], Counter[str]]

    def of(self, quality: str) -> list[bool]:
        return [one for key, each in self.accepted.items() if key[0] == quality for one in each]


def measure(faces: int, seed: int) -> Tally:
    """Let the choice decide on every kind of mask of that many faces."""
    rng = np.random.default_rng(seed)
    tally = Tally({}, {})
    for made in made_faces(faces, rng):
        for quality, masks in (("good", good_masks(made, rng)), ("broken", broken_masks(made, rng))):
            for kind, mask in masks:
                choice = chosen(made, mask)
                key = (quality, kind, made.face.metadata.face_type)
                tally.accepted.setdefault(key, []).append(is_accepted(choice))
                reason = choice.refused[0].reason.partition(",")[0] if choice.refused else "accepted"
                words = " ".join(word for word in reason.split() if word[0].isalpha())
                tally.reasons.setdefault((quality, kind), Counter())[words] += 1
    return tally


def jumps_found(tracks: int, seed: int) -> tuple[int, int]:
    """Return how many of so many jumps, one a track of 60 frames, are named, and how many faces beside them."""
    rng = np.random.default_rng(seed)
    found = others = 0
    for track in range(tracks):
        areas = rng.uniform(0.8, 1.2) * (1.0 + 0.03 * rng.normal(size=60))
        yaw = np.cumsum(rng.normal(scale=1.0, size=60))
        jump = int(rng.integers(1, 59))
        areas[jump] *= rng.choice([0.5, 2.0])
        named = flickering(
            [
                PlacedMask(
                    str(at), str(track), at, (at, 0.0, at + 90.0, 110.0), float(areas[at]), (float(yaw[at]), 0.0, 0.0)
                )
                for at in range(60)
            ]
        )
        is_found = str(jump) in named and abs(int(named[str(jump)].neighbour) - jump) == 1
        found += is_found
        others += len(named) - is_found
    return found, others


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--faces", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    tally = measure(options.faces, options.seed)
    for (quality, kind, face_type), each in sorted(tally.accepted.items()):
        print(f"{quality:6} {kind:26} {face_type:12} accepted {sum(each):4} of {len(each)}")
    for (quality, kind), counted in tally.reasons.items():
        print(f"{quality} {kind}: {', '.join(f'{count} {words}' for words, count in counted.most_common())}")
    good, broken = tally.of("good"), tally.of("broken")
    print(f"good masks accepted: {sum(good)} of {len(good)} ({np.mean(good):.2%}); at least {GOOD_MIN:.0%} expected")
    print(f"broken masks refused: {len(broken) - sum(broken)} of {len(broken)}; all expected")
    found, others = jumps_found(options.faces, options.seed)
    print(f"masks that jump for one frame: {found} of {options.faces} are named, and {others} others")
    return 0 if np.mean(good) >= GOOD_MIN and not any(broken) else 1


if __name__ == "__main__":
    sys.exit(main())
