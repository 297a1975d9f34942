"""What operators ask a running service: status, jobs, pauses, the quarantine, a reload, forgetting."""

from __future__ import annotations

import json
import os
import shutil
import socket
import sqlite3
import threading
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.control.client import ask
from daemon.control.server import CONNECTIONS_MAX, ControlServer
from daemon.errors import ControlError
from tests.daemon_rig import InProcess, Rig, wait_until
from tests.fake_worker import fake_video


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    return Rig(tmp_path, inboxes=("alice", "bob"))


@pytest.fixture
def state(rig: Rig) -> Path:
    return rig.base / "state"


def test_nobody_answers_where_no_service_runs(state: Path) -> None:
    with pytest.raises(ControlError, match="no daemon answers"):
        ask(state, "status")


def test_status_tells_the_work_in_hand_and_what_waits(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=400, pause_s=0.02))
    with InProcess(rig):
        running = wait_until(lambda: [one for one in ask(state, "status")["running"] if one["eta_s"]], "nothing runs")
        status = ask(state, "status")
        assert running[0]["frames_total"] == 400
        assert running[0]["faces_per_s"] > 0
        assert [inbox["up"] for inbox in status["inboxes"]] == [True, True]
        assert status["jobs"]["running"] == 1
        assert (state / "control.sock").stat().st_mode & 0o777 == 0o660
        assert ask(state, "jobs", {"states": ["running"]})[0]["path"] == "a.mp4"
        assert ask(state, "job", {"id": 1})["sidecar"] == {}


@pytest.mark.parametrize(
    ("request_text", "error"),
    [
        (b"nonsense\n", "not a request"),
        (b"[1]\n", "not a request"),
        (b'{"do": "dance"}\n', "asked for 'dance', expected one of status"),
        (b'{"do": "job", "id": "x"}\n', 'id is "x", expected a number'),
        (b'{"do": "pause", "inbox": "carol"}\n', "there is no inbox 'carol'"),
        (b'{"do": "jobs", "states": ["odd"]}\n', "no job is ever 'odd'"),
        (b"x" * 70_000 + b"\n", "not a request"),
        (b"[" * 30_000 + b"\n", "nested very deeply"),
        (b'{"do": ' + b"[" * 30_000 + b"]" * 30_000 + b"}\n", "nested very deeply"),
        (b'{"do": "jobs", "limit": "abc"}\n', 'limit is "abc", expected a number'),
        (b'{"do": "jobs", "limit": -1}\n', "limit is -1, expected a number"),
        (b'{"do": "jobs", "states": 5}\n', "states is 5, expected a list"),
        (b'{"do": "jobs", "states": [[]]}\n', "states is [[]], expected a list"),
        (b'{"do": "job", "id": true}\n', "id is true, expected a number"),
        (b'{"do": "job", "id": 1e999}\n', "expected a number"),
        (b'{"do": "job", "id": 99999999999999999999}\n', "expected a number"),
        (b'{"do": "forget", "name": {}}\n', "name is {}, expected a text"),
    ],
)
def test_a_request_that_makes_no_sense_gets_a_sentence(rig: Rig, state: Path, request_text: bytes, error: str) -> None:
    with InProcess(rig), socket.socket(socket.AF_UNIX) as connection, ExitStack() as stack:
        folder = os.open(state, os.O_PATH)
        stack.callback(os.close, folder)
        connection.connect(f"/proc/self/fd/{folder}/control.sock")  # a socket's address is short
        connection.sendall(request_text)
        reply = json.loads(connection.makefile("rb").readline())
    assert not reply["ok"]
    assert error in reply["error"]


def test_a_pause_stops_at_the_cursor_lasts_over_a_restart_and_leaves_others_alone(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=100, pause_s=0.02))
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 10, "no progress")
        ask(state, "pause", {"inbox": "alice"})
        wait_until(lambda: rig.states() == ["queued"], "not paused")
        (rig.base / "bob" / "b.mp4").write_bytes(fake_video(frames=5))
        rig.wait_for_states("queued", "done")
    with InProcess(rig):
        held = ask(state, "status")["inboxes"][0]["held"]
        assert held["kind"] == "operator"
        assert rig.states() == ["queued", "done"]
        assert ask(state, "resume", {"inbox": "alice"}) == {}
        rig.wait_for_states("done", "done")


