"""SIGKILL at random points: nothing lost, nothing twice, nothing half, the same bytes as without.

The pretended engine notes every frame that it works off, so that work done twice can be counted. The real engine is
killed in test_real_kills.
"""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import time
from collections import Counter
from contextlib import closing
from pathlib import Path

from tests.daemon_rig import InProcess, Killable, Rig, wait_until
from tests.fake_worker import PIECE_FRAMES, fake_video

SERVICE_KILLS = int(os.environ.get("DFLD_SERVICE_KILLS", "8"))
WORKER_KILLS = int(os.environ.get("DFLD_WORKER_KILLS", "8"))
FRAMES = 120


def drop(rig: Rig, name: str, trace: Path) -> None:
    (rig.inbox / f"{name}.mp4").write_bytes(fake_video(frames=FRAMES, pause_s=0.01, name=name, trace=str(trace)))


def frames_worked(trace: Path) -> Counter[str]:
    return Counter(trace.read_text().split()) if trace.exists() else Counter()


def test_a_service_killed_at_random_points_ends_with_the_bytes_of_an_undisturbed_one(quick_folder: Path) -> None:
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    (quick_folder / "killed").mkdir()
    (quick_folder / "calm").mkdir()
    rig, trace = Rig(quick_folder / "killed"), quick_folder / "trace"
    names = ["clip0", "clip1", "clip2"]
    for name in names:
        drop(rig, name, trace)
    for _ in range(SERVICE_KILLS):
        with Killable(rig) as service:
            kill_somewhere(rig, service, trace, chance)
        if all(state == "done" for state in rig.states()) and len(rig.states()) == len(names):
            names.append(f"clip{len(names)}")  # there must be something left to disturb
            drop(rig, names[-1], trace)
    with Killable(rig) as service:
        service.wait_until_it_runs()
        rig.wait_for_states(*["done"] * len(names))
        assert service.terminate() == 0

    calm = Rig(quick_folder / "calm")
    for name in names:
        drop(calm, name, quick_folder / "calm-trace")
    with InProcess(calm):
        calm.wait_for_states(*["done"] * len(names), deadline_s=120)

    told = f"seed {seed}"
    assert rig.faces() == calm.faces(), told
    assert len(rig.faces()) == FRAMES * len(names), told
    with closing(sqlite3.connect(rig.base / "state" / "ledger.db")) as ledger:
        files = [row[0] for row in ledger.execute("SELECT file FROM faces")]
        assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert sorted(files) == sorted(Path(name).name for name in rig.faces()), told
    again = sum(count - 1 for count in frames_worked(trace).values())
    assert again <= SERVICE_KILLS * PIECE_FRAMES, told
    assert again > 0, "no kill hit any work: this test shows nothing"


def kill_somewhere(rig: Rig, service: Killable, trace: Path, chance: random.Random) -> None:
    """Kill the service some moment after its start, or, most of the times, after it began to work off frames."""
    before = size_of(trace)
    later_s = chance.uniform(0.0, 1.5)
    if chance.random() < 0.8:
        wait_until(lambda: size_of(trace) > before or set(rig.states()) == {"done"}, "nothing is worked off")
        later_s = chance.uniform(0.0, 0.25)
    moment = time.monotonic() + later_s
    wait_until(lambda: time.monotonic() >= moment, "time stands still")
    service.kill()


def size_of(trace: Path) -> int:
    return trace.stat().st_size if trace.exists() else 0


def test_a_killed_worker_is_replaced_in_time_and_the_other_goes_on(quick_folder: Path) -> None:
    rig = Rig(quick_folder, inboxes=("alice", "bob"))
    rig.tables["limits"]["workers"] = 2
    kills = WORKER_KILLS
    (rig.inbox / "victim.mp4").write_bytes(fake_video(frames=kills * 25, pause_s=0.02, name="victim"))
    (quick_folder / "bob" / "other.mp4").write_bytes(fake_video(frames=kills * 40, pause_s=0.02, name="other"))
    with InProcess(rig) as service:
        assert service.ready is not None
        slowest = 0.0
        for _ in range(kills):
            victim = wait_until(lambda: worker_of(rig, "victim"), "no worker has the victim")
            frame = job_of(rig, "victim")["next_frame"]
            wait_until(lambda frame=frame: job_of(rig, "victim")["next_frame"] > frame, "no piece was committed")
            if job_of(rig, "victim")["state"] == "done":
                break
            frame = job_of(rig, "victim")["next_frame"]
            os.kill(victim, signal.SIGKILL)
            begun = time.monotonic()
            wait_until(lambda frame=frame: job_of(rig, "victim")["next_frame"] > frame, "did not go on")
            slowest = max(slowest, time.monotonic() - begun)
        wait_until(lambda: set(rig.states()) == {"done"}, "not done", 120)
    assert slowest <= 5.0
    assert len(rig.faces()) == kills * 65
    assert job_of(rig, "other")["deaths"] == 0


def job_of(rig: Rig, name: str) -> dict[str, object]:
    return next(job for job in rig.jobs() if job["path"] == f"{name}.mp4".encode())


def worker_of(rig: Rig, slug: str) -> int | None:
    """Return the process that holds the clip open, which the pretended engine does while it works on it."""
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            links = [str(link.readlink()) for link in (process / "fd").iterdir()]
        except OSError:
            continue
        if any(link.endswith(f"/{slug}.mp4") for link in links) and int(process.name) != os.getpid():
            return int(process.name)
    return None
