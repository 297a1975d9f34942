"""Masks that flicker: a face's mask grows or shrinks from one frame to the next while the head hardly turns. Pure.

A real occlusion that comes or goes looks the same, which is why such faces are marked for review and nothing more.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from engine.faces.boxes import overlap

AREA_CHANGE_MAX = 0.35
"""Of the larger of two neighbours' areas."""
POSE_CHANGE_MAX_DEGREES = 5.0
"""Where yaw, pitch or roll changes by this or more, the hull changes its shape, and masks may."""
SAME_FACE_OVERLAP = 0.4
"""Intersection over union of the boxes of one face in neighbouring frames."""
GAP_MAX_FRAMES = 10
"""Faces further apart are no neighbours: much can happen in between."""


@dataclass(frozen=True)
class PlacedMask:
    """A face with a mask, and where it is in the footage."""

    name: str
    """Of its file."""
    source: str
    """What footage it is from; faces of different footage are never neighbours."""
    frame: int
    box: tuple[float, float, float, float]
    """left, top, right, bottom, frame px."""
    area: float
    """Of the mask, over that of the hull."""
    pose_degrees: tuple[float, float, float]
    """yaw, pitch, roll."""


@dataclass(frozen=True)
class Flicker:
    """A face whose mask differs from a neighbour's."""

    neighbour: str
    """Name of the neighbour's file."""
    change: float
    """Of the area, as AREA_CHANGE_MAX is meant."""


def flickering(faces: Sequence[PlacedMask]) -> Mapping[str, Flicker]:
    """Given faces in any order, return those whose masks flicker, by name, each with the neighbour that differs most.

    Of a mask that jumps away and back, the one in the middle is named and its neighbours are not, where these agree.
    """
    found: dict[str, Flicker] = {}
    for track in _tracks(faces):
        jumps = [_jump(first, second) for first, second in pairwise(track)]
        alone = {
            place
            for place in range(1, len(track) - 1)
            if jumps[place - 1] and jumps[place] and not _jump(track[place - 1], track[place + 1])
        }
        for place, change in enumerate(jumps):
            ends = (place, place + 1)
            for here, there in (ends, ends[::-1]):
                if change and (here in alone or there not in alone):
                    earlier = found.get(track[here].name)
                    if earlier is None or change > earlier.change:
                        found[track[here].name] = Flicker(track[there].name, change)
    return found


def _jump(first: PlacedMask, second: PlacedMask) -> float:
    """Return by how much the area changes between two faces; 0 where it may."""
    turned = max(abs(a - b) for a, b in zip(first.pose_degrees, second.pose_degrees, strict=True))
    change = abs(first.area - second.area) / max(first.area, second.area, 1e-9)
    return change if change > AREA_CHANGE_MAX and turned < POSE_CHANGE_MAX_DEGREES else 0.0


def _tracks(faces: Sequence[PlacedMask]) -> list[list[PlacedMask]]:
    """Join each face to the one of the frames right before that lies in the same place."""
    tracks: list[list[PlacedMask]] = []
    going: list[list[PlacedMask]] = []
    for face in sorted(faces, key=lambda one: (one.source, one.frame, one.name)):
        going = [
            track
            for track in going
            if track[-1].source == face.source and face.frame - track[-1].frame <= GAP_MAX_FRAMES
        ]
        before = [track for track in going if track[-1].frame < face.frame]
        nearest = max(before, key=lambda track: _overlap(track[-1], face), default=None)
        if nearest is not None and _overlap(nearest[-1], face) >= SAME_FACE_OVERLAP:
            nearest.append(face)
        else:
            tracks.append([face])
            going.append(tracks[-1])
    return tracks


def _overlap(first: PlacedMask, second: PlacedMask) -> float:
    return overlap(np.array(first.box), np.array(second.box))