def test_draining_ends_what_runs_and_starts_nothing(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=60, pause_s=0.02, name="a"))
    with InProcess(rig):
        wait_until(lambda: rig.states() == ["running"], "does not run")
        ask(state, "drain")
        (rig.inbox / "b.mp4").write_bytes(fake_video(frames=5, name="b"))
        rig.wait_for_states("done", "queued")
        ask(state, "resume")
        rig.wait_for_states("done", "done")


def test_a_running_job_can_be_cancelled_and_tried_again(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=100, pause_s=0.02))
    with InProcess(rig):
        wait_until(lambda: rig.states() == ["running"], "does not run")
        ask(state, "cancel", {"id": 1})
        rig.wait_for_states("cancelled")
        with pytest.raises(ControlError, match="nothing to cancel"):
            ask(state, "cancel", {"id": 1})
        ask(state, "retry", {"id": 1})
        rig.wait_for_states("done")
    assert len(rig.faces()) == 100


def test_a_done_job_is_done_again_only_when_asked_and_what_a_hand_did_stays(rig: Rig, state: Path) -> None:
    trace = rig.base / "trace"
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=20, trace=str(trace)))
    with InProcess(rig):
        rig.wait_for_states("done")
        before = rig.faces()
        aligned = rig.workspace / "data_src" / "aligned"
        (aligned / "a-00000003_0.jpg").unlink()
        (aligned / "a-00000004_0.jpg").rename(aligned / "00001.jpg")
        (aligned / "a-00000005_0.jpg").write_bytes(b"edited")
        by_hand = rig.faces()
        with pytest.raises(
            ControlError, match=r"17 faces of .*a.mp4, and 3 manual changes \(1 deleted, 1 edited, 1 ren"
        ):
            ask(state, "retry", {"id": 1})
        with pytest.raises(ControlError, match="does nothing alone"):
            ask(state, "retry", {"id": 1, "discard_hand_work": True})
        assert rig.states() == ["done"]
        for times in (2, 3):
            ask(state, "retry", {"id": 1, "replace": True})
            wait_until(lambda n=times: trace.read_text().count(":19") == n and rig.states() == ["done"], "not done")
            assert rig.faces() == by_hand
        ask(state, "retry", {"id": 1, "replace": True, "discard_hand_work": True})
        wait_until(lambda: trace.read_text().count(":19") == 4 and rig.states() == ["done"], "not done")
        assert rig.faces() == before


def test_giving_up_hand_work_holds_for_one_redo_and_never_for_a_later_one(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=20))
    edited = rig.workspace / "data_src" / "aligned" / "a-00000005_0.jpg"
    with InProcess(rig):
        rig.wait_for_states("done")
        ask(state, "pause")
        ask(state, "retry", {"id": 1, "replace": True, "discard_hand_work": True})
        ask(state, "cancel", {"id": 1})
        edited.write_bytes(b"edited later")
        ask(state, "retry", {"id": 1, "replace": True})
        ask(state, "resume")
        rig.wait_for_states("done")
        assert edited.read_bytes() == b"edited later"
        ask(state, "retry", {"id": 1, "replace": True, "discard_hand_work": True})
        rig.wait_for_states("done")
        assert edited.read_bytes() != b"edited later"


def test_faces_taken_away_as_a_whole_come_back_when_hand_work_is_given_up(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=20))
    with InProcess(rig):
        rig.wait_for_states("done")
        before = rig.faces()
        shutil.rmtree(rig.workspace / "data_src" / "aligned")
        ask(state, "retry", {"id": 1, "replace": True, "discard_hand_work": True})
        wait_until(lambda: rig.faces() == before and rig.states() == ["done"], "not done again")


def test_new_reference_photos_redo_a_clip_and_keep_what_a_hand_did(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=40, pause_s=0.02))
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 20, "no progress")
        ask(state, "pause")
        wait_until(lambda: rig.states() == ["queued"], "not paused")
    aligned = rig.workspace / "data_src" / "aligned"
    (aligned / "a-00000003_0.jpg").unlink()
    (aligned / "a-00000004_0.jpg").write_bytes(b"edited")
    (rig.base / "other.jpg").write_bytes(b"another face")
    rig.inboxes["alice"]["references"] = [str(rig.base / "other.jpg")]
    with InProcess(rig):
        ask(state, "resume")
        rig.wait_for_states("done")
    assert (aligned / "a-00000004_0.jpg").read_bytes() == b"edited"
    assert len(list(aligned.iterdir())) == 39


