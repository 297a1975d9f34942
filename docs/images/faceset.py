"""Makes the pictures of docs/faceset.md from photographs that dfld's dependencies ship, by dfld's own commands.

python docs/images/faceset.py /tmp/astronaut        the folder, which the pictures name, is made

Footage of two people: the astronaut of scikit-image (a portrait by NASA, in the public domain) for data_src, one of the
group photograph in insightface for data_dst. Each photograph is a relief that is turned before a camera, taken away
from it, darkened, blurred and held still, so that there is something to set aside and something to miss. It shows no
side of a face that the photograph does not: nothing to train on.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import chdir
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pictures
from PIL import ImageDraw, ImageFont

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from daemon.cli import main as dfld  # noqa: E402
from daemon.commands.demo_clip import group_photo, write_clip, write_reference  # noqa: E402
from dfl.hull import FACE, hull_mask  # noqa: E402
from dfl.image import read_metadata  # noqa: E402
from engine.backends.catalog import open_backend  # noqa: E402
from engine.facesets.curation.verdicts import reason_words  # noqa: E402
from engine.masks.checks import check_mask, failed  # noqa: E402

Picture = NDArray[np.uint8]
Mask = NDArray[np.bool_]
HERE = Path(__file__).absolute().parent
FRAME_PX = 640
HEAD_HEIGHT, NOSE_HEIGHT = 0.55, 0.1
"""Of the relief, in widths of the face."""
FITTED = 12
"""Times that a place of the relief is looked for again."""
TILE_PX, GAP_PX, TEXT_PX = 200, 12, 44
PAPER, INK, SOFT = "#15171b", "#e9eaed", "#9aa1ae"
TINT = (99, 199, 79)
"""Of a mask, BGR."""
QUALITY = 82


@dataclass(frozen=True)
class Take:
    """How the relief is held in one frame, degrees."""

    yaw: float = 0.0
    pitch: float = 0.0
    zoom: float = 1.0
    light: float = 1.0
    blur_px: float = 0.0
    motion_px: int = 0


@dataclass(frozen=True)
class Card:
    """A photograph, and where its face is."""

    photo: Picture
    middle: tuple[float, float]
    face_px: float
    width: float
    """What of it the camera shows at zoom 1, px."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path, metavar="DIR", help="where footage and faces are written")
    options = parser.parse_args()
    options.folder.mkdir(parents=True)
    with chdir(options.folder):
        make_facesets()
        draw_pictures()


def draw_pictures() -> None:
    """Mask, cover and curate the facesets as the page does, and draw each step."""
    data_src = Path("data_src")
    run("mask", ".", "--source", "hull", "--quiet")
    save(HERE / "faceset-masks.jpg", mask_sheet(data_src / "aligned"))
    run("coverage", ".", "--html", "coverage.html")
    save(HERE / "faceset-coverage.jpg", shrunk(read_picture(Path("coverage.png")), 1100))
    run("curate", "data_src")
    save(HERE / "faceset-curated.jpg", curated_sheet(data_src))


def make_facesets() -> None:
    """Film both cards and extract their faces into data_src and data_dst."""
    for role, card, takes in (("data_src", astronaut(), src_takes()), ("data_dst", one_of_group(), dst_takes())):
        clip, reference = Path(f"{role}.mp4"), Path(f"{role}.png")
        write_clip(clip, (film(card, take) for take in takes))
        write_reference(reference, card.photo, open_backend("dlib"))
        run("extract", str(clip), "--reference", str(reference), "--out", role, "--backend", "dlib",
            "--quiet")  # fmt: skip


def astronaut() -> Card:
    return Card(read_picture(shipped("skimage", "data", "astronaut.png")), (224, 112), 105, 300)


def one_of_group() -> Card:
    """Return the group photo, cropped to the person whom the demo looks for, too."""
    photo = group_photo()
    faces = open_backend("dlib").detect(photo)
    face = min(faces, key=lambda found: abs((found.bbox[0] + found.bbox[2]) / 2 - photo.shape[1] / 2))
    x, y = (face.bbox[0] + face.bbox[2]) / 2, (face.bbox[1] + face.bbox[3]) / 2
    half = round(1.3 * face.width_px)
    left, top = max(0, int(x) - half), max(0, int(y) - half)
    return Card(
        photo[top : top + 2 * half, left : left + 2 * half], (x - left, y - top), face.width_px, 2.4 * face.width_px
    )


def shipped(package: str, *inside: str) -> Path:
    """Return a file of an installed package, without importing it."""
    spec = importlib.util.find_spec(package)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    return Path(next(iter(spec.submodule_search_locations)), *inside)


