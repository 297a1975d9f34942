"""A source has the same hash for `dfld extract` as the ledger has it for an inbox."""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from daemon.arrivals.hashing import content_hash, member_hashes
from daemon.arrivals.scan import ScanRules, inspect_unit
from engine.footage.source_hash import source_sha256

GO_ON = threading.Event()


def hash_in_inbox(inbox: Path, path: str, kind: str) -> str:
    unit = inspect_unit(inbox, path, ScanRules(), "video" if kind == "video" else "folder")
    assert unit is not None
    return content_hash(unit, member_hashes(inbox, unit, lambda: False, within=[inbox]))


def test_a_video_is_its_bytes(tmp_path: Path) -> None:
    clip = tmp_path / "clip.mp4"
    clip.write_bytes(os.urandom(9_000_000))
    steps: list[int] = []
    found = source_sha256(clip, stop=GO_ON, step=lambda: steps.append(1))
    assert found == hashlib.sha256(clip.read_bytes()).hexdigest() == hash_in_inbox(tmp_path, "clip.mp4", "video")
    assert len(steps) > 1, "signs of life while a long file is read"


def test_a_folder_is_the_names_and_bytes_of_its_images(tmp_path: Path) -> None:
    folder = tmp_path / "shot"
    folder.mkdir()
    for name in ("10.png", "9.png", "9.jpg", "ü.png", ".hidden.png", "notes.txt"):
        (folder / name).write_bytes(name.encode())
    (folder / "link.png").symlink_to(folder / "9.png")
    found = source_sha256(folder, stop=GO_ON)
    assert found == hash_in_inbox(tmp_path, "shot", "folder")
    (folder / "9.png").rename(folder / "8.png")
    assert source_sha256(folder, stop=GO_ON) != found


def test_a_stop_ends_the_reading(tmp_path: Path) -> None:
    clip, stop = tmp_path / "clip.mp4", threading.Event()
    clip.write_bytes(b"x" * 9_000_000)
    steps: list[int] = []

    def stop_at_once() -> None:
        steps.append(1)
        stop.set()

    assert source_sha256(clip, stop=stop, step=stop_at_once) == ""
    assert len(steps) == 1


def test_what_cannot_be_read_is_for_the_decoder_to_say(tmp_path: Path) -> None:
    assert source_sha256(tmp_path / "absent.mp4", stop=GO_ON) == hashlib.sha256().hexdigest()
