"""One trainer at a time: the lock of another process, and DeepFaceLab in a made list of processes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from dfl.model_files import ModelName
from tests.model_rig import ALICE
from trainer.errors import ModelFolderError, ModelInUseError
from trainer.model_folder.lock import sole_trainer

ROOT = Path(__file__).parents[3]
HOLD = """
import sys
from pathlib import Path
from dfl.model_files import ModelName
from trainer.model_folder.lock import sole_trainer
with sole_trainer(Path(sys.argv[1]), ModelName("alice", "SAEHD")):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_model_that_another_process_holds_is_refused_until_that_is_killed(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(tmp_path)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(ModelInUseError, match="another dfld") as caught, sole_trainer(tmp_path, ALICE):
            pass
        assert caught.value.retryable
        with sole_trainer(tmp_path, ModelName("bob", "SAEHD")):
            pass
        other.kill()
    with sole_trainer(tmp_path, ALICE):
        pass


def add_process(proc: Path, number: int, arguments: list[str], folder: Path) -> None:
    here = proc / str(number)
    here.mkdir(parents=True)
    (here / "cmdline").write_bytes("\0".join(arguments).encode() + b"\0")
    (here / "cwd").symlink_to(folder)


TRAIN = ["python3.7", "/opt/DeepFaceLab/main.py", "train", "--training-data-src-dir", "/faces", "--model", "SAEHD"]


@pytest.mark.parametrize(
    ("arguments", "inside"),
    [
        ([*TRAIN, "--model-dir", "{ws}/model"], False),
        ([*TRAIN, "--model-dir", "{ws}/model/../model/"], False),
        ([*TRAIN, "--model-dir={ws}/model"], False),
        ([*TRAIN, "--model-dir", "model"], True),
        ([*TRAIN, "--model-dir", "{ws}/model", "--force-model-name", "alice"], False),
        ([*TRAIN, "--model-dir", "{ws}/link"], False),
    ],
)
def test_deepfacelab_that_may_train_the_model_is_seen(tmp_path: Path, arguments: list[str], inside: bool) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (tmp_path / "link").symlink_to(folder)
    given = [one.replace("{ws}", str(tmp_path)) for one in arguments]
    add_process(tmp_path / "proc", 7, given, tmp_path if inside else Path("/"))
    with (
        pytest.raises(ModelInUseError, match=r"DeepFaceLab may be training alice_SAEHD.*process 7"),
        sole_trainer(folder, ALICE, proc=tmp_path / "proc"),
    ):
        pass


def test_what_trains_nothing_or_another_model_is_let_be(tmp_path: Path) -> None:
    folder, proc = tmp_path / "model", tmp_path / "proc"
    folder.mkdir()
    add_process(proc, 7, [*TRAIN, "--model-dir", str(tmp_path / "model2")], Path("/"))
    add_process(proc, 8, [*TRAIN, "--model-dir", str(folder), "--force-model-name", "bob"], Path("/"))
    add_process(proc, 9, ["python3", "main.py", "merge", "--model-dir", str(folder)], Path("/"))
    add_process(proc, 10, ["vim", str(folder / "alice_SAEHD_summary.txt")], folder)
    with sole_trainer(folder, ALICE, proc=proc):
        pass


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match="none cannot be written to"), sole_trainer(tmp_path / "none", ALICE):
        pass
