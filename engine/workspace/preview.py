"""The preview sheet: a contact sheet of the kept faces, best track first, each with its similarity.

It is made from the files as they were written, so that it shows what DeepFaceLab will see, also when the work
was resumed. It decides nothing.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from engine.errors import InputError
from engine.face_record import FaceRecord
from engine.footage.image_folder import read_image
from engine.types import Image

TILE_PX = 160
COLUMNS = 8
TILES_MAX = 64
CAPTION_PX = 22
GAP_PX = 6
HEADER_PX = 46
BACKGROUND_BGR = (30, 30, 30)
TEXT_BGR = (235, 235, 235)
FAINT_BGR = (160, 160, 160)


def preview_sheet(title: str, records: Sequence[FaceRecord], aligned: Path) -> Image | None:
    """Given the kept faces, return the sheet (H, W, 3) uint8 BGR; None when there is none to show.

    Faces of a track stand together; "poor" marks one that is not fit to train on. A face that was compared itself
    shows its own similarity, another that of its track in brackets. More than 64 faces are thinned out evenly from
    best to worst shot: both ends always show.
    """
    kept = sorted((record for record in records if record.kept and record.file), key=_best_track_first)
    shown = _evenly(kept, TILES_MAX)
    thumbnails = [(record, _thumbnail(aligned / str(record.file))) for record in shown]
    tiles = [(record, tile) for record, tile in thumbnails if tile is not None]
    if not tiles:
        return None
    columns = min(COLUMNS, len(tiles))
    rows = math.ceil(len(tiles) / columns)
    width = max(columns * (TILE_PX + GAP_PX) + GAP_PX, 520)
    height = HEADER_PX + rows * (TILE_PX + CAPTION_PX + GAP_PX) + GAP_PX
    sheet = np.full((height, width, 3), BACKGROUND_BGR, np.uint8)
    _text(sheet, title, GAP_PX, 19, TEXT_BGR, 0.55)
    poor = sum(record.fit_to_train is False for record in kept)
    doubts = f"; {poor} of them poor: small, blurred or cut off" if poor else ""
    legend = f"{len(tiles)} of {len(kept)} kept faces, best shot first; (0.50): of the shot, not of this face{doubts}"
    _text(sheet, legend, GAP_PX, 38, FAINT_BGR, 0.42, width - 2 * GAP_PX)
    for place, (record, tile) in enumerate(tiles):
        x = GAP_PX + (place % columns) * (TILE_PX + GAP_PX)
        y = HEADER_PX + (place // columns) * (TILE_PX + CAPTION_PX + GAP_PX)
        sheet[y : y + TILE_PX, x : x + TILE_PX] = tile
        mark = " poor" if record.fit_to_train is False else ""
        caption = f"{_similarity_text(record)} frame {record.frame}{mark}"
        _text(sheet, caption, x + 2, y + TILE_PX + 15, TEXT_BGR, 0.42, TILE_PX - 2)
    return sheet


def _best_track_first(record: FaceRecord) -> tuple[float, int, float, int]:
    own = record.similarity if record.similarity is not None else -1.0
    track = record.track_similarity if record.track_similarity is not None else own
    number = record.track if record.track is not None else -1
    return -track, number, -own, record.frame


def _similarity_text(record: FaceRecord) -> str:
    if record.similarity is not None:
        return f"{record.similarity:.2f}"
    return "-" if record.track_similarity is None else f"({record.track_similarity:.2f})"


def _evenly(records: Sequence[FaceRecord], most: int) -> list[FaceRecord]:
    if len(records) <= most:
        return list(records)
    return [records[round(place)] for place in np.linspace(0, len(records) - 1, most)]


def _thumbnail(path: Path) -> Image | None:
    try:
        pixels = read_image(path)
    except InputError:
        return None  # sorted away, edited into something else or deleted by its owner meanwhile
    return np.asarray(cv2.resize(pixels, (TILE_PX, TILE_PX), interpolation=cv2.INTER_AREA), np.uint8)


def _text(
    sheet: Image, text: str, x: int, y: int, colour: tuple[int, int, int], scale: float, most_px: int | None = None
) -> None:
    plain = text.encode("ascii", "replace").decode()  # the drawing fonts hold no other letters
    (width, _), _ = cv2.getTextSize(plain, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    if most_px is not None and width > most_px:
        scale *= most_px / width
    cv2.putText(sheet, plain, (x, y), cv2.FONT_HERSHEY_SIMPLEX, scale, colour, 1, cv2.LINE_AA)
