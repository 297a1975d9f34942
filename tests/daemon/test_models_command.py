"""`dfld models`: list, check, add, fetch."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.errors import ExitCode
from tests.parser_files import celebamask_model, write_model


def run(*arguments: str, root: Path) -> int:
    return main(["models", *arguments, "--model-root", str(root)])


def test_an_added_parser_is_listed_with_hash_and_licence_and_checks_whole(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, given = tmp_path / "models", write_model(celebamask_model(), tmp_path / "bisenet-resnet18.onnx")
    assert run("add", str(given), root=root) == ExitCode.OK
    assert "19 classes" in capsys.readouterr().out
    assert run("list", root=root) == ExitCode.OK
    listed = capsys.readouterr().out
    assert "non-commercial research (trained on CelebAMask-HQ)" in listed.partition("not in")[0]
    assert "dfld models fetch buffalo_l --accept-licence" in listed
    assert run("list", "--json", root=root) == ExitCode.OK
    (here,) = json.loads(capsys.readouterr().out)["here"]
    assert (here["name"], here["kind"]) == ("bisenet-resnet18", "face parser, 19 classes of CelebAMask-HQ")
    assert run("check", root=root) == ExitCode.OK
    assert "bisenet-resnet18: whole" in capsys.readouterr().out


def test_a_changed_parser_and_a_broken_pack_fail_the_check(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run("add", str(write_model(celebamask_model(), tmp_path / "mine.onnx")), root=tmp_path)
    (tmp_path / "parsers" / "mine.onnx").write_bytes(b"changed")
    (tmp_path / "buffalo_s").mkdir()
    (tmp_path / "buffalo_s" / "broken.onnx").write_bytes(b"no graph")
    capsys.readouterr()
    assert run("check", root=tmp_path) == ExitCode.PARTLY_FAILED
    said = capsys.readouterr().out
    assert "mine: " in said
    assert "is not the file that was added" in said
    assert "broken.onnx" in said


def test_an_empty_folder_lists_what_can_be_had(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run("list", root=tmp_path) == ExitCode.OK
    said = capsys.readouterr().out
    for name in ("antelopev2", "bisenet-resnet34", "selfie-multiclass", "xseg"):
        assert f"{name}: " in said
    assert run("check", root=tmp_path) == ExitCode.OK


def test_a_pack_is_not_fetched_without_the_word_for_its_licence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("requests.head", lambda *_, **__: pytest.fail("it asked the network"))
    assert run("fetch", "buffalo_l", root=tmp_path) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "non-commercial research only" in said
    assert "--accept-licence" in said
    assert list(tmp_path.iterdir()) == []


def test_offline_the_error_names_the_file_and_where_to_put_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    import requests

    def unreachable(*_: object, **__: object) -> None:
        raise requests.ConnectionError("no route")

    monkeypatch.setattr("requests.head", unreachable)
    assert run("fetch", "buffalo_s", "--accept-licence", root=tmp_path) != ExitCode.OK
    said = capsys.readouterr().err
    assert "buffalo_s.zip" in said
    assert str(tmp_path / "models" / "buffalo_s") in said


def test_what_is_brought_by_the_user_says_which_file_and_where_it_goes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("fetch", "bisenet-resnet34", "--accept-licence", root=tmp_path) == ExitCode.USAGE
    said = capsys.readouterr().err
    assert "resnet34.onnx" in said
    assert str(tmp_path / "parsers" / "bisenet-resnet34.onnx") in said
    assert run("fetch", "nothing", root=tmp_path) == ExitCode.USAGE
    assert "selfie-multiclass" in capsys.readouterr().err


def test_a_file_that_is_no_parser_is_refused_and_nothing_is_kept(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "odd.onnx").write_bytes(b"no graph")
    assert run("add", str(tmp_path / "odd.onnx"), root=tmp_path / "models") != ExitCode.OK
    assert "odd.onnx" in capsys.readouterr().err
    assert not (tmp_path / "models").exists()


def test_a_word_too_few_or_too_many_is_a_wrong_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        (["add"], "add needs a model"),
        (["fetch"], "fetch needs a model"),
        (["list", "x"], "list takes no model"),
    ):
        assert run(*words, root=tmp_path) == ExitCode.USAGE
        assert said in capsys.readouterr().err
