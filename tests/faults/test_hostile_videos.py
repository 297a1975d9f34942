"""Mutated videos by the hundred: they may cost a worker, never the service, and never hang it."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clips import make_clip
from tests.daemon_rig import READING_WORKER, InProcess, Rig, wait_until

MUTANTS = int(os.environ.get("DFLD_MUTANTS", "300"))
ENDED = {"done", "quarantined"}
COUNT_ENDED = "SELECT count(*) FROM jobs WHERE state IN ('done', 'quarantined')"


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The same few frames in several containers and codecs."""
    folder = tmp_path_factory.mktemp("originals")
    made = [
        make_clip(folder / "a.mp4", frames=10),
        make_clip(folder / "b.mp4", frames=10, container_options={"movflags": "faststart"}, audio=True),
        make_clip(folder / "c.mkv", frames=10, codec="libvpx-vp9"),
        make_clip(folder / "d.avi", frames=10, codec="mpeg4"),
        make_clip(folder / "e.mov", frames=10, codec="mjpeg", pix_fmt="yuvj420p"),
    ]
    return [path.read_bytes() for path in made]


def mutants(originals: list[bytes], chance: random.Random) -> Iterator[bytes]:
    """Yield bit flips, cuts, doubled and swapped stretches, wild lengths in the head: all of them different files."""
    while True:
        content = bytearray(chance.choice(originals))
        for _ in range(chance.choice((1, 1, 3, 30))):
            place = chance.randrange(len(content))
            kind = chance.choice(("flip", "flip", "cut", "repeat", "swap", "length", "zero"))
            if kind == "flip":
                content[place] ^= 1 << chance.randrange(8)
            elif kind == "cut" and len(content) > 1000:
                del content[max(500, place) :]
            elif kind == "repeat":
                content[place:place] = content[place : place + chance.randrange(1, 400)]
            elif kind == "swap":
                other = chance.randrange(len(content))
                content[place : place + 50], content[other : other + 50] = (
                    content[other : other + 50],
                    content[place : place + 50],
                )
            elif kind == "length":
                content[place : place + 4] = chance.choice((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff"))
            else:
                content[place : place + 64] = bytes(len(content[place : place + 64]))
        yield bytes(content) + chance.randbytes(8)


def test_mutated_videos_end_as_done_or_quarantined_and_the_service_goes_on(
    quick_folder: Path, originals: list[bytes]
) -> None:
    seed = random.randrange(2**32)
    rig = Rig(quick_folder)
    rig.tables["watch"]["unreadable_grace"] = "100ms"
    rig.tables["limits"] |= {"workers": 2, "no_progress_timeout": "20s"}
    source = mutants(originals, random.Random(seed))
    for number in range(MUTANTS):
        (rig.inbox / f"{number:05d}.mp4").write_bytes(next(source))
    with InProcess(rig, READING_WORKER):
        wait_until(
            lambda: rig.count(COUNT_ENDED) == MUTANTS,
            lambda: f"seed {seed}: {Counter(rig.states())}",
            180 + MUTANTS,
        )
        jobs = rig.jobs()
        hung = [job["path"] for job in jobs if "no new frame" in job["message"]]
        assert hung == [], f"seed {seed}"
        unexplained = [job["path"] for job in jobs if job["state"] == "quarantined" and not job["message"]]
        assert unexplained == [], f"seed {seed}"
        states = Counter(job["state"] for job in jobs)
        assert states["done"] > MUTANTS / 10, f"seed {seed}: nothing was read: the mutations are too wild"
        assert states["quarantined"] > MUTANTS / 100, f"seed {seed}: nothing was refused: the mutations are too tame"
        make_clip(rig.inbox / "sound.mp4", frames=7)
        wait_until(lambda: len(rig.jobs()) == MUTANTS + 1 and rig.jobs()[-1]["state"] == "done", "the service is stuck")


def test_a_bomb_of_a_head_costs_the_worker_at_most(tmp_path: Path) -> None:
    """A picture size of 65535 x 65535 in a tiny file: the decoder refuses before it allocates."""
    rig = Rig(tmp_path)
    clip = make_clip(tmp_path / "clip.avi", frames=3, codec="mjpeg", pix_fmt="yuvj420p").read_bytes()
    start_of_frame = clip.index(b"\xff\xc0") + 5
    (rig.inbox / "bomb.avi").write_bytes(clip[:start_of_frame] + b"\xff\xff\xff\xff" + clip[start_of_frame + 4 :])
    with InProcess(rig, READING_WORKER):
        wait_until(lambda: rig.states() and set(rig.states()) <= ENDED, "not ended")
