"""A person types `dfld extract` on real faces and gets a workspace that DeepFaceLab's rules accept."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from dfl.image import MaskPolygon, read_metadata, with_metadata
from tests import command
from tests.daemon_rig import wait_until
from tests.footage import write_shots

ROOT = Path(__file__).parents[2]


def dfld(*arguments: object, check: bool = True) -> command.Ended:
    done = command.dfld(*arguments)
    if check:
        assert done.returncode == 0, done.stderr
    return done


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with clip.mp4 of six people and ref/person.png of one of them."""
    folder = tmp_path_factory.mktemp("footage")
    photo = group_photo()
    write_clip(folder / "clip.mp4", camera_move(photo, 12))
    (folder / "ref").mkdir()
    write_reference(folder / "ref" / "person.png", photo, command.opened("dlib"))
    return folder


@pytest.fixture(scope="module")
def extracted(footage: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, object]]:
    out = tmp_path_factory.mktemp("workspace")
    done = dfld(
        "extract", footage / "clip.mp4", "--reference", footage / "ref", "--out", out, "--backend", "dlib", "--json"
    )
    return out, json.loads(done.stdout)[0]


def test_some_faces_are_kept_and_strangers_are_not(extracted: tuple[Path, dict[str, object]]) -> None:
    out, report = extracted
    kept = len(list((out / "aligned").iterdir()))
    assert kept == report["faces_kept"]
    assert 3 <= kept <= 12, "one person is in at most every frame once"
    assert report["faces_found"] > 2 * kept, "six people stand there"  # type: ignore[operator]


def test_each_aligned_face_carries_the_metadata_that_deepfacelab_reads(
    extracted: tuple[Path, dict[str, object]],
) -> None:
    out, _ = extracted
    for path in (out / "aligned").iterdir():
        data = path.read_bytes()
        metadata = read_metadata(data)
        assert metadata is not None
        assert metadata.face_type == "whole_face"
        assert metadata.source_filename == f"{path.stem.split('_')[0]}.png"
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
        assert picture is not None
        assert picture.shape == (512, 512, 3)
        mask = cv2.imread(str(out / "masks" / f"{path.stem}_mask.png"), cv2.IMREAD_UNCHANGED)
        assert mask is not None
        assert mask.shape == (512, 512)
        assert 0.1 < (mask == 255).mean() < 0.6


def test_aligned_faces_stand_upright_in_the_middle(extracted: tuple[Path, dict[str, object]]) -> None:
    out, _ = extracted
    for path in (out / "aligned").iterdir():
        metadata = read_metadata(path.read_bytes())
        assert metadata is not None
        points = np.asarray(metadata.landmarks)
        eyes, mouth = points[36:48].mean(0), points[48:68].mean(0)
        assert mouth[1] - eyes[1] > 40, "the mouth is below the eyes"
        assert abs(points[:, 0].mean() - 256) < 60


def test_the_log_explains_every_face(extracted: tuple[Path, dict[str, object]]) -> None:
    out, report = extracted
    log = json.loads((out / "debug" / "extraction_log.json").read_text())
    assert log["completed"] is True
    assert len(log["faces"]) == report["faces_found"]
    assert all(face["reason"] for face in log["faces"])
    assert {face["file"] for face in log["faces"] if face["kept"]} == {p.name for p in (out / "aligned").iterdir()}
    assert all(model["licence"] for model in log["backend"]["models"])
    assert (out / "debug" / "preview.jpg").stat().st_size > 5000


def test_the_same_run_again_is_refused_unless_asked_and_then_gives_the_same_bytes(
    footage: Path, extracted: tuple[Path, dict[str, object]]
) -> None:
    out, _ = extracted
    before = {path.name: path.read_bytes() for path in (out / "aligned").iterdir()}
    words = ("extract", footage / "clip.mp4", "--reference", footage / "ref", "--out", out, "--backend", "dlib")
    refused = dfld(*words, check=False)
    assert refused.returncode == 1
    assert f"already holds {len(before)} faces" in refused.stderr
    assert "--replace" in refused.stderr
    replaced = dfld(*words, "--replace")
    assert f"dfld: {len(before)} faces of {out / 'aligned'} are removed" in replaced.stderr
    assert {path.name: path.read_bytes() for path in (out / "aligned").iterdir()} == before


