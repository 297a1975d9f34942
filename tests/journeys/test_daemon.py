"""The daemon with its real engine: faces of one person out of footage."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from dfl.image import read_metadata
from engine.backends.catalog import open_backend
from tests.daemon_rig import Killable, Rig

FRAMES_A_SHOT = 8
SHOTS = 3


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
