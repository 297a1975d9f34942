"""Reference photos: from a path to the one face in it that shows the person, or the reason why there is none.

A photo is used only when it is unambiguous whose face is meant. Photos arrive as people keep them: turned, with
transparency, cropped to the face; so they are looked at upright first, then turned by a quarter, then with a border.
What an Identity is made of its faces is engine.identity.identity's business. Nothing here is logged.
"""

from __future__ import annotations

import math
import stat
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from core.opening import RefusedFileError, read_regular
from engine.backends.backend import Backend
from engine.errors import PictureError, ReferencePhotoError
from engine.faces.warps import roll_deg
from engine.pictures.decoding import MID_GREY, decode_picture
from engine.pictures.image_header import PHOTO_SUFFIXES
from engine.types import Face, Image

MAX_PHOTO_BYTES = 200 << 20  # a 100 megapixel PNG; more is a mistake
MAX_PHOTO_PX = 200_000_000  # 600 MB decoded; a small file can ask for far more
LONGEST_PHOTO_PX = 65_535  # that of a JPEG; a million px by 16 are no photo
MAX_PHOTO_SIDE_PX = 4096  # larger photos are halved until they fit: no recogniser reads more than 150 px of a face
PANORAMA_FROM = 2  # sides; the widest usual photo is 16:9
MAX_PHOTOS = 10_000  # a folder of more is not one that somebody chose for one person

# A narrower face has less than a third of the 112 to 150 px that recognisers read: its embedding is mostly guesswork.
MIN_FACE_PX = 40
# Another face counts as a passer-by only when it is at most so wide, relative to the widest.
PASSER_BY_FRACTION = 1 / 3
# The look that finds a face rolled by more than this was not upright.
UPRIGHT_ROLL_DEG = 60.0
# Each further look is one more chance for a false face: it must be surer than the first.
TURNED_CONFIDENCE = 0.7
# A face that fills the photo is found with some room round it: this fraction of its longer side is added all round.
# Of a panorama it is the shorter side, which no face in it is wider than: a border as wide as half of the longer one
# would need memory by the square of that. So a bordered picture has at most four times the px of MAX_PHOTO_SIDE_PX
# squared.
BORDER_FRACTION = 0.5
# The narrowest face that a detector is sure to see, px of the picture that it is given.
DETECTED_FROM_PX = 24
# A panorama is looked at in so many pieces at most: a strip of 16000x100 px is no photo.
MOST_PIECES = 40
# Two detections that share more of the smaller one are one face.
SAME_FACE_OVERLAP = 0.5
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
    inside = sorted(one for one in path.iterdir() if one.suffix.lower() in PHOTO_SUFFIXES and one.is_file())
    if not inside:
        raise ReferencePhotoError(
            f"reference folder {path} holds no images", hint=f"expected {', '.join(sorted(PHOTO_SUFFIXES))}"
        )
    return inside


def name_photos(photos: Sequence[Path]) -> tuple[str, ...]:
    """Return a name for each photo: its file name, with its folder's where another photo has the same."""
    names = [photo.name for photo in photos]
    return tuple(
        photo.name if names.count(photo.name) == 1 else f"{photo.parent.name}/{photo.name}" for photo in photos
    )


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo as it is looked at."""

    pixels: Image
    """(H, W, 3) uint8 BGR, turned as its EXIF says, transparency laid over grey."""
    halved: int = 0
    """How often it was halved to fit: px of the file are `2 ** halved` times those of `pixels`."""


def read_photo(path: Path) -> Image:
    """Return the pixels of `open_photo`."""
    return open_photo(path).pixels


ReadBytes = Callable[[Path], bytes]
"""What reads a photo's file: from anywhere, or only from where photos may lie. Raises OSError."""

read_anywhere: ReadBytes = partial(read_regular, within=None, follow_links=True, max_bytes=MAX_PHOTO_BYTES)
"""For photos that the operator names."""


