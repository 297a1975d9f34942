"""systemd's watchdog is fed by work that goes on, and by nothing else: each part is made to hang, one at a time."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.arrivals.hashing import HashingStoppedError
from daemon.crew.contract import Link
from daemon.crew.local import LocalCrew
from daemon.events.event import Event
from daemon.health import Health
from daemon.inboxes.inbox_threads import Inboxes
from daemon.jobs import runner as runner_module
from daemon.jobs.disk import DiskGuard
from daemon.jobs.dispatch import Slot
from daemon.jobs.job_queue import JobQueue
from daemon.jobs.kinds.registry import KINDS
from daemon.jobs.runner import STUCK_S, Runner
from daemon.jobs.running_job import Running
from daemon.jobs.tidying import Tidier
from daemon.ledger.ledger import Ledger
from daemon.service import Service
from daemon.systemd import ServiceManager
from tests.daemon_rig import FAKE_WORKER, Killable, Rig, wait_until
from tests.fake_worker import fake_video


class Manager:
    """What systemd would hear."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        self._socket.bind(self.path)

    def heard(self) -> list[str]:
        """Return the lines that came since the last call."""
        lines: list[str] = []
        while True:
            try:
                lines += self._socket.recv(65536).decode().split("\n")
            except BlockingIOError:
                return lines

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path / "notify")
    yield made
    made.close()


@pytest.fixture
def service(rig: Rig, manager: Manager) -> Iterator[Service]:
    made = Service(rig.config, worker_command=FAKE_WORKER, service_manager=ServiceManager(manager.path))
    made.start()
    yield made
    made.stop()


def is_fed(service: Service, manager: Manager) -> bool:
    """Let the main loop look round once; say whether systemd heard of progress."""
    manager.heard()
    service.watch_over()
    return "WATCHDOG=1" in manager.heard()


def test_a_service_at_rest_feeds_the_watchdog(service: Service, manager: Manager) -> None:
    assert is_fed(service, manager)


