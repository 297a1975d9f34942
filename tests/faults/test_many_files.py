"""Many files at once: dropped while the service was down, and more than the kernel's event queue holds."""

from __future__ import annotations

import os
import signal
from pathlib import Path

from daemon.control.client import ask
from tests.daemon_rig import InProcess, Killable, Rig, wait_until
from tests.fake_worker import fake_video

DROPPED = int(os.environ.get("DFLD_DROPPED", "200"))
OVERFLOWING = int(os.environ.get("DFLD_OVERFLOWING", "300"))
QUEUE = Path("/proc/sys/fs/inotify/max_queued_events")


def test_files_dropped_while_the_service_was_down_are_done_once_each(quick_folder: Path) -> None:
    rig = Rig(quick_folder)
    with InProcess(rig):
        pass
    for number in range(DROPPED):
        (rig.inbox / f"{number:04d}.mp4").write_bytes(fake_video(frames=1, name=str(number)))
    with InProcess(rig):
        wait_until(
            lambda: rig.count("SELECT count(*) FROM jobs WHERE state = 'done'") == DROPPED,
            "not done",
            180 + DROPPED / 5,
        )
    assert rig.count("SELECT count(*) FROM jobs") == DROPPED
    assert len(rig.faces()) == DROPPED


def test_files_that_the_event_queue_could_not_hold_are_all_seen_after_one_rescan(quick_folder: Path) -> None:
    rig = Rig(quick_folder)
    rig.tables["watch"]["rescan_every"] = "1h"  # the overflow alone must cause the scan
    with Killable(rig) as service:
        service.wait_until_it_runs()
        ask(quick_folder / "state", "pause")
        service.process.send_signal(signal.SIGSTOP)
        fill_the_queue(rig.inbox)
        for number in range(OVERFLOWING):
            (rig.inbox / f"{number:05d}.mp4").write_bytes(b"%05d" % number)
        service.process.send_signal(signal.SIGCONT)
        wait_until(
            lambda: rig.count("SELECT count(*) FROM files") == OVERFLOWING, "not all seen", 120 + OVERFLOWING / 200
        )
        said = service.said()
    assert said.count("the kernel dropped file events") == 1
    assert said.count("trigger=overflow") == 1


def fill_the_queue(inbox: Path) -> None:
    """Leave the kernel no room for another event of this folder: two hidden files, touched in turn, never merge."""
    touched = [inbox / ".one", inbox / ".two"]
    for number in range(int(QUEUE.read_text(encoding="ascii")) + 1):
        touched[number % 2].touch()
