"""Averaging .npz archives of arrays: same names, shapes and types in, the first archive's form out.

Members are .npy files in a zip, compressed or not. Lengths are checked against the archive's own before anything
is allocated, and arrays of Python objects are refused: they would be pickles.
"""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from engine.dfl.errors import FormatError
from engine.dfl.pickle_values import count_items
from sync.average import AverageSettings, GramTable, TensorGram
from sync.errors import AverageError, DisagreementError
from sync.tensor_arrays import average_arrays
from sync.tensor_formats import read_npy_header

MAX_ARRAY_BYTES = 16 * 2**30


def average_npz(paths: Mapping[str, Path], shares: Sequence[float], settings: AverageSettings, out: Path) -> GramTable:
    """Average the archives `paths` (label → file) into the new file `out`; return the inner products.

    Arrays that are not floating point are the first archive's. `out` is written, synced and read back, but it is
    the caller's to rename it into place. Raise FormatError for what is no archive of plain arrays,
    DisagreementError where members, shapes or types differ, AverageError for a full disk.
    """
    tensors: list[TensorGram] = []
    with ExitStack() as stack:
        archives = {label: stack.enter_context(_open(path)) for label, path in paths.items()}
        first = next(iter(archives.values()))
        _check_members(archives)
        try:
            with zipfile.ZipFile(out, "w") as written:
                for member in first.infolist():
                    array, gram = _average_member(archives, member.filename, shares, settings)
                    tensors += [gram] if gram else []
                    _write_member(written, member, array)
            with out.open("rb") as file:
                os.fsync(file.fileno())
        except OSError as error:
            raise AverageError(f"{out.name} cannot be written: {error.strerror}") from error
    with zipfile.ZipFile(out) as again:
        broken = again.testzip()
    if broken is not None:
        raise AverageError(f"{out.name} reads back wrong in {broken}; not put in place")
    return GramTable(tuple(paths), False, tuple(tensors))


def _open(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise FormatError(f"{path.name} is no readable .npz archive: {error}") from error


def _check_members(archives: Mapping[str, zipfile.ZipFile]) -> None:
    label, first = next(iter(archives.items()))
    for other_label, other in archives.items():
        difference = set(first.namelist()) ^ set(other.namelist())
        if difference:
            raise DisagreementError(f"{other_label} and {label} hold different arrays: {sorted(difference)[:5]}")
        if len(set(other.namelist())) != len(other.namelist()):
            raise FormatError(f"{other_label} holds a name twice")


def _average_member(
    archives: Mapping[str, zipfile.ZipFile], name: str, shares: Sequence[float], settings: AverageSettings
) -> tuple[NDArray[Any], TensorGram | None]:
    arrays = {label: _read_member(archive, name, label) for label, archive in archives.items()}
    first = next(iter(arrays.values()))
    if first.dtype.kind != "f":
        return first, None
    return average_arrays(name.removesuffix(".npy"), arrays, shares, settings)


def _read_member(archive: zipfile.ZipFile, name: str, label: str) -> NDArray[Any]:
    """One array; its length is checked before it is allocated, so that a small archive cannot fill the memory."""
    info = archive.getinfo(name)
    try:
        with archive.open(info) as file:
            shape, fortran, dtype = read_npy_header(cast(BinaryIO, file), f"{label}: {name}")
            expected = count_items(shape) * dtype.itemsize
            if expected > MAX_ARRAY_BYTES or file.tell() + expected != info.file_size:
                raise FormatError(f"{label}: {name} has {info.file_size} bytes for shape {shape} and type {dtype}")
            content = file.read(expected)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{label}: {name} cannot be unpacked: {error}") from error
    if len(content) != expected:
        raise FormatError(f"{label}: {name} ends after {len(content)} of {expected} bytes")
    return np.frombuffer(content, dtype).reshape(shape, order="F" if fortran else "C")


def _write_member(written: zipfile.ZipFile, member: zipfile.ZipInfo, array: NDArray[Any]) -> None:
    info = zipfile.ZipInfo(member.filename, member.date_time)
    info.compress_type = member.compress_type
    with written.open(info, "w", force_zip64=True) as file:
        np.lib.format.write_array(cast(BinaryIO, file), array, allow_pickle=False)
