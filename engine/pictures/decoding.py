"""Pictures: the bytes of one image file -> BGR pixels, upright. The one decoder of references, folders and previews.

    bytes → format, by content → size, before anything is allocated for it → its decoder → 8 bits → upright

Formats. JPEG, PNG, WebP, BMP and TIFF are OpenCV's; GIF, AVIF and TIFF with 8-bit transparency Pillow's, which know the
first picture of an animation and alpha that is not multiplied in; HEIC is read where pi-heif or pillow-heif is
installed. Each file meets the decoder of its own format and no other. What is known but not read is named.

Values. Gray, palette, 1-bit and CMYK become BGR. 16 bits keep their upper 8. Floating point is taken as 0..1, or as
0..255 or 0..65535 where its mean says so: nothing in a TIFF says which, and a mean above 1 is no picture of 0..1.
Orientation is that of EXIF, or of the container (HEIC, AVIF). ICC profiles are not applied. Of several pictures in one
file (animations, pages, bursts) the first or primary one is read.

The bytes are untrusted, and what can still hang or crash is the decoders' C code: the service decodes pictures in
workers only. Not for videos (engine.footage.video) nor for finding the size alone (engine.pictures.image_header).
"""

from __future__ import annotations

import importlib
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

from engine.errors import PictureError
from engine.pictures.image_header import AVIF_BRANDS, HEIF_BRANDS, image_size
from engine.pictures.whole_picture import count_scans
from engine.types import Image

if TYPE_CHECKING:
    import PIL.Image

CheckSize = Callable[[int, int], None]
"""Called with the width and height in px that a header states; raises where that is more than the caller takes."""

MID_GREY = 127.5
"""What stands behind transparency where a backdrop is asked for: neither hair nor skin ends in a hard edge on it."""
HEIF_LIBRARIES = ("pi_heif", "pillow_heif")
"""The first that is installed reads HEIC. pi-heif decodes only, and carries no GPL encoder along."""
NO_HEIF = "pip install 'dfld[heic]' brings the library that reads it; or save the picture as JPEG"
SAVE_AS = "save it as JPEG, PNG or TIFF"

STRIP_PX = 4_000_000
"""So many pixels are brought to 8 bits at a time."""
MOST_SCANS = 100
"""Of a progressive JPEG. Encoders write about ten; each goes over the whole picture, for a handful of bytes in the
file. The number is what libjpeg-turbo's own programs take for a limit (doc/libjpeg.txt, "progressive")."""
MOST_SCANNED_PX = 4_000_000_000
"""Pixels times scans of one JPEG: some ten seconds of decoding. 200 megapixels in 20 scans, 64 in 62."""
PNG_START = b"\x89PNG\r\n\x1a\n"
PNG_CHUNK_EXTRA = 12
"""Bytes of a chunk besides its data: length, type, checksum (PNG §5.3)."""
_MOST_BRANDS = 32  # of a file's first box that are looked at; real files have about five
_MAGIC = (
    (0, b"\xff\xd8\xff", "JPEG"),
    (0, PNG_START, "PNG"),
    (0, b"BM", "BMP"),
    (0, b"GIF8", "GIF"),
    (8, b"WEBP", "WebP"),
    (0, b"II*\0", "TIFF"),
    (0, b"MM\0*", "TIFF"),
)
_KNOWN_BUT_NOT_READ = (
    (0, b"II+\0", "a TIFF file larger than 4 GB can be (BigTIFF)"),
    (0, b"MM\0+", "a TIFF file larger than 4 GB can be (BigTIFF)"),
    (0, b"8BPS", "a Photoshop file"),
    (0, b"v/1\x01", "an OpenEXR picture"),
    (0, b"SDPX", "a DPX picture"),
    (0, b"XPDS", "a DPX picture"),
    (0, b"\xff\x0a", "a JPEG XL picture"),
    (4, b"JXL ", "a JPEG XL picture"),
    (4, b"jP  ", "a JPEG 2000 picture"),
    (0, b"\xff\x4f\xff\x51", "a JPEG 2000 picture"),
    (0, b"FUJIFILMCCD-RAW", "a raw camera file"),
    (4, b"ftypcrx ", "a raw camera file"),
    (8, b"CR\x02\0", "a raw camera file"),
    (0, b"IIRO", "a raw camera file"),
    (0, b"IIU\0", "a raw camera file"),
    (0, b"%PDF", "a PDF document"),
    (0, b"<svg", "an SVG drawing"),
)
# What OpenCV, Pillow and pi-heif were seen to raise over damaged files; none of them documents a closed list.
_TROUBLES = (
    cv2.error, OSError, ValueError, SyntaxError, EOFError, RuntimeError, LookupError, ArithmeticError, TypeError,
    AttributeError, SystemError, struct.error,
)  # fmt: skip


