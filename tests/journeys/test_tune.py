"""`dfld tune` on the demo's footage, with the offline backend."""

from __future__ import annotations

import json
import subprocess
import sys
from itertools import islice
from pathlib import Path

import cv2
import pytest

from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from engine.backends.catalog import open_backend

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    write_clip(folder / "clip.mp4", islice(camera_move(group_photo()), 20, 44))
    write_reference(folder / "wanted.png", group_photo(), open_backend("dlib"))
    return folder


def tune(footage: Path, *arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable, "-m", "daemon", "tune", str(footage / "clip.mp4"), "--reference", str(footage / "wanted.png"),
        "--backend", "dlib", *arguments,
    ]  # fmt: skip
    return subprocess.run(
        command, cwd=cwd, env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip


def test_tune_prints_the_curve_and_writes_nothing_but_the_picture(footage: Path, tmp_path: Path) -> None:
    done = tune(footage, "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["frames_examined"] == 24
    kept = [point["faces"] for point in told["curve"]]
    assert kept == sorted(kept, reverse=True)
    at_default = next(point for point in told["curve"] if point["threshold"] == told["default"])
    assert at_default["tracks"] >= 1
    assert at_default["faces"] >= 10
    assert at_default["false_accept_rate"] is not None, "others stand beside the person"
    assert 0.3 <= told["chosen"]["threshold"] <= 0.95
    assert told["chosen"]["reason"]
    assert [path.name for path in tmp_path.iterdir()] == ["tune.png"]
    assert cv2.imread(str(tmp_path / "tune.png")).shape[2] == 3


@pytest.mark.parametrize(("picture", "said"), [("tune.txt", ".png"), ("absent/tune.png", "no such folder")])
def test_tune_refuses_a_picture_it_cannot_write_before_it_works(
    footage: Path, tmp_path: Path, picture: str, said: str
) -> None:
    done = tune(footage, "--picture", picture, cwd=tmp_path)
    assert done.returncode == 2
    assert said in done.stderr
    assert not list(tmp_path.iterdir())
