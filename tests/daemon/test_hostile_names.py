"""One file with a name, or of a kind, that gives trouble does not hold up the others."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path

import pytest

from tests.daemon_rig import InProcess, Rig, wait_until
from tests.fake_worker import fake_video


@pytest.fixture
def rig(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Rig:
    caplog.set_level(logging.DEBUG, logger="dfld")
    return Rig(tmp_path)


def test_a_very_long_name_is_done_and_holds_up_nobody(rig: Rig) -> None:
    with InProcess(rig):  # by an event, which looks at one path at a time
        (rig.inbox / ("x" * 251 + ".mp4")).write_bytes(fake_video(frames=5, name="long"))
        (rig.inbox / "short.mp4").write_bytes(fake_video(frames=5, name="short"))
        rig.wait_for_states("done", "done")


def test_a_link_that_leads_round_in_a_circle_holds_up_nobody(rig: Rig) -> None:
    with InProcess(rig):
        (rig.inbox / "round.mp4").symlink_to("round.mp4")
        (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
        rig.wait_for_states("done")


def test_a_very_long_name_goes_to_the_quarantine_with_its_reason(rig: Rig) -> None:
    name = "ü" * 125 + ".mp4"
    (rig.inbox / name).write_bytes(b"no video" * 1000)
    with InProcess(rig):
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["quarantined"], "not quarantined")
    quarantine = rig.inbox / ".quarantine"
    assert (quarantine / name).exists()
    reason = next(path for path in quarantine.iterdir() if path.name.endswith(".reason.json"))
    assert json.loads(reason.read_text())["reason"] == "not_readable"
    assert len(os.fsencode(reason.name)) <= 255


def test_what_is_no_video_and_has_a_name_that_is_no_text_is_quarantined(rig: Rig) -> None:
    Path(os.fsdecode(os.fsencode(rig.inbox) + b"/\xff\xfe.mp4")).write_bytes(b"no video" * 1000)
    with InProcess(rig):
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["quarantined"], "not quarantined")
    assert os.listdir(os.fsencode(rig.inbox / ".quarantine"))  # noqa: PTH208


def test_a_pipe_for_a_sidecar_ends_its_own_job_and_holds_up_nobody(rig: Rig) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
    os.mkfifo(rig.inbox / "a.mp4.dfld.toml")
    (rig.inbox / "b.mp4").write_bytes(fake_video(frames=5, name="b"))
    with InProcess(rig):
        wait_until(lambda: sorted(rig.states()) == ["done", "quarantined"], lambda: f"{rig.states()}")
    bad = next(job for job in rig.jobs() if job["state"] == "quarantined")
    assert (bad["reason"], bad["path"]) == ("sidecar", b"a.mp4")
    assert "is a pipe" in bad["message"]


def test_a_link_out_of_the_inbox_is_told_once_and_taken_once_its_target_is_allowed(
    rig: Rig, caplog: pytest.LogCaptureFixture
) -> None:
    shelf = rig.base / "shelf"
    shelf.mkdir()
    (shelf / "clip.mp4").write_bytes(fake_video(frames=5))
    (rig.inbox / "clip.mp4").symlink_to(shelf / "clip.mp4")
    (rig.inbox / "other.mp4").write_bytes(fake_video(frames=5, name="other"))
    rig.tables["watch"]["rescan_every"] = "100ms"
    with InProcess(rig):
        rig.wait_for_states("done")
        scans = len([one for one in caplog.messages if "scanned" in one])
        wait_until(lambda: len([one for one in caplog.messages if "scanned" in one]) > scans + 2, "no further scans")
    told = [one for one in caplog.messages if "link_targets" in one]
    assert len(told) == 1
    assert str(rig.inbox / "clip.mp4") in told[0]
    rig.inboxes["alice"]["link_targets"] = [str(shelf)]
    with InProcess(rig):
        rig.wait_for_states("done", "done")
