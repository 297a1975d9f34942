"""Footage that no margin of engine.tracks.verdicts was chosen on: clips composed of photographs, with the
truth in a file beside.

`compose` takes a folder with one sub-folder of photos a person and makes a clip for each person with enough photos:
the first photos (by name) are the references, the others are what the clip shows, one photo a shot. Shots move,
zoom, roll, cross, hide, darken, blur, go far away and turn upside down; others stand beside the person or alone.

The truth has the format of the labelled clips: per frame the faces with `who`, `box`, `kps`, and `ignore` where a
face is cut by the frame's edge or half hidden. Boxes and points are the detector's on the photo, moved as the photo
was. For the other programs of this folder; run by itself it does nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from numpy.typing import NDArray
from truth import Case

from engine.backends.backend import Backend
from engine.identity.reference_photos import PhotoReport, list_photos, look_at_photo, read_photo
from engine.types import Image

WIDTH, HEIGHT, RATE = 640, 360, 25
SHOT_FRAMES = 50
REFERENCES = 2
LEAD_PHOTOS = REFERENCES + 3
"""Photos from which a person leads a clip: references, and a few looks."""
HIDDEN_IGNORE, HIDDEN_GONE = 0.3, 0.7
"""Share of a face box outside the frame or covered, from which it counts neither way, and is not there at all."""
CRF = 28
NEAR, MIDDLE, FAR = 130.0, 90.0, 34.0
"""Face widths, px."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A face cut out of a photo: its picture, and where it is in it."""

    who: str
    pixels: Image
    box: NDArray[np.float64]
    points: NDArray[np.float64]


@dataclass(frozen=True)
class Place:
    """Where an actor's face is in a frame, and how."""

    x: float
    y: float
    width: float
    roll: float = 0.0
    turn: float = 0.0
    """Narrowed sideways as a head that turns: 0..1 of half its width."""


Motion = Callable[[float], Place]
"""0..1 of the shot -> where the face is."""
Finish = Callable[[Image, float], Image]
"""What the camera makes of a picture, at 0..1 of the shot."""


@dataclass(frozen=True, eq=False)
class Shot:
    name: str
    actors: Sequence[tuple[Photo, Motion]]
    """Back to front."""
    finish: Finish | None = None


def compose(people: Path, out: Path, backend: Backend, *, seed: int = 1) -> list[Case]:
    """Given a folder of people, return whom to look for in which clips, made below `out` by `Case.make`.

    There is a clip for each who has photos enough. Every lead is looked for in the own clip, in the next lead's clip,
    where they have a part, and in another, where they have none. `backend` finds the faces in the photos.
    """
    photos = {folder.name: _faces(folder, backend) for folder in sorted(people.iterdir()) if folder.is_dir()}
    leads = [who for who, found in photos.items() if len(found) >= LEAD_PHOTOS]
    strangers = [found[0][1] for who, found in photos.items() if who not in leads and found]

    def write(number: int, clip: Path) -> None:
        chance = np.random.default_rng(seed + number)
        company = [strangers[place] for place in chance.permutation(len(strangers))[:8]]
        shown = [photo for _, photo in photos[leads[number]][REFERENCES:]]
        beside = [photo for _, photo in photos[leads[number - 1]][REFERENCES:]] if len(leads) > 1 else []
        write_footage(clip, _play(_script(shown, beside, company), chance))

    cases = []
    for number, who in enumerate(leads):
        references = tuple(path for path, _ in photos[who][:REFERENCES])
        for clip in dict.fromkeys((number, (number + 1) % len(leads), (number - 1) % len(leads))):
            path = out / f"composed_{leads[clip].lower()}.mp4"
            cases.append(Case(path, who, references, partial(write, clip)))
    return cases


def write_footage(
    clip: Path, frames: Iterator[tuple[Image, dict[str, Any]]], *, rate: int = RATE, crf: int = CRF
) -> None:
    """Write pictures and their truths as a video and its truth file."""
    truths = []
    with av.open(str(clip), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": str(crf), "preset": "veryfast"}
        for picture, truth in frames:
            if not truths:
                stream.height, stream.width = picture.shape[:2]
            truths.append(truth)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="bgr24")))
        container.mux(stream.encode(None))
    clip.with_suffix(".truth.json").write_text(json.dumps({"frames": truths}))


def _faces(folder: Path, backend: Backend) -> list[tuple[Path, Photo]]:
    found = []
    for path in list_photos([folder]):
        seen = look_at_photo(read_photo(path), path.name, backend)
        if isinstance(seen, PhotoReport):
            continue
        points = seen.face.landmarks_5
        if points is None:
            marked = backend.landmarks_68(seen.image, [seen.face])[0]
            points = np.stack([marked[36:42].mean(0), marked[42:48].mean(0), marked[30], marked[48], marked[54]])
        box, five = seen.face.bbox.astype(np.float64), np.asarray(points, np.float64)
        found.append((path, Photo(folder.name, _without_grey(seen.image, read_photo(path)), box, five)))
    return found


