"""Was it read whole? Sound files of every kind are; a file that lacks footage never is, wherever it was cut."""

from __future__ import annotations

import random
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from engine.errors import InputError
from engine.footage import structure
from engine.footage.structure import structure_of
from engine.footage.verdict import verdict_on
from engine.footage.video import open_frames
from engine.frames.contract import Evidence
from engine.types import WHOLE, Cursor, SourceVerdict
from tests.clips import Image, draw_numbered, is_deletable

Maker = Callable[..., Path]

FRAMES = 60
RATE = 25
SIZE = (160, 96)
FRAGMENTED = {"container_options": {"movflags": "frag_keyframe+empty_moov+default_base_moof"}}
B_FRAMES = {"b_frames": 2, "options": {"preset": "fast"}}
MADE: dict[str, tuple[str, dict[str, object]]] = {
    "mp4": ("a.mp4", {}),
    "mp4, index in front": ("a.mp4", {"container_options": {"movflags": "faststart"}, "audio": True}),
    "mp4, fragmented": ("a.mp4", FRAGMENTED),
    "mp4, fragmented, with sound": ("a.mp4", {**FRAGMENTED, "audio": True}),
    "mov, B-frames": (
        "a.mov",
        {**B_FRAMES, "container_options": {"movflags": "faststart"}},
    ),
    "mkv": ("a.mkv", {}),
    "mkv with sound, B-frames": ("a.mkv", {"audio": True, **B_FRAMES}),
    "mkv, live": ("a.mkv", {"container_options": {"live": "1"}}),
    "webm": ("a.webm", {"codec": "libvpx-vp9"}),
    "transport stream": ("a.ts", {}),
    "transport stream with sound": ("a.ts", {"audio": True, **B_FRAMES}),
    "flv": ("a.flv", {"audio": True}),
    "avi": ("a.avi", {"codec": "mpeg4"}),
    "avi, mjpeg": ("a.avi", {"codec": "mjpeg", "pix_fmt": "yuvj420p"}),
    "program stream": ("a.mpg", {"codec": "mpeg2video"}),
    "ogv": ("a.ogv", {"codec": "libvpx"}),
    "wmv": ("a.wmv", {"codec": "wmv2"}),
    "raw h264": ("a.h264", {}),
    "raw h264, B-frames": ("a.h264", {**B_FRAMES}),
    "variable rate mp4": ("a.mp4", {"ticks": [n * 40 if n < 40 else 1600 + (n - 40) * 330 for n in range(FRAMES)]}),
    "variable rate mkv": ("a.mkv", {"ticks": [n * 20 + (n // 10) * 700 for n in range(FRAMES)]}),
    "mp4 with a long last frame": ("a.mp4", {"ticks": [*(n * 40 for n in range(FRAMES - 1)), 9000]}),
    "mkv with a long last frame": ("a.mkv", {"ticks": [*(n * 40 for n in range(FRAMES - 1)), 9000]}),
}
BY_FFMPEG = {
    "ogv, Theora": ("t.ogv", ["-c:v", "libtheora", "-c:a", "libvorbis"]),
    "DV, 525 lines": ("n.dv", ["-target", "ntsc-dv"]),
    "DV, 625 lines": ("p.dv", ["-target", "pal-dv"]),
    "mov with an edit list": ("e.mov", ["-ss", "0.5", "-c:v", "libx264", "-bf", "2", "-c:a", "aac"]),
    "mp4 cut without encoding": ("c.mp4", []),
    "NTSC rate": ("r.mp4", ["-r", "30000/1001", "-c:v", "libx264", "-c:a", "aac"]),
    "mpeg4 avi with B-frames": ("b.avi", ["-c:v", "mpeg4", "-bf", "2", "-c:a", "mp3"]),
    "open groups of pictures": (
        "o.ts",
        ["-c:v", "libx264", "-x264-params", "open-gop=1:keyint=12:bframes=3", "-c:a", "aac"],
    ),
    "mpeg1": ("m.mpg", ["-c:v", "mpeg1video", "-c:a", "mp2"]),
    "HEVC": ("h.mkv", ["-c:v", "libx265", "-x265-params", "log-level=none", "-c:a", "aac"]),
    "sound much longer": ("s.mkv", ["-c:v", "libx264", "-c:a", "aac", "-af", "apad=pad_dur=4"]),
}
PROVEN = set(MADE) - {"mkv, live", "wmv", "raw h264", "raw h264, B-frames"}
CAN_BE_CUT = [
    "mp4, index in front", "mp4, fragmented", "mp4, fragmented, with sound", "mov, B-frames", "mkv",
    "mkv with sound, B-frames", "webm", "transport stream", "transport stream with sound", "flv", "avi",
    "program stream", "ogv", "wmv",
]  # fmt: skip


def grainy(number: int) -> Image:
    """Draw pictures that no codec makes small: a frame has some kilobytes, as real ones have."""
    grain = np.random.default_rng(number).integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return np.asarray(draw_numbered(number, SIZE) // 2 + grain, np.uint8)


def judged(path: Path, after: Cursor | None = None) -> tuple[SourceVerdict, int]:
    """Read a file to its end; return the verdict, and how many frames came."""
    with open_frames(path, after=after) as reader:
        frames = sum(1 for _ in reader)
        return verdict_on(reader.evidence()), frames


@pytest.fixture(scope="module")
def whole(make_clip: Maker, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("whole")

    def get(kind: str) -> Path:
        name, options = MADE[kind]
        path = folder / kind.replace(" ", "-") / name
        if not path.exists():
            path.parent.mkdir()
            make_clip(path, **{"frames": FRAMES, "rate": RATE, "size": SIZE, "draw": grainy, **options})
        return path

    return get


@pytest.mark.parametrize("kind", MADE)
def test_a_sound_file_is_whole(whole: Callable[[str], Path], kind: str) -> None:
    verdict, frames = judged(whole(kind))
    assert (verdict.word, frames) == ("whole", FRAMES)
    assert is_deletable(verdict) == (kind in PROVEN), verdict.unread


@pytest.mark.parametrize("kind", BY_FFMPEG)
def test_a_sound_file_of_ffmpeg_is_whole(tmp_path: Path, kind: str) -> None:
    if shutil.which("ffmpeg") is None:
        pytest.skip("there is no ffmpeg")
    name, options = BY_FFMPEG[kind]
    source = ["-f", "lavfi", "-i", "testsrc2=s=192x144:d=2:r=25", "-f", "lavfi", "-i", "sine=d=2"]
    if not options:  # between two key frames: an edit list hides what comes before
        run_ffmpeg(*source, "-c:v", "libx264", "-g", "25", "-bf", "2", "-c:a", "aac", tmp_path / "long.mp4")
        source, options = ["-ss", "0.7", "-i", str(tmp_path / "long.mp4"), "-t", "0.9"], ["-c", "copy"]
    run_ffmpeg(*source, *options, tmp_path / name)
    verdict, frames = judged(tmp_path / name)
    assert verdict.word == "whole", verdict.sentence
    assert frames > 15


def run_ffmpeg(*words: str | Path) -> None:
    done = subprocess.run(
        ["ffmpeg", "-v", "error", "-y", *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    if "Unknown encoder" in done.stderr:
        pytest.skip(f"this ffmpeg has no such encoder: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("kind", CAN_BE_CUT)
def test_a_file_that_was_cut_anywhere_is_never_whole(whole: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    content = whole(kind).read_bytes()
    chance = random.Random(kind)
    lengths = sorted({int(len(content) * part / 24) for part in range(4, 24)} | {len(content) - 1, len(content) - 7})
    lengths += [chance.randrange(len(content) // 6, len(content)) for _ in range(12)]
    for length in lengths:
        cut = tmp_path / f"cut{whole(kind).suffix}"
        cut.write_bytes(content[:length])
        try:
            verdict, frames = judged(cut)
        except InputError:
            continue  # nothing of it is read: it is not done, but quarantined
        assert verdict.word == "lost footage", f"{kind} cut at {length} of {len(content)}: {frames} frames"
        if verdict.missing_share is not None and frames:
            assert 1 - frames / FRAMES - 0.4 < verdict.missing_share, verdict.sentence


@pytest.mark.parametrize("kind", ["mkv", "transport stream", "avi", "mp4, index in front", "program stream", "ogv"])
def test_damage_is_told_wherever_it_lies(whole: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    content, told = whole(kind).read_bytes(), 0
    for part in (0.3, 0.5, 0.75, 0.92):
        broken = bytearray(content)
        at = int(len(content) * part)
        size = min(max(600, len(content) // 40), len(content) - at)  # more than a picture
        broken[at : at + size] = random.Random(at).randbytes(size)
        path = tmp_path / f"broken{whole(kind).suffix}"
        path.write_bytes(broken)
        verdict, frames = judged(path)
        told += verdict.word == "lost footage"
        # Some bytes decode to other pictures without an error; a picture that does not come is always told.
        assert verdict.word == "lost footage" or frames == FRAMES, f"{kind}: damaged at {at} of {len(content)}"
    assert told >= 3


@pytest.mark.parametrize("kind", ["mp4", "mkv", "flv", "avi"])
def test_a_second_movie_behind_the_first_is_told(whole: Callable[[str], Path], tmp_path: Path, kind: str) -> None:
    joined = tmp_path / f"joined{whole(kind).suffix}"
    joined.write_bytes(whole(kind).read_bytes() * 2)
    verdict, frames = judged(joined)
    if frames < 2 * FRAMES:
        assert verdict.word == "lost footage"
        assert "second movie" in verdict.why
    if kind == "mp4":
        assert verdict.missing_s == pytest.approx(FRAMES / RATE, abs=0.1)
        assert verdict.missing_share == pytest.approx(0.5, abs=0.05)


def test_a_resumed_run_judges_as_an_undisturbed_one(whole: Callable[[str], Path], tmp_path: Path) -> None:
    for kind in ("mkv", "transport stream", "mp4, index in front"):
        content = whole(kind).read_bytes()
        cut = tmp_path / f"cut{whole(kind).suffix}"
        cut.write_bytes(content[: len(content) * 7 // 10 + 11])
        for path in (cut, whole(kind)):
            with open_frames(path) as reader:
                frames = [(frame.index, frame.pts) for frame in reader]
                undisturbed = reader.evidence()
            index, pts = frames[len(frames) // 2]
            with open_frames(path, after=Cursor(index + 1, pts)) as reader:
                for _ in reader:
                    pass
                assert replace(reader.evidence(), damaged=undisturbed.damaged) == undisturbed


def test_a_file_that_grows_or_changes_while_it_is_read_is_told(whole: Callable[[str], Path], tmp_path: Path) -> None:
    for kind, change in (("mkv", "grow"), ("mp4", "rewrite")):
        path = tmp_path / whole(kind).name
        shutil.copy(whole(kind), path)
        with open_frames(path) as reader:
            next(reader)
            if change == "grow":
                with path.open("ab") as file:
                    file.write(b"more")
            else:
                content = path.read_bytes()
                with path.open("r+b") as file:
                    file.write(content[: len(content) // 2])
                    file.truncate()
            for _ in reader:
                pass
            word = verdict_on(reader.evidence()).word
        assert word == ("still growing" if change == "grow" else "other content")


def test_an_image_that_is_not_read_is_lost_footage(tmp_path: Path, make_clip: Maker) -> None:
    folder = tmp_path / "shots"
    folder.mkdir()
    for number in range(4):
        cv2.imwrite(str(folder / f"{number}.png"), draw_numbered(number))
    assert judged(folder) == (WHOLE, 4)
    (folder / "1.png").write_bytes(b"no picture")
    verdict, frames = judged(folder)
    assert (verdict.word, verdict.missing_share, frames) == ("lost footage", 0.25, 3)


def test_the_sentence_says_how_much_is_missing() -> None:
    cut = Evidence(100, total_bytes=300, missing_bytes=100, is_sized=True, reached_s=4.0, frame_s=0.04)
    verdict = verdict_on(cut)
    assert (verdict.missing_s, verdict.missing_share) == (pytest.approx(4 / 3), pytest.approx(0.25))
    assert verdict.sentence.endswith("1.3 s, 25.0% of it is missing")
    unknown = verdict_on(replace(cut, is_sized=False))
    assert (unknown.word, unknown.missing_s, unknown.missing_share) == ("lost footage", None, None)
    assert unknown.sentence.endswith("how much is missing is not known")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({}, "whole"),
        ({"damaged": 1}, "lost footage"),
        ({"broke_off": True}, "lost footage"),
        ({"concealed": True}, "lost footage"),
        ({"unread_files": 1}, "lost footage"),
        ({"trouble": "is odd"}, "lost footage"),
        ({"promised_s": 5.0}, "lost footage"),
        ({"promised_s": 5.0, "is_complete": True}, "whole"),
        ({"frames_promised": 200}, "lost footage"),
        ({"promised_s": 5.0, "frames_promised": 100}, "whole"),
        ({"grew": True, "damaged": 1}, "still growing"),
        ({"replaced": True, "grew": True}, "other content"),
    ],
)
def test_what_each_piece_of_evidence_means(change: dict[str, object], word: str) -> None:
    sound = Evidence(100, total_bytes=1000, missing_bytes=0, reached_s=4.0, frame_s=0.04)
    assert verdict_on(replace(sound, **change)).word == word  # type: ignore[arg-type]


def test_what_was_not_read_raises_no_alarm_and_is_no_leave_to_delete() -> None:
    sound = Evidence(100, total_bytes=1000, missing_bytes=0, reached_s=4.0, frame_s=0.04)
    assert is_deletable(verdict_on(sound))
    verdict = verdict_on(replace(sound, unread=("it holds a second video stream that was not read",)))
    assert (verdict.word, verdict.sentence, is_deletable(verdict)) == ("whole", "whole", False)
    assert not is_deletable(verdict_on(replace(sound, damaged=1)))


def test_a_structure_is_walked_without_end_only_once(tmp_path: Path) -> None:
    for name, content in {
        "odd": b"\0\0\0\x18ftypisom" + bytes(12) + b"\0\0\0\x04mdat" + bytes(1000),
        "many": b"\0\0\0\x08free" * 20_000,
        "zeros": bytes(100_000),
        "notes": b"dear diary" * 1000,
    }.items():
        (tmp_path / name).write_bytes(content)
    found = {}
    for path in tmp_path.iterdir():
        with path.open("rb") as file:
            found[path.name] = structure_of(file).missing_bytes
    assert found == {"odd": 0, "many": None, "zeros": None, "notes": None}


WALKED = [
    "mp4", "mp4, fragmented", "mkv", "mkv, live", "webm", "flv", "avi", "ogv", "program stream",
    "transport stream", "wmv",
]  # fmt: skip


@pytest.mark.parametrize("kind", WALKED)
def test_of_what_was_not_walked_to_its_end_nothing_is_said(
    whole: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """A walk that a limit ended knows no end: it neither raises an alarm over it nor proves the file complete."""
    with whole(kind).open("rb") as file:
        full = structure_of(file)
        told = []
        for limit in range(1, 400):
            monkeypatch.setattr(structure, "ELEMENTS_MAX", limit)
            told.append(structure_of(file))
    ended = told.index(full) if full in told else len(told)
    assert all(one == structure.Structure(full.container) for one in told[:ended]), kind
    assert all(one == full for one in told[ended:]), kind
    assert full.missing_bytes == 0


def test_a_file_of_more_elements_than_are_walked_is_whole_all_the_same(
    whole: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(structure, "ELEMENTS_MAX", 3)
    for kind in WALKED:
        verdict, frames = judged(whole(kind))
        assert (verdict.word, frames) == ("whole", FRAMES), kind
        has_no_limit = kind in ("program stream", "transport stream")
        assert is_deletable(verdict) == has_no_limit, kind
