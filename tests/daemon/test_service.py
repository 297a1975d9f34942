"""The service from a dropped file to its outcome, with a pretended engine behind a real worker process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from daemon.errors import ServiceError
from daemon.service import run_service
from daemon.state_folder import StateLock
from tests.daemon_rig import ROOT, InProcess, Rig, wait_until
from tests.fake_worker import fake_video


def test_a_file_that_was_there_before_the_start_and_one_dropped_later_are_both_done(rig: Rig) -> None:
    (rig.inbox / "before.mp4").write_bytes(fake_video(frames=25, name="before"))
    with InProcess(rig):
        rig.wait_for_states("done")
        (rig.inbox / "Later_on.mp4").write_bytes(fake_video(frames=12, name="later"))
        jobs = rig.wait_for_states("done", "done")
    assert [job["slug"] for job in jobs] == ["before", "Later-on"]
    assert len(rig.faces()) == 37
    assert jobs[0]["original"] == "kept"
    assert (rig.inbox / "before.mp4").exists()
    log = json.loads((rig.workspace / "data_src" / "debug" / "before-extraction_log.json").read_text())
    assert log["notes"]["sha256"] == jobs[0]["sha256"]


def test_what_a_resume_would_need_leaves_the_ledger_once_the_clip_is_done(rig: Rig) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=25, pause_s=0.05))
    with InProcess(rig):
        # Embeddings and a thumbnail of the last look, in the real engine.
        wait_until(lambda: any(job["carry"] for job in rig.jobs()), "nothing is carried")
        assert [job["carry"] for job in rig.wait_for_states("done")] == [""]


def test_an_original_is_moved_or_deleted_only_once_it_is_done(rig: Rig) -> None:
    rig.inboxes["alice"]["on_done"] = "move"
    mover = rig.inbox
    deleter = rig.add_inbox("bob", on_done="delete")
    (mover / "sub").mkdir()
    (mover / "sub" / "a.mp4").write_bytes(fake_video(frames=5, name="a"))
    (mover / "sub" / "a.mp4.dfld.toml").write_text("priority = 9\n")
    (deleter / "b.mp4").write_bytes(fake_video(frames=5, name="b"))
    with InProcess(rig):
        wait_until(lambda: {job["original"] for job in rig.jobs()} == {"moved", "deleted"}, "originals are not settled")
    assert (mover / ".done" / "sub" / "a.mp4").exists()
    assert (mover / ".done" / "sub" / "a.mp4.dfld.toml").exists()
    assert not (mover / "sub" / "a.mp4").exists()
    assert not (deleter / "b.mp4").exists()
    assert {job["priority"] for job in rig.jobs()} == {9, 5}


def test_what_is_no_video_is_quarantined_with_its_reason_and_nothing_is_lost(rig: Rig) -> None:
    (rig.inbox / "notes.mp4").write_bytes(b"these are my notes" * 1000)
    with InProcess(rig):
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["quarantined"], "not quarantined")
    quarantine = rig.inbox / ".quarantine"
    assert (quarantine / "notes.mp4").read_bytes() == b"these are my notes" * 1000
    reason = json.loads((quarantine / "notes.mp4.reason.json").read_text())
    assert reason["reason"] == "not_readable"
    assert "is not a video" in reason["message"]


def test_a_file_that_kills_its_worker_three_times_is_quarantined_and_others_go_on(rig: Rig) -> None:
    (rig.inbox / "killer.mp4").write_bytes(fake_video(frames=40, die_at=15, name="killer"))
    (rig.inbox / "good.mp4").write_bytes(fake_video(frames=20, name="good"))
    with InProcess(rig):
        wait_until(lambda: sorted(rig.states()) == ["done", "quarantined"], "not over")
    killer = next(job for job in rig.jobs() if job["path"] == b"killer.mp4")
    assert killer["reason"] == "worker_died"
    assert "SIGSEGV" in killer["message"]
    assert killer["next_frame"] == 10


def test_a_file_that_hangs_its_worker_costs_only_time(rig: Rig) -> None:
    rig.tables["limits"]["no_progress_timeout"] = "1s"
    (rig.inbox / "hang.mp4").write_bytes(fake_video(frames=40, hang_at=3))
    with InProcess(rig):
        rig.wait_for_states("quarantined")
    assert "no new frame for 1 s" in rig.jobs()[0]["message"]


def test_a_worker_that_uses_too_much_memory_is_replaced(rig: Rig) -> None:
    rig.tables["limits"]["worker_memory"] = "512MiB"
    rig.tables["retry"]["attempts"] = 2
    (rig.inbox / "bomb.mp4").write_bytes(fake_video(frames=40, grow_at=3, grow_bytes=1 << 30))
    with InProcess(rig):
        rig.wait_for_states("quarantined")
    assert rig.jobs()[0]["reason"] == "memory"


def test_an_error_that_nobody_foresaw_ends_the_worker_and_then_the_file(rig: Rig) -> None:
    (rig.inbox / "bug.mp4").write_bytes(fake_video(frames=40, raise_at=3))
    with InProcess(rig):
        rig.wait_for_states("quarantined")
    assert "KeyError: 'a bug that nobody foresaw'" in rig.jobs()[0]["message"]


@pytest.mark.parametrize(("fail", "reason"), [("no_space", "no_space"), ("memory", "memory"), ("disk", "disk_error")])
def test_a_failure_that_passes_is_waited_for_and_the_work_goes_on_at_its_cursor(
    rig: Rig, fail: str, reason: str
) -> None:
    flag = rig.base / "fixed"
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=30, fail_at=15, fail=fail, until=str(flag)))
    with InProcess(rig):
        wait_until(lambda: [job["reason"] for job in rig.jobs()] == [reason], "the job does not wait")
        flag.touch()
        jobs = rig.wait_for_states("done")
    assert jobs[0]["next_frame"] == 30
    assert len(rig.faces()) == 30


def test_a_setup_that_cannot_work_fails_the_job_and_the_next_start_tries_again(rig: Rig) -> None:
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=5))
    rig.inboxes["alice"]["model_pack"] = "missing"
    with InProcess(rig):
        jobs = rig.wait_for_states("failed")
    assert (jobs[0]["reason"], jobs[0]["hint"]) == ("model", "put it there")
    assert (rig.inbox / "clip.mp4").exists()
    rig.inboxes["alice"]["model_pack"] = "buffalo_l"
    with InProcess(rig):
        rig.wait_for_states("done")


def test_the_same_content_under_another_name_is_not_done_twice(rig: Rig, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
        shutil.copy(rig.inbox / "a.mp4", rig.inbox / "b.mp4")
        (rig.inbox / "c.mp4").write_bytes(fake_video(frames=6))
        rig.wait_for_states("done", "done")
    assert {job["path"] for job in rig.jobs()} == {b"a.mp4", b"c.mp4"}
    assert "job 1: b.mp4: it has the same content as a.mp4 of job 1, which is done" in caplog.messages


def test_the_same_name_with_new_content_is_new(rig: Rig) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
        (rig.inbox / "a.mp4").write_bytes(fake_video(frames=6))
        jobs = rig.wait_for_states("done", "done")
    assert [job["slug"] for job in jobs] == ["a", "a-2"]
    assert len(rig.faces()) == 11


def test_a_file_that_changes_while_it_is_worked_on_is_done_again_and_the_mixture_is_removed(rig: Rig) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=40, pause_s=0.02))
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 10, "no progress")
        new = rig.base / "new.mp4"
        new.write_bytes(fake_video(frames=7))
        new.replace(rig.inbox / "a.mp4")
        rig.wait_for_states("gone", "done")
    assert len(rig.faces()) == 7
    # The clip keeps its name, so that what a hand did to its faces is found again.
    assert all("/a-0" in name for name in rig.faces())


def test_a_second_clip_in_a_dst_workspace_is_refused_with_the_reason(rig: Rig) -> None:
    rig.inboxes["alice"]["role"] = "dst"
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
        (rig.inbox / "b.mp4").write_bytes(fake_video(frames=6))
        jobs = rig.wait_for_states("done", "failed")
    assert jobs[1]["reason"] == "workspace_taken"
    assert "room for one clip" in jobs[1]["message"]
    assert (rig.inbox / "b.mp4").exists()


def test_a_sidecar_can_skip_its_video_and_a_wrong_one_is_told(rig: Rig) -> None:
    (rig.inbox / "a.mp4.dfld.toml").write_text("skip = true\n")
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5, name="a"))
    (rig.inbox / "b.mp4.dfld.toml").write_text("skipp = true\n")
    (rig.inbox / "b.mp4").write_bytes(fake_video(frames=5, name="b"))
    with InProcess(rig):
        wait_until(lambda: sorted(rig.states()) == ["quarantined", "skipped"], "not over")
    wrong = next(job for job in rig.jobs() if job["state"] == "quarantined")
    assert wrong["reason"] == "sidecar"
    assert wrong["message"].startswith("its sidecar cannot be used: ")
    assert 'did you mean "skip"?' in wrong["message"]
    assert "\n" not in wrong["message"], "a job's message is one line"


def test_a_file_that_may_still_be_arriving_is_given_time_and_then_taken_as_it_is(rig: Rig) -> None:
    (rig.inbox / "short.mp4").write_bytes(fake_video(frames=5, incomplete=True))
    rig.tables["watch"]["unreadable_grace"] = "1h"
    with InProcess(rig):
        wait_until(lambda: [job["reason"] for job in rig.jobs()] == ["incomplete"], "not waited for")
    assert rig.states() == ["waiting"]
    rig.tables["watch"]["unreadable_grace"] = "100ms"
    with InProcess(rig):
        rig.wait_for_states("done")


def test_a_stop_keeps_the_cursor_and_the_next_start_goes_on_there(rig: Rig) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=60, pause_s=0.02))
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 20, "no progress")
    stopped = rig.jobs()[0]
    assert stopped["state"] == "queued"
    assert 20 <= stopped["next_frame"] < 60
    with InProcess(rig):
        rig.wait_for_states("done")
    assert len(rig.faces()) == 60


def test_workspaces_and_state_are_closed_to_others(rig: Rig) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
    places = [rig.base / "state", rig.workspace, *rig.workspace.rglob("*"), *(rig.base / "state").rglob("*")]
    assert [str(path) for path in places if path.lstat().st_mode & 0o027] == []


def test_a_name_that_is_not_utf_8_is_done(rig: Rig) -> None:
    Path(os.fsdecode(os.fsencode(rig.inbox) + b"/\xff\xfe.mp4")).write_bytes(fake_video(frames=5))
    with InProcess(rig):
        jobs = rig.wait_for_states("done")
    assert jobs[0]["path"] == b"\xff\xfe.mp4"


def test_a_worker_killed_while_it_tries_the_file_is_started_again(rig: Rig) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5, kill_in_trying=int(signal.SIGABRT)))
    with InProcess(rig):
        jobs = rig.wait_for_states("quarantined")
    assert jobs[0]["deaths"] == 2


def test_the_service_itself_loads_nothing_that_a_video_could_break() -> None:
    heavy = "{'av', 'cv2', 'dlib', 'onnxruntime', 'insightface', 'torch', 'paramiko'}"
    script = f"import sys, daemon.service; sys.exit(sorted({heavy} & sys.modules.keys()) or 0)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_an_original_whose_faces_are_gone_is_not_deleted(rig: Rig) -> None:
    rig.inboxes["alice"]["on_done"] = "delete"
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=60, pause_s=0.02))
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 10, "no progress")
        (rig.workspace / "data_src" / "aligned" / "a-00000003_0.jpg").unlink()
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["kept"], "not kept")
    assert (rig.inbox / "a.mp4").exists()


def test_an_original_whose_faces_have_other_names_by_now_is_deleted(rig: Rig) -> None:
    rig.inboxes["alice"]["on_done"] = "delete"
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=60, pause_s=0.02))
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 10, "no progress")
        aligned = rig.workspace / "data_src" / "aligned"
        (aligned / "a-00000003_0.jpg").rename(aligned / "00001.jpg")  # as DeepFaceLab's sorter does
        (aligned / "a-00000004_0.jpg").rename(rig.workspace / "a-00000003_0.jpg")
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["deleted"], lambda: str(rig.jobs()))
    assert not (rig.inbox / "a.mp4").exists()


@pytest.mark.parametrize("frames", [0, 59, 60])
def test_an_original_whose_frames_for_the_merger_are_gone_is_not_deleted(rig: Rig, frames: int) -> None:
    rig.inboxes["alice"] |= {"on_done": "delete", "role": "dst"}
    folder = rig.workspace / "data_dst"
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=60, pause_s=0.02))
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 10, "no progress")
        folder.mkdir(parents=True, exist_ok=True)
        for number in range(60):
            (folder / f"{number:08d}.png").write_bytes(b"a frame" if number < frames else b"")
        wait_until(
            lambda: [job["original"] for job in rig.jobs()] == ["deleted" if frames == 60 else "kept"],
            lambda: str(rig.jobs()),
        )
    assert (rig.inbox / "a.mp4").exists() == (frames < 60)


def test_a_taken_port_is_told_and_nothing_is_left_behind(rig: Rig) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        rig.tables["http"]["listen"] = f"127.0.0.1:{port}"
        before = set(threading.enumerate())
        with pytest.raises(ServiceError, match=f"cannot listen on 127.0.0.1:{port}"):
            run_service(rig.config)
    assert set(threading.enumerate()) <= before


def test_a_second_service_on_the_same_state_is_refused(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(StateLock.__init__, "__kwdefaults__", {"wait_s": 0.2})
    with InProcess(rig), pytest.raises(ServiceError, match="in use by another dfld"):
        run_service(rig.config)


def test_a_file_that_cannot_be_read_because_it_is_being_replaced_is_not_quarantined(rig: Rig) -> None:
    flag = rig.base / "never"
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=40, pause_s=0.02, fail_at=30, fail="input", until=str(flag)))
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 10, "no progress")
        new = rig.base / "new.mp4"
        new.write_bytes(fake_video(frames=7))
        new.replace(rig.inbox / "a.mp4")
        rig.wait_for_states("gone", "done")
    assert len(rig.faces()) == 7
    assert not (rig.inbox / ".quarantine").exists()


def test_a_file_that_changes_while_it_waits_for_its_turn_leaves_nothing_of_its_old_self(rig: Rig) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=60, pause_s=0.02))
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 20, "no progress")
    assert rig.faces()
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=7))
    with InProcess(rig):
        rig.wait_for_states("gone", "done")
    assert len(rig.faces()) == 7
