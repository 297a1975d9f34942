"""The histogram of `dfld tune`: how many tracks have which similarity, who they are, and where the thresholds stand."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from engine.tuning.threshold_curve import Kind, SeenTrack, kinds_of
from engine.types import Image

WIDTH_PX, HEIGHT_PX = 1100, 620
LEFT_PX, RIGHT_PX, TOP_PX, BOTTOM_PX = 70, 30, 150, 80
LOWEST, HIGHEST, BIN = -0.2, 1.0, 0.02
"""Raw similarities of faces; what lies outside is counted in the outermost bin."""
BACKGROUND_BGR, TEXT_BGR, FAINT_BGR, GRID_BGR = (30, 30, 30), (235, 235, 235), (160, 160, 160), (60, 60, 60)
CHOSEN_BGR = (80, 220, 255)
COLOURS_BGR: dict[Kind, tuple[int, int, int]] = {
    "person": (90, 190, 90),
    "undecided": (150, 150, 150),
    "stranger": (80, 80, 225),
}
NAMES: dict[Kind, str] = {
    "person": "accepted by auto, nobody more similar beside",
    "undecided": "undecided: nothing says who it is",
    "stranger": "same-frame strangers: certainly somebody else",
}


def threshold_picture(title: str, tracks: Sequence[SeenTrack], *, default: float, chosen: float) -> Image:
    """Return the histogram of tracks by similarity, stacked by kind: (H, W, 3) uint8 BGR."""
    picture = np.full((HEIGHT_PX, WIDTH_PX, 3), BACKGROUND_BGR, np.uint8)
    counts = _counts(tracks, kinds_of(tracks, default))
    tallest = max(1, int(sum(counts.values(), np.zeros(1, int)).max()))
    _axes(picture, tallest)
    base = np.zeros(len(next(iter(counts.values()))), int)
    for kind, values in counts.items():
        for place, count in enumerate(values.tolist()):
            if count:
                lower, upper = _y(int(base[place]), tallest), _y(int(base[place]) + count, tallest)
                left, right = _x(LOWEST + place * BIN) + 1, _x(LOWEST + (place + 1) * BIN) - 1
                cv2.rectangle(picture, (left, upper), (right, lower - 1), COLOURS_BGR[kind], -1)
        base = base + values
    _line(picture, default, FAINT_BGR, f"auto {default:.2f}", TOP_PX - 8)
    _line(picture, chosen, CHOSEN_BGR, f"chosen {chosen:.2f}", TOP_PX - 28)
    _legend(picture, title, {kind: int(values.sum()) for kind, values in counts.items()})
    return picture


def _counts(
    tracks: Sequence[SeenTrack], kinds: dict[int, Kind]
) -> dict[Kind, np.ndarray[tuple[int], np.dtype[np.int_]]]:
    bins = round((HIGHEST - LOWEST) / BIN)
    counts = {kind: np.zeros(bins, int) for kind in COLOURS_BGR}
    for track in tracks:
        place = int((track.similarity - LOWEST) / BIN + 1e-9)
        counts[kinds[track.id]][min(bins - 1, max(0, place))] += 1
    return counts


def _axes(picture: Image, tallest: int) -> None:
    step = max(1, -(-tallest // 5))
    for count in range(0, tallest + 1, step):
        y = _y(count, tallest)
        cv2.line(picture, (LEFT_PX, y), (WIDTH_PX - RIGHT_PX, y), GRID_BGR, 1)
        _text(picture, str(count), 36, y + 5, FAINT_BGR, 0.45)
    _text(picture, "tracks", 8, TOP_PX - 16, FAINT_BGR, 0.45)
    for tenth in range(round(LOWEST * 10), round(HIGHEST * 10) + 1):
        x = _x(tenth / 10)
        cv2.line(picture, (x, HEIGHT_PX - BOTTOM_PX), (x, HEIGHT_PX - BOTTOM_PX + 5), FAINT_BGR, 1)
        _text(picture, f"{tenth / 10:.1f}", x - 12, HEIGHT_PX - BOTTOM_PX + 23, FAINT_BGR, 0.45)
    _text(picture, "<- less similar: left out", LEFT_PX, HEIGHT_PX - 20, FAINT_BGR, 0.5)
    _text(picture, "similarity of a track to the reference photos", 380, HEIGHT_PX - 20, TEXT_BGR, 0.5)
    _text(picture, "more similar: kept ->", WIDTH_PX - RIGHT_PX - 180, HEIGHT_PX - 20, FAINT_BGR, 0.5)


def _line(picture: Image, value: float, colour: tuple[int, int, int], label: str, y: int) -> None:
    x = _x(value)
    cv2.line(picture, (x, y + 4), (x, HEIGHT_PX - BOTTOM_PX), colour, 2)
    _text(picture, label, x + 6, y, colour, 0.5)


def _legend(picture: Image, title: str, totals: dict[Kind, int]) -> None:
    _text(picture, title, LEFT_PX, 28, TEXT_BGR, 0.6)
    for row, (kind, total) in enumerate(totals.items()):
        y = 42 + row * 22
        cv2.rectangle(picture, (LEFT_PX, y), (LEFT_PX + 12, y + 12), COLOURS_BGR[kind], -1)
        _text(picture, f"{total} {NAMES[kind]}", LEFT_PX + 20, y + 12, TEXT_BGR, 0.48)


def _x(similarity: float) -> int:
    fraction = (similarity - LOWEST) / (HIGHEST - LOWEST)
    return round(LEFT_PX + fraction * (WIDTH_PX - LEFT_PX - RIGHT_PX))


def _y(count: int, tallest: int) -> int:
    return round(HEIGHT_PX - BOTTOM_PX - count / tallest * (HEIGHT_PX - TOP_PX - BOTTOM_PX))


def _text(picture: Image, text: str, x: int, y: int, colour: tuple[int, int, int], scale: float) -> None:
    plain = text.encode("ascii", "replace").decode()  # the drawing fonts hold no other letters
    cv2.putText(picture, plain, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
