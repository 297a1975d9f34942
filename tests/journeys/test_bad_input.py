"""Whatever is wrong, a person reads a sentence, the exit code says so, and nothing is lost."""

from __future__ import annotations

import json
import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from tests.command import dfld, opened


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("footage")
    photo = group_photo()
    write_clip(folder / "clip.mp4", camera_move(photo, 4))
    write_reference(folder / "person.png", photo, opened("dlib"))
    cv2.imwrite(str(folder / "group.png"), photo)
    cv2.imwrite(str(folder / "wall.png"), np.full((300, 300, 3), 127, np.uint8))
    return folder


def fail(*arguments: object, code: int) -> str:
    """Run a command that must fail with `code`; return what it says."""
    done = dfld(*arguments)
    assert done.returncode == code, done.stderr
    return done.stderr


def extract(footage: Path, out: Path, source: Path, code: int = 1, *more: object) -> str:
    return fail(
        "extract", source, "--reference", footage / "person.png", "--out", out, "--backend", "dlib", *more, code=code
    )


def test_a_text_file_is_not_a_video(footage: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes.mp4"
    path.write_text("this is no video\n" * 100)
    assert "not a video" in extract(footage, tmp_path / "out", path)
    assert path.exists()


def test_an_empty_file_is_told_as_empty(footage: Path, tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    path.touch()
    assert "empty" in extract(footage, tmp_path / "out", path)


def test_a_missing_input_is_named(footage: Path, tmp_path: Path) -> None:
    assert "no such file" in extract(footage, tmp_path / "out", tmp_path / "gone.mp4")


def test_a_missing_reference_is_named(footage: Path, tmp_path: Path) -> None:
    said = fail("extract", footage / "clip.mp4", "--reference", tmp_path / "nobody", "--out", tmp_path / "out",
                "--backend", "dlib", code=1)  # fmt: skip
    assert "nobody" in said


def test_a_reference_without_a_face_is_named(footage: Path, tmp_path: Path) -> None:
    said = fail("extract", footage / "clip.mp4", "--reference", footage / "wall.png", "--out", tmp_path / "out",
                "--backend", "dlib", code=1)  # fmt: skip
    assert "wall.png" in said
    assert "no face" in said


def test_a_reference_with_several_people_needs_a_word(footage: Path, tmp_path: Path) -> None:
    said = fail("extract", footage / "clip.mp4", "--reference", footage / "group.png", "--out", tmp_path / "out",
                "--backend", "dlib", code=1)  # fmt: skip
    assert "group.png" in said
    assert "--largest-face" in said


def test_an_unknown_backend_is_answered_with_the_closest(footage: Path, tmp_path: Path) -> None:
    said = fail("extract", footage / "clip.mp4", "--reference", footage / "person.png", "--out", tmp_path / "out",
                "--backend", "dilb", code=2)  # fmt: skip
    assert "dlib" in said


def test_missing_models_name_the_folder_the_download_and_the_offline_way(footage: Path, tmp_path: Path) -> None:
    said = fail("extract", footage / "clip.mp4", "--reference", footage / "person.png", "--out", tmp_path / "out",
                "--model-root", tmp_path / "models", "--model-pack", "no_such_pack", code=69)  # fmt: skip
    assert str(tmp_path / "models") in said
    assert "--backend dlib" in said


def test_a_broken_model_file_is_named(footage: Path, tmp_path: Path) -> None:
    pack = tmp_path / "models" / "broken"
    pack.mkdir(parents=True)
    (pack / "det.onnx").write_bytes(b"this is no model")
    said = fail("extract", footage / "clip.mp4", "--reference", footage / "person.png", "--out", tmp_path / "out",
                "--model-root", tmp_path / "models", "--model-pack", "broken", code=69)  # fmt: skip
    assert "det.onnx" in said


def test_an_output_that_cannot_be_a_folder_is_told(footage: Path, tmp_path: Path) -> None:
    (tmp_path / "out").write_text("a file")
    assert "cannot make the folder" in extract(footage, tmp_path / "out", footage / "clip.mp4")
    assert (tmp_path / "out").read_text() == "a file"


def test_an_output_without_the_right_to_write_is_told(footage: Path, tmp_path: Path) -> None:
    if os.geteuid() == 0:
        target: Path = Path("/proc/dfld")  # where even root cannot make a folder
    else:
        tmp_path.chmod(0o500)
        target = tmp_path / "out"
    assert "cannot make the folder" in extract(footage, target, footage / "clip.mp4")


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--similarity-threshold", "0.1", "0.3 to 0.95"),
        ("--margin-factor", "0.5", "--plain-crop"),
        ("--output-size", "9", "64 to 2048"),
        ("--jpeg-quality", "101", "1 to 100"),
    ],
)
def test_an_option_out_of_range_is_told_with_the_range(
    footage: Path, tmp_path: Path, option: str, value: str, says: str
) -> None:
    assert says in extract(footage, tmp_path / "out", footage / "clip.mp4", 2, option, value)


def test_with_json_the_error_is_json(footage: Path, tmp_path: Path) -> None:
    done = dfld("extract", tmp_path / "gone.mp4", "--reference", footage / "person.png", "--out", tmp_path / "out",
                "--json")  # fmt: skip
    assert done.returncode == 1
    assert "no such file" in json.loads(done.stdout)["error"]


def test_one_bad_clip_among_good_ones_does_not_stop_them(footage: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.mp4"
    bad.write_text("no video")
    said = fail("extract", bad, footage / "clip.mp4", "--reference", footage / "person.png", "--out", tmp_path / "out",
                "--backend", "dlib", code=3)  # fmt: skip
    assert "bad.mp4" in said
    assert list((tmp_path / "out" / "aligned").glob("clip-*.jpg"))
