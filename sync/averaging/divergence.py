"""How far machines have moved apart: every measure from the inner products that one pass took.

Pure: a `GramTable` in, numbers out, for any subset of the machines without reading the weights again. Distances
are always relative: an absolute L2 has no scale and speaks only of the largest layer. δ_i = w_i − base, base = what
all machines were given in the last round, mean = Σ weight · w_i.

    drift_rel      ‖δ_i‖ / ‖base‖              how far one machine went since the last round
    distance_rel   ‖w_i − mean‖ / ‖mean‖       how far it is from the average
    spread_rel     mean_i of distance_rel      the model variance of FDA (arXiv 2405.20988)
    cosine         of δ_i and δ_j              do they move together? low by nature late in training
    shrink         ‖Σ weight · δ_i‖ / mean ‖δ_i‖   progress kept by averaging: 1 all agree, 1/√N pure noise
    outgrown       max |w_i| / max |base|      of one file, where above OUTGROWN_TIMES: damage
    worst tensor   largest distance_rel of one tensor: an exploding layer hides in the whole model's norm

What is too far is decided in sync.averaging.gates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sync.averaging.average import OUTGROWN_TIMES, GramTable, TensorGram
from sync.errors import DisagreementError

SMALLEST_NORM = 1e-6
"""Tensors below this norm (biases that are still zero) have no meaningful relative distance."""

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class MachineDivergence:
    """One machine against the others of its round. None where a measure needs a base or a second machine."""

    machine: str
    drift_rel: float | None
    distance_rel: float
    cosine: float | None
    """Mean cosine of this machine's delta with every other machine's."""
    worst_tensor: str
    """`file: tensor` with the largest distance from the average, relative to that tensor."""
    worst_tensor_rel: float
    nonfinite: int
    """How many of its values are NaN or infinite."""
    outgrown: tuple[str, float] | None = None
    """File, and how many times the base's largest value its own is there; None up to OUTGROWN_TIMES."""

    def measures(self) -> dict[str, float]:
        """The numbers by name, without those that are not known; for the ledger and metrics."""
        named = {
            "drift_rel": self.drift_rel,
            "distance_rel": self.distance_rel,
            "cosine": self.cosine,
            "worst_tensor_rel": self.worst_tensor_rel,
            "nonfinite": float(self.nonfinite),
        }
        return {name: value for name, value in named.items() if value is not None}


@dataclass(frozen=True)
class Divergence:
    """A set of machines and their average."""

    machines: Mapping[str, MachineDivergence]
    spread_rel: float
    shrink: float | None
    """None without a base."""


def measure_divergence(table: GramTable, machine_weights: Mapping[str, float]) -> Divergence:
    """Measure the machines of `machine_weights` (which sum to 1) against their weighted mean; others are left out."""
    if not table.tensors:
        raise DisagreementError("there is no tensor of floating-point numbers to average, only counters or nothing")
    indices = [table.machines.index(machine) for machine in machine_weights]
    weights = np.array(list(machine_weights.values()))
    total = np.sum([_of(entry, indices) for entry in table.tensors], axis=0)
    distances = _distances(total, weights)
    norms = np.sqrt(np.maximum(np.diag(total)[1:], 0))
    cosines = _cosines(total) if table.has_base else None
    worst = _worst_tensors(table.tensors, indices, weights)
    nonfinite = np.sum([entry.nonfinite[indices] for entry in table.tensors], axis=0)
    machines = {
        machine: MachineDivergence(
            machine=machine,
            drift_rel=_ratio(norms[row], np.sqrt(total[0, 0])) if table.has_base else None,
            distance_rel=float(distances[row]),
            cosine=_mean_to_others(cosines, row) if cosines is not None else None,
            worst_tensor=worst[row][0],
            worst_tensor_rel=worst[row][1],
            nonfinite=int(nonfinite[row]),
            outgrown=_outgrown(table.tensors, indices[row]),
        )
        for row, machine in enumerate(machine_weights)
    }
    mean_delta = np.sqrt(max(0.0, weights @ total[1:, 1:] @ weights))
    shrink = _ratio(mean_delta, norms.mean()) if table.has_base else None
    return Divergence(machines, float(distances.mean()), shrink)


def _of(entry: TensorGram, indices: Sequence[int]) -> Matrix:
    """The Gram matrix of the reference and the chosen machines only."""
    chosen = [0, *(index + 1 for index in indices)]
    matrix: Matrix = entry.gram[np.ix_(chosen, chosen)]
    return matrix


def _distances(gram: Matrix, weights: Matrix) -> Matrix:
    """‖w_i − mean‖ / ‖mean‖ of every machine."""
    deltas, along = gram[1:, 1:], gram[0, 1:]
    to_mean = np.diag(deltas) - 2 * deltas @ weights + weights @ deltas @ weights
    mean = gram[0, 0] + 2 * along @ weights + weights @ deltas @ weights
    with np.errstate(divide="ignore", invalid="ignore"):
        distances: Matrix = np.sqrt(np.maximum(to_mean, 0)) / np.sqrt(max(mean, 0.0))
    distances[(to_mean <= 0) & (mean >= 0)] = 0.0  # 0 / 0: machines that agree on zeros
    return distances


def _cosines(gram: Matrix) -> Matrix | None:
    deltas = gram[1:, 1:]
    norms = np.sqrt(np.diag(deltas))
    if len(norms) < 2:
        return None
    with np.errstate(divide="ignore", invalid="ignore"):
        cosines: Matrix = deltas / np.outer(norms, norms)
    return np.nan_to_num(cosines, nan=0.0)


def _mean_to_others(cosines: Matrix, row: int) -> float:
    return float(np.delete(cosines[row], row).mean())


def _worst_tensors(tensors: Sequence[TensorGram], indices: Sequence[int], weights: Matrix) -> list[tuple[str, float]]:
    """Per machine, the tensor with the largest relative distance among those that are not nearly zero."""
    worst = [("", 0.0) for _ in indices]
    for entry in tensors:
        gram = _of(entry, indices)
        if not gram[0, 0] > SMALLEST_NORM**2:
            continue
        for row, distance in enumerate(_distances(gram, weights)):
            if not distance <= worst[row][1]:  # NaN counts as the worst
                worst[row] = (f"{entry.file}: {entry.tensor}", float(distance))
    return worst


def _outgrown(tensors: Sequence[TensorGram], machine: int) -> tuple[str, float] | None:
    """The file in which a machine's largest value is furthest above the base's, if above OUTGROWN_TIMES."""
    base: dict[str, float] = {}
    own: dict[str, float] = {}
    for entry in tensors:
        if entry.largest is not None:
            base[entry.file] = max(base.get(entry.file, 0.0), float(entry.largest[0]))
            own[entry.file] = max(own.get(entry.file, 0.0), float(entry.largest[machine + 1]))
    times = {file: _ratio(own[file], base[file]) for file in own if own[file] > OUTGROWN_TIMES * base[file]}
    return max(times.items(), key=lambda found: found[1]) if times else None


def _ratio(part: float, whole: float) -> float:
    return float(part / whole) if whole else float("inf") if part else 0.0
