"""SIGKILL and SIGTERM at random points of the real service, with the real engine on footage of real faces.

Every shot of the footage is a window of the engine, and every window a commit. Two services live side by side, one
for each role, so that both cores work; each goes on from life to life. What stands in a workspace under a final name
is remembered after every death and must be what an undisturbed service writes: a file that was partial for a moment
is found, even if a later life mended it.
"""

from __future__ import annotations

import hashlib
import os
import random
import signal
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from daemon.crew.local import WORKER_COMMAND
from tests.daemon_rig import InProcess, Killable, Rig, wait_until
from tests.footage import shot_of, write_person, write_shots

KILLS = int(os.environ.get("DFLD_REAL_KILLS", "8"))
STOPS = int(os.environ.get("DFLD_REAL_STOPS", "4"))
WORKER_KILLS = int(os.environ.get("DFLD_REAL_WORKER_KILLS", "3"))
KILLS_THAT_MEET_EVERY_MOMENT = 100
"""Of so many, one comes between a face and its commit: a handful may well miss that moment."""
ROLES = ("src", "dst")
SHOTS_A_CLIP = 12
EARLY = 0.5
"""This part of the deaths comes at any moment of a life, also before it has done anything; the others after it began
to commit."""
LATER_S = 0.5
"""The others come within so long after the first commit: a window takes that long, on a machine with nothing else to
do."""
DRAINED_WITHIN_S = 10.0 + 5.0
"""What the work in hand gets, and what a loaded machine may take to end a process."""
RESUMED_WITHIN_S = 5.0
DEADLINE_S = 180.0

Files = dict[str, bytes]


