"""A real Prometheus scrapes dfld; every rule and every query of the dashboard is evaluated."""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest

from daemon.commands.demo_clip import camera_move, group_photo, write_clip, write_reference
from daemon.metrics.http import Check, HttpServer, make_application
from daemon.metrics.registry import Metrics, Names, Reading, new_registry
from engine.backends.catalog import open_backend
from monitoring import dashboard

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "monitoring"
DEADLINE_S = 120.0
CONFIG = """
[service]
state_dir = "state"
[http]
listen = "127.0.0.1:9770"
[watch]
stable_for = "200ms"
rescan_every = "1s"
[disk]
reserve = "0B"
reserve_percent = 0
resume_margin = "0B"
[[inbox]]
name = "person"
path = "inbox"
workspace = "workspace"
references = ["person.png"]
backend = "dlib"
"""
VARIABLES = {
    "$__rate_interval": "1m",
    "$__interval": "1m",
    "$instance": ".*",
    "$inbox": ".*",
    "$machine": ".*",
    "$model": ".*",
}
EMPTY_WITHOUT_A_FAULT = {"annotation Rounds", "annotation Reloads", "annotation Alerts", "GPU memory"}
"""Nothing happened that these would show, and there is no GPU."""

needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="prometheus is not installed")


class Work:
    """Stands in for jobs and rounds: everything that a busy daemon counts moves on with each step."""

    def __init__(self) -> None:
        self.registry = new_registry()
        names = Names(inboxes=("alice", "bob"), machines=("gpu1", "gpu2"), models=("alice",))
        self.metrics = Metrics(self.registry, names)
        self.steps = 0
        self.metrics.set_build_info(version="0.1.0", python="3.11", onnxruntime="onnxruntime 1.31")
        self.metrics.set("dfld_ready", 1)
        self.metrics.set("dfld_config_last_reload_success", 1)
        self.metrics.set("dfld_round_quorum", 2, model="alice")
        self.metrics.add_reader("ledger", self._ledger)
        self.metrics.add_reader("disk", self._disk)

    def step(self) -> None:
        self.steps += 1
        add, put = self.metrics.add, self.metrics.set
        for inbox in ("alice", "bob"):
            put("dfld_inbox_up", 1, inbox=inbox)
            put("dfld_last_scan_success_timestamp_seconds", time.time(), inbox=inbox)
            put("dfld_last_frame_timestamp_seconds", time.time(), inbox=inbox)
            self.metrics.observe("dfld_file_wait_seconds", 20, inbox=inbox)
            self.metrics.observe("dfld_face_similarity_ratio", 0.6, inbox=inbox)
        for machine in ("gpu1", "gpu2"):
            put("dfld_machine_up", 1, machine=machine)
            put("dfld_machine_iterations", 100 * self.steps, model="alice", machine=machine)
            put("dfld_machine_saved_timestamp_seconds", time.time(), model="alice", machine=machine)
            put("dfld_machine_drift_ratio", 0.01, model="alice", machine=machine)
            add("dfld_transfer_bytes_total", 1e6, machine=machine, direction="pull")
            add("dfld_transfer_seconds_total", 0.1, machine=machine, direction="pull")
        put("dfld_round_spread_ratio", 0.005, model="alice")
        self.metrics.observe("dfld_round_duration_seconds", 40, model="alice")

    def _ledger(self) -> Reading:
        return {
            "dfld_frames_decoded_total": {("alice",): 250.0 * self.steps, ("bob",): 100.0 * self.steps},
            "dfld_faces_total": {("alice", "kept"): 30.0 * self.steps},
            "dfld_jobs_total": {("alice", "done"): float(self.steps)},
            "dfld_oldest_queued_timestamp_seconds": {("bob",): time.time()},
            "dfld_round_last_success_timestamp_seconds": {("alice",): time.time()},
            "dfld_rounds_total": {("alice", "averaged"): float(self.steps)},
        }

    def _disk(self) -> Reading:
        targets = [(name,) for name in ("alice", "bob", "state")]
        return {
            "dfld_disk_free_bytes": dict.fromkeys(targets, 5e11),
            "dfld_disk_reserve_bytes": dict.fromkeys(targets, 2e10),
            "dfld_ledger_size_bytes": {(): 1e6},
        }


