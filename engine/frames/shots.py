"""Where the shot changes: cuts found on small luma thumbnails, one frame at a time.

Pure: it sees thumbnails and says yes or no; it reads no video and keeps one thumbnail. Biased to split too often: a
cut that is missed lets one track run from one person into another and falsifies its evidence, a cut too many only
makes two tracks of one. Fades and dissolves have no cut; there the embeddings of a track stop agreeing, and
engine.tracks.linking splits it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.types import Image

THUMBNAIL_WIDTH_PX = 64
"""Small enough to forget grain and small motion, large enough to distinguish two pictures of one room."""

CHANGE_MIN = 2.0
"""Mean absolute luma difference below which nothing is a cut: held, black and grainy frames stay under 1."""
CORRELATION_CUT = 0.6
"""Pictures of different shots correlate at 0.3 or less, neighbours in a fast pan at 0.75 or more (measured)."""
CORRELATION_DROP = 4.0
"""A change so many times the shot's usual one is a cut even where both pictures look alike (a jump cut)."""
JUMP_CORRELATION = 0.85
"""A jump cut between like pictures must still fall below this."""
USUAL_WEIGHT = 0.2
"""Weight of the newest frame in the shot's usual change."""


@dataclass(frozen=True, eq=False)
class ShotState:
    """What the next decision needs: the last thumbnail and how much this shot usually changes."""

    thumbnail: Image
    usual_change: float
    """Running mean of 1 - correlation within the shot."""


def is_cut(state: ShotState, thumbnail: Image) -> bool:
    """Given the state after the frame before and a frame's (h, w) uint8 thumbnail, say whether a new shot begins.

    Correlation is Pearson's over the two thumbnails: a change of exposure, a flash or a fade leaves it high, a new
    picture does not. Frames of another size are another shot.
    """
    if state.thumbnail.shape != thumbnail.shape:
        return True
    if _difference(state.thumbnail, thumbnail) < CHANGE_MIN:
        return False
    correlation = _correlation(state.thumbnail, thumbnail)
    if correlation < CORRELATION_CUT:
        return True
    usual = max(state.usual_change, 0.01)
    return correlation < JUMP_CORRELATION and (1.0 - correlation) > CORRELATION_DROP * usual


def advance(state: ShotState | None, thumbnail: Image) -> ShotState:
    """Return the state after this frame; `None` begins a shot."""
    if state is None or state.thumbnail.shape != thumbnail.shape:
        return ShotState(thumbnail, 0.0)
    change = 1.0 - _correlation(state.thumbnail, thumbnail)
    usual = change if state.usual_change == 0.0 else state.usual_change
    return ShotState(thumbnail, (1 - USUAL_WEIGHT) * usual + USUAL_WEIGHT * change)


def change_between(first: Image, second: Image) -> float:
    """Return how much two thumbnails of one shot differ: mean absolute luma difference, 0..255."""
    return _difference(first, second) if first.shape == second.shape else 255.0


def _difference(first: Image, second: Image) -> float:
    return cv2.norm(first, second, cv2.NORM_L1) / first.size


def _correlation(first: Image, second: Image) -> float:
    a, b = _centred(first), _centred(second)
    # A floor of two luma levels keeps grain on black from deciding.
    floor = 4.0 * a.size
    return float(a @ b) / math.sqrt((float(a @ a) + floor) * (float(b @ b) + floor))


def _centred(thumbnail: Image) -> NDArray[np.float64]:
    values = thumbnail.ravel().astype(np.float64)
    return np.asarray(values - cv2.mean(thumbnail)[0])
