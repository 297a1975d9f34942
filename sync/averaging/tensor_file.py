"""Reading and writing the tensors of one file by name and element range.

`TensorReader` gives elements as float32 or float64, `TensorWriter` makes a new file out of a template's bytes and
new values: temporary name in the same folder, write, fsync, verify, rename. Whatever the format, a tensor is a
range of bytes (dfl.weights); formats that store tensors otherwise are unpacked before (dfl.text_weights).
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from core.files import put_in_place, rename_over, sync_file
from core.opening import sha256_of
from dfl.byte_source import FileSource
from dfl.text_weights import has_text, pack_text, unpack_text, unpacked_layout
from dfl.weights import TensorLayout, index_weight_source, layout_digest, write_gaps
from sync.errors import AverageError, DisagreementError


@dataclass(frozen=True)
class TensorFile:
    """A file on this computer and where its tensors lie."""

    path: Path
    layout: TensorLayout


class TensorReader:
    """Elements of a file's tensors; several threads may read at once."""

    def __init__(self, file: TensorFile) -> None:
        self.file = file
        self._spans = file.layout.by_name
        self._descriptor = -1

    def __enter__(self) -> Self:
        try:
            if has_text(self.file.layout):
                self._descriptor = self._unpack()
            else:
                self._descriptor = os.open(self.file.path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError as error:
            raise AverageError(f"{self.file.path} cannot be read: {error.strerror}") from error
        return self

    def _unpack(self) -> int:
        """Unpack a file of texts into a scratch file without a name; return its descriptor."""
        with tempfile.TemporaryFile(dir=self.file.path.parent) as scratch, FileSource(self.file.path) as source:
            self._spans = unpack_text(source, self.file.layout, scratch.fileno()).by_name
            return os.dup(scratch.fileno())

    def read(self, name: str, start: int, into: NDArray[np.generic]) -> None:
        """Fill `into` (items,) float32 or float64 with elements [start, start + items) of a tensor."""
        span = self._spans[name]
        offset = span.offset + start * span.item_bytes
        if into.dtype.str == span.dtype:
            self._fill(into.data.cast("B"), offset, name)
            return
        stored = np.empty(len(into), "<u2" if span.dtype == "bfloat16" else span.dtype)
        self._fill(stored.data.cast("B"), offset, name)
        into[:] = (stored.astype(np.uint32) << 16).view(np.float32) if span.dtype == "bfloat16" else stored

    def _fill(self, into: memoryview, offset: int, name: str) -> None:
        done = 0
        while done < len(into):
            got = os.preadv(self._descriptor, [into[done:]], offset + done)
            if got == 0:
                raise DisagreementError(f"{self.file.path.name} ends inside tensor {name}: it was cut meanwhile")
            done += got

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)


class TensorWriter:
    """A new file in a template's layout. Leaves nothing behind unless `place` is reached."""

    def __init__(self, template: TensorFile, path: Path) -> None:
        self.template = template
        self.path = path
        self._text = has_text(template.layout)
        self._layout = unpacked_layout(template.layout) if self._text else template.layout
        self._partial = path.with_name(f".{path.name}.{os.getpid()}.part")
        self._descriptor = -1
        self._checks: dict[int, tuple[int, int]] = {}
        """Offset → (length, `words_sum`) of every piece of values written; threads write disjoint keys."""

    def __enter__(self) -> Self:
        with ExitStack() as undo, self._explained():
            undo.callback(self._drop)
            self._descriptor = os.open(self._partial, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o644)
            if not self._text:
                with FileSource(self.template.path) as source:
                    write_gaps(source, self.template.layout, self._descriptor)
            undo.pop_all()
        return self

    def write(self, name: str, start: int, values: NDArray[np.generic]) -> None:
        """Put (items,) values at elements [start, …) of a tensor, rounded to its type."""
        span = self._layout.by_name[name]
        stored = to_bfloat16(values) if span.dtype == "bfloat16" else np.asarray(values, span.dtype)
        content = stored.data.cast("B")
        offset = span.offset + start * span.item_bytes
        self._checks[offset] = len(content), words_sum(content)
        with self._explained():
            while content:
                written = os.pwrite(self._descriptor, content, offset)
                content, offset = content[written:], offset + written

    def verify(self) -> str:
        """Sync, read back and check that only values differ from the template; return the file's sha256."""
        with self._explained():
            if self._text:
                self._pack()
            sync_file(self._partial)
            return self._read_back()

    def place(self) -> None:
        """Give the verified file its name."""
        with self._explained():
            put_in_place({self._partial: self.path})

    def _pack(self) -> None:
        """Turn the scratch file of plain values into a file of texts."""
        with FileSource(self._partial) as scratch, FileSource(self.template.path) as source:
            self._check_values(scratch)
            packed = os.open(self._partial.with_suffix(".text"), os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
            pack_text(source, self.template.layout, scratch, packed)
        os.close(self._descriptor)
        self._descriptor = packed
        rename_over(self._partial.with_suffix(".text"), self._partial)

    def _read_back(self) -> str:
        """The sha256 of the file as it lies there; AverageError unless it is the template with the new values."""
        with FileSource(self._partial) as written, FileSource(self.template.path) as source:
            if self._text:
                again = index_weight_source(written)
                same = [t.name for t in again.tensors] == [t.name for t in self.template.layout.tensors]
            else:
                self._check_values(written)
                layout = self.template.layout
                same = written.size == layout.size and layout_digest(written, layout) == layout_digest(source, layout)
            if not same:
                raise AverageError(
                    f"{self.path.name} reads back with another layout than its template; not put in place"
                )
            return sha256_of(self._partial, follow_links=False)

    def _check_values(self, written: FileSource) -> None:
        for offset, (length, check) in self._checks.items():
            if words_sum(written.read_at(offset, length)) != check:
                raise AverageError(
                    f"{self.path.name} reads back wrong at byte {offset}: the disk lost it; not put in place"
                )

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise AverageError(f"{self.path} cannot be written: {error.strerror}") from error

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._drop()

    def _drop(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._partial.unlink(missing_ok=True)


def words_sum(content: bytes | memoryview) -> int:
    """The sum of all 64-bit words modulo 2^64, the last one filled up with zeros.

    It finds a piece that did not reach the disk as it was written (no page, an old page, a flipped bit), at a tenth of
    what a CRC costs. What it cannot find, the order of words inside a piece, no disk exchanges.
    """
    whole = len(content) // 8 * 8
    words = np.frombuffer(content[:whole], "<u8")
    return (int(words.sum(dtype=np.uint64)) + int.from_bytes(content[whole:], "little")) % 2**64


def to_bfloat16(values: NDArray[np.generic]) -> NDArray[np.uint16]:
    """Round float values to the upper half of float32, to nearest even; NaN stays NaN."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return np.where(np.isnan(values), np.uint16(0x7FC0), rounded)
