"""`dfld train` over real folders of models."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import main
from dfl.model_files import ModelName
from tests.daemon_rig import ROOT
from tests.model_rig import ALICE, contents, saved_model
from trainer.model_folder.model import read_model


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any]:
    code = main(["train", *words, "--json"])
    found = capsys.readouterr()
    return code, json.loads(found.out or found.err)


def test_check_says_what_a_model_is_and_all_that_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved_model(tmp_path)
    code, facts = run(capsys, "check", "alice", "--models", str(tmp_path))
    assert (code, facts["problems"], facts["iteration"], len(facts["parts"])) == (0, [], 10, 5)
    (tmp_path / "alice_SAEHD_encoder.npy").unlink()
    (tmp_path / "alice_SAEHD_inter.npy").write_bytes(b"")
    code, facts = run(capsys, "check", "alice", "--models", str(tmp_path))
    assert code == 1
    assert [problem.split()[0] for problem in facts["problems"]] == ["alice_SAEHD_encoder.npy", "alice_SAEHD_inter.npy"]
    main(["train", "check", "alice", "--models", str(tmp_path)])
    assert "problem: alice_SAEHD_encoder.npy is missing" in capsys.readouterr().out


def test_options_are_shown_and_changed_and_nothing_else_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved_model(tmp_path)
    before = contents(tmp_path)
    code, shown = run(capsys, "options", "alice", "--models", str(tmp_path))
    assert (code, shown["options"]["batch_size"]) == (0, 4)
    code, shown = run(capsys, "options", "alice", "batch_size=8", "gan_power=0.1", "--models", str(tmp_path))
    assert (code, shown["changed"]) == (0, ["batch_size", "gan_power"])
    assert [one.split()[0] for one in shown["problems"]] == ["alice_SAEHD_GAN.npy", "alice_SAEHD_GAN_opt.npy"]
    after = contents(tmp_path)
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"alice_SAEHD_data.dat", "alice_SAEHD_summary.txt"}
    assert read_model(tmp_path, ALICE, to_draw=["GAN", "GAN_opt"]).data.options["batch_size"] == 8
    code, shown = run(capsys, "options", "alice", "gan_power=0", "--models", str(tmp_path))
    assert (code, shown["changed"], shown["problems"]) == (0, ["gan_power"], [])
    after = contents(tmp_path)
    code, error = run(capsys, "options", "alice", "resolution=96", "--models", str(tmp_path))
    assert code == 1
    assert "since the model was made" in error["error"]
    assert contents(tmp_path) == after


def test_a_backup_holds_the_files_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    saved_model(tmp_path)
    code, made = run(capsys, "backup", "alice", "--models", str(tmp_path))
    assert code == 0
    assert contents(Path(made["backup"])) == contents(tmp_path)


def test_an_import_says_what_became_of_each_tensor(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bob = ModelName("bob", "SAEHD")
    source = saved_model(tmp_path)
    saved_model(tmp_path / "bobs", bob, seed=5)
    words = ("import", "bob", "--models", str(tmp_path / "bobs"), "--from", "alice", "--from-models", str(tmp_path))
    code, done = run(capsys, *words, "--parts", "encoder")
    assert (code, done["loaded"]) == (0, len(source.tensors["encoder.npy"]))
    assert (tmp_path / "bobs/bob_SAEHD_encoder.npy").read_bytes() == (tmp_path / "alice_SAEHD_encoder.npy").read_bytes()
    assert main(["train", *words, "--parts", "encoder"]) == 0
    assert "encoder/down1/downs_0/conv1/weight:0: from encoder/" in capsys.readouterr().out


def test_a_model_that_is_not_there_is_refused_with_those_that_are(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    saved_model(tmp_path)
    for words in (["check", "bob"], ["options", "bob"], ["options", "bob", "batch_size=3"], ["backup", "bob"]):
        code, error = run(capsys, *words, "--models", str(tmp_path))
        assert code == 1
        assert "alice" in error["hint"]
    assert not list(tmp_path.glob(".bob*")), "nothing is written for a model that is not there"


def test_no_command_of_it_loads_pytorch(tmp_path: Path) -> None:
    saved_model(tmp_path)
    code = (
        "import sys; from daemon.cli import main; main(sys.argv[1:]); "
        "assert not {'torch', 'cv2', 'onnxruntime'} & set(sys.modules)"
    )
    for words in (["check", "alice"], ["options", "alice", "batch_size=8"], ["backup", "alice"]):
        command = [sys.executable, "-c", code, "train", *words, "--models", str(tmp_path)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
