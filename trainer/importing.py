"""Weights of one model taken into another, tensor by tensor, with what became of each. Pure.

By name, a tensor is taken from the tensor of that name; by shape, from the next one of that shape in the order of the
file, whatever it is called. Nothing is cut or stretched: what has no counterpart keeps the values that it has. The
optimizer's means of a tensor that is taken are set to zero, because they belong to other weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dfl.model_files import is_optimizer
from trainer.architectures.spec import NetworkSpec
from trainer.errors import ModelFolderError
from trainer.model_folder.model import Model
from trainer.model_folder.tensor_files import Tensors

Match = Literal["name", "shape"]
Outcome = Literal["loaded", "shape differs", "missing"]


@dataclass(frozen=True)
class ImportedTensor:
    """What became of one tensor of the model that is changed."""

    part: str
    name: str
    outcome: Outcome
    source: str = ""
    """The part and the name that it was taken from, or that has another shape."""


@dataclass(frozen=True, eq=False)
class Import:
    """The changed model, and what became of each tensor of the named parts."""

    model: Model
    tensors: tuple[ImportedTensor, ...]
    differing_archi: str = ""
    """Both architectures where their letters u or c differ: equal shapes, but other functions."""

    @property
    def loaded(self) -> int:
        """How many tensors were taken."""
        return sum(one.outcome == "loaded" for one in self.tensors)


def import_weights(source: Model, target: Model, parts: Sequence[str], *, match: Match) -> Import:
    """Take weights of `source` into `target`. `parts`: `encoder`, or `decoder=decoder_src` for a part of another name.

    Raise ModelFolderError for a part that one of the two does not have, and where no tensor at all fits.
    """
    rows: list[ImportedTensor] = []
    tensors = dict(target.tensors)
    for part in parts:
        to, _, of = part.partition("=")
        into, given = _part(target, to), _part(source, of or to)
        found = list(_matched(source.tensors[given], target.tensors[into], match))
        rows += [
            ImportedTensor(to, name, outcome, f"{of or to}/{taken}" if taken else "") for name, outcome, taken in found
        ]
        taken_from = {name: source.tensors[given][taken] for name, outcome, taken in found if outcome == "loaded"}
        tensors[into] = {**target.tensors[into], **taken_from}
    if not any(row.outcome == "loaded" for row in rows):
        raise ModelFolderError(
            f"no tensor of {', '.join(parts)} in {source.name.prefix} fits {target.name.prefix}",
            hint="--match shape ignores names" if match == "name" else "",
        )
    loaded = {f"{row.part}/{row.name}" for row in rows if row.outcome == "loaded"}
    changed = {part: _without_means(one, loaded) if is_optimizer(part) else one for part, one in tensors.items()}
    return Import(replace(target, tensors=changed), tuple(rows), _differing_archi(source, target))


def _part(model: Model, stem: str) -> str:
    part = f"{stem}.npy"
    if part not in model.tensors or is_optimizer(part):
        there = ", ".join(one.removesuffix(".npy") for one in model.tensors if not is_optimizer(one))
        raise ModelFolderError(f"{model.name.prefix} has no part {stem!r}", hint=f"its parts are: {there}")
    return part


def _matched(source: Tensors, target: Tensors, match: Match) -> Iterator[tuple[str, Outcome, str]]:
    free = list(source)
    for name, values in target.items():
        if match == "name":
            if name not in source:
                yield name, "missing", ""
            elif source[name].shape != values.shape:
                yield name, "shape differs", name
            else:
                yield name, "loaded", name
            continue
        taken = next((one for one in free if source[one].shape == values.shape), "")
        if taken:
            free.remove(taken)
            yield name, "loaded", taken
        else:
            yield name, "missing", ""


_OWNERS = {"dis": "code_discriminator", "D_src": "GAN"}


def _without_means(state: Tensors, loaded: set[str]) -> Mapping[str, NDArray[np.generic]]:
    """The optimizer's state with zeros for every loaded weight, whose mean is called `ms_<part>/<weight_0>:0`."""
    changed: dict[str, NDArray[np.generic]] = {}
    for key, values in state.items():
        owner, _, weight = key.partition("_")[2].removesuffix(":0").partition("/")
        name = f"{_OWNERS.get(owner, owner)}/{weight.removesuffix('_0')}:0"
        changed[key] = np.zeros_like(values) if name in loaded else values
    return changed


def _differing_archi(source: Model, target: Model) -> str:
    one, other = (NetworkSpec.from_options(model.data.options) for model in (source, target))
    alike = (one.normalises_code, one.activates_by_cosine) == (other.normalises_code, other.activates_by_cosine)
    return "" if alike else f"{one.archi} and {other.archi}"
