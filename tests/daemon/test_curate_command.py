"""`dfld curate` and `dfld coverage`, as a person runs them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.processes import RunningProcess
from daemon import workspace_holds
from daemon.cli import main
from daemon.errors import ControlError
from daemon.reports.codec import encoded
from daemon.reports.service import InboxReport, ServiceReport
from engine.facesets.changing import free_faceset
from engine.facesets.faceset_folder import FacesetFolder, faceset_folders
from engine.facesets.packs.saved_metadata import save_metadata
from engine.sort import sort_faces
from tests.faceset_rig import contents, face_jpeg, make_faceset


@pytest.fixture
def workspace(quick_folder: Path) -> Path:
    make_faceset(quick_folder, {f"{place:08d}_0.jpg": face_jpeg(place % 12) for place in range(36)})
    aligned = quick_folder / "data_dst" / "aligned"
    aligned.mkdir(parents=True)
    for number in range(12):
        (aligned / f"{number:08d}_0.jpg").write_bytes(face_jpeg(number + 50))
    return quick_folder


def config(workspace: Path) -> list[str]:
    path = workspace / "dfld.toml"
    path.write_text(f'[service]\nstate_dir = "{workspace}"\n')
    return ["--config", str(path)]


def test_curate_says_what_it_took_measured_and_moved_and_how_to_undo_it(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = contents(workspace / "data_src")
    assert main(["curate", str(workspace), "--dry-run", *config(workspace)]) == 0
    planned = capsys.readouterr().out
    assert contents(workspace / "data_src") == before
    assert "faces would be moved; nothing was changed" in planned
    assert main(["curate", str(workspace), "--match", str(workspace), *config(workspace)]) == 0
    said = capsys.readouterr().out
    assert f"{workspace} is the workspace: faces of data_src/aligned" in said
    assert "measured against: sharpness at least" in said
    assert "near-duplicate: 0.00 steps apart, more than 1.75 is another view; " in said
    assert "dfld curate --restore brings them back" in said
    assert f"{workspace} is the workspace: faces of data_dst/aligned" in said
    assert "all stay, since the merger needs every frame" in said
    assert main(["curate", str(workspace), "--restore", *config(workspace)]) == 0
    assert "faces are back where they were before 1 curation" in capsys.readouterr().out
    assert contents(workspace / "data_src") == before


def test_as_json_every_face_that_goes_has_its_sentence(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["curate", str(workspace / "data_src"), "--json", *config(workspace)]) == 0
    (done,) = json.loads(capsys.readouterr().out)
    aside = [one for one in done["verdicts"] if one["place"] == "aside"]
    assert done["moved"] == done["aside"] == len(aside) > 20
    assert all(done["sentences"][one["name"]].count(one["stands_for_it"]) == 1 for one in aside)
    assert main(["curate", str(workspace / "data_src"), "--per-cell", "1", *config(workspace)]) == 2
    assert "per_cell is 1, expected 3" in capsys.readouterr().err


def test_coverage_of_a_workspace_compares_its_two_facesets_and_writes_three_files(
    workspace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = workspace / "pages" / "coverage.html"
    assert main(["coverage", str(workspace), "--html", str(page)]) == 2
    page.parent.mkdir()
    assert main(["coverage", str(workspace), "--html", str(workspace / "x.txt")]) == 2
    capsys.readouterr()
    assert main(["coverage", str(workspace), "--html", str(page)]) == 0
    said = capsys.readouterr().out
    assert f"dst       {workspace}/data_dst/aligned: 12 faces" in said
    assert f"written   {page}" in said
    assert {path.name for path in page.parent.iterdir()} == {"coverage.html", "coverage.png", "coverage.json"}
    assert page.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
    assert page.read_text().count('<img alt="" src="data:') > 1
    assert page.stat().st_mode & 0o007 == 0
    assert main(["coverage", str(workspace / "data_src"), str(workspace / "data_dst"), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert (printed.pop("files"), printed.pop("unreadable")) == ([], [])
    assert printed == json.loads(page.with_suffix(".json").read_text())


def test_an_empty_faceset_has_no_coverage(workspace: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (workspace / "data_src" / "aligned").iterdir():
        path.unlink()
    assert main(["coverage", str(workspace / "data_src")]) == 1
    assert "holds no face that DeepFaceLab would read" in capsys.readouterr().err


def test_a_program_at_the_workspace_and_a_pause_hold_it(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = faceset_folders(workspace)[0]
    trainer = RunningProcess(4711, ("python3", "main.py", "train"), str(workspace))
    monkeypatch.setattr(workspace_holds, "processes_at", lambda _workspace: (trainer, trainer))
    assert held(folder) == f"python3 main.py train (process 4711) and 1 more works on {workspace}"
    monkeypatch.setattr(workspace_holds, "processes_at", lambda _workspace: ())
    assert held(folder) == ""
    inboxes = (InboxReport("bob", "/in/bob", "/ws/bob"), InboxReport("alice", "/in/alice", str(workspace)))
    for pauses, expected in (
        ({}, ""),
        ({"bob": "pause"}, ""),
        ({"alice": "drain"}, "`dfld pause alice` asks for it; `dfld resume alice` ends that"),
        ({"*": "pause"}, "`dfld pause` asks for it; `dfld resume` ends that"),
    ):
        report = encoded(ServiceReport(1, 0.0, 0.0, "running", pauses=pauses, inboxes=inboxes))
        monkeypatch.setattr(workspace_holds, "ask", lambda *_, report=report: report)
        assert held(folder) == expected


def held(folder: FacesetFolder) -> str:
    return workspace_holds.why_held(folder, folder.given)


def test_without_a_daemon_no_pause_holds_it(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(*_: object) -> object:
        raise ControlError("no daemon answers")

    monkeypatch.setattr(workspace_holds, "ask", nobody)
    assert held(faceset_folders(workspace)[0]) == ""


@pytest.mark.parametrize(
    "command",
    [["curate"], ["curate", "--restore"], ["sort", "--by", "yaw"], ["sort", "--undo"], ["pack"], ["unpack"],
     ["meta", "restore"]],
)  # fmt: skip
def test_every_command_that_changes_a_faceset_says_what_it_waits_for(
    workspace: Path, command: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The process ends, as far as is seen, once the command has said that it waits."""
    for role in ("data_src", "data_dst"):
        sort_faces(faceset_folders(workspace / role)[0], "pitch")
        save_metadata(faceset_folders(workspace / role)[0])
    if command[0] == "unpack":
        assert main(["pack", str(workspace)]) == 0
    trainer = RunningProcess(4711, ("python3", "main.py", "train"), str(workspace))
    seen = [(trainer,)]
    monkeypatch.setattr(workspace_holds, "processes_at", lambda _workspace: seen.pop() if seen else ())
    monkeypatch.setattr(free_faceset, "POLL_S", 0.0)
    capsys.readouterr()
    assert main([*command, str(workspace), *config(workspace)]) == 0
    why = f"python3 main.py train (process 4711) works on {workspace}"
    assert f"dfld: no file is changed yet: {why}; waiting (Ctrl-C ends it)" in capsys.readouterr().err