def picture_format(data: bytes) -> str | None:
    """Return the format of an image file by its first bytes: a key of the decoders here, else None."""
    for offset, magic, name in _MAGIC:
        if data[offset : offset + len(magic)] == magic and not (name == "TIFF" and _not_read(data)):
            return name
    if data[4:8] != b"ftyp":
        return None
    end = min(int.from_bytes(data[:4], "big"), 16 + 4 * _MOST_BRANDS)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}
    if brands & AVIF_BRANDS:
        return "AVIF"
    return "HEIC" if brands & HEIF_BRANDS else None


def decode_picture(data: bytes, what: str, check_size: CheckSize, *, backdrop: float | None = None) -> Image:
    """Given the bytes of an image file, return its picture as (H, W, 3) uint8 BGR, upright.

    `what` names the file in messages. `check_size` is asked before the pixels are allocated. `backdrop`: the grey,
    0..255, that transparency is laid over; None leaves transparency out, as footage whose alpha is a matte needs it.
    Raise PictureError, with a reason, for anything that gives no picture, and what `check_size` raises.
    """
    kind = picture_format(data)
    if kind is None:
        if known := _not_read(data):
            raise PictureError(f"{what} is {known}, which dfld does not read: {SAVE_AS}")
        raise PictureError(f"{what} is not a JPEG, PNG, WebP, BMP, GIF, TIFF, AVIF or HEIC image")
    if kind not in ("AVIF", "HEIC"):  # whose libraries know the size before they decode
        size = image_size(data)
        if size is None:
            raise PictureError(f"{what} is damaged: the header of this {kind} file cannot be read")
        check_size(*size)
    try:
        pixels = _DECODERS[kind](data, what, check_size, backdrop)
    except MemoryError as problem:
        raise PictureError(f"{what} needs more memory to be decoded than there is") from problem
    except _TROUBLES as problem:
        raise PictureError(f"{what} is damaged: it cannot be decoded as {kind}") from problem
    if pixels is None or pixels.ndim != 3 or 0 in pixels.shape:
        raise PictureError(f"{what} is damaged: it cannot be decoded as {kind}")
    return pixels


def _not_read(data: bytes) -> str | None:
    return next(
        (name for offset, magic, name in _KNOWN_BUT_NOT_READ if data[offset : offset + len(magic)] == magic), None
    )


def _jpeg(data: bytes, what: str, check_size: CheckSize, backdrop: float | None) -> Image | None:
    del check_size, backdrop
    width, height = image_size(data) or (0, 0)
    scans = count_scans(data)
    if scans > MOST_SCANS or (scans > 1 and scans * width * height > MOST_SCANNED_PX):
        raise PictureError(
            f"{what} stores {width}x{height} px in {scans} scans, which would take minutes to decode: save it anew"
        )
    return _opencv(data, cv2.IMREAD_COLOR)  # applies EXIF orientation itself, in every version


