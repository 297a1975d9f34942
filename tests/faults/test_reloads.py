"""Many reloads, half of them invalid, under work: nothing dropped, memory flat."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from daemon.control.client import ask
from daemon.errors import ControlError
from tests.daemon_rig import Killable, Rig, wait_until
from tests.fake_worker import fake_video

RELOADS = int(os.environ.get("DFLD_RELOADS", "120"))
FILES = 30
GROWTH_MAX = 1.05


def test_reloads_drop_nothing_and_leave_memory_flat(tmp_path: Path) -> None:
    rig = Rig(tmp_path, inboxes=("alice", "bob"))
    state = tmp_path / "state"
    dropped = len(range(0, RELOADS, RELOADS // FILES))
    with Killable(rig) as service:
        service.wait_until_it_runs()
        resident = 0
        for number in range(RELOADS):
            if number % 2:
                rig.tables["watch"]["stable_for"] = "never"
                assert rig.config_path
                with pytest.raises(ControlError, match="stable_for"):
                    ask(state, "reload")
            else:
                rig.tables["watch"]["stable_for"] = "200ms" if number % 4 else "210ms"  # both inboxes are armed anew
                rig.inboxes["bob"]["priority"] = number % 100
                assert rig.config_path
                ask(state, "reload")
            if number % (RELOADS // FILES) == 0:
                name = f"clip{number // (RELOADS // FILES):02d}"
                (tmp_path / ("alice", "bob")[number % 20 // 10] / f"{name}.mp4").write_bytes(
                    fake_video(frames=2, name=name)
                )
            if number == RELOADS // 3:  # caches are warm by now
                resident = resident_kib(service)
        wait_until(lambda: rig.states() == ["done"] * dropped, lambda: str(rig.states()), 60)
        assert resident_kib(service) <= resident * GROWTH_MAX
        assert service.said().count("the configuration was taken") == RELOADS // 2
        assert service.said().count("the old one goes on") == RELOADS // 2
        threads = len(list(Path(f"/proc/{service.process.pid}/task").iterdir()))
        assert threads < 40
    assert len(rig.faces()) == 2 * dropped


def test_a_hangup_reloads_and_a_wrong_configuration_keeps_the_old_one(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    with Killable(rig) as service:
        service.wait_until_it_runs()
        rig.add_inbox("bob")
        assert rig.config_path
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "inbox bob is new" in service.said(), "not reloaded")
        rig.tables["limits"]["workers"] = -1
        assert rig.config_path
        service.process.send_signal(signal.SIGHUP)
        wait_until(lambda: "limits.workers" in service.said(), "not refused")
        (tmp_path / "bob" / "a.mp4").write_bytes(fake_video(frames=2))
        rig.wait_for_states("done")
        assert service.terminate() == 0


def test_a_stop_drains_in_time_and_a_second_one_is_immediate(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    rig.tables["service"]["drain_timeout"] = "1h"
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=100, hang_at=15))
    with Killable(rig) as service:
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] == 10, "no progress")
        service.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in service.said(), "does not drain")
        service.process.send_signal(signal.SIGTERM)
        assert service.process.wait(20) == 0
    assert rig.states() == ["queued"]
    rig.tables["service"]["drain_timeout"] = "4s"
    with Killable(rig) as service:
        wait_until(lambda: rig.states() == ["running"] and service.workers(), "does not run")
        assert service.terminate(10) == 0
    assert rig.states() == ["queued"]


def resident_kib(service: Killable) -> int:
    status = Path(f"/proc/{service.process.pid}/status").read_text()
    return int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS")))
