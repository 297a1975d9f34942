"""`dfld mask` on the command line: what it takes, what it prints, and its exit codes."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import get_args

import pytest

from daemon.cli import main
from daemon.commands import mask as command
from daemon.errors import ExitCode
from dfl.image import read_fields
from dfl.xseg_weights import FACE_TYPE_OPTIONS
from engine import mask_faceset
from engine.facesets.faceset_folder import FacesetFolder
from engine.masks.choose import MaskMode
from engine.masks.parser import FAMILIES
from engine.masks.write_mask import note_in
from tests.faceset_rig import contents, face_jpeg, make_faceset
from tests.parser_files import celebamask_model
from tests.parser_files import write_model as write_model_file
from tests.xseg_rig import made_weights, write_model


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FacesetFolder:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return make_faceset(tmp_path / "work", {f"{number:05d}.jpg": face_jpeg(number) for number in range(3)}, masks=False)


def source_of(folder: FacesetFolder, name: str) -> str:
    note = note_in(read_fields((folder.aligned / name).read_bytes()))
    return "" if note is None else note.source


def test_the_sources_and_face_types_offered_are_those_of_the_engine() -> None:
    assert set(command.SOURCES) == set(get_args(MaskMode))
    assert {name for family in FAMILIES for name in family.options} == set(command.INCLUDED)
    assert tuple(FACE_TYPE_OPTIONS.values()) == command.FACE_TYPES


def test_a_workspace_is_masked_and_what_was_done_is_said(
    folder: FacesetFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    workspace = folder.parent.parent
    assert main(["mask", str(workspace)]) == ExitCode.OK
    said = capsys.readouterr().out.splitlines()
    assert said[0] == f"{workspace} is the workspace: faces of data_src/aligned"
    assert [line.strip() for line in said[1:]] == ["3 of 3 faces: 3 masked", "3 from hull"]
    assert source_of(folder, "00001.jpg") == "hull"
    assert main(["mask", str(workspace)]) == ExitCode.OK
    assert "3 of 3 faces: 3 as before" in capsys.readouterr().out


def test_a_parser_is_taken_by_its_file_or_its_name_and_what_the_checks_refuse_is_not_taken(
    folder: FacesetFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The faces here are no skin to the parser that is made: its masks are empty, and `auto` falls to the hull."""
    root, given = str(tmp_path / "models"), write_model_file(celebamask_model(64), tmp_path / "mine.onnx")
    assert main(["models", "add", str(given), "--model-root", root]) == ExitCode.OK
    for named in (str(given), "mine"):
        assert main(["mask", str(folder.aligned), "--parser", named, "--model-root", root, "--check"]) == ExitCode.OK
        said = capsys.readouterr().out
        assert "3 masks of parser not taken" in said
        assert "3 from hull" in said
    assert main(["mask", str(folder.aligned), "--parser", "none", "--model-root", root]) != ExitCode.OK
    assert "none.onnx" in capsys.readouterr().err
    assert main(["mask", str(folder.aligned), "--source", "union", "--parser", "mine", "--model-root", root]) == 2
    assert "--xseg-model" in capsys.readouterr().err


def test_a_network_is_taken_from_deepfacelabs_folder_and_kept_in_the_cache(
    folder: FacesetFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", made_weights())
    assert main(["mask", str(folder.aligned), "--source", "xseg", "--xseg-model", str(model)]) == ExitCode.OK
    assert "3 from xseg" in capsys.readouterr().out
    assert len(list((tmp_path / "cache" / "dfld" / "xseg").glob("*.onnx"))) == 1
    assert source_of(folder, "00000.jpg") == "xseg"


def test_a_check_prints_each_refusal_and_writes_nothing(
    folder: FacesetFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = write_model(tmp_path / "model", made_weights())
    before = contents(folder.parent)
    assert main(["mask", str(folder.aligned), "--xseg-model", str(model), "--check"]) == ExitCode.OK
    said = capsys.readouterr().out
    assert "3 of 3 faces: 3 would be masked" in said
    assert "3 masks of xseg not taken" in said
    assert "00000.jpg: hull; xseg not taken: " in said
    assert contents(folder.parent) == before


def test_programs_get_each_face_as_json(folder: FacesetFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["mask", str(folder.aligned), "--json"]) == ExitCode.OK
    (report,) = json.loads(capsys.readouterr().out)
    assert (report["completed"], report["total"], report["outcomes"]) == (True, 3, {"masked": 3})
    assert [face["name"] for face in report["faces"]] == ["00000.jpg", "00001.jpg", "00002.jpg"]
    assert {face["source"] for face in report["faces"]} == {"hull"}


def test_faces_that_cannot_be_read_are_named_with_their_own_exit_code(
    folder: FacesetFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder.aligned / "zz.jpg").write_bytes(b"no picture")
    assert main(["mask", str(folder.aligned)]) == ExitCode.PARTLY_FAILED
    assert "zz.jpg: unreadable: not a JPEG" in capsys.readouterr().out


def test_a_folder_with_a_faceset_pak_is_refused_with_the_remedy(
    folder: FacesetFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    folder.pack.write_bytes(b"")
    assert main(["mask", str(folder.aligned)]) != ExitCode.OK
    assert f"dfld unpack {folder.aligned}" in capsys.readouterr().err


def test_xseg_without_a_model_is_a_wrong_command_line(
    folder: FacesetFolder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["mask", str(folder.aligned), "--source", "xseg"]) == ExitCode.USAGE
    assert "--xseg-model DIR" in capsys.readouterr().err


def test_a_first_interrupt_ends_after_a_face_and_says_how_to_go_on(
    folder: FacesetFolder, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = mask_faceset.choose_mask

    def interrupted(*given: object) -> object:
        signal.raise_signal(signal.SIGINT)
        return whole(*given)  # type: ignore[arg-type]

    monkeypatch.setattr(mask_faceset, "choose_mask", interrupted)
    assert main(["mask", str(folder.aligned)]) == ExitCode.INTERRUPTED
    said = capsys.readouterr()
    assert "1 of 3 faces: 1 masked" in said.out
    assert "the same command goes on with the rest" in said.err
    monkeypatch.undo()
    assert main(["mask", str(folder.aligned)]) == ExitCode.OK
    assert "1 as before" in capsys.readouterr().out


@pytest.mark.parametrize("given", ["", "relative/cache"])
def test_the_cache_lies_at_home_where_no_absolute_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", given)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert command.cache_folder() == tmp_path / ".cache" / "dfld" / "xseg"