def test_a_ledger_that_hangs_starves_the_watchdog_until_it_answers(
    service: Service, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("daemon.health.LEDGER_ANSWER_S", 0.2)
    gate, hangs = threading.Event(), threading.Event()

    def step(_writer: object) -> None:
        hangs.set()
        gate.wait()

    writing = threading.Thread(target=lambda: service.ledger.write(step))
    writing.start()
    try:
        assert hangs.wait(30)
        assert not is_fed(service, manager)
        assert [check.name for check in service.health.live() if not check.ok] == ["ledger"]
        assert not all(check.ok for check in service.health.ready())
    finally:
        gate.set()
        writing.join()
    wait_until(lambda: is_fed(service, manager), "the watchdog to be fed again")


def test_a_ledger_whose_thread_is_gone_starves_the_watchdog(service: Service, manager: Manager) -> None:
    service.ledger.close()
    assert not is_fed(service, manager)


def test_a_thread_that_hangs_with_a_running_job_starves_the_watchdog(
    rig: Rig,
    service: Service,
    manager: Manager,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "dfld")
    monkeypatch.setattr(runner_module, "STUCK_S", 0.2)
    gate, hangs = threading.Event(), threading.Event()

    class FullPipe(logging.Handler):
        """A log that nobody reads."""

        def emit(self, record: logging.LogRecord) -> None:
            if "is worked on" in record.getMessage():
                hangs.set()
                gate.wait()

    handler, log = FullPipe(), logging.getLogger("dfld")
    log.addHandler(handler)
    try:
        (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
        assert hangs.wait(30)
        wait_until(lambda: not is_fed(service, manager), "the watchdog to be starved")
        assert not is_fed(service, manager)
        assert [check.name for check in service.health.live() if not check.ok] == ["runners"]
    finally:
        gate.set()
        log.removeHandler(handler)
    rig.wait_for_states("done")
    wait_until(lambda: is_fed(service, manager), "the watchdog to be fed again")


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_inbox_whose_thread_died_starves_the_watchdog_and_ends_the_service(
    service: Service, manager: Manager, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise SystemExit  # what a thread may end of without a word

    monkeypatch.setattr("daemon.inboxes.intake.Intake._step", die)
    service.inboxes.scan_now()
    wait_until(service.health.dead_threads, "the thread to die")
    assert "inbox-alice" in service.watch_over()
    assert not is_fed(service, manager)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_an_original_that_takes_hours_to_move_feeds_the_watchdog_and_a_stop_ends_it(rig: Rig) -> None:
    config, clock, stopping = rig.config, Clock(), threading.Event()
    config.service.state_dir.mkdir()
    ledger = Ledger(config.service.state_dir / "ledger.db")
    runner = Runner(
        slot=0,
        kinds=KINDS,
        ledger=ledger,
        guard=DiskGuard(config.disk),
        notify=unheard,
        tidier=Tidier(ledger, unheard, lambda _inbox, _paths: None, KINDS),
        crew=LocalCrew(command=FAKE_WORKER),
        on_originals_gone=lambda _inbox, _paths: None,
        monotonic=clock,
        stopping=stopping,
    )
    runner._state.running = Running(1, "alice", "clip.mp4", "finishing", 0.0, kind="extract", unit="frames")
    clock.now += 3600
    assert runner.is_stuck()
    runner._outcomes._turn()
    assert not runner.is_stuck()
    stopping.set()
    with pytest.raises(HashingStoppedError):
        runner._outcomes._turn()
    ledger.close()


def test_a_thread_that_hangs_without_a_job_starves_the_watchdog(rig: Rig) -> None:
    config, clock = rig.config, Clock()
    config.service.state_dir.mkdir()
    ledger = Ledger(config.service.state_dir / "ledger.db")
    inboxes = Inboxes(ledger, unheard, lambda _inbox, _claim: None)
    guard = DiskGuard(config.disk)
    queue = JobQueue(config, ledger, guard, inboxes.trouble)
    runner = Runner(
        slot=0,
        kinds=KINDS,
        ledger=ledger,
        guard=guard,
        notify=unheard,
        tidier=Tidier(ledger, unheard, inboxes.forget, KINDS),
        crew=LocalCrew(command=FAKE_WORKER),
        on_originals_gone=inboxes.forget,
        monotonic=clock,
    )
    slot = Slot(0, queue, runner, ledger, unheard, monotonic=clock)
    health = Health(ledger, queue, inboxes, [slot])

    def starved() -> bool:
        clock.now += STUCK_S + 1
        return not health.turns()

    slot.thread.start()
    try:
        assert health.turns()
        with queue.wake:  # what the slot needs to wait for work: it gets no further than here
            wait_until(starved, "the watchdog to be starved")
            assert not health.turns()
        wait_until(health.turns, "the watchdog to be fed again")
    finally:
        queue.stopping.set()
        queue.wake_idle()
        slot.thread.join()
        ledger.close()


def unheard(_event: Event) -> None:
    """Tell nobody."""


def test_a_worker_that_hangs_is_replaced_while_the_watchdog_is_fed(rig: Rig, manager: Manager) -> None:
    rig.tables["limits"]["no_progress_timeout"] = "1s"
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=60, pause_s=0.05))
    with Killable(rig, environment={"NOTIFY_SOCKET": manager.path}) as killable:
        wait_until(lambda: any(job["next_frame"] for job in rig.jobs()), "the first piece")
        (worker,) = killable.workers()
        os.kill(worker, signal.SIGSTOP)
        manager.heard()
        rig.wait_for_states("done")
        lines = manager.heard()
        assert "WATCHDOG=1" in lines
        assert killable.terminate() == 0
    assert len(rig.faces()) == 60
    assert "no new frame for 1 s" in killable.said()


def with_a_long_order(rig: Rig) -> None:
    """Have each order be longer than the 64 KiB that a pipe holds: it names every reference photo."""
    folder = rig.base / ("photos-" + "x" * 200)
    folder.mkdir()
    photos = [folder / f"{'x' * 200}-{number}.jpg" for number in range(200)]
    for photo in photos:
        photo.write_bytes(b"face")
    rig.inboxes["alice"]["references"] = [str(photo) for photo in photos]
    assert sum(len(str(photo)) for photo in photos) > 64 << 10


def stopped_worker(rig: Rig, killable: Killable) -> int:
    """Let a worker do one video, stop it while it waits, have another given to it; return its number."""
    (rig.inbox / "first.mp4").write_bytes(fake_video(frames=5, name="first"))
    rig.wait_for_states("done")
    (worker,) = killable.workers()
    os.kill(worker, signal.SIGSTOP)
    (rig.inbox / "second.mp4").write_bytes(fake_video(frames=5, name="second"))
    wait_until(lambda: "second.mp4 is worked on" in killable.said(), "the second job")
    return worker


def test_a_worker_that_reads_nothing_is_replaced_while_the_watchdog_is_fed(rig: Rig, manager: Manager) -> None:
    with_a_long_order(rig)
    rig.tables["limits"]["no_progress_timeout"] = "2s"
    with Killable(rig, environment={"NOTIFY_SOCKET": manager.path}) as killable:
        worker = stopped_worker(rig, killable)
        manager.heard()
        rig.wait_for_states("done", "done")
        assert "WATCHDOG=1" in manager.heard()
        assert worker not in killable.workers()
        assert killable.terminate() == 0
    assert len(rig.faces()) == 10
    assert "it reads nothing that it is sent, and that for 2 s" in killable.said()


def test_a_service_stops_while_its_worker_reads_nothing(rig: Rig) -> None:
    with_a_long_order(rig)
    rig.tables["service"]["drain_timeout"] = "1s"
    with Killable(rig) as killable:
        stopped_worker(rig, killable)
        assert killable.terminate() == 0
    assert rig.states() == ["done", "queued"]


def test_a_second_sigterm_ends_a_service_at_once_while_its_worker_reads_nothing(rig: Rig) -> None:
    with_a_long_order(rig)
    rig.tables["service"]["drain_timeout"] = "1h"
    with Killable(rig) as killable:
        stopped_worker(rig, killable)
        killable.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "draining" in killable.said(), "the service to drain")
        assert killable.terminate() == 0
    assert rig.states()[0] == "done"
    assert rig.jobs()[1]["next_frame"] == 0, "it is done again from where it was"