def open_photo(path: Path, read: ReadBytes = read_anywhere) -> Photo:
    """Read a photo, upright.

    A large one is halved until its area is that of MAX_PHOTO_SIDE_PX squared at most; one that is not a panorama,
    until each side fits. Raise ReferencePhotoError when it cannot be read or is no image.
    """
    import cv2

    what = f"reference photo {path}"
    try:
        image = decode_picture(_read_bytes(path, read), what, partial(_refuse_oversize, what), backdrop=MID_GREY)
    except PictureError as problem:
        raise ReferencePhotoError(problem.message, hint=problem.hint) from problem
    halved = 0
    while not _fits(*image.shape[:2]):
        image = np.asarray(cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        halved += 1
    return Photo(image, halved)


def _refuse_oversize(what: str, width: int, height: int) -> None:
    if width <= 0 or height <= 0:
        raise ReferencePhotoError(f"{what} is damaged: its header says {width}x{height} px")
    if width * height > MAX_PHOTO_PX:
        raise ReferencePhotoError(
            f"{what} is {width}x{height} px, at most {MAX_PHOTO_PX // 1_000_000} megapixels are read"
        )
    if max(width, height) > LONGEST_PHOTO_PX:
        raise ReferencePhotoError(
            f"{what} is {width}x{height} px, at most {LONGEST_PHOTO_PX} px a side are read",
            hint="cut the face out of it, with some room round it, and give the cut-out",
        )


def _fits(height: int, width: int) -> bool:
    if is_panorama(height, width):
        return height * width <= MAX_PHOTO_SIDE_PX**2
    return max(height, width) <= MAX_PHOTO_SIDE_PX


def is_panorama(height: int, width: int) -> bool:
    """Say whether a picture is so long that a detector, which sees all of it at once, sees little of anything in it."""
    return max(height, width) > PANORAMA_FROM * min(height, width)


def _read_bytes(path: Path, read: ReadBytes) -> bytes:
    try:
        return read(path)
    except RefusedFileError as problem:
        raise ReferencePhotoError(f"reference photo {path} {problem.strerror}") from problem
    except OSError as problem:
        raise ReferencePhotoError(f"reference photo {path} cannot be read: {problem.strerror}") from problem


def look_at_photo(
    image: Image, name: str, backend: Backend, *, largest_face: bool = False, halved: int = 0
) -> ReferenceFace | PhotoReport:
    """Given a photo, return its one unambiguous face, or the report that says why it has none.

    One face is unambiguous; so is a face beside which all others are at most a third as wide. `largest_face` takes
    the largest of several. A face narrower than MIN_FACE_PX is never used. `halved`: that of `Photo`, so that sizes
    are given in px of the file.
    """
    turned, found, seen = _find_faces(image, backend)
    if not found:
        nothing = "no face found, upright, turned or with a border"
        return PhotoReport(name, False, NO_FACE, nothing + _too_small_to_see(image, backend, halved))
    found = sorted(found, key=lambda face: -face.width_px * face.height_px)
    face, others = found[0], found[1:]
    rivals = [other for other in others if other.width_px > PASSER_BY_FRACTION * face.width_px]
    x1, y1, x2, y2 = (float(value) for value in face.bbox)
    box = (x1, y1, x2, y2)

    def report(used: bool, reason: str, detail: str) -> PhotoReport:
        turn = f"; found after turning the photo by {turned}° clockwise" if turned else ""
        return PhotoReport(name, used, reason, detail + turn, len(found), box, turned)

    short_side = min(face.width_px, face.height_px)
    if short_side < MIN_FACE_PX:
        return report(False, TINY_FACE, _tiny(short_side, image, halved))
    if rivals and not largest_face:
        return report(False, SEVERAL_FACES, f"{len(rivals) + 1} faces of similar size: it is not clear whose is meant")
    if others:
        return ReferenceFace(report(True, USED, f"the largest of {len(found)} faces, {short_side:.0f} px"), seen, face)
    return ReferenceFace(report(True, USED, f"one face, {short_side:.0f} px"), seen, face)


def _tiny(face_px: float, image: Image, halved: int) -> str:
    """Say how small a face is, how large it must be, and what helps."""
    height, width = image.shape[:2]
    if not halved:
        return (
            f"the face is {face_px:.0f} px wide in this photo of {width}x{height} px, at least {MIN_FACE_PX} px are "
            "needed: give the photo in a larger size, or another in which the face is larger"
        )
    times = 1 << halved
    return (
        f"the face is about {face_px * times:.0f} px wide in this photo of {width * times}x{height * times} px, which "
        f"is read at 1/{times} of its size, where {face_px:.0f} px are left and at least {MIN_FACE_PX} px are needed: "
        "cut the face out of it, with some room round it, and give the cut-out"
    )


def _too_small_to_see(image: Image, backend: Backend, halved: int) -> str:
    """Say which faces of a large photo the search cannot see, and what helps; nothing for a small one."""
    height, width = image.shape[:2]
    side = backend.info.detection_side_px
    view = min(height, width) if is_panorama(height, width) else max(height, width)
    if view <= side:
        return ""
    times = 1 << halved
    least = round(view / side * DETECTED_FROM_PX) * times
    return (
        f"; in this photo of {width * times}x{height * times} px, which is scaled down for the search, a face narrower "
        f"than about {least} px is hardly seen: if there is one, cut it out, with some room round it, and give the "
        "cut-out"
    )


def _find_faces(image: Image, backend: Backend) -> tuple[int, list[Face], Image]:
    """Look upright, then turned, then with a border, at a panorama piece by piece as well.

    Return the turn in degrees, the faces, and the picture seen. A face found lying or on its head is taken only when no
    turn shows it upright; a panorama's pieces are looked at where the whole shows no face, or one too small to use.
    """
    turned, found, seen = _find_in_one_view(image, backend)
    if is_panorama(*image.shape[:2]) and all(min(face.width_px, face.height_px) < MIN_FACE_PX for face in found):
        pieces = _find_in_pieces(image, backend)
        if pieces:
            return 0, pieces, image
    return turned, found, seen


def _find_in_pieces(image: Image, backend: Backend) -> list[Face]:
    """Look at squares along a long picture, each half over the one before, so that a face lies whole in one of them."""
    height, width = image.shape[:2]
    side, longest = min(height, width), max(height, width)
    found: list[Face] = []
    count = min(MOST_PIECES, math.ceil((longest - side) / (side / 2)) + 1)
    for start in np.linspace(0, longest - side, count).round().astype(int).tolist():
        x, y = (start, 0) if width > height else (0, start)
        piece = np.ascontiguousarray(image[y : y + side, x : x + side])
        for face in backend.detect(piece, min_confidence=TURNED_CONFIDENCE):
            offset = np.array([x, y, x, y], np.float32)
            points = None if face.landmarks_5 is None else face.landmarks_5 + offset[:2]
            found.append(Face(face.bbox + offset, face.detection_score, points))
    kept: list[Face] = []
    for face in sorted(
        found, key=lambda face: -face.width_px * face.height_px
    ):  # a face cut by a piece's edge is smaller
        if all(_shared(face, other) < SAME_FACE_OVERLAP for other in kept):
            kept.append(face)
    return kept


def _shared(face: Face, other: Face) -> float:
    """Return how much of the smaller of two boxes lies in the other, 0..1."""
    low, high = np.maximum(face.bbox[:2], other.bbox[:2]), np.minimum(face.bbox[2:], other.bbox[2:])
    both = float(np.prod(np.maximum(high - low, 0.0)))
    return both / max(1.0, min(face.width_px * face.height_px, other.width_px * other.height_px))


def _find_in_one_view(image: Image, backend: Backend) -> tuple[int, list[Face], Image]:
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
    height, width = image.shape[:2]
    side = min(height, width) if is_panorama(height, width) else max(height, width)
    margin = round(BORDER_FRACTION * side)
    room = cv2.copyMakeBorder(image, margin, margin, margin, margin, cv2.BORDER_CONSTANT, value=(127, 127, 127))
    bordered = np.asarray(room, dtype=np.uint8)
    return 0, backend.detect(bordered, min_confidence=TURNED_CONFIDENCE), bordered


def _is_upright(face: Face) -> bool:
    return face.landmarks_5 is None or abs(roll_deg(face.landmarks_5)) < UPRIGHT_ROLL_DEG
