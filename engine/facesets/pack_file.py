"""faceset.pak as a file: opened without reading it into memory, and written whole. What stands in it: dfl.faceset."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from core.files import open_new, sync_folder, written_whole
from core.opening import open_regular
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


def write_pack(
    path: Path,
    images: Sequence[PackedImage],
    jpegs: Iterable[bytes | memoryview],
    *,
    check: Callable[[Path], object] | None = None,
) -> None:
    """Write a faceset.pak, whole or not at all: `jpegs` are the bytes of `images`, in their order. `check` gets the
    temporary name before the file has its own. Raise OSError, or what `check` raises."""
    with written_whole(path, check=check) as temporary, open(open_new(temporary), "wb") as file:  # noqa: PTH123
        file.write(write_header(images))
        for jpeg in jpegs:
            file.write(jpeg)
    sync_folder(path.parent)
