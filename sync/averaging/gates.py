"""Which machines may be averaged, judged by what was measured and by what they did before.

Pure. Checks NaN, drift, single huge weights, direction, spread, work done and warm-up. A machine that does not fit
is left out where the quorum still holds; otherwise the round is held with a reason, and nobody's weights change. The
limits come from runs of a small SAEHD-like autoencoder (4 machines, warm start): healthy rounds had spread_rel
0.02-0.06 and drift_rel 0.02-0.15, ruined averages spread_rel from 0.26 and drift_rel from 0.5, a machine with garbage
0.65. Real models may differ in scale: the limits are settings.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from sync.averaging.average import OUTGROWN_TIMES, GramTable, normalise_weights
from sync.averaging.divergence import Divergence, measure_divergence
from sync.errors import DisagreementError

USUAL_ROUNDS = 5
"""So many rounds that went well say what is usual; the median of fewer moves with each of them."""
SPREAD_TIMES_USUAL = 4.0
"""The limit is this times the usual spread, if that is lower: healthy rounds of one model lay within a factor of 3."""
DRIFT_TIMES_OTHERS = 3.0
"""A machine that drifted this many times the median of all has other data, or other settings: a warning."""
TENSOR_WARN = 0.5
"""A tensor this far from its average is named in a warning: one exploding layer hides in the whole model's norm."""


@dataclass(frozen=True)
class GateSettings:
    """How far apart machines may be."""

    spread_max: float = 0.2
    """A round is held above this: averages of such models were ruins."""
    spread_warn: float = 0.1
    """Above this a round has a warning; what is usual counts for the limit only from here on."""
    drift_max: float = 0.5
    """A machine further from the last average than this is refused."""
    cosine_gap: float = 0.3
    """A machine whose mean cosine to the others is this far below the median goes elsewhere and is refused."""
    least_work: float = 0.25
    """A machine with fewer than this part of the median iterations since the last round is left out."""
    warm_up_iterations: int = 10_000
    """Iterations that the common start needs; averaging models that trained apart from fresh ones ruins them."""

    def __post_init__(self) -> None:
        if not 0 < self.spread_warn <= self.spread_max or self.drift_max <= 0 or not 0 <= self.least_work <= 1:
            raise DisagreementError(f"gate settings {self} contradict each other or leave their range")


@dataclass(frozen=True)
class Verdict:
    """Who is in the average, who is not and why, or why there is none."""

    accepted: tuple[str, ...]
    refused: Mapping[str, str]
    """Machine → reason."""
    held: str
    """Why the round is held; empty when it may go on."""
    warnings: tuple[str, ...]
    divergence: Divergence
    """Of the accepted machines; of all machines where the round is held."""
    every_machine: Divergence
    """Of all machines, the refused ones too: what the reasons speak of."""


def judge_weights(
    table: GramTable,
    machine_weights: Mapping[str, float],
    settings: GateSettings,
    *,
    quorum: int,
    usual_spreads: Sequence[float] = (),
) -> Verdict:
    """Decide from the measurements which machines may be averaged.

    `usual_spreads`: spread_rel of the last successful rounds. The refused machines' weights are not used: those of
    the accepted ones are scaled to sum to 1.
    """
    limit = spread_limit(settings, usual_spreads)
    every_machine = measure_divergence(table, normalise_weights(machine_weights))
    refused = _refuse_alone(every_machine, settings)
    accepted = [machine for machine in machine_weights if machine not in refused]
    if len(accepted) > 2:
        refused |= _refuse_by_direction(_measure(table, machine_weights, accepted), settings)
        accepted = [machine for machine in machine_weights if machine not in refused]
    refused |= _refuse_by_spread(table, machine_weights, accepted, limit, least=max(quorum, 2))
    accepted = [machine for machine in machine_weights if machine not in refused]
    divergence = _measure(table, machine_weights, accepted) if accepted else every_machine
    held = _held(accepted, refused, divergence, limit, quorum)
    return Verdict(
        tuple(accepted),
        refused,
        held,
        _warnings(divergence, settings),
        every_machine if held else divergence,
        every_machine,
    )


def spread_limit(settings: GateSettings, usual_spreads: Sequence[float]) -> float:
    """The largest spread_rel that is averaged: the setting, or four times the usual where that is lower.

    Never below the warning level, so that a quiet phase does not make the next busy one look like a failure.
    """
    if len(usual_spreads) < USUAL_ROUNDS:
        return settings.spread_max
    return min(settings.spread_max, max(settings.spread_warn, SPREAD_TIMES_USUAL * median(usual_spreads)))


def refuse_idle(iterations: Mapping[str, int], settings: GateSettings) -> dict[str, str]:
    """Machine → reason, for those that trained much less than the others since the last round, or not at all.

    `iterations`: machine → iterations since the last round, by each machine's own count: clocks do not matter.
    """
    if not iterations:
        return {}
    least = settings.least_work * median(iterations.values())
    return {
        machine: f"{done} iterations since the last round, the median is {median(iterations.values()):.0f}"
        for machine, done in iterations.items()
        if done <= 0 or done < least
    }


