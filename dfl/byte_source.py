"""Bytes read by position: a local file, a buffer, or a file on another machine.

The pickle scanner asks for small ranges and jumps over tensors and pictures, so a source needs one method only.
Whoever reads over SSH supplies a class of its own with the same two members. `ByteCursor` walks over a source in
windows. Not for writing.
"""

from __future__ import annotations

import os
import struct
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from core.opening import open_regular
from dfl.errors import FormatError

FIRST_WINDOW = 4096
"""Bytes read after a jump: the header of the next array is about 200 bytes."""
_FLOAT = struct.Struct(">d")
LARGEST_WINDOW = 65536
"""Reading straight on doubles the window up to here; small, so that little of a picture is ever fetched."""


class PlacedError(FormatError):
    """A FormatError whose message begins with the byte where the format is broken."""


class ByteSource(Protocol):
    """Something of a known size that gives the bytes of any range."""

    @property
    def size(self) -> int:
        """How many bytes there are."""
        ...

    def read_at(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer only where the end comes first."""
        ...


class BufferSource:
    """Bytes already in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    @property
    def size(self) -> int:
        """How many bytes there are."""
        return len(self._content)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer only where the end comes first."""
        return self._content[offset : offset + length]


class FileSource:
    """A local file, read with pread: never mapped, because a mapped file that shrinks kills the process (SIGBUS)."""

    def __init__(self, path: Path) -> None:
        """Open the file. Raise FormatError, at once, where it is no regular file or cannot be opened."""
        self._path = path
        try:
            self._file = open_regular(path, within=None, follow_links=True)
        except OSError as error:
            raise FormatError(f"{path} cannot be opened: {error.strerror}") from error
        self._size = os.fstat(self._file.fileno()).st_size

    @property
    def size(self) -> int:
        """The size when the file was opened."""
        return self._size

    def read_at(self, offset: int, length: int) -> bytes:
        """Return the bytes [offset, offset + length), fewer only where the end comes first."""
        try:
            return os.pread(self._file.fileno(), length, offset)
        except OSError as error:
            raise FormatError(f"{self._path} cannot be read at byte {offset}: {error.strerror}") from error

    def close(self) -> None:
        """Give the file descriptor back."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_exactly(source: ByteSource, offset: int, length: int) -> bytes:
    """Return the bytes [offset, offset + length); raise FormatError where the source ends before that."""
    content = source.read_at(offset, length)
    if len(content) != length:
        raise FormatError(f"the file ends at byte {offset + len(content)}, {length} bytes were expected from {offset}")
    return content


class ByteCursor:
    """A position in a source that moves forward only; reads windows, and passes over what nobody needs unread."""

    def __init__(self, source: ByteSource, start: int) -> None:
        self.source = source
        self.buffer = b""
        self.at = 0
        self._base = start
        self._window = FIRST_WINDOW

    @property
    def position(self) -> int:
        """Where the next byte lies in the source."""
        return self._base + self.at

    @property
    def left(self) -> int:
        """How many bytes there are from here to the end."""
        return self.source.size - self.position

    def fault(self, what: str) -> PlacedError:
        """Make the error that says what is wrong at this position."""
        return PlacedError(f"byte {self.position}: {what}")

    def take(self, length: int) -> bytes:
        """Return the next bytes and move past them; raise FormatError where the source ends before."""
        end = self.at + length
        if end > len(self.buffer):
            self._fill(length, keep=0)
            if len(self.buffer) < length:
                raise self.fault(f"the file is cut off: {length} bytes are announced, {len(self.buffer)} are left")
            end = length
        content = self.buffer[self.at : end]
        self.at = end
        return content

    def take_byte(self) -> int:
        """Return the next byte as a number; as `take`."""
        at = self.at
        if at < len(self.buffer):
            self.at = at + 1
            return self.buffer[at]
        return self.take(1)[0]

    def take_float(self) -> float:
        """Return the next 8 bytes, a big-endian number; as `take`."""
        at, buffer = self.at, self.buffer
        if at + 8 > len(buffer):
            at, buffer = 0, self.take(8)
        else:
            self.at = at + 8
        value: float = _FLOAT.unpack_from(buffer, at)[0]
        return value

    def take_line(self, limit: int) -> str:
        """Return the bytes up to the next newline as text, without it; raise FormatError past `limit` bytes."""
        line = bytearray()
        while (byte := self.take(1)) != b"\n":
            line += byte
            if len(line) > limit:
                raise self.fault(f"a name is longer than {limit} bytes")
        return line.decode("ascii", "replace")

    def jump(self, length: int) -> int:
        """Pass over `length` bytes without reading them; return where they begin."""
        offset = self.position
        if length > self.left:
            raise self.fault(f"the file is cut off: {length} bytes are announced, {self.left} are left")
        if length <= len(self.buffer) - self.at:
            self.at += length
        else:
            self._base, self.at, self.buffer, self._window = offset + length, 0, b"", FIRST_WINDOW
        return offset

    def peek(self, length: int) -> bytes:
        """Return the next bytes without moving, fewer at the end; the byte before them stays in `buffer`."""
        if len(self.buffer) - self.at < length and self._base + len(self.buffer) < self.source.size:
            self._fill(length, keep=min(self.at, 1))
        return self.buffer[self.at : self.at + length]

    def _fill(self, length: int, keep: int) -> None:
        self._base += self.at - keep
        self.buffer = self.source.read_at(self._base, max(length + keep, self._window))
        self.at = keep
        self._window = min(self._window * 2, LARGEST_WINDOW)
