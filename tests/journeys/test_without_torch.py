"""Where PyTorch is not installed, the daemon starts, extracts and averages; what needs it names the command for it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from engine.backends.catalog import open_backend
from tests.daemon_rig import ROOT, Killable, Rig, wait_until
from tests.sync.fleet import Fleet, make_fleet
from tests.sync.training import MODEL

FRAMES = 16
MISSING = 'raise ModuleNotFoundError("No module named \'torch\'", name="torch")\n'


class AveragingRig(Rig):
    """A daemon that looks for faces, and averages the model of some machines."""

    def __init__(self, base: Path, fleet: Fleet) -> None:
        super().__init__(base)
        self._fleet = fleet

    @property
    def config_path(self) -> Path:
        path = super().config_path
        machines = "".join(
            f'[[machine]]\nname = "{one.machine.name}"\naddress = "localhost"\ntransfer = "local"\n'
            f'status = "false"\nmodel_dir = {json.dumps(str(one.folder))}\n'
            for one in self._fleet.machines
        )
        names = json.dumps([one.machine.name for one in self._fleet.machines])
        path.write_text(
            f'{path.read_text()}{machines}[[sync]]\nname = "{MODEL.name}"\nmachines = {names}\npoll_every = "1s"\n'
            '[[sync.stage]]\nname = "early"\nevery_iterations = 50\n'
        )
        return path


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """In which an import of PyTorch ends as where it is not installed."""
    package = tmp_path / "no torch" / "torch"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(MISSING)
    return {"PYTHONPATH": os.pathsep.join((str(package.parent), str(ROOT)))}


def dfld(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "daemon", *arguments],
        cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_the_daemon_extracts_and_averages_without_it(tmp_path: Path, environment: dict[str, str]) -> None:
    fleet = make_fleet(tmp_path / "machines", ("gpu1", "gpu2"))
    (tmp_path / "daemon").mkdir()
    rig = AveragingRig(tmp_path / "daemon", fleet)
    photo = group_photo()
    write_reference(tmp_path / "person.png", photo, open_backend("dlib"))
    rig.inboxes["alice"]["references"] = [str(tmp_path / "person.png")]
    write_clip(rig.inbox / "clip.mp4", camera_move(photo, FRAMES))
    begun = dfld(environment, "sync", "init", MODEL.name, "--from", "gpu1", "--config", str(rig.config_path))
    assert begun.returncode == 0, begun.stderr
    fleet.train_by_hand(iterations=100)
    with Killable(rig, real=True, environment=environment) as service:
        rig.wait_for_states("done", deadline_s=240)
        wait_until(lambda: len(set(fleet.sets().values())) == 1, service.said, deadline_s=120)
        assert service.terminate() == 0
    assert len(list((rig.workspace / "data_src" / "aligned").iterdir())) >= 3
    assert "Traceback" not in service.said()


def test_averaging_a_pytorch_file_names_the_command_that_brings_it(tmp_path: Path, environment: dict[str, str]) -> None:
    for name in ("a.pth", "b.pth"):
        (tmp_path / name).write_bytes(b"PK\x03\x04archive/data.pkl")
    done = dfld(environment, "average", str(tmp_path / "a.pth"), str(tmp_path / "b.pth"), "-o", str(tmp_path / "out"))
    assert done.returncode != 0
    assert "averaging PyTorch files needs PyTorch, which is not installed" in done.stderr
    assert "pip install 'dfld[torch]'" in done.stderr
    assert "Traceback" not in done.stderr