def test_a_file_that_changed_is_done_anew_under_its_name_and_keeps_what_a_hand_did(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=40, pause_s=0.02))
    aligned = rig.workspace / "data_src" / "aligned"
    with InProcess(rig):
        wait_until(lambda: rig.jobs() and rig.jobs()[0]["next_frame"] >= 20, "no progress")
        (aligned / "a-00000003_0.jpg").unlink()
        (aligned / "a-00000004_0.jpg").write_bytes(b"edited")
        (rig.inbox / "a.mp4").write_bytes(fake_video(frames=60))
        wait_until(lambda: rig.states() == ["gone", "done"], "not done anew")
        assert rig.jobs()[1]["slug"] == "a"
    assert (aligned / "a-00000004_0.jpg").read_bytes() == b"edited"
    assert len(list(aligned.iterdir())) == 59
    assert all(path.name.startswith("a-0") for path in aligned.iterdir())


def test_a_moved_original_is_named_and_is_done_once_more_when_it_is_back(
    rig: Rig, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    trace, original = rig.base / "trace", rig.inbox / "a.mp4"
    rig.inboxes["alice"]["on_done"] = "move"
    original.write_bytes(fake_video(frames=20, trace=str(trace)))
    with InProcess(rig):
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["moved"], "not moved")
        place = Path(os.fsdecode(rig.jobs()[0]["original_path"]))
        with pytest.raises(ControlError) as refused:
            ask(state, "retry", {"id": 1, "replace": True})
        assert refused.value.hint == f"it lies in {place}: move it back to {original}, then try again"
        place.rename(original)
        ask(state, "scan")
        wait_until(lambda: "is back in the inbox, and done already" in caplog.text, "not recognised")
        assert "duplicate:" not in caplog.text
        assert ask(state, "retry", {"id": 1, "replace": True})["replaced"].startswith("20 faces of ")
        wait_until(lambda: trace.read_text().count(":19") == 2, "not done again")
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["moved"], "not moved again")
    assert not original.exists()
    assert "the file changed" not in caplog.text
    assert "goes on at frame" not in caplog.text


def test_a_quarantined_file_can_be_put_back(rig: Rig, state: Path) -> None:
    flag = rig.base / "fixed"
    clip = fake_video(frames=20, fail_at=5, fail="memory", until=str(flag))
    rig.tables["retry"]["attempts"] = 1
    (rig.inbox / "a.mp4").write_bytes(clip)
    with InProcess(rig):
        wait_until(lambda: [job["original"] for job in rig.jobs()] == ["quarantined"], "not quarantined")
        assert [job["path"] for job in ask(state, "quarantine")] == ["a.mp4"]
        flag.touch()
        ask(state, "release", {"id": 1})
        rig.wait_for_states("done")
    assert (rig.inbox / "a.mp4").read_bytes() == clip
    assert list((rig.inbox / ".quarantine").iterdir()) == []


