"""`dfld average`: files or folders of one model in, one averaged file or folder out; no machine, no round.

All inputs have one format, known by their content: DeepFaceLab weights, true .npy, .npz, PyTorch, .safetensors; or
they are folders that hold one DeepFaceLab model. The output has the first input's layout. Optimizer files and
data.dat of a folder are a machine's own and are left out.
"""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from core.files import put_in_place
from core.opening import sha256_of
from dfl.errors import FormatError
from dfl.model_files import DATA, is_weights, split_file_name
from dfl.training_state import read_training_state
from sync.averaging.average import AverageSettings, GramTable, Rule, normalise_weights, trimmed_at_each_end
from sync.averaging.averaging_pass import Output, PassPlan, run_averaging_pass
from sync.averaging.compare import agree_on_options
from sync.averaging.divergence import Divergence, measure_divergence
from sync.averaging.gates import GateSettings
from sync.averaging.npz_files import average_npz
from sync.averaging.tensor_file import TensorFile
from sync.averaging.tensor_formats import TensorFormat, detect_format, index_tensors
from sync.averaging.torch_files import average_torch
from sync.errors import AverageError, DisagreementError


@dataclass(frozen=True)
class AverageReport:
    """What was averaged, and how far apart the inputs were."""

    inputs: tuple[str, ...]
    machine_weights: Mapping[str, float]
    """Input → its part in the average."""
    rule: Rule
    written: Mapping[Path, str]
    """Output file → sha256."""
    divergence: Divergence
    """Of the inputs by name; drift is not known without a common base."""
    warnings: tuple[str, ...]
    replaced: tuple[Path, ...] = ()
    """Files of `written` that were there before."""


def average_files(
    paths: Sequence[Path],
    out: Path,
    *,
    machine_weights: Sequence[float] | None = None,
    rule: Rule = "mean",
    model: str | None = None,
) -> AverageReport:
    """Average `paths`, all files of one format or all folders of one DeepFaceLab model, into `out`.

    `model`: of folders that hold several models, the one that is meant, with its class (`alice_SAEHD`) or without.
    `machine_weights`: one number per path, in any scale; only for the mean. Existing files at `out` are replaced,
    each at once and only after everything was averaged. Raise FormatError for an input that is no file of tensors or is
    hostile, DisagreementError where inputs do not fit each other or hold NaN, AverageError for a full disk.
    """
    labels = _labels(paths)
    weights = _machine_weights(labels, machine_weights, rule)
    for path in paths:  # before what folders and files have in common is asked: a slip of the pen is neither
        if not path.exists():
            raise DisagreementError(f"{path} is not there; nothing was averaged", hint="check the path")
    if all(path.is_dir() for path in paths):
        return _average_folders(labels, out, weights, AverageSettings(rule=rule), model)
    if folders := [path for path in paths if path.is_dir()]:
        file = next(path for path in paths if not path.is_dir())
        raise DisagreementError(f"{folders[0]} is a folder, and {file} is a file; nothing was averaged")
    if model is not None:
        raise DisagreementError(f"the model {model!r} is named, and the inputs are files", hint="leave --model out")
    if out.is_dir():
        raise DisagreementError(f"{out} is a folder, the average of files is a file")
    _refuse_input_as_output(paths, [out])
    return _average_all({"": labels}, {"": out}, weights, AverageSettings(rule=rule), warnings=())


def _labels(paths: Sequence[Path]) -> dict[str, Path]:
    labels = {str(path): path for path in paths}
    if len(labels) != len(paths):
        twice = next(path for place, path in enumerate(paths) if path in paths[:place])
        raise DisagreementError(
            f"{twice} is named twice; nothing was averaged", hint="--shares gives an input more weight"
        )
    if len(labels) < 2:
        raise DisagreementError("there is one input; an average needs two or more")
    return labels


