"""meta.dat: DeepFaceLab's copy of the metadata of a folder of aligned faces, made before something may lose it.

    one pickle: {file name: ((height, width, 3), metadata dict as in the image)}

DeepFaceLab writes it into the folder itself with the protocol of its Python, 3 or 4, and where an image has another
size by then, it is resized to the saved one before it gets its metadata back. Pure. Source: DeepFaceLab commit 46fc239,
mainscripts/Util.py, save_faceset_metadata_folder and restore_faceset_metadata_folder.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from dfl.errors import FormatError, shown
from dfl.faceset import require_image_name
from dfl.image import METADATA_PROTOCOL, metadata_of_fields
from dfl.pickles.dumping import dump_for_dfl
from dfl.pickles.loading import PickleLimits, load_closed
from dfl.pickles.numpy_values import NUMPY_NAMES

METADATA_COPY_NAME = "meta.dat"
COPY_LIMIT_BYTES = 256 << 20
"""A face takes some 4 KB, one with a mask 10 KB: tens of thousands of faces."""
_SMALLEST_OPCODES, _BYTES_AN_OPCODE = 10_000, 2
_EXPANSION, _SMALLEST_EXPANSION_BYTES = 16, 1 << 20
"""As for a faceset.pak's index, which holds the same numbers (dfl.faceset)."""
SIDE_LIMIT_PX = 8192
"""Of an image whose metadata is saved or restored."""


@dataclass(frozen=True, eq=False)
class SavedMetadata:
    """What is saved of one image."""

    shape: tuple[int, int, int]
    """(height, width, channels)."""
    fields: Mapping[str, object]
    """The dict of the image, exactly as it was; dfl.image.metadata_of_fields reads it."""


def read_metadata_copy(data: bytes) -> dict[str, SavedMetadata]:
    """Given a meta.dat, return what is saved of each image by its name. Raise FormatError for anything that is not
    metadata of a plainly named `.jpg`, naming the image."""
    limits = PickleLimits(
        size_bytes=COPY_LIMIT_BYTES,
        opcodes=_SMALLEST_OPCODES + len(data) // _BYTES_AN_OPCODE,
        depth=12,
        expanded_bytes=_SMALLEST_EXPANSION_BYTES + _EXPANSION * len(data),
    )
    stored = load_closed(data, allowed=NUMPY_NAMES, limits=limits)
    if type(stored) is not dict:
        raise FormatError(f"{METADATA_COPY_NAME} holds {shown(stored)}, expected a dict of images")
    return {name: saved_metadata(name, value) for name, value in stored.items()}


def write_metadata_copy(saved: Mapping[str, SavedMetadata]) -> bytes:
    """Given what is to be saved of each image by its name, return the bytes of a meta.dat."""
    stored = {name: (one.shape, dict(one.fields)) for name, one in saved.items()}
    return dump_for_dfl(stored, protocol=METADATA_PROTOCOL)


def saved_metadata(name: str, value: object) -> SavedMetadata:
    """Given what a meta.dat holds, or is to hold, of the image `name`, return it. Raise FormatError, naming the image,
    for what is not a shape and metadata of a plainly named `.jpg`."""
    require_image_name(name, METADATA_COPY_NAME)
    shape, fields = value if type(value) is tuple and len(value) == 2 else (None, None)
    if type(fields) is not dict or type(shape) is not tuple or len(shape) != 3:
        raise FormatError(f"{METADATA_COPY_NAME}: {name} is {shown(value)}, expected a shape and a dict")
    if not all(type(side) is int and 0 < side <= SIDE_LIMIT_PX for side in shape):
        raise FormatError(f"{METADATA_COPY_NAME}: {name} has a shape that is not (height, width, channels)")
    try:
        metadata_of_fields(fields)
    except FormatError as problem:
        raise FormatError(f"{METADATA_COPY_NAME}: {name}: {problem.message}") from problem
    height, width, channels = shape
    return SavedMetadata((height, width, channels), fields)