def _without_grey(seen: Image, photo: Image) -> Image:
    """Where the photo was given a border to find the face in it, continue the picture's edge instead of grey."""
    margin = (seen.shape[0] - photo.shape[0]) // 2
    if margin <= 0 or seen.shape[1] - photo.shape[1] != 2 * margin:
        return seen
    wide = cv2.copyMakeBorder(photo, margin, margin, margin, margin, cv2.BORDER_REPLICATE)
    return np.asarray(wide, np.uint8)


def _script(shown: Sequence[Photo], beside: Sequence[Photo], company: Sequence[Photo]) -> list[Shot]:
    """One clip: `shown` leads it; `beside` is somebody else with several photos, `company` are single strangers."""

    def lead(number: int) -> Photo:
        return shown[number % len(shown)]

    def other(number: int) -> Photo:
        return (beside or company)[number % len(beside or company)]

    def stranger(number: int) -> Photo:
        return (company or beside)[number % len(company or beside)]

    left, right, middle = WIDTH * 0.3, WIDTH * 0.7, HEIGHT * 0.5
    crowd = [
        (photo, _drift(60.0 + 105.0 * place, 110.0 + 60.0 * (place % 3), FAR + 4 * place, sway=6.0))
        for place, photo in enumerate([*company, *beside][:5])
    ]
    beside_lead = [] if not (beside or company) else [(other(0), _drift(right, middle, MIDDLE))]
    passer_by = [] if not (beside or company) else [(other(1), _walk(right + 90, left - 90, middle, MIDDLE))]
    shots = [
        Shot("near", [(lead(0), _zoom(WIDTH * 0.5, middle, MIDDLE, NEAR))]),
        Shot("pair", [*beside_lead, (lead(1), _drift(left, middle, MIDDLE))]),
        Shot("crossing behind", [(lead(2), _walk(left - 90, right + 90, middle, MIDDLE)), *passer_by]),
        Shot("crossing in front", [*passer_by, (lead(3), _walk(left - 90, right + 90, middle, MIDDLE))]),
        Shot("far", [*crowd, (lead(4), _drift(WIDTH * 0.5, HEIGHT * 0.7, FAR, sway=10.0))]),
        Shot("dark", [*beside_lead, (lead(5), _drift(left, middle, MIDDLE))], _darken),
        Shot("blurred", [(lead(6), _drift(WIDTH * 0.5, middle, MIDDLE))], _blur),
        Shot("rolling", [(lead(7), lambda t: Place(WIDTH * 0.5, middle, MIDDLE, roll=180 * t))]),
        Shot("upside down", [(lead(8), lambda t: Place(left + 60 * t, middle, NEAR, roll=180))]),
        Shot("turning", [(lead(0), lambda t: Place(left + 200 * t, middle, NEAR, turn=math.sin(math.pi * t)))]),
        Shot("leaving", [(lead(1), _leave(WIDTH * 0.6, middle, MIDDLE))]),
    ]
    if company or beside:
        shots.append(
            Shot("others", [(other(2), _drift(left, middle, NEAR)), (stranger(5), _drift(right, middle, NEAR))])
        )
        shots.append(Shot("another", [(stranger(6), _zoom(WIDTH * 0.5, middle, MIDDLE, NEAR))], _blur))
        shots.append(Shot("others dark", [(other(5), _drift(WIDTH * 0.5, middle, MIDDLE))], _darken))
    return shots


def _drift(x: float, y: float, width: float, *, sway: float = 20.0) -> Motion:
    return lambda t: Place(
        x + sway * math.sin(5 * t), y + sway * 0.5 * math.cos(4 * t), width, roll=8 * math.sin(6 * t)
    )


def _zoom(x: float, y: float, first: float, last: float) -> Motion:
    return lambda t: Place(x + 20 * math.sin(4 * t), y, first + (last - first) * t, roll=-10 + 20 * t)


def _walk(first: float, last: float, y: float, width: float) -> Motion:
    return lambda t: Place(first + (last - first) * t, y + 5 * math.sin(20 * t), width)


def _leave(x: float, y: float, width: float) -> Motion:
    """Out of the frame to the right, and back."""
    return lambda t: Place(x + (WIDTH - x + width) * math.sin(math.pi * t), y, width)


