"""Going on at a cursor gives the same frames as never having stopped."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from engine.footage.decoder import Decoder, Picture
from engine.footage.video import DecodedFrame, open_frames
from engine.types import Cursor

if TYPE_CHECKING:
    from engine.footage.decoder import Packets

FRAMES = 60
UNEVEN_TICKS = [number * 40 + (number * 7) % 23 for number in range(FRAMES)]

CLIPS = {
    "h264 with B-frames in mp4": ("clip.mp4", {"b_frames": 3, "options": {"preset": "medium"}}),
    "h264 with open groups of pictures": (
        "open.mp4",
        {"b_frames": 3, "options": {"preset": "medium", "x264-params": "open-gop=1:scenecut=0:b-pyramid=strict"}},
    ),
    "h264 with one key frame": ("one_key.mp4", {"gop": 1000, "b_frames": 2, "options": {"preset": "medium"}}),
    "h264 with gradual refresh": ("refresh.mp4", {"options": {"preset": "medium", "x264-params": "intra-refresh=1"}}),
    "variable rate in mkv": ("clip.mkv", {"ticks": UNEVEN_TICKS, "b_frames": 2, "options": {"preset": "medium"}}),
    "vp9 in webm": ("clip.webm", {"codec": "libvpx-vp9"}),
    "mpeg4 in avi": ("clip.avi", {"codec": "mpeg4"}),
    "mpeg4 with B-frames in avi": ("b.avi", {"codec": "mpeg4", "b_frames": 2}),
    "mjpeg in avi": ("mjpeg.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "h264 in a transport stream": ("clip.ts", {"b_frames": 2, "options": {"preset": "medium"}}),
    "hevc in mov": ("clip.mov", {"codec": "libx265", "b_frames": 2}),
    "rotated with sound": ("turned.mp4", {"rotation": 90, "audio": True}),
}


def fingerprint(frame: DecodedFrame) -> tuple[int, int | None, str, str]:
    pixels = frame.to_frame().pixels
    return frame.index, frame.pts, frame.source_filename, sha256(pixels.tobytes()).hexdigest()


@pytest.mark.parametrize(("name", "options"), CLIPS.values(), ids=CLIPS.keys())
def test_any_cut_point_gives_the_frames_of_an_undisturbed_run(
    make_clip: Callable[..., Path], tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    clip = make_clip(tmp_path / name, frames=FRAMES, **{"gop": 8, **options})
    with open_frames(clip) as reader:
        whole = [fingerprint(frame) for frame in reader]
    assert len(whole) == FRAMES
    for cut in (0, 1, 2, 7, 8, 9, 16, 23, 31, 40, 47, 55, 59, 60):
        last_pts = whole[cut - 1][1] if cut else None
        with open_frames(clip, after=Cursor(next_frame=cut, last_pts=last_pts)) as reader:
            assert [fingerprint(frame) for frame in reader] == whole[cut:], f"cut before frame {cut}"


@pytest.mark.parametrize("name", ["h264 with B-frames in mp4", "h264 with open groups of pictures", "vp9 in webm"])
def test_a_resume_near_the_end_does_not_decode_from_the_start(
    make_clip: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    file, options = CLIPS[name]
    clip = make_clip(tmp_path / file, frames=FRAMES, **{"gop": 8, **options})
    with open_frames(clip) as reader:
        last_pts = [frame.pts for frame in reader][49]
    lowest: list[int | None] = []

    class Watched(Decoder):
        def pictures(self, packets: Packets) -> Iterator[Picture]:
            for picture in super().pictures(packets):
                lowest.append(picture.pts)
                yield picture

    monkeypatch.setattr("engine.footage.video.Decoder", Watched)
    with open_frames(clip, after=Cursor(50, last_pts)) as reader:
        assert next(reader).index == 50
    assert last_pts is not None
    assert len(lowest) < 40  # the first picture for its description, then from a key frame shortly before the cursor
