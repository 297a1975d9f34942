"""SIGKILL of the service and of its workers while faces are masked and set aside: every file is whole, none is lost,
and in the end all is as if nothing had happened."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from daemon.jobs.retry import DEATHS_MAX
from dfl.image import read_metadata
from tests.daemon_rig import PICTURE_WORKER, InProcess, Killable, Rig, wait_until
from tests.fake_worker import fake_video

KILLS = int(os.environ.get("DFLD_FACESET_JOB_KILLS", "6"))
FRAMES = 24
PICTURES = {"DFLD_TEST_WORKER": "pictures"}
CURATE = {"enabled": True, "near_duplicate_radius": 10.0, "per_cell": 3}


def rig_in(folder: Path) -> Rig:
    folder.mkdir()
    rig = Rig(folder)
    rig.inboxes["alice"] |= {"masks": {"source": "hull"}, "curate": dict(CURATE)}
    return rig


def drop(rig: Rig, number: int) -> None:
    (rig.inbox / f"clip{number}.mp4").write_bytes(fake_video(frames=FRAMES, name=f"clip{number}"))


def faces(rig: Rig) -> dict[str, bytes]:
    """Every face and mask, by its place in the workspace; each face can be read, and nothing temporary is left."""
    found = {name: data for name, data in rig.faces().items() if ".dfld/" not in name}
    for name, data in found.items():
        if name.endswith(".jpg"):
            read_metadata(data)
    assert not [name for name in found if not name.endswith((".jpg", ".png"))]
    return {name.partition("/")[2]: data for name, data in found.items()}


def is_at_it(rig: Rig) -> bool:
    return any(job["kind"] != "extract" and job["state"] in ("queued", "running") for job in rig.jobs())


def all_done(rig: Rig, clips: int) -> bool:
    """Say whether every clip is extracted and masked, and the side curated behind all of them."""
    jobs = rig.jobs()
    kinds = [job["kind"] for job in jobs if job["state"] == "done"]
    return len(kinds) == len(jobs) == 2 * clips + 1 and kinds.count("mask") == clips


def test_masks_and_curation_that_are_killed_anywhere_end_as_undisturbed_ones(tmp_path: Path) -> None:
    seed = random.randrange(2**32)
    chance, clips, deaths = random.Random(seed), 1, 0
    rig = rig_in(tmp_path / "killed")
    drop(rig, 0)
    for _ in range(KILLS):
        if all_done(rig, clips):
            drop(rig, clips)  # there must be something left to disturb
            clips += 1
        with Killable(rig, environment=PICTURES) as service:
            kill_at = disturbed(rig, clips, time.monotonic() + chance.uniform(0.0, 1.0))
            wait_until(kill_at, "nothing is masked")
            if deaths < DEATHS_MAX - 1 and chance.random() < 0.5:  # of more than that a file is blamed
                deaths += 1
                kill_workers(service)
            else:
                service.kill()
    with Killable(rig, environment=PICTURES) as service:
        wait_until(partial(all_done, rig, clips), lambda: str(rig.jobs()), 120)
        service.wait_until_it_runs()
        assert service.terminate() == 0
    calm = rig_in(tmp_path / "calm")
    for number in range(clips):
        drop(calm, number)
        with InProcess(calm, PICTURE_WORKER):
            wait_until(partial(all_done, calm, number + 1), "an undisturbed run", 120)
    assert faces(rig) == faces(calm), f"seed {seed}"
    assert sum(name.endswith(".jpg") for name in faces(rig)) == FRAMES * clips, f"seed {seed}"


def disturbed(rig: Rig, clips: int, moment: float) -> Callable[[], bool]:
    """Return what says that a moment has come in which faces are masked or set aside, or that all of it is done."""
    return lambda: all_done(rig, clips) or (is_at_it(rig) and time.monotonic() >= moment)


def kill_workers(service: Killable) -> None:
    for worker in service.workers():
        with suppress(ProcessLookupError):
            os.kill(worker, signal.SIGKILL)
