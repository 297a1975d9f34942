"""Two runs never mix in one folder, and nothing that dfld did not write is removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from engine.errors import OutputError
from engine.workspace.earlier_run import clear_earlier_run
from engine.workspace.workspace import Layout, output_layout, prepare_workspace

SOURCE = Path("clips/a.mp4")


def earlier(tmp_path: Path, source: Path = SOURCE) -> Layout:
    layout = output_layout(tmp_path / "out")
    prepare_workspace(layout)
    for name in ("00000001_0", "00000002_0"):
        (layout.aligned / f"{name}.jpg").write_bytes(b"face")
        (layout.masks / f"{name}_mask.png").write_bytes(b"mask")
    faces = [{"file": "00000001_0.jpg"}, {"file": "00000002_0.jpg"}, {"file": None}]
    layout.log.write_text(json.dumps({"source": str(source), "faces": faces}))
    return layout


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_same_source_again_replaces_its_own_faces(tmp_path: Path) -> None:
    layout = earlier(tmp_path)
    (layout.aligned / "my-own-note.txt").write_text("keep me")
    assert clear_earlier_run(layout, SOURCE) == 2
    assert names(layout.aligned) == ["my-own-note.txt"]
    assert names(layout.masks) == []


def test_another_source_is_refused_and_nothing_changes(tmp_path: Path) -> None:
    layout = earlier(tmp_path)
    with pytest.raises(OutputError, match="already holds faces of clips/a.mp4"):
        clear_earlier_run(layout, Path("clips/b.mp4"))
    assert names(layout.aligned) == ["00000001_0.jpg", "00000002_0.jpg"]


def test_faces_that_no_log_names_are_refused(tmp_path: Path) -> None:
    layout = earlier(tmp_path)
    (layout.aligned / "00000009_0.jpg").write_bytes(b"another run's")
    with pytest.raises(OutputError, match="no log of dfld names"):
        clear_earlier_run(layout, SOURCE)
    (layout.aligned / "my-own.jpg").write_bytes(b"renamed by its owner")
    assert clear_earlier_run(layout, SOURCE, replace=True) == 3
    assert names(layout.aligned) == ["my-own.jpg"]


def test_a_run_of_the_same_source_that_was_killed_is_cleared(tmp_path: Path) -> None:
    layout = earlier(tmp_path)
    layout.log.write_text(json.dumps({"source": str(SOURCE), "completed": False, "faces": []}))
    assert clear_earlier_run(layout, SOURCE) == 2
    assert names(layout.aligned) == []


def test_a_hostile_log_removes_nothing_outside(tmp_path: Path) -> None:
    layout = earlier(tmp_path)
    victim = tmp_path / "victim.jpg"
    victim.write_bytes(b"x")
    faces = [{"file": "../../victim.jpg"}, {"file": str(victim)}, {"file": 7}, "x", {"file": "00000001_0.jpg"}]
    layout.log.write_text(json.dumps({"source": str(SOURCE), "faces": faces}))
    clear_earlier_run(layout, SOURCE, replace=True)
    assert victim.exists()


@pytest.mark.parametrize("log", ["", "[", "[1]", '{"faces": 3}', "[" * 100_000])
def test_a_broken_log_is_no_log(tmp_path: Path, log: str) -> None:
    layout = earlier(tmp_path)
    layout.log.write_text(log)
    with pytest.raises(OutputError):
        clear_earlier_run(layout, SOURCE)
    assert len(names(layout.aligned)) == 2


def test_an_empty_folder_is_no_earlier_run(tmp_path: Path) -> None:
    assert clear_earlier_run(output_layout(tmp_path / "new"), SOURCE) == 0