class Prometheus:
    """A running Prometheus, asked over its API."""

    def __init__(self, port: int) -> None:
        self.port = port

    def ask(self, path: str, **parameters: str) -> Any:
        url = f"http://127.0.0.1:{self.port}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=10) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return json.load(error)

    def query(self, text: str) -> Any:
        return self.ask("query", query=text)


def wait_until(condition: Callable[[], bool], what: str) -> None:
    end, pause = time.monotonic() + DEADLINE_S, threading.Event()
    while not condition():
        assert time.monotonic() < end, f"waited {DEADLINE_S:.0f} s for {what}"
        pause.wait(0.1)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def work() -> Work:
    work = Work()
    work.step()
    return work


@contextmanager
def running_prometheus(folder: Path, dfld_port: int) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes `dfld_port` each second and evaluates the rules, in `folder`."""
    example = (MONITORING / "prometheus.example.yml").read_text(encoding="utf-8")
    config = example.replace("127.0.0.1:9770", f"127.0.0.1:{dfld_port}").replace("15s", "1s")
    (folder / "prometheus.yml").write_text(config, encoding="utf-8")
    shutil.copy(MONITORING / "dfld.rules.yml", folder)
    port = free_port()
    command = ["prometheus", "--config.file=prometheus.yml", "--storage.tsdb.path=data"]
    command += [f"--web.listen-address=127.0.0.1:{port}"]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        wait_until(lambda: answers(port) or process.poll() is not None, "Prometheus to answer")
        assert process.poll() is None, (folder / "log").read_text(encoding="utf-8")
        yield Prometheus(port)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="module")
def prometheus(work: Work, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has seen pretended work of every kind, rounds too."""
    ready = (Check("ledger", True),)
    server = HttpServer("127.0.0.1", 0, make_application(work.registry, lambda: ready, lambda: ready))
    try:
        with running_prometheus(tmp_path_factory.mktemp("prometheus"), server.port) as running:
            for samples in range(2, 6):  # rates need samples that differ
                wait_until(lambda samples=samples: scrapes(running) >= samples, "scrapes")
                work.step()
            yield running
    finally:
        server.close()


