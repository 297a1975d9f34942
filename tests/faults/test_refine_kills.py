"""SIGKILL while a faceset gets its second pass: each face and its mask are as before or as they are to be."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from dfl.hull import hull_mask
from dfl.image import read_metadata
from engine.facesets.changing.replacements import FOLDER
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import FacesetFolder
from engine.workspace.align import encode_mask
from engine.workspace.file_names import Layout, output_layout
from tests.daemon_rig import ROOT
from tests.faceset_rig import contents
from tests.refine_rig import FRAMES, SIDE, add_noise, extracted, folder_of, refined

KILLS = int(os.environ.get("DFLD_REFINE_KILLS", "3"))


def test_a_killed_second_pass_ends_the_same_the_next_time(quick_folder: Path) -> None:
    layout = extracted(quick_folder)
    add_noise(layout, quick_folder / "images")
    before = contents(layout.root)
    shutil.copytree(layout.root, quick_folder / "whole")
    whole = output_layout(quick_folder / "whole")
    assert len(refined(whole).moved_px) == FRAMES
    after = contents(whole.aligned) | contents(whole.masks)
    for seed in range(KILLS):
        shutil.copytree(layout.root, quick_folder / str(seed))
        made = output_layout(quick_folder / str(seed))
        folder = folder_of(made)
        goal = random.Random(seed).random()
        child = subprocess.Popen([sys.executable, "-m", "tests.refine_rig", str(made.root)], cwd=ROOT)
        while child.poll() is None and _part_done(folder, before) < goal:
            pass
        child.send_signal(signal.SIGKILL)
        child.wait()
        with sole_user(folder):  # finishes what was decided
            pass
        _require_pairs(made)
        refined(made)
        assert contents(made.aligned) | contents(made.masks) == after
        shutil.rmtree(quick_folder / str(seed))


def _part_done(folder: FacesetFolder, before: dict[str, bytes]) -> float:
    """How much is done: the new files written beside, then put in the place of the old."""
    try:
        written = len(list((folder.state / FOLDER).iterdir()))
    except FileNotFoundError:
        written = 0
    put = sum(path.read_bytes() != before[f"aligned/{path.name}"] for path in folder.aligned.iterdir())
    return max(written / (2 * FRAMES + 1) / 2, put / FRAMES)


def _require_pairs(layout: Layout) -> None:
    """Every face can be read, and the picture in masks/ is the hull of its landmarks, old or new."""
    for path in layout.aligned.iterdir():
        metadata = read_metadata(path.read_bytes())
        hull = encode_mask(hull_mask(SIDE, SIDE, metadata.landmarks))
        assert (layout.masks / f"{path.stem}_mask.png").read_bytes() == hull
