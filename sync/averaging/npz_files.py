"""Averaging .npz archives of arrays: same names, shapes and types in, the first archive's form out.

Members are .npy files in a zip, compressed or not. They are read, averaged and written in chunks, so memory depends
neither on the arrays nor on the number of archives. Lengths are checked against the archive's own first, and arrays
of Python objects are refused: they would be pickles.
"""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from core.files import sync_file
from dfl.errors import FormatError
from sync.averaging.average import AverageSettings, GramTable, TensorGram
from sync.averaging.tensor_arrays import CHUNK_ITEMS, ChunkAverager, check_equal
from sync.averaging.tensor_formats import read_npy_header
from sync.errors import AverageError, DisagreementError

MAX_ARRAY_BYTES = 16 * 2**30


def average_npz(
    paths: Mapping[str, Path], machine_weights: Sequence[float], settings: AverageSettings, out: Path
) -> GramTable:
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
                    gram = _average_member(archives, written, member, machine_weights, settings)
                    tensors += [gram] if gram else []
            sync_file(out)
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
        raise FormatError(f"{path} is no readable .npz archive: {error}") from error


def _check_members(archives: Mapping[str, zipfile.ZipFile]) -> None:
    label, first = next(iter(archives.items()))
    for other_label, other in archives.items():
        difference = set(first.namelist()) ^ set(other.namelist())
        if difference:
            raise DisagreementError(f"{other_label} and {label} hold different arrays: {sorted(difference)[:5]}")
        if len(set(other.namelist())) != len(other.namelist()):
            raise FormatError(f"{other_label} holds a name twice")


@dataclass(frozen=True)
class _Member:
    """One array of one archive, open at its first item."""

    label: str
    name: str
    file: IO[bytes]
    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[np.generic]

    def read(self, items: int) -> NDArray[np.generic]:
        """(items,) the next items in the order in which they are stored."""
        wanted = items * self.dtype.itemsize
        with _unpacking(self.label, self.name):
            content = self.file.read(wanted)
        if len(content) != wanted:
            raise FormatError(f"{self.label}: {self.name} ends {wanted - len(content)} bytes before its length")
        return np.frombuffer(content, self.dtype)


def _average_member(
    archives: Mapping[str, zipfile.ZipFile],
    written: zipfile.ZipFile,
    info: zipfile.ZipInfo,
    machine_weights: Sequence[float],
    settings: AverageSettings,
) -> TensorGram | None:
    """Average one array into `written`; None where it is not of floats and was copied from the first archive."""
    name = info.filename
    with ExitStack() as stack:
        members = {label: _open_member(stack, archive, name, label) for label, archive in archives.items()}
        check_equal(name, {label: (member.shape, member.dtype) for label, member in members.items()})
        first = next(iter(members.values()))
        if any(member.fortran != first.fortran for member in members.values()):
            raise DisagreementError(f"{name} is stored in C order in one archive and in Fortran order in another")
        made = zipfile.ZipInfo(name, info.date_time)
        made.compress_type = info.compress_type
        out = stack.enter_context(written.open(made, "w", force_zip64=True))
        header = {"descr": first.dtype.str, "fortran_order": first.fortran, "shape": first.shape}
        np.lib.format.write_array_header_1_0(cast(BinaryIO, out), header)
        averager = ChunkAverager(len(members), machine_weights, settings) if first.dtype.kind == "f" else None
        count = prod(first.shape)
        for start in range(0, count, CHUNK_ITEMS):
            items = min(CHUNK_ITEMS, count - start)
            if averager is None:
                out.write(first.read(items).data)
                continue
            average = averager.add([member.read(items) for member in members.values()])
            with np.errstate(all="ignore"):
                out.write(average.astype(first.dtype).data)
    return averager.measured(name.removesuffix(".npy")) if averager else None


def _open_member(stack: ExitStack, archive: zipfile.ZipFile, name: str, label: str) -> _Member:
    """Open one array and check its length against its header, so that a small archive cannot fill memory or disk."""
    info = archive.getinfo(name)
    with _unpacking(label, name):
        file = stack.enter_context(archive.open(info))
        shape, fortran, dtype = read_npy_header(cast(BinaryIO, file), f"{label}: {name}")
        expected = prod(shape) * dtype.itemsize
        if expected > MAX_ARRAY_BYTES or file.tell() + expected != info.file_size:
            raise FormatError(f"{label}: {name} has {info.file_size} bytes for shape {shape} and type {dtype}")
    return _Member(label, name, file, shape, fortran, dtype)


@contextmanager
def _unpacking(label: str, name: str) -> Iterator[None]:
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise FormatError(f"{label}: {name} cannot be unpacked: {error}") from error