def _machine_weights(
    labels: Mapping[str, Path], machine_weights: Sequence[float] | None, rule: Rule
) -> dict[str, float]:
    if rule == "trimmed":
        trimmed_at_each_end(len(labels), AverageSettings().trim)
    if machine_weights is None:
        return normalise_weights(dict.fromkeys(labels, 1.0))
    if rule != "mean":
        raise DisagreementError(f"shares are for the mean; the rule {rule} counts every input alike")
    if len(machine_weights) != len(labels):
        raise DisagreementError(f"{len(machine_weights)} shares for {len(labels)} inputs")
    return normalise_weights(dict(zip(labels, machine_weights, strict=True)))


def _average_folders(
    labels: Mapping[str, Path],
    out: Path,
    machine_weights: Mapping[str, float],
    settings: AverageSettings,
    model: str | None,
) -> AverageReport:
    models = {label: _models_in(folder) for label, folder in labels.items()}
    prefix = _chosen_model(models, model)
    parts = models[next(iter(models))][prefix]
    everything = set.union(*(names[prefix] for names in models.values()))
    lacks = {label: sorted(everything - names[prefix]) for label, names in models.items()}
    if any(lacks.values()):
        missing_files = "; ".join(
            f"{label} lacks {', '.join(f'{prefix}_{part}' for part in missing)}"
            for label, missing in lacks.items()
            if missing
        )
        raise DisagreementError(
            f"the folders do not hold the same files of {prefix}: {missing_files}; nothing was averaged"
        )
    files = {part: {label: folder / f"{prefix}_{part}" for label, folder in labels.items()} for part in sorted(parts)}
    outputs = {part: out / f"{prefix}_{part}" for part in files}
    _refuse_input_as_output([path for inputs in files.values() for path in inputs.values()], list(outputs.values()))
    warnings = _compare_options(labels, prefix, sorted(parts))
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AverageError(f"folder {out} cannot be made: {error.strerror}") from error
    return _average_all(files, outputs, machine_weights, settings, warnings)


def _chosen_model(models: Mapping[str, Mapping[str, object]], wanted: str | None) -> str:
    """Return the prefix of the model that is meant: the named one, or the only one that all folders hold."""
    common = sorted(set.intersection(*(set(found) for found in models.values())))
    fitting = [prefix for prefix in common if wanted in (None, prefix, _name_of(prefix))]
    if len(fitting) == 1:
        return fitting[0]
    if not common:
        found = "; ".join(f"{label} has {_listed(sorted(names))}" for label, names in models.items())
        raise DisagreementError(f"the folders have no model in common: {found}")
    if not fitting:
        raise DisagreementError(
            f"there is no model {wanted!r} in all folders", hint=f"they have in common: {_listed(common)}"
        )
    raise DisagreementError(
        f"the folders have {len(fitting)} models in common{'' if wanted is None else f' that are named {wanted!r}'}: "
        f"{_listed(fitting)}",
        hint=f"name one with --model, as --model {shlex.quote(fitting[0])}",
    )


def _name_of(prefix: str) -> str:
    return prefix.rpartition("_")[0]


def _listed(prefixes: Sequence[str]) -> str:
    return ", ".join(map(repr, prefixes)) or "no model"


def _models_in(folder: Path) -> dict[str, set[str]]:
    """Prefix → parts of the weight files in a folder; optimizer files are left out."""
    models: dict[str, set[str]] = {}
    for path in folder.iterdir():
        found = split_file_name(path.name)
        if found and path.is_file() and is_weights(found[1]):
            models.setdefault(found[0], set()).add(found[1])
    return models


def _compare_options(labels: Mapping[str, Path], prefix: str, parts: Sequence[str]) -> tuple[str, ...]:
    """Compare the options where every folder has its data.dat; otherwise warn that flags were not compared."""
    files = {label: folder / f"{prefix}_{DATA}" for label, folder in labels.items()}
    if not all(path.is_file() for path in files.values()):
        return ("not every folder has a data.dat, so options such as archi were not compared",)
    options = {}
    for label, path in files.items():
        with _in_full(path):
            options[label] = read_training_state(path).options
    agreement = agree_on_options(options, parts)
    if agreement.refused:
        refused = list(agreement.refused.items())
        if len(labels) == len(refused) == 2:  # each differs from the other: that is one difference
            refused = refused[1:]
        reasons = "; ".join(f"{label} is {reason}" for label, reason in refused)
        raise DisagreementError(f"the models are not the same: {reasons}; nothing was averaged")
    return agreement.warnings


