"""Only formats of footage are read: a list of other files is refused before anything that it names is opened."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from engine.errors import InputError
from engine.footage.container import CONTAINER_OPTIONS
from engine.footage.formats import FOOTAGE_FORMATS, kind_of
from engine.footage.video import open_frames, probe
from engine.types import Cursor

Maker = Callable[..., Path]
LISTS = {
    "HLS playlist": "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:5\n#EXTINF:5.0,\n{name}\n#EXT-X-ENDLIST\n",
    "HLS master playlist": "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=100000,RESOLUTION=64x64\n{name}\n",
    "concat list": "ffconcat version 1.0\nfile {name}\n",
    "concat list with a byte order mark": "\ufeffffconcat version 1.0\nfile {name}\n",
    "PLS playlist": "[playlist]\nFile1={name}\nNumberOfEntries=1\n",
    "session description": "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nm=video 5004 RTP/AVP 96\n",
    "XSPF playlist": '<?xml version="1.0"?>\n<playlist xmlns="http://xspf.org/ns/0/"><trackList><track><location>{name}'
    "</location></track></trackList></playlist>\n",
    "DASH manifest": '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
    'mediaPresentationDuration="PT5S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period><AdaptationSet '
    'mimeType="video/mp4"><Representation id="1" bandwidth="1000" width="64" height="64" codecs="avc1.42c01e">'
    "<BaseURL>{name}</BaseURL></Representation></AdaptationSet></Period></MPD>\n",
    "IMF composition": '<?xml version="1.0"?>\n<CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
    "<Id>urn:uuid:00000000-0000-0000-0000-000000000000</Id></CompositionPlaylist>\n",
    "Windows Media list": '<asx version="3.0"><entry><ref href="{name}"/></entry></asx>\n',
    "VobSub index": "# VobSub index file, v7 (do not modify this line!)\nid: en, index: 0\ntimestamp: 00:00:01:101, "
    "filepos: 000000000\n",
}


def opened_while(path: Path, pipes: list[Path], work: Callable[[], object]) -> bool:
    """Run `work`; return whether anybody opened one of the pipes for reading meanwhile, and let them go on."""
    thread = threading.Thread(target=work)
    thread.start()
    opened = False
    while thread.is_alive():
        for pipe in pipes:
            try:
                os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK))
                opened = True
            except OSError:
                pass
        thread.join(0.001)
    return opened


@pytest.mark.parametrize("ending", ["mp4", "m3u8", "sdp", "mpd", "idx", "mkv", ""])
@pytest.mark.parametrize("kind", sorted(LISTS))
def test_a_list_of_files_is_refused_and_nothing_that_it_names_is_opened(tmp_path: Path, kind: str, ending: str) -> None:
    path = tmp_path / f"clip.{ending}"
    pipes = [tmp_path / "private.ts", tmp_path / "private.m3u8", tmp_path / "clip.sub"]
    for pipe in pipes:
        os.mkfifo(pipe)
    path.write_text(LISTS[kind].format(name=pipes[1] if "master" in kind else pipes[0]))
    messages = []

    def try_it() -> None:
        try:
            probe(path)
        except InputError as problem:
            messages.append(f"{problem.message} → {problem.hint}")

    assert not opened_while(path, pipes, try_it)
    assert messages
    assert messages[0].startswith(f"{path} is not a video but a list of other files")
    assert "put the video itself there" in messages[0], "to copy a list again does not help"
    assert "untrunc" not in messages[0]


def test_a_pipe_that_is_opened_would_be_noticed(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert opened_while(tmp_path, [tmp_path / "pipe"], (tmp_path / "pipe").read_bytes)


def test_every_format_on_the_list_is_one_that_ffmpeg_knows() -> None:
    assert set(FOOTAGE_FORMATS) - av.formats_available == set()
    assert CONTAINER_OPTIONS["format_whitelist"].split(",") == list(FOOTAGE_FORMATS)


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (b"ID3\x04\0\0", "audio (MP3)"),
        (b"RIFF\0\0\0\0WAVEfmt ", "audio (WAV)"),
        (b"\x89PNG\r\n\x1a\n", "a still picture (PNG)"),
        (b"PK\x03\x04", "an archive (ZIP)"),
        (b"%PDF-1.4", "a document (PDF)"),
        (b"<html>", "text (XML or HTML)"),
        (b"1\n00:00:01,000 --> 00:00:02,000\nHello\n", "text"),
        (bytes(range(256)), ""),
        (b"", ""),
    ],
)
def test_what_else_a_file_is_is_named(content: bytes, name: str) -> None:
    assert kind_of(content) == name


def test_a_clip_swapped_while_it_is_read_is_read_on_as_it_was(make_clip: Maker, tmp_path: Path) -> None:
    clip = make_clip(tmp_path / "clip.mp4", frames=30)
    other = make_clip(tmp_path / "other.mp4", frames=30, options={"crf": "51"})
    with open_frames(clip) as reader:
        wanted = [(frame.index, frame.pts, frame.to_frame().pixels.tobytes()) for frame in reader]
    with open_frames(clip) as reader:
        got = [next(reader)]
        other.replace(clip)
        reader._go_to(Cursor(1, got[0].pts))  # as at the first damage: the decoder starts anew
        got += list(reader)
        assert [(frame.index, frame.pts, frame.to_frame().pixels.tobytes()) for frame in got] == wanted


def test_a_link_is_followed_to_where_footage_may_lie_and_nowhere_else(make_clip: Maker, tmp_path: Path) -> None:
    for name in ("inbox", "shelf", "secrets"):
        (tmp_path / name).mkdir()
    clip = make_clip(tmp_path / "shelf" / "clip.mp4", frames=2)
    shutil.copy(clip, tmp_path / "secrets")
    (tmp_path / "inbox" / "good.mp4").symlink_to(clip)
    (tmp_path / "inbox" / "bad.mp4").symlink_to(tmp_path / "secrets" / "clip.mp4")
    within = [tmp_path / "inbox", tmp_path / "shelf"]
    assert probe(tmp_path / "inbox" / "good.mp4", within=within).frames_estimate == 2
    assert probe(tmp_path / "inbox" / "bad.mp4").frames_estimate == 2
    with pytest.raises(InputError, match="outside the folders"):
        probe(tmp_path / "inbox" / "bad.mp4", within=within)


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="needs the ffmpeg program")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("clip.mkv", []),
        ("clip.webm", ["-c:v", "libvpx"]),
        ("clip.mov", []),
        ("clip.mp4", ["-movflags", "frag_keyframe+empty_moov"]),
        ("clip.avi", []),
        ("clip.ts", []),
        ("clip.mpg", []),
        ("clip.vob", []),
        ("clip.flv", ["-c:v", "flv"]),
        ("clip.wmv", []),
        ("clip.asf", []),
        ("clip.mxf", []),
        ("clip.gxf", ["-s", "720x576", "-r", "25"]),
        ("clip.dv", ["-s", "720x576", "-pix_fmt", "yuv420p", "-r", "25"]),
        ("clip.nut", []),
        ("clip.ogv", []),
        ("clip.rm", []),
        ("clip.ivf", ["-c:v", "libvpx"]),
        ("clip.y4m", ["-pix_fmt", "yuv420p"]),
        ("clip.h264", ["-c:v", "libx264"]),
        ("clip.265", ["-c:v", "libx265"]),
        ("clip.m4v", ["-f", "m4v"]),
        ("clip.m2v", []),
        ("clip.mjpeg", []),
        ("clip.gif", []),
        ("clip.apng", []),
        ("clip.3gp", ["-s", "176x144"]),
        ("clip.vc2", []),
        ("clip", ["-f", "matroska"]),
    ],
)
def test_what_cameras_and_programs_write_is_footage(tmp_path: Path, name: str, options: list[str]) -> None:
    made = subprocess.run(
        ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", "testsrc=s=128x96:r=25:d=0.4", *options, str(tmp_path / name)],
        capture_output=True,
        check=False,
    )
    if made.returncode:
        pytest.skip(f"this ffmpeg does not write it: {made.stderr[-100:]!r}")
    with av.open(str(tmp_path / name)) as container:
        wanted = [frame.pts for frame in container.decode(video=0)]
    with open_frames(tmp_path / name) as reader:
        assert [frame.pts for frame in reader] == wanted
    assert len(wanted) >= 5


@pytest.mark.parametrize("suffix", [".mkv", ".mov", ".avi"])
def test_a_file_whose_beginning_is_damaged_opens_by_its_ending_as_ffmpeg_would(
    make_clip: Maker, tmp_path: Path, suffix: str
) -> None:
    clip = make_clip(tmp_path / f"clip{suffix}", frames=10)
    data = bytearray(clip.read_bytes())
    data[:4] = b"\0\0\0\0"
    clip.write_bytes(data)
    try:
        with av.open(str(clip)) as container:
            frames = sum(1 for _ in container.decode(video=0))
    except av.FFmpegError:
        frames = 0
    try:
        with open_frames(clip) as reader:
            assert sum(1 for _ in reader) == frames
    except InputError:
        assert frames == 0