def _by_opencv(data: bytes, what: str, check_size: CheckSize, backdrop: float | None) -> Image | None:
    """Decode PNG, WebP or BMP. OpenCV turns these as EXIF says in some versions only, and never with alpha."""
    del what, check_size
    if data.startswith(PNG_START):
        _require_whole_chunks(data)
    pixels = None
    if backdrop is not None:
        raw = _as_stored(data)
        pixels = _over(raw, backdrop) if raw is not None and raw.shape[2:] == (4,) else None
    if pixels is None:
        pixels = _opencv(data, cv2.IMREAD_COLOR | cv2.IMREAD_IGNORE_ORIENTATION)
    return None if pixels is None else turned_by_exif(pixels, _orientation(data))


def _require_whole_chunks(data: bytes) -> None:
    """Raise ValueError for a PNG of which a chunk reaches past its end: OpenCV allocates what a chunk's length says
    before it reads, gigabytes for a picture of a hundred bytes. What programs put behind the last chunk, IEND, is no
    part of the picture (PNG §13.2), and OpenCV does not read it."""
    place, kind = len(PNG_START), b""
    while place + PNG_CHUNK_EXTRA <= len(data) and kind != b"IEND":
        kind = data[place + 4 : place + 8]
        place += int.from_bytes(data[place : place + 4], "big") + PNG_CHUNK_EXTRA
    if place > len(data):
        raise ValueError("it is cut off")


def _tiff(data: bytes, what: str, check_size: CheckSize, backdrop: float | None) -> Image | None:
    """Decode 8 bits with alpha by Pillow: OpenCV multiplies alpha in. The rest by OpenCV, which turns TIFF itself."""
    from PIL import TiffImagePlugin

    del what
    try:
        with _quiet():
            mode = TiffImagePlugin.TiffImageFile(BytesIO(data)).mode
    except _TROUBLES:
        mode = ""  # floating point in colour, 16 bits with alpha: OpenCV knows them
    if mode in ("RGBA", "RGBa", "RGBX", "LA", "La", "PA"):
        return _by_pillow(TiffImagePlugin.TiffImageFile, data, check_size, backdrop)
    raw = _as_stored(data)
    if raw is None:
        return None
    if raw.dtype not in (np.uint8, np.uint16):
        return _from_numbers(raw, backdrop)
    if backdrop is not None and raw.dtype == np.uint16 and raw.shape[2:] == (4,):
        return _over(raw, backdrop)
    return _opencv(data, cv2.IMREAD_COLOR)


def _gif(data: bytes, what: str, check_size: CheckSize, backdrop: float | None) -> Image | None:
    from PIL import GifImagePlugin

    del what
    return _by_pillow(GifImagePlugin.GifImageFile, data, check_size, backdrop)


def _avif(data: bytes, what: str, check_size: CheckSize, backdrop: float | None) -> Image | None:
    from PIL import AvifImagePlugin, features

    if not features.check("avif"):
        raise PictureError(f"{what} is an AVIF picture, and Pillow is built without a library that reads it: {SAVE_AS}")
    return _by_pillow(AvifImagePlugin.AvifImageFile, data, check_size, backdrop)


def _heic(data: bytes, what: str, check_size: CheckSize, backdrop: float | None) -> Image | None:
    for name in HEIF_LIBRARIES:
        try:
            library = importlib.import_module(name)
        except ImportError:
            continue
        return _by_pillow(library.HeifImageFile, data, check_size, backdrop)
    raise PictureError(f"{what} is a HEIC picture, and nothing that reads it is installed: {NO_HEIF}")


def _by_pillow(
    opened: Callable[[BytesIO], PIL.Image.Image], data: bytes, check_size: CheckSize, backdrop: float | None
) -> Image:
    """Decode with one of Pillow's formats; `opened` reads the header alone."""
    from PIL import ImageOps

    with _quiet(), opened(BytesIO(data)) as picture:
        check_size(*picture.size)  # of an animation's canvas, which may be larger than its header says
        upright = ImageOps.exif_transpose(picture)
        if upright.has_transparency_data:
            rgba = np.asarray(upright.convert("RGBA"), np.uint8)
            bgra = rgba[:, :, (2, 1, 0, 3)]
            return np.ascontiguousarray(bgra[:, :, :3]) if backdrop is None else _over(bgra, backdrop)
        return np.ascontiguousarray(np.asarray(upright.convert("RGB"), np.uint8)[:, :, ::-1])


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence Pillow, which warns of odd metadata in words of the file."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


