"""Curation as a job of the service: once for each side of a workspace, behind its last clip."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.config.faceset_tables import CurateConfig
from daemon.control.client import ask
from daemon.jobs.follow_ups import queue_follow_ups
from daemon.jobs.kinds.curate import CURATE_CODECS, CurateAsked, CurateRequest, CurateResult
from daemon.jobs.kinds.registry import KINDS, OF_ARRIVALS, OF_CURATIONS
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.ledger import Ledger
from daemon.ledger.transitions import JobEvent
from daemon.metrics.catalogue import ASIDE_REASONS, OTHER
from daemon.readings import ledger_reading
from engine.facesets.changing.renames import last_batch, undo
from engine.facesets.changing.sole_user import sole_user
from engine.facesets.curation.settings import CurationSettings
from engine.facesets.curation.verdicts import GATES, Reason
from engine.facesets.faceset_folder import aligned_folder
from tests.daemon_rig import PICTURE_WORKER, InProcess, Rig, wait_until
from tests.fake_worker import fake_video

FRAMES = 12
ONE_OF_MANY = {"enabled": True, "near_duplicate_radius": 10.0, "per_cell": 3}
"""Far more alike than the pretended faces are: of each pose a few stay."""


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    one = Rig(tmp_path)
    one.inboxes["alice"]["curate"] = dict(ONE_OF_MANY)
    (one.inbox / "clip.mp4").write_bytes(fake_video(frames=FRAMES, name="clip"))
    return one


def faces(rig: Rig, where: str, role: str = "src") -> list[str]:
    return sorted(path.name for path in (rig.workspace / f"data_{role}" / where).glob("*.jpg"))


def kinds(rig: Rig) -> list[str]:
    return [job["kind"] for job in rig.jobs()]


def test_a_clip_that_is_extracted_and_masked_is_curated_and_every_face_can_come_back(rig: Rig) -> None:
    rig.inboxes["alice"]["masks"] = {"source": "hull"}
    with InProcess(rig, PICTURE_WORKER):
        jobs = rig.wait_for_states("done", "done", "done")
    assert kinds(rig) == ["extract", "mask", "curate"]
    kept, aside = faces(rig, "aligned"), faces(rig, "aside")
    assert aside
    assert len(kept) + len(aside) == FRAMES
    counts = json.loads(jobs[2]["counts"])
    assert counts["kept"] == len(kept)
    assert sum(count for name, count in counts.items() if name.startswith("aside: ")) == len(aside)
    assert jobs[2]["message"].startswith(f"data_src: {len(kept)} of {FRAMES} faces are trained on")
    ledger = Ledger(rig.base / "state" / "ledger.db")
    try:
        reading = ledger_reading(ledger, {})
    finally:
        ledger.close()
    assert sum(reading["dfld_faces_aside"].values()) == len(aside)
    assert reading["dfld_missing_poses"] == {("alice",): counts["missing poses"]}
    folder = aligned_folder(rig.workspace / "data_src" / "aligned")
    with sole_user(folder):
        batch = last_batch(folder, "curate")
        assert batch is not None
        undo(folder, batch)
    assert len(faces(rig, "aligned")) == FRAMES


def test_an_inbox_that_asks_for_no_curation_moves_nothing(rig: Rig) -> None:
    rig.inboxes["alice"]["curate"] = {"enabled": False}
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done")
    assert len(faces(rig, "aligned")) == FRAMES


def test_another_clip_has_the_same_job_done_anew_over_all_faces(rig: Rig) -> None:
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done", "done")
        (rig.inbox / "another.mp4").write_bytes(fake_video(frames=FRAMES, name="another"))
        jobs = rig.wait_for_states("done", "done", "done")
    assert [(job["kind"], job["subject"]) for job in jobs] == [("extract", None), ("curate", 1), ("extract", None)]
    assert jobs[1]["frames_total"] == 2 * FRAMES
    assert jobs[1]["finished_s"] > jobs[2]["finished_s"]


def test_faces_of_data_dst_are_marked_and_none_is_moved(rig: Rig) -> None:
    rig.inboxes["alice"]["role"] = "dst"
    with InProcess(rig, PICTURE_WORKER):
        jobs = rig.wait_for_states("done", "done")
    assert "all stay" in jobs[1]["message"]
    assert (len(faces(rig, "aligned", "dst")), faces(rig, "aside", "dst")) == (FRAMES, [])


@pytest.fixture
def trainer(rig: Rig) -> Iterator[subprocess.Popen[bytes]]:
    """A program that works on the workspace, as its command line says."""
    command = [sys.executable, "-c", "import sys; sys.stdin.read()", "train", str(rig.workspace)]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def test_nothing_is_moved_while_a_program_works_on_the_workspace_and_the_job_says_which(
    rig: Rig, trainer: subprocess.Popen[bytes]
) -> None:
    rig.tables["retry"]["attempts"] = 2
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done", "waiting")

        def tried_often() -> dict[str, Any] | None:
            (_, job) = rig.jobs()
            return job if job["state"] == "waiting" and job["attempt"] > 2 else None

        job = wait_until(tried_often, "more tries than a failure has")
        assert (job["reason"], job["attempts"]) == ("held", 0)
        assert f"process {trainer.pid}" in job["message"]
        assert len(faces(rig, "aligned")) == FRAMES
        trainer.kill()
        trainer.wait()
        rig.wait_for_states("done", "done")
    assert faces(rig, "aside")


def test_a_curation_that_is_not_asked_for_any_more_says_so(rig: Rig) -> None:
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done", "done")
    rig.inboxes["alice"]["curate"] = {"enabled": False}
    ledger = Ledger(rig.base / "state" / "ledger.db")
    ledger.write(lambda writer: table.apply(writer, 2, JobEvent.REDO))
    ledger.close()
    with InProcess(rig, PICTURE_WORKER):
        jobs = rig.wait_for_states("done", "failed")
    assert "asks for no curation" in jobs[1]["message"]


@pytest.mark.parametrize("how", ["cancelled", "gone"])
def test_a_side_whose_last_clip_comes_to_nothing_is_curated_all_the_same(rig: Rig, how: str) -> None:
    endless = rig.inbox / "endless.mp4"
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done", "done")
        first_s = rig.jobs()[1]["finished_s"]
        endless.write_bytes(fake_video(frames=400, name="endless", pause_s=0.05))
        wait_until(lambda: "running" in rig.states(), "the next clip to begin")
        if how == "cancelled":
            ask(rig.base / "state", "cancel", {"id": 3})
        else:
            ask(rig.base / "state", "pause", {})
            wait_until(lambda: "running" not in rig.states(), "the clip to stop")
            endless.unlink()
            ask(rig.base / "state", "resume", {})
        jobs = rig.wait_for_states("done", "done", how)
    assert jobs[1]["finished_s"] > first_s


def test_the_reasons_that_are_counted_are_those_that_a_face_is_set_aside_for() -> None:
    assert set(ASIDE_REASONS) == {*GATES, "near_duplicate", "over_budget", "decided", OTHER}
    assert set(ASIDE_REASONS) - {OTHER} <= set(get_args(Reason))


def test_the_values_of_a_curation_travel() -> None:
    asked = CurateAsked(CurationSettings(per_cell=7), "/ws")
    request = CurateRequest("/ws", "src", asked)
    result = CurateResult(True, 5, 3, 2, 1, {"blurred": 2}, {}, 1, ("looking up: src 0",), 512)
    assert CURATE_CODECS.request.decode(tuple(CURATE_CODECS.request.encode(request))) == request
    assert CURATE_CODECS.result.decode(tuple(CURATE_CODECS.result.encode(result))) == result


def test_the_table_has_the_settings_of_a_curation_and_their_defaults() -> None:
    assert CurateConfig().settings == CurationSettings()


@pytest.mark.parametrize(
    ("match", "follows"), [("", True), ("data_dst", True), ("data_dst/aligned", True), ("../other", False)]
)
def test_faces_that_are_matched_to_others_are_curated_again_when_those_change(
    tmp_path: Path, match: str, follows: bool
) -> None:
    rig = Rig(tmp_path, inboxes=("alice", "bob"))
    rig.inboxes["bob"] |= {"role": "dst", "curate": {"enabled": True}}
    workspace = Path(rig.inboxes["bob"]["workspace"])
    rig.inboxes["alice"]["curate"] = {"enabled": True, "match": str(workspace / match)}
    ledger = Ledger(tmp_path / "ledger.db")
    try:
        src, dst = (claimed(ledger, rig, name, 0) for name in ("alice", "bob"))
        for job in (src, dst):
            end(ledger, job, done=True)
        config = rig.config
        about = ledger.write(
            lambda writer: table.queue_about(
                writer, "curate", table.fetched(writer, dst), request="", rank=0.0, now_s=1.0
            )
        )
        ledger.write(lambda writer: writer.execute("UPDATE jobs SET state = 'done' WHERE id = ?", (about.id,)))
        queued = ledger.write(
            lambda writer: queue_follow_ups(writer, OF_CURATIONS, about.id, config.inboxes[1], config, now_s=2.0)
        )
    finally:
        ledger.close()
    assert [one.subject for one in queued] == ([src] if follows else [])


def test_faces_that_are_matched_to_a_clip_without_a_curation_of_its_own_follow_that_clip(tmp_path: Path) -> None:
    rig = Rig(tmp_path, inboxes=("alice", "bob"))
    rig.inboxes["bob"]["role"] = "dst"
    rig.inboxes["alice"]["curate"] = {"enabled": True, "match": rig.inboxes["bob"]["workspace"]}
    ledger = Ledger(tmp_path / "ledger.db")
    try:
        src, dst = (claimed(ledger, rig, name, 0) for name in ("alice", "bob"))
        end(ledger, src, done=True)
        end(ledger, dst, done=True)
        config = rig.config
        queued = ledger.write(
            lambda writer: queue_follow_ups(writer, OF_ARRIVALS, dst, config.inboxes[1], config, now_s=2.0)
        )
    finally:
        ledger.close()
    assert [(one.kind, one.subject) for one in queued] == [("curate", src)]


def test_faces_to_be_matched_may_come_later(rig: Rig) -> None:
    rig.inboxes["alice"]["curate"] |= {"match": str(rig.base / "not yet")}
    with InProcess(rig, PICTURE_WORKER):
        jobs = rig.wait_for_states("done", "done")
    assert f"there are none yet in {rig.base / 'not yet'}" in jobs[1]["message"]
    assert faces(rig, "aside")


# -- what follows from which end, over random sequences


def claimed(ledger: Ledger, rig: Rig, inbox: str, number: int) -> int:
    """Claim a clip; return its job."""
    keys = rig.inboxes[inbox]
    arrival = Arrival(
        kind="extract",
        inbox=inbox,
        path=b"%d.mp4" % number,
        source_kind="video",
        file_state=f"{inbox}{number}",
        sha256=f"{number:02d}{inbox}".ljust(64, "c"),
        size_bytes=5,
        arrived_s=1.0,
        workspace=keys["workspace"],
        role=keys.get("role", "src"),
        slugs=(f"clip{number}",),
        priority=5,
    )
    claimed = ledger.write(lambda writer: claim(writer, arrival, now_s=1.0, on_duplicate="skip", earlier_is_there=True))
    return claimed.job.id


def end(ledger: Ledger, job_id: int, *, done: bool) -> None:
    """Start a job and end it."""
    ledger.write(lambda writer: table.apply(writer, job_id, JobEvent.START, now_s=1.0))
    ledger.write(lambda writer: table.apply(writer, job_id, JobEvent.FINISH if done else JobEvent.FAIL, now_s=2.0))


ORDERS = st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=12)
"""Which of four clips, or the job about it that waits, ends next, and whether it is done."""


@pytest.mark.parametrize("masks", [False, True])
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(orders=ORDERS)
def test_a_side_is_curated_when_its_last_job_has_ended_and_never_before(
    tmp_path_factory: pytest.TempPathFactory, masks: bool, orders: list[tuple[int, bool]]
) -> None:
    rig = Rig(tmp_path_factory.mktemp("rig"))
    rig.inboxes["alice"] |= {"curate": {"enabled": True}, **({"masks": {"source": "hull"}} if masks else {})}
    config, ledger = rig.config, Ledger(rig.base / "ledger.db")
    try:
        clips = [claimed(ledger, rig, "alice", number) for number in range(4)]
        for which, done in orders:
            waiting = [one for one in _unfinished(ledger) if one.id == clips[which] or one.subject == clips[which]]
            for one in [one for one in waiting if one.kind != "curate"][:1]:
                end(ledger, one.id, done=done)
                kind, job_id = KINDS[one.kind], one.id
                ledger.write(
                    lambda writer, kind=kind, job_id=job_id: queue_follow_ups(  # type: ignore[misc]
                        writer, kind, job_id, config.inboxes[0], config, now_s=3.0
                    )
                )
            left = [one for one in _unfinished(ledger) if one.kind != "curate"]
            curations = [one for one in ledger.read(lambda reader: list(table.jobs(reader))) if one.kind == "curate"]
            some_done = any(one.state == "done" for one in _all(ledger) if one.kind == "extract")
            assert len(curations) == (not left and some_done)
    finally:
        ledger.close()


def _all(ledger: Ledger) -> list[table.Job]:
    return ledger.read(lambda reader: list(table.jobs(reader)))


def _unfinished(ledger: Ledger) -> list[table.Job]:
    return [one for one in _all(ledger) if one.state in ("queued", "waiting", "running")]