def test_a_runner_that_is_abandoned_before_it_has_a_worker_does_no_job_with_one(
    rig: Rig, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    runner, sent = service.slots[0].runner, []
    open_link = LocalCrew.open_link

    def abandoned_meanwhile(crew: LocalCrew, *asked: Any) -> Link:
        service.queue.stopping.set()
        runner.abandon()
        link = open_link(crew, *asked)
        send = link.send
        monkeypatch.setattr(link, "send", lambda message: sent.append(message) or send(message))
        return link

    monkeypatch.setattr(LocalCrew, "open_link", abandoned_meanwhile)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
    wait_until(lambda: not service.slots[0].thread.is_alive(), "the slot to end")
    assert sent == []
    assert [(job["state"], job["next_frame"]) for job in rig.jobs()] == [("queued", 0)]


def test_systemd_hears_ready_only_when_the_inboxes_were_looked_at(rig: Rig, manager: Manager) -> None:
    (rig.inbox / "half.mp4").write_bytes(fake_video(frames=5))
    rig.tables["watch"]["stable_for"] = "1h"
    with Killable(rig, environment={"NOTIFY_SOCKET": manager.path}) as killable:
        lines: list[str] = []
        wait_until(lambda: lines.extend(manager.heard()) or "READY=1" in lines, "the service to be ready")  # type: ignore[func-returns-value]
        assert lines[lines.index("READY=1") + 1] == "STATUS=1 files settling", "what lies there was seen"
        assert killable.terminate() == 0
        lines = manager.heard()
    assert "STOPPING=1" in lines
