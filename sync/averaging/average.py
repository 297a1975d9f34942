"""The arithmetic of an average, on arrays: rules, weights, outer step, and what the deltas say about each other.

Pure: opens no file. Sums are float64, so the mean of float32 weights is the exact mean rounded once. Reading
weights in chunks and writing the result is sync.averaging.averaging_pass; judging the numbers is
sync.averaging.compare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from sync.errors import DisagreementError

Rule = Literal["mean", "median", "trimmed"]
WeightRule = Literal["uniform", "iterations"]
Floats = NDArray[np.floating]

OUTGROWN_TIMES = 10.0
"""A largest weight that is so many times the largest of what the machine was given is damage: training moves weights
by per cents between two rounds, a flipped bit of an exponent by powers of two."""
WEIGHT_CLAMP = 4.0
"""By iterations the largest weight is at most this many times the smallest: a machine that did ten times the work of
another has not seen ten times the data."""
MACHINES_FOR_TRIMMED = 5
"""With fewer, leaving out the ends leaves a median."""


@dataclass(frozen=True)
class AverageSettings:
    """How an average is taken."""

    rule: Rule = "mean"
    """mean: by the machines' weights. median: their middle, number by number. trimmed: mean without the extremes."""
    weight_rule: WeightRule = "uniform"
    """iterations: a machine counts by what it trained since the last round, within WEIGHT_CLAMP."""
    trim: float = 0.2
    """Part of the machines that `trimmed` leaves out at each end, at least one machine."""
    outer: Literal["none", "nesterov"] = "none"
    """nesterov: go further than the average, by momentum over rounds. Only after warm-up, and it needs a base."""
    outer_learning_rate: float = 0.7
    """DiLoCo's (arXiv 2311.08105), with `outer_momentum`; 1 and 0 would be the plain average."""
    outer_momentum: float = 0.9
    ema_decay: float = 0.5
    """How much of the model to deploy stays when a round's average joins it."""

    def __post_init__(self) -> None:
        limits = {
            "trim": 0 <= self.trim < 0.5,
            "outer_learning_rate": 0 < self.outer_learning_rate <= 1,
            "outer_momentum": 0 <= self.outer_momentum < 1,
            "ema_decay": 0 <= self.ema_decay < 1,
        }
        for name, inside in limits.items():
            if not inside:
                raise DisagreementError(f"average setting {name} = {getattr(self, name)} is outside its range")


# -- weights


def uniform_weights(machines: Sequence[str]) -> dict[str, float]:
    """Give every machine the same weight; the weights sum to 1."""
    return {machine: 1.0 / len(machines) for machine in machines}


def weights_by_iterations(iterations: Mapping[str, int]) -> dict[str, float]:
    """Weight machines by the iterations done since the last round; none weighs over WEIGHT_CLAMP times another.

    The counts are first brought into [median / √WEIGHT_CLAMP, median · √WEIGHT_CLAMP], so that one machine that did ten
    iterations does not count as much as the others, and one fast machine does not silence them.
    """
    middle = max(1.0, float(np.median(list(iterations.values()))))
    width = float(np.sqrt(WEIGHT_CLAMP))
    bounded = {machine: min(max(count, middle / width), middle * width) for machine, count in iterations.items()}
    return normalise_weights(bounded)


def normalise_weights(machine_weights: Mapping[str, float]) -> dict[str, float]:
    """Scale weights so that they sum to 1; raise DisagreementError for one that is negative or no number, or all 0."""
    total = sum(machine_weights.values())
    if any(not np.isfinite(weight) or weight < 0 for weight in machine_weights.values()) or not 0 < total < np.inf:
        raise DisagreementError(
            f"shares {dict(machine_weights)} are no parts of a whole: each 0 or more, one more than 0"
        )
    return {machine: weight / total for machine, weight in machine_weights.items()}


# -- combining one chunk; values (machines, items) float32 or float64, out (items,) float64


def combine(
    values: Floats, machine_weights: Sequence[float], settings: AverageSettings, out: NDArray[np.float64]
) -> None:
    """Write to `out` the average of the rows of `values` by the rule; `values` are left in another order for median.

    Only `mean` asks for the machines' weights. Raise DisagreementError for trimmed with fewer than five machines.
    """
    if settings.rule == "mean":
        weighted_mean(values, machine_weights, out)
        return
    count = len(values)
    drop = (count - 1) // 2 if settings.rule == "median" else trimmed_at_each_end(count, settings.trim)
    sort_rows(values)
    kept = values[drop : count - drop]
    weighted_mean(kept, [1.0 / len(kept)] * len(kept), out)


