"""What an operator types at a running daemon, and what they read."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from daemon.cli import main
from daemon.commands.control import state_dir_of
from daemon.commands.status import duration
from daemon.errors import UsageError
from tests.daemon_rig import ROOT, InProcess, Rig, wait_until
from tests.fake_worker import fake_video

HEAVY = {"numpy", "cv2", "pydantic", "rich", "paramiko", "prometheus_client", "apscheduler", "daemon.config.schema"}


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, inboxes=("alice", "bob"))


def dfld(rig: Rig, *arguments: str) -> int:
    command, *rest = arguments
    return main([command, "--config", str(rig.config_path), *rest])


def test_status_shows_progress_speed_and_the_time_left(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=400, pause_s=0.02))

    def shown() -> str:
        assert dfld(rig, "status") == 0
        return capsys.readouterr().out

    with InProcess(rig):
        text = wait_until(lambda: (out := shown()) and ("left" in out and out), "status never told the time left")
    assert "job 1  alice  a.mp4" in text
    assert "/400 frames" in text
    assert "frames/s" in text
    assert "faces kept" in text
    assert "1 running" in text


def test_status_tells_of_faces_that_a_long_shot_has_not_decided_yet(
    rig: Rig, capsys: pytest.CaptureFixture[str]
) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=400, pause_s=0.02, undecided=214))

    def shown(*how: str) -> str:
        assert dfld(rig, "status", *how) == 0
        return capsys.readouterr().out

    with InProcess(rig):
        text = wait_until(lambda: (out := shown()) and ("not decided" in out and out), "status never told of them")
        job = json.loads(shown("--json"))["running"][0]
    assert " rejected, 214 seen and not decided yet\n" in text
    assert job["faces_undecided"] == 214


@pytest.mark.parametrize("command", ["status", "jobs"])
def test_a_question_to_the_daemon_loads_nothing_that_takes_time(rig: Rig, command: str) -> None:
    # The schema of the configuration alone is most of a second on a busy machine, for one path that is in plain TOML.
    script = (
        "import sys; from daemon.cli import main\n"
        f"code = main([{command!r}, '--config', {str(rig.config_path)!r}])\n"
        f"sys.exit(str(sorted({HEAVY} & sys.modules.keys())) if {HEAVY} & sys.modules.keys() else code)\n"
    )
    with InProcess(rig):
        done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_without_a_daemon_the_exit_code_and_the_sentence_say_so(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    assert dfld(rig, "status") == 4
    assert "no daemon answers" in capsys.readouterr().err


def test_status_as_json_is_what_the_daemon_answered(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    with InProcess(rig):
        assert dfld(rig, "status", "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    assert [inbox["name"] for inbox in answer["inboxes"]] == ["alice", "bob"]


def test_a_paused_inbox_waits_until_it_is_resumed(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    with InProcess(rig):
        assert dfld(rig, "pause", "alice") == 0
        assert "alice: paused" in capsys.readouterr().out
        assert dfld(rig, "status") == 0
        assert "alice (pause)" in capsys.readouterr().out
        assert dfld(rig, "resume") == 0
        assert dfld(rig, "resume", "alice") == 0
        assert "no inbox is paused" in capsys.readouterr().out
        assert dfld(rig, "pause", "nobody") == 4
        assert "no inbox 'nobody'" in capsys.readouterr().err


def test_jobs_are_listed_shown_and_tried_again(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
        assert dfld(rig, "jobs") == 0
        listed = capsys.readouterr().out
        assert "a.mp4" in listed
        assert "done" in listed
        assert dfld(rig, "jobs", "show", "1") == 0
        described = capsys.readouterr().out
        assert "sha256: " in described
        assert "\n  verdict:\n    word: whole\n" in described
        assert not set(described) & {"{", "["}, "tables are lines, not Python's"
        assert dfld(rig, "jobs", "retry", "1") != 0
        assert "5 faces" in capsys.readouterr().err
        assert dfld(rig, "pause") == 0
        capsys.readouterr()
        assert dfld(rig, "jobs", "retry", "1", "--replace") == 0
        said = capsys.readouterr().out
        assert said.startswith("job 1: a.mp4 is queued again; it begins at the first frame\n5 faces of ")
        assert said.endswith(" are removed\n")
        assert dfld(rig, "jobs") == 0
        assert " 0/5 " in capsys.readouterr().out, "a job that is done anew has done nothing yet"
        assert dfld(rig, "resume") == 0
        rig.wait_for_states("done")
        assert dfld(rig, "jobs", "cancel", "1") == 4
        assert "nothing to cancel" in capsys.readouterr().err
        assert dfld(rig, "jobs", "show") == 2


def test_a_dry_scan_says_what_would_become_of_each_file(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    with InProcess(rig):
        assert dfld(rig, "pause") == 0
        (rig.inbox / "new.mp4.part").write_bytes(b"x")
        (rig.inbox / "new.mp4").write_bytes(b"x" * 100)
        capsys.readouterr()
        assert dfld(rig, "scan", "--dry-run") == 0
        told = capsys.readouterr().out
    assert "new.mp4:" in told


def test_a_quarantined_file_is_listed_and_put_back(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    (rig.inbox / "bad.mp4").write_bytes(b"this is no video at all" * 10)
    with InProcess(rig):
        rig.wait_for_states("quarantined")
        assert dfld(rig, "quarantine") == 0
        assert "bad.mp4" in capsys.readouterr().out
        assert dfld(rig, "quarantine", "release", "1") == 0
        assert "is back in inbox alice" in capsys.readouterr().out
        wait_until(lambda: "quarantined" in rig.states(), "the same file is refused again")


def test_forgetting_asks_first_and_lists_what_went(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
        assert dfld(rig, "forget", "alice") == 2, "no terminal to ask on, and no --yes"
        assert rig.faces()
        assert dfld(rig, "forget", "alice", "--yes") == 0
        told = capsys.readouterr().out
        assert "rows of the ledger" in told
        assert "LEFT" in told
        assert not rig.faces()
        assert rig.jobs() == []


def test_the_state_folder_is_found_beside_the_configuration(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text('[service]\nstate_dir = "state"\n')
    assert state_dir_of(config) == tmp_path / "state"
    config.write_text("[service]\n")
    assert state_dir_of(config) == Path("/var/lib/dfld")
    config.write_text('[service]\nstate_dir = "state"\n', encoding="utf-8-sig")
    assert state_dir_of(config) == tmp_path / "state", "a byte order mark in front"
    config.write_text("x = " + "[" * 10_000)
    with pytest.raises(UsageError, match="cannot be read"):
        state_dir_of(config)


@pytest.mark.parametrize("text", ["[service", "service = 3", "\0"])
def test_a_broken_configuration_is_a_sentence(tmp_path: Path, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "config.toml").write_text(text)
    assert main(["status", "--config", str(tmp_path / "config.toml")]) == 2
    assert "dfld check" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("seconds", "words"), [(5, "5 s"), (200, "3 min"), (7500, "2 h 5 min"), (273600, "3 d 4 h"), (-1, "0 s")]
)
def test_a_length_of_time_is_said_as_people_say_it(seconds: float, words: str) -> None:
    assert duration(seconds) == words


def test_reload_tells_what_changed(rig: Rig, capsys: pytest.CaptureFixture[str]) -> None:
    with InProcess(rig):
        rig.add_inbox("carol")
        assert dfld(rig, "reload") == 0
        assert "carol" in capsys.readouterr().out
        shutil.rmtree(rig.base / "carol")
