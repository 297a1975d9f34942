"""Hooks with a real HTTP server and real commands, hanging ones too."""

from __future__ import annotations

import json
import os
import queue
import socket
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from daemon.config.sync_tables import HookConfig
from daemon.events.event import Event
from daemon.events.hooks import WAITING_MAX, HookResult, HookRunner, call_body
from daemon.events.job_events import JobDone, JobFailed, JobQuarantined
from daemon.events.notifier import Notifier
from daemon.jobs.kinds.verify import VerifyFacts
from daemon.metrics.registry import Metrics, Names, new_registry
from tests.daemon_rig import InProcess, Rig, is_dead, wait_until
from tests.fake_worker import fake_video

DEADLINE_S = 20.0
FACTS: dict[str, object] = {"message": "job 7: a.mp4 is quarantined: broken", "inbox": "alice", "job": 7}


class Results:
    """Results of calls, in the order they came."""

    def __init__(self) -> None:
        self._queue: queue.Queue[HookResult] = queue.Queue()

    def __call__(self, result: HookResult) -> None:
        self._queue.put(result)

    def next(self) -> HookResult:
        return self._queue.get(timeout=DEADLINE_S)


class PingServer(HTTPServer):
    """Takes pings; answers what `status` says."""

    status = 200

    def __init__(self) -> None:
        self.pings: queue.Queue[tuple[str, dict[str, Any]]] = queue.Queue()
        super().__init__(("127.0.0.1", 0), _PingHandler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/ping/secret?key=1"


class _PingHandler(BaseHTTPRequestHandler):
    server: PingServer

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.pings.put((self.path, body))
        self.send_response(self.server.status)
        self.send_header("Location", self.server.url)
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[PingServer]:
    made = PingServer()
    thread = threading.Thread(target=made.serve_forever, args=(0.05,))
    thread.start()
    yield made
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def results() -> Results:
    return Results()


def hook(*, on: str = "quarantine", **keys: Any) -> HookConfig:
    return HookConfig(on=(on,), **keys)  # type: ignore[arg-type]


def test_a_ping_posts_the_facts_as_json(server: PingServer, results: Results) -> None:
    runner = HookRunner([hook(url=server.url)], results)
    runner.fire("quarantine", FACTS)
    assert results.next() == "ok"
    path, body = server.pings.get(timeout=DEADLINE_S)
    assert path == "/ping/secret?key=1"
    assert {name: body[name] for name in ("event", *FACTS)} == {"event": "quarantine", **FACTS}
    runner.close()


def test_only_the_hooks_of_an_event_are_called(server: PingServer, results: Results) -> None:
    runner = HookRunner([hook(on="job.done", url=server.url), hook(url=server.url + "&second")], results)
    runner.fire("quarantine", FACTS)
    assert results.next() == "ok"
    assert server.pings.get(timeout=DEADLINE_S)[0].endswith("&second")
    runner.close()
    assert server.pings.empty()


@pytest.mark.parametrize("status", [302, 404, 500])
def test_an_answer_that_is_not_2xx_is_a_failure(server: PingServer, results: Results, status: int) -> None:
    server.status = status
    runner = HookRunner([hook(url=server.url)], results)
    runner.fire("quarantine", FACTS)
    assert results.next() == "failed"
    runner.close()


@pytest.mark.parametrize("url", ["http://[::1", "http://127.0.0.1:99999/", "http://", "https://a b/"])
def test_an_address_that_cannot_be_is_a_failure_and_the_hook_lives_on(results: Results, url: str) -> None:
    runner = HookRunner([hook(url=url)], results)
    runner.fire("quarantine", FACTS)
    runner.fire("quarantine", FACTS)
    assert [results.next(), results.next()] == ["failed", "failed"]
    runner.close()


def test_the_secret_part_of_an_address_is_not_logged(
    server: PingServer, results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    server.status = 404
    runner = HookRunner([hook(url=server.url)], results)
    runner.fire("quarantine", FACTS)
    results.next()
    runner.close()
    assert "127.0.0.1 answered 404" in caplog.text
    assert "secret" not in caplog.text


def test_a_server_that_never_answers_is_given_up(results: Results) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        runner = HookRunner([hook(url=f"http://127.0.0.1:{silent.getsockname()[1]}/", timeout_s=0.2)], results)
        runner.fire("quarantine", FACTS)
        assert results.next() == "timeout"
        runner.close()


def test_a_server_that_answers_byte_by_byte_is_given_up(results: Results) -> None:
    with socket.create_server(("127.0.0.1", 0)) as slow:

        def drip() -> None:
            connection, _ = slow.accept()
            with connection:
                try:
                    while True:
                        connection.sendall(b"H")
                        if done.wait(0.05):
                            return
                except OSError:
                    return

        done = threading.Event()
        thread = threading.Thread(target=drip)
        thread.start()
        runner = HookRunner([hook(url=f"http://127.0.0.1:{slow.getsockname()[1]}/", timeout_s=0.3)], results)
        runner.fire("quarantine", FACTS)
        assert results.next() == "timeout"
        done.set()
        thread.join()
        runner.close()


def test_an_address_can_lie_in_a_credential(
    server: PingServer, results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hook_url").write_text(server.url + "\n")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    runner = HookRunner([hook(url="credential:hook_url"), hook(url="credential:none")], results)
    runner.fire("quarantine", FACTS)
    assert {results.next(), results.next()} == {"ok", "failed"}
    runner.close()


def python(program: str) -> tuple[str, ...]:
    return (sys.executable, "-c", program)


def test_a_command_gets_the_facts_on_its_input_and_in_its_environment(
    results: Results, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    there = tmp_path / "told.json"
    program = (
        "import json, os, sys;"
        "env = {k: v for k, v in os.environ.items() if k.startswith(('DFLD_', 'NOTIFY_SOCKET'))};"
        f"json.dump([json.load(sys.stdin), env], open({str(there)!r}, 'w'))"
    )
    runner = HookRunner([hook(command=python(program))], results)
    runner.fire("quarantine", {**FACTS, "file": "$(touch x); `rm`"})
    assert results.next() == "ok"
    runner.close()
    body, environment = json.loads(there.read_text())
    assert body["job"] == 7
    assert environment["DFLD_EVENT"] == "quarantine"
    assert environment["DFLD_INBOX"] == "alice"
    assert environment["DFLD_FILE"] == "$(touch x); `rm`"
    assert "NOTIFY_SOCKET" not in environment


def test_a_command_that_hangs_is_killed_with_its_children(results: Results, tmp_path: Path) -> None:
    there = tmp_path / "pid"
    runner = HookRunner(
        [
            hook(
                command=("sh", "-c", f"sleep 600 & echo $! > {there}.part; mv {there}.part {there}; wait"),
                timeout_s=1.0,
            )
        ],
        results,
    )
    runner.fire("quarantine", FACTS)
    assert results.next() == "timeout"
    runner.close()
    child = Path(f"/proc/{int(there.read_text())}/stat")
    wait_until(lambda: is_dead(child), "the child of the hook lives on")


def test_a_command_that_fails_or_does_not_exist_is_a_failure(
    results: Results, caplog: pytest.LogCaptureFixture
) -> None:
    runner = HookRunner([hook(command=("sh", "-c", "echo no mail today; exit 3"))], results)
    runner.fire("quarantine", FACTS)
    assert results.next() == "failed"
    runner.configure([hook(command=("/no/such/program",))])
    runner.fire("quarantine", FACTS)
    assert results.next() == "failed"
    runner.close()
    assert "no mail today" in caplog.text


def test_a_hanging_hook_holds_up_neither_fire_nor_other_hooks_and_its_queue_is_bounded(
    server: PingServer, results: Results
) -> None:
    hanging = hook(command=("sleep", "600"), timeout_s=60.0)
    runner = HookRunner([hanging, hook(on="job.done", url=server.url)], results)
    for _ in range(WAITING_MAX + 10):
        runner.fire("quarantine", FACTS)
    runner.fire("job.done", FACTS)
    seen = [results.next()]
    while seen[-1] != "ok":
        seen.append(results.next())
    # One call is under way, or not taken up yet; WAITING_MAX wait.
    assert seen.count("dropped") in (9, 10)
    runner.close(0.1)


def test_a_reload_keeps_the_hooks_that_stay(server: PingServer, results: Results) -> None:
    one, other = hook(url=server.url), hook(url=server.url + "&other")
    runner = HookRunner([one], results)
    runner.configure([one, other])
    runner.fire("quarantine", FACTS)
    assert [results.next(), results.next()] == ["ok", "ok"]
    runner.configure([])
    runner.fire("quarantine", FACTS)
    runner.close()
    assert server.pings.qsize() == 2


def test_what_is_told_are_plain_values_of_limited_length() -> None:
    facts = {"message": "x" * 5000, "embedding": [0.1, 0.2], "pixels": b"\xff\xd8", "faces_kept": 3}
    facts |= {"file": "caf\udce9.mp4", "seconds": float("nan")}  # a name that is not UTF-8
    body = call_body("job.done", facts, host="box", now=datetime(2026, 11, 21, tzinfo=UTC))
    assert body == {
        "message": "x" * 2000,
        "faces_kept": 3,
        "file": "caf?.mp4",
        "seconds": None,
        "event": "job.done",
        "host": "box",
        "time": "2026-11-21T00:00:00+00:00",
    }


@pytest.mark.parametrize(
    ("happened", "event"),
    [
        (JobDone("done", "alice", 7, seconds=1.0, results=VerifyFacts(0, {})), "job.done"),
        (JobFailed("failed", "alice", 7, reason="model", hint="", file="a.mp4"), "job.failed"),
        (JobQuarantined("bad", "alice", 7, reason="not_readable", hint="", file="a.mp4"), "quarantine"),
    ],
)
def test_what_the_service_tells_reaches_the_hooks_and_is_counted(happened: Event, event: str, tmp_path: Path) -> None:
    there = tmp_path / "told"
    registry = new_registry()
    metrics = Metrics(registry, Names(inboxes=("alice",)))
    command = python(f"import os; open({str(there)!r}, 'w').write(os.environ['DFLD_EVENT'] + os.environ['DFLD_JOB'])")
    runner = HookRunner(
        [hook(on=event, command=command)], lambda result: metrics.add("dfld_hook_calls_total", result=result)
    )
    Notifier(metrics, runner)(happened)
    runner.close(DEADLINE_S)
    assert there.read_text() == f"{event}7"
    assert registry.get_sample_value("dfld_hook_calls_total", {"result": "ok"}) == 1.0
    assert os.environ.get("DFLD_EVENT") is None


def test_a_running_service_calls_its_hooks(tmp_path: Path) -> None:
    rig = Rig(tmp_path)
    told = tmp_path / "told"
    command = ["sh", "-c", f"echo $DFLD_EVENT $DFLD_INBOX >> {told}"]
    rig.tables["[hook]"] = {"on": ["job.done", "quarantine"], "command": command}
    (rig.inbox / "good.mp4").write_bytes(fake_video(frames=5))
    (rig.inbox / "notes.mp4").write_bytes(b"these are my notes" * 1000)
    with InProcess(rig):
        wait_until(lambda: told.exists() and len(told.read_text().splitlines()) == 2, "the hooks were not called")
    assert sorted(told.read_text().splitlines()) == ["job.done alice", "quarantine alice"]
