"""What becomes of a hook's command when dfld stops: real commands that ignore SIGTERM and start others that do."""

from __future__ import annotations

import queue
import signal
from pathlib import Path

import pytest

from daemon.config.sync_tables import HookConfig
from daemon.events.hooks import HookResult, HookRunner
from tests.daemon_rig import Killable, Rig, is_dead, wait_until
from tests.fake_worker import fake_video

DEADLINE_S = 30.0
LONGER_THAN_ANY_TEST_S = 600.0
LONGEST_LIMIT = "1m"
ENDED = "was ended: the service stops"


def stubborn(there: Path) -> tuple[str, ...]:
    """A command that ignores SIGTERM, as does the child it starts; both numbers are written to `there`."""
    return (
        "sh",
        "-c",
        f"trap '' TERM; sleep 600 & echo $$ $! > {there}.part; mv {there}.part {there}; wait",
    )


def assert_none_lives(there: Path) -> None:
    pids = there.read_text().split()
    assert len(pids) == 2
    for pid in pids:
        wait_until(lambda stat=Path(f"/proc/{pid}/stat"): is_dead(stat), f"process {pid} of the hook lives on")  # type: ignore[misc]


class Called:
    """A hook's runner whose first call has begun, and the results of its calls."""

    def __init__(self, command: tuple[str, ...], begun: Path, events: int = 1) -> None:
        self.results: queue.Queue[HookResult] = queue.Queue()
        hook = HookConfig(on=("quarantine",), command=command, timeout_s=LONGER_THAN_ANY_TEST_S)
        self.runner = HookRunner([hook], self.results.put)
        for _ in range(events):
            self.runner.fire("quarantine", {"message": "a file is quarantined"})
        wait_until(begun.exists, "the command to run")


def test_a_command_that_ignores_sigterm_is_killed_with_its_child(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    there = tmp_path / "pids"
    called = Called(stubborn(there), there)
    called.runner.close(0.1)
    assert called.results.get(timeout=DEADLINE_S) == "timeout"
    assert_none_lives(there)
    assert ENDED in caplog.text


def test_a_child_that_ignores_sigterm_dies_with_a_command_that_obeys_it(tmp_path: Path) -> None:
    there = tmp_path / "pids"
    child = f"trap '' TERM; echo $PPID $$ > {there}.part; mv {there}.part {there}; sleep 600"
    called = Called(("sh", "-c", 'sh -c "$0" & wait', child), there)
    called.runner.close(0.1)
    assert_none_lives(there)


def test_a_command_is_asked_to_end_before_it_is_killed(tmp_path: Path) -> None:
    begun, asked = tmp_path / "begun", tmp_path / "asked"
    program = f"trap 'touch {asked}; exit' TERM; touch {begun}; while true; do sleep 0.02; done"
    Called(("sh", "-c", program), begun).runner.close(0.1)
    assert asked.exists()


def test_a_command_of_a_hook_that_a_reload_took_away_is_ended_as_well(tmp_path: Path) -> None:
    there = tmp_path / "pids"
    called = Called(stubborn(there), there)
    called.runner.configure([])
    called.runner.close(0.1)
    assert_none_lives(there)


def test_what_waits_behind_a_command_that_is_ended_is_not_begun_and_that_is_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    begun = tmp_path / "begun"
    called = Called(("sh", "-c", f"echo once >> {begun}; sleep 600"), begun, events=3)
    called.runner.close(0.1)
    assert called.results.get(timeout=DEADLINE_S) == "timeout"
    assert begun.read_text() == "once\n"
    assert "a hook ended with 2 more events not sent" in caplog.text


def service_with(tmp_path: Path, command: tuple[str, ...], *, drain: str) -> Killable:
    """Start a service that calls `command` for a video which is done at once."""
    rig = Rig(tmp_path)
    rig.tables["service"]["drain_timeout"] = drain
    rig.tables["[hook]"] = {"on": ["job.done"], "command": list(command), "timeout": LONGEST_LIMIT}
    (rig.inbox / "good.mp4").write_bytes(fake_video(frames=5))
    return Killable(rig)


def test_a_service_that_stops_ends_a_hook_with_the_drain_and_leaves_nothing_of_it_behind(tmp_path: Path) -> None:
    there = tmp_path / "pids"
    with service_with(tmp_path, stubborn(there), drain="1s") as killable:
        wait_until(there.exists, "the hook to run")
        assert killable.terminate() == 0
    assert_none_lives(there)
    assert ENDED in killable.said()


def test_a_second_sigterm_ends_a_hook_at_once_and_leaves_nothing_of_it_behind(tmp_path: Path) -> None:
    there = tmp_path / "pids"
    with service_with(tmp_path, stubborn(there), drain="1h") as killable:
        wait_until(there.exists, "the hook to run")
        killable.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in killable.said(), "the service to drain")
        assert killable.terminate() == 0
    assert_none_lives(there)
    assert ENDED in killable.said()


def test_a_hook_that_ends_within_the_drain_is_left_to_its_end(tmp_path: Path) -> None:
    begun, go, ended = tmp_path / "begun", tmp_path / "go", tmp_path / "ended"
    command = ("sh", "-c", f"touch {begun}; until test -e {go}; do sleep 0.05; done; touch {ended}")
    with service_with(tmp_path, command, drain="1h") as killable:
        wait_until(begun.exists, "the hook to run")
        killable.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in killable.said(), "the service to drain")
        go.touch()
        assert killable.process.wait(DEADLINE_S) == 0
    assert ended.exists()
