"""Bad input: a clear sentence for what gives nothing, and every sound frame of what gives something."""

from __future__ import annotations

import errno
import os
import random
import shutil
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import av
import numpy as np
import pytest

from engine.errors import InputError, InputUnavailableError
from engine.footage.verdict import verdict_on
from engine.footage.video import open_frames, probe
from engine.types import WHOLE, Cursor, Image

Maker = Callable[..., Path]
Reader = Callable[[Image], int]

HEADER_BYTES = 600  # left alone, so that the file still opens
JPEG_START = b"\xff\xd8\xff"
B_FRAMES = {"b_frames": 2, "options": {"preset": "medium"}}
DAMAGED = {
    "h264 mp4": ("clip.mp4", B_FRAMES),
    "h264 mkv": ("clip.mkv", B_FRAMES),
    "h264 transport stream": ("clip.ts", B_FRAMES),
    "mpeg4 avi": ("clip.avi", {"codec": "mpeg4"}),
    "mjpeg avi": ("m.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "vp9 webm": ("clip.webm", {"codec": "libvpx-vp9"}),
}


def read_all(path: Path, after: Cursor | None = None) -> list[tuple[int, int | None, int, str]]:
    with open_frames(path, after=after) as reader:
        return [(f.index, f.pts, f.packets_damaged, sha256(f.to_frame().pixels.tobytes()).hexdigest()) for f in reader]


def flip_bits(source: Path, target: Path, *, count: int, seed: int) -> Path:
    data, chance = bytearray(source.read_bytes()), random.Random(seed)
    for _ in range(count):
        data[chance.randrange(HEADER_BYTES, len(data))] ^= 1 << chance.randrange(8)
    target.write_bytes(data)
    return target


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"these are words, and no video" * 100, "is not a video"),
        (bytes(5000), "is not a video"),
    ],
)
def test_what_is_no_video_is_told_in_a_sentence(tmp_path: Path, content: bytes, sentence: str) -> None:
    path = tmp_path / "clip.mp4"
    path.write_bytes(content)
    with pytest.raises(InputError, match=sentence) as caught:
        probe(path)
    assert caught.value.hint
    assert str(path) in caught.value.message


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        probe(tmp_path / "nowhere.mp4")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.mp4")
    with pytest.raises(InputError, match="is a pipe, expected"):
        probe(tmp_path / "pipe.mp4")


def test_a_file_that_may_not_be_read_is_told(make_clip: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=2)
    clip.chmod(0)

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr("engine.footage.container.open_regular", refuse)  # root may read anything
    with pytest.raises(InputError, match="may not be read") as problem:
        probe(clip)
    assert isinstance(problem.value.__cause__, PermissionError)


def test_sound_alone_is_no_video(make_clip: Maker, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="has no video stream, only audio"):
        probe(make_clip(tmp_path / "sound.mp4", codec=None, audio=True))


