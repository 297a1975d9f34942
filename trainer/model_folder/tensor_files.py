"""One weight or optimizer file of DeepFaceLab: read whole and checked, written whole.

A file is written over the layout of the one before it where both hold the same tensors: names, order, memo and module
names are then those of whoever made the file, byte for byte. Where they do not, the file is DeepFaceLab's: one pickle,
protocol 4. Read in any form that dfl.weights knows. Not for which files there are (trainer.model_folder.model).
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from core.files import open_new
from dfl.byte_source import FileSource
from dfl.errors import FormatError
from dfl.pickles.dumping import dump_for_dfl
from dfl.weights import TensorLayout, TensorSpan, index_weight_source, index_weights, read_tensor, write_gaps
from trainer.errors import ModelFolderError, SaveError
from trainer.model_folder.expected_tensors import ITERATIONS, Shape

Tensors = Mapping[str, NDArray[np.generic]]
"""Name → values, C-ordered float32, in the order of the file; `iters:0` is int64 with the shape ()."""
WRONG_TENSORS_SHOWN = 3
NAN_HINT = "bring back a generation or a backup from before: a model never recovers from numbers that are not finite"


def read_tensors(path: Path, expected: Mapping[str, Shape]) -> dict[str, NDArray[np.generic]]:
    """Return exactly the expected tensors of a file. float16 and float64 become float32, as in DeepFaceLab.

    Raise FormatError for a file of another kind, and ModelFolderError, naming file and tensors, where one is missing,
    too many, of another shape, no number, or not finite: DeepFaceLab would draw new values and say nothing.
    """
    layout = index_weights(path)
    _require_tensors(path, layout, expected)
    with FileSource(path) as source:
        found = {name: _values(source, layout.by_name[name]) for name in expected}
    _require_finite(path.name, found)
    return found


def _values(source: FileSource, span: TensorSpan) -> NDArray[np.generic]:
    kind = np.int64 if span.name == ITERATIONS else np.float32
    with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused as that
        return np.array(read_tensor(source, span), dtype=kind, order="C")


def _require_tensors(path: Path, layout: TensorLayout, expected: Mapping[str, Shape]) -> None:
    found = layout.by_name
    wrong = [f"{name} is missing" for name in expected if name not in found]
    for name, shape in expected.items():
        if name in found and found[name].shape != shape:
            wrong.append(f"{name} has the shape {found[name].shape}, expected {shape}")
        if name in found and found[name].averaged == (name == ITERATIONS):
            wrong.append(f"{name} holds {found[name].dtype}, expected {'a count' if name == ITERATIONS else 'floats'}")
    wrong += [f"{name[:80]!r} belongs to no such network" for name in found if name not in expected]
    if wrong:
        more = f" and {len(wrong) - WRONG_TENSORS_SHOWN} more" if len(wrong) > WRONG_TENSORS_SHOWN else ""
        raise ModelFolderError(
            f"{path.name} does not fit the model's options: {'; '.join(wrong[:WRONG_TENSORS_SHOWN])}{more}",
            hint="bring the right file back from a backup, all files of one date together",
        )


def _require_finite(name: str, tensors: Tensors) -> None:
    for tensor, values in tensors.items():
        if not np.isfinite(values).all():
            raise ModelFolderError(f"{name}: {tensor} holds numbers that are not finite", hint=NAN_HINT)


def write_tensors(target: Path, tensors: Tensors, *, template: Path | None) -> None:
    """Write a new file, over the layout of `template` where that holds the same tensors. Not synced.

    Raise SaveError, with nothing written, for numbers that are not finite; OSError where the disk refuses.
    """
    for name, values in tensors.items():
        if not np.isfinite(values).all():
            raise SaveError(f"{target.name} is not saved: {name} holds numbers that are not finite")
    layout = _same_layout(template, tensors)
    if layout is None or template is None:
        content = dump_for_dfl({name: values[()] if values.ndim == 0 else values for name, values in tensors.items()})
        with os.fdopen(open_new(target), "wb") as file:
            file.write(content)
        return
    descriptor = open_new(target)
    try:
        with FileSource(template) as source:
            write_gaps(source, layout, descriptor)
        for span in layout.tensors:
            _write_at(descriptor, span.offset, np.ascontiguousarray(tensors[span.name]))
    finally:
        os.close(descriptor)


def _same_layout(template: Path | None, tensors: Tensors) -> TensorLayout | None:
    """The template's layout, where writing values over it gives a file with exactly these tensors in this order."""
    if template is None or not template.is_file():
        return None
    try:
        layout = index_weights(template)
    except FormatError:
        return None
    spans = layout.tensors
    same = list(tensors) == [span.name for span in spans] and all(
        (span.shape, span.dtype) == (tensors[span.name].shape, tensors[span.name].dtype.str)
        and span.encoding == "raw"
        and (not span.fortran or len(span.shape) < 2)
        for span in spans
    )
    return layout if same else None


def _write_at(descriptor: int, offset: int, values: NDArray[np.generic]) -> None:
    left = values.reshape(-1).view(np.uint8).data.cast("B")
    while left:
        written = os.pwrite(descriptor, left, offset)
        left, offset = left[written:], offset + written


def require_same(path: Path, tensors: Tensors) -> None:
    """Read a written file back and compare every byte of its tensors; raise SaveError for any difference."""
    try:
        with FileSource(path) as source:
            layout = index_weight_source(source)
            names = [span.name for span in layout.tensors]
            same = names == list(tensors) and all(
                read_tensor(source, span).tobytes() == tensors[span.name].tobytes() for span in layout.tensors
            )
    except FormatError as error:
        raise SaveError(f"{path.name} reads back as something else: {error.message}") from error
    if not same:
        raise SaveError(f"{path.name} reads back with other numbers than were written", hint="check the disk")
