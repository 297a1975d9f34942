"""Which programs of this computer work on a workspace: a made /proc, and real processes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from daemon.dfl_processes import processes_at, workspace_of
from engine.facesets.faceset_folder import FacesetFolder

OWN = 100


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    for name in ("data_src/aligned", "data_dst/aligned", "model"):
        (tmp_path / "ws" / name).mkdir(parents=True)
    return tmp_path / "ws"


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    add_process(tmp_path / "proc", OWN, ["python3", "/usr/bin/dfld", "curate", "."], "/", group=OWN)
    return tmp_path / "proc"


def add_process(
    proc: Path, number: int, arguments: list[str], folder: str | None, *, group: int = 1, mounts: str = "mnt:[1]"
) -> None:
    here = proc / str(number)
    (here / "ns").mkdir(parents=True)
    (here / "cmdline").write_bytes(b"".join(os.fsencode(one) + b"\0" for one in arguments))
    (here / "stat").write_text(f"{number} (a (name) b) S 1 {group} 1 0 -1")
    (here / "ns" / "mnt").symlink_to(mounts)
    if folder is not None:
        (here / "cwd").symlink_to(folder)
    if not (proc / "self").exists():
        (proc / "self").symlink_to(here)


def found(workspace: Path, proc: Path) -> list[int]:
    return [one.number for one in processes_at(workspace, proc=proc, own=OWN)]


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["python3", "/opt/DeepFaceLab/main.py", "train", "--model-dir", "{ws}/model"], "/opt"),
        (["python3", "main.py", "merge", "--input-dir={ws}/data_dst"], "/opt"),
        (["python3", "main.py", "train", "--model-dir", "model"], "{ws}"),
        (["python3", "main.py", "sort", "--input-dir", "../ws/data_src/aligned"], "{ws}/../proc"),
        (["C:\\dfl\\python.exe", "main.py"], "{ws}/data_src"),
        (["some-new-trainer"], "{ws}/data_src/aligned"),
    ],
)
def test_whatever_names_a_workspace_or_stands_in_it_works_on_it(
    workspace: Path, proc: Path, arguments: list[str], folder: str
) -> None:
    add_process(proc, 7, [one.replace("{ws}", str(workspace)) for one in arguments], folder.format(ws=workspace))
    assert found(workspace, proc) == [7]
    words = processes_at(workspace, proc=proc, own=OWN)[0].words
    assert words.endswith("(process 7)")


@pytest.mark.parametrize(
    ("arguments", "folder"),
    [
        (["-bash"], "{ws}"),
        (["vim", "{ws}/notes.txt"], "{ws}"),
        (["feh", "{ws}/data_src/aligned"], "/"),
        (["python3", "/usr/bin/dfld", "run"], "{ws}"),
        (["dfld", "train", "{ws}"], "{ws}"),
        (["python3", "-m", "daemon.worker", "--parent", "3"], "{ws}"),
        (["python3", "main.py", "train", "--model-dir", "{ws}-2/model"], "/"),
        (["python3", "main.py", "train", "--model-dir", "/other/model"], None),
        ([], "{ws}"),
    ],
)
def test_shells_editors_other_workspaces_and_dfld_itself_do_not(
    workspace: Path, proc: Path, arguments: list[str], folder: str | None
) -> None:
    here = None if folder is None else folder.format(ws=workspace)
    add_process(proc, 7, [one.replace("{ws}", str(workspace)) for one in arguments], here)
    assert found(workspace, proc) == []


def test_what_reads_the_output_of_this_command_does_not_but_deepfacelab_in_one_script_with_it_does(
    workspace: Path, proc: Path
) -> None:
    add_process(proc, 7, ["python3", "-c", "import json"], str(workspace), group=OWN)
    add_process(proc, 8, ["python3", "main.py", "train"], str(workspace), group=OWN)
    assert found(workspace, proc) == [8]


def test_a_program_in_a_container_is_found_by_the_folder_and_not_by_its_name(workspace: Path, proc: Path) -> None:
    add_process(proc, 7, ["python3", "main.py", "train", "--model-dir", "/in/side/model"], "/", mounts="mnt:[2]")
    root = proc / "7" / "root" / "in"
    root.mkdir(parents=True)
    (root / "side").symlink_to(workspace)
    assert found(workspace, proc) == [7]
    (proc / "7" / "ns" / "mnt").unlink()
    (proc / "7" / "ns" / "mnt").symlink_to("mnt:[1]")
    assert found(workspace, proc) == []


def test_a_workspace_that_is_reached_through_a_link_is_the_same(workspace: Path, proc: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(workspace)
    add_process(proc, 7, ["python3", "main.py", "train", "--model-dir", str(workspace / "model")], "/")
    add_process(proc, 8, ["python3", "main.py", "merge", "--input-dir", str(tmp_path / "link" / "data_dst")], "/")
    assert found(workspace, proc) == [7, 8]
    assert found(tmp_path / "link", proc) == [7, 8]


def test_a_folder_that_is_named_without_a_slash_counts_too(workspace: Path, proc: Path) -> None:
    add_process(proc, 7, ["python3", "main.py", "train", "--model-dir", workspace.name], str(workspace.parent))
    add_process(proc, 8, ["python3", "main.py", "train", "--model-dir", "another"], str(workspace.parent))
    assert found(workspace, proc) == [7]


def test_the_workspace_is_the_folder_round_data_src_but_never_a_home_folder() -> None:
    def of(path: str) -> str:
        return str(workspace_of(FacesetFolder("aligned", Path(path), Path(path), None)))

    assert of("/work/alice/data_src/aligned") == "/work/alice"
    assert of("/home/alice/data_dst/aligned") == "/home/alice/data_dst"
    assert of("/data_src/aligned") == "/data_src"
    assert of("/faces/alice") == "/faces"


@contextmanager
def running(arguments: list[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process of a group of its own that has begun and waits for its standard input."""
    with subprocess.Popen(
        arguments, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "here\n"
        yield process
        process.stdin.close()


def test_a_real_process_is_seen_by_its_working_directory_and_gone_when_it_ends(workspace: Path) -> None:
    assert processes_at(workspace) == ()
    code = "import sys; print('here', flush=True); sys.stdin.read()"
    with running([sys.executable, "-c", code], workspace / "data_src") as process:
        assert [one.number for one in processes_at(workspace)] == [process.pid]
    assert processes_at(workspace) == ()
