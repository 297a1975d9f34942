"""One file with a name that gives trouble does not hold up the others."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.daemon_rig import InProcess, Rig, wait_until
from tests.fake_worker import fake_video


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
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
