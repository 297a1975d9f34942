"""Only a proof lets an original be deleted: no part, no hole and no second film passes for all that a file holds."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import InputError
from engine.footage.verdict import verdict_on
from engine.footage.video import open_frames
from engine.frames.stretch import StretchReader
from engine.types import SourceVerdict
from tests.clips import Image, draw_numbered, is_deletable, make_clip

FRAMES = 20

SIZE = (96, 64)
PLACES = int(os.environ.get("DFLD_PROOF_PLACES", "12"))
"""Where each file is cut, ended by zeros and holed; the last four places are the ends that are easily missed."""
FLAT, JPEG = {"codec": "mpeg4"}, {"codec": "mjpeg", "pix_fmt": "yuvj420p"}
MPEG2 = {"codec": "mpeg2video"}
KINDS: dict[str, dict[str, object]] = {
    "a.mp4": {"audio": True},
    "front.mp4": {"container_options": {"movflags": "faststart"}},
    "fragments.mp4": {"container_options": {"movflags": "frag_keyframe+empty_moov"}},
    "dash.mp4": {"container_options": {"movflags": "dash+frag_keyframe+empty_moov+skip_trailer"}},
    "a.mov": JPEG,
    "prores.mov": {"codec": "prores", "pix_fmt": "yuv422p10le"},
    "a.m4v": FLAT,
    "a.3gp": FLAT,
    "a.mkv": {"audio": True},
    "live.mkv": {"container_options": {"live": "1"}},
    "a.webm": {"codec": "libvpx-vp9"},
    "a.avi": {**FLAT, "audio": True},
    "jpeg.avi": JPEG,
    "a.flv": {"audio": True},
    "a.ts": {},
    "mpeg2.ts": MPEG2,
    "a.m2ts": {},
    "a.mpg": MPEG2,
    "a.vob": MPEG2,
    "a.wmv": {"codec": "wmv2"},
    "a.asf": FLAT,
    "a.ogv": {"codec": "libvpx"},
    "a.dv": {"codec": "dvvideo", "size": (720, 576)},
    "a.mxf": MPEG2,
    "a.nut": FLAT,
    "a.ivf": {"codec": "libvpx-vp9"},
    "a.y4m": {"codec": "rawvideo"},
    "a.gif": {"codec": "gif", "pix_fmt": "rgb8"},
    "a.apng": {"codec": "apng", "pix_fmt": "rgb24"},
    "a.rm": {"codec": "rv10", "size": (176, 144)},
    "a.h264": {},
    "a.hevc": {"codec": "libx265"},
    "a.m1v": {"codec": "mpeg1video"},
    "a.m2v": MPEG2,
    "a.mjpeg": JPEG,
}
PROVABLE = {
    "a.mp4", "front.mp4", "fragments.mp4", "a.mov", "prores.mov", "a.m4v", "a.3gp", "a.mkv", "a.webm", "a.avi",
    "jpeg.avi", "a.flv", "a.ts", "mpeg2.ts", "a.m2ts", "a.mpg", "a.vob", "a.ogv", "a.dv",
}  # fmt: skip
"""What a whole file proves by itself; the documentation lists the same."""


def grainy(number: int) -> Image:
    grain = np.random.default_rng(number).integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return np.asarray(draw_numbered(number, SIZE) // 2 + grain, np.uint8)


def clip(folder: Path, kind: str) -> Path:
    options: dict[str, object] = dict(KINDS[kind])
    if "size" not in options:
        options |= {"size": SIZE, "draw": grainy}
    frames = 6 if kind == "a.dv" else FRAMES
    return make_clip(folder / kind, frames=frames, **options)  # type: ignore[arg-type]


def judged(path: Path) -> tuple[SourceVerdict, list[bytes]]:
    """Return the verdict, and every picture that was read."""
    try:
        with open_frames(path, decode_threads=1) as reader:
            pictures = [one.luma(48).tobytes() for one in reader]
            return verdict_on(reader.evidence()), pictures
    except InputError:
        return SourceVerdict("lost footage", "it cannot be read"), []


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_is_deletable_unless_every_picture_of_the_whole_file_was_read(tmp_path: Path, kind: str) -> None:
    path = clip(tmp_path, kind)
    whole, changed = path.read_bytes(), tmp_path / f"changed{path.suffix}"
    verdict, pictures = judged(path)
    assert verdict.word == "whole", verdict.sentence
    assert is_deletable(verdict) == (kind in PROVABLE), verdict.unread
    chance = random.Random(kind)
    places = [chance.randrange(len(whole) // 8, len(whole)) for _ in range(PLACES - 4)]
    places += [len(whole) - 1, len(whole) - 8, len(whole) * 15 // 16, len(whole) // 2048 * 2048 - 2048]
    for at in filter(None, (max(0, place) for place in places)):
        for what, content in {
            "cut": whole[:at],
            "zeros to its end": whole[:at] + bytes(len(whole) - at),
            "a hole": whole[:at] + bytes(min(4096, len(whole) - at)) + whole[at + 4096 :],
        }.items():
            changed.write_bytes(content)
            verdict, found = judged(changed)
            assert not is_deletable(verdict) or found == pictures, f"{what} at {at} of {len(whole)}: {len(found)}"
    for between in (b"", b"JUNK" * 5, bytes(600)):
        changed.write_bytes(whole + between + whole)
        verdict, found = judged(changed)
        assert not is_deletable(verdict) or len(found) == 2 * len(pictures), f"behind {between[:4]!r}: {len(found)}"


@pytest.mark.parametrize("kind", ["front.mp4", "fragments.mp4", "a.wmv"])
def test_a_second_film_is_lost_footage_whatever_lies_between(tmp_path: Path, kind: str) -> None:
    path, other = clip(tmp_path, kind), clip(tmp_path, "live.mkv" if kind != "a.wmv" else "a.asf")
    joined = tmp_path / f"joined{path.suffix}"
    for content in (path.read_bytes() * 2, path.read_bytes() + b"JUNK" * 5 + other.read_bytes()):
        joined.write_bytes(content)
        verdict, _ = judged(joined)
        assert (verdict.word, "second movie" in verdict.why) == ("lost footage", True), verdict.sentence


@pytest.mark.parametrize("kind", ["a.dv", "a.vob", "a.ts", "live.mkv", "a.avi"])
def test_zeros_to_the_end_are_lost_footage_where_no_end_is_stated_before_them(tmp_path: Path, kind: str) -> None:
    path = clip(tmp_path, kind)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2] + bytes(len(content) - len(content) // 2))
    assert judged(path)[0].word == "lost footage"


@pytest.mark.parametrize("kind", ["a.mp4", "a.mkv", "a.avi", "a.flv", "a.ts", "a.mpg", "a.dv", "live.mkv"])
def test_padding_raises_no_alarm_in_any_container(tmp_path: Path, kind: str) -> None:
    path = clip(tmp_path, kind)
    content = path.read_bytes()
    path.write_bytes(content + bytes(len(content) // 100))
    verdict, _ = judged(path)
    assert (verdict.word, is_deletable(verdict)) == ("whole", kind in ("a.mp4", "a.mkv", "a.avi", "a.flv"))


@pytest.mark.parametrize("suffix", ["mkv", "ts", "mp4"])
def test_a_second_video_stream_keeps_the_original(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"two.{suffix}"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("libx264", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(FRAMES):
            for stream in streams:
                picture = av.VideoFrame.from_ndarray(grainy(number), format="bgr24").reformat(format="yuv420p")
                picture.pts = number
                container.mux(stream.encode(picture))
        for stream in streams:
            container.mux(stream.encode(None))
    verdict, found = judged(path)
    assert (verdict.word, len(found)) == ("whole", FRAMES)
    assert "it holds a second video stream that was not read" in verdict.unread


def test_a_stretch_is_no_proof_of_the_rest(tmp_path: Path) -> None:
    path = clip(tmp_path, "a.mp4")
    with StretchReader(open_frames(path), start_s=None, end_s=0.2) as reader:
        assert sum(1 for _ in reader) == 5
        assert not is_deletable(verdict_on(reader.evidence()))
    with StretchReader(open_frames(path), start_s=None, end_s=None) as reader:
        assert sum(1 for _ in reader) == FRAMES
        assert is_deletable(verdict_on(reader.evidence()))


def test_pictures_that_an_edit_list_hides_keep_the_original(tmp_path: Path, remux: Callable[..., Path]) -> None:
    hidden = remux(clip(tmp_path, "a.mp4"), tmp_path / "cut.mp4")
    verdict, found = judged(hidden)
    assert (verdict.word, len(found) < FRAMES) == ("whole", True)
    assert any("edit list" in one for one in verdict.unread)


@pytest.fixture
def remux() -> Callable[..., Path]:
    """Write an MP4 whose edit list begins in the middle of it."""

    def write(source: Path, target: Path) -> Path:
        content = bytearray(source.read_bytes())
        at = content.index(b"elst") + 4
        number = int.from_bytes(content[at + 4 : at + 8], "big")
        assert number == 1
        assert content[at] == 0
        scale_at = content.index(b"mdhd") + 4
        scale = int.from_bytes(content[scale_at + 12 : scale_at + 16], "big")
        content[at + 12 : at + 16] = (scale * 10 // 25).to_bytes(4, "big")  # media time, in the track's units
        target.write_bytes(content)
        return target

    return write


def test_a_picture_that_a_transport_stream_lost_without_a_trace_in_the_others_keeps_the_original(
    tmp_path: Path,
) -> None:
    path = clip(tmp_path, "a.ts")  # a key frame every 12 pictures: nothing is built on the one before it
    content = path.read_bytes()
    packets = [content[at : at + 188] for at in range(0, len(content), 188)]
    begins = [place for place, one in enumerate(packets) if one[1] & 0x40 and b"\0\0\1\xe0" in one]
    assert len(begins) == FRAMES
    path.write_bytes(b"".join(packets[: begins[11]] + packets[begins[12] :]))
    verdict, found = judged(path)
    assert (len(found), is_deletable(verdict)) == (FRAMES - 1, False)