def test_a_dry_scan_says_what_becomes_of_each_file_and_changes_nothing(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
        ask(state, "pause")
        (rig.inbox / "b.mp4").write_bytes(b"")
        (rig.inbox / "c.mp4.part").write_bytes(b"half")
        found = ask(state, "scan", {"inbox": "alice", "dry_run": True})
        plan = {one["path"]: (one["outcome"], one["reason"], one["detail"]) for one in found}
    assert plan == {
        "a.mp4": ("known", "", "job 1 is done"),
        "b.mp4": ("waits", "empty", "it is empty; copy it again if nothing writes to it any more"),
        "c.mp4.part": (
            "passed_over",
            "still_arriving",
            "it is still arriving; it is taken once it gets its final name "
            "(Firefox, yt-dlp, rclone, Transmission, curl, Nextcloud)",
        ),
    }


def test_a_reload_takes_new_inboxes_and_refuses_what_is_wrong_or_needs_a_restart(rig: Rig, state: Path) -> None:
    with InProcess(rig) as service:
        rig.add_inbox("carol")
        (rig.base / "carol" / "a.mp4").write_bytes(fake_video(frames=5))
        service.rig.config_path.touch()
        assert ask(state, "reload")["changes"] == ["inbox carol is new"]
        rig.wait_for_states("done")
        rig.tables["watch"]["stable_for"] = "soon"
        assert rig.config_path
        with pytest.raises(ControlError, match="watch.stable_for"):
            ask(state, "reload")
        rig.tables["watch"]["stable_for"] = "300ms"
        rig.tables["service"]["state_dir"] = str(rig.base / "elsewhere")
        assert rig.config_path
        with pytest.raises(ControlError, match=r"service.state_dir .* cannot change while dfld runs"):
            ask(state, "reload")
        (rig.inbox / "b.mp4").write_bytes(fake_video(frames=6))
        rig.wait_for_states("done", "done")


def test_forgetting_a_person_removes_faces_logs_and_rows_and_names_what_is_left(rig: Rig, state: Path) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=12))
    (rig.base / "bob" / "b.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        wait_until(lambda: rig.states() == ["done", "done"], "not done")
        answer = ask(state, "forget", {"name": "alice"})
        assert {Path(path).suffix for path in answer["removed"]} == {".jpg", ".json", ".jsonl"}
        assert len(answer["removed"]) == 14
        assert str(rig.inbox / "a.mp4") in answer["left"]
        assert answer["paused"]
        assert [job["inbox"] for job in rig.jobs()] == ["bob"]
        with pytest.raises(ControlError, match="neither the ledger nor the configuration"):
            ask(state, "forget", {"name": "nobody"})
        assert answer["remains"] == []
    assert all("bob" in name for name in rig.faces())
    assert b"a-0000" not in b"".join(path.read_bytes() for path in state.iterdir() if "ledger" in path.name)


def test_forgetting_a_person_goes_through_the_quarantine(rig: Rig, state: Path) -> None:
    rig.inboxes["alice"] |= {"on_duplicate": "quarantine", "quarantine_dir": str(rig.base / "quarantine")}
    rig.inboxes["bob"]["quarantine_dir"] = str(rig.base / "quarantine")
    quarantine = rig.base / "quarantine"
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))
    with InProcess(rig):
        rig.wait_for_states("done")
        (rig.inbox / "the same once more.mp4").write_bytes(fake_video(frames=5))
        (rig.inbox / "broken.mp4").write_bytes(b"no video")
        (rig.base / "bob" / "bobs.mp4").write_bytes(b"no video of bob")
        reasons = {"the same once more.mp4", "broken.mp4", "bobs.mp4"}
        wait_until(
            lambda: all((quarantine / f"{one}.reason.json").exists() for one in reasons),
            "not quarantined",
        )
        wait_until(lambda: [job["original"] for job in rig.jobs()].count("quarantined") == 2, "not settled")
        (quarantine / "broken.mp4").unlink()  # by hand
        answer = ask(state, "forget", {"name": "alice"})
    assert answer["remains"] == []
    assert sorted(path.name for path in quarantine.iterdir()) == [
        "bobs.mp4", "bobs.mp4.reason.json", "the same once more.mp4",
    ]  # fmt: skip
    assert str(quarantine / "the same once more.mp4") in answer["left"]
    assert str(rig.inbox / "a.mp4") in answer["left"]
    assert str(quarantine / "broken.mp4.reason.json") in answer["removed"]


def raw_reply(state: Path, request: bytes) -> dict[str, Any]:
    with connected(state) as connection:
        connection.sendall(request + b"\n")
        reply: dict[str, Any] = json.loads(connection.makefile("rb").readline())
        return reply


def connected(state: Path) -> socket.socket:
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(20)
    folder = os.open(state, os.O_PATH)
    try:
        connection.connect(f"/proc/self/fd/{folder}/control.sock")
    finally:
        os.close(folder)
    return connection


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
KEYS = ("id", "limit", "states", "inbox", "name", "dry_run", "do", "other")
ASKED = ("status", "jobs", "job", "retry", "cancel", "quarantine", "release", "pause", "resume", "scan", "forget")


