"""`python -m trainer samples` shows what a training would be given."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from tests.faceset_rig import face_jpeg
from trainer.__main__ import main


def test_a_sheet_of_both_sides_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number in range(3):
        (tmp_path / f"{number}.jpg").write_bytes(face_jpeg(number))
    (tmp_path / "broken.jpg").write_bytes(b"")
    out = tmp_path / "sheet.jpg"
    aligned = str(tmp_path)
    arguments = ["samples", aligned, "--dst", aligned, "--out", str(out), "--count", "2", "--resolution", "64"]
    assert main([*arguments, "--ct-mode", "rct", "--uniform-yaw"]) == 0
    sheet = cv2.imread(str(out))
    assert sheet.shape == (22 + 2 * 70, 8 * 70, 3)
    said = capsys.readouterr()
    assert "src: 3 faces" in said.out
    assert "src: broken.jpg is left out" in said.err


def test_a_folder_without_faces_is_said_in_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["samples", str(tmp_path), "--out", str(tmp_path / "a.jpg")]) == 1
    assert capsys.readouterr().err.startswith(f"error: listing the faces of {tmp_path}: there are none")
