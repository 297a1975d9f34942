"""The learning rate at each step. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

DFL_RATE = 5e-5
"""Of every optimizer of SAEHD and AMP."""
DFL_PI = 3.1415926535
"""As DeepFaceLab writes it."""
DFL_PERIOD = 500
"""Steps of the cosine that goes with lr_dropout."""


@dataclass(frozen=True)
class Schedule:
    """A learning rate: the base, times everything that is switched on. As it stands, DeepFaceLab's constant one."""

    rate: float = DFL_RATE
    dropout_cosine: bool = False
    """DeepFaceLab's cosine over 500 steps, between the base and 0: part of lr_dropout."""
    warm_up: int = 0
    """Steps over which the rate rises linearly to the base."""
    restart_period: int = 0
    """Steps of the first period of a cosine that falls to `floor` and begins anew (SGDR, 2017)."""
    restart_growth: float = 1.0
    """How much longer each period is than the one before."""
    floor: float = 0.0
    """The lowest part of the base that restarts fall to."""

    def at(self, steps_done: int) -> float:
        """Return the rate of the step that follows `steps_done` ones. DeepFaceLab's first step has the full rate."""
        rate = self.rate
        if self.dropout_cosine:
            rate *= (math.cos(2 * DFL_PI * steps_done / DFL_PERIOD) + 1) / 2
        if steps_done < self.warm_up:
            rate *= (steps_done + 1) / self.warm_up
        if self.restart_period:
            rate *= self.floor + (1 - self.floor) * (1 + math.cos(math.pi * self._place_in_period(steps_done))) / 2
        return rate

    def _place_in_period(self, steps_done: int) -> float:
        place, period = float(max(0, steps_done - self.warm_up)), float(self.restart_period)
        while place >= period:
            place -= period
            period *= max(1.0, self.restart_growth)
        return place / period
