"""Averaging PyTorch files (.pt, .pth): state dicts and checkpoints that are dicts and lists of tensors.

Loaded with weights_only, which knows a closed list of types and refuses everything else, and mapped rather than
read: memory holds the one result, not the inputs. PyTorch is an extra of dfld (`pip install dfld[torch]`) and is
imported here only, when such a file is averaged.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from core.files import sync_file
from dfl.errors import FormatError
from sync.averaging.average import AverageSettings, GramTable, TensorGram
from sync.averaging.tensor_arrays import average_arrays
from sync.errors import AverageError, DisagreementError

if TYPE_CHECKING:
    import torch

ZIP_START = b"PK"
Content = Any
"""Whatever a PyTorch file holds: bytes from outside, whose types are checked below."""
MAX_DEPTH = 20
"""Checkpoints nest a few levels."""


def average_torch(
    paths: Mapping[str, Path], machine_weights: Sequence[float], settings: AverageSettings, out: Path
) -> GramTable:
    """Average the files `paths` (label → file) into the new file `out`; return the inner products.

    Floating-point tensors are averaged, at whatever depth of dicts and lists; everything else is the first file's.
    Tensors that share memory still do. `out` is written, synced and read back, but it is the caller's to rename it
    into place. Raise FormatError where weights_only refuses a file, DisagreementError where structures differ.
    """
    contents = {label: load_torch(path) for label, path in paths.items()}
    walk = _Walk(list(contents), machine_weights, settings)
    result = walk.average("", list(contents.values()), 0)
    if not walk.grams:
        raise DisagreementError(f"{next(iter(contents))} holds no floating-point tensors")
    _save(result, out)
    return GramTable(tuple(paths), False, tuple(walk.grams))


def load_torch(path: Path) -> Content:
    """Load a PyTorch file to the CPU without running anything of it; raise FormatError where that is refused.

    Tensors of the zip format (PyTorch 1.6 and later) stay in the file and are mapped; the older one is read whole.
    """
    torch = _torch()
    with path.open("rb") as file:
        mappable = file.read(2) == ZIP_START
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mappable)
    except (pickle.UnpicklingError, RuntimeError, ValueError, EOFError, KeyError, AttributeError, TypeError) as error:
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise FormatError(
            f"{path} is no PyTorch file of plain tensors: {first_line[:200]}",
            hint="save a state_dict, not a whole module: nothing in a file is ever run",
        ) from error


def _torch() -> ModuleType:
    try:
        import torch
    except ImportError as error:
        raise AverageError(
            "averaging PyTorch files needs PyTorch, which is not installed", hint="pip install 'dfld[torch]'"
        ) from error
    module: ModuleType = torch  # which mypy knows only where it is installed
    return module


class _Walk:
    """One walk through equal structures, tensor by tensor."""

    def __init__(self, labels: Sequence[str], machine_weights: Sequence[float], settings: AverageSettings) -> None:
        self.torch = _torch()
        self.labels = labels
        self.machine_weights = machine_weights
        self.settings = settings
        self.grams: list[TensorGram] = []
        self.done: dict[tuple[object, ...], torch.Tensor] = {}
        """Averaged already, by the first file's memory: tied weights stay tied."""

    def average(self, place: str, values: Sequence[Content], depth: int) -> Content:
        """The average of equal places in all files; the first file's value for what is no tensor."""
        first = values[0]
        if depth > MAX_DEPTH:
            raise FormatError(f"{place} is nested more than {MAX_DEPTH} levels deep")
        for label, value in zip(self.labels, values, strict=True):
            if type(value) is not type(first):
                raise DisagreementError(
                    f"{label}: {place} is a {type(value).__name__}, expected {type(first).__name__}"
                )
        if isinstance(first, self.torch.Tensor):
            return self.average_tensor(place, values)
        if isinstance(first, dict):
            for label, value in zip(self.labels, values, strict=True):
                if value.keys() != first.keys():
                    difference = sorted(map(str, value.keys() ^ first.keys()))
                    raise DisagreementError(f"{label}: {place or 'the file'} has other keys: {difference[:5]}")
            made = first.copy()
            for key in first:
                made[key] = self.average(_join(place, key), [value[key] for value in values], depth + 1)
            return made
        if isinstance(first, list | tuple):
            if len({len(value) for value in values}) > 1:
                raise DisagreementError(f"{place} has different lengths: {[len(value) for value in values]}")
            items = [
                self.average(_join(place, index), [value[index] for value in values], depth + 1)
                for index in range(len(first))
            ]
            return items if isinstance(first, list) else tuple(items)
        return first

    def average_tensor(self, place: str, tensors: Sequence[torch.Tensor]) -> torch.Tensor:
        first = tensors[0]
        if first.is_complex() or first.layout != self.torch.strided or first.is_quantized:
            raise FormatError(f"{place} is a {first.layout} tensor of type {first.dtype}, expected plain floats")
        if not first.is_floating_point():
            return first
        memory = (first.untyped_storage().data_ptr(), first.storage_offset(), tuple(first.shape), first.stride())
        if memory in self.done:
            return self.done[memory]
        for label, tensor in zip(self.labels, tensors, strict=True):
            if tensor.dtype != first.dtype:
                raise DisagreementError(f"{label}: {place} has type {tensor.dtype}, expected {first.dtype}")
        exact = self.torch.float64 if first.dtype == self.torch.float64 else self.torch.float32
        arrays = {label: tensor.detach().to(exact).numpy() for label, tensor in zip(self.labels, tensors, strict=True)}
        average, gram = average_arrays(place, arrays, self.machine_weights, self.settings)
        self.grams.append(gram)
        self.done[memory] = self.torch.from_numpy(average).to(first.dtype)
        return self.done[memory]


def _save(content: Content, out: Path) -> None:
    torch = _torch()
    try:
        torch.save(content, out)
        sync_file(out)
    except (OSError, RuntimeError) as error:
        raise AverageError(f"{out.name} cannot be written: {error}") from error
    again = load_torch(out)
    if type(again) is not type(content):
        raise AverageError(f"{out.name} reads back as a {type(again).__name__}; not put in place")


def _join(place: str, key: object) -> str:
    return f"{place}.{key}" if place else str(key)