def refuse_cold_start(start_iteration: int, settings: GateSettings) -> str:
    """Why the machines' common start is too young for averages; empty when it is old enough.

    `start_iteration`: the iteration of the weights that all machines were given. Machines that train apart from a
    fresh model end in different valleys, whatever they have in common later (arXiv 1912.05671; measured here).
    """
    if start_iteration >= settings.warm_up_iterations:
        return ""
    return (
        f"the common start has {start_iteration} iterations, warm-up needs {settings.warm_up_iterations}: train one "
        "machine that far, then give its model to all (dfld sync init); for a pretrained model set "
        "warm_up_iterations = 0"
    )


def _measure(table: GramTable, machine_weights: Mapping[str, float], machines: Sequence[str]) -> Divergence:
    return measure_divergence(table, normalise_weights({machine: machine_weights[machine] for machine in machines}))


def _refuse_alone(divergence: Divergence, settings: GateSettings) -> dict[str, str]:
    """Machines that are wrong whatever the others did."""
    refused: dict[str, str] = {}
    for name, machine in divergence.machines.items():
        if machine.nonfinite:
            refused[name] = f"{machine.nonfinite} of its weights are NaN or infinite"
        elif machine.drift_rel == 0:
            refused[name] = "its weights are exactly those of the last round: it did not train, or sent an old file"
        elif machine.drift_rel is not None and not machine.drift_rel <= settings.drift_max:
            refused[name] = (
                f"it drifted {machine.drift_rel:.3g} from the last average, the limit is {settings.drift_max:g}"
            )
        elif machine.outgrown:
            file, times = machine.outgrown
            refused[name] = (
                f"its largest weight in {file} is {times:.3g} times the largest of the last average, the limit is "
                f"{OUTGROWN_TIMES:g}: the file is damaged"
            )
    return refused


def _refuse_by_direction(divergence: Divergence, settings: GateSettings) -> dict[str, str]:
    """Machines that went another way than the rest, of at least three."""
    cosines = {name: machine.cosine for name, machine in divergence.machines.items() if machine.cosine is not None}
    if len(cosines) < 3:
        return {}
    middle = median(cosines.values())
    return {
        name: f"its direction has a mean cosine of {cosine:.2f} with the others', the median is {middle:.2f}"
        for name, cosine in cosines.items()
        if cosine < middle - settings.cosine_gap
    }


def _refuse_by_spread(
    table: GramTable, machine_weights: Mapping[str, float], accepted: Sequence[str], limit: float, least: int
) -> dict[str, str]:
    """Leave out the farthest machine, one after another, where the rest then is close enough.

    Nobody is refused when that does not help: then all are apart, and the round is held.
    """
    refused: dict[str, str] = {}
    remaining = list(accepted)
    while len(remaining) > least and not _measure(table, machine_weights, remaining).spread_rel <= limit:
        spreads = {
            machine: _measure(table, machine_weights, [other for other in remaining if other != machine]).spread_rel
            for machine in remaining
        }
        farthest = min(spreads, key=lambda machine: spreads[machine])
        before = _measure(table, machine_weights, remaining)
        refused[farthest] = (
            f"with it the machines are {before.spread_rel:.3g} apart, without it {spreads[farthest]:.3g}; "
            f"the limit is {limit:.3g}"
        )
        remaining.remove(farthest)
    close = bool(remaining) and _measure(table, machine_weights, remaining).spread_rel <= limit
    return refused if close else {}


def _held(
    accepted: Sequence[str], refused: Mapping[str, str], divergence: Divergence, limit: float, quorum: int
) -> str:
    if len(accepted) < max(quorum, 1):
        reasons = "; ".join(f"{machine}: {reason}" for machine, reason in refused.items())
        return f"{len(accepted)} of {len(accepted) + len(refused)} machines agree, the quorum is {quorum} ({reasons})"
    if len(accepted) > 1 and not divergence.spread_rel <= limit:
        return f"the machines are {divergence.spread_rel:.3g} apart (spread_rel), the limit is {limit:.3g}"
    return ""


def _warnings(divergence: Divergence, settings: GateSettings) -> tuple[str, ...]:
    warnings = []
    if divergence.spread_rel > settings.spread_warn:
        warnings.append(
            f"the machines are {divergence.spread_rel:.3g} apart (spread_rel), usual is below {settings.spread_warn}"
        )
    drifts = {name: m.drift_rel for name, m in divergence.machines.items() if m.drift_rel is not None}
    if len(drifts) > 2:
        middle = median(drifts.values())
        warnings += [
            f"machine {name} drifted {drift:.3g}, the median is {middle:.3g}"
            for name, drift in drifts.items()
            if drift > DRIFT_TIMES_OTHERS * middle
        ]
    warnings += [
        f"machine {name} goes against the others (cosine {m.cosine:.2f})"
        for name, m in divergence.machines.items()
        if m.cosine is not None and m.cosine < 0
    ]
    warnings += [
        f"machine {name}: {m.worst_tensor} is {m.worst_tensor_rel:.3g} from the average"
        for name, m in divergence.machines.items()
        if m.worst_tensor_rel > TENSOR_WARN
    ]
    return tuple(warnings)
