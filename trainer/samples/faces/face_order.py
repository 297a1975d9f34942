"""Which face stands at which place of a training. Pure, and without memory: a resume asks for a place and gets it.

All samples of a side, of all ranks, stand in one row; place 0 is the first sample of iteration 0. Every stretch of the
row that is as long as the list of faces is an epoch: it has every face once, in an order of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from trainer.randomness import derived_seed

_YAW_EDGES = np.linspace(-1.2, 1.2, 128)
"""Radians. DeepFaceLab commit 46fc239, samplelib/SampleGeneratorFaceHelper (uniform_yaw_distribution)."""
_PERMUTATIONS_KEPT = 512
"""One for each bin of yaw, and those of the epoch and the next one, for three rows."""


class FaceOrder(Protocol):
    """Which of `count` faces stands at a place."""

    @property
    def count(self) -> int:
        """Faces, and the length of an epoch."""

    def face_at(self, place: int) -> int:
        """Return the index of a face; `place` is 0 or larger."""


class ShuffledOrder:
    """Every face once in an epoch, each epoch in another order."""

    def __init__(self, count: int, seed: int, row: str) -> None:
        """Order `count` faces. `row` names what is ordered: two rows of one seed do not go together."""
        self.count = count
        self._seed, self._row = seed, row

    def face_at(self, place: int) -> int:
        epoch, index = divmod(place, self.count)
        return int(_permutation(self.count, self._seed, self._row, epoch)[index])


class UniformYawOrder:
    """Every direction of the head equally often: the bins of yaw in turn, then the faces of each bin in turn."""

    def __init__(self, yaws: Sequence[float], seed: int, row: str) -> None:
        """Order faces by their yaw in radians. Bins without a face are left out."""
        self.count = len(yaws)
        self._seed, self._row = seed, row
        bins = np.clip(np.digitize(-np.asarray(yaws, np.float64), _YAW_EDGES) - 1, 0, len(_YAW_EDGES) - 1)
        self._bins = [np.flatnonzero(bins == one) for one in np.unique(bins)]

    def face_at(self, place: int) -> int:
        visit, slot = divmod(place, len(self._bins))
        number = int(_permutation(len(self._bins), self._seed, f"{self._row} bins", visit)[slot])
        members = self._bins[number]
        epoch, index = divmod(visit, len(members))
        return int(members[_permutation(len(members), self._seed, f"{self._row} bin {number}", epoch)[index]])


@lru_cache(maxsize=_PERMUTATIONS_KEPT)
def _permutation(count: int, seed: int, row: str, epoch: int) -> NDArray[np.int64]:
    draws = np.random.RandomState(derived_seed("order", seed, row, epoch))
    return np.asarray(draws.permutation(count), np.int64)