def trimmed_at_each_end(machines: int, trim: float) -> int:
    """How many machines a trimmed mean leaves out at each end."""
    if machines < MACHINES_FOR_TRIMMED:
        raise DisagreementError(
            f"a trimmed mean needs at least {MACHINES_FOR_TRIMMED} machines, {machines} take part",
            hint="use rule = median, or mean",
        )
    return max(1, int(machines * trim))


def weighted_mean(values: Floats, machine_weights: Sequence[float], out: NDArray[np.float64]) -> None:
    """Write Σ weight · row to `out`, summed in float64; equal weights are a sum divided once, which is exact."""
    if len(set(machine_weights)) == 1:
        np.copyto(out, values[0])
        for row in values[1:]:
            np.add(out, row, out=out)
        np.divide(out, len(values), out=out)
        return
    np.multiply(values[0], machine_weights[0], out=out, dtype=np.float64)
    for row, weight in zip(values[1:], machine_weights[1:], strict=True):
        np.add(out, np.multiply(row, weight, dtype=np.float64), out=out)


def sort_rows(values: Floats) -> None:
    """Sort each column of `values` in place, smallest first, by exchanging whole rows (odd-even transposition).

    numpy's own sort along the first axis takes thirty times as long for a handful of rows.
    """
    count = len(values)
    lower = np.empty_like(values[0])
    for turn in range(count):
        for first in range(turn % 2, count - 1, 2):
            np.minimum(values[first], values[first + 1], out=lower)
            np.maximum(values[first], values[first + 1], out=values[first + 1])
            values[first] = lower


def outer_nesterov(
    average: NDArray[np.float64], base: Floats, velocity: NDArray[np.float64], settings: AverageSettings
) -> None:
    """Take the outer step from `base` along the pseudo-gradient base − average, in place.

    `average` becomes the new weights, `velocity` the new momentum; all (items,). SGD with Nesterov momentum as torch
    defines it and DiLoCo uses it: v ← μv + g; w ← base − lr (g + μv).
    """
    momentum, rate = settings.outer_momentum, settings.outer_learning_rate
    gradient = np.subtract(base, average, out=average)
    velocity *= momentum
    velocity += gradient
    gradient += momentum * velocity
    gradient *= -rate
    gradient += base


# -- what one pass learns about the deltas


@dataclass(frozen=True, eq=False)
class TensorGram:
    """The inner products of one tensor: everything about norms and angles, without the tensor.

    Row and column 0 are the reference (the base; without one, the first machine), 1… are machine − reference.
    """

    file: str
    tensor: str
    gram: NDArray[np.float64]
    """(1 + machines, 1 + machines) float64."""
    nonfinite: NDArray[np.int64]
    """(machines,) how many values of each machine are NaN or infinite."""
    largest: NDArray[np.float64] | None = None
    """(1 + machines,) largest absolute value of the base and of each machine; a machine's is 0 where none of its
    values can be OUTGROWN_TIMES the largest of the base's file. None without a base."""


@dataclass(frozen=True, eq=False)
class GramTable:
    """What a pass over all files of a model learnt, one entry per tensor."""

    machines: tuple[str, ...]
    has_base: bool
    """Whether the reference is what the machines were given in the last round; else drift is not known."""
    tensors: tuple[TensorGram, ...]

    def joined(self, other: GramTable) -> GramTable:
        """Put the tensors of another file of the same machines behind these."""
        if (self.machines, self.has_base) != (other.machines, other.has_base):
            raise DisagreementError(f"passes over {self.machines} and {other.machines} cannot be joined")
        return GramTable(self.machines, self.has_base, self.tensors + other.tensors)


def gram_of_rows(rows: Floats) -> NDArray[np.float64]:
    """The inner products of all pairs of rows, (rows, rows) float64; float32 rows are multiplied in float32."""
    count = len(rows)
    gram = np.empty((count, count))
    for first in range(count):  # a row with all that follow in one call: it stays in the first-level cache
        gram[first:, first] = gram[first, first:] = np.dot(rows[first:], rows[first])
    return gram
