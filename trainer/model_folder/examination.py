"""What a model's folder holds and everything that is wrong with it: read, never written.

Where `read_model` refuses at the first problem, this names all of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path

from core.errors import DfldError
from core.opening import RefusedFileError
from dfl.model_files import DATA, ModelName
from trainer.errors import SpecError
from trainer.model_folder.backups import backups
from trainer.model_folder.data_file import DataFile, read_data_file
from trainer.model_folder.expected_tensors import Shapes
from trainer.model_folder.generations import SWITCHING, generations, generations_folder
from trainer.model_folder.model import expected_tensors
from trainer.model_folder.tensor_files import read_tensors
from trainer.options import problems_of


@dataclass(frozen=True)
class PartFacts:
    """One weight or optimizer file."""

    part: str
    tensors: int
    """That it holds, or has to hold."""
    numbers: int
    problem: str = ""
    """Why it cannot be trained on; empty where it can."""


@dataclass(frozen=True)
class ModelFacts:
    """A model and all its problems."""

    name: str
    iteration: int
    options: dict[str, object]
    losses_recorded: int
    parts: tuple[PartFacts, ...]
    problems: tuple[str, ...]
    """Empty where the model can be trained as it is."""
    generations: tuple[int, ...]
    """Saves that are kept, oldest first."""
    backups: tuple[str, ...]
    """DeepFaceLab's autobackups, newest first."""


def examine(folder: Path, model: ModelName) -> ModelFacts:
    """Read every file of a model; raise ModelFolderError where its data.dat cannot be read: it says which there are."""
    data = read_data_file(folder / model.file_name(DATA))
    parts = tuple(_parts(folder, model, data))
    problems = [*_problems_of_folder(folder, model), *problems_of(data.options)]
    if data.losses_recorded < data.iteration:
        problems.append(
            f"data.dat has {data.losses_recorded} rows of losses for {data.iteration} iterations: "
            "DeepFaceLab's trainer dies after its first save"
        )
    problems += [one.problem for one in parts if one.problem]
    return ModelFacts(
        model.prefix, data.iteration, data.options, data.losses_recorded, parts, tuple(problems),
        tuple(one.number for one in generations(folder, model)), tuple(one.name for one in backups(folder, model)),
    )  # fmt: skip


def _parts(folder: Path, model: ModelName, data: DataFile) -> Iterator[PartFacts]:
    try:
        for part, shapes in expected_tensors(model, data.options):
            numbers = sum(prod(shape) for shape in shapes.values())
            yield PartFacts(part, len(shapes), numbers, _problem(folder / model.file_name(part), shapes))
    except SpecError:
        return  # the options say so themselves


def _problem(path: Path, shapes: Shapes) -> str:
    if not path.is_file():
        return f"{path.name} is missing"
    try:
        read_tensors(path, shapes)
    except (DfldError, RefusedFileError) as error:
        return error.message if isinstance(error, DfldError) else f"{path.name} {error.strerror}"
    return ""


def _problems_of_folder(folder: Path, model: ModelName) -> Iterator[str]:
    for path in generations_folder(folder, model).glob(f"*{SWITCHING}"):
        number = path.name.removesuffix(SWITCHING)
        yield f"a save was cut short at generation {number}; what changes the model completes it"
