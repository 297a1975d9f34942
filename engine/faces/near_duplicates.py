"""keep = "varied": which faces of a clip to keep so that all that was seen stays, once. Pure.

Film repeats itself 24 times a second, and a trainer gains nothing by the second copy. Faces are compared as aligned
pictures, so that pose, expression and the direction of light all count, and size, place and brightness do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.steps import Step, no_step
from engine.types import Image

SIDE_PX = 32
"""Aligned luma at this size shows an eye closing (two pixels) and no grain."""
ALIKE = 0.985
"""Correlation from which two faces are one view: neighbouring frames of a still head reach 0.998, of a man who speaks
and turns 0.95 (medians, measured on the labelled clips)."""
CHUNK = 512
"""Faces compared at once: bounds memory, and lets the linear algebra library work."""


def descriptor_of(aligned_luma: Image) -> NDArray[np.float32]:
    """Given an aligned face as (S, S) uint8 luma, return (1024,) of zero mean and unit length."""
    small = cv2.resize(aligned_luma, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA).astype(np.float32).ravel()
    small -= small.mean()
    return np.asarray(small / max(float(np.linalg.norm(small)), 1e-6), np.float32)


def choose_varied(
    descriptors: NDArray[np.float32], sharpness: Sequence[float], step: Step = no_step
) -> NDArray[np.bool_]:
    """Given (N, 1024) descriptors and how sharp each face is, return (N,) which to keep; `step` after each CHUNK.

    Greedy coverage: the sharpest first; a face is dropped when one that is kept is ALIKE. So every dropped face has a
    kept one that is as sharp or sharper and shows the same.
    """
    order = sorted(range(len(descriptors)), key=lambda place: (-sharpness[place], place))
    keep = np.zeros(len(descriptors), np.bool_)
    chosen = np.zeros((0, descriptors.shape[1] if descriptors.ndim == 2 else 0), np.float32)
    for start in range(0, len(order), CHUNK):
        places = order[start : start + CHUNK]
        rows = descriptors[places]
        covered = np.any(np.asarray(rows @ chosen.T) >= ALIKE, axis=1)
        among = np.asarray(rows @ rows.T) >= ALIKE
        fresh: list[int] = []
        for number in range(len(places)):
            if not covered[number] and not np.any(among[number, fresh]):
                fresh.append(number)
        keep[[places[number] for number in fresh]] = True
        chosen = np.concatenate([chosen, rows[fresh]])
        step()
    return keep