def _darken(picture: Image, t: float) -> Image:
    """Three stops under, with the noise that comes of it."""
    noise = np.random.default_rng(round(1e6 * t)).normal(0, 2.0, picture.shape)
    dim = picture.astype(np.float32) * 0.16 + noise
    return np.asarray(np.clip(dim, 0, 255), np.uint8)


def _blur(picture: Image, t: float) -> Image:
    """The focus is lost, and found again in the middle of the shot."""
    sigma = 4.0 * max(0.0, math.sin(2 * math.pi * t))
    return np.asarray(cv2.GaussianBlur(picture, (0, 0), sigma), np.uint8) if sigma > 0.3 else picture


def _play(shots: Sequence[Shot], noise: np.random.Generator) -> Iterator[tuple[Image, dict[str, Any]]]:
    number = 0
    for shot in shots:
        backdrop = _backdrop(noise)
        for step in range(SHOT_FRAMES):
            t = step / (SHOT_FRAMES - 1)
            shift = round(20 * t)
            picture, faces = backdrop[:HEIGHT, shift : shift + WIDTH].copy(), []
            for photo, motion in shot.actors:
                matrix = _matrix(photo, motion(t))
                covering = _paint(picture, photo, matrix)
                faces = [face | {"free": face["free"] * ~covering} for face in faces]
                faces.append(_face(photo, matrix))
            finished = shot.finish(picture, t) if shot.finish else picture
            yield finished, {"frame": number, "shot": shot.name, "faces": _truths(faces)}
            number += 1


def _backdrop(noise: np.random.Generator) -> Image:
    """Wallpaper: soft blotches, a little wider than a frame."""
    coarse = noise.integers(60, 150, (9, 16, 1)) + noise.integers(-15, 15, (9, 16, 3)).astype(np.float32)
    soft = cv2.resize(coarse, (WIDTH + 40, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(np.clip(soft, 0, 255), np.uint8)


def _matrix(photo: Photo, place: Place) -> NDArray[np.float64]:
    """Photo px -> frame px: (2, 3) affine."""
    centre = (photo.box[:2] + photo.box[2:]) / 2.0
    scale = place.width / (photo.box[2] - photo.box[0])
    angle = math.radians(place.roll)
    rotation = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    linear = rotation @ np.diag([1.0 - 0.5 * place.turn, 1.0]) * scale
    return np.concatenate([linear, (np.array([place.x, place.y]) - linear @ centre)[:, None]], axis=1)


def _paint(picture: Image, photo: Photo, matrix: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Lay the head over the picture; return (H, W) where it covers it."""
    scale = math.sqrt(abs(np.linalg.det(matrix[:, :2])))
    source = photo.pixels if scale > 0.7 else cv2.GaussianBlur(photo.pixels, (0, 0), 0.4 / scale)
    mask = np.zeros(photo.pixels.shape[:2], np.float32)
    width, height = photo.box[2:] - photo.box[:2]
    middle = (photo.box[:2] + photo.box[2:]) / 2.0 - (0, 0.08 * height)
    cv2.ellipse(mask, (middle.tolist(), (1.45 * width, 1.6 * height), 0.0), 1.0, -1)
    mask = cv2.GaussianBlur(mask, (0, 0), 0.04 * width)
    size = (WIDTH, HEIGHT)
    head = cv2.warpAffine(source, matrix, size, flags=cv2.INTER_LINEAR)
    alpha = cv2.warpAffine(mask, matrix, size, flags=cv2.INTER_LINEAR)
    picture[:] = np.clip(picture + (head.astype(np.float32) - picture) * alpha[..., None], 0, 255)
    return np.asarray(alpha > 0.5)


def _face(photo: Photo, matrix: NDArray[np.float64]) -> dict[str, Any]:
    x1, y1, x2, y2 = photo.box
    corners = np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]]) @ matrix[:, :2].T + matrix[:, 2]
    points = photo.points @ matrix[:, :2].T + matrix[:, 2]
    shape = np.zeros((HEIGHT, WIDTH), np.uint8)
    cv2.fillConvexPoly(shape, np.round(corners).astype(np.int32), 1)
    area = cv2.contourArea(corners.astype(np.float32))
    return {"who": photo.who, "corners": corners, "kps": points, "free": shape.astype(bool), "area": area}


def _truths(faces: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    truths = []
    for face in faces:
        hidden = 1.0 - face["free"].sum() / max(face["area"], 1.0)
        if hidden > HIDDEN_GONE:
            continue
        corners, points = face["corners"], face["kps"]
        box = [*corners.min(axis=0).round(1).tolist(), *corners.max(axis=0).round(1).tolist()]
        truths.append(
            {"who": face["who"], "box": box, "kps": points.round(1).tolist(), "ignore": bool(hidden > HIDDEN_IGNORE)}
        )
    return truths
