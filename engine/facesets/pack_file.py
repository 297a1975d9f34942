"""faceset.pak as a file: opened without reading it into memory, and written whole. What stands in it: dfl.faceset."""

from __future__ import annotations

import errno
import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from itertools import chain
from pathlib import Path

from core.files import open_new, sync_folder, written_whole
from core.opening import open_regular, sha256_of
from dfl.errors import FormatError
from dfl.faceset import PackedImage, read_faceset, write_header


@contextmanager
def opened_pack(path: Path) -> Iterator[tuple[tuple[PackedImage, ...], memoryview]]:
    """Yield the images of a faceset.pak and its bytes: `view[image.start : image.end]` is the JPEG of each. Raise
    FormatError or OSError where it cannot be read."""
    with open_regular(path, within=None) as file:
        if not os.fstat(file.fileno()).st_size:
            raise FormatError(f"{path.name} is empty")
        with closing(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)) as data, memoryview(data) as view:
            yield read_faceset(view), view


def write_pack(path: Path, images: Sequence[PackedImage], jpegs: Iterable[bytes | memoryview]) -> None:
    """Write a faceset.pak, whole or not at all: `jpegs` are the bytes of `images`, in their order. It is read back
    before it gets its name. Raise FormatError where the images do not fit in one, or it could not be read again,
    OSError, or what `jpegs` raises."""
    written = hashlib.sha256()

    def check(temporary: Path) -> None:
        if sha256_of(temporary, follow_links=False) != written.hexdigest():
            raise OSError(errno.EIO, "what was written reads back as other bytes", str(path))
        with opened_pack(temporary) as (found, _):
            if [one.filename for one in found] != [one.filename for one in images]:
                raise FormatError("what was written holds other names")

    with written_whole(path, check=check) as temporary, open(open_new(temporary), "wb") as file:  # noqa: PTH123
        for part in chain([write_header(images)], jpegs):
            written.update(part)
            file.write(part)
    sync_folder(path.parent)