def src_takes() -> Iterator[Take]:
    """Yield a person who looks about, holds still, is blurred, goes into the dark, and away from the camera."""
    yield from between(Take(), Take(yaw=-46), Take(yaw=-40, pitch=-22), Take(pitch=-26), Take(pitch=18), steps=12)
    yield from between(Take(pitch=18), Take(yaw=-34, pitch=26), Take(yaw=-12), Take(yaw=14), steps=12)
    yield from [Take(yaw=14)] * 16
    yield from between(Take(yaw=14, blur_px=2), Take(yaw=-10, blur_px=4.5), steps=6)
    yield from between(Take(yaw=-10, motion_px=9), Take(yaw=4, motion_px=17), steps=6)
    yield from between(Take(yaw=4, light=0.2), Take(yaw=-20, light=0.08), steps=6)
    yield from between(Take(yaw=-20, zoom=0.3), Take(yaw=12, zoom=0.22), steps=6)


def dst_takes() -> Iterator[Take]:
    yield from between(Take(pitch=-18), Take(yaw=46, pitch=-18), Take(yaw=44, pitch=6), Take(pitch=-34), steps=12)


def between(*takes: Take, steps: int) -> Iterator[Take]:
    """Yield what lies between one take and the next."""
    for first, last in pairwise(takes):
        for step in range(steps):
            part = step / (steps - 1)
            mixed = {name: (1 - part) * value + part * getattr(last, name) for name, value in vars(first).items()}
            yield Take(**{**mixed, "motion_px": round(mixed["motion_px"])})