class Footage:
    """A reference photo, as many clips as are asked for, and what comes of them where nothing disturbs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.person = write_person(folder / "person.png")
        self._lock = threading.Lock()
        self._calm: dict[str, Stream] = {}

    def clip(self, number: int) -> bytes:
        path = self.folder / f"clip{number}.mp4"
        with self._lock:
            if not path.exists():
                write_shots(path, shots=SHOTS_A_CLIP, first=number * SHOTS_A_CLIP)
        return path.read_bytes()

    def undisturbed(self, role: str, clips: int) -> Files:
        """Let a service without a fault do the first clips, those that are not done yet; return the files of them."""
        if role not in self._calm:
            self._calm[role] = Stream(self.folder / f"calm-{role}", role, self)
        calm = self._calm[role]
        while len(calm.names) < clips:
            calm.drop()
        if not calm.all_done():
            with InProcess(calm.rig, WORKER_COMMAND):
                calm.wait_until_done()
        own = tuple(f"{name}-workspace/" for name in calm.names[:clips])
        return {name: content for name, content in calm.rig.faces().items() if name.startswith(own)}


class Stream:
    """Clips that a service works on from life to life, each in an inbox of its own, and what was seen on the way."""

    def __init__(self, base: Path, role: str, footage: Footage, seed: int = 0) -> None:
        base.mkdir()
        self.rig = Rig(base, inboxes=())
        self.role = role
        self.names: list[str] = []
        self.seen: dict[str, set[str]] = {}
        """File -> hashes of what stood there under its final name."""
        self.redone = 0
        """Faces that were on the disk at a death and not in the ledger: the next life makes them again."""
        self._footage = footage
        self._chance = random.Random(f"{seed} {role}")
        self._usual_start_s = 2.0

    def live_and_die(self, lives: int, die: Callable[[Stream, Killable], None]) -> None:
        for _ in range(lives):
            if self.all_done():
                self.drop()  # there must be something left to disturb
            with Killable(self.rig, real=True) as service:
                self._wait_somewhere(service)
                die(self, service)
            self._look()
        with Killable(self.rig, real=True) as service:
            service.wait_until_it_runs()  # the life before may have left nothing to wait for
            self.wait_until_done()
            assert service.terminate() == 0

    def drop(self) -> None:
        name = f"{self.role}{len(self.names)}"
        inbox = self.rig.add_inbox(name, role=self.role, references=[str(self._footage.person)])
        (inbox / "clip.mp4").write_bytes(self._footage.clip(len(self.names)))
        self.names.append(name)

    def all_done(self) -> bool:
        return self.rig.states() == ["done"] * len(self.names)

    def wait_until_done(self) -> None:
        self.rig.wait_for_states(*["done"] * len(self.names), deadline_s=DEADLINE_S)

    def wait_for_commit(self, service: Killable) -> None:
        before = self._committed()
        wait_until(lambda: self._committed() != before or self.all_done(), lambda: service.said()[-2000:], DEADLINE_S)

    def ahead(self) -> list[tuple[str, str]]:
        """Return inbox and name of faces on the disk that the ledger does not know; every one it knows is there."""
        known = self.faces_in_ledger()
        there = {
            (path.relative_to(self.rig.base).parts[0].removesuffix("-workspace"), path.name)
            for path in self._final_files()
            if path.parent.name == "aligned"
        }
        assert known <= there, "the ledger tells of faces that are not there"
        return sorted(there - known)

    def faces_in_ledger(self) -> set[tuple[str, str]]:
        path = self.rig.base / "state" / "ledger.db"
        if not path.exists():
            return set()
        with closing(sqlite3.connect(path)) as ledger:
            if not ledger.execute("PRAGMA user_version").fetchone()[0]:
                return set()  # killed before the tables were made
            assert ledger.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows = ledger.execute("SELECT inbox, file FROM faces, jobs WHERE job = id AND file IS NOT NULL").fetchall()
        assert len(rows) == len(set(rows)), "a face is in the ledger twice"
        return set(rows)

    def _wait_somewhere(self, service: Killable) -> None:
        """Wait for any moment of a life, or for a moment after its first commit."""
        born = time.monotonic()
        if self._chance.random() < EARLY:
            moment = born + self._chance.uniform(0.0, self._usual_start_s)
        else:
            self.wait_for_commit(service)
            self._usual_start_s = time.monotonic() - born
            moment = time.monotonic() + self._chance.uniform(0.0, LATER_S)
        wait_until(lambda: time.monotonic() >= moment, "time stands still", DEADLINE_S)

    def _look(self) -> None:
        """Remember what stands in the workspaces; of faces, no more than one shot may be ahead of the ledger."""
        for path in self._final_files():
            digest = hashlib.sha256(path.read_bytes()).hexdigest()
            self.seen.setdefault(str(path.relative_to(self.rig.base)), set()).add(digest)
        ahead = self.ahead()
        shots = {(inbox, shot_of(int(name.removeprefix("clip-")[:8]))) for inbox, name in ahead}
        assert len(shots) <= 1, f"more than one shot is made again: {ahead}"
        self.redone += len(ahead)

    def _committed(self) -> list[tuple[int, int]]:
        return [(job["id"], job["next_frame"]) for job in self.rig.jobs()]

    def _final_files(self) -> Iterator[Path]:
        for name in self.names:
            for path in (self.rig.base / f"{name}-workspace").rglob("*"):
                if path.is_file() and path.parent.name != "debug" and not path.name.startswith("."):
                    yield path


@pytest.fixture(scope="module")
def footage(memory_folder: Path) -> Footage:
    folder = memory_folder / "footage"
    folder.mkdir()
    return Footage(folder)


def disturbed(base: Path, footage: Footage, seed: int, deaths: int, die: Callable[..., None]) -> list[Stream]:
    streams = [Stream(base / role, role, footage, seed) for role in ROLES]
    with ThreadPoolExecutor(len(streams)) as pool:
        for ended in [pool.submit(stream.live_and_die, deaths // len(ROLES), die) for stream in streams]:
            ended.result()
    return streams


def assert_as_undisturbed(streams: Sequence[Stream], footage: Footage, told: str) -> None:
    for stream in streams:
        expected = footage.undisturbed(stream.role, len(stream.names))
        found = stream.rig.faces()
        assert sorted(found) == sorted(expected), told
        assert [name for name in found if found[name] != expected[name]] == [], told
        digests = {name: {hashlib.sha256(content).hexdigest()} for name, content in expected.items()}
        partial = [name for name, seen in stream.seen.items() if seen != digests[name]]
        assert partial == [], f"{told}: at some death these were not what they are in the end"
        assert stream.ahead() == [], told
        faces = stream.faces_in_ledger()
        assert len(faces) > len(stream.names) * SHOTS_A_CLIP, "hardly a face in this footage: this test shows nothing"


def killed(_stream: Stream, service: Killable) -> None:
    service.kill()


def told_to_stop(stream: Stream, service: Killable) -> None:
    """SIGTERM: within ten seconds it is gone, and what it wrote is in the ledger, so that nothing is made again."""
    lives_before = service.said().count("dfld stopped")
    status = service.terminate(DRAINED_WITHIN_S)
    ran = service.said().count("dfld stopped") > lives_before
    # Before the service runs, there is nothing to drain, and the signal ends it as it ends any program.
    assert status == 0 if ran else status == -signal.SIGTERM, service.said()[-2000:]
    assert stream.ahead() == [], "written and not committed"
    assert not list(stream.rig.base.glob("*-workspace/**/*.part"))


def test_a_service_killed_at_random_points_ends_with_the_bytes_of_an_undisturbed_one(
    quick_folder: Path, footage: Footage
) -> None:
    seed = random.randrange(2**32)
    streams = disturbed(quick_folder, footage, seed, KILLS, killed)
    assert_as_undisturbed(streams, footage, f"seed {seed}")
    if KILLS >= KILLS_THAT_MEET_EVERY_MOMENT:
        assert sum(stream.redone for stream in streams) > 0, "no kill came between a face and its commit"


def test_a_service_told_to_stop_at_random_points_commits_its_cursor_and_makes_nothing_twice(
    quick_folder: Path, footage: Footage
) -> None:
    seed = random.randrange(2**32)
    streams = disturbed(quick_folder, footage, seed, STOPS, told_to_stop)
    assert_as_undisturbed(streams, footage, f"seed {seed}")
    assert [stream.redone for stream in streams] == [0, 0], f"seed {seed}"


def test_a_killed_worker_is_replaced_in_time_and_goes_on_where_it_was(quick_folder: Path, footage: Footage) -> None:
    stream = Stream(quick_folder / "killed", "src", footage)
    for _ in range(-(-WORKER_KILLS // (SHOTS_A_CLIP - 2))):  # each kill takes a commit
        stream.drop()
    with Killable(stream.rig, real=True) as service:
        for _ in range(WORKER_KILLS):
            stream.wait_for_commit(service)
            assert not stream.all_done(), "there is nothing left to disturb"
            # None is listed for a moment when the thread that began it ends and another takes the child over.
            (worker,) = wait_until(service.workers, "no worker", RESUMED_WITHIN_S)
            os.kill(worker, signal.SIGKILL)
            wait_until(lambda worker=worker: set(service.workers()) - {worker}, "no new worker", RESUMED_WITHIN_S)
        stream.wait_until_done()
        assert service.terminate() == 0
    assert {job["deaths"] for job in stream.rig.jobs()} == {0}, "a worker killed from outside is no fault of the file"
    assert_as_undisturbed([stream], footage, "workers killed")
