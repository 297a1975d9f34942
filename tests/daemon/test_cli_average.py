"""`dfld average` averages files, says how far apart they were, and refuses what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from daemon.cli import main
from tests.sync.standin_trainer import write_model


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    for number in range(3):
        np.save(tmp_path / f"{number}.npy", np.full((4, 5), float(number), np.float32))
    return [str(tmp_path / f"{number}.npy") for number in range(3)]


def test_the_mean_of_files_is_written(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", *files, "-o", str(tmp_path / "mean.npy")]) == 0
    assert np.all(np.load(tmp_path / "mean.npy") == 1.0)
    assert "written" in capsys.readouterr().out


def test_shares_weigh_the_inputs(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", *files[:2], "-o", str(tmp_path / "two.npy"), "--shares", "1,3", "--json"]) == 0
    assert np.allclose(np.load(tmp_path / "two.npy"), 0.75)
    report = json.loads(capsys.readouterr().out)
    assert list(report["shares"].values()) == [0.25, 0.75]


def test_the_median_is_not_moved_by_one_outlier(files: list[str], tmp_path: Path) -> None:
    np.save(tmp_path / "2.npy", np.full((4, 5), 1e6, np.float32))
    assert main(["average", *files, "-o", str(tmp_path / "median.npy"), "--rule", "median"]) == 0
    assert np.all(np.load(tmp_path / "median.npy") == 1.0)


def test_other_shapes_are_refused_and_nothing_is_written(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "2.npy", np.zeros((2, 2), np.float32))
    assert main(["average", *files, "-o", str(tmp_path / "mean.npy")]) == 1
    assert "does not fit" in capsys.readouterr().err
    assert not (tmp_path / "mean.npy").exists()


def test_a_pickle_dressed_as_npy_is_refused(files: list[str], tmp_path: Path) -> None:
    array = np.empty(1, object)
    array[0] = {"a": 1}
    np.save(tmp_path / "2.npy", array, allow_pickle=True)
    assert main(["average", *files, "-o", str(tmp_path / "mean.npy")]) == 1
    assert not (tmp_path / "mean.npy").exists()


def two_models(folder: Path, seed: int, *names: str) -> str:
    folder.mkdir()
    for name in names:
        write_model(folder, name, seed=seed, iteration=5)
    return str(folder)


@pytest.mark.parametrize("wanted", ["alice", "alice_SAEHD"])
def test_of_folders_with_several_models_the_named_one_is_averaged(tmp_path: Path, wanted: str) -> None:
    folders = [two_models(tmp_path / str(seed), seed, "alice", "alice old") for seed in (1, 2)]
    assert main(["average", *folders, "-o", str(tmp_path / "mean"), "--model", wanted]) == 0
    assert {path.name.partition("_SAEHD_")[0] for path in (tmp_path / "mean").iterdir()} == {"alice"}


def test_a_model_that_is_not_named_or_not_there_is_told_with_the_list(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [two_models(tmp_path / str(seed), seed, "alice", "alice old") for seed in (1, 2)]
    assert main(["average", *folders, "-o", str(tmp_path / "mean")]) == 1
    told = capsys.readouterr().err
    assert "the folders have 2 models in common: 'alice old_SAEHD', 'alice_SAEHD'" in told
    assert "--model 'alice old_SAEHD'" in told
    assert main(["average", *folders, "-o", str(tmp_path / "mean"), "--model", "bob"]) == 1
    told = capsys.readouterr().err
    assert "there is no model 'bob' in all folders" in told
    assert "'alice old_SAEHD', 'alice_SAEHD'" in told
    other = two_models(tmp_path / "3", 3, "carol")
    assert main(["average", folders[0], other, "-o", str(tmp_path / "mean")]) == 1
    told = capsys.readouterr().err
    assert "no model in common" in told
    assert "'carol_SAEHD'" in told
    assert not (tmp_path / "mean").exists()


def test_one_name_of_two_classes_needs_its_class(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [two_models(tmp_path / str(seed), seed, "alice") for seed in (1, 2)]
    for folder in map(Path, folders):
        for path in list(folder.iterdir()):
            (folder / path.name.replace("SAEHD", "ME")).write_bytes(path.read_bytes())
    assert main(["average", *folders, "-o", str(tmp_path / "mean"), "--model", "alice"]) == 1
    assert "'alice_ME', 'alice_SAEHD'" in capsys.readouterr().err
    assert main(["average", *folders, "-o", str(tmp_path / "mean"), "--model", "alice_SAEHD"]) == 0


def test_what_is_wrong_with_the_inputs_is_said_of_the_right_one(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [two_models(tmp_path / str(seed), seed, "alice") for seed in (1, 2)]
    assert main(["average", folders[0], str(tmp_path / "nothing"), "-o", str(tmp_path / "mean")]) == 1
    assert f"{tmp_path / 'nothing'} is not there" in capsys.readouterr().err
    assert main(["average", folders[0], files[0], "-o", str(tmp_path / "mean")]) == 1
    assert f"{folders[0]} is a folder, and {files[0]} is a file" in capsys.readouterr().err
    assert main(["average", folders[0], folders[0], "-o", str(tmp_path / "mean")]) == 1
    assert f"{folders[0]} is named twice" in capsys.readouterr().err
    assert main(["average", folders[0], "-o", str(tmp_path / "mean")]) == 1
    assert "there is one input" in capsys.readouterr().err
    (tmp_path / "1" / "alice_SAEHD_encoder.npy").unlink()
    assert main(["average", *folders, "-o", str(tmp_path / "mean")]) == 1
    assert f": {folders[0]} lacks alice_SAEHD_encoder.npy; nothing was averaged" in capsys.readouterr().err


def test_two_models_that_differ_are_one_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = [tmp_path / "1", tmp_path / "2"]
    for folder, archi in zip(folders, ("df", "liae"), strict=True):
        folder.mkdir()
        write_model(folder, "alice", seed=1, iteration=5, archi=archi)
    assert main(["average", *map(str, folders), "-o", str(tmp_path / "mean")]) == 1
    assert capsys.readouterr().err.count("other than") == 1


def test_a_second_average_says_what_it_replaces_and_equal_inputs_name_no_tensor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folders = [two_models(tmp_path / str(place), 1, "alice") for place in (1, 2)]
    assert main(["average", *folders, "-o", str(tmp_path / "mean")]) == 0
    first = capsys.readouterr().out
    assert "in place of" not in first
    assert "most in" not in first, "equal inputs are nowhere apart"
    assert "copy that of one input" in first
    assert main(["average", *folders, "-o", str(tmp_path / "mean")]) == 0
    assert "encoder.npy in place of the file that was there" in capsys.readouterr().out


def test_a_model_is_not_named_for_files(files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["average", *files, "-o", str(tmp_path / "mean.npy"), "--model", "alice"]) == 1
    assert "leave --model out" in capsys.readouterr().err


@pytest.mark.parametrize("part", ["data.dat", "encoder.npy"])
def test_an_empty_file_is_called_empty(tmp_path: Path, capsys: pytest.CaptureFixture[str], part: str) -> None:
    folders = [two_models(tmp_path / str(seed), seed, "alice") for seed in (1, 2)]
    (tmp_path / "2" / f"alice_SAEHD_{part}").write_bytes(b"")
    assert main(["average", *folders, "-o", str(tmp_path / "mean")]) == 1
    told = capsys.readouterr().err
    assert "empty" in told or "0 bytes" in told
    assert f"2/alice_SAEHD_{part}" in told


def test_names_steer_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evil = "\x1b[31m\x07\u202e"
    folders = [two_models(tmp_path / f"{seed}{evil}", seed, "alice") for seed in (1, 2)]
    assert main(["average", *folders, "-o", str(tmp_path / f"mean{evil}")]) == 0
    assert main(["average", folders[0], str(tmp_path / f"none{evil}"), "-o", str(tmp_path / "mean")]) == 1
    told = "".join(capsys.readouterr())
    assert not set(told) & {"\x1b", "\x07", "\u202e"}
    assert "\\x1b[31m" in told


def test_real_models_average_to_their_known_mean(shared: Path, tmp_path: Path) -> None:
    models = [str(shared / "golden" / "models" / f"machine_{letter}") for letter in "abc"]
    assert main(["average", *models, "-o", str(tmp_path / "mean")]) == 0
    names = {path.name for path in (tmp_path / "mean").iterdir()}
    assert "alice_SAEHD_encoder.npy" in names
    assert not any("data.dat" in name or "_opt" in name for name in names), "what is local stays local"
