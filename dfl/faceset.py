"""faceset.pak: many aligned JPEGs in one file, with an index of their metadata.

    offset        size      content (little-endian, no alignment)
    0             8         version = 1
    8             8         P, length of the index
    16            P         index: a pickled list of N dicts
    16 + P        8·(N+1)   offsets; of image i < N, relative to B; the last one is the absolute end of the file
    B = 16+P+8(N+1)         the N JPEG files back to back, unchanged, in the order of the index

Where `faceset.pak` lies in an aligned folder DeepFaceLab reads it instead of the loose images there: its trainer
reads the index alone, its merger the metadata inside the images. Pure: sets may have many gigabytes, so reading
takes any buffer (a memory map, for one) and returns places in it, and writing makes the header, which the images
follow. Source: DeepFaceLab commit 46fc239, samplelib/PackedFaceset.py.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from struct import Struct
from types import MappingProxyType

from dfl.errors import FormatError, shown
from dfl.face_tables import FACE_TYPES
from dfl.image import (
    AlignedMetadata,
    array_of_bytes,
    fields_of_polygons,
    metadata_of_fields,
    read_metadata,
)
from dfl.jpeg import read_size
from dfl.pickles.dumping import dump_for_dfl, is_utf_8
from dfl.pickles.loading import PickleLimits, load_closed
from dfl.pickles.machine import Construct
from dfl.pickles.numpy_values import NUMPY_NAMES

VERSION = 1
INDEX_PROTOCOL = 4
_INDEX_LIMIT_BYTES = 256 << 20
"""An index takes some 2 KB a face, so this is a hundred thousand faces; the file must hold the bytes."""
_SMALLEST_OPCODES, _BYTES_AN_OPCODE = 10_000, 2
"""DeepFaceLab's index has 3.6 bytes an opcode; one of single-byte opcodes, each an object, is an attack on memory."""
_EXPANSION = 16
"""Repeated keys and names take a reference in the index and their length when written out, and a number 8 bytes
more; that comes to a factor of 3."""
_SMALLEST_EXPANSION_BYTES = 1 << 20
_SAMPLE_TYPE_FACE = 1
_HEADER, _OFFSET = Struct("<QQ"), Struct("<Q")
_FACE_TYPE_NAMES: Mapping[int, str] = MappingProxyType({facts.enum: name for name, facts in FACE_TYPES.items()})


@dataclass(frozen=True, eq=False)
class PackedImage:
    """One image of a faceset.pak."""

    filename: str
    """Its name before it was packed: no folder, ends in `.jpg`."""
    metadata: AlignedMetadata
    """What the index says; source_rect, source_landmarks and the matrix stand in the image alone."""
    shape: tuple[int, int, int]
    """(height, width, channels)."""
    size_bytes: int
    start: int = 0
    """Where the JPEG begins in the file; 0 where there is no file yet."""
    person_name: str | None = None
    """Sub-folder of a set of several persons."""

    @property
    def end(self) -> int:
        return self.start + self.size_bytes


def read_faceset(data: bytes | memoryview) -> tuple[PackedImage, ...]:
    """Given a whole faceset.pak, return its images: `data[image.start : image.end]` is the JPEG of each.

    Raise FormatError for another version, an index off the closed list, names with folders, or offsets that are not
    in order and in the file. The images themselves are not looked at.
    """
    if len(data) < _HEADER.size:
        raise FormatError(f"not a faceset.pak: it has {len(data)} bytes, its header alone takes {_HEADER.size}")
    version, index_bytes = _HEADER.unpack_from(data)
    if version != VERSION:
        raise FormatError(f"faceset.pak has version {version}, expected {VERSION}")
    table = _HEADER.size + index_bytes
    if table > len(data):
        raise FormatError(f"faceset.pak announces an index of {index_bytes} bytes and has {len(data)} in all")
    index = load_closed(bytes(data[_HEADER.size : table]), allowed=_INDEX_NAMES, limits=_index_limits(index_bytes))
    if type(index) is not list or not all(type(entry) is dict for entry in index):
        raise FormatError("faceset.pak's index is no list of dicts")
    places = _read_places(data, table, len(index))
    return tuple(
        _image_of_entry(entry, start, end) for entry, (start, end) in zip(index, pairwise(places), strict=True)
    )


def describe_image(filename: str, jpeg: bytes, *, person_name: str | None = None) -> PackedImage:
    """Given an aligned JPEG and its name, return its entry. Raise FormatError when it is none DeepFaceLab reads, or
    one that `read_faceset` would refuse."""
    width, height = read_size(jpeg)
    image = PackedImage(filename, read_metadata(jpeg), (height, width, 3), len(jpeg), person_name=person_name)
    _image_of_entry(_entry_of_image(image), 0, len(jpeg))  # one such entry, and the whole pack could not be read
    return image


def write_header(images: Sequence[PackedImage]) -> bytes:
    """Given the images in the order they will follow, return the bytes of a faceset.pak before the first of them.

    Raise FormatError where the index would be larger than `read_faceset` reads.
    """
    index = dump_for_dfl([_entry_of_image(image) for image in images], protocol=INDEX_PROTOCOL)
    if len(index) > _INDEX_LIMIT_BYTES:
        raise FormatError(
            f"the index of {len(images)} images takes {len(index)} bytes, at most {_INDEX_LIMIT_BYTES} are read",
            hint="their masks are the large part",
        )
    starts = list(accumulate((image.size_bytes for image in images), initial=0))
    first = _HEADER.size + len(index) + _OFFSET.size * len(starts)
    starts[-1] += first  # DeepFaceLab's last offset is absolute, the others are not
    return _HEADER.pack(VERSION, len(index)) + index + b"".join(map(_OFFSET.pack, starts))


