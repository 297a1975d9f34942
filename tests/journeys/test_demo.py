"""`dfld demo` is the real daemon on real faces; Ctrl-C leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from dfl.image import read_metadata

ROOT = Path(__file__).parents[2]


def start_demo(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "daemon", "demo", *arguments], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip


def test_the_demo_turns_a_dropped_clip_into_a_workspace_of_one_person(tmp_path: Path) -> None:
    demo = start_demo("--keep-in", str(tmp_path / "demo"), "--json")
    stdout, stderr = demo.communicate(timeout=300)
    assert demo.returncode == 0, stderr
    outcome = json.loads(stdout)
    files = sorted(Path(outcome["aligned"]).iterdir())
    assert len(files) + outcome["faces_aside"] == outcome["faces_kept"] >= 20
    assert outcome["faces_found"] > outcome["faces_kept"] + 20, "the others were seen and left out"
    assert all(path.name.startswith("group-photo-") for path in files)
    metadata = [read_metadata(path.read_bytes()) for path in files]
    assert metadata[0].face_type == "whole_face"
    assert all(one.xseg_mask is not None for one in metadata)
    assert all(Path(outcome["coverage"]).with_suffix(suffix).is_file() for suffix in (".html", ".png", ".json"))
    assert Path(outcome["preview"]).is_file()
    assert any(line.startswith("dfld_jobs_total") and 'result="done"' in line for line in outcome["metrics"])


@pytest.mark.parametrize("moment", ["2/4", "3/4"])
def test_an_interrupt_leaves_no_folder_and_no_process(tmp_path: Path, moment: str) -> None:
    demo = start_demo("--keep-in", str(tmp_path / "demo"))
    assert demo.stdout is not None
    for line in demo.stdout:
        if line.startswith(moment):
            break
    demo.send_signal(signal.SIGINT)
    _, stderr = demo.communicate(timeout=120)
    assert demo.returncode == 130, stderr
    assert "Traceback" not in stderr
    assert not (tmp_path / "demo").exists()
    assert not [process for process in Path("/proc").glob("[0-9]*") if str(tmp_path) in _command_line(process)]


def _command_line(process: Path) -> str:
    try:
        return (process / "cmdline").read_bytes().decode(errors="replace")
    except OSError:
        return ""
