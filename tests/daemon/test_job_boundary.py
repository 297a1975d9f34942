"""An error that nobody foresaw, in the service's own part of a job: that job fails, the others go on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from daemon.jobs.outcomes import Outcomes
from tests.daemon_rig import InProcess, Rig
from tests.fake_worker import fake_video


def test_a_job_that_breaks_the_service_s_own_code_fails_alone_with_its_traceback_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig(tmp_path)
    done = Outcomes.done

    def broken(self: Outcomes, job: Any, *rest: Any) -> None:
        if job.path == b"bad.mp4":
            raise KeyError("nobody foresaw this")
        done(self, job, *rest)

    monkeypatch.setattr(Outcomes, "done", broken)
    (rig.inbox / "bad.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("failed")
        (rig.inbox / "good.mp4").write_bytes(fake_video(frames=6))
        jobs = rig.wait_for_states("failed", "done")
    assert (jobs[0]["reason"], "KeyError" in jobs[0]["message"]) == ("unforeseen", True)
    assert (rig.inbox / "bad.mp4").exists(), "the file is not to blame"
    (line,) = [one for one in caplog.records if one.exc_info and "job 1" in one.getMessage()]
    assert line.fields["boundary"] == "job"  # type: ignore[attr-defined]
