"""`dfld mask DIR` and `dfld curate DIR` where the daemon fills the workspace: its own job, which is waited for."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import main
from daemon.control.client import ask
from daemon.errors import ControlError
from daemon.jobs.kinds.mask import MaskKind
from dfl.image import read_fields
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.faceset_folder import aligned_folder
from engine.masks.write_mask import owner_in
from tests.daemon_rig import PICTURE_WORKER, InProcess, Rig, wait_until
from tests.fake_worker import fake_video

FRAMES = 6


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    one = Rig(tmp_path)
    (one.inbox / "clip.mp4").write_bytes(fake_video(frames=FRAMES, name="clip"))
    return one


@pytest.fixture
def service(rig: Rig) -> Iterator[InProcess]:
    with InProcess(rig, PICTURE_WORKER) as one:
        rig.wait_for_states("done")
        yield one


def run(rig: Rig, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, Any, str]:
    """Run a command with --json; return its exit code, what it printed, and what it said."""
    status = main([*words, "--json", "--config", str(rig.config_path)])
    said = capsys.readouterr()
    return status, json.loads(said.out) if said.out else None, said.err


def owners(rig: Rig) -> list[str]:
    aligned = rig.workspace / "data_src" / "aligned"
    return [owner_in(read_fields(path.read_bytes())) for path in sorted(aligned.glob("*.jpg"))]


def test_dfld_mask_has_the_daemon_mask_every_face_of_the_side(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    aligned = rig.workspace / "data_src" / "aligned"
    first = min(aligned.glob("*.jpg"))
    (aligned / "of somebody.jpg").write_bytes(first.read_bytes())
    status, (report,), _ = run(rig, capsys, "mask", str(rig.workspace), "--source", "hull")
    assert (status, report["job"], report["report"]["faces"]) == (0, 2, FRAMES + 1)
    assert owners(rig) == ["dfld"] * (FRAMES + 1)
    assert [job["kind"] for job in rig.jobs()] == ["extract", "mask"]


def test_dfld_curate_has_the_daemon_curate_as_it_was_asked(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("curate", str(rig.workspace / "data_src"), "--radius", "10", "--per-cell", "3")
    status, (report,), _ = run(rig, capsys, *words)
    (_, job) = rig.jobs()
    assert (status, report["job"]) == (0, job["id"])
    assert json.loads(job["request"])["settings"]["per_cell"] == 3
    assert report["report"]["kept"] + len(list((rig.workspace / "data_src" / "aside").glob("*.jpg"))) == FRAMES
    assert main(["curate", str(rig.workspace), "--config", str(rig.config_path)]) == 0
    assert f"(job {job['id']} of the daemon)" in capsys.readouterr().out


@pytest.mark.parametrize("words", [("mask", "--source", "hull", "--check"), ("curate", "--dry-run")])
def test_what_changes_nothing_asks_no_daemon(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str], words: tuple[str, ...]
) -> None:
    status, _, _ = run(rig, capsys, words[0], str(rig.workspace), *words[1:])
    assert status == 0
    assert rig.states() == ["done"]


def test_without_a_daemon_and_where_it_has_no_clip_the_command_does_it_itself(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done")
    assert run(rig, capsys, "mask", str(rig.workspace), "--source", "hull")[0] == 0
    assert (owners(rig), rig.states()) == (["dfld"] * FRAMES, ["done"])
    elsewhere = rig.base / "elsewhere"
    (rig.workspace / "data_src").rename(elsewhere)
    with InProcess(rig, PICTURE_WORKER):
        status, (report,), _ = run(rig, capsys, "mask", str(elsewhere), "--source", "hull")
    assert (status, report["outcomes"]) == (0, {"as before": FRAMES})


def test_a_job_that_waits_says_for_what_and_one_that_fails_fails_the_command(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    found: list[tuple[int, Any, str]] = []
    words = ("mask", str(rig.workspace), "--source", "xseg", "--xseg-model", str(rig.base / "nothing"))
    with sole_user(aligned_folder(rig.workspace / "data_src" / "aligned")):
        asking = threading.Thread(target=lambda: found.append(run(rig, capsys, *words[:2], "--source", "hull")))
        asking.start()
        rig.wait_for_states("done", "waiting")
        wait_until(lambda: rig.jobs()[1]["attempt"] > 1, "another try")
    asking.join()
    ((status, _, said),) = found
    assert (status, "it waits: another dfld works on" in said) == (0, True)
    assert main([*words, "--config", str(rig.config_path)]) == 1
    assert "job 2 is failed: " in (said := capsys.readouterr().err)
    assert "holds no XSeg network" in said


@pytest.mark.parametrize(
    ("details", "why"),
    [
        ({}, "needs a workspace"),
        ({"workspace": "/ws", "role": "src", "asked": 3}, "expected a table"),
        ({"workspace": "/ws", "role": "src", "asked": {"source": "hull"}}, "makes no sense"),
        ({"workspace": "/ws", "role": "src", "asked": {"source": "best", "include": []}}, "makes no sense"),
        ({"workspace": "/ws", "role": "src", "asked": {"source": "hull", "include": [1]}}, "makes no sense"),
        ({"workspace": "/ws", "role": "src", "asked": {"source": "hull", "include": [], "more": 1}}, "makes no sense"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(
    rig: Rig, service: InProcess, details: dict[str, object], why: str
) -> None:
    with pytest.raises(ControlError, match=why):
        ask(rig.base / "state", "mask", details)


def test_settings_that_leave_their_range_are_refused_with_the_range(rig: Rig, service: InProcess) -> None:
    details = {"workspace": str(rig.workspace), "role": "src", "asked": {"settings": {"per_cell": 0}}}
    with pytest.raises(ControlError, match="per_cell is 0, expected 3"):
        ask(rig.base / "state", "curate", details)


def test_what_a_person_asked_for_is_not_replaced_by_what_follows_from_a_clip(rig: Rig) -> None:
    rig.inboxes["alice"]["masks"] = {"source": "hull"}
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done", "done")
        with sole_user(aligned_folder(rig.workspace / "data_src" / "aligned")):
            asked = {"source": "hull", "include": ["glasses"], "replace_theirs": True}
            ask(rig.base / "state", "mask", {"workspace": str(rig.workspace), "role": "src", "asked": asked})
            rig.wait_for_states("done", "waiting")
            ask(rig.base / "state", "retry", {"id": 1, "replace": True})
            wait_until(lambda: rig.jobs()[0]["attempt"] == 2 and rig.states()[0] == "done", "the clip to be done again")
            assert json.loads(rig.jobs()[1]["request"])["replace_theirs"] is True
        rig.wait_for_states("done", "done")
    assert MaskKind.name == rig.jobs()[1]["kind"]
