"""Face parsers that the user added."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.errors import ModelError, SettingsError
from engine.masks.kept_parsers import add_parser, check_parser, kept_parsers, parser_file
from tests.parser_files import celebamask_model, selfie_model, write_model


def test_an_added_parser_is_a_copy_with_its_hash_and_adding_it_again_changes_nothing(tmp_path: Path) -> None:
    given = write_model(celebamask_model(), tmp_path / "ResNet18.onnx")
    kept = add_parser(tmp_path / "models", given)
    assert (kept.name, kept.family) == ("resnet18", "19 classes of CelebAMask-HQ")
    copy = parser_file(tmp_path / "models", "resnet18")
    assert copy.read_bytes() == given.read_bytes()
    assert copy.stat().st_mode & 0o007 == 0
    assert add_parser(tmp_path / "models", given) == kept
    assert list(kept_parsers(tmp_path / "models")) == [kept]
    assert check_parser(tmp_path / "models", kept) == ""


def test_a_name_that_another_file_has_is_not_given_twice(tmp_path: Path) -> None:
    add_parser(tmp_path, write_model(celebamask_model(), tmp_path / "one.onnx"))
    other = write_model(selfie_model(), tmp_path / "two.onnx")
    with pytest.raises(SettingsError, match="another parser is called one already"):
        add_parser(tmp_path, other, "one")
    assert add_parser(tmp_path, other).family == "6 classes of MediaPipe"


@pytest.mark.parametrize("name", ["", "../up", "A", "a b", "a" * 65])
def test_a_name_that_is_no_name_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no name for a parser"):
        add_parser(tmp_path, write_model(celebamask_model(), tmp_path / "one.onnx"), name)


def test_a_file_that_changed_or_has_gone_is_found_by_the_check(tmp_path: Path) -> None:
    kept = add_parser(tmp_path, write_model(celebamask_model(), tmp_path / "one.onnx"))
    path = parser_file(tmp_path, "one")
    path.write_bytes(selfie_model().SerializeToString())
    assert "is not the file that was added" in check_parser(tmp_path, kept)
    path.unlink()
    assert "cannot be read" in check_parser(tmp_path, kept)


@pytest.mark.parametrize(
    "note", ["", "[]", '{"name": "other"}', '{"name": "one", "sha256": 1, "size_bytes": 2, "family": "x"}']
)
def test_a_broken_note_is_named(note: str, tmp_path: Path) -> None:
    add_parser(tmp_path, write_model(celebamask_model(), tmp_path / "one.onnx"))
    parser_file(tmp_path, "one").with_suffix(".json").write_text(note)
    with pytest.raises(ModelError, match=r"one\.json"):
        kept_parsers(tmp_path)
