"""A source that lacks footage is kept and reported, until a whole copy takes its place."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

from daemon.commands.status import jobs_text, status_text
from daemon.control.client import ask
from daemon.jobs.kinds.extract import why_not_deleted
from daemon.ledger.ledger import Ledger
from daemon.readings import ledger_reading
from daemon.reports.codec import decoded, decoded_list
from daemon.reports.jobs import JobReport
from daemon.reports.service import ServiceReport
from engine.types import WHOLE, SourceVerdict
from tests.clips import Image, draw_numbered, make_clip
from tests.daemon_rig import READING_WORKER, WRITING_WORKER, InProcess, Rig, wait_until

SIZE = (96, 64)
FRAMES = 60


def grainy(number: int) -> Image:
    grain = np.random.default_rng(number).integers(0, 60, (SIZE[1], SIZE[0], 3), dtype=np.uint8)
    return np.asarray(draw_numbered(number, SIZE) // 2 + grain, np.uint8)


@pytest.fixture
def whole(tmp_path: Path) -> bytes:
    return make_clip(tmp_path / "whole.mkv", frames=FRAMES, draw=grainy, rate=25).read_bytes()


def rig_of(tmp_path: Path, on_done: str) -> Rig:
    rig = Rig(tmp_path)
    rig.inboxes["alice"]["on_done"] = on_done
    rig.tables["watch"]["unreadable_grace"] = "100ms"
    return rig


@pytest.mark.parametrize("on_done", ["delete", "move", "keep"])
def test_a_part_is_kept_and_reported_and_its_whole_copy_takes_its_place(
    tmp_path: Path, whole: bytes, on_done: str
) -> None:
    rig = rig_of(tmp_path, on_done)
    part = whole[: len(whole) * 6 // 10]
    (rig.inbox / "take.mkv").write_bytes(part)
    with InProcess(rig, READING_WORKER):
        (job,) = rig.wait_for_states("done")
        wait_until(lambda: rig.jobs()[0]["original"] == "kept", "the original is not settled")
        assert (rig.inbox / "take.mkv").read_bytes() == part
        assert (job["verdict"], job["reason"]) == ("lost footage", "lost_footage")
        assert job["missing_s"] == pytest.approx(0.96, abs=0.3)
        assert job["missing_share"] == pytest.approx(0.4, abs=0.12)
        status = decoded(ServiceReport, ask(tmp_path / "state", "status"))
        assert "alice: 1 source lacks footage, 1 s as far as that can be said" in status_text(status)
        jobs = jobs_text(decoded_list(JobReport, ask(tmp_path / "state", "jobs")))
        assert "  lost footage: it is truncated" in jobs
        assert "% of it is missing" in jobs
        assert metrics(tmp_path) == {"files": 1, "seconds": True}

        (rig.inbox / "take again.mkv").write_bytes(whole)
        wait_until(lambda: rig.jobs()[0]["verdict"] == "whole", "the whole copy is not done")
        ended = {"delete": "deleted", "move": "moved", "keep": "kept"}[on_done]
        wait_until(lambda: rig.jobs()[0]["original"] == ended, lambda: str(rig.jobs()))
        (job,) = rig.jobs()
        assert (job["slug"], job["frames_total"], job["reason"]) == ("take", FRAMES, "")
        assert job["arrived_s"] <= job["started_s"], "a job done anew begins anew"
        assert metrics(tmp_path) == {"files": 0, "seconds": False}
        assert (rig.inbox / "take.mkv").read_bytes() == part, "only what was read whole goes"
        plan = {one["path"]: one["detail"] for one in ask(tmp_path / "state", "scan", {"dry_run": True})}
        assert plan["take.mkv"] == "job 1 is done, and is made of a longer copy of this file, which may be deleted"
        assert (rig.inbox / "take again.mkv").exists() == (on_done == "keep")

        (rig.inbox / "part once more.mkv").write_bytes(part)
        wait_until(lambda: rig.count("SELECT count(*) FROM files WHERE outcome = 'duplicate'") >= 2, "not recognised")
        assert len(rig.jobs()) == 1


def metrics(tmp_path: Path) -> dict[str, float]:
    ledger = Ledger(tmp_path / "state" / "ledger.db")
    try:
        reading = ledger_reading(ledger, {})
    finally:
        ledger.close()
    files = reading.get("dfld_lost_footage_files", {}).get(("alice",), 0)
    return {"files": files, "seconds": reading.get("dfld_lost_footage_seconds", {}).get(("alice",), 0) > 0.5}


def test_a_file_that_grows_after_it_was_taken_keeps_its_job_and_its_name(tmp_path: Path, whole: bytes) -> None:
    rig = rig_of(tmp_path, "keep")
    (rig.inbox / "take.mkv").write_bytes(whole[: len(whole) // 2])
    with InProcess(rig, READING_WORKER):
        rig.wait_for_states("done")
        with (rig.inbox / "take.mkv").open("ab") as file:
            file.write(whole[len(whole) // 2 :])
        wait_until(lambda: rig.jobs()[0]["verdict"] == "whole", lambda: str(rig.jobs()))
    (job,) = rig.jobs()
    assert (job["slug"], job["frames_total"]) == ("take", FRAMES)


def test_another_take_under_the_name_of_a_part_is_a_job_of_its_own(tmp_path: Path, whole: bytes) -> None:
    rig = rig_of(tmp_path, "keep")
    (rig.inbox / "take.mkv").write_bytes(whole[: len(whole) // 2])
    with InProcess(rig, READING_WORKER):
        rig.wait_for_states("done")
        make_clip(rig.inbox / ".new.mkv", frames=80, rate=25, draw=lambda number: grainy(number + 500))
        (rig.inbox / ".new.mkv").rename(rig.inbox / "take.mkv")
        first, second = rig.wait_for_states("done", "done")
    assert (first["verdict"], second["verdict"]) == ("lost footage", "whole")
    assert first["slug"] != second["slug"]


@pytest.mark.parametrize(("on_done", "original"), [("delete", "kept"), ("move", "moved")])
def test_what_proves_nothing_of_its_end_is_kept_without_an_alarm(tmp_path: Path, on_done: str, original: str) -> None:
    rig = rig_of(tmp_path, on_done)
    make_clip(rig.inbox / "take.y4m", frames=8, rate=25, codec="rawvideo")
    with InProcess(rig, READING_WORKER):
        rig.wait_for_states("done")
        wait_until(lambda: rig.jobs()[0]["original"] == original, lambda: str(rig.jobs()))
        (job,) = rig.jobs()
        jobs = jobs_text(decoded_list(JobReport, ask(tmp_path / "state", "jobs")))
    assert (job["verdict"], job["reason"]) == ("whole", "")
    assert (rig.inbox / "take.y4m").exists() == (on_done == "delete")
    assert ("kept, not deleted: nothing in a .y4m like this proves that all of it is there" in jobs) == (
        on_done == "delete"
    )


def test_an_original_is_deleted_only_with_a_proof_on_record_that_it_was_read_whole() -> None:
    def why(verdict: SourceVerdict) -> str:
        return why_not_deleted(json.dumps({"verdict": asdict(verdict)}))

    assert why(WHOLE) == ""
    unread = "it holds a second video stream that was not read"
    assert why(SourceVerdict("whole", unread=(unread,))) == f"kept, not deleted: {unread}"
    for report in (
        "",
        "{}",
        '{"verdict": {"word": "whole"}}',
        json.dumps({"verdict": asdict(SourceVerdict("lost footage"))}),
    ):
        assert why_not_deleted(report).startswith("kept, not deleted: the dfld that read it kept no proof")


def decide_by_hand(aligned: Path) -> None:
    """Delete a face, move one, edit one."""
    (aligned / "take-00000000_0.jpg").unlink()
    (aligned / "take-00000004_0.jpg").rename(aligned.parent / "review" / "take-00000004_0.jpg")
    (aligned / "take-00000005_0.jpg").write_bytes(b"edited")


def decided(aligned: Path, frames: int) -> bool:
    """Say whether the faces of so many frames are there, and what was decided by hand is as it was."""
    numbers = sorted(int(path.name.removeprefix("take-").partition("_")[0]) for path in aligned.iterdir())
    assert numbers == [number for number in range(frames) if number not in (0, 4)]
    assert (aligned / "take-00000005_0.jpg").read_bytes() == b"edited"
    return (aligned.parent / "review" / "take-00000004_0.jpg").exists()


def test_a_whole_copy_keeps_what_a_hand_decided_about_the_faces_of_the_part(tmp_path: Path, whole: bytes) -> None:
    rig = rig_of(tmp_path, "keep")
    aligned = rig.workspace / "data_src" / "aligned"
    (rig.inbox / "take.mkv").write_bytes(whole[: len(whole) * 6 // 10])
    with InProcess(rig, WRITING_WORKER):
        rig.wait_for_states("done")
        decide_by_hand(aligned)
        (rig.inbox / "take again.mkv").write_bytes(whole)
        wait_until(lambda: rig.jobs()[0]["verdict"] == "whole", lambda: str(rig.jobs()))
        assert decided(aligned, FRAMES)


def test_a_longer_copy_that_cannot_be_used_costs_neither_the_faces_nor_the_claim_of_the_part(
    tmp_path: Path, whole: bytes
) -> None:
    rig = rig_of(tmp_path, "keep")
    aligned = rig.workspace / "data_src" / "aligned"
    part = whole[: len(whole) * 6 // 10]
    (rig.inbox / "take.mkv").write_bytes(part)
    with InProcess(rig, WRITING_WORKER):
        rig.wait_for_states("done")
        frames = len(list(aligned.iterdir()))
        decide_by_hand(aligned)
        before = {path.name: path.read_bytes() for path in aligned.iterdir()}
        (rig.inbox / "broken copy.mkv").write_bytes(whole)
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["quarantined"], lambda: str(rig.jobs()))
        assert {path.name: path.read_bytes() for path in aligned.iterdir()} == before

        (rig.inbox / "take.mkv").unlink()
        (rig.inbox / "part once more.mkv").write_bytes(part)
        wait_until(lambda: rig.states() == ["quarantined", "done"], lambda: str(rig.jobs()))
        assert rig.jobs()[1]["slug"] == "take"
        assert decided(aligned, frames)

        (rig.inbox / "take again.mkv").write_bytes(whole)  # the content that failed, now under a name that works
        wait_until(lambda: [job["verdict"] for job in rig.jobs()] == ["whole"], lambda: str(rig.jobs()))
        assert decided(aligned, FRAMES)
