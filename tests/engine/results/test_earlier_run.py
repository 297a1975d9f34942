"""No run replaces the results of another unasked, and what would go is said before."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from engine.errors import OutputError
from engine.results.clearing import clear_results
from engine.results.earlier_run import find_earlier_run, require_free
from engine.results.manifest_lines import RunNote
from engine.results.run_results import Results
from engine.same_face import FaceTrace
from engine.workspace.file_names import Layout, output_layout
from engine.workspace.output_files import prepare_workspace

NOTE = RunNote("clips/a.mp4", "content", "basis")


def earlier(tmp_path: Path, *, finished: bool = True) -> Layout:
    layout = output_layout(tmp_path / "out")
    prepare_workspace(layout)
    with Results(layout, NOTE, resumes=False) as results:
        for number in range(4):
            trace = FaceTrace(f"{number:08d}", (1, 2, 3, 4))
            results.write_face("aligned", number, 0, "jpg", b"face %d" % number, b"mask", trace)
        results.committed(4)
        if finished:
            results.finished()
    return layout


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def refusal(layout: Layout, note: RunNote | None = None) -> OutputError | None:
    found = find_earlier_run(layout)
    try:
        require_free([] if found is None else [found], None if note is None else {layout: note})
    except OutputError as problem:
        return problem
    return None


def test_results_are_refused_with_what_would_go_and_what_a_hand_changed(tmp_path: Path) -> None:
    layout = earlier(tmp_path)
    (layout.aligned / "00000001_0.jpg").unlink()
    (layout.aligned / "00000002_0.jpg").rename(layout.review / "00000002_0.jpg")
    before = names(layout.aligned)
    problem = refusal(layout, NOTE)
    assert problem is not None
    assert "already holds 2 faces of clips/a.mp4, and 2 manual changes (1 deleted, 1 moved)" in problem.message
    assert "--replace: 2 faces of" in problem.hint
    assert problem.hint.endswith(
        "--discard-hand-work with it gives that up as well; 1 that a person deleted comes back"
    )
    assert "manual changes stay: 2 (" in problem.hint
    assert names(layout.aligned) == before


def test_what_a_replacement_says_goes_is_what_goes(tmp_path: Path) -> None:
    layout = earlier(tmp_path)
    untouched = find_earlier_run(layout)
    assert untouched is not None
    assert untouched.would_go_text() == f"4 faces of {layout.aligned} would be removed", "nothing to give up"
    (layout.aligned / "00000001_0.jpg").unlink()
    (layout.aligned / "00000002_0.jpg").rename(layout.review / "00000002_0.jpg")
    (layout.aligned / "00000009_0.jpg").write_bytes(b"my own")
    found = find_earlier_run(layout)
    assert found is not None
    assert found.replaced_text(discard_changes=False) == (
        f"2 faces of {layout.aligned} are removed; manual changes stay: 3 (1 added, 1 deleted, 1 moved)"
    )
    assert found.replaced_text(discard_changes=True) == (
        f"2 faces of {layout.aligned} are removed, and 1 manual change; 1 that a person deleted comes back; "
        "1 that a person added or packed stays"
    )
    clear_results(layout, discard_changes=True)
    assert [*names(layout.aligned), *names(layout.review)] == ["00000009_0.jpg"]


def test_the_same_run_that_was_cut_short_may_be_made_again_and_another_may_not(tmp_path: Path) -> None:
    layout = earlier(tmp_path, finished=False)
    assert refusal(layout, NOTE) is None
    assert refusal(layout, RunNote(NOTE.source, NOTE.content, "other photos")) is not None
    assert refusal(layout, RunNote(NOTE.source, "other content", NOTE.basis)) is not None
    assert refusal(layout) is not None


def test_a_folder_where_nothing_of_dfld_lies_is_free(tmp_path: Path) -> None:
    assert find_earlier_run(output_layout(tmp_path / "new")) is None
    layout = output_layout(tmp_path / "out")
    prepare_workspace(layout)
    (layout.aligned / "my own.jpg").write_bytes(b"x")
    assert find_earlier_run(layout) is None


def test_faces_that_no_manifest_names_are_refused_and_never_removed(tmp_path: Path) -> None:
    layout = output_layout(tmp_path / "out")
    prepare_workspace(layout)
    (layout.aligned / "00000009_0.jpg").write_bytes(b"whoever made it")
    problem = refusal(layout, NOTE)
    assert problem is not None
    assert "already holds 1 picture that no manifest of dfld names" in problem.message
    assert "taken for your own and stay: move them away" in problem.hint
    found = find_earlier_run(layout)
    assert found is not None
    assert found.replaced_text(discard_changes=True).startswith("no manifest in ")
    clear_results(layout)
    assert names(layout.aligned) == ["00000009_0.jpg"]


def logged(layout: Layout, faces: object, **head: object) -> None:
    layout.log.write_text(json.dumps({"source": "clips/a.mp4", "faces": faces} | head))


def written_before_manifests(tmp_path: Path) -> Layout:
    layout = output_layout(tmp_path / "out")
    prepare_workspace(layout)
    faces = []
    for number in range(3):
        (layout.aligned / f"{number:08d}_0.jpg").write_bytes(b"face")
        (layout.masks / f"{number:08d}_0_mask.png").write_bytes(b"mask")
        faces.append({"file": f"{number:08d}_0.jpg", "frame": number, "bbox": [1, 2, 3, 4], "reason": "accepted"})
    logged(layout, faces)
    return layout


def test_results_of_a_dfld_without_manifests_are_told_by_their_log(tmp_path: Path) -> None:
    layout = written_before_manifests(tmp_path)
    (layout.aligned / "00000000_0.jpg").unlink()
    edited = layout.aligned / "00000001_0.jpg"
    edited.write_bytes(b"edited")
    later = layout.log.stat().st_mtime_ns + 10**9
    os.utime(edited, ns=(later, later))
    found = clear_results(layout)
    assert found.counts == {"deleted": 1, "edited": 1}
    assert names(layout.aligned) == ["00000001_0.jpg"]
    assert names(layout.masks) == ["00000001_0_mask.png"]


def test_a_hostile_log_removes_nothing_outside(tmp_path: Path) -> None:
    layout = written_before_manifests(tmp_path)
    victim = tmp_path / "victim.jpg"
    victim.write_bytes(b"x")
    face = {"frame": 1, "bbox": [1, 2, 3, 4], "reason": "accepted"}
    files = ("../../victim.jpg", str(victim), 7, "00000001_0.jpg")
    logged(layout, [*({**face, "file": file} for file in files), "x", {"file": "00000002_0.jpg", "bbox": "odd"}])
    clear_results(layout)
    assert victim.exists()
    assert names(layout.aligned) == ["00000000_0.jpg", "00000002_0.jpg"]


@pytest.mark.parametrize("log", ["", "[", "[1]", '{"faces": 3}', "[" * 100_000])
def test_a_broken_log_is_no_log(tmp_path: Path, log: str) -> None:
    layout = written_before_manifests(tmp_path)
    layout.log.write_text(log)
    assert refusal(layout) is not None
    clear_results(layout)
    assert len(names(layout.aligned)) == 3


def test_a_pipe_in_the_place_of_the_log_is_no_log(tmp_path: Path) -> None:
    layout = written_before_manifests(tmp_path)
    layout.log.unlink()
    os.mkfifo(layout.log)
    assert refusal(layout) is not None


@pytest.mark.parametrize(
    "line",
    [
        '{"face": {"name": "../../victim.jpg", "folder": "aligned", "number": 0, "sha256": "", "size": 1,'
        ' "mtime_ns": 0, "frame": "0", "box": [0, 0, 1, 1], "mark": ""}}',
        '{"mask": {"name": "../victim.jpg", "sha256": "", "size": 1, "mtime_ns": 99999999999999999999}}',
        '{"hand": {"kind": "edited", "trace": {"frame": "1", "box": [0, 0, 0, 0], "mark": ""}, "content": "",'
        ' "file": "../victim.jpg", "sha256": "", "mask": "../../victim.jpg"}}\n'
        '{"clearing": true}\n{"discarding": true}',
        '{"accepted": "nobody"}',
        '{"accepted": [1]}',
        '{"committed": "many"}',
        '{"run": 3}',
        "{}",
        "[[[",
        "\x00\x80",
    ],
)
def test_a_hostile_manifest_removes_nothing_outside(tmp_path: Path, line: str) -> None:
    layout = earlier(tmp_path)
    victim = tmp_path / "victim.jpg"
    victim.write_bytes(b"x")
    with (layout.debug / "manifest.jsonl").open("a") as manifest:
        manifest.write(line + "\n")
    clear_results(layout, discard_changes=True)
    assert victim.exists()
