"""Every way that files arrive: none started before it is whole, none missed.

Each way delivers several files at once, in pieces with pauses that are shorter than the gate's patience where a
writer cannot be seen. A file that was taken too early would leave a job with the hash of a half.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.daemon_rig import InProcess, Rig, wait_until
from tests.fake_worker import fake_video

FILES_A_WAY = int(os.environ.get("DFLD_FILES_A_WAY", "10"))
PIECES = 6
PAUSE_S = 0.15
"""Between two pieces; the gate of these tests waits 0.4 s."""
LONG_PAUSE_S = 0.8
"""Longer than the gate's patience: here only the open writer holds the file back."""


def pieces(content: bytes) -> Iterator[bytes]:
    size = -(-len(content) // PIECES)
    return (content[start : start + size] for start in range(0, len(content), size))


def copied(target: Path, content: bytes, outside: Path) -> None:
    outside.write_bytes(content)
    subprocess.run(["cp", str(outside), str(target)], check=True)


def copied_slowly(target: Path, content: bytes, outside: Path) -> None:
    with target.open("wb") as file:
        for number, piece in enumerate(pieces(content)):
            file.write(piece)
            file.flush()
            pause(LONG_PAUSE_S if number == 2 else PAUSE_S)


def moved(target: Path, content: bytes, outside: Path) -> None:
    outside.write_bytes(content)
    outside.rename(target)


def hard_linked(target: Path, content: bytes, outside: Path) -> None:
    outside.write_bytes(content)
    target.hardlink_to(outside)


def symlinked(target: Path, content: bytes, outside: Path) -> None:
    outside.write_bytes(content)
    target.symlink_to(outside)


def renamed_when_whole(target: Path, content: bytes, outside: Path) -> None:
    temporary = target.with_name(f".{target.name}.Ab12Cd")  # as rsync does
    with temporary.open("wb") as file:
        for piece in pieces(content):
            file.write(piece)
            file.flush()
            pause(PAUSE_S)
    temporary.rename(target)


def grown_in_place(target: Path, content: bytes, outside: Path) -> None:
    for piece in pieces(content):
        with target.open("ab") as file:  # closed between the pieces: no writer is to be seen
            file.write(piece)
        pause(PAUSE_S)


def preallocated(target: Path, content: bytes, outside: Path) -> None:
    with target.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, len(content))
        pause(LONG_PAUSE_S)
        for piece in pieces(content):
            file.write(piece)
            file.flush()
            pause(PAUSE_S)


def sparse(target: Path, content: bytes, outside: Path) -> None:
    with target.open("wb") as file:
        file.truncate(len(content))
    pause(LONG_PAUSE_S)  # nobody holds it open: only its missing blocks tell
    with target.open("r+b") as file:
        for piece in pieces(content):
            file.write(piece)
            file.flush()
            pause(PAUSE_S)


def replaced(target: Path, content: bytes, outside: Path) -> None:
    target.write_bytes(content[: len(content) // 2])
    pause(PAUSE_S)
    beside = target.with_name(f".{target.name}.new")
    beside.write_bytes(content)
    beside.replace(target)


def moved_with_its_folder(target: Path, content: bytes, outside: Path) -> None:
    folder = outside.with_suffix("")
    (folder / "inner").mkdir(parents=True)
    (folder / "inner" / target.name).write_bytes(content)
    folder.rename(target.with_suffix(""))


def downloaded_with_a_control_file(target: Path, content: bytes, outside: Path) -> None:
    control = target.with_name(f"{target.name}.aria2")
    control.write_bytes(b"control")
    target.write_bytes(content[: len(content) // 2])
    pause(LONG_PAUSE_S)
    target.write_bytes(content)
    control.unlink()


def joined_by_yt_dlp(target: Path, content: bytes, outside: Path) -> None:
    """Picture and sound come by themselves, are joined under a temporary name, and only then have their own."""
    for ending in (".f137.mp4", ".f140.m4a"):
        part = target.with_suffix(f"{ending}.part")
        part.write_bytes(b"stream " + content[: len(content) // 2])
        part.rename(target.with_suffix(ending))
    pause(LONG_PAUSE_S)
    joined = target.with_suffix(".temp.mp4")
    joined.write_bytes(content[: len(content) // 2])
    pause(LONG_PAUSE_S)
    joined.write_bytes(content)
    joined.rename(target)
    for ending in (".f137.mp4", ".f140.m4a"):
        target.with_suffix(ending).unlink()


def pause(seconds: float) -> None:
    """Wait as a slow copy does; the length is part of the fault, not of the test's luck."""
    threading.Event().wait(seconds)


WAYS = [
    copied, copied_slowly, moved, hard_linked, symlinked, renamed_when_whole, grown_in_place, preallocated, sparse,
    replaced, moved_with_its_folder, downloaded_with_a_control_file, joined_by_yt_dlp,
]  # fmt: skip


@pytest.mark.parametrize("mode", ["events", "poll"])
def test_no_way_of_arriving_is_started_early_or_missed(tmp_path: Path, mode: str) -> None:
    rig = Rig(tmp_path)
    rig.tables["watch"] |= {"stable_for": "400ms", "rescan_every": "1s" if mode == "poll" else "1h", "mode": mode}
    (tmp_path / "outside").mkdir()
    rig.inboxes["alice"]["link_targets"] = [str(tmp_path / "outside")]
    wanted: dict[str, str] = {}
    with InProcess(rig):
        threads = []
        for way in WAYS:
            for number in range(FILES_A_WAY):
                name = f"{way.__name__}-{number}.mp4"
                content = video_of(name)
                wanted[hashlib.sha256(content).hexdigest()] = name
                threads.append(deliver(way, rig.inbox / name, content, tmp_path / "outside" / name))
        for thread in threads:
            thread.join()
        wait_until(lambda: rig.states().count("done") == len(wanted), lambda: told(rig, wanted), 90)
    assert told(rig, wanted) == ""
    assert len(rig.faces()) == 2 * len(wanted)


def video_of(name: str) -> bytes:
    """A video of two frames, with enough bytes behind them that a half is not a whole."""
    return fake_video(frames=2, name=name) + os.urandom(60_000)


def deliver(way: Callable[[Path, bytes, Path], None], target: Path, content: bytes, outside: Path) -> threading.Thread:
    thread = threading.Thread(target=way, args=(target, content, outside))
    thread.start()
    return thread


def told(rig: Rig, wanted: dict[str, str]) -> str:
    """Return what was missed and what was started before it was whole; "" when all is well."""
    jobs = rig.jobs()
    early = [(job["path"], job["state"]) for job in jobs if job["sha256"] not in wanted]
    missed = sorted(set(wanted.values()) - {wanted.get(job["sha256"]) for job in jobs if job["state"] == "done"})
    return f"early: {early}; missed: {missed}" if early or missed else ""
