"""A SAEHD model in its folder: read whole or refused by name, saved as one generation.

DeepFaceLab draws new values, without a word, for whatever is missing or has another shape, and its next save overwrites
what was there. Here that is refused, unless the part is named as one to be drawn anew.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from core.files import copy_new, open_new
from dfl.errors import shown
from dfl.model_files import DATA, SUMMARY, ModelName, optimizer_parts, weight_parts
from trainer.errors import ModelFolderError, SaveError
from trainer.model_folder.data_file import DataFile, read_data_file
from trainer.model_folder.expected_tensors import (
    Shapes,
    accumulators_of,
    optimizer_shapes,
    trained_parts,
    weight_shapes,
)
from trainer.model_folder.generations import FileToSave, Generation, save_generation
from trainer.model_folder.summary import summary_text
from trainer.model_folder.tensor_files import Tensors, read_tensors, require_same, write_tensors

MODEL_CLASS = "SAEHD"
OPTIMIZERS = ("src_dst_opt.npy", "D_code_opt.npy", "GAN_opt.npy")
KEPT_GENERATIONS = 2
"""The one that counts, and the one before it: what training returns to when its numbers go bad."""


@dataclass(frozen=True, eq=False)
class Model:
    """Everything that a model's folder holds and a trainer needs."""

    name: ModelName
    data: DataFile
    tensors: Mapping[str, Tensors]
    """Part, as `encoder.npy` or `src_dst_opt.npy`, in the order of saving → its tensors."""
    to_draw: tuple[str, ...] = ()
    """Parts in use that were not read, because they are to be drawn anew."""

    @property
    def file_names(self) -> tuple[str, ...]:
        """The files of the model in the order of saving."""
        return tuple(self.name.file_name(part) for part in (SUMMARY, *self.tensors, DATA))


def require_model(folder: Path, model: ModelName) -> None:
    """Raise ModelFolderError, with the models that there are, where a folder does not hold this one."""
    name = model.file_name(DATA)
    try:
        there = [one.name for one in _model_names(folder)]
    except OSError as problem:
        raise ModelFolderError(f"{folder} cannot be read: {problem.strerror}") from problem
    if model.name not in there:
        hint = f"its SAEHD models are: {', '.join(there)}" if there else "it holds no SAEHD model"
        raise ModelFolderError(f"{folder} holds no {shown(name)}", hint=hint)


def _model_names(folder: Path) -> tuple[ModelName, ...]:
    ending = ModelName("", MODEL_CLASS).file_name(DATA)
    names = sorted(path.name for path in folder.iterdir())
    return tuple(ModelName(name.removesuffix(ending), MODEL_CLASS) for name in names if name.endswith(ending))


def parts_in_use(model: ModelName, options: Mapping[str, object]) -> tuple[str, ...]:
    """Return the weight files, then the optimizer files that a trainer with these options reads, in its save order."""
    return (
        *weight_parts(model, options, ()),
        *sorted(optimizer_parts(model, options, OPTIMIZERS), key=OPTIMIZERS.index),
    )


def expected_tensors(model: ModelName, options: Mapping[str, object]) -> Iterator[tuple[str, Shapes]]:
    """Yield every part in use with the tensors that its file must hold."""
    weights: dict[str, Shapes] = {}
    for part in weight_parts(model, options, ()):
        weights[part] = weight_shapes(part, options)
        yield part, weights[part]
    for part in parts_in_use(model, options)[len(weights) :]:
        trained = {one: weights[one] for one in trained_parts(part, weights)}
        yield part, optimizer_shapes(trained, accumulators_of(options))


def read_model(folder: Path, model: ModelName, *, to_draw: Collection[str] = ()) -> Model:
    """Read a model; `to_draw` names parts, as `GAN`, that are not read because they are to be drawn anew.

    Raise ModelFolderError or FormatError, naming file and tensor, for whatever is missing, broken or of another
    network; SpecError for options that no network can be made of.
    """
    require_model(folder, model)
    data = read_data_file(folder / model.file_name(DATA))
    in_use = parts_in_use(model, data.options)
    drawn = _named_parts(to_draw, in_use)
    _require_files(folder, model, [part for part in in_use if part not in drawn])
    tensors = {
        part: read_tensors(folder / model.file_name(part), shapes)
        for part, shapes in expected_tensors(model, data.options)
        if part not in drawn
    }
    return Model(model, data, tensors, drawn)


def _named_parts(names: Collection[str], in_use: tuple[str, ...]) -> tuple[str, ...]:
    stems = {part.removesuffix(".npy"): part for part in in_use}
    unknown = sorted(set(names) - stems.keys())
    if unknown:
        raise ModelFolderError(f"the model has no part {unknown[0]!r}", hint=f"its parts are: {', '.join(stems)}")
    return tuple(part for stem, part in stems.items() if stem in names)


def _require_files(folder: Path, model: ModelName, parts: list[str]) -> None:
    missing = [part for part in parts if not (folder / model.file_name(part)).is_file()]
    if missing:
        names = ", ".join(model.file_name(part) for part in missing)
        raise ModelFolderError(
            f"{folder} lacks {names}",
            hint=f"bring {'it' if len(missing) == 1 else 'them'} back from a backup, all files of one date together",
        )


def save_model(folder: Path, model: Model, *, device: str, keep: int = KEPT_GENERATIONS) -> Generation:
    """Save a model as one generation; see `save_generation`. Parts whose numbers did not change keep their bytes.

    Raise SaveError, with the model as it was before, also where parts are still to be drawn or numbers are not finite.
    """
    if model.to_draw:
        raise SaveError(f"{model.name.prefix} is not saved: {', '.join(model.to_draw)} hold no values yet")
    files = [_summary(model.name, model.data, device)]
    for part, tensors in model.tensors.items():
        name = model.name.file_name(part)
        write = partial(write_tensors, tensors=tensors, template=folder / name)
        files.append(FileToSave(name, write, partial(require_same, tensors=tensors)))
    return save_generation(folder, model.name, [*files, _data(model.name, model.data)], keep=keep)


def save_data(
    folder: Path, model: ModelName, data: DataFile, *, device: str, keep: int = KEPT_GENERATIONS
) -> Generation:
    """Save a model with another data.dat as one generation; every file of tensors that is there stays as it is.

    Raise as `save_model`. For options: what is missing or broken may be so because of them.
    """
    names = [model.file_name(part) for part in parts_in_use(model, data.options)]
    copies = [FileToSave(name, partial(_copy, folder / name)) for name in names if (folder / name).is_file()]
    return save_generation(folder, model, [_summary(model, data, device), *copies, _data(model, data)], keep=keep)


def _copy(path: Path, target: Path) -> None:
    copy_new(path, target)
    os.utime(target)  # it belongs to this save: a round takes no set in which a file is older than the summary


def _summary(model: ModelName, data: DataFile, device: str) -> FileToSave:
    text = summary_text(model, data.iteration, data.options, device)
    return _file_of(model.file_name(SUMMARY), text.encode())


def _data(model: ModelName, data: DataFile) -> FileToSave:
    return _file_of(model.file_name(DATA), data.to_bytes())


def _file_of(name: str, content: bytes) -> FileToSave:
    def write(path: Path) -> None:
        with os.fdopen(open_new(path), "wb") as file:
            file.write(content)

    def check(path: Path) -> None:
        if path.read_bytes() != content:
            raise SaveError(f"{path.name} reads back as something else", hint="check the disk")

    return FileToSave(name, write, check)
