"""Where the weights come from that a round gives out: the machines' average, one machine, a kept average, or what was.

Each function writes them as files on this computer, in the layout of every machine that is to get them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from core.errors import DfldError
from core.opening import sha256_of
from dfl.model_files import is_optimizer
from sync.averaging.average_model import AveragedFile, ModelAverage, ModelPlan, average_model
from sync.errors import DisagreementError, RoundError
from sync.journal.history import History
from sync.journal.lines import Accepted
from sync.journal.record import RoundRecord
from sync.rounds.candidates import Candidates, check_candidates, sort_out
from sync.rounds.round_work import NewWeights, RoundWork

MakeWeights = Callable[[RoundWork, History], NewWeights]


def averaged_weights(work: RoundWork, history: History) -> NewWeights:
    """The average of the machines that agree. Raise RoundError where a gate or the quorum holds the round."""
    work.check_snapshots(work.tools.settings.quorum)
    chosen = sort_out(work.snapshots, history, work.tools.settings.gates)
    work.exclude(chosen.refused)
    check_candidates(chosen, quorum=work.tools.settings.quorum)
    average = _average(work, chosen, history)
    verdict = average.verdict
    work.exclude(verdict.refused)
    work.note(
        Accepted(
            contributors=verdict.accepted,
            work=chosen.work,
            measures={name: one.measures() for name, one in verdict.every_machine.machines.items()},
            warnings=(*chosen.warnings, *verdict.warnings),
            spread_rel=verdict.divergence.spread_rel,
            shrink=verdict.divergence.shrink,
            weights=average.machine_weights,
        )
    )
    if verdict.held:
        raise RoundError(verdict.held)
    iteration = max(work.snapshots[name].iteration for name in verdict.accepted)
    kept = average.files[verdict.accepted[0]]
    return NewWeights(average.files, kept, iteration, average.momentum)


def own_weights(work: RoundWork, history: History) -> NewWeights:
    """The save of the only machine: checked, kept, and left on the machine as it is."""
    work.check_snapshots(1)
    (name,) = work.snapshots
    snapshot = work.snapshots[name]
    plan = ModelPlan(
        {name: paths_of(work, name)}, work.tools.store.outgoing(work.number), gates=work.tools.settings.gates, quorum=1
    )
    average = average_model(plan, stop=work.tools.stop)
    if average.verdict.held:
        raise RoundError(average.verdict.held)
    done = snapshot.iteration - history.last_iteration(name)
    work.note(Accepted(contributors=(name,), work={name: done}, measures={}))
    return NewWeights({name: {}}, average.files[name], snapshot.iteration, {})


def _average(work: RoundWork, chosen: Candidates, history: History) -> ModelAverage:
    files = {name: paths_of(work, name) for name in chosen.fitting}
    # Without the kept average (a lost disk) the machines still agree by its hash; only drift is not known then.
    known = history.newest in work.tools.store.averages()
    base = work.tools.store.average(history.newest).files if known else {}
    folder = work.tools.store.outgoing(work.number)
    plan = ModelPlan(
        machines={name: files[name] for name in chosen.candidates},
        folder=folder,
        receivers=files,
        base=base if files[chosen.candidates[0]].keys() <= base.keys() else None,
        momentum=work.tools.store.momentum_files(),
        configured_weights={machine.name: machine.weight for machine in work.tools.settings.machines},
        iterations=chosen.work,
        settings=work.tools.settings.average,
        gates=work.tools.settings.gates,
        quorum=work.tools.settings.quorum,
        usual_spreads=history.usual_spreads,
    )
    return average_model(plan, stop=work.tools.stop)


def weights_of_one(work: RoundWork, _history: History) -> NewWeights:
    """The weights of one machine, and where it fits its optimizer state, for all others."""
    source = work.record.giver
    if source not in work.snapshots:
        raise RoundError(f"the weights of {source} cannot be had: {work.record.excluded.get(source, '')}")
    snapshot = work.snapshots[source]
    files = {part: AveragedFile(file.path, file.sha256) for part, file in snapshot.files.items()}
    new = _spread(work, files, snapshot.iteration)
    return NewWeights({**new.files, source: {}}, new.kept, new.iteration, {})


def kept_weights(work: RoundWork, _history: History) -> NewWeights:
    """A kept average of an earlier round, for all."""
    kept = work.tools.store.average(int(work.record.source))
    files = {part: AveragedFile(path, kept.sha256[part]) for part, path in kept.files.items()}
    return _spread(work, files, kept.iteration)


def _spread(work: RoundWork, source: Mapping[str, AveragedFile], iteration: int) -> NewWeights:
    """Write one set in the layout of every machine; a machine whose network is another stays out."""
    made: dict[str, Mapping[str, AveragedFile]] = {}
    for name in work.snapshots:
        if name == work.record.giver:
            continue
        try:
            made[name] = _in_layout_of(work, name, source)
        except DfldError as error:
            work.exclude({name: error})
    if not made:
        raise RoundError("no other machine can be given these weights")
    kept = {part: file for part, file in source.items() if not is_optimizer(part)}
    return NewWeights(made, kept, iteration, {})


def _in_layout_of(work: RoundWork, name: str, source: Mapping[str, AveragedFile]) -> dict[str, AveragedFile]:
    own = paths_of(work, name)
    weights = {part for part in source if not is_optimizer(part)}
    if weights != {part for part in own if not is_optimizer(part)}:
        raise DisagreementError(f"machine {name} has other weight files: {', '.join(sorted(own))}")
    folder = work.tools.store.outgoing(work.number, name)
    made: dict[str, AveragedFile] = {}
    for part in sorted(source.keys() & own.keys()):
        plan = ModelPlan({"source": {part: source[part].path}}, folder, {name: {part: own[part]}}, quorum=1)
        try:
            made[part] = average_model(plan, stop=work.tools.stop).files[name][part]
        except DisagreementError:
            if not is_optimizer(part):  # optimizer state of another kind stays what it is there
                raise
    return made


def earlier_weights(work: RoundWork, record: RoundRecord) -> NewWeights:
    """What each machine gave to the round, from its snapshot on this computer."""
    made = {}
    for name in sorted(work.record.touched - work.record.excluded.keys()):
        folder = work.tools.store.incoming(record.number, name)
        parts = {part: folder / work.tools.settings.model.file_name(part) for part in record.staged[name].files}
        made[name] = {part: AveragedFile(path, sha256_of(path, follow_links=False)) for part, path in parts.items()}
    return NewWeights(made, {}, 0, {})


def paths_of(work: RoundWork, name: str) -> dict[str, Path]:
    """Return a machine's snapshot as part → file on this computer."""
    return {part: file.path for part, file in work.snapshots[name].files.items()}