def test_every_request_gets_a_line_and_none_a_traceback(
    rig: Rig, state: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (rig.inbox / "a.mp4").write_bytes(fake_video(frames=5))

    @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.sampled_from(ASKED), st.dictionaries(st.sampled_from(KEYS), VALUES, max_size=4))
    def ask_anything(do: str, details: dict[str, Any]) -> None:
        reply = raw_reply(state, json.dumps({"do": do, **details}).encode())
        assert isinstance(reply["ok"], bool)
        assert "the log of the service" not in reply.get("error", ""), reply

    with InProcess(rig):
        rig.wait_for_states("done")
        ask_anything()
    assert [record for record in caplog.records if record.exc_info] == []


def test_clients_that_say_nothing_or_take_no_answer_give_way(rig: Rig, state: Path) -> None:
    with InProcess(rig), ExitStack() as stack:
        silent = [stack.enter_context(connected(state)) for _ in range(2 * CONNECTIONS_MAX)]
        for connection in silent[::2]:
            connection.sendall(b'{"do": ')  # and no more
        assert ask(state, "status")["state"] == "running"
        assert silent[0].recv(1) == b"", "the oldest was cut off"


def test_a_request_that_drips_is_cut_off_in_time(rig: Rig, state: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("daemon.control.server.REQUEST_S", 0.3)
    with InProcess(rig), connected(state) as connection:
        ended = False
        for _ in range(2000):
            try:
                connection.sendall(b" ")
            except OSError:
                ended = True
                break
            threading.Event().wait(0.01)
        assert ended


def test_what_the_answer_raises_is_an_answer_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def answer(_request: object) -> None:
        raise ZeroDivisionError

    server = ControlServer(tmp_path, answer)
    try:
        with pytest.raises(ControlError, match="the log of the service says why"):
            ask(tmp_path, "status")
    finally:
        server.close()
    assert any(record.exc_info for record in caplog.records)


def test_more_clients_than_are_answered_at_once_wait_their_turn(tmp_path: Path) -> None:
    go, begun = threading.Event(), threading.Semaphore(0)

    def answer(request: Mapping[str, Any]) -> Any:
        begun.release()
        go.wait(20)
        return request["number"]

    server = ControlServer(tmp_path, answer)
    try:
        with ThreadPoolExecutor(CONNECTIONS_MAX + 3) as clients:
            asked = [clients.submit(ask, tmp_path, "x", {"number": number}) for number in range(CONNECTIONS_MAX + 3)]
            for _ in range(CONNECTIONS_MAX):
                begun.acquire()
            go.set()
            assert [one.result() for one in asked] == list(range(CONNECTIONS_MAX + 3))
    finally:
        server.close()


def test_forgetting_goes_on_until_no_reader_keeps_deleted_pages_alive(rig: Rig, state: Path) -> None:
    (rig.inbox / "zebrahouse.mp4").write_bytes(fake_video(frames=12))

    def holding() -> list[str]:
        return [one.name for one in sorted(state.glob("ledger.db*")) if b"zebrahouse" in one.read_bytes()]

    with InProcess(rig):
        rig.wait_for_states("done")
        with closing(sqlite3.connect(f"file:{state / 'ledger.db'}?mode=ro", uri=True)) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT count(*) FROM jobs").fetchone()
            answer = ask(state, "forget", {"name": "alice"})
            assert answer["remains"], "the reader keeps the old pages"
            assert all("another program reads the ledger" in one for one in answer["remains"])
            assert holding()
        wait_until(lambda: not holding(), "the ledger still holds the name of the clip")
        assert rig.jobs() == []


def test_what_a_kill_left_in_the_ledgers_log_is_gone_with_the_next_start(rig: Rig, state: Path) -> None:
    (rig.inbox / "zebrahouse.mp4").write_bytes(fake_video(frames=12))
    with InProcess(rig):
        rig.wait_for_states("done")
    log = state / "ledger.db-wal"
    with closing(sqlite3.connect(state / "ledger.db")) as writer:
        writer.execute("PRAGMA foreign_keys = ON")
        writer.execute("PRAGMA secure_delete = ON")
        for table in ("faces", "files", "jobs"):
            writer.execute(f"DELETE FROM {table}")
        writer.commit()
        killed = {one.name: one.read_bytes() for one in state.glob("ledger.db*")}
    (rig.inbox / "zebrahouse.mp4").unlink()
    for name, data in killed.items():
        (state / name).write_bytes(data)
    assert log.stat().st_size
    with InProcess(rig):
        assert not [one for one in state.glob("ledger.db*") if b"zebrahouse" in one.read_bytes()]