def film(card: Card, take: Take) -> Picture:
    """Return what a camera far away sees of the relief, (FRAME_PX, FRAME_PX, 3) BGR."""
    scale = FRAME_PX / card.width
    at_y, at_x = (np.mgrid[0:FRAME_PX, 0:FRAME_PX] - FRAME_PX / 2) / take.zoom
    yaw, pitch = np.radians([take.yaw, take.pitch])
    x, y = at_x, at_y
    for _ in range(FITTED):
        depth = relief(x, y, scale * card.face_px)
        x = (at_x - depth * np.sin(yaw)) / np.cos(yaw)
        y = (at_y - depth * np.sin(pitch)) / np.cos(pitch)
    inside = [np.float32(one / scale + middle) for one, middle in zip((x, y), card.middle, strict=True)]
    seen = cv2.remap(card.photo, *inside, cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    if take.blur_px:
        seen = cv2.GaussianBlur(seen, (0, 0), take.blur_px)
    if take.motion_px:
        seen = cv2.blur(seen, (take.motion_px, 1))
    return np.asarray(np.clip(seen * take.light, 0, 255), np.uint8)


def relief(x: NDArray[np.float64], y: NDArray[np.float64], face_px: float) -> NDArray[np.float64]:
    """Return how far each place stands out: a head, and on it a nose."""
    head = np.hypot(x / (1.1 * face_px), y / (1.3 * face_px))
    nose = np.hypot(x / (0.22 * face_px), (y - 0.08 * face_px) / (0.3 * face_px))
    heights = ((head, HEAD_HEIGHT), (nose, NOSE_HEIGHT))
    return sum(height * face_px * np.cos(np.pi / 2 * np.minimum(one, 1)) ** 2 for one, height in heights)


def mask_sheet(aligned: Path) -> Picture:
    """Return faces with their masks, then masks that are refused, each with what was measured."""
    paths = sorted(aligned.glob("*.jpg"))
    chosen = [paths[place] for place in (0, 6, 34, 46)]
    tiles = []
    for path in chosen:
        pixels, hull = face_and_hull(path)
        tiles.append((tinted(pixels, hull), "hull: accepted"))
    pixels, hull = face_and_hull(chosen[0])
    landmarks = read_metadata(chosen[0].read_bytes()).landmarks
    for mask in broken_masks(hull, landmarks):
        problem = failed(check_mask(mask, landmarks))
        tiles.append((tinted(pixels, mask), problem.sentence if problem else "accepted"))
    return sheet(tiles, columns=4)


def broken_masks(hull: Mask, landmarks: NDArray[np.float64]) -> Iterator[Mask]:
    side, width = hull.shape[0], float(np.ptp(landmarks[:27, 0]))
    shift = np.array([[1, 0, 0.4 * width], [0, 1, 0]])
    yield np.asarray(cv2.warpAffine(hull.astype(np.uint8), shift, (side, side)) > 0)
    yield np.ones_like(hull)
    rng = np.random.default_rng(3)
    for is_face in (True, False):
        spotted = hull.copy() if not is_face else np.zeros_like(hull)
        ys, xs = np.nonzero(hull)
        drawn = spotted.astype(np.uint8)
        for place in rng.choice(len(xs), 12, replace=False):
            centre = (int(xs[place]), int(ys[place]))
            cv2.circle(drawn, centre, round(0.04 * width), (1 if is_face else 0,), cv2.FILLED)
        yield np.asarray(drawn > 0)


def curated_sheet(data: Path) -> Picture:
    """Return, for each reason, a face that was set aside, the sentence, and the face that stands for it."""
    record = json.loads((data / ".dfld" / "curation.json").read_text())
    seen: dict[str, tuple[Picture, Picture | None, str]] = {}
    for one in record["verdicts"]:
        if one["place"] == "aside" and one["reason"] not in seen:
            stands = one.get("stands_for_it")
            other = next((path for path in (data / "aligned" / stands,) if path.is_file()), None) if stands else None
            seen[one["reason"]] = (
                read_picture(data / "aside" / one["name"]),
                None if other is None else read_picture(other),
                f"{reason_words(one['reason'])}: {one['measured']:.2f}, limit {one['limit']:.2f}",
            )
    tiles = []
    for aside, stands, words in seen.values():
        tiles.append((aside, words))
        tiles.append((np.zeros_like(aside) if stands is None else stands, "" if stands is None else "stands for it"))
    return sheet(tiles, columns=4)


def face_and_hull(path: Path) -> tuple[Picture, Mask]:
    pixels = read_picture(path)
    landmarks = read_metadata(path.read_bytes()).landmarks
    return pixels, np.asarray(hull_mask(*pixels.shape[:2], landmarks) == FACE)


def tinted(pixels: Picture, mask: Mask) -> Picture:
    """Return a face whose mask is coloured, and what is outside of it darkened."""
    shown = pixels.astype(np.float32) * np.where(mask, 1.0, 0.45)[..., None]
    shown += np.where(mask, 0.22, 0.0)[..., None] * np.array(TINT, np.float32)
    return np.asarray(np.clip(shown, 0, 255), np.uint8)


def sheet(tiles: Sequence[tuple[Picture, str]], *, columns: int) -> Picture:
    """Return pictures in rows, each with words under it."""
    rows = -(-len(tiles) // columns)
    size = (GAP_PX + columns * (TILE_PX + GAP_PX), GAP_PX + rows * (TILE_PX + TEXT_PX + GAP_PX))
    canvas = Pictures.new("RGB", size, PAPER)
    draw, font = ImageDraw.Draw(canvas), ImageFont.load_default(14)
    for place, (pixels, words) in enumerate(tiles):
        left = GAP_PX + place % columns * (TILE_PX + GAP_PX)
        top = GAP_PX + place // columns * (TILE_PX + TEXT_PX + GAP_PX)
        small = cv2.resize(pixels, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA)
        canvas.paste(Pictures.fromarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)), (left, top))
        for line, text in enumerate(wrapped(words, draw, font)):
            draw.text((left, top + TILE_PX + 4 + 18 * line), text, INK if not line else SOFT, font)
    return np.asarray(cv2.cvtColor(np.asarray(canvas), cv2.COLOR_RGB2BGR), np.uint8)


def wrapped(words: str, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> list[str]:
    lines = [""]
    for word in words.split():
        longer = f"{lines[-1]} {word}".strip()
        lines = [*lines[:-1], longer] if draw.textlength(longer, font) <= TILE_PX else [*lines, word]
    return lines


def run(*arguments: str) -> None:
    sys.stdout.write(f"$ dfld {' '.join(arguments)}\n")
    sys.stdout.flush()
    code = dfld(list(arguments))
    if code:
        raise SystemExit(code)


def read_picture(path: Path) -> Picture:
    pixels = cv2.imread(str(path))
    if pixels is None:
        raise SystemExit(f"{path} cannot be read")
    return np.asarray(pixels, np.uint8)


def shrunk(picture: Picture, width_px: int) -> Picture:
    height, width = picture.shape[:2]
    size = (width_px, round(height * width_px / width))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def save(path: Path, picture: Picture) -> None:
    cv2.imwrite(str(path), picture, [cv2.IMWRITE_JPEG_QUALITY, QUALITY])
    sys.stdout.write(f"{path.name}: {picture.shape[1]}x{picture.shape[0]} px, {path.stat().st_size / 1000:.0f} kB\n")


if __name__ == "__main__":
    main()
