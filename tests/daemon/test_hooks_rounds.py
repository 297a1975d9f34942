"""Hooks of a running service: rounds over folders and over SSH, quarantine beside them, and one hook that hangs."""

from __future__ import annotations

import json
import pickle
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.cli import main
from daemon.config.load import read_config
from daemon.config.sync_tables import HookConfig
from daemon.service import Service
from tests.daemon_rig import FAKE_WORKER, wait_until
from tests.fake_worker import fake_video
from tests.sync.fleet import Fleet, make_fleet
from tests.sync.sshd import SshMachine
from tests.sync.tables import ssh_fleet, sync_tables
from tests.sync.training import MODEL

ROUND_DEADLINE_S = 90.0
EVENTS = ["job.done", "job.failed", "quarantine", "round.ok", "round.failed"]


@pytest.fixture(params=["local", "sshd"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Fleet:
    if request.param == "local":
        return make_fleet(tmp_path, ("gpu1", "gpu2"))
    machines: list[SshMachine] = request.getfixturevalue("ssh_machines")
    return ssh_fleet(machines[:2], tmp_path)


class Home:
    """A service with an inbox, machines, a hook that writes down what it is told, and one that never ends."""

    def __init__(self, folder: Path, fleet: Fleet) -> None:
        self.folder = folder
        self.inbox = folder / "inbox"
        self.inbox.mkdir()
        (folder / "reference.jpg").write_bytes(b"face")
        self.told_file = folder / "told"
        self.config_path = folder / "config.toml"
        write_down = ["sh", "-c", f"cat >> {self.told_file}; echo >> {self.told_file}"]
        self.config_path.write_text(
            f'[service]\nstate_dir = "state"\ndrain_timeout = "1s"\n[http]\nlisten = "127.0.0.1:0"\n'
            '[watch]\nstable_for = "200ms"\nrescan_every = "1s"\n[disk]\nreserve = "0B"\nreserve_percent = 0\n'
            '[[inbox]]\nname = "alice"\npath = "inbox"\nworkspace = "workspace"\nbackend = "dlib"\n'
            'references = ["reference.jpg"]\n'
            f"[[hook]]\non = {json.dumps(EVENTS)}\ncommand = {json.dumps(write_down)}\n"
            f'[[hook]]\non = {json.dumps(EVENTS)}\ncommand = ["sleep", "60"]\ntimeout = "60s"\n' + sync_tables(fleet),
            encoding="utf-8",
        )

    def told(self) -> list[dict[str, Any]]:
        if not self.told_file.exists():
            return []
        return [json.loads(line) for line in self.told_file.read_text().splitlines() if line]

    def wait_for(self, event: str) -> dict[str, Any]:
        """Wait until the hook was told of an event; return what."""
        found = wait_until(
            lambda: [told for told in self.told() if told["event"] == event],
            lambda: f"{event} was not told: {self.told()}",
            ROUND_DEADLINE_S,
        )
        first: dict[str, Any] = found[0]
        return first

    @contextmanager
    def service(self) -> Iterator[int]:
        """Run the service; give the port of its metrics."""
        service = Service(read_config(self.config_path).config, worker_command=FAKE_WORKER)
        ready = service.start()
        try:
            assert ready.http_port is not None
            yield ready.http_port
        finally:
            service.stop()


def results(port: int) -> dict[str, float]:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as answer:
        lines = str(answer.read(), "utf-8").splitlines()
    mark = 'dfld_hook_calls_total{result="'
    return {line.split('"')[1]: float(line.rpartition(" ")[2]) for line in lines if line.startswith(mark)}


def break_weights(fleet: Fleet) -> None:
    path = fleet["gpu2"].folder / MODEL.file_name("encoder.npy")
    tensors = pickle.loads(path.read_bytes())
    path.write_bytes(pickle.dumps({key: np.full_like(value, np.nan) for key, value in tensors.items()}, 4))


def test_rounds_jobs_and_quarantine_are_told_while_another_hook_hangs(
    tmp_path: Path, fleet: Fleet, capsys: pytest.CaptureFixture[str]
) -> None:
    home = Home(tmp_path, fleet)
    assert main(["sync", "init", MODEL.name, "--from", "gpu1", "--config", str(home.config_path)]) == 0
    capsys.readouterr()

    fleet.train_by_hand(iterations=100)
    (home.inbox / "notes.mp4").write_bytes(b"these are my notes" * 1000)
    with home.service() as port:
        good = home.wait_for("round.ok")
        quarantined = home.wait_for("quarantine")
        (home.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
        home.wait_for("job.done")
        # The hook that hangs is at its first call still: work and the other hook went on beside it.
        wait_until(lambda: results(port)["ok"] >= 3, "the calls to be counted")
        assert results(port)["timeout"] == 0
    assert (good["model"], good["outcome"]) == (MODEL.name, "averaged")
    assert good["message"].startswith(f"model {MODEL.name}: round 2 averaged")
    assert (quarantined["inbox"], quarantined["reason"]) == ("alice", "not_readable")
    assert len(set(fleet.sets().values())) == 1

    fleet.train_by_hand(iterations=100)
    break_weights(fleet)
    with home.service():
        bad = home.wait_for("round.failed")
    assert (bad["model"], bad["outcome"]) == (MODEL.name, "held")
    assert "quorum is 2" in bad["message"]


def test_a_hook_has_ten_seconds_unless_told_otherwise() -> None:
    assert HookConfig(on=("quarantine",)).timeout_s == 10.0
