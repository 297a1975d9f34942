"""The daemon with its real engine: faces of one person out of footage, whatever happens to it on the way."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from engine.backends.catalog import open_backend
from engine.dfl.image import read_metadata
from tests.daemon_rig import Killable, Rig, wait_until

FRAMES_A_SHOT = 8
SHOTS = int(os.environ.get("DFLD_REAL_SHOTS", "3"))
KILLS = int(os.environ.get("DFLD_REAL_KILLS", "3"))


@pytest.fixture(scope="module")
def footage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clip of several shots over a group photograph, and a reference photo of one person in it."""
    folder = tmp_path_factory.mktemp("footage")
    photo = group_photo()
    write_reference(folder / "person.png", photo, open_backend("dlib"))
    write_clip(folder / "clip.mp4", shots(photo))
    return folder


def shots(photo: np.ndarray[Any, Any]) -> Iterator[Any]:
    """Yield several moves over the photo; each is mirrored or darker than the one before, as after a cut."""
    for number in range(SHOTS):
        view = photo[:, ::-1] if number % 2 else photo
        yield from camera_move(np.ascontiguousarray(view // (1 + number % 3) * 1), FRAMES_A_SHOT)


def prepared(base: Path, footage: Path, role: str) -> Rig:
    base.mkdir()
    rig = Rig(base)
    rig.inboxes["alice"] |= {"role": role, "references": [str(footage / "person.png")]}
    (rig.inbox / "My clip_1.mp4").write_bytes((footage / "clip.mp4").read_bytes())
    return rig


def test_a_dst_clip_gives_faces_that_point_at_whole_frames(tmp_path: Path, footage: Path) -> None:
    rig = prepared(tmp_path / "dst", footage, "dst")
    with Killable(rig, real=True) as service:
        rig.wait_for_states("done", deadline_s=120)
        assert service.terminate() == 0
    data = rig.workspace / "data_dst"
    assert len(list(data.glob("*.png"))) == FRAMES_A_SHOT * SHOTS
    faces = sorted((data / "aligned").iterdir())
    assert len(faces) >= 5
    for face in faces:
        assert face.name.startswith("My-clip-1-")
        assert (data / read_metadata(face.read_bytes()).source_filename).is_file()


def test_a_service_killed_again_and_again_gives_the_same_bytes(tmp_path: Path, footage: Path) -> None:
    rig = prepared(tmp_path / "killed", footage, "src")
    committed = []
    for number in range(KILLS):
        with Killable(rig, real=True) as service:
            if not wait_for_work(rig, service):
                break
            moment = time.monotonic() + 0.3 * (number % 5)
            wait_until(lambda moment=moment: time.monotonic() >= moment, "time stands still")
            service.kill()
            committed.append(rig.jobs()[0]["next_frame"])
    with Killable(rig, real=True) as service:
        rig.wait_for_states("done", deadline_s=120)
        assert service.terminate() == 0
    assert any(0 < frame < FRAMES_A_SHOT * SHOTS for frame in committed), f"no kill between two commits: {committed}"

    calm = prepared(tmp_path / "calm", footage, "src")
    with Killable(calm, real=True):
        calm.wait_for_states("done", deadline_s=120)
    assert len(calm.faces()) >= 10
    assert rig.faces() == calm.faces()


def wait_for_work(rig: Rig, service: Killable) -> bool:
    """Wait until this life has committed something, or there is nothing left to do: then return False."""
    before = rig.jobs()[0]["next_frame"] if rig.jobs() else 0

    def moved() -> bool:
        jobs = rig.jobs()
        return bool(jobs) and (jobs[0]["state"] == "done" or jobs[0]["next_frame"] > before)

    wait_until(moved, lambda: service.said()[-2000:], 120)
    return bool(rig.jobs()[0]["state"] != "done")
