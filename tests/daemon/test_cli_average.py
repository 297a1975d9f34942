"""`dfld average` averages files, says how far apart they were, and refuses what does not fit."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from daemon.cli import main


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


def test_real_models_average_to_their_known_mean(shared: Path, tmp_path: Path) -> None:
    models = [str(shared / "golden" / "models" / f"machine_{letter}") for letter in "abc"]
    assert main(["average", *models, "-o", str(tmp_path / "mean")]) == 0
    names = {path.name for path in (tmp_path / "mean").iterdir()}
    assert "alice_SAEHD_encoder.npy" in names
    assert not any("data.dat" in name or "_opt" in name for name in names), "what is local stays local"