def pack_faceset(jpegs: Iterable[tuple[str, bytes]]) -> bytes:
    """Given (name, JPEG) pairs, return a whole faceset.pak, sorted by name as DeepFaceLab sorts; for small sets."""
    ordered = sorted(jpegs)
    header = write_header([describe_image(name, jpeg) for name, jpeg in ordered])
    return header + b"".join(jpeg for _, jpeg in ordered)


def _index_limits(index_bytes: int) -> PickleLimits:
    return PickleLimits(
        size_bytes=_INDEX_LIMIT_BYTES,
        opcodes=_SMALLEST_OPCODES + index_bytes // _BYTES_AN_OPCODE,
        depth=12,
        expanded_bytes=_SMALLEST_EXPANSION_BYTES + _EXPANSION * index_bytes,
    )


def _read_places(data: bytes | memoryview, table: int, count: int) -> list[int]:
    """Return where each image begins, and where the last one ends."""
    first = table + _OFFSET.size * (count + 1)
    if first > len(data):
        raise FormatError(f"faceset.pak announces {count} images and ends inside its table of offsets")
    offsets = [offset for (offset,) in _OFFSET.iter_unpack(data[table:first])]
    # The last offset is the file's end, absolute from DeepFaceLab, relative from tools that took it for the others.
    if offsets[-1] not in (len(data), len(data) - first):
        raise FormatError(f"faceset.pak has {len(data)} bytes and says that it ends at {offsets[-1]}")
    places = [first + offset for offset in offsets[:-1]] + [len(data)]
    if places[0] != first or any(start > end for start, end in pairwise(places)):
        raise FormatError("faceset.pak's offsets are not in order, or not inside the file")
    return places


def _entry_of_image(image: PackedImage) -> dict[str, object]:
    metadata = image.metadata
    return {
        # DeepFaceLab pickles its own enums; it compares and looks them up, so that their numbers do.
        "sample_type": _SAMPLE_TYPE_FACE,
        "filename": image.filename,
        "face_type": FACE_TYPES[metadata.face_type].enum,
        "shape": image.shape,
        "landmarks": metadata.landmarks.tolist(),
        "seg_ie_polys": fields_of_polygons(metadata.seg_ie_polys),
        # The compressed mask alone: older packers stored it as floats as well, nine times the size.
        "xseg_mask": None,
        "xseg_mask_compressed": None if metadata.xseg_mask is None else array_of_bytes(metadata.xseg_mask),
        "eyebrows_expand_mod": metadata.eyebrows_expand_mod,
        "source_filename": metadata.source_filename,
        "person_name": image.person_name,
    }


def _image_of_entry(entry: Mapping[str, object], start: int, end: int) -> PackedImage:
    filename, person, shape = entry.get("filename"), entry.get("person_name"), entry.get("shape")
    if type(filename) is not str:
        raise FormatError(f"faceset.pak has an image whose name is {shown(filename)}")
    require_image_name(filename)
    if type(shape) is not tuple or len(shape) != 3 or not all(type(side) is int and side > 0 for side in shape):
        raise FormatError(f"faceset.pak: {filename} has a shape that is not (height, width, channels)")
    face_type = entry.get("face_type")
    if type(face_type) is not int or face_type not in _FACE_TYPE_NAMES:
        raise FormatError(f"faceset.pak: {filename} has face type {shown(face_type)}, which is unknown")
    metadata = metadata_of_fields(
        {
            "face_type": _FACE_TYPE_NAMES[face_type],
            "landmarks": entry.get("landmarks"),
            "seg_ie_polys": entry.get("seg_ie_polys"),
            "xseg_mask": entry.get("xseg_mask_compressed"),
            "source_filename": entry.get("source_filename"),
            "eyebrows_expand_mod": entry.get("eyebrows_expand_mod", 1.0),
        }
    )
    height, width, channels = shape
    person_name = None if person is None else _checked_name(person, "person")
    return PackedImage(filename, metadata, (height, width, channels), end - start, start, person_name)


def require_image_name(filename: str, container: str = "faceset.pak") -> None:
    """Raise FormatError for a name that DeepFaceLab does not read, or that, joined to a folder, would lead out of
    it."""
    _checked_name(filename, "image", container)
    if not filename.endswith(".jpg"):
        raise FormatError(f"{container}: image name {shown(filename)} does not end in .jpg, so DeepFaceLab skips it")


def _checked_name(name: object, what: str, container: str = "faceset.pak") -> str:
    """Return a name. Raise FormatError for one that, joined to a folder, would lead out of it."""
    if type(name) is not str or not name or name in (".", "..") or any(mark in name for mark in "/\\\0:"):
        raise FormatError(f"{container}: {what} name {shown(name)} is not a plain file name")
    if not is_utf_8(name):
        raise FormatError(f"{container}: {what} name {shown(name)} is not UTF-8")
    return name


def _enum_number(arguments: tuple[object, ...]) -> object:
    if len(arguments) != 1 or type(arguments[0]) is not int:
        raise FormatError("faceset.pak's index makes an enum of something that is no number")
    return arguments[0]


_INDEX_NAMES: Mapping[str, Construct] = MappingProxyType(
    {
        **NUMPY_NAMES,
        "samplelib.Sample.SampleType": _enum_number,
        "facelib.FaceType.FaceType": _enum_number,
    }
)
