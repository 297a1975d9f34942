"""The same footage in every container people have: the same person comes out, or a clear sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from daemon.commands.demo_clip import CLIP_SIZE, camera_move, group_photo, write_reference
from dfl.image import read_metadata
from tests.command import dfld, opened

FRAMES = 5

Clip = Callable[..., Path]


@pytest.fixture(scope="module")
def pictures() -> list[NDArray[np.uint8]]:
    return list(camera_move(group_photo(), FRAMES))


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("reference") / "person.png"
    write_reference(path, group_photo(), opened("dlib"))
    return path


def extract(source: Path, reference: Path, out: Path) -> tuple[int, str, dict[str, object]]:
    done = dfld("extract", source, "--reference", reference, "--out", out, "--backend", "dlib", "--json")
    values = json.loads(done.stdout)
    return done.returncode, done.stderr, values[0] if isinstance(values, list) else values


def kept_frames(out: Path) -> set[int]:
    return {int(path.name[:8]) for path in (out / "aligned").iterdir()}


@pytest.fixture(scope="module")
def plain(
    pictures: list[NDArray[np.uint8]], reference: Path, make_clip: Clip, tmp_path_factory: pytest.TempPathFactory
) -> set[int]:
    """Frames of the plain mp4 in which the person is kept."""
    folder = tmp_path_factory.mktemp("plain")
    clip = make_clip(folder / "clip.mp4", frames=FRAMES, size=CLIP_SIZE, draw=pictures.__getitem__)
    code, _, _ = extract(clip, reference, folder / "out")
    assert code == 0
    return kept_frames(folder / "out")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mkv", {}),
        ("clip.webm", {"codec": "libvpx-vp9"}),
        ("clip.avi", {"codec": "mpeg4"}),
        ("clip.mov", {"b_frames": 2}),
    ],
)
def test_the_container_changes_nothing(
    pictures: list[NDArray[np.uint8]], reference: Path, make_clip: Clip, tmp_path: Path, plain: set[int], name: str,
    options: dict[str, object],
) -> None:  # fmt: skip
    clip = make_clip(tmp_path / name, frames=FRAMES, size=CLIP_SIZE, draw=pictures.__getitem__, **options)
    code, said, report = extract(clip, reference, tmp_path / "out")
    assert code == 0, said
    assert report["frames_decoded"] == FRAMES
    assert kept_frames(tmp_path / "out") == plain


@pytest.mark.parametrize("turn", [1, 2, 3])
def test_a_rotation_tag_is_applied(
    pictures: list[NDArray[np.uint8]], reference: Path, make_clip: Clip, tmp_path: Path, plain: set[int], turn: int
) -> None:
    """The camera was held turned: the file stores turned pictures and says how to turn them back."""
    stored = [np.ascontiguousarray(np.rot90(picture, -turn)) for picture in pictures]
    size = (stored[0].shape[1], stored[0].shape[0])
    clip = make_clip(tmp_path / "phone.mov", frames=FRAMES, size=size, draw=stored.__getitem__, rotation=90 * turn)
    code, said, _ = extract(clip, reference, tmp_path / "out")
    assert code == 0, said
    # Another encoding of the same pictures: a face at the threshold may fall the other way, upside-down ones would all.
    assert len(kept_frames(tmp_path / "out") ^ plain) <= 1
    path = next((tmp_path / "out" / "aligned").iterdir())
    points = np.asarray(read_metadata(path.read_bytes()).source_landmarks)
    assert points[48:68, 1].mean() > points[36:48, 1].mean() + 10, "in the frame, the mouth is below the eyes"


def test_variable_frame_rate_keeps_the_exact_times(
    pictures: list[NDArray[np.uint8]], reference: Path, make_clip: Clip, tmp_path: Path, plain: set[int]
) -> None:
    ticks = [0, 40, 50, 400, 1310]  # of 1/1000 s
    clip = make_clip(tmp_path / "vfr.mkv", frames=FRAMES, size=CLIP_SIZE, draw=pictures.__getitem__, ticks=ticks)
    code, said, _ = extract(clip, reference, tmp_path / "out")
    assert code == 0, said
    assert kept_frames(tmp_path / "out") == plain
    log = json.loads((tmp_path / "out" / "debug" / "extraction_log.json").read_text())
    seen = {face["frame"]: face["pts"] for face in log["faces"]}
    first = seen[min(seen)] - ticks[min(seen)]
    assert all(pts - first == ticks[frame] for frame, pts in seen.items())


def test_a_file_cut_at_60_percent_gives_what_is_there(
    pictures: list[NDArray[np.uint8]], reference: Path, make_clip: Clip, tmp_path: Path
) -> None:
    whole = make_clip(
        tmp_path / "whole.mkv", frames=20, size=CLIP_SIZE, gop=4, draw=lambda number: pictures[number % FRAMES]
    )
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    code, said, report = extract(cut, reference, tmp_path / "out")
    assert code == 0, said
    assert 5 < int(str(report["frames_decoded"])) < 20
    assert any("truncated" in warning for warning in report["warnings"])  # type: ignore[attr-defined]
    assert kept_frames(tmp_path / "out")


def test_an_mp4_cut_before_its_index_is_told_as_such(
    pictures: list[NDArray[np.uint8]], reference: Path, make_clip: Clip, tmp_path: Path
) -> None:
    whole = make_clip(tmp_path / "whole.mp4", frames=FRAMES, size=CLIP_SIZE, draw=pictures.__getitem__)
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 6 // 10])
    code, _, report = extract(cut, reference, tmp_path / "out")
    assert code == 1
    assert "cut.mp4" in str(report["error"])
    assert not (tmp_path / "out").exists(), "nothing is begun"


def test_sound_without_pictures_is_told_as_such(reference: Path, make_clip: Clip, tmp_path: Path) -> None:
    sound = make_clip(tmp_path / "sound.mp4", codec=None, audio=True)
    code, _, report = extract(sound, reference, tmp_path / "out")
    assert code == 1
    assert "no video stream" in str(report["error"])
