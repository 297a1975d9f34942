"""Whose weights may be averaged, as far as can be said before measuring them; and who may be given the result.

Not for what can be said before any trainer is stopped (`sync.rounds.feasibility`). Reads the snapshots' tensor indexes
(executing nothing) and asks the pure judges of `sync.averaging.compare` and `sync.averaging.gates`. How far the weights
have gone apart is judged later, by `sync.averaging.average_model`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dfl.errors import FormatError
from dfl.weights import TensorLayout, index_weights
from sync.averaging.compare import agree_on_options, agree_on_start, agree_on_tensors, warn_of_learning_rates
from sync.averaging.gates import GateSettings, refuse_idle
from sync.errors import RoundError
from sync.journal.history import History
from sync.trainers.proof import what_is_odd
from sync.types import Snapshot


@dataclass(frozen=True)
class Candidates:
    """Machines, sorted out."""

    candidates: tuple[str, ...]
    """Their weights may be averaged."""
    fitting: tuple[str, ...]
    """They train the same network: they can be given new weights, also where their own are refused."""
    refused: Mapping[str, str]
    """Machine → why it is no candidate."""
    work: Mapping[str, int]
    """Machine → iterations since it was given weights."""
    warnings: tuple[str, ...]


def sort_out(snapshots: Mapping[str, Snapshot], history: History, gates: GateSettings) -> Candidates:
    """Find the machines with readable files, the same network, the same start, and enough new work."""
    layouts, refused = index_snapshots(snapshots)
    parts = sorted({part for own in layouts.values() for part in own})
    by_options = agree_on_options({machine: snapshots[machine].options for machine in layouts}, parts)
    by_tensors = agree_on_tensors({machine: layouts[machine] for machine in by_options.agreed})
    refused |= {**by_options.refused, **by_tensors.refused}
    fitting = by_tensors.agreed
    by_start = agree_on_start({machine: history.digest_of(machine) for machine in fitting}, history.newest_digest)
    refused |= by_start.refused
    work = {
        machine: snapshots[machine].iteration - history.last_iteration(machine)
        for machine in by_start.agreed
        if history.newest_digest
    }
    refused |= refuse_idle(work, gates)
    candidates = tuple(machine for machine in work if machine not in refused)
    phases = warn_of_learning_rates(
        {machine: snapshots[machine].iteration for machine in candidates},
        {machine: snapshots[machine].options for machine in candidates},
    )
    odd = {machine: what_is_odd(snapshots[machine].recent_losses) for machine in candidates}
    losses = tuple(f"{machine}: {words}" for machine, words in odd.items() if words)
    return Candidates(candidates, fitting, refused, work, by_options.warnings + phases + losses)


def index_snapshots(
    snapshots: Mapping[str, Snapshot],
) -> tuple[dict[str, dict[str, TensorLayout]], dict[str, str]]:
    """Find the tensors of every snapshot's files; a machine with a file that is no weight file is refused."""
    layouts: dict[str, dict[str, TensorLayout]] = {}
    refused: dict[str, str] = {}
    for machine, snapshot in snapshots.items():
        try:
            layouts[machine] = {part: index_weights(file.path) for part, file in snapshot.files.items()}
        except FormatError as error:
            refused[machine] = error.message
    return layouts, refused


def check_candidates(chosen: Candidates, *, quorum: int) -> None:
    """Raise RoundError unless the candidates are enough."""
    if len(chosen.candidates) < max(1, quorum):
        reasons = "; ".join(f"{machine}: {reason}" for machine, reason in chosen.refused.items())
        raise RoundError(f"{len(chosen.candidates)} machines can be averaged, the quorum is {quorum} ({reasons})")
