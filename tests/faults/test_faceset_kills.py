"""SIGKILL while a faceset is sorted, curated, packed or unpacked: no face is lost, and doing it again ends the same."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from daemon.cli import main
from engine.facesets.changing.rename_journal import journal_path
from engine.facesets.face_listing import list_faces
from engine.facesets.faceset_folder import FacesetFolder
from engine.facesets.feature_cache import cache_path
from tests.daemon_rig import ROOT
from tests.faceset_rig import contents, face_jpeg, make_faceset

KILLS = int(os.environ.get("DFLD_FACESET_KILLS", "3"))
FACES = 60


def part_sorted(folder: FacesetFolder) -> float:
    """How much of a sort is done: its journal first, then its names."""
    named = sum(not path.name.startswith("clip-") for path in folder.aligned.iterdir())
    return (journal_path(folder).exists() + named) / (FACES + 1)


def part_curated(folder: FacesetFolder) -> float:
    """How much of a curation is done: its measures, its journal, then its faces."""
    begun = cache_path(folder).exists() + journal_path(folder).exists()
    return (begun + len(list(folder.aside.glob("*.jpg")))) / 40


def part_packed(folder: FacesetFolder) -> float:
    written = max((path.stat().st_size for path in folder.aligned.glob("*faceset.pak*")), default=0)
    loose = sum(path.suffix == ".jpg" for path in folder.aligned.iterdir())
    return (written / 400_000 + (FACES - loose) / FACES) / 2


def part_unpacked(folder: FacesetFolder) -> float:
    return sum(path.suffix == ".jpg" for path in folder.aligned.iterdir()) / FACES


WORKS: dict[str, tuple[list[str], Callable[[FacesetFolder], float]]] = {
    "sort": (["--by", "yaw"], part_sorted),
    "curate": (["--radius", "9"], part_curated),
    "pack": ([], part_packed),
    "unpack": ([], part_unpacked),
}


@pytest.fixture(scope="module")
def faces() -> dict[str, bytes]:
    return {f"clip-{number:08d}_0.jpg": face_jpeg(number) for number in range(FACES)}


@pytest.mark.parametrize("command", WORKS)
def test_a_killed_command_loses_no_face_and_ends_the_same_the_next_time(
    quick_folder: Path, faces: dict[str, bytes], command: str
) -> None:
    words, part_done = WORKS[command]
    for seed in range(KILLS):
        folder = make_faceset(quick_folder / str(seed), faces)
        if command == "unpack":
            assert main(["pack", str(folder.aligned)]) == 0
        goal = random.Random(seed).random()
        child = subprocess.Popen(
            [sys.executable, "-m", "daemon", command, str(folder.aligned), *words], cwd=ROOT, stdout=subprocess.DEVNULL
        )
        while child.poll() is None and _part(part_done, folder) < goal:
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        _require_all(folder, faces)
        had_ended = command == "unpack" and not folder.pack.exists()
        assert main([command, str(folder.aligned), *words]) == (1 if had_ended else 0)
        if command == "sort":
            names = [face.name for face in list_faces(folder).faces]
            assert names == [f"{number:05d}.jpg" for number in range(FACES)]
            assert main(["sort", str(folder.aligned), "--by", "origname"]) == 0
        if command == "curate":
            assert len(list(folder.aside.iterdir())) > FACES / 2
            assert main(["curate", str(folder.aligned), "--restore"]) == 0
        if command != "pack":
            assert contents(folder.aligned) == faces
        assert len(list(folder.masks.iterdir())) == FACES
        shutil.rmtree(quick_folder / str(seed))


def _part(part_done: Callable[[FacesetFolder], float], folder: FacesetFolder) -> float:
    try:
        return part_done(folder)
    except FileNotFoundError:  # renamed while it was looked at
        return 0


def _require_all(folder: FacesetFolder, faces: dict[str, bytes]) -> None:
    """Every face is there, loose or packed, with its own bytes."""
    found = {path.read_bytes() for where in folder.face_folders for path in where.glob("*.jpg")}
    packed = folder.pack.read_bytes() if folder.pack.exists() else b""
    for data in faces.values():
        assert data in found or data in packed