def test_sound_with_cover_art_is_no_video(make_clip: Maker, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cover art is not video"):
        probe(make_clip(tmp_path / "song.mp4", codec=None, audio=True, cover=True))


def test_a_video_without_frames_is_told(make_clip: Maker, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "none.avi", codec="mjpeg", pix_fmt="yuvj420p")
    data = clip.read_bytes()
    clip.write_bytes(data[: data.index(JPEG_START) - 8])  # the chunk's header stands before the picture
    with pytest.raises(InputError, match=r"video stream \(mjpeg\) but no frame could be decoded"):
        probe(clip)


def test_a_playlist_is_not_followed(make_clip: Maker, tmp_path: Path) -> None:
    make_clip(tmp_path / "clip.mp4", frames=2)
    playlist = tmp_path / "list.mp4"
    playlist.write_text("ffconcat version 1.0\nfile clip.mp4\n")
    with pytest.raises(InputError, match="not a video but a list of other files"):
        probe(playlist)


def test_text_is_not_taken_for_pictures_of_text(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("hello\n" * 500)
    with pytest.raises(InputError, match="not a video"):
        probe(tmp_path / "notes.txt")


def test_an_mp4_without_its_index_says_so(make_clip: Maker, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=30)
    data = clip.read_bytes()
    clip.write_bytes(data[: data.index(b"moov") - 4])
    with pytest.raises(InputError, match=r"index \(moov\) .* is missing") as caught:
        probe(clip)
    assert "again" in caught.value.hint


@pytest.mark.parametrize("name", ["cut.mp4", "cut.mkv", "cut.avi"])
def test_a_file_cut_at_60_percent_gives_what_is_there_and_says_so(
    make_clip: Maker, frame_number: Reader, tmp_path: Path, name: str
) -> None:
    faststart = {"movflags": "faststart"} if name.endswith("mp4") else {}
    clip = make_clip(tmp_path / name, frames=80, container_options=faststart)
    clip.write_bytes(clip.read_bytes()[: int(clip.stat().st_size * 0.6)])
    with open_frames(clip) as reader:
        frames = [(frame.index, frame_number(frame.to_frame().pixels)) for frame in reader]
        verdict = verdict_on(reader.evidence())
    assert "truncated" in verdict.why
    assert verdict.missing_share == pytest.approx(0.4, abs=0.15)
    assert 30 < len(frames) < 65
    assert all(index == number for index, number in frames)


def test_a_whole_file_is_not_called_truncated(make_clip: Maker, tmp_path: Path) -> None:
    with open_frames(make_clip(tmp_path / "clip.mkv", frames=80, audio=True)) as reader:
        assert len(list(reader)) == 80
        assert reader.warnings == ()
        assert verdict_on(reader.evidence()) == WHOLE


@pytest.mark.parametrize(("name", "options"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_file_gives_the_same_frames_in_each_run_and_after_each_resume(
    make_clip: Maker, tmp_path: Path, name: str, options: dict[str, object]
) -> None:
    clip = make_clip(tmp_path / name, frames=80, gop=8, **options)
    lost = 0
    for seed in range(5):
        broken = flip_bits(clip, tmp_path / f"broken-{name}", count=20, seed=seed)
        try:
            frames = read_all(broken)
        except InputError:  # the index at the end of an MP4 was hit
            continue
        assert read_all(broken) == frames
        lost += 80 - len(frames)
        for cut in (1, len(frames) // 3, len(frames) - 1):
            index, pts, damaged, _ = frames[cut - 1]
            resumed = read_all(broken, Cursor(index + 1, pts))
            assert [(i, p, d + damaged, h) for i, p, d, h in resumed] == frames[cut:]
    assert lost > 0


def test_nothing_built_on_a_lost_picture_is_handed_out(make_clip: Maker, frame_number: Reader, tmp_path: Path) -> None:
    """The tenth packet is lost: frames come again from the next key frame on, and what was dropped keeps its index."""
    clip = make_clip(tmp_path / "clip.avi", frames=40, gop=8, codec="mpeg4")
    data = bytearray(clip.read_bytes())
    tenth = [at for at in range(len(data)) if data[at : at + 4] == b"\x00\x00\x01\xb6"][10]
    data[tenth + 8 : tenth + 40] = bytes(32)
    clip.write_bytes(data)
    with open_frames(clip) as reader:
        frames = [(frame.index, frame_number(frame.to_frame().pixels)) for frame in reader]
        assert reader.packets_damaged >= 6
    assert [number for _, number in frames] == [*range(10), *range(16, 40)]
    assert all(index == number for index, number in frames)


def test_a_packet_that_decodes_to_nothing_is_counted(make_clip: Maker, frame_number: Reader, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.avi", frames=20, codec="mjpeg", pix_fmt="yuvj420p")
    data = bytearray(clip.read_bytes())
    seventh = [at for at in range(len(data)) if data[at : at + 3] == JPEG_START][7]
    data[seventh + 400 : seventh + 700] = bytes(300)
    clip.write_bytes(data)
    with open_frames(clip) as reader:
        frames = [(frame.index, frame_number(frame.to_frame().pixels)) for frame in reader]
        assert reader.packets_damaged == 1
    assert frames == list(enumerate(number for number in range(20) if number != 7))


def test_a_clock_that_starts_over_does_not_mislead_a_resume(make_clip: Maker, tmp_path: Path) -> None:
    once = make_clip(tmp_path / "once.ts", frames=40, gop=8, **B_FRAMES)
    twice = tmp_path / "twice.ts"
    twice.write_bytes(once.read_bytes() * 2)
    whole = read_all(twice)
    assert len(whole) == 80
    for cut in (10, 30, 50, 70):
        assert read_all(twice, Cursor(cut, whole[cut - 1][1])) == whole[cut:]


def test_a_stream_without_times_resumes_by_counting(make_clip: Maker, tmp_path: Path) -> None:
    bare = make_clip(tmp_path / "bare.h264", frames=40, gop=8, **B_FRAMES)
    whole = read_all(bare)
    assert [pts for _, pts, _, _ in whole] == [None] * 40
    for cut in (10, 30):
        assert read_all(bare, Cursor(cut, None)) == whole[cut:]


def test_random_bytes_behind_a_true_header_end(make_clip: Maker, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mkv", frames=40)
    data = clip.read_bytes()
    clip.write_bytes(data[:3000] + np.random.default_rng(1).bytes(200_000))
    try:
        frames = read_all(clip)
    except InputError:
        frames = []
    assert len(frames) < 40


def test_a_disk_that_fails_under_the_reader_is_worth_another_try(
    make_clip: Maker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=40)

    def failing(*_: object, **__: object) -> Iterator[None]:
        raise av.error.OSError(5, "Input/output error", str(clip))

    monkeypatch.setattr("engine.footage.container.av.open", failing)
    with pytest.raises(InputUnavailableError, match="may be sound") as caught:
        probe(clip)
    assert caught.value.retryable


def test_a_video_is_left_as_it_was(make_clip: Maker, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=5)
    copy = shutil.copy2(clip, tmp_path / "copy.mp4")
    read_all(clip)
    assert clip.read_bytes() == Path(copy).read_bytes()


def test_a_file_of_a_few_bytes_is_not_told_as_a_video_without_an_index(tmp_path: Path) -> None:
    path = tmp_path / "few.mp4"
    path.write_bytes(b"ftyp")
    with pytest.raises(InputError, match="is not a video") as problem:
        probe(path)
    assert "moov" not in problem.value.message