def _refuse_input_as_output(inputs: Sequence[Path], outputs: Sequence[Path]) -> None:
    for path in outputs:
        if any(path.resolve() == source.resolve() for source in inputs):
            raise DisagreementError(f"{path} is an input; write the average somewhere else")


def _average_all(
    files: Mapping[str, Mapping[str, Path]],
    outputs: Mapping[str, Path],
    machine_weights: Mapping[str, float],
    settings: AverageSettings,
    warnings: tuple[str, ...],
) -> AverageReport:
    """Average part after part in a scratch folder beside the output; put all in place at the end."""
    parent = next(iter(outputs.values())).parent
    try:
        scratch_folder = tempfile.TemporaryDirectory(dir=parent, prefix=".dfld-average-")
    except OSError as error:
        raise AverageError(f"nothing can be written in {parent}: {error.strerror}") from error
    with scratch_folder as scratch:
        table = GramTable(tuple(machine_weights), False, ())
        made: dict[Path, Path] = {}
        for part, inputs in files.items():
            made[outputs[part]] = Path(scratch) / outputs[part].name
            table = table.joined(_average_one(inputs, made[outputs[part]], machine_weights, settings))
        divergence = measure_divergence(table, machine_weights)
        _refuse_nonfinite(divergence)
        written: dict[Path, str] = {}
        replaced = tuple(path for path in made if path.exists())
        for path, partial in made.items():
            written[path] = sha256_of(partial, follow_links=False)
        put_in_place({partial: path for path, partial in made.items()})
    return AverageReport(
        tuple(machine_weights),
        dict(machine_weights),
        settings.rule,
        written,
        divergence,
        warnings + _spread_warning(divergence),
        replaced,
    )


def _average_one(
    inputs: Mapping[str, Path], out: Path, machine_weights: Mapping[str, float], settings: AverageSettings
) -> GramTable:
    formats: dict[str, TensorFormat] = {}
    for label, path in inputs.items():
        with _in_full(path):
            formats[label] = detect_format(path)
    form = next(iter(formats.values()))
    if set(formats.values()) != {form}:
        raise DisagreementError(f"the inputs have different formats: {formats}")
    if form == "npz":
        return average_npz(inputs, list(machine_weights.values()), settings, out)
    if form == "torch":
        return average_torch(inputs, list(machine_weights.values()), settings, out)
    machines = {}
    for label, path in inputs.items():
        with _in_full(path):
            machines[label] = TensorFile(path, index_tensors(path, form))
    first = next(iter(machines.values()))
    if not any(tensor.averaged for tensor in first.layout.tensors):
        raise DisagreementError(f"{first.path.name} holds no floating-point tensors; there is nothing to average")
    plan = PassPlan(out.name, machines, machine_weights, settings, outputs=[Output(first, out)])
    return run_averaging_pass(plan).grams


@contextmanager
def _in_full(path: Path) -> Iterator[None]:
    """Name `path` with its folder in a FormatError: all machines' files have the same name."""
    try:
        yield
    except FormatError as error:
        # Its message begins with the file's name, or with its whole path where it cannot even be opened.
        named = os.path.join(path.parent, error.message)  # noqa: PTH118  of a sentence, not of a path
        raise FormatError(named, hint=error.hint) from error


def _refuse_nonfinite(divergence: Divergence) -> None:
    for label, machine in divergence.machines.items():
        if machine.nonfinite:
            raise DisagreementError(f"{label}: {machine.nonfinite} weights are NaN or infinite; nothing was written")


def _spread_warning(divergence: Divergence) -> tuple[str, ...]:
    limit = GateSettings().spread_max
    if divergence.spread_rel <= limit:
        return ()
    return (
        f"the inputs are {divergence.spread_rel:.2f} apart (spread_rel); averages of models above {limit} were ruins "
        "where they did not train on from one common start",
    )
