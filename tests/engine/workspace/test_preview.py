"""The preview sheet shows the best and the worst, from the files as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from engine.face_record import FaceRecord
from engine.workspace.preview import COLUMNS, GAP_PX, HEADER_PX, TILE_PX, TILES_MAX, preview_sheet


def record(frame: int, similarity: float, file: str | None) -> FaceRecord:
    return FaceRecord(frame, None, 0, (0, 0, 9, 9), 1.0, similarity, file is not None, "accepted", file)


def write_tile(path: Path, gray: int) -> None:
    cv2.imwrite(str(path), np.full((64, 64, 3), gray, np.uint8))


def tile_gray(sheet: np.ndarray, place: int) -> float:
    x = GAP_PX + (place % COLUMNS) * (TILE_PX + GAP_PX)
    return float(sheet[HEADER_PX + 20 : HEADER_PX + 140, x + 20 : x + 140].mean())


def test_the_most_similar_face_stands_first(tmp_path: Path) -> None:
    write_tile(tmp_path / "worse.jpg", 50)
    write_tile(tmp_path / "better.jpg", 200)
    sheet = preview_sheet("x", [record(1, 0.4, "worse.jpg"), record(2, 0.9, "better.jpg")], tmp_path)
    assert sheet is not None
    assert abs(tile_gray(sheet, 0) - 200) < 5
    assert abs(tile_gray(sheet, 1) - 50) < 5


def test_faces_of_a_track_stand_together_the_best_track_first(tmp_path: Path) -> None:
    for gray in (40, 120, 200):
        write_tile(tmp_path / f"{gray}.jpg", gray)
    weak = replace(record(5, 0.9, "40.jpg"), track=1, track_similarity=0.5)
    strong = replace(record(6, 0.6, "120.jpg"), track=2, track_similarity=0.7)
    not_compared = replace(record(7, 0.0, "200.jpg"), similarity=None, track=2, track_similarity=0.7)
    sheet = preview_sheet("x", [weak, not_compared, strong], tmp_path)
    assert sheet is not None
    assert [round(tile_gray(sheet, place), -1) for place in range(3)] == [120, 200, 40]


def test_no_kept_face_makes_no_sheet(tmp_path: Path) -> None:
    assert preview_sheet("x", [record(1, 0.2, None)], tmp_path) is None


def test_a_face_deleted_meanwhile_is_left_out(tmp_path: Path) -> None:
    write_tile(tmp_path / "there.jpg", 90)
    sheet = preview_sheet("x", [record(1, 0.4, "there.jpg"), record(2, 0.9, "gone.jpg")], tmp_path)
    assert sheet is not None
    assert abs(tile_gray(sheet, 0) - 90) < 5


def test_many_faces_are_thinned_out_but_both_ends_show(tmp_path: Path) -> None:
    for number in range(200):
        write_tile(tmp_path / f"{number}.jpg", 255 if number == 0 else 0 if number == 199 else 128)
    records = [record(number, 1 - number / 400, f"{number}.jpg") for number in range(200)]
    sheet = preview_sheet("x", records, tmp_path)
    assert sheet is not None
    rows = TILES_MAX // COLUMNS
    assert sheet.shape[0] < HEADER_PX + (rows + 1) * (TILE_PX + 40)
    assert tile_gray(sheet, 0) > 245
    last = sheet[-GAP_PX - 22 - TILE_PX + 20 : -GAP_PX - 50, -GAP_PX - TILE_PX + 20 : -GAP_PX - 20]
    assert last.mean() < 10
