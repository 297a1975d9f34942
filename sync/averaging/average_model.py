"""The average of one model of several files, with the gates applied: the one seam that a round calls.

Runs a fused pass per file, judges the whole model, and runs again without the machines that were refused. Files
are grouped by layout, so machines whose files differ in nothing but values share one averaged file. Nothing is
left behind when the round is held. Knows no SSH and no journal: paths on this computer in, paths out.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from dfl.byte_source import FileSource
from dfl.weights import index_weights, layout_digest
from sync.averaging.average import (
    MACHINES_FOR_TRIMMED,
    AverageSettings,
    GramTable,
    normalise_weights,
    uniform_weights,
    weights_by_iterations,
)
from sync.averaging.averaging_pass import Output, PassPlan, run_averaging_pass
from sync.averaging.gates import GateSettings, Verdict, judge_weights
from sync.averaging.tensor_file import TensorFile
from sync.errors import DisagreementError

ModelFiles = Mapping[str, Path]
"""Part → file: `encoder.npy` → where its copy lies on this computer."""


@dataclass(frozen=True)
class ModelPlan:
    """What is averaged, for whom, and where the result goes."""

    machines: Mapping[str, ModelFiles]
    """Machine → its parts to be averaged; all machines have the same parts."""
    folder: Path
    """Existing folder for the averaged files, on a disk with room for one model per layout."""
    receivers: Mapping[str, ModelFiles] = field(default_factory=dict)
    """Machine → the files that are its templates; empty = the machines themselves."""
    base: ModelFiles | None = None
    """What every machine was given in the last round, any machine's layout."""
    momentum: ModelFiles | None = None
    """The outer step's momentum of the last round."""
    configured_weights: Mapping[str, float] = field(default_factory=dict)
    """Machine → the weight of its configuration; 1 where it is not named."""
    iterations: Mapping[str, int] = field(default_factory=dict)
    """Machine → iterations since the last round; used where weights go by iterations."""
    settings: AverageSettings = field(default_factory=AverageSettings)
    gates: GateSettings = field(default_factory=GateSettings)
    quorum: int = 2
    usual_spreads: Sequence[float] = ()
    """spread_rel of the last successful rounds."""


@dataclass(frozen=True)
class AveragedFile:
    """One file of the average."""

    path: Path
    sha256: str


@dataclass(frozen=True)
class ModelAverage:
    """The verdict and, unless it is held, the average."""

    verdict: Verdict
    machine_weights: Mapping[str, float]
    """Of the accepted machines."""
    files: Mapping[str, Mapping[str, AveragedFile]] = field(default_factory=dict)
    """Receiver → part → the file in its own layout; several receivers may share one."""
    momentum: Mapping[str, AveragedFile] = field(default_factory=dict)
    """Part → the outer step's momentum for the next round; empty without an outer step."""


def average_model(
    plan: ModelPlan,
    *,
    stop: threading.Event | None = None,
    on_progress: Callable[[str, int, int], None] | None = None,
) -> ModelAverage:
    """Average the parts of a model over its machines; refuse those that do not fit, or hold.

    `on_progress(part, values done, values in all)`. Raise FormatError for a file that is no weight file,
    DisagreementError where tensors do not match (ask sync.averaging.compare before), AverageError for a full disk or
    `stop`.
    """
    inputs = {machine: _index(files) for machine, files in plan.machines.items()}
    receivers = {machine: _index(files) for machine, files in plan.receivers.items()} or inputs
    targets = {part: _targets(plan.folder, part, receivers) for part in next(iter(inputs.values()))}
    made: dict[Path, AveragedFile] = {}
    with ExitStack() as undo:
        undo.callback(_remove, made)
        table = _run(plan, inputs, targets, made, stop, on_progress)
        machine_weights = weights_of_machines(plan, list(inputs))
        verdict = judge_weights(
            table, machine_weights, plan.gates, quorum=plan.quorum, usual_spreads=plan.usual_spreads
        )
        verdict = _hold_trimmed(verdict, plan.settings)
        if verdict.held:
            return ModelAverage(verdict, {})
        if verdict.refused:
            accepted = {machine: inputs[machine] for machine in verdict.accepted}
            _run(plan, accepted, targets, made, stop, on_progress)
        undo.pop_all()
    files = {machine: {part: made[targets[part][machine].path] for part in targets} for machine in receivers}
    momentum = {part: made[path] for part in targets if (path := _momentum_path(plan.folder, part)) in made}
    return ModelAverage(verdict, weights_of_machines(plan, verdict.accepted), files, momentum)


