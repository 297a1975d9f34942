"""Reference photos: from a path to the one face in it that shows the person, or the reason why there is none.

A photo is used only when it is unambiguous whose face is meant. Photos arrive as people keep them: turned, with
transparency, cropped to the face; so they are looked at upright first, then turned by a quarter, then with a border.
What an Identity is made of its faces is engine.identity.identity's business. Nothing here is logged.
"""

from __future__ import annotations

import stat
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.backends.backend import Backend
from engine.backends.warps import roll_deg
from engine.errors import ReferencePhotoError
from engine.footage.image_size import IMAGE_SUFFIXES, image_size
from engine.types import Face, Image

MAX_PHOTO_BYTES = 200 << 20  # a 100 megapixel PNG; more is a mistake
MAX_PHOTO_PX = 200_000_000  # 600 MB decoded; a small file can ask for far more
MAX_PHOTO_SIDE_PX = 4096  # larger photos are halved until they fit: no recogniser reads more than 150 px of a face
MAX_PHOTOS = 10_000

# A narrower face has less than a third of the 112 to 150 px that recognisers read: its embedding is mostly guesswork.
MIN_FACE_PX = 40
# Another face counts as a passer-by only when it is at most so wide, relative to the widest.
PASSER_BY_SHARE = 1 / 3
# The look that finds a face rolled by more than this was not upright.
UPRIGHT_ROLL_DEG = 60.0
# Each further look is one more chance for a false face: it must be surer than the first.
TURNED_CONFIDENCE = 0.7
# A face that fills the photo is found with some room round it: this share of each side is added.
BORDER_SHARE = 0.5
QUARTER_TURNS = (0, 90, 270, 180)  # most frequent first: upright, then how phones are held

USED = "used"
NO_FACE = "no face"
SEVERAL_FACES = "several faces"
TINY_FACE = "tiny face"
UNREADABLE = "unreadable"


@dataclass(frozen=True)
class PhotoReport:
    """What became of one reference photo."""

    photo: str
    """Its file name; with the folder's name in front where two photos share one."""
    used: bool
    reason: str
    """USED, NO_FACE, SEVERAL_FACES, TINY_FACE or UNREADABLE."""
    detail: str
    """The reason as a sentence with what was measured."""
    faces_found: int = 0
    bbox: tuple[float, float, float, float] | None = None
    """Of the face that is meant, px of the photo turned by `turned_deg`."""
    turned_deg: int = 0
    """Clockwise degrees by which the photo was turned before the face was found."""
    fits: float | None = None
    """Similarity to the mean of the other photos of the set (leave-one-out); None for a photo alone."""


@dataclass(frozen=True, eq=False)
class ReferenceFace:
    """The one face of a photo, with the picture it lies in (turned or bordered as its report says)."""

    report: PhotoReport
    image: Image
    face: Face