@pytest.fixture(scope="module")
def busy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has watched the real daemon extract two clips."""
    home = tmp_path_factory.mktemp("daemon")
    photo = group_photo()
    write_reference(home / "person.png", photo, open_backend("dlib"))
    (home / "inbox").mkdir()
    port = free_port()
    (home / "config.toml").write_text(CONFIG.replace("9770", str(port)), encoding="utf-8")
    command = [sys.executable, "-m", "daemon", "run", "--config", str(home / "config.toml")]
    with (home / "log").open("wb") as log:
        daemon = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=log)
    try:
        with running_prometheus(home, port) as running:
            wait_until(lambda: scrapes(running) >= 2, "a scrape of the daemon")
            for number, frames in enumerate((24, 30), start=1):
                write_clip(home / "clip.mp4", camera_move(photo, frames))
                (home / "clip.mp4").rename(home / "inbox" / f"clip{number}.mp4")
                done = f'dfld_jobs_total{{result="done"}} == {number}'
                wait_until(lambda done=done: bool(running.query(done)["data"]["result"]), f"job {number} to be done")
            yield running
    finally:
        daemon.terminate()
        daemon.wait(timeout=60)


def answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/-/ready", timeout=5) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def scrapes(prometheus: Prometheus) -> int:
    result = prometheus.query("count_over_time(dfld_ready[5m])")["data"]["result"]
    return int(result[0]["value"][1]) if result else 0


def empty_panels(prometheus: Prometheus) -> set[str]:
    """Ask every query of the dashboard; return the titles of those that show nothing."""
    empty = set()
    for title, query in dashboard.queries():
        for variable, value in VARIABLES.items():
            query = query.replace(variable, value)
        answer = prometheus.query(query)
        assert answer["status"] == "success", f"{title}: {answer}"
        if not answer["data"]["result"]:
            empty.add(title)
    return empty


def rules_of(prometheus: Prometheus) -> list[Any]:
    groups = prometheus.ask("rules")["data"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def assert_all_quiet(prometheus: Prometheus) -> None:
    """Wait until every rule was evaluated; none may have failed and none may see a fault."""

    def evaluated() -> bool:
        rules = rules_of(prometheus)
        return bool(rules) and all(rule["health"] != "unknown" for rule in rules)

    wait_until(evaluated, "all rules to be evaluated")
    text = (MONITORING / "dfld.rules.yml").read_text(encoding="utf-8")
    assert {rule["name"] for rule in rules_of(prometheus)} == set(re.findall(r"- alert: (\w+)", text))
    for rule in rules_of(prometheus):
        assert rule["health"] == "ok", rule
        # A forecast over this machine's own disk, which others fill meanwhile, may begin to worry: it may not fire.
        quiet = ("inactive", "pending") if rule["name"] == "DfldDiskWillFill" else ("inactive",)
        assert rule["state"] in quiet, rule


@needs_prometheus
def test_every_panel_shows_something_where_all_kinds_of_work_are_done(prometheus: Prometheus) -> None:
    assert empty_panels(prometheus) <= EMPTY_WITHOUT_A_FAULT


@needs_prometheus
def test_every_rule_is_evaluated_and_none_fires_on_healthy_work(prometheus: Prometheus) -> None:
    assert_all_quiet(prometheus)


@needs_prometheus
def test_every_panel_of_the_real_daemon_shows_something_but_rounds(busy: Prometheus) -> None:
    of_rounds = {panel.title for name, panels in dashboard.ROWS if name in ("Rounds", "Machines") for panel in panels}
    assert empty_panels(busy) <= EMPTY_WITHOUT_A_FAULT | of_rounds


@needs_prometheus
def test_no_rule_fires_on_the_real_daemon_at_work(busy: Prometheus) -> None:
    assert_all_quiet(busy)


@needs_prometheus
@pytest.mark.parametrize(
    "moved",
    [
        "dfld_frames_decoded_total == 54",
        'dfld_faces_total{outcome="kept"} > 0',
        "dfld_face_similarity_ratio_count > 0",
        'dfld_stage_seconds_total{stage="detect"} > 0',
        "dfld_watch_events_total > 0",
        'dfld_files_seen_total{outcome="taken"} == 2',
        "dfld_file_wait_seconds_count == 2",
        "dfld_job_duration_seconds_count == 2",
        "dfld_last_frame_timestamp_seconds > 1e9",
        "dfld_last_scan_success_timestamp_seconds > 1e9",
        "dfld_last_job_success_timestamp_seconds > 1e9",
        "dfld_config_last_reload_timestamp_seconds > 1e9",
        "dfld_workspace_faces > 0",
        "dfld_ledger_size_bytes > 0",
        'dfld_build_info{onnxruntime!=""} == 1',
    ],
)
def test_real_work_moves_its_metrics(busy: Prometheus, moved: str) -> None:
    wait_until(lambda: bool(busy.query(moved)["data"]["result"]), moved)


@needs_prometheus
def test_the_scrape_itself_has_nothing_to_complain_about(prometheus: Prometheus) -> None:
    (target,) = prometheus.ask("targets")["data"]["activeTargets"]
    assert target["health"] == "up", target["lastError"]


@needs_prometheus
def test_the_text_of_the_metrics_passes_promtools_lint(work: Work) -> None:
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=generate_latest(work.registry), capture_output=True, check=False
    )
    ours = [line for line in done.stderr.decode().splitlines() if line.startswith("dfld_")]
    assert ours == []