def test_what_a_hand_did_stays_when_the_results_are_replaced(
    footage: Path, extracted: tuple[Path, dict[str, object]], tmp_path: Path
) -> None:
    out = tmp_path / "workspace"
    shutil.copytree(extracted[0], out)
    deleted, renamed, labelled, *others = sorted((out / "aligned").iterdir())
    deleted.unlink()
    (out / "aligned_trash").mkdir()
    moved = renamed.rename(out / "aligned_trash" / "00017.jpg")
    polygon = MaskPolygon(True, np.array([[1, 2], [300, 4], [5, 400]], np.float32))
    labelled.write_bytes(
        with_metadata(labelled.read_bytes(), replace(read_metadata(labelled.read_bytes()), seg_ie_polys=(polygon,)))
    )
    kept = {path: path.read_bytes() for path in (moved, labelled)}
    words = ("extract", footage / "clip.mp4", "--reference", footage / "ref", "--out", out, "--backend", "dlib")
    refused = dfld(*words, check=False)
    assert "3 manual changes (1 deleted, 1 edited, 1 renamed)" in refused.stderr
    replaced = dfld(*words, "--replace", "--jpeg-quality", 80, "--json")
    assert json.loads(replaced.stdout)[0]["reasons"]["decided_by_hand"] == 3
    assert {path: path.read_bytes() for path in kept} == kept
    assert sorted((out / "aligned").iterdir()) == sorted([labelled, *others])
    dfld(*words, "--replace", "--discard-hand-work")
    assert sorted((out / "aligned").iterdir()) == sorted([deleted, renamed, labelled, *others])
    assert not moved.exists()


def test_another_source_into_the_same_folder_is_refused(
    footage: Path, extracted: tuple[Path, dict[str, object]]
) -> None:
    out, _ = extracted
    done = dfld(
        "extract", footage / "ref", "--reference", footage / "ref", "--out", out, "--backend", "dlib", check=False
    )
    assert done.returncode == 1
    assert "clip.mp4; nothing was changed" in done.stderr
    assert "--replace" in done.stderr


@pytest.mark.parametrize(
    ("face_type", "margin"), [("half_face", None), ("full_face", 0.2109375), ("head", None), (None, 0.70)]
)
def test_every_face_type_is_written_as_asked(
    footage: Path, tmp_path: Path, face_type: str | None, margin: float | None
) -> None:
    arguments = ["--face-type", face_type] if face_type else []
    arguments += ["--margin-factor", str(margin)] if margin is not None else []
    dfld("extract", footage / "clip.mp4", "--reference", footage / "ref", "--out", tmp_path, "--backend", "dlib",
         "--frame-skip", 5, "--output-size", 256, *arguments)  # fmt: skip
    files = list((tmp_path / "aligned").iterdir())
    assert files
    for path in files:
        metadata = read_metadata(path.read_bytes())
        assert metadata is not None
        assert metadata.face_type == (face_type or "head")


def test_png_says_that_deepfacelab_does_not_read_it(footage: Path, tmp_path: Path) -> None:
    done = dfld("extract", footage / "clip.mp4", "--reference", footage / "ref", "--out", tmp_path, "--backend", "dlib",
                "--frame-skip", 5, "--format", "png")  # fmt: skip
    assert "DeepFaceLab does not read these PNG files" in done.stdout
    assert {path.suffix for path in (tmp_path / "aligned").iterdir()} == {".png"}


def test_several_inputs_share_a_folder_without_mixing_names(footage: Path, tmp_path: Path) -> None:
    images = tmp_path / "stills"
    images.mkdir()
    for number, picture in enumerate(camera_move(group_photo(), 3)):
        cv2.imwrite(str(images / f"shot_{number}.png"), picture)
    out = tmp_path / "out"
    dfld("extract", footage / "clip.mp4", images, "--reference", footage / "ref", "--out", out, "--backend", "dlib",
         "--frame-skip", 3)  # fmt: skip
    fronts = {path.name.split("-")[0] for path in (out / "aligned").iterdir()}
    assert fronts == {"clip", "stills"}
    still = next(path for path in (out / "aligned").iterdir() if path.name.startswith("stills"))
    metadata = read_metadata(still.read_bytes())
    assert metadata is not None
    assert str(metadata.source_filename).startswith("shot_")


def test_an_interrupt_keeps_what_is_done_and_says_so(footage: Path, tmp_path: Path) -> None:
    write_shots(tmp_path / "long.mp4", shots=60)
    child = subprocess.Popen(
        [sys.executable, "-m", "daemon", "extract", str(tmp_path / "long.mp4"), "--reference", str(footage / "ref"),
         "--out", str(tmp_path / "out"), "--backend", "dlib"],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    aligned = tmp_path / "out" / "aligned"
    wait_until(
        lambda: child.poll() is not None or (aligned.is_dir() and any(p.suffix == ".jpg" for p in aligned.iterdir())),
        "no face was written",
        60.0,
    )
    child.send_signal(signal.SIGINT)
    stdout, stderr = child.communicate(timeout=120)
    assert child.returncode == 130, stderr
    assert "interrupted" in stdout
    log = json.loads((tmp_path / "out" / "debug" / "extraction_log.json").read_text())
    assert log["completed"] is False
    assert {face["file"] for face in log["faces"] if face["kept"]} == {path.name for path in aligned.iterdir()}
