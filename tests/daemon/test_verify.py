"""`dfld verify`: every face is read back by a job of the service, and what was damaged is written again."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from daemon.cli import main
from daemon.commands.verify import exit_code_of, report_lines
from daemon.control.client import ask
from daemon.control.verify import start_verification
from daemon.crew.local import LocalCrew, LocalLink
from daemon.errors import ControlError
from daemon.jobs.kinds.contract import Failure, Needs
from daemon.jobs.kinds.registry import OF_ARRIVALS, OF_VERIFICATIONS
from daemon.jobs.kinds.verify import VERIFY_CODECS, VerifyCommit, VerifyRequest, VerifyResult
from daemon.ledger import jobs as table
from daemon.ledger.claims import Arrival, claim
from daemon.ledger.ledger import Ledger
from daemon.ledger.transitions import JobEvent
from daemon.reports.verify import ClipNotDone, ClipVerification, FaceFinding, VerificationReport
from daemon.worker.verifier import Verifier
from dfl.image import read_metadata, with_metadata
from engine.results.checked_face import CheckedFace
from engine.results.read_back import ReadBack
from engine.results.run_results import Results
from engine.workspace.file_names import inbox_layout
from tests.daemon_rig import PICTURE_WORKER, InProcess, Killable, Rig, wait_until
from tests.engine.results.test_read_back import NOTE, write_clip
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


def test_jobs_that_need_other_things_have_workers_of_their_own_and_each_is_kept(
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
        (rig.inbox / "another.mp4").write_bytes(fake_video(frames=FRAMES, name="another"))
        rig.wait_for_states("done", "done", "done")
    assert opened == [OF_ARRIVALS.needs, OF_VERIFICATIONS.needs], "models are loaded once"


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
    assert (status, report["unfinished"], report["retried"]) == (3, {"failed": 1}, [])
    (not_done,) = report["not_done"]
    assert (not_done["clip"], not_done["job"], not_done["state"]) == ("second.mp4", 2, "failed")
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


DAMAGED = CheckedFace("00000000_0.jpg", "damaged", "its picture is empty", "aligned/00000000_0.jpg", removable="face")


def end_repair(ledger: Ledger) -> None:
    """Let the verification of the clip, which runs, find a damaged face and come to its end."""
    commit = VerifyCommit(1, 1, (DAMAGED,))
    pieces = tuple(VERIFY_CODECS.commit.encode(commit))
    result = tuple(VERIFY_CODECS.result.encode(VerifyResult(completed=True, faces_total=1, may_redo=True)))
    ledger.write(lambda writer: OF_VERIFICATIONS.store(writer, table.fetched(writer, 2), pieces))
    ledger.write(lambda writer: OF_VERIFICATIONS.end(writer, table.fetched(writer, 2), result))


def test_a_repair_that_ends_leaves_what_was_asked_for_of_the_clip_meanwhile(done_clip: Ledger) -> None:
    start_verification(done_clip, "alice", repair=True, now_s=4.0)
    start_next(done_clip)
    done_clip.write(lambda writer: table.apply(writer, 1, JobEvent.REDO, discard="7"))
    end_repair(done_clip)
    clip = done_clip.read(lambda reader: table.fetched(reader, 1))
    assert (clip.state, clip.discard, clip.next_frame) == ("queued", "7", 0)


def test_a_repair_that_ends_queues_a_clip_once_more_that_nobody_queued(done_clip: Ledger) -> None:
    start_verification(done_clip, "alice", repair=True, now_s=4.0)
    start_next(done_clip)
    end_repair(done_clip)
    assert done_clip.read(lambda reader: table.fetched(reader, 1)).state == "queued"


class KilledError(Exception):
    """The worker ends here."""


def killed(_commit: VerifyCommit) -> None:
    raise KilledError


@pytest.mark.parametrize("is_listed", [True, False])
def test_a_kill_between_the_removal_of_a_damaged_face_and_its_commit_loses_no_finding(
    tmp_path: Path, is_listed: bool
) -> None:
    layout = inbox_layout(tmp_path, "src", "clip")
    recorded = write_clip(layout)
    os.truncate(layout.aligned / recorded[0].name, 100)
    known = tuple(recorded) if is_listed else tuple(recorded[1:])
    request = VerifyRequest(str(tmp_path), "src", "clip", known, drop_damaged=True, attempt=1)
    commits: list[VerifyCommit] = []
    basis = Verifier().load(request)
    work = partial(Verifier().work, request, stop=threading.Event(), on_progress=lambda _: None, resume=None)
    with pytest.raises(KilledError):
        work(on_commit=killed)
    assert not (layout.aligned / recorded[0].name).exists()
    assert Verifier().load(request) == basis, "and so it goes on where it was"
    result = work(on_commit=commits.append)
    assert result.may_redo
    found = {one.name: one.finding for commit in commits for one in commit.checked}
    assert found.pop(recorded[0].name) == "unfinished", "a fault, for which the clip is done once more"
    assert set(found.values()) == {"whole"}


def test_what_was_read_back_before_the_clip_was_done_once_more_says_nothing(tmp_path: Path) -> None:
    write_clip(inbox_layout(tmp_path, "src", "clip"))
    requests = [VerifyRequest(str(tmp_path), "src", "clip", (), drop_damaged=False, attempt=one) for one in (1, 2)]
    first, second = (Verifier().load(request) for request in requests)
    assert first != second


def test_the_request_names_the_attempt_that_made_the_faces(done_clip: Ledger, tmp_path: Path) -> None:
    start_verification(done_clip, "alice", repair=False, now_s=4.0)
    start_next(done_clip)
    config = Rig(tmp_path).config
    for attempt in (1, 2):
        pieces = done_clip.read(
            lambda reader: OF_VERIFICATIONS.request(
                table.fetched(reader, 2), config.inboxes[0], config, reader, now_s=5.0
            )
        )
        assert not isinstance(pieces, Failure)
        assert VERIFY_CODECS.request.decode(pieces).attempt == attempt
        done_clip.write(lambda writer: writer.execute("UPDATE jobs SET attempt = 2 WHERE id = 1"))


def test_a_clip_that_is_begun_anew_while_it_is_read_back_without_a_service_is_said_to_be_not_finished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rig = Rig(tmp_path)
    layout = inbox_layout(rig.workspace, "src", "clip")
    write_clip(layout)
    check = ReadBack.check

    def while_a_redo_begins(clip: ReadBack, name: str) -> CheckedFace:
        if name == clip.names[2]:
            with Results(layout, NOTE, resumes=False) as results:
                results.committed(0)
        return check(clip, name)

    monkeypatch.setattr(ReadBack, "check", while_a_redo_begins)
    assert main(["verify", str(rig.workspace), "--config", str(rig.config_path)]) == 75
    assert "not finished: it was begun anew while it was read back" in capsys.readouterr().out


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
    capsys.readouterr()
    assert main(["verify", str(rig.workspace), "--config", str(rig.config_path), "--repair"]) == 4
    assert "--repair needs the running service; without it: dfld verify" in capsys.readouterr().err
    assert main(["verify", "alice", "--config", str(rig.config_path)]) == 4
    assert "alice is no folder; whether it is an inbox cannot be asked" in capsys.readouterr().err
    manifest = manifest_of_clip(rig)
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.write_bytes(b"".join(line for line in lines if b'"finished"' not in line))
    faces(rig)[0].unlink()
    assert main(["verify", str(rig.workspace), "--config", str(rig.config_path)]) == 75
    assert "not finished: 10 frames of it are done" in capsys.readouterr().out


@pytest.mark.parametrize("is_lost", [True, False])
def test_a_clip_whose_manifest_was_lost_or_cut_is_reported_and_a_repair_leaves_it_alone(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str], is_lost: bool
) -> None:
    whole, manifest = rig.faces(), manifest_of_clip(rig)
    lines = manifest.read_bytes().splitlines(keepends=True)
    manifest.unlink()
    if not is_lost:
        manifest.write_bytes(b"".join(lines[:9]))
    os.truncate(faces(rig)[0], 100)
    for more in ((), ("--repair",)):
        status, (report,) = verify(rig, capsys, *more)
        clip = report["clips"][0]
        unlisted = FRAMES - 1 if is_lost else FRAMES - sum(b'"face"' in line for line in lines[:9])
        assert (status, clip["counts"]["damaged"], clip["counts"]["unlisted"]) == (3, 1, unlisted)
        assert clip["redo"] is False
    assert "the clip's manifest does not list" in clip["message"]
    assert [faces(rig)[0].exists(), rig.jobs()[0]["attempt"], manifest.exists()] == [True, 1, not is_lost]
    (rig.base / "elsewhere").mkdir()
    for path in faces(rig):
        path.rename(rig.base / "elsewhere" / path.name)
    assert "dfld jobs retry 1 --replace --discard-hand-work" in clip["hint"]
    arguments = ["jobs", "retry", "1", "--replace", "--discard-hand-work", "--config", str(rig.config_path)]
    assert main(arguments) == 0
    wait_until(lambda: rig.jobs()[0]["attempt"] == 2 and rig.jobs()[0]["state"] == "done", "the clip done once more")
    assert rig.faces() == whole
    capsys.readouterr()
    assert verify(rig, capsys)[0] == 0


def test_where_most_faces_are_gone_a_hint_says_how_they_come_back(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    for path in faces(rig)[2:]:
        path.unlink()
    assert main(["verify", "alice", "--config", str(rig.config_path)]) == 0
    out = capsys.readouterr().out
    assert "if nobody took them out: dfld jobs retry 1 --replace --discard-hand-work" in out
    assert (out.count("  taken out "), "and 4 more (--json)" in out) == (24, True)


def test_a_repair_does_no_clip_again_for_damage_that_stays(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    broken = faces(rig)[0]
    data = broken.read_bytes()
    at = data.index(b"\xff\xef") + 4
    broken.write_bytes(data[:at] + bytes(40) + data[at + 40 :])
    status, (report,) = verify(rig, capsys, "--repair")
    clip = report["clips"][0]
    assert (status, clip["counts"]["damaged"], clip["redo"]) == (3, 1, False)
    assert (rig.jobs()[0]["attempt"], rig.jobs()[0]["state"]) == (1, "done")
    assert "a repair leaves alone what a person may have changed" in clip["hint"]


def manifest_of_clip(rig: Rig) -> Path:
    (manifest,) = (rig.workspace / "data_src" / "debug").glob("*manifest.jsonl")
    return manifest


def clip_report(counts: dict[str, int], *findings: FaceFinding, not_finished: str = "") -> ClipVerification:
    total = sum(counts.values())
    return ClipVerification("clip", "done", total, total, counts, findings, not_finished=not_finished)


@pytest.mark.parametrize(
    ("state", "frames_done", "code"),
    [
        ("queued", 0, 75), ("running", 3, 75), ("waiting", 3, 75), ("failed", 0, 3), ("cancelled", 3, 3),
        ("gone", 3, 3), ("quarantined", 3, 3), ("cancelled", 0, 0), ("skipped", 0, 0),
    ],
)  # fmt: skip
def test_a_clip_that_is_not_done_is_named_and_no_half_done_one_reads_as_sound(
    state: str, frames_done: int, code: int
) -> None:
    not_done = ClipNotDone("b.mp4", 2, state, frames_done, 12)
    report = VerificationReport("alice", (clip_report({"whole": 2}),), (), {state: 1}, (not_done,))
    assert exit_code_of(report) == code
    count = "0 frames" if not frames_done else "3 frames"
    assert f"b.mp4 (job 2): not finished: {count} of 12, {state}" in report_lines(report)


def test_that_faces_are_damaged_counts_more_than_that_a_clip_is_not_finished() -> None:
    begun = "not finished: 3 frames of it are done"
    for counts, code in (({"whole": 1, "unfinished": 1}, 75), ({"damaged": 1}, 3)):
        assert exit_code_of(VerificationReport("/ws", (clip_report(counts, not_finished=begun),))) == code
    assert exit_code_of(VerificationReport("/ws", (clip_report({"unfinished": 1}),))) == 3


def test_the_text_names_what_people_did_faults_first_with_counts_in_one_order() -> None:
    found = (
        FaceFinding("a.jpg", "edited", "a person changed it"),
        FaceFinding("b.jpg", "elsewhere", "it was moved", "aside/b.jpg"),
        FaceFinding("c.jpg", "damaged", "its picture is empty"),
    )
    one = clip_report({"damaged": 1, "elsewhere": 1, "edited": 1, "whole": 1}, *found)
    assert report_lines(VerificationReport("/ws", (one,))) == [
        "clip: 4 faces read back: 1 whole, 1 edited, 1 elsewhere, 1 damaged",
        "  DAMAGED     c.jpg: its picture is empty",
        "  edited      a.jpg: a person changed it",
        "  elsewhere   b.jpg: it was moved (aside/b.jpg)",
    ]
    assert report_lines(VerificationReport("/ws", (clip_report({"whole": 1}),))) == ["clip: 1 face read back: 1 whole"]


def test_completion_offers_folders() -> None:
    script = Path("daemon/commands/generated-files/dfld.bash").read_text()
    assert "_shtab_dfld_verify_pos_0_COMPGEN=_dfld_dirs" in script


def test_what_is_neither_inbox_nor_folder_is_refused(
    rig: Rig, service: InProcess, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "nobody", "--config", str(rig.config_path)]) == 2
    assert "alice" in capsys.readouterr().err
