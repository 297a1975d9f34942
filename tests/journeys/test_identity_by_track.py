"""The right person, every frame: real footage with a labelled truth, and what a crash in the middle of it changes."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

import engine.clip.windows
from engine.backends.backend import Backend
from engine.backends.catalog import open_backend
from engine.extract import extract
from engine.face_record import FaceRecord
from engine.identity.identity import build_identity
from engine.types import Commit, ExtractReport, ExtractSettings, Resume
from engine.workspace.file_names import output_layout


@pytest.fixture(scope="module")
def backend(shared: Path) -> Backend:
    return open_backend("insightface", model_root=shared / "models", model_pack="insightface_mini", device="cpu")


def run(
    shared: Path,
    backend: Backend,
    clip: str,
    photos: list[str],
    out: Path,
    *,
    commits: list[Commit] | None = None,
    resume: Resume | None = None,
    settings: ExtractSettings | None = None,
) -> ExtractReport:
    identity, _ = build_identity([shared / "media" / "photos" / photo for photo in photos], backend, name="wanted")
    return extract(
        shared / "media" / "clips" / f"{clip}.mp4",
        output_layout(out),
        identity=identity,
        backend=backend,
        settings=settings or ExtractSettings(),
        stop=threading.Event(),
        on_commit=(commits if commits is not None else []).append,
        resume=resume,
    )


def score(shared: Path, out: Path, clip: str, who: str) -> Mapping[str, Any]:
    done = subprocess.run(
        [
            sys.executable,
            str(shared / "tools" / "score_extraction.py"),
            str(out / "aligned"),
            str(shared / "media" / "clips" / f"{clip}.truth.json"),
            who,
            "--json",
        ],
        capture_output=True,
        text=True,
        check=True,
    )
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def files_of(out: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(out)): path.read_bytes()
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.parent.name != "debug"
    }


def faces_of(out: Path) -> Any:
    return json.loads((out / "debug" / "extraction_log.json").read_text())["faces"]


@pytest.mark.parametrize(
    ("clip", "who", "photos", "recall", "precision"),
    [
        ("street_interview", "obama", ["obama/ref_1.jpg", "obama/ref_2.jpg"], 0.95, 0.995),
        ("street_interview", "biden", ["biden/ref_1.jpg", "biden/ref_2.jpg"], 0.95, 0.995),
        ("stage_speech", "miranda", ["miranda/ref_1.png"], 0.97, 0.99),
    ],
)
def test_the_wanted_person_is_found_in_every_frame_and_nobody_else_is(
    shared: Path,
    backend: Backend,
    tmp_path: Path,
    clip: str,
    who: str,
    photos: list[str],
    recall: float,
    precision: float,
) -> None:
    report = run(shared, backend, clip, photos, tmp_path)
    result = score(shared, tmp_path, clip, who)
    assert result["recall"] >= recall, result["by_shot"]
    assert result["precision"] >= precision, result["false_examples"]
    assert result["duplicates"] == 0
    assert result["unreadable"] == []
    if result["landmark_error_median"] is not None:
        assert result["landmark_error_median"] <= 0.10
    assert sum(report.reasons.values()) == report.faces_found


def test_photos_of_nobody_in_the_clip_give_no_face_and_a_warning(
    shared: Path, backend: Backend, tmp_path: Path
) -> None:
    report = run(shared, backend, "stage_speech", ["biden/ref_1.jpg", "biden/ref_2.jpg"], tmp_path)
    assert report.completed
    assert report.faces_kept == 0
    assert files_of(tmp_path) == {}
    assert any("no face of wanted was kept" in warning for warning in report.warnings)


def test_a_run_resumed_at_any_commit_writes_the_same_bytes(
    shared: Path, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Small windows: some end in the middle of a shot, and some outgrow what is kept and are read again.
    monkeypatch.setattr(engine.clip.windows, "HELD_BYTES", 40 * 640 * 360 * 3 // 2)
    commits: list[Commit] = []
    run(shared, backend, "stage_speech", ["miranda/ref_1.png"], tmp_path / "whole", commits=commits)
    whole = files_of(tmp_path / "whole")
    assert len(whole) == 2 * 149, "a face and its mask"
    inside = [place for place, commit in enumerate(commits) if '"thumbnail":null' not in commit.carry]
    assert inside, "some windows end within a shot"
    for place in {0, inside[0], inside[-1], len(commits) - 2}:
        out = tmp_path / f"from_{place}"
        done = commits[: place + 1]
        earlier: tuple[FaceRecord, ...] = tuple(record for commit in done for record in commit.records)
        resume = Resume(done[-1].cursor, earlier, done[-1].counts, done[-1].carry)
        run(shared, backend, "stage_speech", ["miranda/ref_1.png"], out, resume=resume)
        kept_before = {record.file for record in earlier if record.file}
        expected = {name: data for name, data in whole.items() if name.startswith("aligned/")}
        fresh = {name: data for name, data in files_of(out).items() if name.startswith("aligned/")}
        assert fresh == {name: data for name, data in expected.items() if Path(name).name not in kept_before}
        assert faces_of(out) == faces_of(tmp_path / "whole")


def test_how_much_is_kept_in_memory_changes_no_face(
    shared: Path, backend: Backend, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(shared, backend, "stage_speech", ["miranda/ref_1.png"], tmp_path / "roomy")
    monkeypatch.setattr(engine.clip.windows, "HELD_BYTES", 1)
    run(shared, backend, "stage_speech", ["miranda/ref_1.png"], tmp_path / "tight")
    assert files_of(tmp_path / "tight") == files_of(tmp_path / "roomy")


def test_at_most_so_many_faces_of_a_frame_are_kept(shared: Path, backend: Backend, tmp_path: Path) -> None:
    settings = ExtractSettings(frame_skip=4, max_faces_per_frame=1)
    report = run(shared, backend, "stage_speech", ["miranda/ref_1.png"], tmp_path, settings=settings)
    frames = [name.split("_")[0] for name in files_of(tmp_path) if name.startswith("aligned/")]
    assert len(frames) == len(set(frames)) > 20
    assert all(int(Path(frame).name) % 5 == 0 for frame in frames)
    assert report.frames_examined == 55