_DECODERS: dict[str, Callable[[bytes, str, CheckSize, float | None], Image | None]] = {
    "JPEG": _jpeg, "PNG": _by_opencv, "WebP": _by_opencv, "BMP": _by_opencv, "TIFF": _tiff, "GIF": _gif,
    "AVIF": _avif, "HEIC": _heic,
}  # fmt: skip


def _opencv(data: bytes, flags: int) -> Image | None:
    """Decode to 8 bits and three channels, which IMREAD_COLOR among the flags asks for."""
    pixels = cv2.imdecode(np.frombuffer(data, np.uint8), flags)
    return None if pixels is None else np.asarray(pixels, np.uint8)


def _as_stored(data: bytes) -> NDArray[np.generic] | None:
    """Decode to the numbers and channels that the file stores."""
    return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)


def _orientation(data: bytes) -> int:
    """Return the EXIF orientation of a PNG or WebP file, 1 where there is none that can be read."""
    from PIL import Image as Pillow

    try:
        with _quiet(), Pillow.open(BytesIO(data), formats=("PNG", "WEBP")) as picture:
            return int(picture.getexif().get(0x0112, 1))
    except _TROUBLES:
        return 1


def turned_by_exif(pixels: Image, orientation: int) -> Image:
    """Return a picture as its EXIF orientation (1..8, EXIF 2.32 §4.6.4) wants it shown; other numbers leave it."""
    if orientation in (5, 6, 7, 8):
        pixels = pixels.swapaxes(0, 1)
    if orientation in (2, 3, 6, 7):
        pixels = pixels[:, ::-1]
    if orientation in (3, 4, 7, 8):
        pixels = pixels[::-1]
    return np.ascontiguousarray(pixels)


def _from_numbers(values: NDArray[np.generic], backdrop: float | None) -> Image:
    """Bring floating point, or integers of 32 bits and more, to 8 bits; not-a-number and infinities become black."""
    numbers = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    if numbers.ndim == 2:
        numbers = np.repeat(numbers[:, :, None], 3, axis=2)
    mean = float(numbers[:, :, :3].mean())
    top = next((top for top, most in ((1.0, 1.0), (255.0, 255.0)) if mean <= most), 65535.0)
    scaled = np.clip(numbers / top, 0.0, 1.0)
    if scaled.shape[2] == 4 and backdrop is not None:
        return _over(scaled, backdrop)
    return np.asarray(scaled[:, :, :3] * 255.0 + 0.5, np.uint8)


def _over(image: NDArray[np.generic], backdrop: float) -> Image:
    """Lay a (H, W, 4) picture of any depth over grey: what hides under full transparency is often garbage.

    In strips of rows: in floating point, all of a large picture at once is ten times itself.
    """
    depth = float(np.iinfo(image.dtype.name).max) if np.issubdtype(image.dtype, np.integer) else 1.0
    over = np.empty((*image.shape[:2], 3), np.uint8)
    for rows in _strips(image):
        values = image[rows].astype(np.float32) / depth
        alpha = values[:, :, 3:]
        laid = (values[:, :, :3] * alpha + backdrop / 255.0 * (1 - alpha)) * 255.0 + 0.5
        over[rows] = np.clip(laid, 0, 255)
    return over


def _strips(image: NDArray[np.generic]) -> Iterator[slice]:
    """Return the rows of a picture in strips of about STRIP_PX px."""
    height, width = image.shape[:2]
    rows = max(1, STRIP_PX // width)
    return (slice(top, top + rows) for top in range(0, height, rows))
