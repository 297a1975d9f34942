"""Weight files whose tensors are stored as text: pickle protocol 2, where bytes become UTF-8 of latin-1 text.

Every byte from 128 up takes two bytes there, so elements have no fixed place and new values change the length of
the file. `unpack_text` writes the tensors' own bytes to a scratch file with fixed places; `pack_text` puts new
values back as text of the right length between the template's other bytes. Protocol 2 streams have no lengths
other than those of the texts themselves, so nothing else has to change.
"""

from __future__ import annotations

import codecs
import os
from collections.abc import Iterator
from dataclasses import replace

from core.opening import CHUNK_BYTES
from dfl.byte_source import ByteSource, read_exactly
from dfl.errors import FormatError
from dfl.weights import TensorLayout, TensorSpan

LENGTH_BYTES = 4
"""BINUNICODE's length stands right before the text."""


def has_text(layout: TensorLayout) -> bool:
    """Whether any tensor that is averaged is stored as text."""
    return any(tensor.encoding == "latin1" and tensor.averaged for tensor in layout.tensors)


def unpacked_layout(layout: TensorLayout) -> TensorLayout:
    """The layout of the scratch file: the averaged tensors one after another, each as its own bytes."""
    position, tensors = 0, []
    for tensor in layout.tensors:
        if tensor.averaged:
            size = tensor.count * tensor.item_bytes
            tensors.append(replace(tensor, offset=position, stored_bytes=size, encoding="raw"))
            position += size
    return TensorLayout(position, layout.form, tuple(tensors))


def unpack_text(source: ByteSource, layout: TensorLayout, descriptor: int) -> TensorLayout:
    """Write the averaged tensors of `source` to the scratch file as `unpacked_layout` says, and return that."""
    unpacked = unpacked_layout(layout)
    for stored, raw in zip((t for t in layout.tensors if t.averaged), unpacked.tensors, strict=True):
        position = raw.offset
        for piece in _pieces(source, stored):
            os.pwrite(descriptor, piece, position)
            position += len(piece)
        if position != raw.offset + raw.stored_bytes:
            raise FormatError(f"tensor {stored.name!r} decodes to {position - raw.offset} bytes, not its shape's")
    return unpacked


def pack_text(template: ByteSource, layout: TensorLayout, scratch: ByteSource, descriptor: int) -> int:
    """Write a file with the template's bytes and the scratch file's values as text; return its size.

    The scratch file has the layout `unpacked_layout(layout)`.
    """
    raw = unpacked_layout(layout).by_name
    read, written = 0, 0
    for tensor in sorted((t for t in layout.tensors if t.averaged), key=lambda t: t.offset):
        before = written = _copy(template, read, tensor.offset, descriptor, written)
        for piece in _pieces(scratch, raw[tensor.name]):
            stored = piece.decode("latin-1").encode("utf-8") if tensor.encoding == "latin1" else piece
            os.pwrite(descriptor, stored, written)
            written += len(stored)
        if tensor.encoding == "latin1":
            if written - before >= 2**32:
                raise FormatError(f"tensor {tensor.name!r} needs {written - before} bytes of text, 4 GiB is the limit")
            os.pwrite(descriptor, (written - before).to_bytes(LENGTH_BYTES, "little"), before - LENGTH_BYTES)
        read = tensor.offset + tensor.stored_bytes
    return _copy(template, read, template.size, descriptor, written)


def _pieces(source: ByteSource, tensor: TensorSpan) -> Iterator[bytes]:
    """The tensor's own bytes, a piece at a time."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    stop = tensor.offset + tensor.stored_bytes
    for start in range(tensor.offset, stop, CHUNK_BYTES):
        piece = read_exactly(source, start, min(CHUNK_BYTES, stop - start))
        if tensor.encoding == "raw":
            yield piece
            continue
        try:
            yield decoder.decode(piece, final=start + CHUNK_BYTES >= stop).encode("latin-1")
        except UnicodeError as error:
            raise FormatError(f"tensor {tensor.name!r} is stored as text that is not bytes") from error


def _copy(source: ByteSource, start: int, stop: int, descriptor: int, to: int) -> int:
    for position in range(start, stop, CHUNK_BYTES):
        piece = read_exactly(source, position, min(CHUNK_BYTES, stop - position))
        os.pwrite(descriptor, piece, to)
        to += len(piece)
    return to