def weights_of_machines(plan: ModelPlan, machines: Sequence[str]) -> dict[str, float]:
    """The weights of `machines`, summing to 1: each one's own, times its iterations where the settings say so."""
    machine_weights = uniform_weights(machines)
    if plan.settings.weight_rule == "iterations" and plan.iterations:
        done = {machine: plan.iterations.get(machine, 0) for machine in machines}
        machine_weights = weights_by_iterations(done)
    return normalise_weights(
        {machine: weight * plan.configured_weights.get(machine, 1.0) for machine, weight in machine_weights.items()}
    )


def update_deployed(
    deployed: ModelFiles | None, latest: ModelFiles, folder: Path, *, settings: AverageSettings
) -> dict[str, AveragedFile]:
    """Let a round's average, or one machine's snapshot, join the exponential average that is kept for deployment.

    Part → new file in `folder`, in `latest`'s layout. Without a `deployed` model, `latest` begins one.
    """
    made = {}
    for part, path in latest.items():
        new = TensorFile(path, index_weights(path))
        machines, machine_weights = {"latest": new}, {"latest": 1.0}
        if deployed is not None:
            before = deployed[part]
            machines["deployed"] = TensorFile(before, index_weights(before))
            machine_weights = {"latest": 1 - settings.ema_decay, "deployed": settings.ema_decay}
        out = folder / part
        result = run_averaging_pass(PassPlan(part, machines, machine_weights, outputs=[Output(new, out)]))
        made[part] = AveragedFile(out, result.written[out])
    return made


def _index(files: ModelFiles) -> dict[str, TensorFile]:
    return {part: TensorFile(path, index_weights(path)) for part, path in files.items()}


def _targets(folder: Path, part: str, receivers: Mapping[str, Mapping[str, TensorFile]]) -> dict[str, Output]:
    """Receiver → output; receivers whose files differ in nothing but averaged values share one."""
    outputs: dict[str, Output] = {}
    by_receiver = {}
    for machine, files in receivers.items():
        with FileSource(files[part].path) as source:
            digest = layout_digest(source, files[part].layout)
        if digest not in outputs:
            outputs[digest] = Output(files[part], folder / (f"{len(outputs)}_{part}" if outputs else part))
        by_receiver[machine] = outputs[digest]
    return by_receiver


def _momentum_path(folder: Path, part: str) -> Path:
    return folder / f"momentum_{part}"


def _run(
    plan: ModelPlan,
    inputs: Mapping[str, Mapping[str, TensorFile]],
    targets: Mapping[str, Mapping[str, Output]],
    made: dict[Path, AveragedFile],
    stop: threading.Event | None,
    on_progress: Callable[[str, int, int], None] | None,
) -> GramTable:
    """One pass per part over the machines of `inputs`; what was written is added to `made`."""
    base = _index(plan.base) if plan.base else {}
    momentum = _index(plan.momentum) if plan.momentum else {}
    if base and targets.keys() - base.keys():
        raise DisagreementError(f"the weights that all were given last lack {sorted(targets.keys() - base.keys())}")
    table = GramTable(tuple(inputs), bool(base), ())
    for part, outputs in targets.items():
        wanted = list({output.path: output for output in outputs.values()}.values())
        pass_plan = PassPlan(
            part,
            {machine: files[part] for machine, files in inputs.items()},
            weights_of_machines(plan, list(inputs)),
            plan.settings,
            base=base.get(part),
            momentum=momentum.get(part),
            outputs=wanted,
            momentum_output=Output(wanted[0].template, _momentum_path(plan.folder, part)),
        )
        of_this_part = partial(on_progress, part) if on_progress else None
        result = run_averaging_pass(pass_plan, stop=stop, on_progress=of_this_part)
        table = table.joined(result.grams)
        made.update({path: AveragedFile(path, digest) for path, digest in result.written.items()})
    return table


def _hold_trimmed(verdict: Verdict, settings: AverageSettings) -> Verdict:
    """Hold the round where too few machines are left for a trimmed mean."""
    if verdict.held or settings.rule != "trimmed" or len(verdict.accepted) >= MACHINES_FOR_TRIMMED:
        return verdict
    reason = f"{len(verdict.accepted)} machines are left, a trimmed mean needs {MACHINES_FOR_TRIMMED}"
    return replace(verdict, held=reason)


def _remove(made: Mapping[Path, AveragedFile]) -> None:
    for path in made:
        path.unlink(missing_ok=True)
