"""Cells that faces are counted in: pose, light and expression. Pure.

A pose cell is 15 by 15 degrees, its edges at multiples of 15. Yaw is negative towards the picture's left, pitch
positive upwards, as engine.facesets.features says. A head that is turned further than the outermost cell counts in it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from engine.facesets.features import Column, Features

CELL_DEGREES = 15
YAW_CELLS, PITCH_CELLS = 12, 8
"""-90 to 90 degrees, and -60 to 60: no neck bends a face further."""
ABOUT_FROM_DEGREES = 60
"""68 points of a picture say little about the angle of a head that is turned further."""
LIGHT_STEP = 0.25
"""Change of luma from the middle of a face to its edge that is noticed as a lit side."""
MOUTH_OPEN_FROM = 0.12
"""Gap of the lips, in ways from the eyes to the mouth: one noticeable step above lips that touch."""
EYES_SHUT_PART = 0.6
"""Of the upper quartile of a set's eyes, which are open: eyes of people differ by more than a lid that falls half way
(medians of .20 to .34 on the labelled clips), so that one number for all would call one person's open eyes shut."""

Light = Literal["left", "even", "right"]
Expression = Literal["closed", "open", "shut"]
LIGHTS: tuple[Light, ...] = ("left", "even", "right")
"""Which side of the picture is brighter."""
EXPRESSIONS: tuple[Expression, ...] = ("closed", "open", "shut")
"""Mouth closed, mouth open, eyes shut (whatever the mouth does)."""

Rows = NDArray[np.int64]
"""(N,), one number a face."""


@dataclass(frozen=True, order=True)
class PoseCell:
    """A square of 15 degrees: `PoseCell(-1, 1)` is yaw -15 to 0, pitch 15 to 30."""

    yaw: int
    """-6..5, lower edge in cells."""
    pitch: int
    """-4..3."""

    @property
    def is_about(self) -> bool:
        """Whether its faces are turned so far that the angle is a coarse guess."""
        return _outer_edge(self.yaw) > ABOUT_FROM_DEGREES or _outer_edge(self.pitch) > ABOUT_FROM_DEGREES


@dataclass(frozen=True)
class Cells:
    """The cells of N faces."""

    yaw: Rows
    """Lower edge in cells, -6..5."""
    pitch: Rows
    light: Rows
    """Place in LIGHTS."""
    expression: Rows
    """Place in EXPRESSIONS."""

    def pose(self, row: int) -> PoseCell:
        return PoseCell(int(self.yaw[row]), int(self.pitch[row]))

    @property
    def poses(self) -> Rows:
        """(N,) one number a pose cell, 0..YAW_CELLS * PITCH_CELLS - 1."""
        return (self.yaw + YAW_CELLS // 2) * PITCH_CELLS + self.pitch + PITCH_CELLS // 2

    @property
    def codes(self) -> Rows:
        """(N,) one number a cell of pose, light and expression."""
        return (self.poses * len(LIGHTS) + self.light) * len(EXPRESSIONS) + self.expression


def cells_of(features: Features) -> Cells:
    """Return the cells of all faces."""
    light = np.full(len(features), LIGHTS.index("even"), np.int64)
    light[features.light_x < -LIGHT_STEP] = LIGHTS.index("left")
    light[features.light_x > LIGHT_STEP] = LIGHTS.index("right")
    expression = np.full(len(features), EXPRESSIONS.index("closed"), np.int64)
    expression[has_open_mouth(features)] = EXPRESSIONS.index("open")
    expression[has_shut_eyes(features)] = EXPRESSIONS.index("shut")
    return Cells(_bins(features.yaw, YAW_CELLS), _bins(features.pitch, PITCH_CELLS), light, expression)


def has_open_mouth(features: Features) -> NDArray[np.bool_]:
    """Return (N,) whose mouth is open."""
    return np.asarray(features.mouth_open > MOUTH_OPEN_FROM)


def has_shut_eyes(features: Features) -> NDArray[np.bool_]:
    """Return (N,) whose eyes are shut, for this set's eyes."""
    known = features.eye_opening[np.isfinite(features.eye_opening)].astype(np.float64)
    below = EYES_SHUT_PART * float(np.percentile(known, 75)) if len(known) else 0.0
    return np.asarray(features.eye_opening < below)


def pose_counts(cells: Cells) -> NDArray[np.int64]:
    """Return (YAW_CELLS, PITCH_CELLS) faces, from the lowest yaw and pitch up."""
    return np.bincount(cells.poses, minlength=YAW_CELLS * PITCH_CELLS).reshape(YAW_CELLS, PITCH_CELLS)


def _bins(degrees: Column, count: int) -> Rows:
    """Return lower edges in cells; a pose that nobody could measure counts as straight."""
    whole = np.floor(np.nan_to_num(degrees.astype(np.float64)) / CELL_DEGREES).astype(np.int64)
    return np.clip(whole, -(count // 2), count // 2 - 1)


def _outer_edge(cell: int) -> int:
    return CELL_DEGREES * max(-cell, cell + 1)
