"""`dfld verify`: every face is read back by a job of the service, and what was damaged is written again."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import main
from daemon.control.client import ask
from daemon.control.verify import start_verification
from daemon.crew.local import LocalCrew, LocalLink
from daemon.errors import ControlError
from daemon.jobs.kinds.contract import Needs
from daemon.jobs.kinds.registry import OF_ARRIVALS, OF_VERIFICATIONS
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.ledger import Ledger
from daemon.ledger.transitions import JobEvent
from dfl.image import read_metadata, with_metadata
from tests.daemon_rig import PICTURE_WORKER, InProcess, Killable, Rig, wait_until
from tests.fake_worker import fake_video

FRAMES = 30


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


def faces(rig: Rig) -> list[Path]:
    return sorted((rig.workspace / "data_src" / "aligned").glob("*.jpg"))


def verify(rig: Rig, capsys: pytest.CaptureFixture[str], *more: str, what: str = "alice") -> tuple[int, Any]:
    status = main(["verify", what, "--config", str(rig.config_path), "--json", *more])
    return status, json.loads(capsys.readouterr().out)


def damage(path: Path) -> None:
    """Change some bytes of the picture as a bad disk does: nobody touches size and time."""
    found = path.stat()
    with path.open("r+b") as file:
        file.seek(found.st_size // 2)
        file.write(b"\x00" * 40)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))


def test_a_clip_as_it_was_written_is_whole(rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]) -> None:
    status, (report,) = verify(rig, capsys)
    assert (status, report["clips"][0]["counts"]) == (0, {"whole": FRAMES})
    jobs = rig.jobs()
    assert [(job["kind"], job["subject"], job["state"]) for job in jobs] == [
        ("extract", None, "done"),
        ("verify", 1, "done"),
    ]
    assert rig.count("SELECT count(*) FROM faces WHERE pixels_sha256 != ''") == FRAMES
    assert main(["verify", "alice", "--config", str(rig.config_path)]) == 0
    assert f"{FRAMES} faces read back: {FRAMES} whole" in capsys.readouterr().out
    assert len(rig.jobs()) == 2, "one verification of each clip, however often"


def test_a_worker_of_another_kind_of_job_is_replaced_by_one_that_has_what_the_job_needs(
    rig: Rig, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Needs] = []
    open_link = LocalCrew.open_link

    def noting(crew: LocalCrew, slot: int, needs: Needs, memory_bytes: int) -> LocalLink:
        opened.append(needs)
        return open_link(crew, slot, needs, memory_bytes)

    monkeypatch.setattr(LocalCrew, "open_link", noting)
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done")
        assert [verify(rig, capsys)[0], verify(rig, capsys)[0]] == [0, 0]
    assert opened == [OF_ARRIVALS.needs, OF_VERIFICATIONS.needs], "and it does the next job of that kind as well"


def test_what_a_person_did_is_named_and_is_no_fault(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert verify(rig, capsys)[0] == 0  # keeps the hashes of the pixels
    taken, moved, edited, *_ = faces(rig)
    taken.unlink()
    (rig.workspace / "aside").mkdir()
    moved.rename(rig.workspace / "aside" / "another name.jpg")
    data = edited.read_bytes()
    edited.write_bytes(with_metadata(data, replace(read_metadata(data), eyebrows_expand_mod=1.25)))
    status, (report,) = verify(rig, capsys)
    counts = report["clips"][0]["counts"]
    assert (status, counts) == (0, {"whole": FRAMES - 3, "taken out": 1, "elsewhere": 1, "edited": 1})
    found = {one["name"]: one for one in report["clips"][0]["findings"]}
    assert found[moved.name]["file"] == "aside/another name.jpg"
    assert "its pixels are as they were written" in found[edited.name]["why"]


@pytest.mark.parametrize("how", ["rotten", "cut", "empty"])
def test_a_damaged_face_is_found_and_repair_writes_it_again_and_brings_back_nothing_else(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str], how: str
) -> None:
    whole = rig.faces()
    taken, damaged, *_ = faces(rig)
    taken.unlink()
    if how == "rotten":
        damage(damaged)
    else:
        os.truncate(damaged, 0 if how == "empty" else damaged.stat().st_size // 2)
    status, (report,) = verify(rig, capsys)
    (fault,) = [one for one in report["clips"][0]["findings"] if one["finding"] == "damaged"]
    assert (status, fault["name"], report["clips"][0]["redo"]) == (3, damaged.name, False)
    assert "--repair" in report["clips"][0]["hint"]
    assert rig.jobs()[0]["state"] == "done", "nothing is changed unless that was asked for"
    status, (report,) = verify(rig, capsys, "--repair")
    assert (status, report["clips"][0]["redo"]) == (3, True)
    wait_until(lambda: rig.jobs()[0]["attempt"] == 2 and rig.jobs()[0]["state"] == "done", "the clip done once more")
    assert damaged.read_bytes() == whole[str(damaged.relative_to(rig.base))]
    assert not taken.exists(), "what a person took out stays out"
    status, (report,) = verify(rig, capsys)
    assert status == 0
    assert report["clips"][0]["counts"]["whole"] == FRAMES - 1


def test_a_damaged_face_whose_original_left_is_reported_and_stays(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    (rig.inbox / "clip.mp4").unlink()
    damaged = faces(rig)[0]
    damage(damaged)
    status, (report,) = verify(rig, capsys, "--repair")
    assert (status, report["clips"][0]["redo"], damaged.exists()) == (3, False, True)
    assert "put it back" in report["clips"][0]["hint"]
    assert rig.jobs()[0]["state"] == "done"


def test_repair_tries_failed_jobs_again_and_a_clip_that_is_not_done_is_counted(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    rig.inboxes["alice"]["model_pack"] = "missing"
    (rig.base / "config.toml").write_text(rig.config_path.read_text())
    ask(rig.base / "state", "reload")
    (rig.inbox / "second.mp4").write_bytes(fake_video(frames=5, name="second"))
    wait_until(lambda: [job["state"] for job in rig.jobs()] == ["done", "failed"], "the second job fails")
    status, (report,) = verify(rig, capsys)
    assert (status, report["unfinished"], report["retried"]) == (0, {"failed": 1}, [])
    status, (report,) = verify(rig, capsys, "--repair")
    assert (status, report["retried"]) == (3, [2])


@pytest.fixture
def done_clip(tmp_path: Path) -> Iterator[Ledger]:
    """A ledger with one clip that is done."""
    arrival = Arrival(
        kind="extract", inbox="alice", path=b"clip.mp4", source_kind="video", file_state="i1", sha256="c" * 64,
        size_bytes=5, arrived_s=1.0, workspace="/ws", role="src", slugs=("clip",), priority=5,
    )  # fmt: skip
    ledger = Ledger(tmp_path / "ledger.db")
    ledger.write(lambda writer: claim(writer, arrival, now_s=2.0, on_duplicate="skip", earlier_is_there=True))
    start_next(ledger)
    ledger.write(lambda writer: table.apply(writer, 1, JobEvent.FINISH, now_s=3.0))
    yield ledger
    ledger.close()


def start_next(ledger: Ledger) -> None:
    ledger.write(lambda writer: table.start_next(writer, now_s=3.0, inboxes=("alice",), longest_wait_s=60.0))


def request_of(ledger: Ledger, job_id: int) -> Any:
    job = ledger.read(lambda reader: table.job_by_id(reader, job_id))
    assert job is not None
    return json.loads(job.request)


def test_a_repair_asked_for_while_the_clip_is_read_back_is_refused_with_a_sentence(done_clip: Ledger) -> None:
    start_verification(done_clip, "alice", repair=False, now_s=4.0)
    start_next(done_clip)
    assert start_verification(done_clip, "alice", repair=False, now_s=5.0).jobs == (2,), "that one may be waited for"
    with pytest.raises(ControlError, match=r"job 2 reads clip.mp4 back at this moment, and was not asked to repair"):
        start_verification(done_clip, "alice", repair=True, now_s=5.0)
    assert request_of(done_clip, 2) == {"repair": False}
    done_clip.write(lambda writer: table.apply(writer, 2, JobEvent.FINISH, now_s=6.0))
    start_verification(done_clip, "alice", repair=True, now_s=7.0)
    assert request_of(done_clip, 2) == {"repair": True}


@pytest.mark.parametrize("event", [JobEvent.FAIL, JobEvent.CANCEL, JobEvent.LEAVE, JobEvent.QUARANTINE])
def test_of_the_clips_that_are_not_done_a_repair_tries_the_failed_ones_alone(
    done_clip: Ledger, event: JobEvent, capsys: pytest.CaptureFixture[str]
) -> None:
    done_clip.write(lambda writer: table.apply(writer, 1, JobEvent.REDO))
    start_next(done_clip)
    state = done_clip.write(lambda writer: table.apply(writer, 1, event, now_s=4.0))
    started = start_verification(done_clip, "alice", repair=True, now_s=5.0)
    assert started.unfinished == {state: 1}
    assert started.retried == ((1,) if event is JobEvent.FAIL else ())
    with pytest.raises(SystemExit):
        main(["verify", "--help"])
    assert str(state) in capsys.readouterr().out, "the help says which there are"


@pytest.mark.parametrize("runs", [True, False])
def test_a_verification_asked_for_while_a_repair_waits_or_runs_leaves_it_a_repair(
    done_clip: Ledger, runs: bool
) -> None:
    start_verification(done_clip, "alice", repair=True, now_s=4.0)
    if runs:
        start_next(done_clip)
    assert start_verification(done_clip, "alice", repair=False, now_s=5.0).jobs == (2,)
    assert request_of(done_clip, 2) == {"repair": True}


def test_a_verification_goes_on_where_a_kill_left_it(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    frames = 400
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=frames))
    environment = {"DFLD_TEST_WORKER": "pictures"}
    with Killable(rig, environment=environment):
        rig.wait_for_states("done", deadline_s=60)
        ask(rig.base / "state", "verify", {"inbox": "alice"})
        wait_until(lambda: len(rig.jobs()) == 2 and rig.jobs()[1]["next_frame"], "the first piece")
    left = rig.jobs()[1]
    assert left["next_frame"] > 0
    with Killable(rig, environment=environment):
        done = rig.wait_for_states("done", "done", deadline_s=60)[1]
    report = json.loads(done["report"])
    assert (report["faces"], report["counts"]) == (frames, {"whole": frames}), (
        "no face is read back twice, none is left out"
    )


def test_a_folder_is_verified_without_a_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rig = Rig(tmp_path)
    (rig.inbox / "clip.mp4").write_bytes(fake_video(frames=10))
    with InProcess(rig, PICTURE_WORKER):
        rig.wait_for_states("done")
    shutil.rmtree(tmp_path / "state")
    status, (report,) = verify(rig, capsys, what=str(rig.workspace))
    assert (status, report["clips"][0]["counts"], report["clips"][0]["job"]) == (0, {"whole": 10}, None)
    os.truncate(faces(rig)[0], 100)
    assert main(["verify", str(rig.workspace), "--config", str(rig.config_path)]) == 3
    assert "DAMAGED" in capsys.readouterr().out
    assert main(["verify", str(rig.workspace), "--config", str(rig.config_path), "--repair"]) == 4


def test_what_is_neither_inbox_nor_folder_is_refused(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "nobody", "--config", str(rig.config_path)]) == 2
    assert "alice" in capsys.readouterr().err
