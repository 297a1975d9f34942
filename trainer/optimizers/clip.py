"""How much of a gradient is taken, by its norm over all trained tensors."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import numpy as np

AUTOCLIP_PERCENTILE = 10.0
"""Seetharaman, Wichern, Pardo and Le Roux, AutoClip, 2020."""
AUTOCLIP_HISTORY = 10_000
"""Norms that are remembered: 80 kB, and the percentile follows a training that changes."""


class Clip(Protocol):
    """Says by what a gradient is multiplied."""

    def factor(self, norm: float) -> float:
        """Given the norm of the whole gradient, return at most 1."""
        ...


class DflClip:
    """A gradient longer than 1 is shortened to 1 (clipgrad). Its norm is that of a sum over the batch."""

    def factor(self, norm: float) -> float:
        """Return 1 / norm from a norm of 1 on."""
        return 1 / norm if norm >= 1 else 1.0


class AutoClip:
    """A gradient longer than a percentile of all norms so far is shortened to that."""

    def __init__(self, percentile: float = AUTOCLIP_PERCENTILE) -> None:
        self.percentile = percentile
        self.norms: deque[float] = deque(maxlen=AUTOCLIP_HISTORY)

    def factor(self, norm: float) -> float:
        """Remember this norm and return what brings it down to the percentile."""
        self.norms.append(norm)
        limit = float(np.percentile(np.fromiter(self.norms, np.float64), self.percentile))
        return limit / norm if norm > limit else 1.0
