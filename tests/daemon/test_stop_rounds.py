"""A stop does not wait for a machine that hangs: the round is left where it is, and the next start sees to it."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.config.load import read_config
from daemon.machines import round_settings_of
from sync.rounds.rounds import Rounds
from tests.daemon_rig import ROOT, wait_until
from tests.sync.fleet import Fleet, make_fleet
from tests.sync.training import MODEL

STOPPED_WITHIN_S = 30.0
"""Far less than the machine's command hangs, and more than a loaded computer needs to end a process."""


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return make_fleet(tmp_path, ("gpu1", "gpu2"))


@pytest.fixture
def config(fleet: Fleet, tmp_path: Path) -> Path:
    """A configuration whose machines hang when asked for their trainer as long as the file `hold` is there."""
    status = f"test ! -e {tmp_path}/hold || {{ touch {tmp_path}/asked; exec sleep 600; }}; false"
    machines = "".join(
        f'[[machine]]\nname = "{one.machine.name}"\naddress = "localhost"\ntransfer = "local"\n'
        f"status = {json.dumps(status)}\nmodel_dir = {json.dumps(str(one.folder))}\n"
        for one in fleet.machines
    )
    path = tmp_path / "config.toml"
    path.write_text(
        f'[service]\nstate_dir = "{tmp_path / "state"}"\ndrain_timeout = "1s"\n[http]\nlisten = ""\n{machines}'
        f'[[sync]]\nname = "{MODEL.name}"\nmachines = ["gpu1", "gpu2"]\npoll_every = "1s"\n'
        '[[sync.stage]]\nname = "early"\nevery_iterations = 50\n',
        encoding="utf-8",
    )
    return path


def rounds_of(config_path: Path) -> Rounds:
    config = read_config(config_path).config
    return Rounds(round_settings_of(config, config.syncs[0]))


def start(config_path: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "daemon", "run", "--config", str(config_path)]
    with log.open("ab") as file:
        return subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file)


@pytest.mark.parametrize("signals", [1, 2])
def test_a_stop_leaves_a_round_that_hangs_and_the_next_start_ends_it(
    signals: int, fleet: Fleet, config: Path, tmp_path: Path
) -> None:
    rounds = rounds_of(config)
    assert rounds.start_from("gpu1").outcome == "initialised"
    fleet.train_by_hand(iterations=100)
    before = fleet.sets()
    hold, asked, log = tmp_path / "hold", tmp_path / "asked", tmp_path / "log"
    hold.touch()
    service = start(config, log)
    try:
        wait_until(asked.exists, log.read_text)
        for _ in range(signals):
            service.send_signal(signal.SIGTERM)
        # A second signal may also come when nothing listens to it any more: then it ends the process by itself.
        assert service.wait(STOPPED_WITHIN_S) in ((0,) if signals == 1 else (0, -signal.SIGTERM))
    finally:
        service.kill()
        service.wait()
    assert "its round has not ended in time" in log.read_text() or signals == 2
    assert fleet.sets() == before
    assert rounds.records()[-1].number == 2
    assert not rounds.records()[-1].ended

    hold.unlink()
    service = start(config, log)
    try:
        wait_until(lambda: rounds.records()[-1].ended, log.read_text)
        service.terminate()
        assert service.wait(STOPPED_WITHIN_S) == 0
    finally:
        service.kill()
        service.wait()
    assert rounds.average().outcome == "averaged"
    assert [record.outcome for record in rounds.records()] == ["initialised", "aborted", "averaged"]
    assert len(set(fleet.sets().values())) == 1