def list_photos(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Expand folders into the images right inside them, by name; keep each photo once, in the order given.

    Raise ReferencePhotoError for a path that does not exist, a folder without images, or nothing at all.
    """
    photos: dict[Path, None] = {}
    for path in paths:
        try:
            photos.update(dict.fromkeys(_photos_at(path)))
        except OSError as problem:
            raise ReferencePhotoError(
                f"reference {path} cannot be looked at: {problem.strerror}", hint="check its path and permissions"
            ) from problem
    if not photos:
        raise ReferencePhotoError("no reference photo was given", hint="give one or more photos, or a folder of them")
    if len(photos) > MAX_PHOTOS:
        raise ReferencePhotoError(f"{len(photos)} reference photos were given, more than {MAX_PHOTOS}")
    return tuple(photos)


def _photos_at(path: Path) -> list[Path]:
    """Return the photo, or the images of the folder. Raise OSError where it may not be looked at."""
    try:
        if not stat.S_ISDIR(path.stat().st_mode):
            return [path]
    except FileNotFoundError as problem:
        raise ReferencePhotoError(f"reference photo {path} does not exist", hint="check the path") from problem
    inside = sorted(one for one in path.iterdir() if one.suffix.lower() in IMAGE_SUFFIXES and one.is_file())
    if not inside:
        raise ReferencePhotoError(
            f"reference folder {path} holds no images", hint=f"expected {', '.join(sorted(IMAGE_SUFFIXES))}"
        )
    return inside


def name_photos(photos: Sequence[Path]) -> tuple[str, ...]:
    """Return a name for each photo: its file name, with its folder's where another photo has the same."""
    names = [photo.name for photo in photos]
    return tuple(
        photo.name if names.count(photo.name) == 1 else f"{photo.parent.name}/{photo.name}" for photo in photos
    )


def read_photo(path: Path) -> Image:
    """Read a photo as (H, W, 3) uint8 BGR, turned as its EXIF says, transparency laid over grey.

    Raise ReferencePhotoError when it cannot be read or is no image.
    """
    import cv2

    data = _read_bytes(path)
    size = image_size(data)
    if size is None:
        raise ReferencePhotoError(f"reference photo {path} is not a JPEG, PNG, WebP, BMP or TIFF image")
    if size[0] * size[1] > MAX_PHOTO_PX:
        raise ReferencePhotoError(
            f"reference photo {path} is {size[0]}x{size[1]} px, at most {MAX_PHOTO_PX // 1_000_000} megapixels are read"
        )
    try:
        packed = np.frombuffer(data, dtype=np.uint8)
        raw = cv2.imdecode(packed, cv2.IMREAD_UNCHANGED)
        if raw is not None and raw.ndim == 3 and raw.shape[2] == 4:
            image: Image | None = _over_grey(np.asarray(raw))
        else:
            image = None if raw is None else np.asarray(cv2.imdecode(packed, cv2.IMREAD_COLOR), dtype=np.uint8)
    except cv2.error as problem:
        raise ReferencePhotoError(f"reference photo {path} cannot be decoded: {problem.err}") from problem
    if image is None or image.ndim != 3 or 0 in image.shape:
        raise ReferencePhotoError(f"reference photo {path} is damaged: it cannot be decoded")
    while max(image.shape[:2]) > MAX_PHOTO_SIDE_PX:
        image = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    return image


def _read_bytes(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise ReferencePhotoError(f"reference photo {path} is not a file")
        size = path.stat().st_size
        if size > MAX_PHOTO_BYTES:
            raise ReferencePhotoError(f"reference photo {path} has {size} bytes, more than {MAX_PHOTO_BYTES}")
        return path.read_bytes()
    except OSError as problem:
        raise ReferencePhotoError(f"reference photo {path} cannot be read: {problem.strerror}") from problem


def look_at_photo(
    image: Image, name: str, backend: Backend, *, largest_face: bool = False
) -> ReferenceFace | PhotoReport:
    """Given a photo, return its one unambiguous face, or the report that says why it has none.

    One face is unambiguous; so is a face beside which all others are at most a third as wide. `largest_face` takes
    the largest of several. A face narrower than MIN_FACE_PX is never used.
    """
    turned, found, seen = _find_faces(image, backend)
    if not found:
        return PhotoReport(name, False, NO_FACE, "no face found, upright, turned or with a border")
    found = sorted(found, key=lambda face: -face.width_px * face.height_px)
    face, others = found[0], found[1:]
    rivals = [other for other in others if other.width_px > PASSER_BY_SHARE * face.width_px]
    x1, y1, x2, y2 = (float(value) for value in face.bbox)
    box = (x1, y1, x2, y2)

    def report(used: bool, reason: str, detail: str) -> PhotoReport:
        turn = f"; found after turning the photo by {turned}° clockwise" if turned else ""
        return PhotoReport(name, used, reason, detail + turn, len(found), box, turned)

    short_side = min(face.width_px, face.height_px)
    if short_side < MIN_FACE_PX:
        return report(False, TINY_FACE, f"the face is {short_side:.0f} px wide, at least {MIN_FACE_PX} px are needed")
    if rivals and not largest_face:
        return report(False, SEVERAL_FACES, f"{len(rivals) + 1} faces of similar size: it is not clear whose is meant")
    if others:
        return ReferenceFace(report(True, USED, f"the largest of {len(found)} faces, {short_side:.0f} px"), seen, face)
    return ReferenceFace(report(True, USED, f"one face, {short_side:.0f} px"), seen, face)


def _find_faces(image: Image, backend: Backend) -> tuple[int, list[Face], Image]:
    """Look upright, then turned, then with a border; return the turn in degrees, the faces, and the picture seen.

    A face found lying or on its head is taken only when no turn shows it upright.
    """
    import cv2

    codes = {90: cv2.ROTATE_90_CLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_COUNTERCLOCKWISE}
    rolled: tuple[int, list[Face], Image] | None = None
    for turn in QUARTER_TURNS:
        seen = np.asarray(cv2.rotate(image, codes[turn]), dtype=np.uint8) if turn else image
        found = backend.detect(seen, min_confidence=TURNED_CONFIDENCE) if turn else backend.detect(seen)
        if found and _is_upright(max(found, key=lambda face: face.width_px * face.height_px)):
            return turn, found, seen
        if found and rolled is None:
            rolled = turn, found, seen
    if rolled is not None:
        return rolled
    margin = round(BORDER_SHARE * max(image.shape[:2]))
    room = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(127, 127, 127))
    bordered = np.asarray(room, dtype=np.uint8)
    return 0, backend.detect(bordered, min_confidence=TURNED_CONFIDENCE), bordered


def _is_upright(face: Face) -> bool:
    return face.landmarks_5 is None or abs(roll_deg(face.landmarks_5)) < UPRIGHT_ROLL_DEG


def _over_grey(image: NDArray[Any]) -> Image:
    """Lay a (H, W, 4) picture of any depth over mid grey: what hides under full transparency is often garbage."""
    depth = float(np.iinfo(image.dtype).max) if np.issubdtype(image.dtype, np.integer) else 1.0
    values = image.astype(np.float32) / depth
    alpha = values[:, :, 3:]
    return np.asarray(np.clip((values[:, :, :3] * alpha + 0.5 * (1 - alpha)) * 255.0 + 0.5, 0, 255), dtype=np.uint8)
